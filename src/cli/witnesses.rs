//! The witnesses that a configuration names, made ready to be asked.

use super::Failure;
use crate::{
    config::{self, Config},
    ledger::{
        cosignature::Cosigner,
        key::Keys,
        note::Verifier,
        quorum::{Policy, Witness},
        witness::Witnesses,
    },
    outbound::Outbound,
};

/// `None`: none are named.
///
/// # Errors
/// Exit 2: what is wrong with a key, a URL or the policy.
pub fn of(config: &Config, outbound: &Outbound) -> Result<Option<Witnesses>, Failure> {
    let wrong = |what: String| Failure::usage(format!("{}: [ledger] {what}", config.file.display()));
    let config::Ledger { origin, key_file, witnesses, quorum_file, publish_only_with_quorum, .. } =
        &config.ledger;
    if witnesses.is_empty() && quorum_file.is_none() {
        return match publish_only_with_quorum {
            true => Err(wrong("publish_only_with_quorum needs [[ledger.witness]] or quorum_file".into())),
            false => Ok(None),
        };
    }
    let (Some(origin), Some(key_file)) = (origin, key_file) else {
        return Err(wrong("witnesses cosign what is signed: origin and key_file are needed, too".into()));
    };
    let named = witnesses.iter().map(|w| {
        let key = w.vkey.parse().map_err(|e| wrong(format!("witness: vkey = {:?}: {e}", w.vkey)))?;
        Ok((key, w.url.clone()))
    });
    let named = named.collect::<Result<Vec<(Cosigner, String)>, Failure>>()?;
    let policy = match quorum_file {
        None => all(named).map_err(wrong)?,
        Some(file) => {
            let failed = |e: &dyn std::fmt::Display| wrong(format!("quorum_file {}: {e}", file.display()));
            let text = std::fs::read(file)
                .map_err(|e| Failure::could_not_run(format!("reading {}: {e}", file.display())))?;
            let mut policy = Policy::parse(&text).map_err(|e| failed(&e))?;
            if !policy.logs.is_empty() && !policy.logs.iter().any(|log| log.name() == origin) {
                return Err(failed(&format!("it is for other logs than {origin}")));
            }
            for (key, url) in named {
                policy.asks(key, url).map_err(|e| failed(&e))?;
            }
            policy
        }
    };
    // A key file that cannot be read is said where it is needed, and there this is looked at again.
    if let Ok(keys) = Keys::read(key_file, origin) {
        let keys: Vec<Verifier> = keys.verifiers().cloned().collect();
        policy.witnesses_others(&keys).map_err(wrong)?;
    }
    Witnesses::new(policy, *publish_only_with_quorum, outbound).map(Some).map_err(wrong)
}

/// Without a policy the word of each is needed.
fn all(named: Vec<(Cosigner, String)>) -> Result<Policy, String> {
    let witness =
        |(key, url): (Cosigner, String)| Witness { name: key.name().to_owned(), key, url: Some(url) };
    Policy::all(named.into_iter().map(witness).collect())
}
