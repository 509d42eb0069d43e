//! What landed on a branch: which verdicts stood then (what `facts::landed` proves with), and the merge
//! verdict of a push to a watched branch.

mod deployed;
mod later;

use serde_json::{Value, json};

use super::{Gate, Item};
use crate::{
    event::{About, Account, Event, RefKind, Sha, SubjectKind},
    facts::{
        Facts, Push,
        landed::{self, Judged, JudgedGroup, JudgedPull, Landing, MergedPull},
        rules::Required,
    },
    github::{RepoAt, Trouble},
    ledger::entry::{Kind, LandingData, VerdictData},
    time::Time,
    verdict::Decision,
};

/// The longest chain of merge groups that one push may land.
const MOST_GROUPS: usize = 100;

impl Gate {
    /// Adds what the push is, as far as GitHub's facts and our verdicts prove it.
    pub(super) fn with_landed(&self, repository: u64, mut facts: Facts, landing: Option<&Landing>) -> Facts {
        if let (Some(push), Some(landing)) = (&mut facts.push, landing) {
            let judged = self.judged_before(repository, push, landing);
            push.landed = Some(landed::prove(push, landing, &judged));
        }
        facts
    }

    fn judged_before(&self, repository: u64, push: &Push, landing: &Landing) -> Judged {
        Judged {
            pulls: landing.merged.iter().filter_map(|m| self.judged_pull(repository, m)).collect(),
            groups: self.judged_groups(repository, push),
        }
    }

    /// The last verdict on this pull request at this head while it was open. If what a later one was judged on
    /// cannot be read any more, none stands: it may have been the last.
    fn judged_pull(&self, repository: u64, merged: &MergedPull) -> Option<JudgedPull> {
        for seq in self.0.ledger.of_pull(repository, merged.number).into_iter().rev() {
            let (decision, until, facts) = match self.verdict_on(seq, SubjectKind::PullRequest, &merged.head)
            {
                Found::Nothing => continue,
                Found::Unreadable => return None,
                Found::Verdict { decision, until, facts } => (decision, until, facts),
            };
            let pull = &facts["pull_request"];
            if pull["state"].as_str() != Some("open") {
                continue;
            }
            return Some(JudgedPull {
                number: merged.number,
                head: merged.head.clone(),
                base_ref: pull["base"]["ref"].as_str()?.to_owned(),
                allowed: decision == Decision::Allow,
                until,
                verdict: seq,
                at: facts["time"].as_str()?.parse::<Time>().ok()?,
                commits: commits(&facts["commits"])?,
            });
        }
        None
    }

    /// The groups from the pushed head back towards where the branch was.
    fn judged_groups(&self, repository: u64, push: &Push) -> Vec<JudgedGroup> {
        let mut groups: Vec<JudgedGroup> = Vec::new();
        let mut at = push.after.clone();
        while let Some(head) = at.take() {
            let Some(group) = self.judged_group(repository, &head) else { break };
            let further = group.base.clone().filter(|b| Some(b) != push.before.as_ref());
            at = further.filter(|b| groups.len() < MOST_GROUPS && groups.iter().all(|g| g.head != *b));
            groups.push(group);
        }
        groups
    }

