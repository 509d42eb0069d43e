//! Disks that are full, broken, slow or read-only, clocks that go back, descriptors that run out: the
//! service says so, loses nothing that it has acknowledged, and goes on when it can.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::common::{
    Random, long, measured,
    scene::{REPO, Scene, Settling, push_and_open},
    service::SECRET,
    view::View,
};
use crate::shim::Shim;
use gatelog::{
    ledger::entry::Kind,
    simulated_github::{ReviewState, Webhook, sign},
    time::Time,
};

/// A scene whose ledger's folder is under the shim; nothing runs yet.
struct Lab {
    s: Scene,
    data: PathBuf,
    acked: BTreeMap<String, u64>,
    lost: Vec<Webhook>,
    /// Refused with 503.
    refused: u64,
    pulls: Vec<u64>,
}

impl Lab {
    /// `None`: there is no shim here.
    async fn set() -> Option<Self> {
        crate::shim::library()?;
        let s = Scene::set().await;
        let data = s.service.dir.join("data");
        fs::create_dir(&data).unwrap();
        Some(Self { s, data, acked: BTreeMap::new(), lost: vec![], refused: 0, pulls: vec![] })
    }

    fn shim(&self) -> Shim {
        Shim::over(&self.data).unwrap()
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.s.service.dir.join(name)
    }

    /// `false`: it said why it cannot start, and ended.
    async fn start(&mut self, shim: &Shim) -> bool {
        let started = self.s.service.start_with(shim.env()).await;
        started.inspect_err(|e| assert_eq!(e.code(), Some(5), "{}", self.s.service.log())).is_ok()
    }

    /// As whoever looks after it would: a process that says that it cannot go on is started again, on a
    /// disk that works.
    async fn start_if_ended(&mut self) -> bool {
        let Some(status) = self.s.service.ended() else { return false };
        assert_eq!(status.code(), Some(5), "{}", self.s.service.log());
        self.s.service.start().await;
        true
    }

    /// Delivers once. Whatever is not taken can be sent again.
    async fn deliver(&mut self, hooks: Vec<Webhook>) -> bool {
        let before = self.lost.len();
        for hook in hooks {
            match self.s.gh.deliver(&hook).await {
                Ok(answer) if matches!(answer.status, 200 | 202) => {
                    self.acked.insert(hook.guid.clone(), answer.json()["seq"].as_u64().unwrap());
                    continue;
                }
                Ok(answer) => {
                    assert_eq!(answer.status, 503, "{answer:?}\n{}", self.s.service.log());
                    self.refused += 1;
                }
                Err(_) => {}
            }
            self.lost.push(hook);
        }
        self.lost.len() == before
    }

    async fn deliver_again(&mut self) -> bool {
        let lost = std::mem::take(&mut self.lost);
        self.deliver(lost).await
    }

    /// Status and headers of the answer to a delivery of its own.
    async fn post_raw(&self) -> (u16, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let body = br#"{"zen":"It is full."}"#;
        let signature = sign(SECRET.as_bytes(), body);
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.s.service.port)).await.unwrap();
        let head = format!(
            "POST /webhook HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: application/json\r\nx-github-event: ping\r\nx-github-delivery: raw-1\r\n\
             x-hub-signature-256: {signature}\r\n\r\n",
            body.len(),
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
    }

    /// A pull request is opened and approved; what GitHub sends for it is delivered once.
    async fn something(&mut self) {
        let n = self.pulls.len();
        let opened = self.s.gh.with(|w| push_and_open(w, &format!("topic-{n}"), "A door")).unwrap();
        self.pulls.push(opened.what);
        self.deliver(opened.hooks).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let approved = self.s.gh.with(|w| w.approve("bob", REPO, opened.what)).unwrap();
        self.deliver(approved.hooks).await;
    }

    /// As [`Scene::settle`], though a fault may strike as late as here.
    async fn settle(&mut self) -> View {
        let mut settling = Settling::begun();
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match settling.look(&self.s).await {
                Ok(Some(view)) => return view,
                Ok(None) => _ = self.start_if_ended().await,
                Err(e) => {
                    assert!(Instant::now() < until, "{e:?}\n{}", self.s.service.log());
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    self.start_if_ended().await;
                }
            }
        }
    }

    /// GitHub sends again what was not taken; everything settles, and all promises hold.
    async fn all_is_well(&mut self) -> View {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.deliver_again().await {
            assert!(Instant::now() < until, "still not taken\n{}", self.s.service.log());
            tokio::time::sleep(Duration::from_millis(300)).await;
            self.start_if_ended().await;
        }
        let view = self.settle().await;
        for (guid, seq) in &self.acked {
            let kept = view.deliveries(guid);
            assert_eq!(kept.len(), 1, "{guid} is recorded once");
            assert_eq!(kept[0].seq, *seq, "{guid} was acknowledged as {seq}");
            assert!(view.decision(guid).is_some(), "{guid} has no verdict");
        }
        for &pr in &self.pulls {
            let approved = self.s.gh.with(|w| {
                let pull = w.pull(REPO, pr).unwrap();
                pull.reviews.iter().any(|r| r.state == ReviewState::Approved)
            });
            let wanted = if approved { "success" } else { "failure" };
            assert_eq!(self.s.check(pr).0, wanted, "#{pr}\n{}", self.s.service.log());
        }
        self.s.assert_runs_are_sound();
        self.s.service.verify().await;
        view
    }
}

