//! What a check run says: pure functions from a verdict to a title, a summary and a text.
//!
//! The title carries the reason, because it is all that a pull request's list of checks shows. The
//! summary says what is missing, who can fix it and how; the text has every control and the proof.
//! Everything that people wrote is escaped where it is written (`escape`).

use std::fmt::Write as _;

use crate::{
    escape::{markdown, markdown_block, markdown_code, markdown_code_cell, terminal_up_to},
    event::{RepoName, Sha},
    time::Time,
    verdict::{Control, Decision, Finding, FindingKind, Outcome, Verdict},
};

mod annotations;
mod notices;
mod page;

use annotations::annotations;
use page::Page;

pub use notices::{github_did_not_answer, in_progress, left, taken_back, waiting_for_github};

/// Characters of a title that GitHub's pages show before cutting it themselves.
const MAX_TITLE: usize = 255;

/// Characters of a fix that still reads well in a table cell; longer ones get a block of their own.
const MAX_FIX_IN_CELL: usize = 100;

/// What the check run shows. gatelog never says neutral or skipped: both pass a required check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// `in_progress`, no conclusion: blocks, and reads as "not yet".
    InProgress,
    /// `completed`, `success`.
    Success,
    /// `completed`, `failure`.
    Failure,
}

impl State {
    /// `None`: a superseded verdict publishes nothing.
    #[must_use]
    pub fn of(decision: Decision) -> Option<Self> {
        match decision {
            Decision::Allow => Some(Self::Success),
            Decision::Pending => Some(Self::InProgress),
            Decision::Deny | Decision::Error => Some(Self::Failure),
            Decision::Superseded => None,
        }
    }

    #[must_use]
    pub fn status(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Success | Self::Failure => "completed",
        }
    }

    #[must_use]
    pub fn conclusion(self) -> Option<&'static str> {
        match self {
            Self::InProgress => None,
            Self::Success => Some("success"),
            Self::Failure => Some("failure"),
        }
    }
}

/// What a check run is about and where its proof is.
#[derive(Clone, Debug)]
pub struct Context {
    pub check_name: String,
    pub repository: RepoName,
    /// The commit judged, on which the check run stands.
    pub head: Sha,
    pub pull_request: Option<u64>,
    pub draft: bool,
    /// When the facts were frozen.
    pub judged_at: Time,
    /// The entry shown (the verdict; the event while in progress) and its leaf hash in hex.
    pub entry: u64,
    pub leaf: String,
    /// Size and root (hex) of a tree that holds the entry.
    pub tree_size: u64,
    pub root: String,
    /// Another open pull request has the same head and a worse decision: that one is shown.
    pub in_the_way: Option<InTheWay>,
}

/// The pull request on a shared head whose decision is the worst.
#[derive(Clone, Debug)]
pub struct InTheWay {
    pub number: u64,
    pub decision: Decision,
    /// Reason of its verdict.
    pub reason: String,
    pub entry: u64,
}

/// A check run as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    pub state: State,
    pub title: String,
    /// Markdown, at most 65,535 bytes.
    pub summary: String,
    /// Markdown, at most 65,535 bytes.
    pub text: String,
    /// GitHub's `output.annotations`, at most 50: findings that have a file and a line.
    pub annotations: Vec<serde_json::Value>,
}

/// The check run of a verdict.
#[must_use]
pub fn render(verdict: &Verdict, context: &Context) -> Rendered {
    let own = shown(verdict.decision);
    let other = context.in_the_way.as_ref().map(|o| shown(o.decision));
    let worse = context.in_the_way.as_ref().filter(|o| shown(o.decision) > own);
    Rendered {
        state: State::of(other.unwrap_or(own).max(own)).unwrap_or(State::InProgress),
        title: title(verdict, context, worse),
        summary: summary(verdict, context, worse),
        text: text(verdict, context),
        annotations: annotations(verdict),
    }
}

/// A superseded verdict has nothing to show: whoever asks sees that it is not decided.
fn shown(decision: Decision) -> Decision {
    if decision == Decision::Superseded { Decision::Pending } else { decision }
}

fn title(verdict: &Verdict, context: &Context, worse: Option<&InTheWay>) -> String {
    let line = match worse {
        Some(o) => {
            let word = word(o.decision);
            let reason = without_word(&o.reason);
            format!("{word} by #{}, which has the same head: {reason}", o.number)
        }
        None => with_word(verdict.decision, &verdict.reason),
    };
    let draft = if context.draft { "Draft. " } else { "" };
    cut_title(&format!("{draft}{line}"))
}

