//! What must be true of a ledger that was found after a power cut.

use std::{fs, path::Path, time::Duration};

use gatelog::{
    ledger::{
        Ledger, OpenReport,
        entry::{Draft, Hash, Ref},
        publish::{Place, Publisher},
        verify::verify,
    },
    store::{
        embedded::OpenError,
        journal::{Sizes, mark},
    },
    time::Time,
    verdict::Decision,
};

use crate::ledger_util::{delivery, verdict};

/// Somebody was told that this is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promise {
    pub seq: u64,
    pub leaf: Hash,
    /// It is the event of this append.
    pub number: Option<u64>,
    /// It is no entry, but a published checkpoint.
    pub published: Option<Published>,
}

/// What everybody may have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub size: u64,
    pub root: Hash,
    /// The public keys that signed it.
    pub keys: Vec<String>,
}

/// The line that says that a checkpoint was published. (It begins as an acknowledgement, so the shim sees it.)
pub fn publication(size: u64, root: Hash, keys: &[String]) -> String {
    format!("ACK checkpoint {size} {root} {}\n", keys.join(" "))
}

fn published(line: &str) -> Option<Published> {
    let mut words = line.strip_prefix("ACK checkpoint ")?.split_whitespace();
    let (size, root) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(Published { size, root, keys: words.map(str::to_owned).collect() })
}

/// The origin and the key of every script.
pub const ORIGIN: &str = "gate.example.com/log/1";

/// In the ledger's folder here, so that it goes through the same cuts.
pub fn key_file(dir: &Path) -> std::path::PathBuf {
    dir.join("log.key")
}

/// The append of this number: an event, mostly with its verdict.
pub fn drafts(number: u64, largest: usize) -> Vec<Draft> {
    let event = delivery(&format!("guid-{number}"), &body(number, largest));
    if number.is_multiple_of(3) {
        return vec![event];
    }
    vec![event, verdict(Ref::InGroup(0), Decision::Allow)]
}

/// Bodies of all sizes, most of them small; incompressible enough to tell one page from another.
fn body(number: u64, largest: usize) -> String {
    let size = (number.wrapping_mul(2_654_435_761) % 1000) as usize * largest / 1000;
    let size = if number.is_multiple_of(4) { size } else { size / 20 };
    let mut text = format!("{{\"number\":{number},\"text\":\"");
    while text.len() < size {
        text.push_str(&format!("{:x} ", text.len() as u64 * (number + 1)));
    }
    text + "\"}"
}

/// The line that acknowledges an append.
pub fn acknowledge(number: u64, receipts: &[gatelog::ledger::entry::Receipt]) -> String {
    let all: Vec<String> = receipts.iter().map(|r| format!("{} {}", r.seq, r.leaf)).collect();
    format!("ACK {number} {}\n", all.join(" "))
}

/// Number of an append (`None`: it is not one of [`drafts`]) and its entries.
type Acknowledged = (Option<u64>, Vec<(u64, Hash)>);

/// What a line acknowledges; `-` in place of the number means none.
pub fn acknowledged(line: &str) -> Option<Acknowledged> {
    let mut words = line.strip_prefix("ACK ")?.split_whitespace();
    let number = words.next()?.parse().ok();
    let mut entries = vec![];
    while let (Some(seq), Some(leaf)) = (words.next(), words.next()) {
        entries.push((seq.parse().ok()?, leaf.parse().ok()?));
    }
    Some((number, entries))
}

/// The acknowledgement in an answer to a delivery (`{"seq":7}`), as the driver would write it; nothing if
/// the answer is to something else.
pub fn answered(http: &str, leaves: &[Hash]) -> String {
    let digits = http.split_once("\"seq\":").map_or("", |(_, rest)| rest);
    let seq = digits.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok());
    seq.map_or(String::new(), |seq: usize| format!("ACK - {seq} {}\n", leaves[seq]))
}

/// What an acknowledgement promises.
pub fn promises(text: &str) -> Vec<Promise> {
    let mut all = vec![];
    for line in text.lines() {
        if let Some(published) = published(line) {
            let (seq, leaf) = (published.size.saturating_sub(1), Hash::default());
            all.push(Promise { seq, leaf, number: None, published: Some(published) });
            continue;
        }
        let Some((number, entries)) = acknowledged(line) else { continue };
        for (i, (seq, leaf)) in entries.into_iter().enumerate() {
            all.push(Promise { seq, leaf, number: number.filter(|_| i == 0), published: None });
        }
    }
    all
}

