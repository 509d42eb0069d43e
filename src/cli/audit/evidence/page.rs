//! The page in the evidence: for people who open it with nothing but a browser. It proves nothing.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Failure, export::body_json};
use crate::{
    cli::log::{
        Found, Item, list,
        list::{clock, word},
        payload,
    },
    escape::html,
    event::SubjectKind,
    gate::waivers::Words,
    ledger::{
        entry::{Entry, Kind, VerdictData, WaiverData},
        evidence::Selection,
    },
    store::journal::mark::Signed,
    time::Time,
    verdict::{Control, Decision, Finding, Outcome, Verdict},
};

/// Says what the files are and how they are checked, with our program or without.
pub const README: &str = include_str!("README.txt");

const CSS: &str = include_str!("page.css");

pub struct Page {
    selection: Selection,
    origin: String,
    signed: String,
    rows: String,
    /// Of the row before.
    day: String,
    entries: u64,
    gone: u64,
    /// How often each decision was made.
    decisions: BTreeMap<&'static str, u64>,
    last: Option<(Decision, Time)>,
    /// What the verdict before found, so that it is not told twice.
    found: String,
    pull: Pull,
}

/// What the newest payload says of the pull request.
#[derive(Default)]
struct Pull {
    repository: Option<String>,
    title: Option<String>,
    author: Option<String>,
    merged: Option<String>,
}

impl Page {
    pub fn new(selection: &Selection, signed: &Signed) -> Self {
        Self {
            selection: selection.clone(),
            origin: signed.origin.clone(),
            signed: format!("{} entries at {} UTC, root {}", signed.size, clock(signed.time), signed.root),
            rows: String::new(),
            day: String::new(),
            entries: 0,
            gone: 0,
            decisions: BTreeMap::new(),
            last: None,
            found: String::new(),
            pull: Pull::default(),
        }
    }

    pub fn add(&mut self, item: &Item) -> Result<(), Failure> {
        let Some(entry) = &item.entry else { return Ok(()) };
        self.entries += 1;
        let what = match entry.kind {
            Kind::Event => self.event(item, entry),
            Kind::Verdict => self.verdict(item, entry),
            Kind::Report => format!("Shown on GitHub: {}", html(&list::report(entry))),
            Kind::Waiver => exception(item, entry),
            _ => other(entry),
        };
        let files = self.files(item)?;
        let time = clock(entry.time);
        let (day, hour) = time.split_once(' ').unwrap_or((&time, ""));
        if day != self.day {
            self.rows += &format!("<li class=\"day\">{day}</li>\n");
            self.day = day.to_owned();
        }
        let seq = item.seq;
        self.rows += &format!(
            "<li id=\"e{seq}\"><time datetime=\"{}\">{hour}</time><div>{what}</div><div class=\"entry\">entry {seq}\
             {files}</div></li>\n",
            entry.time
        );
        Ok(())
    }

    /// Links to its bodies, which work once the file is unpacked.
    fn files(&mut self, item: &Item) -> Result<String, Failure> {
        let mut out = String::new();
        for name in item.link.bodies.keys() {
            let shown = html(name);
            if let Some(Found::Redacted) = item.body(name)? {
                self.gone += 1;
                out += &format!("<br><span class=\"gone\">{shown} erased</span>");
            } else {
                out += &format!("<br><a href=\"bodies/{}/{shown}\">{shown}</a>", item.seq);
            }
        }
        Ok(out)
    }

    fn event(&mut self, item: &Item, entry: &Entry) -> String {
        let name = html(&list::event_name(entry));
        let Some(p) = body_json(item, "payload") else {
            return format!("{name} <em>(its payload was erased)</em>");
        };
        self.learn(&p);
        let action = p.get("action").and_then(Value::as_str);
        let event = entry.data.get("name").and_then(Value::as_str).unwrap_or_default();
        let who = payload::text(&p, "/sender/login").unwrap_or("gatelog");
        format!("<b>{}</b> {}", html(who), html(&payload::deed(event, action, &p)))
    }

    fn learn(&mut self, p: &Value) {
        let Selection::PullRequest { number, .. } = self.selection else { return };
        let text = |pointer| payload::text(p, pointer).map(str::to_owned);
        self.pull.repository = text("/repository/full_name").or(self.pull.repository.take());
        if p.pointer("/pull_request/number").and_then(Value::as_u64) != Some(number) {
            return;
        }
        self.pull.title = text("/pull_request/title").or(self.pull.title.take());
        self.pull.author = text("/pull_request/user/login").or(self.pull.author.take());
        if p.pointer("/pull_request/merged") == Some(&Value::Bool(true)) {
            let by = text("/pull_request/merged_by/login").map_or(String::new(), |by| format!(" by {by}"));
            self.pull.merged =
                Some(format!("as {}{by}", payload::short_sha(p, "/pull_request/merge_commit_sha")));
        }
    }

