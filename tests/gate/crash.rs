//! Death at any moment: what was acknowledged is there, is judged once, and GitHub shows the right thing.

use std::{collections::BTreeMap, time::Duration};

use crate::common::{
    Random, long, measured,
    scene::{REPO, Scene, push_and_open},
    view::View,
};
use gatelog::{
    simulated_github::{ReviewState, Webhook, World, commit},
    verdict::Decision,
};
use tokio::task::JoinSet;

/// Deliveries GitHub got an answer for (GUID → seq), and those it did not.
#[derive(Default)]
struct Sent {
    acked: BTreeMap<String, u64>,
    lost: Vec<Webhook>,
}

impl Sent {
    async fn deliver(&mut self, s: &Scene, hooks: &[Webhook]) {
        for hook in hooks {
            match s.gh.deliver(hook).await {
                Ok(answer) if matches!(answer.status, 200 | 202) => {
                    self.acked.insert(hook.guid.clone(), answer.json()["seq"].as_u64().unwrap());
                }
                _ => self.lost.push(hook.clone()),
            }
        }
    }
}

/// After a restart: GitHub redelivers what was not taken, everything settles, and all promises hold.
async fn all_is_well(s: &mut Scene, sent: &mut Sent, pulls: &[u64]) -> View {
    let acked = sent.acked.clone();
    let at_start = s.view();
    for (guid, seq) in &acked {
        let kept = at_start.deliveries(guid);
        assert!(kept.iter().any(|e| e.seq == *seq), "{guid} was acknowledged as {seq} and is not there");
    }
    let lost = std::mem::take(&mut sent.lost);
    sent.deliver(s, &lost).await;
    assert!(sent.lost.is_empty(), "{:?}\n{}", sent.lost, s.service.log());
    let view = s.settle().await;
    for guid in sent.acked.keys() {
        assert_eq!(view.deliveries(guid).len(), 1, "{guid} is recorded once");
        assert!(view.decision(guid).is_some(), "{guid} has no verdict");
    }
    s.assert_runs_are_sound();
    for &pr in pulls {
        let wanted = if s.gh.with(|w| is_approved(w, pr)) { "success" } else { "failure" };
        assert_eq!(s.check(pr).0, wanted, "#{pr}: {:?}\n{}", s.check(pr), s.service.log());
    }
    s.service.verify().await;
    view
}

/// Somebody approved the head as it is.
fn is_approved(w: &World, pr: u64) -> bool {
    let pull = w.pull(REPO, pr).unwrap();
    pull.reviews.iter().any(|r| r.state == ReviewState::Approved && r.commit == pull.head.sha)
}

/// Few enough that every round can look at all of them.
const MOST_PULLS: usize = 6;

/// One thing that happens: a pull request is opened, approved, pushed to, or reviewed in words.
fn something(s: &Scene, random: &mut Random, pulls: &mut Vec<u64>) -> Vec<Webhook> {
    let pr = if pulls.is_empty() { 0 } else { pulls[random.below(pulls.len() as u64) as usize] };
    let n = random.next();
    let kind = match pulls.len() {
        0 => 0,
        MOST_PULLS => 1 + random.below(4),
        _ => random.below(5),
    };
    s.gh.with(|w| match kind {
        0 => {
            let opened = push_and_open(w, &format!("topic-{n}"), "A door").unwrap();
            pulls.push(opened.what);
            opened.hooks
        }
        1 | 2 => w.approve("bob", REPO, pr).unwrap().hooks,
        3 => w.comment("carol", REPO, pr, &format!("{n}")).unwrap().hooks,
        _ => {
            let branch = w.pull(REPO, pr).unwrap().head.name.clone();
            let more = commit("alice", "more").write("more.txt", &n.to_string()).signed();
            w.push("alice", REPO, &branch, &[more]).unwrap().hooks
        }
    })
}

/// Kills of the running service: `GATELOG_ROUNDS`, or 15, or 1,000 for long.
fn kills() -> u64 {
    match std::env::var("GATELOG_ROUNDS") {
        Ok(given) => given.parse().expect("GATELOG_ROUNDS is a number"),
        Err(_) if long() => 1000,
        Err(_) => 15,
    }
}

/// Services that die at the same time, each with a ledger of its own: most of it is waiting.
const AT_ONCE: usize = 3;

/// After so many kills another ledger is begun: every round reads the whole of it several times.
const KILLS_OF_A_LEDGER: u64 = 100;

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_at_random_times_under_load() {
    let mut random = Random::seeded("kill_9_at_random_times_under_load");
    let (kills, mut begun, mut deliveries) = (kills(), 0, 0);
    let of_each = KILLS_OF_A_LEDGER.min(kills.div_ceil(AT_ONCE as u64));
    let mut under_way = JoinSet::new();
    while begun < kills || !under_way.is_empty() {
        if begun < kills && under_way.len() < AT_ONCE {
            let rounds = of_each.min(kills - begun);
            under_way.spawn(killed_again_and_again(rounds, Random::new(random.next())));
            begun += rounds;
        } else {
            deliveries += under_way.join_next().await.unwrap().unwrap();
            println!("{begun} kills begun, {deliveries} deliveries");
        }
    }
    measured("kill -9 under load", &format!("{kills} rounds, {deliveries} deliveries, nothing lost"));
}

