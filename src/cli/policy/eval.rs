//! `gatelog policy eval`: one input, one verdict.

use std::{
    io::{Read as _, Write},
    path::{Path, PathBuf},
};

use anstyle::AnsiColor;

use super::{
    super::{
        CommandResult, Exit, Failure,
        log::{Place, input_of},
    },
    colour, coloured, load_failure, outcome_word, report, show,
};
use crate::{
    event::{RepoName, Sha},
    github::check_run::{self, Context},
    policy::{Bundle, Input, why::Told},
    verdict::{Control, Decision, Finding, FindingKind, Verdict},
};

mod live;

#[derive(clap::Args)]
pub struct Args {
    /// The input document as JSON (`gatelog log show --input` prints one); `-` reads standard input.
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["entry", "pull"], conflicts_with_all = ["entry", "pull"])]
    input: Option<PathBuf>,
    /// The input that a verdict of the ledger (or the verdict of an event) was judged by.
    #[arg(long, value_name = "SEQ", value_parser = crate::cli::log::parse_seq)]
    entry: Option<u64>,
    /// A pull request as it stands on GitHub now, read by the gatelog that runs on the ledger; nothing is recorded.
    #[arg(long, value_name = "OWNER/NAME#NUMBER", conflicts_with = "entry")]
    pull: Option<String>,
    /// Folder of the policies.
    #[arg(default_value = "policies")]
    path: PathBuf,
    /// What if: another value in the data, such as `params.defaults.required_reviews.allow_author=true`.
    #[arg(long, value_name = "PATH=VALUE")]
    set: Vec<String>,
    /// Say which rules gave the findings, and what kept the others from holding.
    #[arg(long)]
    explain: bool,
    /// Show what GitHub would show.
    #[arg(long, conflicts_with = "explain")]
    check_run: bool,
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Pretty,
    Json,
}

type Sets = Vec<(Vec<String>, serde_json::Value)>;

pub fn run(args: &Args) -> CommandResult {
    let sets: Sets = args.set.iter().map(|s| set(s)).collect::<Result<_, _>>()?;
    let bundle = match sets.as_slice() {
        [] => Bundle::load(&args.path),
        sets => Bundle::what_if(&args.path, sets),
    };
    let bundle = bundle.map_err(|e| load_failure(&args.path, &e))?;
    let input = match &args.pull {
        Some(pull) => live::read(&args.place, pull, &bundle)?,
        None => read(args)?,
    };
    let verdict = bundle.judge(&input);
    let explained = match args.explain {
        true => Some(bundle.explain(&input, &sets).map_err(|e| load_failure(&args.path, &e))?),
        false => None,
    };
    let mut out = anstream::stdout().lock();
    match args.format {
        _ if args.check_run => check_run(&mut out, args, &input, &verdict)?,
        Format::Json => json(&mut out, &verdict, explained.as_deref())?,
        Format::Pretty => write_verdict(&mut out, &verdict, explained.as_deref())?,
    }
    Ok(if verdict.decision == Decision::Allow { Exit::Ok } else { Exit::Failed })
}

/// What each control's rules did, by package.
type Explained = [(String, Vec<Told>)];

/// The verdict alone is written byte for byte as the ledger keeps it.
fn json(out: &mut impl Write, verdict: &Verdict, explained: Option<&Explained>) -> std::io::Result<()> {
    match explained {
        None => out.write_all(&verdict.to_bytes())?,
        Some(explained) => {
            let rules: std::collections::BTreeMap<&str, &Vec<Told>> =
                explained.iter().map(|(package, told)| (package.as_str(), told)).collect();
            serde_json::to_writer_pretty(
                &mut *out,
                &serde_json::json!({"verdict": verdict, "rules": rules}),
            )?;
        }
    }
    out.write_all(b"\n")
}

/// `params.defaults.x=3`, `params.repositories."o/r".x=true`: JSON, or else text.
fn set(text: &str) -> Result<(Vec<String>, serde_json::Value), Failure> {
    let wrong = || {
        Failure::usage(format!(
            "--set {}: write PATH=VALUE, such as params.defaults.required_reviews.allow_author=true",
            show(text)
        ))
    };
    let (mut steps, mut step, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = text.char_indices();
    let value = loop {
        match chars.next() {
            Some((_, '"')) => quoted = !quoted,
            Some((_, '.')) if !quoted => steps.push(std::mem::take(&mut step)),
            Some((at, '=')) if !quoted => break &text[at + 1..],
            Some((_, c)) => step.push(c),
            None => return Err(wrong()),
        }
    };
    steps.push(step);
    if steps.first().is_some_and(|s| s == "data") {
        steps.remove(0);
    }
    if steps.is_empty() || steps.iter().any(String::is_empty) {
        return Err(wrong());
    }
    let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::String(value.to_owned()));
    Ok((steps, value))
}

fn read(args: &Args) -> Result<Input, Failure> {
    let (read, from) = match (&args.input, args.entry) {
        (_, Some(seq)) => (Input::from_json(input_of(&args.place, seq)?), format!("entry {seq}")),
        (Some(file), None) => (Input::parse(&read_input(file)?), file.display().to_string()),
        (None, None) => {
            return Err(Failure::usage(
                "name an input (--input), an entry (--entry) or a pull request (--pull)",
            ));
        }
    };
    read.map_err(|e| Failure::usage(format!("{from}: {e}")))
}