/// Words that a title begins with; a reason that has one already gets no second.
const WORDS: [&str; 4] = ["Allowed", "Waiting", "Could not decide", "Blocked"];

fn word(decision: Decision) -> &'static str {
    match shown(decision) {
        Decision::Allow => WORDS[0],
        Decision::Superseded | Decision::Pending => WORDS[1],
        Decision::Error => WORDS[2],
        Decision::Deny => WORDS[3],
    }
}

fn with_word(decision: Decision, reason: &str) -> String {
    let reason = reason.trim();
    if WORDS.iter().any(|w| reason.starts_with(w)) {
        return reason.to_owned();
    }
    let word = word(decision);
    if reason.is_empty() { word.to_owned() } else { format!("{word}: {reason}") }
}

fn without_word(reason: &str) -> &str {
    let reason = reason.trim();
    WORDS.iter().find_map(|w| reason.strip_prefix(w)?.strip_prefix(": ")).unwrap_or(reason)
}

/// A title is plain text; GitHub documents no limit but shows one line.
fn cut_title(line: &str) -> String {
    let line = terminal_up_to(line, MAX_TITLE);
    if line.chars().count() <= MAX_TITLE {
        return line;
    }
    line.chars().take(MAX_TITLE - 1).chain(['…']).collect()
}

fn summary(verdict: &Verdict, context: &Context, worse: Option<&InTheWay>) -> String {
    let mut page = Page::new(footer(verdict, context), context.entry);
    match worse {
        Some(o) => {
            page.paragraph(&shared(o));
            page.paragraph(&format!("This pull request by itself: {}", headline(verdict)));
        }
        None => page.paragraph(&format!("### {}", headline(verdict))),
    }
    if context.draft {
        page.paragraph("This pull request is a draft. It is judged like any other.");
    }
    missing_table(&mut page, verdict);
    long_fixes(&mut page, verdict);
    let enforced = |c: &&Control| !c.evaluate_only;
    let blocking = |c: &Control| enforced(&c) && c.outcome != Outcome::Waived;
    findings(&mut page, "Waiting", verdict, |c, f| blocking(c) && f.kind == FindingKind::Pending);
    findings(&mut page, "Warnings (they do not block)", verdict, |c, f| {
        blocking(c) && f.kind == FindingKind::Warn
    });
    findings(&mut page, "Excepted by the policies (not counted)", verdict, |c, f| {
        enforced(&c) && f.kind == FindingKind::Excepted
    });
    waived(&mut page, verdict);
    answers(&mut page, verdict);
    evaluate_only(&mut page, verdict);
    passed_and_skipped(&mut page, verdict);
    page.finish()
}

fn headline(verdict: &Verdict) -> String {
    let enforced = || verdict.controls.iter().filter(|c| !c.evaluate_only);
    let count = |d: Decision| enforced().filter(|c| c.outcome.decision() == d).count();
    let judged = enforced().filter(|c| c.outcome != Outcome::Skip).count();
    let of = |n: usize| format!("{n} of {}", controls(judged));
    let waived = enforced().filter(|c| c.outcome == Outcome::Waived).count();
    let line = match shown(verdict.decision) {
        Decision::Allow if judged == 0 => "Allowed: no control applies".to_owned(),
        Decision::Allow if waived > 0 => format!("Allowed by {}, {waived} waived", of(judged - waived)),
        Decision::Allow => format!("Allowed by {}", controls(judged)),
        Decision::Superseded | Decision::Pending => {
            format!("Waiting: {} not decided yet", of(count(Decision::Pending)))
        }
        Decision::Error => {
            format!("Could not decide, so not allowed: {} in error", of(count(Decision::Error)))
        }
        Decision::Deny => format!("Blocked: {} not met", of(count(Decision::Deny))),
    };
    format!("{} {line}", icon(verdict.decision))
}

fn icon(decision: Decision) -> &'static str {
    match shown(decision) {
        Decision::Allow => "✅",
        Decision::Superseded | Decision::Pending => "⏳",
        Decision::Error => "⚠️",
        Decision::Deny => "❌",
    }
}

fn controls(n: usize) -> String {
    if n == 1 { "1 control".to_owned() } else { format!("{n} controls") }
}

