//! A pull request as a story: who did what, what was decided, why, what was shown.

use std::collections::BTreeMap;

use anstyle::{AnsiColor, Style};
use serde_json::Value;

use super::{
    Failure, Item,
    list::{clock, data, event_name, report, word},
    payload, safe,
};
use crate::{
    ledger::entry::{Entry, EventData, Flag, Kind, VerdictData},
    time::Time,
    verdict::{Control, Decision, Outcome, Verdict},
};

pub struct Story {
    number: u64,
    begun: bool,
    last: Option<Time>,
    /// What the verdict before found.
    found: Vec<String>,
}

impl Story {
    pub fn new(number: u64) -> Self {
        Self { number, begun: false, last: None, found: vec![] }
    }

    /// The lines of one entry, in the order of the ledger; the first has the heading before it.
    pub fn entry(
        &mut self,
        item: &Item,
        payload: Option<&Value>,
        names: &BTreeMap<u64, String>,
    ) -> Result<String, Failure> {
        let Some(entry) = &item.entry else { return Ok(String::new()) };
        let lines = match entry.kind {
            Kind::Event => vec![event(entry, payload)],
            Kind::Verdict => self.verdict(entry, item.json("verdict")?),
            Kind::Report => vec![format!("shown: {}", report(entry))],
            _ => vec![safe(entry.kind.as_str())],
        };
        Ok(self.heading(entry, names) + &self.laid_out(item, &lines))
    }

    fn verdict(&mut self, entry: &Entry, body: Option<Value>) -> Vec<String> {
        let Some(data) = data::<VerdictData>(entry) else { return vec!["verdict".into()] };
        let style = colour(data.decision);
        let decision = format!("{style}{}{style:#}", data.decision.as_str());
        if let Some(newer) = data.superseded_by {
            return vec![format!("{decision}: judged together with event {newer}")];
        }
        let Some(verdict) = body.and_then(|v| serde_json::from_value::<Verdict>(v).ok()) else {
            return vec![format!("{decision} (its reasons are not there)")];
        };
        let reason = format!("{decision}: {}", safe(&verdict.reason));
        let loud = |c: &&Control| c.outcome != Outcome::Pass && c.outcome != Outcome::Skip;
        let found: Vec<String> = verdict.controls.iter().filter(loud).flat_map(findings).collect();
        if !found.is_empty() && found == self.found {
            return vec![reason + " (nothing new)"];
        }
        self.found.clone_from(&found);
        [vec![reason], found].concat()
    }

    fn heading(&mut self, entry: &Entry, names: &BTreeMap<u64, String>) -> String {
        if std::mem::replace(&mut self.begun, true) {
            return String::new();
        }
        let name = entry.subject.repository.and_then(|id| names.get(&id));
        let bold = Style::new().bold();
        format!("{bold}{}#{}{bold:#}\n\n", name.map_or("pull request ".into(), |n| safe(n)), self.number)
    }

    /// The time where it changes, the entry's number, the text; more lines are indented under it.
    fn laid_out(&mut self, item: &Item, lines: &[String]) -> String {
        let time = clock(item.link.time);
        let same = self.last.replace(item.link.time).is_some_and(|last| clock(last) == time);
        let time = if same { String::new() } else { time };
        let mut out = vec![];
        for (i, line) in lines.iter().enumerate() {
            out.push(if i == 0 {
                format!("{time:19}  {:>6}  {line}", item.seq)
            } else {
                format!("{:19}  {:6}    {line}", "", "")
            });
        }
        out.join("\n")
    }
}

fn event(entry: &Entry, payload: Option<&Value>) -> String {
    let data = data::<EventData>(entry);
    let Some((event, payload)) = data.as_ref().zip(payload) else {
        return format!("{} (its payload is not there)", event_name(entry));
    };
    let who = payload::text(payload, "/sender/login").unwrap_or("gatelog");
    let deed = payload::deed(&event.name, event.action.as_deref(), payload);
    let flags: String = event.flags.iter().map(flag).collect();
    let bold = Style::new().bold();
    format!("{bold}{}{bold:#} {}{flags}", safe(who), safe(&deed))
}

fn flag(flag: &Flag) -> String {
    format!("  [{}]", word(flag))
}

fn findings(control: &Control) -> Vec<String> {
    let style = colour(control.outcome.decision());
    let only = if control.evaluate_only { ", does not block" } else { "" };
    let mut lines = vec![];
    for f in &control.findings {
        let kind = word(&f.kind);
        let who = f.who.as_ref().map_or(String::new(), |w| format!("  (can fix it: {})", safe(w)));
        let id = safe(&control.id);
        lines.push(format!("{id} {style}{kind}{style:#}{only}: {}{who}", safe(&f.msg)));
        lines.extend(f.fix.as_ref().map(|fix| format!("    fix: {}", safe(fix))));
    }
    if lines.is_empty() {
        lines.push(format!("{} {style}{}{style:#}{only}", safe(&control.id), word(&control.outcome)));
    }
    lines
}

fn colour(decision: Decision) -> Style {
    let colour = match decision {
        Decision::Allow => AnsiColor::Green,
        Decision::Deny | Decision::Error => AnsiColor::Red,
        Decision::Pending => AnsiColor::Yellow,
        Decision::Superseded => AnsiColor::BrightBlack,
    };
    colour.on_default()
}
