//! What compressing sealed segments saves, what it costs, and what appends notice of it.
//!
//! `cargo bench --bench compress`
//!
//! Bodies are like GitHub's: a pull request payload of about 21 KB, three quarters of it URLs that differ in
//! names and numbers, and facts of about 6 KB.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gatelog::{
    event::{Subject, SubjectKind},
    ledger::{
        Ledger,
        entry::{Body, Draft, Key, Kind},
    },
    store::journal::{Sizes, census::count},
    time::Time,
};

const SIZES: Sizes = Sizes { segment: 16 << 20, ahead: 1 << 20 };
const EVENTS: u64 = 6_000;
const WRITERS: u64 = 16;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        ratio().await;
        for round in 0..3 {
            for compressing in [false, true] {
                appends(round, compressing).await;
            }
        }
    });
}

async fn ratio() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = open(dir.path());
    write(&ledger, 0, EVENTS / 2).await;
    let before = used(dir.path());
    let began = Instant::now();
    let segments = ledger.compress(&mut || true).expect("compressed");
    let took = began.elapsed();
    let (census, _) = count(&dir.path().join("journal"), true).expect("counted");
    let bodies = census.bodies.unwrap_or_default();
    println!(
        "{segments} segments of {} MB in {took:.2?} ({:.0} MB/s, read, compress, sync, read back and compare); \
         journal {:.1} MB, then {:.1} MB; {} of {} bodies compressed",
        SIZES.segment >> 20,
        segments as f64 * (SIZES.segment >> 20) as f64 / took.as_secs_f64(),
        before as f64 / 1e6,
        used(dir.path()) as f64 / 1e6,
        bodies.compressed,
        bodies.compressed + bodies.raw,
    );
    let (mut first, mut n) = (Instant::now(), 0);
    for seq in (1..ledger.head().size).step_by(7) {
        if n == 1 {
            println!("first read of a rewritten segment {:.2?}", first.elapsed());
            first = Instant::now();
        }
        let _ = ledger.body(seq, "payload").expect("read");
        n += 1;
    }
    println!(
        "reads of compressed bodies: {:.1} µs each",
        first.elapsed().as_secs_f64() * 1e6 / f64::from(n - 1)
    );
}

async fn appends(round: u32, compressing: bool) {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = open(dir.path());
    let done = Arc::new(AtomicBool::new(false));
    let (stop, beside) = (done.clone(), ledger.clone());
    let thread = std::thread::spawn(move || {
        let mut segments = 0;
        let _ = rustix::process::nice(10);
        while compressing && !stop.load(Ordering::Relaxed) {
            let mut worked = Instant::now();
            // As the service does: it rests as long as it works.
            let mut pause = || {
                std::thread::sleep(worked.elapsed().min(Duration::from_millis(200)));
                worked = Instant::now();
                !stop.load(Ordering::Relaxed)
            };
            segments += beside.compress(&mut pause).expect("compressed");
            std::thread::sleep(Duration::from_millis(20));
        }
        segments
    });
    let began = Instant::now();
    let lanes = (0..WRITERS).map(|lane| {
        let ledger = ledger.clone();
        tokio::spawn(async move { write(&ledger, lane * EVENTS, EVENTS / WRITERS).await })
    });
    let mut times: Vec<Duration> = vec![];
    for lane in lanes.collect::<Vec<_>>() {
        times.extend(lane.await.expect("a lane"));
    }
    let took = began.elapsed();
    done.store(true, Ordering::Relaxed);
    let segments = thread.join().expect("the thread");
    times.sort_unstable();
    println!(
        "round {round}, {}: {:.0} appends/s, p50 {:.2?}, p99 {:.2?}, max {:.2?}, {segments} segments compressed meanwhile",
        if compressing { "compressing" } else { "not compressing" },
        times.len() as f64 / took.as_secs_f64(),
        times[times.len() / 2],
        times[times.len() * 99 / 100],
        times[times.len() - 1],
    );
}

fn open(dir: &Path) -> Ledger {
    Ledger::open_sized(dir, SIZES, Time::now).expect("a ledger").0
}

async fn write(ledger: &Ledger, from: u64, n: u64) -> Vec<Duration> {
    let mut times = vec![];
    for i in from..from + n {
        let drafts = vec![event(i)];
        let began = Instant::now();
        ledger.append(drafts).await.expect("appended");
        times.push(began.elapsed());
    }
    times
}

fn event(i: u64) -> Draft {
    let subject = Subject {
        kind: SubjectKind::PullRequest,
        installation: Some(1),
        organization: Some(2),
        repository: Some(3),
        id: Some(i),
        head: None,
        base: None,
        ref_kind: None,
    };
    let body = |text: String| Body { bytes: text.into(), media: "application/json" };
    let bodies =
        vec![("payload".into(), body(json(i, 21_000))), ("facts".into(), body(json(i ^ 0xff, 6_000)))];
    let data = serde_json::json!({"name": "pull_request", "flags": []});
    Draft {
        kind: Kind::Event,
        subject,
        key: Key::Delivery { guid: format!("g-{i}") },
        refs: vec![],
        bodies,
        data,
    }
}

fn json(i: u64, size: usize) -> String {
    let mut random = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let mut out = String::from("{");
    while out.len() < size {
        let (a, b) = (next(), next());
        out += &format!(
            "\"url_{}\": \"https://api.github.com/repos/octo-org/app-{}/pulls/{}/comments{{/number}}\", \
             \"sha_{}\": \"{a:016x}{b:016x}{:08x}\", \"updated_at\": \"2026-11-{:02}T{:02}:12:{:02}Z\", ",
            a % 40,
            b % 20,
            i,
            b % 9,
            a as u32,
            a % 28 + 1,
            b % 24,
            a % 60,
        );
    }
    out + "\"end\": true}"
}

fn used(dir: &Path) -> u64 {
    let files = fs::read_dir(dir.join("journal")).expect("the journal");
    files.map(|f| f.expect("a file").metadata().expect("its length").len()).sum()
}