    fn verdict(&mut self, item: &Item, entry: &Entry) -> String {
        let Some(data) = list::data::<VerdictData>(entry) else { return "verdict".into() };
        let decision = data.decision;
        *self.decisions.entry(decision.as_str()).or_default() += 1;
        let badge = badge(decision);
        if let Some(newer) = data.superseded_by {
            return format!("{badge} judged together with event {newer}");
        }
        let on = match entry.subject.kind {
            SubjectKind::MergeGroup => "On the merge group: ",
            SubjectKind::Ref => "On the push: ",
            SubjectKind::Deployment => "On the deployment: ",
            _ => "",
        };
        let is_about_it = !matches!(self.selection, Selection::PullRequest { .. })
            || entry.subject.kind == SubjectKind::PullRequest;
        self.last = if is_about_it { Some((decision, entry.time)) } else { self.last };
        let verdict = body_json(item, "verdict").and_then(|v| serde_json::from_value::<Verdict>(v).ok());
        let Some(verdict) = verdict else { return format!("{badge} <em>(its reasons were erased)</em>") };
        let mut out = format!("{badge} {on}{}\n", html(&verdict.reason));
        if let Some(landing) = &data.landing {
            let why = match landing.exceptions.is_empty() {
                true => "as it was allowed".to_owned(),
                false => format!("an exception: {}", html(&landing.exceptions.join(", "))),
            };
            out += &format!("<p><b>What landed</b> ({}) is {why}</p>\n", html(&landing.kind));
        }
        let (loud, quiet): (Vec<_>, Vec<_>) = verdict
            .controls
            .iter()
            .partition(|c| !c.findings.is_empty() || !matches!(c.outcome, Outcome::Pass | Outcome::Skip));
        let found: String = loud.into_iter().map(control).collect();
        if found.is_empty() {
            self.found.clear();
        } else if found == self.found {
            out += "<p class=\"fix\">The same findings as before.</p>\n";
        } else {
            out += &format!("<ul>{found}</ul>\n");
            self.found = found;
        }
        if !quiet.is_empty() {
            let list: String = quiet.iter().map(|c| control(c)).collect();
            out += &format!("<details><summary>{}</summary><ul>{list}</ul></details>\n", counted(&quiet));
        }
        out
    }

    pub fn html(&self) -> String {
        let (title, subtitle) = self.title();
        let mut facts = vec![];
        let pull = &self.pull;
        facts.extend(pull.author.as_ref().map(|a| ("Author", html(a))));
        facts.extend(pull.merged.as_ref().map(|m| ("Merged", html(m))));
        if let Some((decision, time)) = self.last {
            facts.push(("Last verdict", format!("{} {} UTC", badge(decision), clock(time))));
        }
        let verdicts: Vec<String> = self.decisions.iter().map(|(what, n)| format!("{n} {what}")).collect();
        facts.push(("Verdicts", if verdicts.is_empty() { "none".into() } else { verdicts.join(", ") }));
        facts.push(("Entries", format!("{} of the ledger are about it", self.entries)));
        if self.gone > 0 {
            let bodies = if self.gone == 1 { "1 body".to_owned() } else { format!("{} bodies", self.gone) };
            let says = "<code>audit evidence verify</code> says by which erasure and why";
            facts.push(("Erased", format!("{bodies}; {says}")));
        }
        facts.push(("Ledger", format!("<code>{}</code>", html(&self.origin))));
        facts.push(("Signed", html(&self.signed)));
        let facts: String =
            facts.iter().map(|(name, what)| format!("<dt>{name}</dt><dd>{what}</dd>\n")).collect();
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>Evidence: {title}</title>\n<style>\n{CSS}</style></head><body>\n\
             <h1>{title}</h1>\n{subtitle}<dl>\n{facts}</dl>\n\
             <p class=\"note\">This page shows what is in the other files, for reading; it proves nothing by itself. \
             To check them, with the ledger's key (“vkey”) from somebody you trust:</p>\n\
             <pre>gatelog audit evidence verify FILE.zip --vkey VKEY --replay\npython3 verify_evidence.py FILE.zip --vkey VKEY</pre>\n\
             <h2>What happened</h2>\n<p class=\"fix\">Times are UTC, as the ledger recorded them. The names on the right are \
             files, once this is unpacked.</p>\n<ol class=\"story\">\n{}</ol>\n</body></html>\n",
            self.rows
        )
    }

    /// Both escaped; the second is a line of its own, or nothing.
    fn title(&self) -> (String, String) {
        match &self.selection {
            Selection::PullRequest { repository, number } => {
                let name = self.pull.repository.clone().unwrap_or(format!("repository {repository}"));
                let title = self.pull.title.as_ref();
                (
                    html(&format!("{name}#{number}")),
                    title.map_or(String::new(), |t| format!("<p>{}</p>\n", html(t))),
                )
            }
            Selection::Entry { entry } => {
                (format!("Entry {entry}"), "<p>and what belongs to it</p>\n".into())
            }
            Selection::Time { since, until, repository } => {
                let of = repository.map_or(String::new(), |id| format!(" of repository {id}"));
                let time =
                    |t: &Option<Time>, none: &str| t.map_or(none.to_owned(), |t| format!("{} UTC", clock(t)));
                let (since, until) = (time(since, "the beginning"), time(until, "the checkpoint"));
                (format!("Everything{of}"), format!("<p>from {since} until {until}</p>\n"))
            }
        }
    }
}

