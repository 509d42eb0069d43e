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
        backup::{self, BackupError},
        embedded::OpenError,
        generation::{self, SetAsideError},
        journal::{Sizes, mark, reader::Groups},
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
    /// Its body is gone, for good; `leaf` says nothing then.
    pub erased: bool,
    /// A backup of `seq` entries came to its end; nothing else counts then.
    pub backed_up: bool,
}

/// What everybody may have seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub size: u64,
    pub root: Hash,
    /// The public keys that signed it.
    pub keys: Vec<String>,
}

/// The line that says that a checkpoint was published. (Its first word is one that the shim looks for.)
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

/// Beside the ledger's folder, so that it goes through the same cuts; in a folder that nothing else is
/// written to, as most are.
pub fn key_file(dir: &Path) -> std::path::PathBuf {
    dir.with_file_name("log.key")
}

/// Whether a task that erases erases the body of this append. Only what has its verdict can be erased.
pub fn is_erased(number: u64) -> bool {
    number % 3 == 1 && number % 4 < 3
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
            all.push(Promise {
                seq,
                leaf,
                number: None,
                erased: false,
                backed_up: false,
                published: Some(published),
            });
            continue;
        }
        let Some((number, entries)) = acknowledged(line) else { continue };
        for (i, (seq, leaf)) in entries.into_iter().enumerate() {
            all.push(Promise {
                seq,
                leaf,
                number: number.filter(|_| i == 0),
                erased: false,
                backed_up: false,
                published: None,
            });
        }
    }
    for words in text.lines().filter_map(|l| l.strip_prefix("ERASED ")) {
        let (number, seq) = words.split_once(' ').unwrap();
        let (number, seq) = (number.parse().ok(), seq.trim().parse().unwrap());
        all.push(Promise {
            seq,
            leaf: Hash::default(),
            number,
            erased: true,
            backed_up: false,
            published: None,
        });
    }
    for size in text.lines().filter_map(|l| l.strip_prefix("BACKUP ")) {
        let seq = size.trim().parse().unwrap();
        all.push(Promise {
            seq,
            leaf: Hash::default(),
            number: None,
            erased: false,
            backed_up: true,
            published: None,
        });
    }
    all
}