/// Each class of steps and how it fails. A full disk is over after some time; a broken one ends the
/// process, and the next one finds it whole.
const FAULTS: &[(&str, &str)] = &[
    ("write", "ENOSPC"),
    ("write", "short"),
    ("write", "EIO"),
    ("sync", "EIO"),
    ("rename", "ENOSPC"),
    ("rename", "EIO"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_at_any_step_loses_nothing() {
    let Some(steps) = steps_of_a_story().await else { return };
    let mut random = Random::seeded("a disk that fails");
    let mut ended = 0;
    let mut tried = 0;
    for (class, what) in FAULTS {
        let most = match *class {
            "write" => steps[0],
            "sync" => steps[1],
            _ => steps[2],
        };
        let all: Vec<u64> = if long() { (1..=most).collect() } else { vec![1 + random.below(most)] };
        for n in all {
            let times = if what.starts_with('E') && *what != "EIO" { 1 + random.below(4) } else { 1 };
            ended += u64::from(fails_at(&format!("{class}::{n}:{times}:{what}")).await);
            tried += 1;
        }
    }
    measured("faults of the disk", &format!("{tried} places, {ended} ended the process, nothing lost"));
}

/// How many writes, syncs and renames there are in a start and a short story.
async fn steps_of_a_story() -> Option<[u64; 3]> {
    let mut lab = Lab::set().await?;
    let count = lab.beside("count");
    assert!(lab.start(&lab.shim().count(&count)).await);
    lab.something().await;
    lab.all_is_well().await;
    Some(crate::shim::counts(&count))
}

/// True if the process ended of it.
async fn fails_at(fault: &str) -> bool {
    println!("{fault}");
    let mut lab = Lab::set().await.unwrap();
    let started = lab.start(&lab.shim().fault(fault)).await;
    let mut ended = !started;
    if ended {
        lab.s.service.start().await;
    }
    for _ in 0..2 {
        lab.something().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        ended |= lab.start_if_ended().await;
    }
    lab.all_is_well().await;
    ended
}

// ---- A disk without room

/// The service sees its ledger's folder as a small disk of its own. `false`: that is not allowed here.
async fn start_on_a_small_disk(lab: &mut Lab, megabytes: u64) -> bool {
    let mount = format!("mount -t tmpfs -o size={megabytes}m none \"$0\" && exec \"$@\"");
    let data = lab.data.to_str().unwrap().to_owned();
    let words = ["unshare", "--map-root-user", "--mount", "sh", "-c", &mount, &data];
    let tried = std::process::Command::new(words[0]).args(&words[1..]).arg("true").output();
    if !tried.is_ok_and(|out| out.status.success()) {
        say(
            "not run: a real full disk, because this user may not mount one (unshare --map-root-user --mount)",
        );
        return false;
    }
    lab.s.service.launcher = words.map(str::to_owned).to_vec();
    lab.s.service.start().await;
    let inside = format!("/proc/{}/root{data}", lab.s.service.pid().unwrap());
    lab.s.service.ledger = inside.into();
    true
}

fn say(line: &str) {
    use std::io::Write as _;
    // Not `eprintln!`: the test runner would keep it to itself.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Somebody else fills it, though not to the last byte: with this file.
fn fill(lab: &Lab) -> PathBuf {
    let other = lab.s.service.ledger.join("other");
    let (mut file, chunk) = (fs::File::create(&other).unwrap(), vec![1; 1 << 20]);
    while rustix::fs::statvfs(&lab.s.service.ledger).unwrap().f_bavail > 2000 {
        std::io::Write::write_all(&mut file, &chunk).unwrap();
    }
    other
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_503_until_there_is_room() {
    let Some(mut lab) = Lab::set().await else { return };
    if !start_on_a_small_disk(&mut lab, 80).await {
        return;
    }
    lab.something().await;
    let other = fill(&lab);
    let before = lab.refused;
    lab.something().await;
    assert!(lab.refused >= before + 4, "{} refused", lab.refused);
    let (status, headers) = lab.post_raw().await;
    assert!(status == 503 && headers.contains("retry-after: 10"), "{status} {headers}");
    assert!(lab.s.service.ended().is_none(), "{}", lab.s.service.log());
    fs::remove_file(&other).unwrap();
    lab.all_is_well().await;
    assert!(lab.s.service.ended().is_none(), "{}", lab.s.service.log());
}

/// Large deliveries until the journal itself has no room.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_stops_in_time() {
    let Some(mut lab) = Lab::set().await else { return };
    if !start_on_a_small_disk(&mut lab, 64).await {
        return;
    }
    lab.something().await;
    let pr = lab.pulls[0];
    for n in 0..60 {
        let hooks = lab.s.gh.with(|w| w.comment("carol", REPO, pr, &"x".repeat(1_000_000))).unwrap().hooks;
        lab.deliver(hooks).await;
        if lab.refused >= 3 {
            break;
        }
        assert!(n < 50, "never full");
    }
    assert!(lab.s.service.ended().is_none(), "{}", lab.s.service.log());
    let view = lab.s.view();
    for (guid, seq) in &lab.acked {
        assert_eq!(view.deliveries(guid)[0].seq, *seq);
    }
    lab.s.service.verify().await;
    // There is room to stop cleanly.
    assert_eq!(lab.s.service.stop().await.code(), Some(0), "{}", lab.s.service.log());
}

/// Even sled meets a full disk: the process ends, and the next one has it all.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_full_to_the_last_byte_loses_nothing() {
    let Some(mut lab) = Lab::set().await else { return };
    let full = lab.beside("full");
    assert!(lab.start(&lab.shim().full_while(&full)).await);
    lab.something().await;
    fs::write(&full, "").unwrap();
    lab.something().await;
    let status = lab.s.service.wait_until_ended(Duration::from_secs(20)).await;
    assert_eq!(status.and_then(|s| s.code()), Some(5), "{}", lab.s.service.log());
    fs::remove_file(&full).unwrap();
    lab.s.service.start().await;
    lab.all_is_well().await;
}

// ---- A disk that is read-only or slow

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_becomes_read_only_ends_it_and_keeps_it_from_starting() {
    let Some(mut lab) = Lab::set().await else { return };
    let everything = "write::1:0:EROFS,rename::1:0:EROFS";
    lab.s.service.start().await;
    lab.something().await;
    lab.s.settle().await;
    lab.s.service.stop().await;

    let started = lab.s.service.start_with(lab.shim().fault(everything).env()).await;
    let log = lab.s.service.log();
    assert_eq!(started.unwrap_err().code(), Some(5), "{log}");
    let said = log.lines().last().unwrap();
    assert!(said.starts_with("gatelog: ") && said.contains("Read-only file system"), "{said}");

    // And while it runs: from some write on.
    let later = "write::120:0:EROFS,rename::9:0:EROFS";
    assert!(lab.start(&lab.shim().fault(later)).await, "{}", lab.s.service.log());
    for _ in 0..6 {
        lab.something().await;
    }
    let status = lab.s.service.wait_until_ended(Duration::from_secs(60)).await;
    assert_eq!(status.and_then(|s| s.code()), Some(5), "{}", lab.s.service.log());
    lab.s.service.start().await;
    lab.all_is_well().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_makes_acknowledgements_slow_and_nothing_else() {
    let Some(mut lab) = Lab::set().await else { return };
    // Not slow while it starts: only what is acknowledged waits.
    assert!(lab.start(&lab.shim().delay("sync:.seg:2000")).await);
    let opened = lab.s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
    lab.pulls.push(opened.what);
    let (begun, hooks) = (Instant::now(), opened.hooks.len());
    // All at once: the second group takes what came meanwhile.
    let answers = futures_util::future::join_all(opened.hooks.iter().map(|h| lab.s.gh.deliver(h))).await;
    let took = begun.elapsed();
    for (hook, answer) in opened.hooks.iter().zip(answers) {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 202);
        lab.acked.insert(hook.guid.clone(), answer.json()["seq"].as_u64().unwrap());
    }
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(8), "{hooks} took {took:?}");
    lab.s.service.kill9().await;
    lab.s.service.start().await;
    lab.all_is_well().await;
}

// ---- The clock

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_back_an_hour_changes_no_order() {
    let Some(mut lab) = Lab::set().await else { return };
    let clock = lab.beside("clock");
    fs::write(&clock, "0").unwrap();
    assert!(lab.start(&lab.shim().clock(&clock)).await);
    lab.something().await;
    lab.s.settle().await;
    fs::write(&clock, "-3600").unwrap();
    lab.something().await;
    lab.all_is_well().await;
    // Nor to the next process, although GitHub takes no token of an hour ago.
    assert_eq!(lab.s.service.stop().await.code(), Some(0));
    assert!(lab.start(&lab.shim().clock(&clock)).await);
    lab.something().await;
    assert!(lab.lost.is_empty(), "{}", lab.s.service.log());
    lab.s.service.kill9().await;
    lab.s.service.start().await;
    let view = lab.all_is_well().await;
    let times: Vec<_> = view.entries.iter().map(|e| e.time).collect();
    assert!(times.is_sorted());
    assert_eq!(lab.s.service.stop().await.code(), Some(0));
}

// ---- Descriptors

#[tokio::test(flavor = "multi_thread")]
async fn when_descriptors_run_out_it_waits_and_goes_on() {
    let Some(mut lab) = Lab::set().await else { return };
    lab.s.service.start().await;
    lab.something().await;
    lab.s.settle().await;
    let pid = lab.s.service.pid().unwrap();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
    let before = limit_descriptors(pid, open + 2);
    // Connections that say nothing take the last ones.
    let idle: Vec<_> =
        (0..8).filter_map(|_| std::net::TcpStream::connect(("127.0.0.1", lab.s.service.port)).ok()).collect();
    let opened = lab.s.gh.with(|w| push_and_open(w, "short", "A door")).unwrap();
    lab.pulls.push(opened.what);
    let hooks = opened.hooks;
    if tokio::time::timeout(Duration::from_secs(3), lab.deliver(hooks.clone())).await.is_err() {
        lab.lost = hooks;
    }
    drop(idle);
    limit_descriptors(pid, before);
    lab.all_is_well().await;
    assert!(lab.s.service.ended().is_none(), "{}", lab.s.service.log());
}

/// Sets the soft limit of a process, and says what it was.
fn limit_descriptors(pid: u32, most: u64) -> u64 {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = Pid::from_raw(i32::try_from(pid).unwrap());
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    let old = prlimit(pid, Resource::Nofile, Rlimit { current: Some(most), maximum: hard }).unwrap();
    old.current.unwrap_or(1 << 20)
}

// ---- Two processes, and a process that is told to stop before it runs

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_told_so_and_disturbs_nothing() {
    let mut s = Scene::started().await;
    let pid = s.service.pid().unwrap();
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let other =
        [("GATELOG__SERVER__LISTEN", "127.0.0.1:0"), ("GATELOG__SERVER__INTERNAL_LISTEN", "127.0.0.1:0")];
    let out = tokio::process::Command::new(env!("CARGO_BIN_EXE_gatelog"))
        .args(["serve", "--config", "gatelog.toml"])
        .current_dir(&s.service.dir)
        .envs(other)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(5), "{said}");
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("gatelog: the ledger ") && last.ends_with(&format!("is in use by process {pid}"))
    );
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success");
    assert_eq!(s.service.stop().await.code(), Some(0), "{}", s.service.log());
    s.service.verify().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_at_any_moment_of_a_slow_start_leaves_a_whole_ledger() {
    use std::os::unix::process::ExitStatusExt as _;
    let Some(mut lab) = Lab::set().await else { return };
    lab.s.service.start().await;
    lab.something().await;
    lab.s.settle().await;
    lab.s.service.kill9().await;
    let mut random = Random::seeded("signals during the start");
    for _ in 0..if long() { 40 } else { 4 } {
        let shim = lab.shim().delay("sync::60");
        let status = lab.s.service.stop_while_starting(shim.env(), random.below(900)).await;
        // Before the handler stands, the signal itself ends the process.
        assert!(status.code() == Some(0) || status.signal() == Some(15), "{status}\n{}", lab.s.service.log());
        lab.s.service.verify().await;
    }
    lab.s.service.start().await;
    lab.something().await;
    lab.all_is_well().await;
}