fn badge(decision: Decision) -> String {
    format!("<span class=\"badge {0}\">{0}</span>", decision.as_str())
}

/// What a control said, as an item of a list.
fn control(c: &Control) -> String {
    let outcome = html(&word(&c.outcome));
    let only = if c.evaluate_only { " (does not block)" } else { "" };
    let why = c.skip_reason.as_ref().map_or(String::new(), |why| format!(": {}", html(why)));
    let findings: String = c.findings.iter().map(finding).collect();
    let findings = if findings.is_empty() { findings } else { format!("<ul>{findings}</ul>") };
    format!(
        "<li class=\"{outcome}\"><b>{outcome}</b>{only} {} {}{why}{findings}</li>\n",
        html(&c.id),
        html(&c.title)
    )
}

fn finding(f: &Finding) -> String {
    let mut out = format!("<li>{}", html(&f.msg));
    if let Some(path) = &f.path {
        let line = f.line.map_or(String::new(), |l| format!(":{l}"));
        out += &format!(" <code>{}{line}</code>", html(path));
    }
    if let Some(who) = &f.who {
        out += &format!("<br><span class=\"fix\">Can fix it: {}</span>", html(who));
    }
    if let Some(fix) = &f.fix {
        out += &format!("<br><span class=\"fix\">How: {}</span>", html(fix));
    }
    out + "</li>"
}

/// `5 controls passed, 3 did not apply`
fn counted(quiet: &[&Control]) -> String {
    let of = |outcome| quiet.iter().filter(|c| c.outcome == outcome).count();
    let (passed, skipped) = (of(Outcome::Pass), of(Outcome::Skip));
    let controls = |n| if n == 1 { "1 control".to_owned() } else { format!("{n} controls") };
    match (passed, skipped) {
        (n, 0) => format!("{} passed", controls(n)),
        (0, n) => format!("{} did not apply", controls(n)),
        (n, m) => format!("{} passed, {m} did not apply", controls(n)),
    }
}

/// A step of an exception, with what was said.
fn exception(item: &Item, entry: &Entry) -> String {
    let Some(data) = list::data::<WaiverData>(entry) else { return other(entry) };
    let name = if data.break_glass { "Break-glass" } else { "Exception" };
    let of = data.of.map_or(String::new(), |of| format!(" (of entry {of})"));
    let controls = match data.controls.is_empty() {
        true => String::new(),
        false => format!(" from {}", html(&data.controls.join(", "))),
    };
    let until = data.until.map_or(String::new(), |t| format!(" until {} UTC", clock(t)));
    let words = body_json(item, "waiver").and_then(|w| serde_json::from_value::<Words>(w).ok());
    let said = match words {
        Some(w) => format!(" by <b>{}</b>: {}", html(&w.by.login), html(&w.reason)),
        None => " <em>(what was said was erased)</em>".into(),
    };
    format!("{name}{controls} {}{of}{until}{said}", html(&word(&data.step)))
}

/// What gatelog recorded of itself.
fn other(entry: &Entry) -> String {
    let text = |name: &str| entry.data.get(name).and_then(Value::as_str).map(html);
    if let (Kind::Service, Some(before)) = (&entry.kind, entry.data.pointer("/predecessor/origin")) {
        let said = |name: &str| html(&entry.data["predecessor"][name].to_string());
        let before = html(before.as_str().unwrap_or_default());
        return format!(
            "The ledger goes on from {before}, which ended with {} entries, root {}",
            said("size"),
            said("root")
        );
    }
    match (&entry.kind, text("event").or_else(|| text("bundle")).or_else(|| text("reason"))) {
        (Kind::Service, Some(event)) => format!("gatelog {event}"),
        (Kind::Policy, Some(bundle)) => format!("Policies became active: <code>{bundle}</code>"),
        (Kind::Erasure, Some(reason)) => format!("Bodies were erased: {reason}"),
        (Kind::Key, Some(event)) => {
            format!("Key of the log {event}: <code>{}</code>", text("vkey").unwrap_or_default())
        }
        _ => format!("{}: <code>{}</code>", html(&word(&entry.kind)), html(&entry.data.to_string())),
    }
}
