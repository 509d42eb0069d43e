//! Power cuts at any step of real runs: nothing that was acknowledged is lost, and service goes on.
//!
//! See `tests/ledger/powercut/lab.rs` for how it works and how a feature is added. 300 states in a plain run,
//! thousands with `GATELOG_EFFORT=long`; the seed is printed, `GATELOG_SEED` repeats a run's states.

mod lab;
mod names;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::common::{
    Random, long, measured,
    scene::{REPO, Scene},
};
use crate::shim::Shim;
use gatelog::{
    ledger::{
        AppendError, Ledger,
        entry::{Hash, Receipt},
        erasure::{
            Cause,
            plan::Wanted,
            run::{Request, RunError},
        },
        key::Keys,
        publish::{Place, Publisher},
    },
    store::{backup, embedded::OpenError, journal::reader::Groups},
    time::Time,
};
use lab::{
    Cut, Player, Run, Task,
    check::{self, LARGEST, ORIGIN, acknowledge, begin_anew, drafts, is_erased, key_file, publication},
    disk::{Folders, Pages},
    trace::{self, Step},
};

// ---- The driver: a process of its own that appends to a ledger and says what was acknowledged.

#[test]
#[ignore = "run by the lab as a process of its own"]
fn child() {
    let Ok(task) = std::env::var("POWERCUT_TASK") else { return };
    let task: Task = serde_json::from_str(&task).unwrap();
    let dir = std::env::var("POWERCUT_LEDGER").unwrap();
    // Ends the line that the test runner has begun.
    say("\n");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    runtime.block_on(work(&task, Path::new(&dir)));
}

async fn work(task: &Task, dir: &Path) {
    if task.forget_sled {
        let _ = fs::remove_dir_all(dir.join("sled"));
    }
    if task.new_generation {
        begin_anew(dir).unwrap();
    }
    let (ledger, _) = match Ledger::open_sized(dir, task.sizes(), Time::now) {
        Ok(opened) => opened,
        Err(OpenError::CannotOpen(_)) => std::process::exit(5),
        Err(e) => panic!("{e}"),
    };
    if task.new_generation {
        say(&format!("ACK generation {}\n", ledger.head().generation));
    }
    let publisher = if task.publish { Some(publisher(&ledger, dir).await) } else { None };
    let done = Arc::new(AtomicBool::new(false));
    let beside: Vec<_> = [
        task.compress.then(|| compress(ledger.clone(), done.clone())),
        task.backup.then(|| back_up(dir.to_owned(), done.clone())),
    ]
    .into_iter()
    .flatten()
    .collect();
    let last = task.first + task.count;
    let lanes = task.at_once.max(1);
    let appending: Vec<_> = (0..lanes)
        .map(|lane| {
            let (ledger, first, erase) = (ledger.clone(), task.first + lane, task.erase);
            let (publisher, rotate_after) = (publisher.clone(), task.rotate_after);
            let start = task.first;
            tokio::spawn(async move {
                for number in (first..last).step_by(lanes as usize) {
                    let receipts = stored(&ledger, number).await;
                    say(&acknowledge(number, &receipts));
                    if erase && is_erased(number) && erased(&ledger, receipts[0].seq).await {
                        say(&format!("ERASED {number} {}\n", receipts[0].seq));
                    }
                    if let Some(publisher) = &publisher {
                        publish(publisher, number - start, rotate_after).await;
                    }
                }
            })
        })
        .collect();
    for lane in appending {
        lane.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for thread in beside {
        thread.join().unwrap();
    }
    tokio::time::sleep(Duration::from_millis(task.linger_ms)).await;
    if task.close {
        // What fails here was acknowledged all the same.
        let _ = ledger.close().await;
    }
}

async fn publisher(ledger: &Ledger, dir: &Path) -> Arc<Publisher> {
    let place = Place { dir: dir.to_owned(), origin: ORIGIN.into(), key_file: key_file(dir) };
    if !place.key_file.exists() {
        Keys::new(ORIGIN).unwrap().write(&place.key_file).unwrap();
    }
    let publisher = Publisher::open(ledger.clone(), place, None).unwrap();
    publisher.begin().await.unwrap();
    publisher
}

/// Publishes, and says what was published; between appends, a change of keys begins and ends.
async fn publish(publisher: &Arc<Publisher>, done: u64, rotate_after: Option<u64>) {
    match rotate_after {
        // A process before this one may have died in the middle of a change.
        Some(n) if done == n => drop(publisher.rotate().await),
        Some(n) if done == 2 * n => drop(publisher.finish_rotation().await),
        _ => {}
    }
    let published = publisher.publish().await.unwrap();
    let keys: Vec<String> = publisher.keys().iter().map(ToString::to_string).collect();
    say(&publication(published.checkpoint.size, published.checkpoint.root, &keys));
}

/// Whether it is gone; on a bad disk it may be recorded and not done yet.
async fn erased(ledger: &Ledger, seq: u64) -> bool {
    let wanted = Wanted::Entry { seq, bodies: vec!["payload".into()] };
    let request = Request { wanted, cause: Cause::LocalOperator, reason: "lab".into(), dry_run: false };
    match ledger.erase(request, vec![]).await {
        Ok(_) => true,
        Err(RunError::Incomplete { .. } | RunError::Append(AppendError::Full)) => false,
        Err(RunError::Append(AppendError::Fatal(_))) => std::process::exit(5),
        Err(e) => panic!("{e}"),
    }
}

fn compress(ledger: Ledger, done: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !done.load(Ordering::Relaxed) {
            // A bad disk keeps it from compressing; nothing else may come of that.
            let _ = ledger.compress(&mut || true);
            std::thread::sleep(Duration::from_millis(3));
        }
    })
}

