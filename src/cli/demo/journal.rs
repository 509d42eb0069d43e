//! The server's ledger, read from its journal while it runs.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::super::{Exit, Failure};
use crate::{
    ledger::{
        entry::{Entry, Kind, ReportData, VerdictData},
        verify::{self, Verified, VerifyError},
    },
    store::journal::{JournalError, frame::FrameEntry, reader::Groups},
    verdict::{Target, Verdict},
};

/// What is not there after this will not come.
const PATIENCE: Duration = Duration::from_secs(10);

/// An entry and the verdict it carries, if it is one.
pub struct Judged {
    pub seq: u64,
    pub verdict: Verdict,
    pub target: Option<Target>,
}

pub struct Journal {
    pub dir: PathBuf,
}

impl Journal {
    /// Waits for the verdict of an event.
    ///
    /// # Errors
    /// It does not come, or the journal cannot be read.
    pub async fn verdict_of(&self, event: u64) -> Result<Judged, Failure> {
        let found = self
            .wait(event, |entry, stored| {
                if entry.kind != Kind::Verdict || !entry.refs.contains(&event) {
                    return None;
                }
                let data: VerdictData = serde_json::from_value(entry.data.clone()).ok()?;
                let body = stored.bodies.iter().find(|b| b.name == "verdict")?;
                let verdict = serde_json::from_slice(&body.stored).ok()?;
                Some(Judged { seq: entry.seq, verdict, target: data.target })
            })
            .await?;
        found.ok_or_else(|| late(&format!("a verdict on entry {event}")))
    }

    /// Waits until a report covers a verdict. Returns its entry.
    ///
    /// # Errors
    /// It does not come, or the journal cannot be read.
    pub async fn report_of(&self, verdict: u64) -> Result<u64, Failure> {
        let found = self
            .wait(verdict, |entry, _| {
                let data: ReportData = serde_json::from_value(entry.data.clone()).ok()?;
                (entry.kind == Kind::Report && data.covers.contains(&verdict)).then_some(entry.seq)
            })
            .await?;
        found.ok_or_else(|| late(&format!("a report of verdict {verdict}")))
    }

    /// Whether an event has a verdict by now.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn is_judged(&self, event: u64) -> Result<bool, Failure> {
        let verdict =
            |e: &Entry, _: &FrameEntry| (e.kind == Kind::Verdict && e.refs.contains(&event)).then_some(());
        Ok(self.find(event, verdict)?.is_some())
    }

    async fn wait<T>(
        &self,
        from: u64,
        pick: impl Fn(&Entry, &FrameEntry) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let begun = Instant::now();
        loop {
            match self.find(from, &pick)? {
                Some(found) => return Ok(Some(found)),
                None if begun.elapsed() > PATIENCE => return Ok(None),
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// The first entry from `from` on that `pick` takes.
    fn find<T>(
        &self,
        from: u64,
        pick: impl Fn(&Entry, &FrameEntry) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(mut groups) = Groups::open_at(&self.dir, from).map_err(unreadable)? else { return Ok(None) };
        while let Some(group) = groups.next_group().map_err(unreadable)? {
            let later = (group.first..).zip(&group.entries).filter(|(seq, _)| *seq >= from);
            for (_, stored) in later {
                if let Some(found) = Entry::parse(&stored.raw).ok().and_then(|e| pick(&e, stored)) {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}

fn unreadable(e: JournalError) -> Failure {
    Failure::could_not_run(format!("the ledger cannot be read: {e}"))
}

fn late(what: &str) -> Failure {
    Failure::could_not_run(format!("{what} did not come within {} s", PATIENCE.as_secs()))
}

/// # Errors
/// Exit 3 when something is wrong with the ledger.
pub fn verify(dir: &Path) -> Result<Verified, Failure> {
    verify::verify(dir).map_err(|e| match e {
        VerifyError::Failed { at, what } => {
            Failure::new(Exit::Integrity, format!("FAILED at entry {at}: {what}"))
        }
        e @ (VerifyError::Unsigned(_) | VerifyError::CannotRead(_)) => Failure::could_not_run(e.to_string()),
    })
}
