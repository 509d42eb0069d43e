//! `gatelog log verify`

use std::io::Write as _;

use super::{CommandResult, Exit, Failure, Place, safe, verify_proof::verifiers};
use crate::ledger::verify::{Covered, Redaction, Verified, VerifyError, verify_signed};

#[derive(clap::Args)]
pub struct Args {
    /// Key of the log, as `gatelog log key show` prints it: fail unless it signed the checkpoint that lies
    /// beside the journal. Several while a key is changed.
    #[arg(long = "vkey", value_name = "VKEY")]
    vkeys: Vec<String>,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> CommandResult {
    let trusted = verifiers(&args.vkeys)?;
    let journal = args.place.journal()?;
    let mut out = anstream::stdout().lock();
    match verify_signed(&journal, &trusted) {
        Ok(found) => {
            write!(out, "{}", text(&found))?;
            Ok(if found.catalogs.is_empty() { Exit::Ok } else { Exit::Integrity })
        }
        Err(VerifyError::Failed { at, what }) => {
            writeln!(out, "If this is a copy made while the service wrote: copy again and verify that.")?;
            writeln!(out, "FAILED at entry {at}: {}", safe(&what))?;
            Ok(Exit::Integrity)
        }
        Err(VerifyError::Unsigned(what)) => {
            writeln!(
                out,
                "If the key was changed: ask for the vkey that signs now (`gatelog log key show`)."
            )?;
            writeln!(out, "FAILED: {}", safe(&what))?;
            Ok(Exit::Integrity)
        }
        Err(VerifyError::CannotRead(what)) => Err(Failure::could_not_run(what)),
    }
}

/// The whole report; its last line is for scripts.
fn text(v: &Verified) -> String {
    let mut out = format!("ledger {}\n", hex::encode(v.ledger_id));
    if let Some(before) = &v.predecessor {
        let origin = safe(&before.origin);
        out += &format!(
            "goes on from {origin}, whose last checkpoint it names: {} entries, root {}\n",
            before.size, before.root
        );
    }
    if let Some((first, last)) = v.times {
        out += &format!("written from {first} to {last}\n");
    }
    out += &format!("{} bodies are what their entries commit to\n", v.bodies);
    if v.redacted_bodies > 0 {
        out += &format!("{} bodies are redacted, each named by an erasure\n", v.redacted_bodies);
    }
    for r in &v.redactions {
        out += &redaction(r);
    }
    if let Some((seq, what)) = v.lints.first() {
        out += &format!(
            "lint: {} entries are not in canonical form, first entry {seq}: {what}\n",
            v.lints.len()
        );
    }
    if let Some(torn) = v.torn {
        out += &format!(
            "note: {torn}: a write in progress, or one that a crash cut short; not part of the ledger\n"
        );
    }
    out += &covered(v.covered.as_ref(), v.entries);
    out += "not proved without a witness or an earlier root: that nobody wrote the whole ledger anew or cut off its end\n";
    if !v.catalogs.is_empty() {
        return out + &catalogs(v);
    }
    match v.entries.checked_sub(1) {
        Some(last) => out += &format!("VERIFIED  entries 0..{last}  root {}\n", v.root),
        None => out += &format!("VERIFIED  no entries  root {}\n", v.root),
    }
    out
}

/// The ledger is whole, and what is kept beside it would hide a part of it.
fn catalogs(v: &Verified) -> String {
    let mut out = format!("entries 0..{} are whole, root {}\n", v.entries.saturating_sub(1), v.root);
    out += "Searches (`log list`, `waiver list`) go by catalogs; somebody changed one. Delete it: it is made again.\n";
    for (first, what) in &v.catalogs {
        out += &format!("FAILED  catalog {first:020}.idx: {what}: its segment says otherwise\n");
    }
    out
}

/// Who vouches for how much of it.
fn covered(covered: Option<&Covered>, entries: u64) -> String {
    match covered {
        Some(Covered { size, signed_by: Some(origin) }) => {
            let mut out =
                format!("signed by a key of {} that you trust: the first {size} entries\n", safe(origin));
            if *size < entries {
                out +=
                    &format!("not proved: entries {size}..{}, which no checkpoint covers yet\n", entries - 1);
            }
            out
        }
        Some(Covered { size, .. }) => format!(
            "not proved without --vkey: that the log's key signed the checkpoint over {size} entries that lies beside the journal\n"
        ),
        None => {
            "not proved: that the log's key signed any of it; there is no checkpoint beside the journal\n"
                .into()
        }
    }
}

fn redaction(r: &Redaction) -> String {
    let (erasure, reason) = (r.erasure, safe(&r.reason));
    let mut out = String::new();
    if r.bodies > 0 {
        let at = if r.entries.len() == 1 { "entry" } else { "entries" };
        out += &format!("redacted at {at} {} (erasure {erasure}: {reason})\n", some_of(&r.entries));
    }
    if r.left > 0 {
        out += &format!(
            "note: erasure {erasure} is not complete: {} bodies that it names are still there; \
             the next start erases them\n",
            r.left
        );
    }
    out
}

/// At most ten of them.
pub(in crate::cli) fn some_of(seqs: &[u64]) -> String {
    let shown: Vec<_> = seqs.iter().take(10).map(ToString::to_string).collect();
    let more = if seqs.len() > 10 { " …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::entry::Hash,
        store::journal::{mark::Signed, recover::Torn},
    };

    #[test]
    fn report() {
        let time = |t: &str| t.parse().unwrap();
        let found = Verified {
            entries: 43,
            root: Hash([0xab; 32]),
            ledger_id: [0x11; 16],
            predecessor: Some(Signed {
                origin: "gate.example.com/log/1".into(),
                size: 7,
                root: Hash([0xcd; 32]),
                time: time("2026-11-20T15:04:05Z"),
                checkpoint: String::new(),
            }),
            times: Some((time("2026-11-24T15:04:05Z"), time("2026-11-25T15:04:05Z"))),
            bodies: 56,
            redacted_bodies: 4,
            redactions: vec![
                Redaction {
                    erasure: 20,
                    reason: "GDPR, ticket 7".into(),
                    bodies: 3,
                    entries: vec![7, 9],
                    left: 0,
                },
                Redaction { erasure: 21, reason: "older".into(), bodies: 1, entries: vec![8], left: 2 },
            ],
            lints: vec![(3, "not in the form of RFC 8785".into())],
            sealed: false,
            torn: Some(Torn { after: Some(42), bytes: 17 }),
            covered: Some(Covered { size: 40, signed_by: None }),
            catalogs: vec![],
        };
        insta::assert_snapshot!(text(&found), @r"
        ledger 11111111111111111111111111111111
        goes on from gate.example.com/log/1, whose last checkpoint it names: 7 entries, root cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd
        written from 2026-11-24T15:04:05.000000Z to 2026-11-25T15:04:05.000000Z
        56 bodies are what their entries commit to
        4 bodies are redacted, each named by an erasure
        redacted at entries 7, 9 (erasure 20: GDPR, ticket 7)
        redacted at entry 8 (erasure 21: older)
        note: erasure 21 is not complete: 2 bodies that it names are still there; the next start erases them
        lint: 1 entries are not in canonical form, first entry 3: not in the form of RFC 8785
        note: torn tail after 42, 17 bytes: a write in progress, or one that a crash cut short; not part of the ledger
        not proved without --vkey: that the log's key signed the checkpoint over 40 entries that lies beside the journal
        not proved without a witness or an earlier root: that nobody wrote the whole ledger anew or cut off its end
        VERIFIED  entries 0..42  root abababababababababababababababababababababababababababababababab
        ");
        let led = Verified { catalogs: vec![(7, "which entries are about what")], ..found };
        insta::assert_snapshot!(catalogs(&led), @r"
        entries 0..42 are whole, root abababababababababababababababababababababababababababababababab
        Searches (`log list`, `waiver list`) go by catalogs; somebody changed one. Delete it: it is made again.
        FAILED  catalog 00000000000000000007.idx: which entries are about what: its segment says otherwise
        ");
        let of = |size, origin: &str| Covered { size, signed_by: Some(origin.to_owned()) };
        insta::assert_snapshot!(covered(Some(&of(43, "gate.example.com/log/1")), 43), @"signed by a key of gate.example.com/log/1 that you trust: the first 43 entries");
        insta::assert_snapshot!(covered(Some(&of(40, "gate.example.com/log/1")), 43), @r"
        signed by a key of gate.example.com/log/1 that you trust: the first 40 entries
        not proved: entries 40..42, which no checkpoint covers yet
        ");
        insta::assert_snapshot!(covered(None, 43), @"not proved: that the log's key signed any of it; there is no checkpoint beside the journal");
    }
}
