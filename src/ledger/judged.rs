//! Whether entries say what was judged.
//!
//! The gate after a restart, `log list`, badges and counts go by the data of an entry; a replay goes by the verdict
//! in its body and the facts beside it. Where the two differ, or there is nothing to judge again, a replay that
//! finds nothing wrong shows nothing.

use serde::Deserialize as _;
use serde_json::Value;

use super::entry::{Entry, ReportData, ReportResult};
use crate::{event::SubjectKind, time::Time};

/// What is wrong with what a report says of its verdicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// It follows from them.
    Follows,
    /// It does not, and why.
    Overstated(String),
    /// It shows this entry, which is not here.
    Unknown(u64),
}

/// Of a verdict that a report shows: what it decided (`data.decision`), and whether it is on a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    pub decision: String,
    pub deployment: bool,
}

impl Decided {
    /// `None`: it is no verdict.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let deployment = entry.subject.kind == SubjectKind::Deployment;
        let decision = entry.data.get("decision")?.as_str()?.to_owned();
        (entry.kind == super::entry::Kind::Verdict).then_some(Self { decision, deployment })
    }
}

/// Why a verdict rests on nothing: what allows has its reasons in the body `verdict`, and what is shown as allowed
/// was judged from the body `facts`. (An event of our own App is recorded as allowed, and shown nowhere.)
#[must_use]
pub fn unfounded(verdict: &Entry) -> Option<String> {
    if text(&verdict.data, "decision") != Some("allow") {
        return None;
    }
    let shown = verdict.data.get("target").is_some_and(|t| !t.is_null());
    let needed = ["verdict", "facts"].into_iter().filter(|name| *name == "verdict" || shown);
    let missing = needed.into_iter().find(|name| !verdict.bodies.contains_key(*name))?;
    Some(format!("it allows, and commits to no {missing} that it was made of"))
}

/// What a verdict's entry says otherwise than its body `verdict`, `body`.
#[must_use]
pub fn contradicts(verdict: &Entry, body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let said = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    let of = |name: &str| (verdict.data.get(name), body.get(name));
    for name in ["decision", "bundle", "engine", "rewriter"] {
        let (entry, body) = of(name);
        if entry != body {
            return Some(format!("its {name} is {}, and {} in its body `verdict`", said(entry), said(body)));
        }
    }
    let Some(unnamed) = unnamed_exceptions(verdict, &body) else {
        return Some("the exceptions in its body `verdict` cannot be read".into());
    };
    if let (Some(_), Some(seq)) = (verdict.data.get("waivers"), unnamed.first()) {
        return Some(format!(
            "it does not name the exception of entry {seq}, on which it rests by its body `verdict`"
        ));
    }
    let (entry, body) = of("valid_until");
    let end = |value: Option<&Value>| value.filter(|v| !v.is_null()).map(time);
    let fits = match (end(entry), end(body)) {
        // It is judged again before its policies ask for it.
        (Some(Some(_)) | None, None) => true,
        (Some(Some(entry)), Some(Some(body))) => entry <= body,
        _ => false,
    };
    let what =
        || format!("it is valid until {}, and until {} in its body `verdict`", said(entry), said(body));
    (!fits).then(what)
}

/// Exceptions that the body `verdict` rests on and its entry does not name, as entries of an older gatelog do not.
/// `None`: they cannot be read.
#[must_use]
pub fn unnamed_exceptions(verdict: &Entry, body: &Value) -> Option<Vec<u64>> {
    let list = |value: Option<&Value>| value.map_or(Some(vec![]), |v| v.as_array().cloned());
    let named: Vec<u64> = list(verdict.data.get("waivers"))?.iter().filter_map(Value::as_u64).collect();
    let mut unnamed = vec![];
    for control in list(body.get("controls"))? {
        for by in list(control.as_object()?.get("waived_by"))? {
            match by.as_object()?.get("entry") {
                None | Some(Value::Null) => {}
                Some(entry) => unnamed.extend(Some(entry.as_u64()?).filter(|seq| !named.contains(seq))),
            }
        }
    }
    Some(unnamed)
}

fn time(value: &Value) -> Option<Time> {
    value.as_str()?.parse().ok()
}

fn text<'a>(data: &'a Value, name: &str) -> Option<&'a str> {
    data.get(name)?.as_str()
}

/// Whether a success that a report says was written follows from the verdicts it shows: each allows; of a
/// deployment, the newest one does. A failure harms nobody, and what was withheld or is unknown was not written.
///
/// `decided`: of an entry, if it is here, what it decided; `None` inside: it is no verdict.
pub fn shows<E>(
    report: &Entry,
    decided: &mut dyn FnMut(u64) -> Result<Option<Option<Decided>>, E>,
) -> Result<Shown, E> {
    let Ok(data) = ReportData::deserialize(&report.data) else {
        return Ok(Shown::Overstated("what it shows cannot be read".into()));
    };
    let written = !matches!(data.result, ReportResult::Withheld | ReportResult::Unknown);
    if data.conclusion.as_deref() != Some("success") || !written {
        return Ok(Shown::Follows);
    }
    let Some(newest) = data.covers.iter().max() else {
        return Ok(Shown::Overstated("it shows a success of no verdict".into()));
    };
    for seq in &data.covers {
        match decided(*seq)? {
            None => return Ok(Shown::Unknown(*seq)),
            Some(None) => {
                return Ok(Shown::Overstated(format!("it shows a success of entry {seq}, no verdict")));
            }
            Some(Some(d)) if d.decision != "allow" && !(d.deployment && seq != newest) => {
                let what = format!("it shows a success of entry {seq}, which decided {}", d.decision);
                return Ok(Shown::Overstated(what));
            }
            Some(Some(_)) => {}
        }
    }
    Ok(Shown::Follows)
}
