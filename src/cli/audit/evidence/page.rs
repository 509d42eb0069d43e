//! The page in the evidence: for people who open it with nothing but a browser. It proves nothing.

use serde_json::Value;

use super::{Failure, export::body_json};
use crate::{
    cli::log::{Item, list, payload},
    escape::html,
    ledger::{entry::Kind, evidence::Selection},
    store::journal::mark::Signed,
    verdict::Verdict,
};

/// Says what the files are and how they are checked, with our program or without.
pub const README: &str = include_str!("README.txt");

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
    <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
    <title>Evidence</title>\n<style>\n\
    body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1f2328}\n\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;\
    border-bottom:1px solid #d1d9e0}td.n{font-variant-numeric:tabular-nums;text-align:right}\n\
    .allow{color:#1a7f37}.deny,.error{color:#d1242f}.pending,.superseded{color:#9a6700}\n\
    code,pre{font:13px/1.4 ui-monospace,monospace}pre{overflow:auto;background:#f6f8fa;padding:.6rem}\n\
    .note{background:#fff8c5;border:1px solid #d4a72c66;padding:.6rem 1rem}\n</style></head><body>\n";

pub struct Page {
    rows: String,
    head: String,
}

impl Page {
    pub fn new(selection: &Selection, signed: &Signed) -> Self {
        let what = match selection {
            Selection::PullRequest { repository, number } => {
                format!("pull request {number} of repository {repository}")
            }
            Selection::Entry { entry } => format!("entry {entry}"),
            Selection::Time { since, until, repository } => {
                let time =
                    |t: &Option<crate::time::Time>, none: &str| t.map_or(none.to_owned(), |t| t.to_string());
                let of = repository.map_or(String::new(), |id| format!(" of repository {id}"));
                format!(
                    "everything{of} from {} until {}",
                    time(since, "the beginning"),
                    time(until, "the checkpoint")
                )
            }
        };
        let head = format!(
            "{HEAD}<h1>Evidence: {}</h1>\n<p class=\"note\">This page only shows what is in the other files; it proves \
             nothing by itself. <code>README.txt</code> says how to check them.</p>\n<p>Log <code>{}</code>, signed at \
             {} with {} entries, root <code>{}</code>.</p>\n",
            html(&what),
            html(&signed.origin),
            signed.time,
            signed.size,
            signed.root
        );
        Self { rows: String::new(), head }
    }

    pub fn add(&mut self, item: &Item) -> Result<(), Failure> {
        let Some(entry) = &item.entry else { return Ok(()) };
        let (class, what) = match entry.kind {
            Kind::Event => ("", event(item)),
            Kind::Verdict => verdict(item),
            Kind::Report => ("", html(&list::report(entry))),
            _ => ("", format!("<code>{}</code>", html(&entry.data.to_string()))),
        };
        let kind = html(&list::word(&entry.kind));
        self.rows += &format!(
            "<tr id=\"e{0}\"><td class=\"n\">{0}</td><td>{1}</td><td class=\"{class}\">{kind}</td><td>{what}</td></tr>\n",
            item.seq, entry.time
        );
        Ok(())
    }

    pub fn html(&self) -> String {
        format!(
            "{}<table><thead><tr><th>Entry</th><th>Time</th><th>Kind</th><th>What</th></tr></thead>\n<tbody>\n{}</tbody>\
             </table>\n</body></html>\n",
            self.head, self.rows
        )
    }
}

fn event(item: &Item) -> String {
    let Some(entry) = &item.entry else { return String::new() };
    let name = html(&list::event_name(entry));
    let Some(p) = body_json(item, "payload") else { return format!("{name} <em>(payload redacted)</em>") };
    let action = p.get("action").and_then(Value::as_str);
    let event = entry.data.get("name").and_then(Value::as_str).unwrap_or_default();
    let who = payload::text(&p, "/sender/login").unwrap_or("gatelog");
    format!("{} {}<br><small>{name}</small>", html(who), html(&payload::deed(event, action, &p)))
}

/// Its class for colour, and what it said: every control with its findings.
fn verdict(item: &Item) -> (&'static str, String) {
    let decision = item.entry.as_ref().and_then(|e| {
        serde_json::from_value::<crate::verdict::Decision>(e.data.get("decision")?.clone()).ok()
    });
    let class = decision.map_or("", crate::verdict::Decision::as_str);
    let verdict = body_json(item, "verdict").and_then(|v| serde_json::from_value::<Verdict>(v).ok());
    let Some(verdict) = verdict else { return (class, html(class)) };
    let mut out =
        format!("<strong class=\"{class}\">{}</strong>: {}<ul>\n", html(class), html(&verdict.reason));
    for control in &verdict.controls {
        let outcome = html(&list::word(&control.outcome));
        out += &format!("<li>{} {}: {outcome}", html(&control.id), html(&control.title));
        for finding in &control.findings {
            out += &format!("<br>— {}", html(&finding.msg));
        }
        out += "</li>\n";
    }
    (class, out + "</ul>")
}
