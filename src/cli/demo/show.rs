//! The lines of the demo: aligned, coloured on a terminal, plain when piped.

use std::{
    io::{self, Write as _},
    path::Path,
};

use anstyle::{AnsiColor, Style};
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use super::{journal::Judged, stage::Stage};

use crate::{
    escape::{terminal, terminal_up_to},
    ledger::verify::Verified,
    simulated_github::{CheckRun, Webhook},
    time::Time,
    verdict::Decision,
};

mod markdown;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();

/// Characters of a reason; longer ones stand whole in the check run.
const REASON: usize = 110;

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Text padded to a width on the screen.
fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.width());
    format!("{text}{}", " ".repeat(missing))
}

/// Standard output that leaves colours out where they do not belong.
fn print(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

pub fn opening(dir: &Path, stage: &Stage) -> io::Result<()> {
    let pid = stage.server.pid().map_or_else(String::new, |p| format!(" (process {p})"));
    print(&format!(
        "{} in {}\n{}\n",
        paint(BOLD, "gatelog demo"),
        dir.display(),
        paint(
            DIM,
            &format!("server http://{}{pid}, simulated GitHub {}", stage.server.listen, stage.github.url())
        ),
    ))
}

/// What people do next.
pub fn act(what: &str) -> io::Result<()> {
    print(&format!("\n{}\n", paint(BOLD, what)))
}

/// Something that is no delivery.
pub fn note(what: &str) -> Result<(), super::Failure> {
    print(&format!("{}  {}\n", clock(), paint(YELLOW, what))).map_err(Into::into)
}

/// A delivery that was judged.
pub fn delivery(hook: &Webhook, event: u64, judged: &Judged) -> io::Result<()> {
    let decision = judged.verdict.decision;
    let style = match decision {
        Decision::Allow => GREEN,
        Decision::Deny | Decision::Error => RED,
        Decision::Pending | Decision::Superseded => YELLOW,
    };
    line(hook, Some(event), paint(style, &pad(decision.as_str(), 8)), &judged.verdict.reason)
}

/// A delivery that nothing was decided on.
pub fn undecided(hook: &Webhook, event: Option<u64>, what: &str, why: &str) -> io::Result<()> {
    line(hook, event, paint(YELLOW, &pad(what, 8)), why)
}

fn line(hook: &Webhook, event: Option<u64>, decision: String, reason: &str) -> io::Result<()> {
    let action = hook.payload.get("action").and_then(Value::as_str);
    let name = action.map_or_else(|| hook.event.clone(), |a| format!("{} {a}", hook.event));
    print(&format!(
        "{}  {}  {}  {decision}  {}  {}\n",
        clock(),
        pad(&terminal(&name), 29),
        pad(&terminal(&subject(&hook.payload)), 22),
        paint(DIM, &pad(&event.map_or_else(|| "no entry".to_owned(), |e| format!("entry {e}")), 9)),
        terminal_up_to(reason, REASON),
    ))
}

/// `owner/name#7`, or the ref, or the repository.
fn subject(payload: &Value) -> String {
    let text = |at: &str| payload.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
    let repository = text("/repository/full_name");
    if let Some(number) = payload.pointer("/pull_request/number") {
        return format!("{repository}#{number}");
    }
    match text("/ref").trim_start_matches("refs/heads/").trim_start_matches("refs/tags/") {
        "" => repository,
        name => format!("{repository} {name}"),
    }
}

/// `15:04:05.123`, UTC.
fn clock() -> String {
    let now = Time::now().to_string();
    paint(DIM, now.get(11..23).unwrap_or(&now))
}

/// A check run as GitHub shows it.
pub fn check_run(run: &CheckRun) -> io::Result<()> {
    let (mark, style) = match run.conclusion.as_deref() {
        Some("success") => ("✓", GREEN),
        Some(_) => ("✗", RED),
        None => ("•", YELLOW),
    };
    let title = terminal(run.title.as_deref().unwrap_or_default());
    let body =
        [run.summary.as_deref(), run.text.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("\n\n");
    let mut text = format!(
        "\n{}\n\n  {} {}  {}\n",
        paint(BOLD, "What GitHub showed after the force push:"),
        paint(style, mark),
        paint(BOLD, &run.name),
        title,
    );
    for l in markdown::lines(&body) {
        text.push_str(&format!("  {} {l}\n", paint(DIM, "│")));
    }
    print(&text)
}

pub fn ending(dir: &Path, verified: &Verified, wrong: &[String]) -> io::Result<()> {
    let last = verified.entries.saturating_sub(1);
    let mut text = format!("\n{}  entries 0..{last}  root {}\n", paint(GREEN, "VERIFIED"), verified.root);
    if wrong.is_empty() {
        text.push_str("Every decision was the expected one.\n");
    }
    for w in wrong {
        text.push_str(&format!("{} {}\n", paint(RED, "unexpected:"), terminal(w)));
    }
    let (exe, ledger) = (exe(), dir.join("data"));
    let ledger = ledger.display();
    text.push_str(&format!(
        "\n{}\n  {exe} log list --ledger {ledger} --repo {} --pr 1\n  {exe} log show {last} --ledger {ledger}\n  \
         {exe} log verify --ledger {ledger}\n",
        paint(BOLD, "Next:"),
        super::scene::REPO,
    ));
    print(&text)
}

pub fn serving(stage: &Stage) -> io::Result<()> {
    print(&format!(
        "\n{} http://{} and the simulated GitHub {} until Ctrl-C\n",
        paint(BOLD, "Running:"),
        stage.server.listen,
        stage.github.url(),
    ))
}

/// How this program was started, as short as it can be written here.
fn exe() -> String {
    let exe = std::env::current_exe().unwrap_or_else(|_| "gatelog".into());
    let here = std::env::current_dir().unwrap_or_default();
    exe.strip_prefix(here).unwrap_or(&exe).display().to_string()
}
