//! The entries that the journey writes.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::json;

use crate::{
    event::{About, Cause, Delivery, Event, Repository, Source, Subject, SubjectKind},
    ledger::entry::{
        Body, Draft, EventData, Flag, Key, Kind, LandingData, Ref, ReportData, TamperingData, VerdictData,
    },
    policy::{ENGINE, REWRITER},
    verdict::{Decision, Target, Verdict},
};

/// A pull request that gatelog can be asked to look at again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PullAddress {
    pub installation: u64,
    pub organization: Option<u64>,
    pub repository: Repository,
    pub number: u64,
}

/// The entry of a delivery, readable or not.
pub(super) fn delivery(delivery: &Delivery, event: Option<&Event>, flags: Vec<Flag>) -> Draft {
    let data = EventData {
        name: delivery.name.clone(),
        action: event.and_then(|e| e.action.clone()),
        source: Source::Github,
        cause: None,
        flags,
    };
    let media = delivery.content.media();
    Draft {
        kind: Kind::Event,
        subject: event.map_or(Subject::NONE, Event::subject),
        key: Key::Delivery { guid: delivery.guid.clone() },
        refs: vec![],
        bodies: vec![("payload".into(), Body { bytes: delivery.body.clone(), media })],
        data: json!(data),
    }
}

/// An event of our own: another look at a pull request. `key` makes it happen once.
pub(super) fn look_again(at: &PullAddress, cause: Cause, refs: Vec<Ref>, key: String) -> Draft {
    let mut payload = json!({
        "action": "look_again",
        "cause": cause,
        "installation": {"id": at.installation},
        "repository": {
            "id": at.repository.id,
            "full_name": at.repository.name,
            "default_branch": at.repository.default_branch,
        },
        "pull_request": {"number": at.number},
    });
    if let Some(id) = at.organization {
        payload["organization"] = json!({"id": id});
    }
    let subject = Subject {
        kind: SubjectKind::PullRequest,
        installation: Some(at.installation),
        organization: at.organization,
        repository: Some(at.repository.id),
        id: Some(at.number),
        ..Subject::NONE
    };
    let data = EventData {
        name: "gatelog".into(),
        action: Some("look_again".into()),
        source: Source::Gatelog,
        cause: Some(cause),
        flags: vec![],
    };
    Draft {
        kind: Kind::Event,
        subject,
        key: Key::Plain(key),
        refs,
        bodies: vec![("payload".into(), json_body(&payload))],
        data: json!(data),
    }
}

/// The verdict of an event, with everything it was made of.
pub(super) fn verdict(
    event: Ref,
    subject: Subject,
    verdict: &Verdict,
    facts: Option<Vec<u8>>,
    target: Option<Target>,
) -> Draft {
    let data = VerdictData {
        decision: verdict.decision,
        bundle: verdict.bundle.clone(),
        engine: verdict.engine.clone(),
        rewriter: verdict.rewriter,
        valid_until: verdict.valid_until,
        target,
        superseded_by: None,
        landing: None,
        tampering: None,
        pulls: None,
        waivers: Some(vec![]),
    };
    let mut bodies = vec![("verdict".to_owned(), json_bytes(verdict.to_bytes()))];
    if let Some(facts) = facts {
        bodies.push(("facts".to_owned(), json_bytes(facts)));
    }
    Draft {
        kind: Kind::Verdict,
        subject,
        key: Key::Verdict(event),
        refs: vec![event],
        bodies,
        data: json!(data),
    }
}

/// Makes a verdict end to be valid: that is when it is judged again.
pub(super) fn valid_until(mut draft: Draft, at: crate::time::Time) -> Draft {
    draft.data["valid_until"] = json!(at);
    draft
}

/// Adds what a verdict concerns beside its subject: pull requests, as far as they are known, and the exceptions that
/// it rests on.
pub(super) fn with_concerned(mut draft: Draft, pulls: Option<&[u64]>, waivers: &BTreeSet<u64>) -> Draft {
    if let Some(pulls) = pulls {
        draft.data["pulls"] = json!(pulls);
    }
    draft.data["waivers"] = json!(waivers);
    draft
}

/// Adds the merge verdict to the verdict on a push.
pub(super) fn with_landing(mut draft: Draft, landing: &LandingData, body: &serde_json::Value) -> Draft {
    draft.data["landing"] = json!(landing);
    draft.bodies.push(("landing".to_owned(), json_body(body)));
    draft
}

/// Adds to a verdict what its event does against the gate.
pub(super) fn with_tampering(mut draft: Draft, data: &TamperingData, body: &serde_json::Value) -> Draft {
    draft.data["tampering"] = json!(data);
    draft.bodies.push(("tampering".to_owned(), json_body(body)));
    draft
}

/// The verdict of an event that was judged together with a newer one of the same pull request.
pub(super) fn superseded(event: u64, subject: Subject, newer: u64, bundle: &str) -> Draft {
    let data = VerdictData {
        decision: Decision::Superseded,
        bundle: bundle.to_owned(),
        engine: ENGINE.to_owned(),
        rewriter: REWRITER,
        valid_until: None,
        target: None,
        superseded_by: Some(newer),
        landing: None,
        tampering: None,
        pulls: None,
        waivers: None,
    };
    Draft {
        kind: Kind::Verdict,
        subject,
        key: Key::Verdict(Ref::Seq(event)),
        refs: vec![Ref::Seq(event), Ref::Seq(newer)],
        bodies: vec![],
        data: json!(data),
    }
}

/// What was written to GitHub, or was found to stand there.
pub(super) fn report(subject: Subject, data: &ReportData, request: Option<Vec<u8>>) -> Draft {
    Draft {
        kind: Kind::Report,
        subject,
        key: Key::Own("report"),
        refs: data.covers.iter().map(|seq| Ref::Seq(*seq)).collect(),
        bodies: request.map(|r| ("check_run".to_owned(), json_bytes(r))).into_iter().collect(),
        data: json!(data),
    }
}

/// Started, stopped, acknowledged: what happened to the service itself.
pub(super) fn service(data: serde_json::Value) -> Draft {
    Draft {
        kind: Kind::Service,
        subject: Subject::NONE,
        key: Key::Own("service"),
        refs: vec![],
        bodies: vec![],
        data,
    }
}

/// A bundle became active.
pub(super) fn policy(digest: &str, archive: Vec<u8>) -> Draft {
    let body = Body { bytes: Bytes::from(archive), media: "application/vnd.gatelog.bundle" };
    Draft {
        kind: Kind::Policy,
        subject: Subject::NONE,
        key: Key::Own("policy"),
        refs: vec![],
        bodies: vec![("bundle".into(), body)],
        data: json!({"bundle": digest, "engine": ENGINE, "rewriter": REWRITER}),
    }
}

/// The address of the pull request an event is about, if it says enough to reach it.
pub(super) fn address(event: &Event) -> Option<PullAddress> {
    let About::PullRequest(pull) = &event.about else { return None };
    Some(PullAddress {
        installation: event.installation?,
        organization: event.organization,
        repository: event.repository.clone()?,
        number: pull.number,
    })
}

pub(super) fn json_body(value: &serde_json::Value) -> Body {
    json_bytes(value.to_string().into_bytes())
}

fn json_bytes(bytes: Vec<u8>) -> Body {
    Body { bytes: Bytes::from(bytes), media: "application/json" }
}