/// One service, killed so many times; how many deliveries it acknowledged.
async fn killed_again_and_again(rounds: u64, mut random: Random) -> usize {
    let mut s = Scene::started().await;
    let (mut sent, mut pulls) = (Sent::default(), Vec::new());
    for round in 0..rounds {
        let load = tokio::time::Duration::from_millis(random.below(700));
        let until = tokio::time::Instant::now() + load;
        while tokio::time::Instant::now() < until {
            let hooks = something(&s, &mut random, &mut pulls);
            // A delivery may be in flight when the process dies: then GitHub does not know.
            let delivery = tokio::time::timeout_at(until, s.gh.deliver_all(&hooks));
            match delivery.await {
                Ok(Ok(answers)) => {
                    for (hook, answer) in hooks.iter().zip(&answers) {
                        assert_eq!(answer.status, 202, "{answer:?}");
                        sent.acked.insert(hook.guid.clone(), answer.json()["seq"].as_u64().unwrap());
                    }
                }
                _ => sent.lost.extend(hooks),
            }
        }
        s.service.kill9().await;
        s.service.start().await;
        all_is_well(&mut s, &mut sent, &pulls).await;
        println!("round {round}: killed after {load:?}, {} deliveries", sent.acked.len());
    }
    sent.acked.len()
}

/// Where the process can be made to die, and what the failure looks like to it.
const PLACES: &[(&str, &[&str])] = &[
    ("journal.write.before", &["die", "io"]),
    ("journal.write.torn", &["die"]),
    ("journal.sync.before", &["die", "io"]),
    // The write is durable and the process believes that it failed.
    ("journal.sync.after", &["die", "io"]),
    ("sled.apply.before", &["die"]),
    ("sled.apply.after", &["die"]),
    ("report.create.before", &["die"]),
    ("report.create.after", &["die"]),
    ("report.update.before", &["die"]),
    ("report.update.after", &["die"]),
];

/// Which occurrence of the place it dies at, counted from the start of the process.
const QUICK: &[u32] = &[1, 4];
const LONG: &[u32] = &[1, 2, 3, 4, 5, 6, 8, 10];

#[tokio::test(flavor = "multi_thread")]
async fn death_at_each_durable_step() {
    let counts = if long() { LONG } else { QUICK };
    let deaths = PLACES.iter().flat_map(|(place, hows)| {
        hows.iter().flat_map(move |how| counts.iter().map(move |n| (*place, *how, *n)))
    });
    let mut died = 0;
    let mut under_way = JoinSet::new();
    for (place, how, n) in deaths {
        if under_way.len() == AT_ONCE {
            died += u32::from(under_way.join_next().await.unwrap().unwrap());
        }
        under_way.spawn(dies_at(place, how, n));
    }
    died += under_way.join_all().await.into_iter().map(u32::from).sum::<u32>();
    assert!(died > 10, "the failpoints do nothing: is the feature on?");
    measured("deaths at durable steps", &format!("{died} deaths, nothing lost"));
}

/// Plays a little story with the failpoint armed; true if the process died of it.
async fn dies_at(place: &'static str, how: &'static str, n: u32) -> bool {
    let armed = format!("{place}={}*off->1*return({how})", n - 1);
    println!("{armed}");
    let mut s = Scene::set().await;
    let (mut sent, mut pulls) = (Sent::default(), Vec::new());
    if s.service.start_with_failpoints(&armed).await.is_ok() {
        let opened = s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
        pulls.push(opened.what);
        sent.deliver(&s, &opened.hooks).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let approved = s.gh.with(|w| w.approve("bob", REPO, opened.what)).unwrap();
        sent.deliver(&s, &approved.hooks).await;
    }
    let dead = s.service.wait_until_ended(Duration::from_secs(2)).await.is_some();
    s.service.kill9().await;
    s.service.start().await;
    if pulls.is_empty() {
        // It died while starting: the story begins now.
        let opened = s.gh.with(|w| push_and_open(w, "topic", "A door")).unwrap();
        pulls.push(opened.what);
        sent.deliver(&s, &opened.hooks).await;
    }
    all_is_well(&mut s, &mut sent, &pulls).await;
    dead
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_deliveries_and_loses_none() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("journal.fill=6*off->2*return(full)").await.unwrap();
    let (mut sent, mut pulls) = (Sent::default(), Vec::new());
    for n in 0..4 {
        let opened = s.gh.with(|w| push_and_open(w, &format!("topic-{n}"), "A door")).unwrap();
        pulls.push(opened.what);
        sent.deliver(&s, &opened.hooks).await;
    }
    println!("{} refused", sent.lost.len());
    all_is_well(&mut s, &mut sent, &pulls).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_judged_before_the_death_is_not_judged_again() {
    let mut s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    let before = s.settle().await;
    s.service.kill9().await;
    s.service.start().await;
    let after = s.settle().await;
    let same = |v: &View, seq: usize| v.entries[seq].data.clone();
    for seq in 0..before.entries.len() {
        assert_eq!(same(&before, seq), same(&after, seq));
    }
    assert_eq!(s.check(pr).0, "success");
    let guid = &before.entries.iter().find(|e| e.key.starts_with("delivery:")).unwrap().key;
    assert_eq!(before.entries.iter().filter(|e| e.key == *guid).count(), 1);
    assert_ne!(after.decision(guid.trim_start_matches("delivery:")), Some(Decision::Superseded));
}