    fn judged_group(&self, repository: u64, head: &Sha) -> Option<JudgedGroup> {
        for seq in self.0.ledger.with_head(head).into_iter().rev() {
            let (decision, until, facts) = match self.verdict_on(seq, SubjectKind::MergeGroup, head) {
                Found::Nothing => continue,
                Found::Unreadable => return None,
                Found::Verdict { decision, until, facts } => (decision, until, facts),
            };
            if facts["repository"]["id"].as_u64() != Some(repository) {
                continue;
            }
            let group = &facts["merge_group"];
            return Some(JudgedGroup {
                head: head.clone(),
                base: group["base_sha"].as_str().and_then(|s| s.parse().ok()),
                base_ref: group["base_ref"].as_str()?.to_owned(),
                allowed: decision == Decision::Allow,
                until,
                verdict: seq,
                pulls: group["entries"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(number_and_head)
                    .collect(),
            });
        }
        None
    }

    /// A verdict on this head that was really judged, with the facts it was judged on.
    fn verdict_on(&self, seq: u64, kind: SubjectKind, head: &Sha) -> Found {
        let Ok(stored) = self.0.ledger.entry(seq) else { return Found::Unreadable };
        let Some(stored) = stored else { return Found::Nothing };
        let subject = &stored.entry.subject;
        if stored.entry.kind != Kind::Verdict || subject.kind != kind || subject.head.as_ref() != Some(head) {
            return Found::Nothing;
        }
        let Ok(data) = serde_json::from_value::<VerdictData>(stored.entry.data) else {
            return Found::Unreadable;
        };
        // The end of a group is recorded too, and decides nothing about it.
        let recorded_only = kind == SubjectKind::MergeGroup && data.target.is_none();
        if data.decision == Decision::Superseded || recorded_only {
            return Found::Nothing;
        }
        let facts = self.0.ledger.body(seq, "facts").ok().flatten();
        match facts.and_then(|f| serde_json::from_slice(&f).ok()) {
            Some(facts) => Found::Verdict { decision: data.decision, until: data.valid_until, facts },
            // Bare verdicts have none.
            None if !stored.entry.bodies.contains_key("facts") => Found::Nothing,
            None => Found::Unreadable,
        }
    }
}

/// What an entry says about a head.
enum Found {
    Nothing,
    /// It was judged, and on what is erased or cannot be read.
    Unreadable,
    Verdict {
        decision: Decision,
        until: Option<Time>,
        facts: Value,
    },
}

/// Commits with how many parents each has.
fn commits(value: &Value) -> Option<Vec<(Sha, usize)>> {
    let one = |c: &Value| Some((c["sha"].as_str()?.parse().ok()?, c["parents"].as_array()?.len()));
    value.as_array()?.iter().map(one).collect()
}

fn number_and_head(entry: &Value) -> Option<(u64, Sha)> {
    let pull = &entry["pull_request"];
    Some((pull["number"].as_u64()?, pull["head"]["sha"].as_str()?.parse().ok()?))
}

/// The merge verdict of a push to a watched branch.
pub(super) struct MergeVerdict {
    pub data: LandingData,
    /// With names, and the rules as they were.
    pub body: Value,
}

impl Gate {
    /// Whether an event is a push to a branch whose every change is accounted for.
    pub(super) fn is_watched_push(&self, item: &Item) -> bool {
        let Some(event) = item.event.as_deref().filter(|e| e.name == "push" && !item.replayed) else {
            return false;
        };
        let default = event.repository.as_ref().and_then(|r| r.default_branch.as_deref());
        matches!(&event.about, About::Ref(r) if r.kind == RefKind::Branch
            && self.0.settings.watched.has(&r.name, default))
    }

    /// Whether what landed was allowed, and had to be.
    ///
    /// # Errors
    /// Only what a later try may mend.
    pub(super) async fn merge_verdict(
        &self,
        at: &RepoAt,
        facts: &Facts,
        landing: Option<&Landing>,
    ) -> Result<Option<MergeVerdict>, Trouble> {
        let Some(push) = &facts.push else { return Ok(None) };
        let bypass = match &push.after {
            Some(after) => self.0.github.bypass(at, &push.ref_name, after).await?,
            None => None,
        };
        let required = facts.base_rules.as_ref().and_then(|r| r.required);
        let kind = push.landed.as_ref().map_or("unknown", |l| l.kind.as_str());
        let data = LandingData {
            kind: kind.to_owned(),
            required: required.map_or("unknown", Required::as_str).to_owned(),
            bypassed: bypass.as_ref().map(Option::is_some),
            exceptions: exceptions(kind, required, bypass.as_ref().is_some_and(Option::is_some)),
            instead_of: None,
        };
        let merged_by: Vec<&Account> =
            landing.iter().flat_map(|l| &l.merged).filter_map(|m| m.merged_by.as_ref()).collect();
        let lacking =
            facts.facts.missing.iter().filter(|m| matches!(m.fact.as_str(), "landed" | "base_rules"));
        let body = json!({
            "repository": at.repository.name,
            "branch": push.ref_name,
            "before": push.before,
            "after": push.after,
            "pusher": push.pusher,
            "pusher_kind": push.pusher_kind,
            "merged_by": merged_by,
            "bypassed_by": bypass.flatten().map(|b| json!({"id": b.actor_id, "login": b.actor_name})),
            "landed": push.landed,
            "rules": facts.base_rules,
            "missing": lacking.collect::<Vec<_>>(),
        });
        Ok(Some(MergeVerdict { data, body }))
    }

