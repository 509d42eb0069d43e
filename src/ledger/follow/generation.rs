//! A log that goes on under another name: `…/log/2` after `…/log/1`, because what was signed was lost.
//!
//! Entry 0 of the new one holds the last signed checkpoint of the one before. Whoever followed that one holds it
//! against what was seen: a new generation is no way to make anybody forget.

use serde::{Deserialize, Serialize};

use super::{Fetch, FollowError, Misbehaviour, State, prove::prove_under};
use crate::{
    ledger::{checkpoint::Checkpoint, entry::Entry, note::Verifier, publish::generation_of},
    store::journal::mark::Signed,
};

/// How a generation begins, held against what was seen of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Origin of the one before.
    pub before: String,
    /// Entries of it that were seen.
    pub seen: u64,
    /// Entries of it that its last checkpoint holds, as the new one says. Where they are more, nobody shows any
    /// more what came after those that were seen, nor that it went on from them.
    pub named: u64,
}

/// The first entry of a generation, and its proof under a signed checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Beginning {
    /// As it was hashed.
    pub entry: String,
    /// `c2sp.org/tlog-proof@v1`
    pub proof: String,
}

/// Whether `new` is the generation after `old`.
pub(super) fn follows(old: &str, new: &str) -> bool {
    matches!((generation_of(old), generation_of(new)), (Some((a, n)), Some((b, m))) if a == b && n.checked_add(1) == Some(m))
}

/// What the first entry of the log that `note` is a checkpoint of says of `old`, which was seen with `kept`.
///
/// # Errors
/// It does not name what was seen, or contradicts it.
pub(super) fn begun(
    (old, kept): (&Checkpoint, &str),
    (note, new): (&[u8], &Checkpoint),
    trusted: &[Verifier],
    fetch: &mut Fetch<'_>,
) -> Result<Begun, FollowError> {
    let (proof, raw) = prove_under(note, new, 0, fetch)?;
    let broken =
        |what: String| FollowError::Broken { at: 0, what: format!("{} begins, and {what}", new.origin) };
    let lost =
        |what: &str| broken(format!("{what} of {}, of which {} entries were seen", old.origin, old.size));
    let entry = Entry::parse(&raw).map_err(|e| broken(format!("its first entry cannot be read: {e}")))?;
    let named = entry.data.get("predecessor").and_then(|p| Signed::deserialize(p).ok());
    let named = named.ok_or_else(|| lost("does not name the last checkpoint"))?;
    let last = Checkpoint::open(named.checkpoint.as_bytes(), trusted)
        .ok()
        .filter(|last| last.origin == old.origin)
        .ok_or_else(|| lost("names what no key that you trust has signed as the last checkpoint"))?;
    let what = if last.size < old.size {
        format!(
            "{} names {} entries of {}, and {} were signed and seen",
            new.origin, last.size, old.origin, old.size
        )
    } else if last.size == old.size && last.root != old.root {
        format!(
            "{} names another root of the {} entries of {} that were seen",
            new.origin, old.size, old.origin
        )
    } else {
        return Ok(Begun { before: old.origin.clone(), seen: old.size, named: last.size });
    };
    Err(FollowError::Rewritten(Box::new(Misbehaviour {
        what,
        kept: kept.to_owned(),
        served: named.checkpoint,
        prefix: None,
        generation: Some(Beginning {
            entry: String::from_utf8_lossy(&raw).into_owned(),
            proof: proof.text(),
        }),
    })))
}

impl State {
    /// To follow the next generation from its first entry, with what was seen of the one before kept.
    pub(super) fn of_next(&self, old: &Checkpoint, kept: String) -> Self {
        let of_old = |vkey: &String| vkey.parse::<Verifier>().is_ok_and(|v| v.name() == old.origin);
        Self {
            vkeys: self.vkeys.iter().filter(|v| !of_old(v)).cloned().collect(),
            known: self.known.clone(),
            earlier: self.earlier.iter().cloned().chain([kept]).collect(),
            ..Self::default()
        }
    }
}