// ---- Damage

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_sled_is_made_again_and_that_is_recorded() {
    let Some(mut lab) = Lab::set().await else { return };
    lab.s.service.start().await;
    lab.something().await;
    lab.all_is_well().await;
    let sled = lab.data.join("sled");
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 2] = [
        // Torn: the length stays.
        ("conf", |bytes| bytes[20..].fill(0)),
        ("db", |bytes| bytes.chunks_mut(97).for_each(|c| c[0] ^= 0x10)),
    ];
    for (file, damage) in damages {
        assert_eq!(lab.s.service.stop().await.code(), Some(0));
        if file == "db" {
            // With a snapshot of its own, sled would not read most of it.
            let snapshots = fs::read_dir(&sled).unwrap().map(|f| f.unwrap().path());
            snapshots
                .filter(|p| p.to_str().unwrap().contains("snap."))
                .for_each(|p| fs::remove_file(p).unwrap());
        }
        let mut bytes = fs::read(sled.join(file)).unwrap();
        damage(&mut bytes);
        fs::write(sled.join(file), bytes).unwrap();
        lab.s.service.start().await;
        let view = lab.all_is_well().await;
        let started = view.of_kind(&Kind::Service).filter(|e| e.data["event"] == "started").last().unwrap();
        assert!(started.data["rebuilt"].is_string(), "{file}: {}", started.data);
    }
}