/// Opens the ledger, looks for everything that was promised, goes on, and opens it again.
///
/// `seed` varies what is not always done: it is slow, or hides what another way shows.
pub fn check(dir: &Path, sizes: Sizes, promised: &[Promise], seed: u64) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    gone_from_the_files(dir, promised)?;
    runtime.block_on(async {
        let ledger = open(dir, sizes, promised)?;
        let backed_up = promised.iter().filter(|p| p.backed_up).map(|p| p.seq).max();
        backup_is_a_beginning(dir, &ledger, backed_up)?;
        let promised: Vec<Promise> = promised.iter().filter(|p| !p.backed_up).cloned().collect();
        let promised = &promised[..];
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
        promised.push(Promise {
            seq: size,
            leaf: new[0].leaf,
            number: None,
            erased: false,
            backed_up: false,
            published: None,
        });
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
    if let Some(left) = verified.redactions.iter().find(|r| r.left > 0) {
        return Err(format!("erasure {} is not complete after a start: {left:?}", left.erasure));
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
        Publisher::open(ledger.clone(), place, None).map_err(|e| format!("it publishes no more: {e}"))?;
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
    if promise.backed_up {
        return Ok(());
    }
    let stored = ledger.entry(promise.seq).map_err(|e| e.to_string())?.ok_or("it is lost")?;
    if promise.leaf != stored.leaf && !promise.erased {
        return Err("another one is in its place".into());
    }
    let Some(number) = promise.number else { return Ok(()) };
    let body = ledger.body(promise.seq, "payload").map_err(|e| e.to_string())?;
    match body {
        Some(_) if promise.erased => Err("its body was erased and is here again".into()),
        Some(body) if body != self::body(number, LARGEST) => Err("its body is another one".into()),
        Some(_) => Ok(()),
        // Said by the ledger itself: an erasure that was not acknowledged any more.
        None if ledger.erasure_of(promise.seq, "payload").map_err(|e| e.to_string())?.is_some() => Ok(()),
        None => Err("its body is lost".into()),
    }
}

/// As the operator does after a crash of it: again, until nothing is left to be set aside.
pub fn begin_anew(dir: &Path) -> Result<(), String> {
    match generation::set_aside(dir) {
        Ok(_) | Err(SetAsideError::NothingSigned(_)) => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}

/// The ledger is the old one whole, or refuses to open until the command was given again; then a new one is
/// there that names the last checkpoint, and the old one is aside, whole. `told`: it was said to be there.
pub fn new_generation(dir: &Path, sizes: Sizes, promised: &[Promise], told: bool) -> Result<(), String> {
    match open_patiently(dir, sizes) {
        Ok((ledger, _)) if ledger.head().generation == 2 => names_the_last(dir, &ledger, promised)?,
        Ok(_) | Err(_) if told => return Err("the new generation was there and is not any more".into()),
        Ok((ledger, _)) => promised.iter().try_for_each(|p| holds(&ledger, p))?,
        // In the middle: nothing opens, least of all as if nothing had been signed.
        Err(_) => {}
    }
    begin_anew(dir)?;
    let (ledger, _) = open_patiently(dir, sizes).map_err(|e| format!("the new one does not open: {e}"))?;
    names_the_last(dir, &ledger, promised)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(append(&ledger, vec![delivery("after the cut", "{}")])).map(drop)
}

fn names_the_last(dir: &Path, ledger: &Ledger, promised: &[Promise]) -> Result<(), String> {
    let first = ledger.entry(0).map_err(|e| e.to_string())?.ok_or("there is no entry 0")?.entry;
    let size = first.data["predecessor"]["size"].as_u64();
    let last = promised.iter().filter_map(|p| p.published.as_ref()).map(|p| p.size).max();
    if first.data["generation"] != 2 || size.is_none() || size < last {
        return Err(format!("{last:?} entries were published, the new one begins with {}", first.data));
    }
    let old = dir.join("generation-1/journal");
    let verified = verify(&old).map_err(|e| format!("the old one does not verify: {e}"))?;
    let mut groups = Groups::open(&old).map_err(|e| e.to_string())?.ok_or("the old one has no segments")?;
    let mut leaves = vec![];
    while let Some(group) = groups.next_group().map_err(|e| e.to_string())? {
        leaves.extend(group.leaves);
    }
    let lost = promised
        .iter()
        .filter(|p| p.published.is_none())
        .find(|p| leaves.get(p.seq as usize) != Some(&p.leaf));
    match lost {
        Some(lost) => Err(format!("of {} entries of the old one, {lost:?} is not there", verified.entries)),
        None => Ok(()),
    }
}

/// What was said to be erased is in no file, before anything is opened and completed.
fn gone_from_the_files(dir: &Path, promised: &[Promise]) -> Result<(), String> {
    let gone: Vec<u64> = promised.iter().filter(|p| p.erased).filter_map(|p| p.number).collect();
    let Ok(files) = fs::read_dir(dir.join("journal")) else { return Ok(()) };
    for file in files.map(|f| f.unwrap().path()).filter(|f| f.extension().is_some_and(|e| e == "seg")) {
        let bytes = fs::read(&file).unwrap();
        for number in &gone {
            // The first words of the body name its number.
            let start = format!("{{\"number\":{number},");
            if bytes.windows(start.len()).any(|w| w == start.as_bytes()) {
                return Err(format!("the body of append {number} was erased and is in {}", file.display()));
            }
        }
    }
    Ok(())
}

/// A backup that was being made, if there is one, restores to a beginning of the ledger.
fn backup_is_a_beginning(dir: &Path, ledger: &Ledger, promised: Option<u64>) -> Result<(), String> {
    let from = dir.with_file_name(super::BACKUP);
    if backup::manifest(&from).map_err(|e| e.to_string())?.is_none() {
        return promised.map_or(Ok(()), |size| Err(format!("the backup of {size} entries is not there")));
    }
    let into = dir.with_file_name("restored");
    let verified = backup::restore(&from, &into, backup::Last::Nothing, |journal| {
        verify(journal).map_err(|e| BackupError::Refused(format!("it does not verify: {e}")))
    });
    let found = verified.map_err(|e| format!("the backup: {e}"))?;
    if promised.is_some_and(|size| found.entries < size) {
        return Err(format!("the backup holds {} entries, {promised:?} were promised", found.entries));
    }
    let Some(last) = found.entries.checked_sub(1) else { return Ok(()) };
    let Some(mut groups) = Groups::open_at(&into.join("journal"), last).map_err(|e| e.to_string())? else {
        return Err("the restored ledger has no segments".into());
    };
    let mut leaf = Hash::default();
    while let Some(group) = groups.next_group().map_err(|e| e.to_string())? {
        leaf = group.leaves.last().copied().unwrap_or(leaf);
    }
    match ledger.entry(last).map_err(|e| e.to_string())? {
        Some(entry) if entry.leaf == leaf => Ok(()),
        other => {
            Err(format!("the backup ends with entry {last}, the ledger has {:?}", other.map(|e| e.leaf)))
        }
    }
}