fn shared(o: &InTheWay) -> String {
    // Here the number is meant to be a link.
    format!(
        "### {} {} by #{}\n\nThat open pull request has the same head commit: {} (entry {}). GitHub shows one \
         check for both, so the worse decision counts.",
        icon(o.decision),
        word(o.decision),
        o.number,
        markdown(without_word(&o.reason)),
        o.entry
    )
}

/// What blocks, one row per finding: denied first, then what could not be decided.
fn missing_table(page: &mut Page, verdict: &Verdict) {
    let mut rows = Vec::new();
    for kind in [FindingKind::Deny, FindingKind::Error] {
        let blocking = |c: &&Control| !c.evaluate_only && c.outcome != Outcome::Waived;
        for c in verdict.controls.iter().filter(blocking) {
            rows.extend(c.findings.iter().filter(|f| f.kind == kind).map(|f| row(c, f)));
            let silent = c.findings.is_empty() && c.outcome.decision() == decision_of(kind);
            rows.extend(silent.then(|| format!("| {} | {} | |", name(c), silence(c.outcome))));
        }
    }
    page.section(
        "| Control | What is missing | Who can fix it |\n|---|---|---|\n",
        rows.iter().map(|r| format!("{r}\n")),
        "\n",
    );
}

fn decision_of(kind: FindingKind) -> Decision {
    match kind {
        FindingKind::Deny => Decision::Deny,
        FindingKind::Error => Decision::Error,
        FindingKind::Pending => Decision::Pending,
        FindingKind::Warn | FindingKind::Excepted => Decision::Allow,
    }
}

fn silence(outcome: Outcome) -> &'static str {
    if outcome == Outcome::Error {
        "could not be decided; the control gave no message"
    } else {
        "not met; the control gave no message"
    }
}

fn row(control: &Control, finding: &Finding) -> String {
    let prefix = if finding.kind == FindingKind::Error { "Could not be decided: " } else { "" };
    let who = finding.who.as_deref().map(markdown).unwrap_or_default();
    let fix = match finding.fix.as_deref() {
        Some(fix) if fits_in_cell(fix) => markdown_code_cell(fix),
        Some(_) => "see *How to fix* below".to_owned(),
        None => String::new(),
    };
    let colon = if who.is_empty() || fix.is_empty() { "" } else { ": " };
    let place = place(finding, markdown_code_cell);
    format!("| {} | {prefix}{}{place} | {who}{colon}{fix} |", name(control), markdown(&finding.msg))
}

fn fits_in_cell(fix: &str) -> bool {
    !fix.trim().contains('\n') && fix.chars().count() <= MAX_FIX_IN_CELL
}

/// `**CHG-02** Two-person review`
fn name(control: &Control) -> String {
    let title = if control.title == control.id { String::new() } else { markdown(&control.title) };
    format!("**{}** {title}", markdown(&control.id)).trim_end().to_owned()
}

