//! What came since the last look.

use serde_json::Value;

use super::State;
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
    /// Under which all was checked.
    pub checkpoint: Option<Checkpoint>,
    /// The cosignatures on it that were demanded.
    pub cosigned: Vec<Cosigned>,
    pub events: u64,
    pub allowed: u64,
    pub denied: u64,
    /// Could not be decided, which blocks.
    pub errors: u64,
    /// Denied or undecided, and yet on the branch: verdicts on what was pushed.
    pub bypassed: u64,
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
        match verdict.decision {
            Decision::Allow => self.allowed += 1,
            Decision::Deny => self.denied += 1,
            Decision::Error => self.errors += 1,
            Decision::Pending | Decision::Superseded => return,
        }
        if pushed && verdict.decision != Decision::Allow {
            self.bypassed += 1;
        }
    }

    /// Between a stop, or the last that was heard, and the next start.
    fn service(&mut self, entry: &Entry, state: &mut State) {
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
