//! `gatelog log status`

use std::{io::Write as _, path::Path};

use http::{Method, StatusCode};
use serde::Serialize;

use super::{CommandResult, Exit, Place};
use crate::{
    cli::runtime,
    escape::terminal as safe,
    server::admin,
    store::journal::{
        census::{Census, count},
        mark,
    },
    time::Time,
};

/// How large the ledger is, on what it stands, and what the running service has taken in.
#[derive(clap::Args)]
pub struct Args {
    /// Do not count bodies: that reads the segments that have no catalog yet.
    #[arg(long)]
    quick: bool,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

#[derive(Debug, Serialize)]
struct Status {
    /// Entries.
    size: u64,
    /// Leaf hash of the last.
    leaf: String,
    /// What the service works on has taken in so many of them. `null`: it does not run.
    applied: Option<u64>,
    /// Process id of the service.
    pid: Option<u64>,
    #[serde(flatten)]
    census: Census,
    disk: Disk,
    /// Everything that the erasures up to this one name is gone.
    erased_through: Option<u64>,
    /// Entries under the last signed checkpoint.
    last_checkpoint: Option<u64>,
    /// Those that ever cosigned, and those that the running service asks.
    witnesses: Vec<Witness>,
    /// What of their quorum the last checkpoint of the running service lacks.
    quorum_missed: Option<String>,
}

#[derive(Debug, Serialize)]
struct Witness {
    name: String,
    /// Entries that it cosigned last, and when.
    size: Option<u64>,
    time: Option<Time>,
    /// Why it did not cosign the last time; only the running service knows.
    trouble: Option<String>,
}

/// Bytes on the disk.
#[derive(Debug, Default, Serialize)]
struct Disk {
    journal: u64,
    sled: u64,
    /// Free in the file system.
    free: Option<u64>,
}

pub fn run(args: &Args) -> CommandResult {
    let (journal, folder) = (args.place.journal()?, args.place.folder()?);
    let service = service(&folder)?;
    let (census, tip) = count(&journal, !args.quick)?;
    let of_service = |name: &str| service.as_ref().and_then(|s| s[name].as_u64());
    let status = Status {
        size: tip.size,
        leaf: tip.leaf.to_string(),
        applied: of_service("applied"),
        pid: of_service("pid"),
        census,
        disk: Disk { journal: used(&journal), sled: used(&folder.join("sled")), free: free(&journal) },
        erased_through: mark::erased(&folder)?,
        last_checkpoint: mark::signed(&folder)?.map(|m| m.size),
        witnesses: witnesses(mark::witnessed(&folder)?, service.as_ref()),
        quorum_missed: service.as_ref().and_then(|s| Some(s["quorum_missed"].as_str()?.to_owned())),
    };
    let mut out = anstream::stdout().lock();
    match args.format {
        Format::Json => writeln!(out, "{}", serde_json::to_string_pretty(&status).unwrap_or_default())?,
        Format::Text => write!(out, "{}", text(&status))?,
    }
    Ok(Exit::Ok)
}

fn witnesses(kept: Option<mark::Witnessed>, service: Option<&serde_json::Value>) -> Vec<Witness> {
    let kept = kept.unwrap_or_default().witnesses.into_iter().map(|(vkey, seen)| {
        let name = vkey.split('+').next().unwrap_or_default().to_owned();
        Witness { name, size: Some(seen.size), time: Some(seen.time), trouble: None }
    });
    let mut all: Vec<Witness> = kept.collect();
    for asked in service.and_then(|s| s["witnesses"].as_array()).into_iter().flatten() {
        let name = asked["name"].as_str().unwrap_or_default();
        let trouble = asked["trouble"].as_str().map(str::to_owned);
        match all.iter_mut().find(|w| w.name == name) {
            Some(witness) => witness.trouble = trouble,
            None => all.push(Witness { name: name.to_owned(), size: None, time: None, trouble }),
        }
    }
    all
}

/// What the running service says; `None`: none runs.
fn service(folder: &Path) -> Result<Option<serde_json::Value>, super::Failure> {
    let answer = runtime()?.block_on(admin::call(folder, Method::GET, "/status"));
    Ok(match answer {
        Ok((StatusCode::OK, body)) => serde_json::from_slice(&body).ok(),
        // The journal answers all the rest.
        _ => None,
    })
}

/// Bytes that the files of a folder take, zeros written ahead included.
fn used(dir: &Path) -> u64 {
    let Ok(items) = std::fs::read_dir(dir) else { return 0 };
    let of = |item: std::fs::DirEntry| match item.metadata() {
        Ok(m) if m.is_dir() => used(&item.path()),
        Ok(m) => m.len(),
        Err(_) => 0,
    };
    items.flatten().map(of).sum()
}

fn free(dir: &Path) -> Option<u64> {
    let s = rustix::fs::statvfs(dir).ok()?;
    (s.f_blocks > 0).then(|| s.f_bavail.saturating_mul(s.f_frsize))
}

fn text(s: &Status) -> String {
    let mut lines = vec![("entries", s.size.to_string())];
    lines.push(match (s.applied, s.pid) {
        (Some(applied), Some(pid)) => ("service", format!("process {pid}, {applied} entries applied")),
        _ => ("service", "does not run".into()),
    });
    let c = &s.census;
    let segments = format!(
        "{}, {} sealed, {} compressed, {} rewritten",
        c.segments, c.sealed, c.compressed, c.rewritten
    );
    lines.push(("segments", segments));
    if let Some(b) = &c.bodies {
        let bodies = b.raw + b.compressed + b.erased;
        lines.push((
            "bodies",
            format!("{bodies}: {} raw, {} compressed, {} erased", b.raw, b.compressed, b.erased),
        ));
        let share = if b.bytes == 0 { 100.0 } else { b.stored as f64 * 100.0 / b.bytes as f64 };
        lines.push(("", format!("{} in {} ({share:.0} %)", size(b.bytes), size(b.stored))));
        if c.by_catalog > 0 {
            let what =
                format!("{} segments as their catalogs say; `gatelog log verify` reads them", c.by_catalog);
            lines.push(("", what));
        }
    }
    let free = s.disk.free.map_or(String::new(), |f| format!(", {} free", size(f)));
    lines.push(("disk", format!("journal {}, sled {}{free}", size(s.disk.journal), size(s.disk.sled))));
    if let Some(through) = s.erased_through {
        lines.push(("erased", format!("all that erasures up to entry {through} name is gone")));
    }
    if let Some(size) = s.last_checkpoint {
        lines.push(("checkpoint", format!("the last one signed is over {size} entries")));
    }
    for (n, w) in s.witnesses.iter().enumerate() {
        let seen = match (w.size, w.time) {
            (Some(size), Some(time)) => format!("cosigned {size} entries, {time}"),
            _ => "cosigned nothing yet".into(),
        };
        let trouble = w.trouble.as_ref().map_or(String::new(), |t| format!("; now: {}", safe(t)));
        let name = if n == 0 { "witnesses" } else { "" };
        lines.push((name, format!("{}: {seen}{trouble}", safe(&w.name))));
    }
    if let Some(missed) = &s.quorum_missed {
        lines.push(("", safe(missed)));
    }
    lines.into_iter().map(|(name, what)| format!("{name:<11}{what}\n")).collect()
}

/// `1.5 MB`; decimal units.
fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "bytes");
    for next in ["kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, next);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::census::Bodies;

    #[test]
    fn status_as_text() {
        let bodies = Bodies { raw: 3, compressed: 40, erased: 2, bytes: 1_540_000, stored: 308_000 };
        let census = Census {
            segments: 3,
            sealed: 2,
            compressed: 2,
            rewritten: 2,
            by_catalog: 2,
            bodies: Some(bodies),
        };
        let status = Status {
            size: 43,
            leaf: "ab".into(),
            applied: Some(42),
            pid: Some(7),
            census,
            disk: Disk { journal: 400_000, sled: 999, free: Some(2_500_000_000) },
            erased_through: Some(40),
            last_checkpoint: Some(42),
            witnesses: vec![
                Witness {
                    name: "witness.example/w1".into(),
                    size: Some(42),
                    time: Some("2026-11-24T15:04:05Z".parse().unwrap()),
                    trouble: None,
                },
                Witness {
                    name: "witness.example/w2".into(),
                    size: None,
                    time: None,
                    trouble: Some("it cannot be reached: Connection refused".into()),
                },
            ],
            quorum_missed: Some("the quorum (all, 2 of 2) is missed".into()),
        };
        insta::assert_snapshot!(text(&status), @r"
        entries    43
        service    process 7, 42 entries applied
        segments   3, 2 sealed, 2 compressed, 2 rewritten
        bodies     45: 3 raw, 40 compressed, 2 erased
                   1.5 MB in 308.0 kB (20 %)
                   2 segments as their catalogs say; `gatelog log verify` reads them
        disk       journal 400.0 kB, sled 999 bytes, 2.5 GB free
        erased     all that erasures up to entry 40 name is gone
        checkpoint the last one signed is over 42 entries
        witnesses  witness.example/w1: cosigned 42 entries, 2026-11-24T15:04:05.000000Z
                   witness.example/w2: cosigned nothing yet; now: it cannot be reached: Connection refused
                   the quorum (all, 2 of 2) is missed
        ");
    }
}
