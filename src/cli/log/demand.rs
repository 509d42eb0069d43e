//! `--witness` and `--quorum`: which cosignatures a verifier demands.

use std::path::PathBuf;

use super::{Exit, Failure, safe};
use crate::ledger::{
    cosignature::Cosigned,
    note::Verifier,
    quorum::{Demand, Policy, Unwitnessed, Witness},
};

#[derive(clap::Args)]
pub(in crate::cli) struct DemandArgs {
    /// Key of a witness that must have cosigned the checkpoint; of several, each.
    #[arg(long = "witness", value_name = "VKEY")]
    witnesses: Vec<String>,
    /// Whose cosignatures are enough: a C2SP tlog-policy.
    #[arg(long, value_name = "FILE")]
    quorum: Option<PathBuf>,
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