/// Opens the ledger, looks for everything that was promised, goes on, and opens it again.
///
/// `seed` varies what is not always done: it is slow, or hides what another way shows.
pub fn check(dir: &Path, sizes: Sizes, promised: &[Promise], seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let ledger = open(dir, sizes, promised)?;
        // An acknowledged delivery that comes again is a duplicate, also of what nobody else looked at.
        if let Some((promise, number)) = promised.iter().rev().find_map(|p| Some((p, p.number?))) {
            let again = append(&ledger, drafts(number, LARGEST)).await?;
            if !again.iter().all(|r| r.duplicate) || again[0].seq != promise.seq {
                return Err(format!("append {number} came again and is not known: {again:?}"));
            }
        }
        let size = ledger.head().size;
        let new = append(&ledger, vec![delivery("after the cut", "{}")]).await?;
        if new[0].seq != size || new[0].duplicate {
            return Err(format!("the first new entry is {new:?}, expected {size}"));
        }
        let mut promised = promised.to_vec();
        promised.push(Promise { seq: size, leaf: new[0].leaf, number: None, published: None });
        publish_again(dir, &ledger, &promised).await?;
        if seed.is_multiple_of(2) {
            ledger.close().await.map_err(|e| format!("closing: {e}"))?;
        }
        let index = ledger.index_snapshot();
        drop(ledger);
        if seed.is_multiple_of(5) {
            fs::remove_dir_all(dir.join("sled")).map_err(|e| e.to_string())?;
        }
        let ledger = open(dir, sizes, &promised)?;
        if ledger.index_snapshot() != index {
            return Err("look-ups answer otherwise after another start".into());
        }
        Ok(())
    })
}

/// Largest body of every script: a body must be made again from its number alone.
pub const LARGEST: usize = 24_000;

async fn append(ledger: &Ledger, drafts: Vec<Draft>) -> Result<Vec<gatelog::ledger::entry::Receipt>, String> {
    ledger.append(drafts).await.map_err(|e| format!("appending: {e}"))
}

fn open(dir: &Path, sizes: Sizes, promised: &[Promise]) -> Result<Ledger, String> {
    let (ledger, report) = open_patiently(dir, sizes).map_err(|e| format!("it does not open: {e}"))?;
    for promise in promised {
        holds(&ledger, promise).map_err(|e| format!("entry {}: {e} ({report:?})", promise.seq))?;
    }
    let head = ledger.head();
    let verified = verify(&dir.join("journal")).map_err(|e| format!("it does not verify: {e}"))?;
    if (verified.entries, verified.root) != (head.size, head.root) {
        return Err(format!("{} entries verify, the ledger has {}", verified.entries, head.size));
    }
    Ok(ledger)
}

/// A process that another test is just starting holds every lock of this one, until it is another
/// program.
fn open_patiently(dir: &Path, sizes: Sizes) -> Result<(Ledger, OpenReport), OpenError> {
    for _ in 0..200 {
        match Ledger::open_sized(dir, sizes, Time::now) {
            Err(OpenError::Locked { .. }) => std::thread::sleep(Duration::from_millis(10)),
            opened => return opened,
        }
    }
    Ledger::open_sized(dir, sizes, Time::now)
}

/// A key that was seen to sign is not lost, and what is signed next goes on from all that was seen.
async fn publish_again(dir: &Path, ledger: &Ledger, promised: &[Promise]) -> Result<(), String> {
    let Some(last) = promised.iter().rev().find_map(|p| p.published.as_ref()) else { return Ok(()) };
    let signed = mark::last_signed(dir).map_err(|e| e.to_string())?.ok_or("nothing is signed")?;
    if signed.size < last.size {
        return Err(format!("{} entries were published, {} are known as signed", last.size, signed.size));
    }
    let place = Place { dir: dir.to_owned(), origin: ORIGIN.into(), key_file: key_file(dir) };
    // The lab keeps no modes.
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&place.key_file, private).map_err(|e| format!("the key file: {e}"))?;
    let publisher =
        Publisher::open(ledger.clone(), place).map_err(|e| format!("it publishes no more: {e}"))?;
    publisher.begin().await.map_err(|e| format!("it publishes no more: {e}"))?;
    let keys: Vec<String> = publisher.keys().iter().map(ToString::to_string).collect();
    // Of a change, the old key may be gone once it was finished; the newest is there.
    match last.keys.last() {
        Some(newest) if !keys.contains(newest) => {
            Err(format!("the key {newest} signed and is lost: {keys:?}"))
        }
        _ => Ok(()),
    }
}

fn holds(ledger: &Ledger, promise: &Promise) -> Result<(), String> {
    if let Some(published) = &promise.published {
        return match ledger.root_of(published.size) {
            Ok(root) if root == published.root => Ok(()),
            other => Err(format!("{published:?} was published, now there is {other:?}")),
        };
    }
    let stored = ledger.entry(promise.seq).map_err(|e| e.to_string())?.ok_or("it is lost")?;
    if promise.leaf != stored.leaf {
        return Err("another one is in its place".into());
    }
    let Some(number) = promise.number else { return Ok(()) };
    let body = ledger.body(promise.seq, "payload").map_err(|e| e.to_string())?.ok_or("its body is lost")?;
    if body != self::body(number, LARGEST) {
        return Err("its body is another one".into());
    }
    Ok(())
}