/// The check run as it would be sent, but that there is no entry to point at.
fn check_run(out: &mut impl Write, args: &Args, input: &Input, verdict: &Verdict) -> Result<(), Failure> {
    let text =
        |at: &str| input.document().pointer(at).and_then(serde_json::Value::as_str).unwrap_or_default();
    let head = [text("/pull_request/head/sha"), text("/merge_group/head_sha"), text("/push/after")];
    let head = head.into_iter().find_map(|s| s.parse::<Sha>().ok());
    let repository = text("/repository/name").parse::<RepoName>();
    let (Some(head), Ok(repository)) = (head, repository) else {
        return Err(Failure::usage(
            "the input names no repository and commit on which a check run could stand",
        ));
    };
    let context = Context {
        check_name: "gatelog".to_owned(),
        repository,
        head,
        pull_request: input.document().pointer("/pull_request/number").and_then(serde_json::Value::as_u64),
        draft: input.document().pointer("/pull_request/draft") == Some(&true.into()),
        judged_at: input.time(),
        entry: args.entry.unwrap_or(0),
        leaf: "0".repeat(64),
        tree_size: args.entry.unwrap_or(0),
        root: "0".repeat(64),
        in_the_way: None,
    };
    let rendered = check_run::render(verdict, &context);
    let conclusion = rendered.state.conclusion().unwrap_or("none yet");
    writeln!(out, "{}, conclusion: {conclusion}", rendered.state.status())?;
    writeln!(out, "{}\n", coloured(colour(verdict.decision), &show(&rendered.title)))?;
    for part in [&rendered.summary, &rendered.text] {
        writeln!(out, "{}", part.lines().map(show).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(())
}

fn read_input(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut f| f.read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(bytes),
        Err(e) => Err(Failure::could_not_run(format!("{} cannot be read: {e}", path.display()))),
    }
}

fn write_verdict(
    out: &mut impl Write,
    verdict: &Verdict,
    explained: Option<&Explained>,
) -> std::io::Result<()> {
    let decision = coloured(colour(verdict.decision), verdict.decision.as_str());
    writeln!(out, "{decision}  {}\n", show(&verdict.reason))?;
    let width = verdict.controls.iter().map(|c| c.id.chars().count()).max().unwrap_or(0);
    for control in &verdict.controls {
        write_control(out, control, width)?;
        let told = explained.into_iter().flatten().find(|(package, _)| *package == control.package);
        told.map_or(Ok(()), |(_, told)| write_rules(out, told))?;
    }
    writeln!(out)?;
    if let Some(until) = verdict.valid_until {
        writeln!(out, "valid until {until}")?;
    }
    writeln!(out, "bundle {}", verdict.bundle)?;
    writeln!(out, "engine {}, rewriter {}", verdict.engine, verdict.rewriter)
}

/// The rules in the order of the text; those that gave something stand out.
fn write_rules(out: &mut impl Write, rules: &[Told]) -> std::io::Result<()> {
    for rule in rules {
        let gave = rule.bodies.iter().any(|b| b.failed.is_none());
        let name = rule.rule.rsplit('.').next().unwrap_or(&rule.rule);
        let head = format!("{} ({}:{})", show(name), show(&rule.path), rule.line);
        let head = if gave { coloured(AnsiColor::Green, &head) } else { head };
        writeln!(out, "    {head}")?;
        report::told(out, rule, 3)?;
    }
    Ok(())
}

fn write_control(out: &mut impl Write, control: &Control, width: usize) -> std::io::Result<()> {
    let outcome = format!("{:<7}", outcome_word(control.outcome));
    let outcome = coloured(colour(control.outcome.decision()), &outcome);
    let only = if control.evaluate_only { " (evaluated only: does not block)" } else { "" };
    writeln!(out, "{:<width$}  {outcome}  {}{only}", show(&control.id), show(&control.title))?;
    if let Some(reason) = &control.skip_reason {
        writeln!(out, "{:width$}           {}", "", show(reason))?;
    }
    for finding in &control.findings {
        write_finding(out, finding, width)?;
    }
    Ok(())
}

fn write_finding(out: &mut impl Write, f: &Finding, width: usize) -> std::io::Result<()> {
    let kind = match f.kind {
        FindingKind::Deny => "deny",
        FindingKind::Error => "error",
        FindingKind::Pending => "pending",
        FindingKind::Warn => "warn",
        FindingKind::Excepted => "excepted",
    };
    writeln!(out, "{:width$}    {kind}: {}", "", show(&f.msg))?;
    let line = f.line.map(|l| l.to_string());
    let details =
        [("path", &f.path), ("line", &line), ("commit", &f.commit), ("who", &f.who), ("fix", &f.fix)];
    for (name, value) in details {
        if let Some(value) = value {
            writeln!(out, "{:width$}      {name}: {}", "", show(value))?;
        }
    }
    Ok(())
}
