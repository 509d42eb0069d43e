//! `--witness`, `--quorum` and `--max-age`: what a verifier demands of a checkpoint beside the log's signature.

use std::{path::PathBuf, time::Duration};

use super::{Exit, Failure, safe};
use crate::ledger::{
    cosignature::Cosigned,
    note::Verifier,
    quorum::{Demand, Policy, Unwitnessed, Witness},
};
use crate::time::Time;

#[derive(clap::Args)]
pub(in crate::cli) struct DemandArgs {
    /// Key of a witness that must have cosigned the checkpoint; of several, each.
    #[arg(long = "witness", value_name = "VKEY")]
    witnesses: Vec<String>,
    /// Whose cosignatures are enough: a C2SP tlog-policy.
    #[arg(long, value_name = "FILE")]
    quorum: Option<PathBuf>,
    /// Fail (exit 4) where the last entry, or a cosignature that is demanded, is older: 90m, 36h, 7d. A log that
    /// stands still, or an old checkpoint that is shown again and again, looks like one where nothing happens.
    #[arg(long, value_name = "AGE", value_parser = age)]
    max_age: Option<Duration>,
}

/// `90s`, `15m`, `36h`, `7d`
fn age(text: &str) -> Result<Duration, String> {
    let parts =
        text.char_indices().last().and_then(|(at, unit)| Some((text[..at].parse::<u32>().ok()?, unit)));
    let seconds = parts.and_then(|(n, unit)| {
        let of = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            _ => return None,
        };
        Some(u64::from(n) * of)
    });
    seconds.map(Duration::from_secs).ok_or_else(|| "write it as 90m, 36h or 7d".into())
}

impl DemandArgs {
    /// `logs`: the keys whose checkpoints are believed.
    ///
    /// # Errors
    /// Exit 2: what is no key or no policy, and who is no witness of these logs.
    pub(in crate::cli) fn read(&self, logs: &[Verifier]) -> Result<Demand, Failure> {
        let mut policies = vec![];
        let witness = |text: &String| match text.trim().parse() {
            Ok(key) => Ok(Witness { name: text.clone(), key, url: None }),
            Err(e) => Err(Failure::usage(format!("--witness {}: {e}", safe(text)))),
        };
        let named = self.witnesses.iter().map(witness).collect::<Result<Vec<_>, _>>()?;
        if !named.is_empty() {
            let all = Policy::all(named).map_err(|e| Failure::usage(format!("--witness: {}", safe(&e))))?;
            policies.push(all);
        }
        if let Some(file) = &self.quorum {
            let text = std::fs::read(file)
                .map_err(|e| Failure::could_not_run(format!("reading {}: {e}", file.display())))?;
            let policy = Policy::parse(&text).map_err(|e| {
                Failure::usage(format!("--quorum {}: {}", file.display(), safe(&e.to_string())))
            })?;
            policies.push(policy);
        }
        Demand::new(policies, logs).map_err(|e| Failure::usage(safe(&e)))
    }
}

impl DemandArgs {
    /// What is older than it may be. `last`: the time of the last entry, where it is known.
    ///
    /// # Errors
    /// Exit 2: neither an entry nor a cosignature says a time.
    pub(in crate::cli) fn too_old(
        &self,
        last: Option<Time>,
        cosigned: &[Cosigned],
        now: Time,
    ) -> Result<Option<String>, Failure> {
        let Some(most) = self.max_age else { return Ok(None) };
        let last = last.map(|time| ("the last entry".to_owned(), time));
        let cosigned = cosigned.iter().map(|c| (format!("the cosignature of {}", safe(c.by.name())), c.time));
        let mut times: Vec<(String, Time)> = last.into_iter().chain(cosigned).collect();
        if times.is_empty() {
            let what = "--max-age: nothing in it says how old the checkpoint is; with --witness, its cosignature does";
            return Err(Failure::usage(what));
        }
        times.retain(|(_, time)| now.since(*time) > most);
        let said = |(what, time): &(String, Time)| format!("{what} is of {time}, {}", ago(*time, now));
        Ok(times.first().map(said))
    }
}

/// `3 h ago`
pub(in crate::cli) fn ago(time: Time, now: Time) -> String {
    match now.since(time).as_secs() {
        s @ 0..120 => format!("{s} s ago"),
        s @ 120..7200 => format!("{} min ago", s / 60),
        s @ 7200..172_800 => format!("{} h ago", s / 3600),
        s => format!("{} d ago", s / 86400),
    }
}

/// A line for each cosignature that counted.
pub(in crate::cli) fn text(cosigned: &[Cosigned]) -> String {
    cosigned.iter().map(|c| format!("cosigned by {} at {}\n", safe(c.by.name()), c.time)).collect()
}

/// A cosignature that is wrong is a forgery; one that is missing may come.
pub(in crate::cli) fn exit(e: &Unwitnessed) -> Exit {
    match e {
        Unwitnessed::Note(_) => Exit::Integrity,
        Unwitnessed::Missing(_) => Exit::Incomplete,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::cosignature::CosigningKey;

    fn time(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn ages() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("36h", 129_600), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(age(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "h", "1", "1w", "-1h", "1.5h", "4294967296d", "1h30m", "1é"] {
            assert!(age(bad).is_err(), "{bad}");
        }
        let now = time("2026-11-24T15:04:05Z");
        let said =
            ["2026-11-24T15:04:00Z", "2026-11-24T14:04:05Z", "2026-11-24T01:04:05Z", "2026-11-01T15:04:05Z"];
        let said: Vec<String> = said.into_iter().map(|t| ago(time(t), now)).collect();
        assert_eq!(said, ["5 s ago", "60 min ago", "14 h ago", "23 d ago"]);
        assert_eq!(
            ago(now, time("2026-11-24T15:00:00Z")),
            "0 s ago",
            "the clock of somebody else goes ahead"
        );
    }

    /// The same log, looked at later.
    #[test]
    fn what_stands_still_is_too_old_at_last() {
        let last = time("2026-11-24T15:00:00Z");
        let by = CosigningKey::new("witness.example/w1", &[9; 32]).unwrap().cosigner().clone();
        let cosigned = [Cosigned { by, time: time("2026-11-24T14:30:00Z"), line: String::new() }];
        let args = |max_age| DemandArgs { witnesses: vec![], quorum: None, max_age };
        let hour = args(Some(Duration::from_secs(3600)));
        let said = |cosigned: &[Cosigned], now| hour.too_old(Some(last), cosigned, time(now)).ok().unwrap();
        assert_eq!(said(&cosigned, "2026-11-24T15:30:00Z"), None);
        assert_eq!(
            said(&cosigned, "2026-11-24T15:30:01Z").unwrap(),
            "the cosignature of witness.example/w1 is of 2026-11-24T14:30:00.000000Z, 60 min ago"
        );
        assert_eq!(said(&[], "2026-11-24T16:00:00Z"), None);
        assert_eq!(
            said(&[], "2026-11-24T16:00:01Z").unwrap(),
            "the last entry is of 2026-11-24T15:00:00.000000Z, 60 min ago"
        );
        assert!(args(None).too_old(Some(last), &[], time("2027-11-24T16:00:01Z")).ok().unwrap().is_none());
        assert!(hour.too_old(None, &[], last).is_err());
    }
}
