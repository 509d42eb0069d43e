//! `gatelog log monitor`: follows a log from outside, for an auditor's cron.

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::{CommandResult, Exit, Failure, demand, remote::Remote, safe, verify_proof::verifiers};
use crate::{
    ledger::follow::{Begun, FollowError, Misbehaviour, News, State},
    store::files::{self, Locked},
    time::Time,
};

#[derive(clap::Args)]
pub struct Args {
    /// Where the log is served: https://HOST/log
    url: String,
    /// Key of the log, as its operator handed it to you; needed the first time.
    #[arg(long = "vkey", value_name = "VKEY")]
    vkeys: Vec<String>,
    /// What is kept between two looks. Guard it: it is what a rewritten log is found out by.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Certificates to trust beside the system's (PEM).
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    #[command(flatten)]
    demand: demand::DemandArgs,
}

pub fn run(args: &Args) -> CommandResult {
    // Two at once would write over each other what they saw.
    let _lock = lock(&args.state)?;
    let mut state = read(&args.state)?;
    state.trust(&verifiers(&args.vkeys)?);
    if state.vkeys.is_empty() {
        return Err(Failure::usage(
            "the first look needs --vkey: the operator's `gatelog log key show` prints it",
        ));
    }
    let mut out = anstream::stdout().lock();
    let demand = match state.trusted() {
        Ok(trusted) => args.demand.read(&trusted)?,
        Err(e) => return failed(&e, &mut out),
    };
    let remote = Remote::new(&args.url, args.ca_file.as_deref())?;
    match state.follow_witnessed(&demand, &mut |name| remote.get(name)) {
        Ok(news) => {
            save(&args.state, &state)?;
            let now = Time::now();
            write!(out, "{}", text(&news, now))?;
            if let Some(what) = args.demand.too_old(news.last, &news.cosigned, now)? {
                writeln!(out, "FAILED: {what}")?;
                return Ok(Exit::Incomplete);
            }
            Ok(if news.begun.is_some_and(|b| b.named > b.seen) { Exit::Incomplete } else { Exit::Ok })
        }
        Err(FollowError::Rewritten(proof)) => {
            let file = keep(&args.state, &proof)?;
            writeln!(out, "both signed checkpoints are in {}: they prove it to everybody", file.display())?;
            writeln!(out, "FAILED: the log was rewritten: {}", safe(&proof.what))?;
            Ok(Exit::Integrity)
        }
        Err(e) => failed(&e, &mut out),
    }
}

/// Says what is wrong with a log that is looked at from outside.
pub(super) fn failed(e: &FollowError, out: &mut impl io::Write) -> CommandResult {
    let exit = match e {
        FollowError::Unreachable(_) => return Err(Failure::could_not_run(safe(&e.to_string()))),
        FollowError::State(_) => Exit::Usage,
        FollowError::Unwitnessed(e) => demand::exit(e),
        FollowError::Missing(_) | FollowError::NotCovered { .. } | FollowError::Stale { .. } => {
            Exit::Incomplete
        }
        FollowError::Checkpoint(_)
        | FollowError::Broken { .. }
        | FollowError::Tile(_)
        | FollowError::Rewritten(_) => Exit::Integrity,
    };
    writeln!(out, "FAILED: {}", safe(&e.to_string()))?;
    Ok(exit)
}

/// The last line is for scripts.
fn text(news: &News, now: Time) -> String {
    let Some(checkpoint) = &news.checkpoint else { return String::new() };
    let mut out = String::new();
    let (before, size) = (news.before, checkpoint.size);
    if let Some(begun) = &news.begun {
        out += &generation(begun);
    }
    if size == before {
        out += "nothing new\n";
    } else {
        out += &format!("new: entries {before}..{}\n", size - 1);
        out += &format!(
            "{} events, {} allowed, {} denied, {} not decided, {} bypassed, {} waivers, {} erasures\n",
            news.events,
            news.allowed,
            news.denied,
            news.errors,
            news.bypassed.len(),
            news.waivers,
            news.erasures
        );
        out += &format!(
            "{} pushes not allowed, {} against the gate itself, {} alarms acknowledged\n",
            news.denied_pushes, news.tampering, news.acknowledged
        );
    }
    if let Some(last) = news.last {
        out += &format!("last entry {last}, {}\n", demand::ago(last, now));
    }
    for gap in &news.gaps {
        let how = if gap.unclean { "it died after" } else { "stopped" };
        out += &format!("gap: nobody judged: {how} {}, started {} (entry {})\n", gap.from, gap.to, gap.entry);
    }
    for key in &news.keys {
        out += &format!("key: {}\n", safe(key));
    }
    for (seq, what) in news.lints.iter().take(3) {
        out += &format!("lint: entry {seq}: {}\n", safe(what));
    }
    out += &demand::text(&news.cosigned);
    if news.cosigned.is_empty() {
        out += "not proved: that others are shown the same log; compare the root with theirs, or use witnesses\n";
    }
    out + &format!("VERIFIED  {} entries  root {}  {}\n", size, checkpoint.root, safe(&checkpoint.origin))
}