/// An exception ends while the ledger takes nothing: what stands green because of it turns when there is room.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_exception_is_not_lost_on_a_full_disk() {
    let Some(mut lab) = Lab::set().await else { return };
    if !start_on_a_small_disk(&mut lab, 80).await {
        return;
    }
    let opened = lab.s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
    let pr = opened.what;
    lab.deliver(opened.hooks).await;
    lab.s.settle().await;
    let ledger = lab.s.service.ledger.display().to_string();
    let queued = lab.s.gh.with(|w| w.enqueue("alice", REPO, pr)).unwrap();
    lab.deliver(queued.hooks).await;
    lab.s.settle().await;
    let group = |lab: &Lab| lab.s.run_on(&queued.what, "gatelog").and_then(|r| r.conclusion);
    let shown = |lab: &Lab| (lab.s.check(pr).0, group(lab));
    let green = ("success".to_owned(), Some("success".to_owned()));
    let mut full = None;
    // On a machine that is busy the disk may not be full before the end: then a longer one.
    for seconds in [8, 20, 60, 180] {
        let until = Time::now().plus(Duration::from_secs(seconds));
        let at = until.to_string();
        let mut add: Vec<&str> =
            "waiver add --control CHG-02 --owner mona --reason x --until".split(' ').collect();
        add.extend([at.as_str(), "--ledger", &ledger]);
        let out = lab.s.service.gatelog(&add).await;
        assert!(out.status.success(), "{out:?}");
        while shown(&lab) != green && Time::now() < until {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let other = fill(&lab);
        if shown(&lab) == green && Time::now() < until {
            full = Some((other, until));
            break;
        }
        fs::remove_file(&other).unwrap();
    }
    let (other, until) = full.expect("this machine is too slow");
    tokio::time::sleep(until.since(Time::now()) + Duration::from_secs(2)).await;
    assert_eq!(shown(&lab).0, "success", "nothing can be recorded");
    fs::remove_file(&other).unwrap();
    let by = Instant::now() + Duration::from_secs(60);
    while shown(&lab) != ("failure".to_owned(), Some("failure".to_owned())) {
        assert!(Instant::now() < by, "{:?}\n{}", shown(&lab), lab.s.service.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    lab.all_is_well().await;
}