/// Where a finding points to: ` (`src/a.rs:12`, commit `41be0d2`)`.
fn place(finding: &Finding, code: fn(&str) -> String) -> String {
    let path = finding.path.as_ref().map(|p| match finding.line {
        Some(line) => code(&format!("{p}:{line}")),
        None => code(p),
    });
    let commit = finding.commit.as_ref().map(|c| {
        let short: String = c.chars().take(7).collect();
        format!("commit {}", code(&short))
    });
    let parts: Vec<String> = path.into_iter().chain(commit).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// Commands of several lines, to be copied.
fn long_fixes(page: &mut Page, verdict: &Verdict) {
    let mut seen = Vec::new();
    for c in verdict.controls.iter().filter(|c| !c.evaluate_only && c.outcome != Outcome::Waived) {
        for fix in c.findings.iter().filter(|f| blocks(f.kind)).filter_map(|f| f.fix.as_deref()) {
            if !fits_in_cell(fix) && !seen.iter().any(|(_, s)| *s == fix) {
                seen.push((c, fix));
            }
        }
    }
    let items = seen.iter().map(|(c, fix)| format!("{}:\n\n{}\n", name(c), markdown_block(fix)));
    page.section("**How to fix**\n\n", items, "");
}

fn blocks(kind: FindingKind) -> bool {
    matches!(kind, FindingKind::Deny | FindingKind::Error)
}

fn findings(page: &mut Page, head: &str, verdict: &Verdict, wanted: impl Fn(&Control, &Finding) -> bool) {
    let mut items = Vec::new();
    for c in &verdict.controls {
        items.extend(c.findings.iter().filter(|f| wanted(c, f)).map(|f| bullet(c, f)));
    }
    page.section(&format!("**{head}**\n\n"), items.into_iter(), "\n");
}

fn bullet(control: &Control, finding: &Finding) -> String {
    format!("- {}: {}", name(control), said(finding))
}

/// A finding in a list item: message, place, who, and a fix that can be copied whole.
fn said(finding: &Finding) -> String {
    let mut line = markdown(&finding.msg) + &place(finding, markdown_code);
    if let Some(who) = &finding.who {
        let _ = write!(line, " · who can fix it: {}", markdown(who));
    }
    match finding.fix.as_deref() {
        Some(fix) if fits_in_cell(fix) => line.extend([" · fix: ", &markdown_code(fix)]),
        Some(fix) => line.extend(["\n\n  ", &markdown_block(fix).trim_end().replace('\n', "\n  ")]),
        None => {}
    }
    line + "\n"
}

/// What an exception covers stays to be read.
fn waived(page: &mut Page, verdict: &Verdict) {
    let items = verdict.controls.iter().filter(|c| c.outcome == Outcome::Waived).map(|c| {
        let mut item = format!("- {}: waived\n", name(c));
        for w in &c.waived_by {
            let kind = if w.break_glass { "**break-glass** " } else { "" };
            let entry = w.entry.map_or("in the policies".to_owned(), |seq| format!("entry {seq}"));
            let (owner, reason) = (markdown(&w.owner), markdown(&w.reason));
            let _ = writeln!(item, "  - {kind}until {} by {owner}: {reason} ({entry})", w.until.minute());
        }
        for f in c.findings.iter().filter(|f| matches!(f.kind, FindingKind::Deny | FindingKind::Pending)) {
            let path = f.path.as_deref().map_or(String::new(), |p| format!("{} ", markdown_code(p)));
            let _ = writeln!(item, "  - not met: {path}{}", markdown(&f.msg));
        }
        item
    });
    page.section("**Waived**\n\n", items, "\n");
}

fn answers(page: &mut Page, verdict: &Verdict) {
    let items = verdict.answers.iter().map(|a| format!("- {}\n", markdown(a)));
    page.section("**Commands**\n\n", items, "\n");
}

/// Controls on trial: what they would have said.
fn evaluate_only(page: &mut Page, verdict: &Verdict) {
    let mut items = Vec::new();
    for c in verdict.controls.iter().filter(|c| c.evaluate_only && c.outcome != Outcome::Pass) {
        items.extend(c.findings.iter().map(|f| bullet(c, f)));
        if c.findings.is_empty() && c.outcome != Outcome::Skip {
            items.push(format!("- {}: {}\n", name(c), outcome_word(c.outcome)));
        }
    }
    page.section("**Not enforced yet (would be said if it were)**\n\n", items.into_iter(), "\n");
}

fn passed_and_skipped(page: &mut Page, verdict: &Verdict) {
    let of = |o: Outcome| verdict.controls.iter().filter(move |c| c.outcome == o);
    let (passed, skipped) = (of(Outcome::Pass).count(), of(Outcome::Skip).count());
    let head = format!("<details><summary>Passed controls ({passed}) and skipped ({skipped})</summary>\n\n");
    let items = of(Outcome::Pass).chain(of(Outcome::Skip)).map(|c| {
        let trial = if c.evaluate_only { " (not enforced yet)" } else { "" };
        let why = c.skip_reason.as_deref().unwrap_or("does not apply");
        let skip =
            if c.outcome == Outcome::Skip { format!(", skipped: {}", markdown(why)) } else { String::new() };
        format!("- {}{skip}{trial}\n", name(c))
    });
    page.section(&head, items, "\n</details>\n\n");
}

/// What was judged by what, and how anyone can check it.
fn footer(verdict: &Verdict, context: &Context) -> String {
    format!(
        "Policy {} · judged {} for head {} · entry {}\n",
        markdown_code(&verdict.bundle),
        context.judged_at,
        markdown_code(context.head.as_str()),
        context.entry,
    ) + &proof_line(context)
}

fn proof_line(context: &Context) -> String {
    format!(
        "Ledger of {} entries, root {} · check it: `gatelog log show {entry}`, `gatelog log verify` · \
         prove it: `gatelog log prove {entry} -o {entry}.tlog-proof`\n",
        context.tree_size,
        markdown_code(&context.root),
        entry = context.entry
    )
}

/// Every control with everything it said, then the proof.
fn text(verdict: &Verdict, context: &Context) -> String {
    let mut page = Page::new(proof(verdict, context), context.entry);
    for c in &verdict.controls {
        let trial = if c.evaluate_only { ", not enforced yet" } else { "" };
        let severity =
            c.severity.as_deref().map(|s| format!(", severity {}", markdown(s))).unwrap_or_default();
        let head = format!(
            "#### {}: {}{trial}\n\n{}{severity}\n\n",
            name(c),
            outcome_word(c.outcome),
            markdown_code(&c.package)
        );
        page.section_even_if_empty(&head, c.findings.iter().map(kind_bullet), "\n");
    }
    page.finish()
}

/// What the rules of a control did: text of several lines per rule.
#[derive(Clone, Debug)]
pub struct Explained {
    pub package: String,
    /// Per rule its name with the place, and the lines; or why they cannot be told.
    pub rules: Result<Vec<(String, String)>, String>,
}

/// The text of a check run whose explanation was asked for: which rules gave the findings, and what kept the
/// others from holding. What blocks comes first. `note` stands above it.
#[must_use]
pub fn explanation(verdict: &Verdict, explained: &[Explained], note: &str, context: &Context) -> String {
    let command = format!("gatelog policy eval --entry {} --explain", context.entry);
    let footer =
        format!("{}All of this on your own machine: {}\n", proof(verdict, context), markdown_code(&command));
    let mut page = Page::of(footer, command);
    page.paragraph("### Why");
    page.paragraph(note);
    let mut controls: Vec<&Control> = verdict.controls.iter().collect();
    controls.sort_by_key(|c| std::cmp::Reverse(c.outcome.decision()));
    for c in controls {
        let head =
            format!("#### {}: {}\n\n{}\n\n", name(c), outcome_word(c.outcome), markdown_code(&c.package));
        let rules = explained.iter().find(|e| e.package == c.package).map(|e| &e.rules);
        let items: Vec<String> = match rules {
            Some(Ok(rules)) => {
                let rule = |(rule, lines): &(String, String)| {
                    format!("{}\n\n{}\n", markdown_code(rule), markdown_block(lines))
                };
                rules.iter().map(rule).collect()
            }
            Some(Err(why)) => vec![format!("It cannot be told: {}\n", markdown(why))],
            None => vec!["It cannot be told.\n".to_owned()],
        };
        page.section_even_if_empty(&head, items.into_iter(), "\n");
    }
    page.finish()
}

fn kind_bullet(finding: &Finding) -> String {
    let kind = match finding.kind {
        FindingKind::Deny => "denied",
        FindingKind::Error => "error",
        FindingKind::Pending => "waiting",
        FindingKind::Warn => "warning",
        FindingKind::Excepted => "excepted",
    };
    format!("- {kind}: {}", said(finding))
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "passed",
        Outcome::Deny => "not met",
        Outcome::Warn => "passed with warnings",
        Outcome::Pending => "waiting",
        Outcome::Skip => "skipped",
        Outcome::Waived => "waived",
        Outcome::Error => "could not be decided",
    }
}

fn proof(verdict: &Verdict, context: &Context) -> String {
    let subject = match context.pull_request {
        Some(number) => format!("{} pull request {number}", context.repository),
        None => context.repository.to_string(),
    };
    let block = format!(
        "subject    {subject}\nhead       {}\nentry      {}\nleaf       {}\ntree size  {}\nroot       {}\n\
         policy     {}\nengine     {} (rewriter {})\njudged     {}\nvalid      {}",
        context.head,
        context.entry,
        context.leaf,
        context.tree_size,
        context.root,
        verdict.bundle,
        verdict.engine,
        verdict.rewriter,
        context.judged_at,
        verdict.valid_until.map_or_else(|| "until something changes".to_owned(), |t| format!("until {t}")),
    );
    format!(
        "#### Proof\n\n{}\nThe exact document that was judged: `gatelog log show {} --input`\n",
        markdown_block(&block),
        context.entry
    )
}

#[cfg(test)]
mod tests;
