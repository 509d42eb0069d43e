//! Disks that are full, broken, slow or read-only, clocks that go back, descriptors that run out: the
//! service says so, loses nothing that it has acknowledged, and goes on when it can.

mod common;
mod shim;

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use common::{
    Random, long, measured,
    scene::{REPO, Scene, push_and_open},
    view::View,
};
use gatelog::{
    ledger::entry::Kind,
    simulated_github::{ReviewState, Webhook},
};
use shim::Shim;

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
        shim::library()?;
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

    async fn start(&mut self, shim: &Shim) -> bool {
        self.s.service.start_with(shim.env()).await.is_ok()
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

    /// GitHub sends again what was not taken; everything settles, and all promises hold.
    async fn all_is_well(&mut self) -> View {
        let until = Instant::now() + Duration::from_secs(30);
        while !self.deliver_again().await {
            assert!(Instant::now() < until, "still not taken\n{}", self.s.service.log());
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let view = self.s.settle().await;
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
    Some(shim::counts(&count))
}

/// True if the process ended of it.
async fn fails_at(fault: &str) -> bool {
    println!("{fault}");
    let mut lab = Lab::set().await.unwrap();
    let started = lab.start(&lab.shim().fault(fault)).await;
    if started {
        lab.something().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        lab.deliver_again().await;
    }
    let ended = !started || lab.s.service.ended().is_some();
    if ended {
        lab.s.service.start().await;
    }
    lab.something().await;
    lab.all_is_well().await;
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_503_until_there_is_room() {
    let Some(mut lab) = Lab::set().await else { return };
    let full = lab.beside("full");
    assert!(lab.start(&lab.shim().full_while(&full)).await);
    lab.something().await;
    fs::write(&full, "").unwrap();
    // What was written ahead of use takes some of them.
    let mut large = 0;
    while lab.refused == 0 {
        let pr = lab.pulls[0];
        let hooks = lab.s.gh.with(|w| w.comment("carol", REPO, pr, &"x".repeat(600_000))).unwrap().hooks;
        lab.deliver(hooks).await;
        large += 1;
        assert!(large < 40, "never full");
        assert!(lab.s.service.ended().is_none(), "{}", lab.s.service.log());
    }
    assert!(!lab.deliver_again().await);
    fs::remove_file(&full).unwrap();
    lab.something().await;
    lab.all_is_well().await;
    assert!(lab.s.service.ended().is_none());
    let _ = Kind::Event;
}