    /// The merge verdict where nothing could be told.
    pub(super) fn no_merge_verdict(&self, event: &Event, reason: &str) -> MergeVerdict {
        let data = LandingData {
            kind: "unknown".to_owned(),
            required: "unknown".to_owned(),
            bypassed: None,
            exceptions: exceptions("unknown", None, false),
            instead_of: None,
        };
        let (branch, before, after) = match &event.about {
            About::Ref(r) => (Some(&r.name), r.before.as_ref(), r.after.as_ref()),
            _ => (None, None, None),
        };
        let name = event.repository.as_ref().map(|r| &r.name);
        let body = json!({
            "repository": name, "branch": branch, "before": before, "after": after,
            "missing": [{"fact": "landed", "reason": reason}],
        });
        MergeVerdict { data, body }
    }
}

/// Why a landing is an exception. What cannot be told is one too.
fn exceptions(kind: &str, required: Option<Required>, bypassed: bool) -> Vec<String> {
    let mut why = Vec::new();
    match kind {
        "merge_group" | "merge" | "squash" | "rebase" => {}
        "bypass" | "direct" => why.push("not_allowed"),
        _ => why.push("unknown"),
    }
    match required {
        Some(Required::Bound) => {}
        Some(Required::Unbound) => why.push("not_bound"),
        Some(Required::Missing) => why.push("not_required"),
        None if !why.contains(&"unknown") => why.push("unknown"),
        None => {}
    }
    if bypassed {
        why.push("bypassed");
    }
    why.into_iter().map(str::to_owned).collect()
}

/// An exception in one line, for people.
pub(super) fn sentence(data: &LandingData, body: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or("?").to_owned();
    let login = |v: &Value| v["login"].as_str().map(str::to_owned);
    let after = body["after"].as_str().map_or("nothing (it was deleted)", |s| s.get(..7).unwrap_or(s));
    let by = login(&body["bypassed_by"])
        .or_else(|| login(&body["merged_by"][0]))
        .or_else(|| login(&body["pusher"]))
        .map_or(String::new(), |who| format!(" by {who}"));
    let why: Vec<&str> = data.exceptions.iter().map(|e| reason(e)).collect();
    let landed = &body["landed"]["reason"];
    let detail = landed.as_str().or(body["missing"][0]["reason"].as_str());
    let detail = detail.map_or(String::new(), |d| format!(" ({d})"));
    format!("{after} is on `{}`{by}: {}{detail}", text(&body["branch"]), why.join("; "))
}

fn reason(exception: &str) -> &str {
    match exception {
        "not_allowed" => "it is not what was allowed",
        "not_required" => "GitHub did not demand our check",
        "not_bound" => "GitHub demands our check by anyone, not by our App",
        "bypassed" => "GitHub's rules were bypassed",
        "unknown" => "what it is could not be told",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_allowed_and_had_to_be_is_no_exception() {
        for kind in ["merge_group", "merge", "squash", "rebase"] {
            assert!(exceptions(kind, Some(Required::Bound), false).is_empty());
            assert_eq!(exceptions(kind, Some(Required::Unbound), false), ["not_bound"]);
            assert_eq!(exceptions(kind, Some(Required::Missing), true), ["not_required", "bypassed"]);
            assert_eq!(exceptions(kind, None, false), ["unknown"]);
        }
        assert_eq!(exceptions("direct", Some(Required::Bound), false), ["not_allowed"]);
        assert_eq!(exceptions("bypass", Some(Required::Missing), false), ["not_allowed", "not_required"]);
        assert_eq!(exceptions("unknown", None, false), ["unknown"]);
        assert_eq!(exceptions("of a newer gatelog", Some(Required::Bound), false), ["unknown"]);
    }
}