fn back_up(dir: PathBuf, done: Arc<AtomicBool>) -> JoinHandle<()> {
    let to = dir.with_file_name(lab::BACKUP);
    std::thread::spawn(move || {
        while !done.load(Ordering::Relaxed) {
            if let Ok(done) = backup::backup(&dir.join("journal"), &to, Time::now()) {
                say(&format!("BACKUP {}\n", done.manifest.size));
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    })
}

/// A full disk is waited for; anything worse ends the process, as it ends the service.
async fn stored(ledger: &Ledger, number: u64) -> Vec<Receipt> {
    loop {
        match ledger.append(drafts(number, LARGEST)).await {
            Ok(receipts) => return receipts,
            Err(AppendError::Full) => tokio::time::sleep(Duration::from_millis(2)).await,
            Err(AppendError::Fatal(_)) => std::process::exit(5),
            Err(e) => panic!("{e}"),
        }
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).unwrap();
    out.flush().unwrap();
}

// ---- Scripts

/// Segments of a few groups each, and little filled ahead: rolls and fills all the time.
const SMALL: Task = Task {
    first: 0,
    count: 0,
    at_once: 1,
    segment: 30_000,
    ahead: 6_000,
    forget_sled: false,
    linger_ms: 0,
    close: false,
    publish: false,
    rotate_after: None,
    compress: false,
    erase: false,
    backup: false,
    new_generation: false,
};

/// Plays; returns a task with the sizes that it used.
type Script = fn(&mut Player, &mut Random) -> Task;

/// Load from several sides, then the process just goes.
fn appends(p: &mut Player, _: &mut Random) -> Task {
    let task = Task { count: 60, at_once: 8, segment: 4 << 20, ahead: 64 << 10, linger_ms: 700, ..SMALL };
    p.child(&task, p.shim());
    task
}

fn clean_stops(p: &mut Player, _: &mut Random) -> Task {
    for first in [0, 5, 5, 9] {
        let count = if p.acked == first { 4 } else { 0 };
        p.child(&Task { first, count, close: true, ..SMALL }, p.shim());
    }
    SMALL
}

fn segments_roll(p: &mut Player, _: &mut Random) -> Task {
    p.child(&Task { count: 70, at_once: 3, ..SMALL }, p.shim());
    p.child(&Task { first: 70, count: 10, close: true, ..SMALL }, p.shim());
    SMALL
}

/// Processes that die one after the other, each sent again what the one before may have stored.
fn crashes(p: &mut Player, random: &mut Random) -> Task {
    for _ in 0..8 {
        let task = Task { first: p.acked.saturating_sub(2), count: 12, close: true, ..SMALL };
        p.child(&task, p.shim().die_at(1 + random.below(70)));
    }
    SMALL
}

fn sled_made_again(p: &mut Player, random: &mut Random) -> Task {
    p.child(&Task { count: 12, linger_ms: 600, ..SMALL }, p.shim());
    let task = Task { first: 10, count: 6, forget_sled: true, ..SMALL };
    p.child(&task, p.shim().die_at(30 + random.below(60)));
    p.child(&Task { first: p.acked, count: 6, close: true, ..SMALL }, p.shim());
    SMALL
}

/// A disk that is full now and then, or breaks, at writes of any kind.
fn bad_disks(p: &mut Player, random: &mut Random) -> Task {
    for what in ["ENOSPC", "short", "EIO", "ENOSPC", "short"] {
        let (file, n) = (["journal", "sled", "", "journal"][random.below(4) as usize], 1 + random.below(40));
        let fault = format!("write:{file}:{n}:{}:{what}", 1 + random.below(3));
        let task = Task { first: p.acked.saturating_sub(1), count: 12, close: true, ..SMALL };
        p.child(&task, p.shim().fault(&fault));
    }
    SMALL
}

/// Checkpoints as fast as they can be, in processes that die, one after the other.
fn checkpoints(p: &mut Player, random: &mut Random) -> Task {
    for _ in 0..5 {
        let task = Task { first: p.acked.saturating_sub(1), count: 6, publish: true, ..SMALL };
        p.child(&task, p.shim().die_at(20 + random.below(150)));
    }
    p.child(&Task { first: p.acked, count: 4, publish: true, close: true, ..SMALL }, p.shim());
    SMALL
}

/// Keys that change, in processes that die meanwhile.
fn keys(p: &mut Player, random: &mut Random) -> Task {
    for _ in 0..5 {
        let first = p.acked.saturating_sub(1);
        let task = Task { first, count: 5, publish: true, rotate_after: Some(1), ..SMALL };
        p.child(&task, p.shim().die_at(30 + random.below(150)));
    }
    let task = Task { first: p.acked, count: 5, publish: true, rotate_after: Some(2), close: true, ..SMALL };
    p.child(&task, p.shim());
    SMALL
}

/// Sealed segments are compressed while others are written.
fn compressing(p: &mut Player, random: &mut Random) -> Task {
    let task = Task { count: 40, at_once: 2, compress: true, ..SMALL };
    p.child(&task, p.shim().die_at(150 + random.below(300)));
    p.child(&Task { first: p.acked, count: 30, close: true, ..task }, p.shim());
    task
}

/// Bodies are erased while others are written and what is sealed is compressed; processes die in between.
fn erasing(p: &mut Player, random: &mut Random) -> Task {
    let task = Task { count: 24, at_once: 2, erase: true, compress: true, ..SMALL };
    p.child(&task, p.shim());
    for n in 0..4 {
        let task = Task { first: p.acked.saturating_sub(3), count: 12, close: n == 2, ..task };
        p.child(&task, p.shim().die_at(20 + random.below(120)));
    }
    p.child(&Task { first: p.acked, count: 4, close: true, ..task }, p.shim());
    task
}

fn erasing_on_bad_disks(p: &mut Player, random: &mut Random) -> Task {
    let task = Task { count: 14, erase: true, compress: true, ..SMALL };
    for what in ["ENOSPC", "short", "EIO"] {
        let (file, n) = (["journal", ".new", "erased", ""][random.below(4) as usize], 1 + random.below(60));
        let fault = format!("write:{file}:{n}:{}:{what}", 1 + random.below(3));
        let task = Task { first: p.acked.saturating_sub(1), close: true, ..task };
        p.child(&task, p.shim().fault(&fault));
    }
    task
}

/// The ledger is backed up all the time, while bodies go and segments are replaced.
fn backing_up(p: &mut Player, random: &mut Random) -> Task {
    let task = Task { count: 30, at_once: 2, erase: true, compress: true, backup: true, ..SMALL };
    p.child(&task, p.shim().die_at(300 + random.below(300)));
    p.child(&Task { first: p.acked, count: 20, close: true, ..task }, p.shim());
    task
}

/// A script is played once and cut at `states` places; for long, again and again, because where
/// processes die differs.
fn survives(name: &str, script: Script, states: usize) {
    rounds(name, |random| {
        let run = played(script, random);
        run.all_survive(name, &run.random_cuts(states, random))
    });
}

fn played(script: Script, random: &mut Random) -> Run {
    let mut player = Player::new();
    let task = script(&mut player, random);
    player.done(task.sizes())
}

fn rounds(name: &str, mut round: impl FnMut(&mut Random) -> u64) {
    if crate::shim::library().is_none() {
        return;
    }
    let mut random = Random::seeded(name);
    let survived: u64 = (0..if long() { 20 } else { 1 }).map(|_| round(&mut random)).sum();
    println!("{name}: {survived} states, nothing lost");
    measured(&format!("power cuts: {name}"), &format!("{survived} states, nothing lost"));
}

#[test]
fn a_power_cut_under_load() {
    survives("appends", appends, 40);
}

#[test]
fn a_power_cut_around_a_clean_stop() {
    survives("clean stops", clean_stops, 40);
}

#[test]
fn a_power_cut_while_segments_roll() {
    survives("segments roll", segments_roll, 45);
}

#[test]
fn a_power_cut_after_deaths() {
    survives("crashes", crashes, 50);
}

#[test]
fn a_power_cut_while_sled_is_made_again() {
    survives("sled made again", sled_made_again, 30);
}

#[test]
fn a_power_cut_around_checkpoints() {
    survives("checkpoints", checkpoints, 60);
}

#[test]
fn a_power_cut_while_keys_change() {
    survives("keys", keys, 60);
}

#[test]
fn a_power_cut_on_a_disk_that_fails() {
    survives("bad disks", bad_disks, 35);
}

#[test]
fn a_power_cut_while_segments_are_compressed() {
    survives("compressing", compressing, 40);
}

#[test]
fn a_power_cut_while_bodies_are_erased() {
    survives("erasing", erasing, 60);
}

#[test]
fn a_power_cut_while_bodies_are_erased_on_a_disk_that_fails() {
    survives("erasing on bad disks", erasing_on_bad_disks, 30);
}

#[test]
fn a_power_cut_while_a_backup_is_made() {
    survives("backing up", backing_up, 50);
}

/// The command that begins a new generation dies at a step, is given again and comes to its end; the power
/// goes at any step of both.
#[test]
fn a_power_cut_while_a_new_generation_begins() {
    rounds("new generation", |random| {
        let mut player = Player::new();
        player.child(&Task { count: 8, publish: true, close: true, ..SMALL }, player.shim());
        let task = Task { new_generation: true, close: true, ..SMALL };
        player.child(&task, player.shim().die_at(1 + random.below(30)));
        player.child(&task, player.shim());
        let run = player.done(SMALL.sizes());
        let starts =
            || run.steps.iter().enumerate().filter(|(_, s)| matches!(s, Step::Start)).map(|(n, _)| n);
        let (first, told) =
            (starts().nth(1).unwrap(), |s: &Step| matches!(s, Step::Ack(t) if t.contains("generation 2")));
        let begun = run.steps.iter().position(told).expect("the second one comes to its end");
        let every = if long() { 1 } else { (run.steps.len() - first).div_ceil(12) };
        let mut survived = 0;
        for rule in [Folders::Journaled, Folders::Strict] {
            let pages = || [Pages::Lost, Pages::Kept, Pages::Mixed(45)];
            let steps = (first + random.below(every as u64) as usize..=run.steps.len()).step_by(every);
            let cuts: Vec<Cut> = steps
                .flat_map(|after| pages().map(|pages| Cut { after, rule, pages, seed: after as u64 }))
                .collect();
            run.found(rule, &cuts, |found| {
                let dir = tempfile::tempdir().unwrap();
                found.image.write(&dir.path().join("disk"));
                let ledger = dir.path().join("disk").join(lab::LEDGER);
                let told = found.cut.after > begun;
                let checked = check::new_generation(&ledger, SMALL.sizes(), &found.promised, told);
                checked.unwrap_or_else(|e| panic!("{:?} of {} steps: {e}", found.cut, run.steps.len()));
                survived += 1;
            });
        }
        survived
    });
}

/// A process dies in place of each of its steps in turn, from making the folder to rolling a segment;
/// another goes on where it was and acknowledges; then the power goes, and what was not synced with it.
#[test]
fn a_power_cut_after_a_death_at_every_step() {
    rounds("a death at every step", |random| {
        let mut survived = 0;
        let tiny = Task { segment: 3_000, ahead: 1_000, ..SMALL };
        for n in 1.. {
            let mut player = Player::new();
            player.child(&Task { count: 3, ..tiny }, player.shim().die_at(n));
            let begun = player.acked;
            player.child(&Task { first: player.acked, count: 1, ..tiny }, player.shim());
            let run = player.done(tiny.sizes());
            let mut cuts = run.random_cuts(if long() { 8 } else { 1 }, random);
            // Right after each promise, and at the end.
            cuts.extend(after_promises(&run, random));
            survived += run.all_survive("a death at every step", &cuts);
            if begun == 3 {
                break;
            }
        }
        survived
    });
}

/// The disk as it was synced, right after each promise and at the end.
fn after_promises(run: &Run, random: &mut Random) -> Vec<Cut> {
    let promises = (0..run.steps.len()).filter(|n| matches!(run.steps[*n], Step::Ack(_)));
    let after = promises.map(|n| n + 1).chain([run.steps.len()]);
    let (rule, pages) = (Folders::Strict, Pages::Lost);
    after.map(|after| Cut { after, rule, pages, seed: random.next() }).collect()
}

/// The power goes, comes back, and goes again while the ledger is mended and goes on.
#[test]
fn a_power_cut_after_a_power_cut() {
    rounds("again", |random| {
        let script = [crashes, segments_roll, clean_stops][random.below(3) as usize];
        let first = played(script, random);
        let mut survived = 0;
        for cut in first.random_cuts(5, random) {
            let mut again = None;
            first.found(cut.rule, &[cut], |found| again = Some(Player::on(found.image, found.promised)));
            let mut player = again.unwrap();
            let task = Task { first: player.acked.saturating_sub(1), count: 3, close: true, ..SMALL };
            player.child(&task, player.shim());
            let run = player.done(SMALL.sizes());
            survived += run.all_survive("again", &run.random_cuts(8, random));
        }
        survived
    });
}

// ---- The service itself

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_of_the_service() {
    if crate::shim::library().is_none() {
        return;
    }
    let mut random = Random::seeded("service");
    let mut s = Scene::set().await;
    let data = s.service.dir.join("data");
    fs::create_dir(&data).unwrap();
    let recorded = s.service.dir.join("trace");
    let shim = Shim::over(&data).unwrap().trace(&recorded);
    for n in 0..2 {
        s.service.start_with(shim.env()).await.unwrap();
        let pr = s.pull(&format!("topic-{n}"), "A door").await;
        s.act(|w| w.approve("bob", REPO, pr)).await;
        s.settle().await;
        // Dies the first time, stops the second.
        if n == 0 {
            s.service.kill9().await;
        } else {
            assert_eq!(s.service.stop().await.code(), Some(0), "{}", s.service.log());
        }
    }
    let leaves = leaves(&data.join("journal"));
    let run = Run::of_service(trace::read(&recorded), &leaves);
    let promised = run.steps.iter().filter(|s| matches!(s, Step::Ack(a) if !a.is_empty())).count();
    assert!(promised >= 6, "{promised} acknowledgements were seen");
    let cuts = run.random_cuts(if long() { 400 } else { 20 }, &mut random);
    let survived = run.all_survive("service", &cuts);
    // And the service itself goes on from some of them.
    for cut in &cuts[..if long() { 12 } else { 1 }] {
        let mut image = None;
        run.found(cut.rule, &[*cut], |found| image = Some(found.image));
        fs::remove_dir_all(&data).unwrap();
        image.unwrap().write(&data);
        s.service.start().await;
        s.pull(&format!("after-{}", cut.seed), "A window").await;
        s.settle().await;
        assert_eq!(s.service.stop().await.code(), Some(0), "{cut:?}: {}", s.service.log());
        s.service.verify().await;
    }
    measured("power cuts: service", &format!("{survived} states, nothing lost"));
}

fn leaves(journal: &Path) -> Vec<Hash> {
    let mut groups = Groups::open(journal).unwrap().unwrap();
    let mut all = vec![];
    while let Some(group) = groups.next_group().unwrap() {
        all.extend(group.leaves);
    }
    all
}

/// A lab that finds nothing proves nothing: here it must.
#[test]
fn a_ledger_that_does_not_sync_is_found_out() {
    if crate::shim::library().is_none() {
        return;
    }
    let mut random = Random::new(1);
    let plain = Task { count: 20, ..SMALL };
    let publish = Task { publish: true, ..plain };
    let backup = Task { backup: true, ..plain };
    for (lie, task) in [
        // Files.
        (".seg", plain),
        ("journal", plain),
        ("signed", publish),
        // Folders: what is in the file is durable, and its name is not.
        ("=", plain),
        ("=data", publish),
        ("=data/journal", plain),
        ("=backup", backup),
        ("=backup/journal", backup),
    ] {
        let mut player = Player::new();
        player.child(&task, player.shim().fault(&format!("sync:{lie}:1:0:lie")));
        let run = player.done(SMALL.sizes());
        let mut cuts = run.random_cuts(20, &mut random);
        cuts.extend(after_promises(&run, &mut random));
        let (_, lost) = run.survivors("no sync", &cuts);
        assert!(!lost.is_empty(), "{lie} was not noticed");
    }
}