/// The log goes on under another name.
fn generation(Begun { before, seen, named }: &Begun) -> String {
    let before = safe(before);
    let mut out = format!(
        "generation: the log goes on from {before}, whose last checkpoint it names: {named} entries\n"
    );
    match named - seen {
        0 => out += "they are those that you saw\n",
        _ => {
            out += &format!(
                "not proved: entries {seen}..{} of {before}, which nobody shows any more, and that they went on from the {seen} that \
                 you saw\n",
                named - 1
            );
        }
    }
    out
}

fn read(path: &Path) -> Result<State, Failure> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map_err(|e| Failure::usage(format!("{} is no state of a monitor: {e}", path.display()))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(State::default()),
        Err(e) => Err(Failure::could_not_run(format!("reading {}: {e}", path.display()))),
    }
}

/// Held for the whole look.
fn lock(state: &Path) -> Result<files::Lock, Failure> {
    let mut path = state.as_os_str().to_owned();
    path.push(".lock");
    let path = PathBuf::from(path);
    match files::lock_file(&path) {
        Ok(Locked::Ours(lock)) => Ok(lock),
        Ok(Locked::Theirs(pid)) => {
            let by = pid.map_or(String::new(), |pid| format!(" (process {pid})"));
            let what = format!("another monitor{by} is at work with {}: let it end first", state.display());
            Err(Failure::could_not_run(what))
        }
        Err(e) => Err(Failure::could_not_run(format!("locking {}: {e}", path.display()))),
    }
}

fn save(path: &Path, state: &State) -> Result<(), Failure> {
    replace(path, &serde_json::to_vec_pretty(state).map_err(io::Error::other)?)
}

/// Whole or not at all.
fn replace(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|n| n.to_str());
    let name = name.ok_or_else(|| Failure::usage(format!("{} is no name of a file", path.display())))?;
    files::replace(dir, name, content)
        .map_err(|e| Failure::could_not_run(format!("writing {}: {e}", path.display())))
}

/// A proof of misbehaviour is never overwritten.
fn keep(state: &Path, proof: &Misbehaviour) -> Result<PathBuf, Failure> {
    let name = |n: u32| {
        let mut name = state.as_os_str().to_owned();
        name.push(format!(".misbehaviour-{n}.json"));
        PathBuf::from(name)
    };
    let content = serde_json::to_vec_pretty(proof).map_err(io::Error::other)?;
    let known = |path: &PathBuf| std::fs::read(path).is_ok_and(|c| c == content);
    let mut files = (1..).map(name);
    let file = files.find(|f| !f.exists() || known(f)).unwrap_or_else(|| name(0));
    replace(&file, &content)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{checkpoint::Checkpoint, entry::Hash, follow::Gap};

    #[test]
    fn report() {
        let time = |t: &str| t.parse().unwrap();
        let (from, to) = (time("2026-11-24T15:04:05Z"), time("2026-11-24T15:09:05Z"));
        let news = News {
            before: 17,
            begun: Some(Begun { before: "gate.example.com/log/0".into(), seen: 7, named: 9 }),
            checkpoint: Some(Checkpoint {
                origin: "gate.example.com/log/1".into(),
                size: 43,
                root: Hash([0xab; 32]),
            }),
            events: 11,
            allowed: 7,
            denied: 2,
            errors: 1,
            bypassed: [29].into(),
            denied_pushes: 3,
            tampering: 4,
            acknowledged: 5,
            last: Some(to),
            waivers: 0,
            erasures: 0,
            gaps: vec![
                Gap { from, to, unclean: true, entry: 30 },
                Gap { from, to, unclean: false, entry: 40 },
            ],
            cosigned: vec![],
            keys: vec!["a key signs no more: x".into()],
            lints: vec![(20, "not in the form of RFC 8785".into())],
        };
        let now = to.plus(std::time::Duration::from_secs(600));
        insta::assert_snapshot!(text(&news, now), @r"
        generation: the log goes on from gate.example.com/log/0, whose last checkpoint it names: 9 entries
        not proved: entries 7..8 of gate.example.com/log/0, which nobody shows any more, and that they went on from the 7 that you saw
        new: entries 17..42
        11 events, 7 allowed, 2 denied, 1 not decided, 1 bypassed, 0 waivers, 0 erasures
        3 pushes not allowed, 4 against the gate itself, 5 alarms acknowledged
        last entry 2026-11-24T15:09:05.000000Z, 10 min ago
        gap: nobody judged: it died after 2026-11-24T15:04:05.000000Z, started 2026-11-24T15:09:05.000000Z (entry 30)
        gap: nobody judged: stopped 2026-11-24T15:04:05.000000Z, started 2026-11-24T15:09:05.000000Z (entry 40)
        key: a key signs no more: x
        lint: entry 20: not in the form of RFC 8785
        not proved: that others are shown the same log; compare the root with theirs, or use witnesses
        VERIFIED  43 entries  root abababababababababababababababababababababababababababababababab  gate.example.com/log/1
        ");
    }
}
