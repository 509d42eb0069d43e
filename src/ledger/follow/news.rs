//! What came since the last look.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{State, generation::Begun};
use crate::{
    event::SubjectKind,
    ledger::{
        checkpoint::Checkpoint,
        cosignature::Cosigned,
        entry::{Entry, Kind, VerdictData},
    },
    time::Time,
    verdict::Decision,
};

/// What came since the last look, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Entries that were known.
    pub before: u64,
    /// It is a new generation of the log that was followed.
    pub begun: Option<Begun>,
    /// When the last entry was written: a log that stands still looks like one where nothing happens.
    pub last: Option<Time>,
    /// Under which all was checked.
    pub checkpoint: Option<Checkpoint>,
    /// The cosignatures on it that were demanded.
    pub cosigned: Vec<Cosigned>,
    pub events: u64,
    pub allowed: u64,
    pub denied: u64,
    /// Could not be decided, which blocks.
    pub errors: u64,
    /// What landed on a watched branch though it was not allowed, or without the check being demanded: merge
    /// verdicts with exceptions, by entry. One that takes the place of an earlier one counts in its stead.
    pub bypassed: BTreeSet<u64>,
    /// Verdicts on what was pushed that are not `allow`: also on branches that nobody watches.
    pub denied_pushes: u64,
    /// What was done against the gate itself: forged checks, weakened rules, access that was lost.
    pub tampering: u64,
    /// How often an operator took back an alarm.
    pub acknowledged: u64,
    pub waivers: u64,
    pub erasures: u64,
    /// Times when nobody judged.
    pub gaps: Vec<Gap>,
    /// What became of the log's keys.
    pub keys: Vec<String>,
    /// Entries that are not as gatelog writes them, though nothing is wrong with the chain.
    pub lints: Vec<(u64, String)>,
}

/// The service did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    pub from: Time,
    pub to: Time,
    /// It did not stop: it died, at an unknown time after `from`.
    pub unclean: bool,
    /// The entry that says that it started again.
    pub entry: u64,
}

impl News {
    pub(super) fn take(&mut self, entry: &Entry, state: &mut State) {
        match entry.kind {
            Kind::Event => self.events += 1,
            Kind::Verdict => self.verdict(entry),
            Kind::Waiver => self.waivers += 1,
            Kind::Erasure => self.erasures += 1,
            Kind::Service => self.service(entry, state),
            Kind::Key => self.key(&entry.data, state),
            _ => {}
        }
    }

    fn verdict(&mut self, entry: &Entry) {
        use serde::Deserialize as _;
        let Ok(verdict) = VerdictData::deserialize(&entry.data) else { return };
        let pushed = entry.subject.kind == SubjectKind::Ref;
        if let Some(landing) = &verdict.landing {
            if let Some(before) = landing.instead_of {
                self.bypassed.remove(&before);
            }
            if !landing.exceptions.is_empty() {
                self.bypassed.insert(entry.seq);
            }
        }
        self.tampering += u64::from(verdict.tampering.is_some());
        match verdict.decision {
            Decision::Allow => self.allowed += 1,
            Decision::Deny => self.denied += 1,
            Decision::Error => self.errors += 1,
            Decision::Pending | Decision::Superseded => return,
        }
        if pushed && verdict.decision != Decision::Allow {
            self.denied_pushes += 1;
        }
    }

    /// Between a stop, or the last that was heard, and the next start.
    fn service(&mut self, entry: &Entry, state: &mut State) {
        self.acknowledged += u64::from(entry.data["acknowledged"] == Value::Bool(true));
        match entry.data["event"].as_str() {
            Some("stopped") => state.stopped = Some(entry.time),
            Some("started") => {
                let stopped = state.stopped.take();
                // Entry 0 is made by the first start.
                if let Some(from) = stopped.or(state.time).filter(|_| entry.seq > 1) {
                    let unclean = stopped.is_none();
                    self.gaps.push(Gap { from, to: entry.time, unclean, entry: entry.seq });
                }
            }
            _ => {}
        }
    }

    /// A key that is named beside a trusted one, in what a trusted one signed, is trusted too.
    fn key(&mut self, data: &Value, state: &mut State) {
        let text = |name: &str| data[name].as_str().map(str::to_owned);
        let Some(vkey) = text("vkey") else { return };
        match data["event"].as_str() {
            Some("active") if text("beside").is_some_and(|old| state.vkeys.contains(&old)) => {
                if !state.known.contains(&vkey) {
                    state.known.push(vkey.clone());
                    state.vkeys.push(vkey.clone());
                }
                self.keys.push(format!("a new key signs, beside the old one: {vkey}"));
            }
            Some("active") if !state.known.contains(&vkey) => {
                self.keys.push(format!("a key signs that you do not trust: {vkey}"));
            }
            Some("retired") if state.vkeys.len() > 1 => {
                state.vkeys.retain(|v| *v != vkey);
                self.keys.push(format!("a key signs no more: {vkey}"));
            }
            _ => {}
        }
    }
}
