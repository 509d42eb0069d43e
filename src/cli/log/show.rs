//! `gatelog log show`

use std::{io::Write as _, path::Path};

use serde_json::Value;

use super::{CommandResult, Exit, Failure, Found, Item, Place, entries, pretty, redaction, safe};
use crate::{escape::terminal_block, ledger::entry::Kind};

#[derive(clap::Args)]
pub struct Args {
    /// Number of the entry.
    #[arg(value_parser = super::parse_seq)]
    seq: u64,
    /// Print the input document of a verdict (or of an event's verdict), ready for `policy eval`.
    #[arg(long)]
    input: bool,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> CommandResult {
    let journal = args.place.journal()?;
    let item = find(&journal, args.seq)?;
    let mut out = anstream::stdout().lock();
    if args.input {
        writeln!(out, "{}", pretty(&input(&journal, item)?))?;
    } else {
        show(&journal, &item, &mut out)?;
    }
    Ok(Exit::Ok)
}

pub(super) fn find(journal: &Path, seq: u64) -> Result<Item, Failure> {
    match entries(journal, seq)?.next() {
        Some(item) => item,
        None => Err(Failure::usage(format!("entry {seq} does not exist: the ledger ends before it"))),
    }
}

fn show(journal: &Path, item: &Item, out: &mut impl std::io::Write) -> Result<(), Failure> {
    writeln!(out, "entry {}  leaf {}", item.seq, item.leaf)?;
    writeln!(out, "{}", as_text(&item.raw))?;
    for (name, promised) in &item.link.bodies {
        writeln!(out, "\nbody {}  {}  {} bytes", safe(name), safe(&promised.media), promised.size)?;
        match item.body(name)? {
            Some(Found::Bytes(bytes)) => match item.json(name)? {
                Some(json) => writeln!(out, "{}", pretty(&json))?,
                None => writeln!(out, "{}", as_text(&bytes))?,
            },
            Some(Found::Redacted) => writeln!(out, "{}", redaction(journal, item.seq, name)?)?,
            None => {}
        }
    }
    Ok(())
}

/// JSON, other text, or how many bytes there are.
fn as_text(bytes: &[u8]) -> String {
    if let Ok(json) = serde_json::from_slice::<Value>(bytes) {
        return pretty(&json);
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => terminal_block(text),
        _ => "(not text)".into(),
    }
}

/// The input that entry `seq`, a verdict or an event that has one, was judged by.
///
/// # Errors
/// No such entry, none with an input, a body that was redacted.
pub fn input_of(place: &Place, seq: u64) -> Result<Value, Failure> {
    let journal = place.journal()?;
    let item = find(&journal, seq)?;
    input(&journal, item)
}

/// The input that a verdict judged: its `facts` with the payload of its event put back.
fn input(journal: &Path, item: Item) -> Result<Value, Failure> {
    let verdict = verdict_of(journal, item)?;
    let seq = verdict.seq;
    let incomplete = |what: String| Failure::new(Exit::Incomplete, what);
    let facts = present(journal, &verdict, "facts")?;
    let event = verdict
        .entry
        .as_ref()
        .and_then(|e| e.key.strip_prefix("verdict:")?.parse().ok())
        .ok_or_else(|| incomplete(format!("verdict {seq} does not say which event it answers")))?;
    let payload = present(journal, &find(journal, event)?, "payload")?;
    splice(facts, payload).ok_or_else(|| incomplete(format!("the facts of verdict {seq} name no event")))
}

fn splice(mut facts: Value, payload: Value) -> Option<Value> {
    facts.get_mut("event")?.as_object_mut()?.insert("payload".into(), payload);
    Some(facts)
}

fn present(journal: &Path, item: &Item, name: &str) -> Result<Value, Failure> {
    let incomplete = |what: &str| Failure::new(Exit::Incomplete, format!("entry {}: {what}", item.seq));
    match item.body(name)? {
        None => Err(incomplete(&format!("it has no {name}: it was decided without an input"))),
        Some(Found::Redacted) => {
            Err(incomplete(&format!("its {name}: {}", redaction(journal, item.seq, name)?)))
        }
        Some(Found::Bytes(_)) => {
            item.json(name)?.ok_or_else(|| incomplete(&format!("its {name} is no JSON")))
        }
    }
}

/// The verdict itself, or the one that answers this event.
fn verdict_of(journal: &Path, item: Item) -> Result<Item, Failure> {
    let kind = item.entry.as_ref().map(|e| e.kind.clone());
    match kind {
        Some(Kind::Verdict) => Ok(item),
        Some(Kind::Event) => {
            let key = format!("verdict:{}", item.seq);
            for next in entries(journal, item.seq)? {
                let next = next?;
                if next.entry.as_ref().is_some_and(|e| e.key == key) {
                    return Ok(next);
                }
            }
            Err(Failure::new(Exit::Incomplete, format!("event {} has no verdict yet", item.seq)))
        }
        _ => Err(Failure::usage(format!(
            "entry {} is neither a verdict nor an event: it has no input",
            item.seq
        ))),
    }
}
