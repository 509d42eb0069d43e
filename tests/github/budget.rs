//! GitHub's limits for one minute and one hour, enforced by the simulated GitHub: neither a flood nor a restart
//! breaks one, all is shown in the end, and one repository does not hold up another.

use std::time::{Duration, Instant};

use crate::common::{
    long, measured,
    scene::{REPO, Scene},
};
use gatelog::simulated_github::{Enforced, Fault, Role, Route, Webhook, World, commit};
use serde_json::json;

/// The flood: so many repositories, each with so many pull requests, a part of which is pushed to again.
struct Flood {
    repositories: usize,
    pulls: usize,
    /// The minute of both sides.
    minute: Duration,
}

fn flood() -> Flood {
    match long() {
        // 50 × (6 × 3 + 2 × 2) = 1,100 deliveries, less the second half of approvals.
        true => Flood { repositories: 50, pulls: 6, minute: Duration::from_secs(10) },
        false => Flood { repositories: 8, pulls: 11, minute: Duration::from_secs(11) },
    }
}

struct Pull {
    repository: String,
    number: u64,
    approved: bool,
}

fn name(n: usize) -> String {
    format!("octo-org/r{n}")
}

/// All of it happens on GitHub, and the webhooks are in the order in which it did.
fn happen(w: &mut World, flood: &Flood) -> (Vec<Pull>, Vec<Webhook>) {
    let (mut pulls, mut hooks) = (Vec::new(), Vec::new());
    for p in 0..flood.pulls {
        for r in 0..flood.repositories {
            let (repository, branch) = (name(r), format!("topic-{p}"));
            let change = commit("alice", "A door").write(&format!("{branch}.txt"), "x").signed();
            hooks.extend(w.push("alice", &repository, &branch, &[change]).unwrap().hooks);
            let opened = w.open_pull("alice", &repository, &branch, "main", "A door").unwrap();
            hooks.extend(opened.hooks);
            let number = opened.what;
            if p % 4 == 0 {
                let more = commit("alice", "A window").write(&format!("{branch}.txt"), "y").signed();
                hooks.extend(w.push("alice", &repository, &branch, &[more]).unwrap().hooks);
            }
            let approved = p % 2 == 0;
            if approved {
                hooks.extend(w.approve("bob", &repository, number).unwrap().hooks);
            }
            pulls.push(Pull { repository, number, approved });
        }
    }
    (pulls, hooks)
}

fn add_repositories(s: &Scene, number: usize) {
    s.gh.with(|w| {
        for r in 0..number {
            w.add_repository(&name(r)).unwrap();
            for login in ["alice", "bob"] {
                w.grant(login, &name(r), Role::Write).unwrap();
            }
        }
    });
}

/// GitHub shows of each pull request what is true of it.
fn assert_shown(s: &Scene, pulls: &[Pull]) {
    for pull in pulls {
        let head = s.gh.with(|w| w.pull(&pull.repository, pull.number).unwrap().head.sha.clone());
        let run = s.run_on(&head, "gatelog").unwrap_or_else(|| panic!("nothing on {head}"));
        let wanted = if pull.approved { "success" } else { "failure" };
        assert_eq!(run.conclusion.as_deref(), Some(wanted), "{}#{}", pull.repository, pull.number);
    }
}

async fn until(what: &str, s: &Scene, f: impl AsyncFn() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !f().await {
        assert!(Instant::now() < end, "{what}:\n{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_many_repositories_breaks_no_limit_and_is_shown_whole() {
    let (flood, mut s) = (flood(), Scene::set().await);
    add_repositories(&s, flood.repositories);
    s.service.configure("secondary_limits = false", "secondary_limits = true");
    // Facts grow old while their verdict waits for its turn, as they would in whole minutes.
    let fresh = flood.minute / 2;
    let armed = format!(
        "budget::minute=return({});publish::fresh=return({})",
        flood.minute.as_millis(),
        fresh.as_millis()
    );
    s.service.start_with_failpoints(&armed).await.unwrap();
    s.gh.enforce_secondary_limits(Enforced::in_minutes_of(flood.minute));

    let (pulls, hooks) = s.gh.with(|w| happen(w, &flood));
    let begun = Instant::now();
    for hook in &hooks {
        assert_eq!(s.deliver(hook).await.status, 202, "{}", s.service.log());
    }
    let delivered = begun.elapsed();
    let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
    let view = s.settle().await;
    let shown = begun.elapsed();

    // No limit was broken, though there was more to write than fits into a minute.
    let (broken, most) = s.gh.secondary_limits();
    assert!(broken.is_empty(), "{broken:?}");
    // A busy machine judges more slowly than others, but never so slowly that this would say nothing.
    assert!(pulls.len() > 80 && most.writes > 40 && most.writes <= 72, "{most:?}");
    let used = |name: &str| {
        let line = metrics.lines().find(|l| l.starts_with(name) && l.contains("resource=\"writes\""));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert!(used("gatelog_github_minute_used").is_some_and(|n| n <= 72), "{metrics}");
    assert!(used("gatelog_github_minute_waiting").is_some(), "{metrics}");
    assert!(used("gatelog_github_hour_used").is_some_and(|n| n <= 450), "{metrics}");
    for of_now in ["gatelog_github_at_once{", "gatelog_github_at_once_waiting{"] {
        assert!(metrics.contains(of_now), "{metrics}");
    }
    // Every delivery is recorded and judged, and GitHub shows for each head what is true of it.
    for hook in &hooks {
        assert!(view.decision(&hook.guid).is_some(), "{} {}", hook.event, hook.guid);
    }
    assert_shown(&s, &pulls);
    s.assert_runs_are_sound();
    // As fast as the limits allow: no more writes than there was to show, and no empty minute.
    let writes =
        s.gh.requests().iter().filter(|r| r.method != "GET" && r.path.contains("/check-runs")).count();
    let minutes = u32::try_from(writes / 72 + 2).unwrap();
    let text = format!(
        "{} deliveries taken in {:.1} s; {writes} writes for {} pull requests shown after {:.1} s; minute of {:?}; {most:?}",
        hooks.len(),
        delivered.as_secs_f64(),
        pulls.len(),
        shown.as_secs_f64(),
        flood.minute,
    );
    println!("{text}");
    measured("a flood of deliveries under GitHub's limits for one minute", &text);
    assert!(writes <= 2 * pulls.len(), "{text}");
    // Judging takes its time in a debug build on a busy machine.
    assert!(shown < delivered + minutes * flood.minute + Duration::from_secs(60), "{text}");
    s.service.stop().await;
    s.service.verify().await;
}

/// Its limits, as GitHub has them and as gatelog obeys them.
struct Hour {
    repositories: usize,
    pulls: usize,
    enforced: Enforced,
    /// For `FAILPOINTS`.
    obeyed: &'static str,
}

fn hour() -> Hour {
    let seconds = Duration::from_secs;
    match long() {
        // GitHub's numbers, and more to show than fits into an hour.
        true => Hour {
            repositories: 20,
            pulls: 26,
            enforced: Enforced { hour: seconds(60), ..Enforced::in_minutes_of(seconds(8)) },
            obeyed: "budget::minute=return(8000);budget::hour=return(60000);publish::fresh=return(4000)",
        },
        false => Hour {
            repositories: 4,
            pulls: 6,
            enforced: Enforced { minute: seconds(3), hour: seconds(7), writes: 14, writes_in_hour: 23 },
            obeyed: "budget::minute=return(3000);budget::hour=return(7000);budget::writes=return(12/20);publish::fresh=return(1500)",
        },
    }
}

/// Killed while it writes, and started again within the same minute and the same hour of GitHub.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_process_wrote_counts_for_the_next_minute_and_hour() {
    let (hour, mut s) = (hour(), Scene::set().await);
    add_repositories(&s, hour.repositories);
    s.service.configure("secondary_limits = false", "secondary_limits = true");
    s.service.start_with_failpoints(hour.obeyed).await.unwrap();
    s.gh.enforce_secondary_limits(hour.enforced);
    // What it wrote last it has no answer of, and so no entry, when it is killed.
    s.gh.fault(Route::WriteCheckRun, usize::MAX, Fault::LateAnswer(Duration::from_millis(300)));
    let flood = Flood { repositories: hour.repositories, pulls: hour.pulls, minute: hour.enforced.minute };
    let (pulls, hooks) = s.gh.with(|w| happen(w, &flood));
    for hook in &hooks {
        assert_eq!(s.deliver(hook).await.status, 202, "{}", s.service.log());
    }
    let some = usize::try_from(hour.enforced.writes / 2).unwrap();
    until("half a minute's writes", &s, async || s.gh.check_run_writes() >= some).await;
    s.service.kill9().await;
    let before = s.gh.check_run_writes();
    s.service.start_with_failpoints(hour.obeyed).await.unwrap();
    let begun = Instant::now();
    let view = s.settle().await;
    let (broken, most) = s.gh.secondary_limits();
    assert!(broken.is_empty(), "{broken:?}");
    let all = s.gh.check_run_writes();
    assert!(all > most.writes_in_hour as usize, "more to write than an hour takes: {all}, {most:?}");
    for hook in &hooks {
        assert!(view.decision(&hook.guid).is_some(), "{} {}", hook.event, hook.guid);
    }
    assert_shown(&s, &pulls);
    s.assert_runs_are_sound();
    let of_ours = |r: &&gatelog::simulated_github::CheckRun| r.app == s.gh.app_id();
    for pull in &pulls {
        let head = s.gh.with(|w| w.pull(&pull.repository, pull.number).unwrap().head.sha.clone());
        let runs = s.gh.check_runs_on(&head);
        assert_eq!(runs.iter().filter(of_ours).count(), 1, "one run, made once: {runs:?}");
    }
    let text = format!(
        "killed after {before} writes; all {} pull requests shown {:.1} s after the start with {all} writes; {:?}; {most:?}",
        pulls.len(),
        begun.elapsed().as_secs_f64(),
        hour.enforced,
    );
    println!("{text}");
    measured("GitHub's limits for a minute and an hour over a kill", &text);
    s.service.stop().await;
    s.service.verify().await;
}

/// The points of GraphQL are used up by one repository, whose judgements wait for more than there are places.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_limits_holds_up_no_other_repository() {
    const WAITING: usize = 60;
    let mut s = Scene::set().await;
    add_repositories(&s, 1);
    s.service.configure("secondary_limits = false", "secondary_limits = true");
    let few = "budget::minute=return(5000);budget::graphql=return(6)";
    s.service.start_with_failpoints(few).await.unwrap();
    let flood = Flood { repositories: 1, pulls: WAITING, minute: Duration::ZERO };
    let (_, hooks) = s.gh.with(|w| happen(w, &flood));
    let opened: Vec<&Webhook> = hooks.iter().filter(|h| h.payload["action"] == json!("opened")).collect();
    for hook in &opened {
        assert_eq!(s.deliver(hook).await.status, 202, "{}", s.service.log());
    }
    let judged = |hooks: &[&Webhook]| {
        let view = s.view();
        hooks.iter().filter(|h| view.decision(&h.guid).is_some()).count()
    };
    // More wait than there are places to judge in.
    let waiting = async || {
        let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
        let line = metrics.lines().find(|l| l.contains("minute_waiting") && l.contains("\"graphql_points\""));
        line.and_then(|l| l.rsplit(' ').next()?.parse::<usize>().ok()).is_some_and(|n| n > 34)
    };
    until("many wait", &s, waiting).await;
    // What asks GitHub nothing is judged at once; what asks for another repository is next.
    let status = s.gh.with(|w| {
        let sha = w.pull(&name(0), 1).unwrap().head.sha.clone();
        w.set_status("bob", &name(0), &sha, "ci/lint", "success").unwrap().hooks
    });
    let other = s.gh.with(|w| crate::common::scene::push_and_open(w, "topic", "A door").unwrap().hooks);
    let other: Vec<&Webhook> = other.iter().filter(|h| h.event == "pull_request").collect();
    assert_eq!(s.deliver(&status[0]).await.status, 202);
    assert_eq!(s.deliver(other[0]).await.status, 202);
    until("the status is judged", &s, async || judged(&[&status[0]]) == 1).await;
    assert!(judged(&opened) < WAITING / 2, "{} of {WAITING} were judged before", judged(&opened));
    until("the other repository is judged", &s, async || judged(&other) == 1).await;
    let before = judged(&opened);
    assert!(before < WAITING * 3 / 4, "{before} of {WAITING} were judged before {REPO} was");
    s.service.kill9().await;
}

/// Nothing can be read, so all shows as in progress; and for the most of it there is no room this minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_does_not_wait_for_the_limits() {
    let mut s = Scene::set().await;
    add_repositories(&s, 1);
    s.service.configure("secondary_limits = false", "secondary_limits = true");
    s.service.start_with_failpoints("budget::writes=return(4/450)").await.unwrap();
    s.gh.fault(Route::GraphqlWith("PrFacts".to_owned()), usize::MAX, Fault::Status(503));
    let flood = Flood { repositories: 1, pulls: 6, minute: Duration::ZERO };
    let (_, hooks) = s.gh.with(|w| happen(w, &flood));
    for hook in hooks.iter().filter(|h| h.payload["action"] == json!("opened")) {
        assert_eq!(s.deliver(hook).await.status, 202, "{}", s.service.log());
    }
    // Half of the minute, and no more of what may as well not be shown.
    until("some are in progress", &s, async || s.gh.check_run_writes() == 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(s.gh.check_run_writes(), 2);
    assert!(s.service.stop().await.success());
    assert!(!s.service.log().contains("are still being judged or reported"), "{}", s.service.log());
    s.service.verify().await;
}

/// A success waits for its turn until its facts are old, and gathering them anew takes longer than they stay
/// new: with another turn it would be old again, and so for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_is_gathered_anew_keeps_its_turn() {
    // Long: longer than facts stay new in earnest.
    let gathering = if long() { Duration::from_secs(33) } else { Duration::from_secs(4) };
    let mut s = Scene::set().await;
    add_repositories(&s, 1);
    s.service.configure("secondary_limits = false", "secondary_limits = true");
    let armed = "budget::minute=return(5000);budget::writes=return(1/450);publish::fresh=return(2000);github::timeout=return(60000)";
    s.service.start_with_failpoints(armed).await.unwrap();
    let flood = Flood { repositories: 1, pulls: 14, minute: Duration::ZERO };
    let (pulls, hooks) = s.gh.with(|w| happen(w, &flood));
    // Those that are red for good: each takes a turn, and is never gathered anew.
    let red = |h: &&Webhook| pulls.iter().any(|p| !p.approved && h.payload["number"] == json!(p.number));
    for hook in hooks.iter().filter(|h| h.payload["action"] == json!("opened")).filter(red) {
        assert_eq!(s.deliver(hook).await.status, 202, "{}", s.service.log());
    }
    until("the first write of another repository", &s, async || s.gh.check_run_writes() > 0).await;
    // Reviewed before it is delivered: its only verdict before the turn lets it pass.
    let (number, mut hooks) = s.gh.with(|w| {
        let opened = crate::common::scene::push_and_open(w, "topic", "A door").unwrap();
        (opened.what, opened.hooks)
    });
    hooks.extend(s.gh.with(|w| w.approve("bob", REPO, number).unwrap().hooks));
    let opened = hooks.iter().find(|h| h.event == "pull_request").unwrap();
    assert_eq!(s.deliver(opened).await.status, 202);
    until("judged", &s, async || s.view().decision(&opened.guid).is_some()).await;
    let of_it = format!("\"repo\":\"{}\"", REPO.split_once('/').unwrap().1);
    s.gh.fault(Route::GraphqlWith(of_it), usize::MAX, Fault::Delay(gathering));
    until("shown", &s, async || s.check(number).0 == "success").await;
    let causes = s.view().entries.into_iter().filter(|e| e.data["cause"] == json!("stale")).count();
    assert!((1..=2).contains(&causes), "gathered anew {causes} times:\n{}", s.service.log());
    s.service.kill9().await;
}

/// Whoever floods GitHub with events of other pull requests must not keep a check green that is denied: the hour is
/// full, and much waits that is newer.
#[tokio::test(flavor = "multi_thread")]
async fn a_green_that_is_denied_is_taken_away_though_the_limits_leave_nothing() {
    const HOUR: usize = 8;
    let mut s = Scene::set().await;
    s.service.configure("secondary_limits = false", "secondary_limits = true");
    s.service.start_with_failpoints("budget::writes=return(72/8)").await.unwrap();
    let number = s.pull("topic", "A door").await;
    let review = s.act(|w| w.approve("bob", REPO, number)).await.what;
    until("green", &s, async || s.check(number).0 == "success").await;
    for n in 0..HOUR {
        s.pull(&format!("flood-{n}"), "More").await;
    }
    until("the hour is full", &s, async || s.gh.check_run_writes() == HOUR).await;
    // It waits for a turn already, as a success that somebody asked to be written anew.
    let run = s.run_on(&s.head(number), "gatelog").unwrap();
    let asked = s.act(|w| w.rerequest("alice", run.id)).await;
    until("judged again", &s, async || s.view().decision(&asked.hooks[0].guid).is_some()).await;
    s.pull("flood-last", "Newer").await;
    s.act(|w| w.dismiss("carol", REPO, number, review)).await;
    until("red", &s, async || s.check(number).0 == "failure").await;
    assert_eq!(s.gh.check_run_writes(), HOUR + 1, "the others wait");
    s.service.kill9().await;
}

/// GitHub counts the check of a commit, whatever pull request it was given to: another one that comes to it would
/// pass before it is judged. Facts are held, the hour is full, and much waits that is newer: in progress is next.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_to_a_green_is_in_progress_before_all_that_waits() {
    const HOUR: usize = 19;
    let mut s = Scene::set().await;
    s.service.configure("secondary_limits = false", "secondary_limits = true");
    // Of an hour of 19 two more are kept for what is urgent. What is in progress for no such reason never shows.
    let armed = "budget::writes=return(72/19);gate::progress=return(600000);github::timeout=return(600000)";
    s.service.start_with_failpoints(armed).await.unwrap();
    s.act(|w| w.push("bob", REPO, "release", &[commit("bob", "r").write("r", "r").signed()])).await;
    let greens = [s.pull("one", "A door").await, s.pull("two", "A window").await];
    for number in greens {
        s.act(|w| w.approve("bob", REPO, number)).await;
        until("green", &s, async || s.check(number).0 == "success").await;
    }
    let shown = |number: u64| s.check(number).0;
    for n in 0..HOUR {
        s.pull(&format!("flood-{n}"), "More").await;
    }
    until("the hour is full", &s, async || s.gh.check_run_writes() == HOUR).await;
    until("the rest is judged, and waits", &s, async || s.view().unfinished().0.is_empty()).await;
    assert!(s.view().unfinished().1.len() >= 3, "{:?}", s.view().unfinished());

    let hold = s.gh.hold(Route::GraphqlWith("PrFacts".to_owned()));
    s.act(|w| w.open_pull("mallory", REPO, "one", "release", "Elsewhere")).await;
    until("opened", &s, async || shown(greens[0]) == "in_progress").await;
    s.act(|w| w.retarget("alice", REPO, greens[1], "release")).await;
    until("retargeted", &s, async || shown(greens[1]) == "in_progress").await;
    assert_eq!(s.gh.check_run_writes(), HOUR + 2, "the others wait");
    hold.release();
    s.service.kill9().await;
}

/// Successes that are gathered anew keep their turns to write, and GitHub does not answer: what is red has one all the
/// same, once it is clear that this takes long.
#[tokio::test(flavor = "multi_thread")]
async fn successes_that_are_gathered_for_long_do_not_keep_all_turns() {
    const WRITES: usize = 4;
    let mut s = Scene::set().await;
    add_repositories(&s, 1);
    s.service.configure("secondary_limits = false", "secondary_limits = true");
    let armed = "budget::minute=return(500);budget::writes=return(4/450);publish::fresh=return(2000);\
                 gate::progress=return(600000);github::timeout=return(600000);turns::long=return(1000)";
    s.service.start_with_failpoints(armed).await.unwrap();
    // As many writes as may be are under way, of pull requests that nobody approved.
    let flood = Flood { repositories: 1, pulls: 2 * WRITES + 2, minute: Duration::ZERO };
    let (pulls, hooks) = s.gh.with(|w| happen(w, &flood));
    let reds: Vec<&Pull> = pulls.iter().filter(|p| !p.approved).collect();
    let opened = |number: u64| {
        let is_it =
            |h: &&Webhook| h.payload["action"] == json!("opened") && h.payload["number"] == json!(number);
        hooks.iter().find(is_it).unwrap()
    };
    let writing = s.gh.hold(Route::WriteCheckRun);
    for red in &reds[..WRITES] {
        assert_eq!(s.deliver(opened(red.number)).await.status, 202);
    }
    writing.arrived(WRITES).await;
    // As many successes wait for a turn until they are too old.
    for n in 0..WRITES {
        // Reviewed before it is delivered: its only verdict lets it pass.
        let hooks = s.gh.with(|w| {
            let opened = crate::common::scene::push_and_open(w, &format!("topic-{n}"), "A door").unwrap();
            w.approve("bob", REPO, opened.what).unwrap();
            opened.hooks
        });
        let opened = hooks.iter().find(|h| h.event == "pull_request").unwrap();
        assert_eq!(s.deliver(opened).await.status, 202);
    }
    let waiting = format!("resource=\"writes\"}} {WRITES}");
    let wait = async || {
        let (_, metrics) = s.service.get(s.service.internal, "/metrics").await.unwrap();
        metrics.lines().any(|l| l.starts_with("gatelog_github_minute_waiting") && l.ends_with(&waiting))
    };
    until("all wait", &s, wait).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    // They have their turns, and wait for GitHub with them.
    let of_it = format!("\"repo\":\"{}\"", REPO.split_once('/').unwrap().1);
    let gathering = s.gh.hold(Route::GraphqlWith(of_it));
    writing.release();
    gathering.arrived(WRITES).await;
    let red = reds[WRITES];
    assert_eq!(s.deliver(opened(red.number)).await.status, 202);
    let head = s.gh.with(|w| w.pull(&red.repository, red.number).unwrap().head.sha.clone());
    let shown =
        async || s.run_on(&head, "gatelog").is_some_and(|r| r.conclusion.as_deref() == Some("failure"));
    until("red", &s, shown).await;
    assert_eq!(s.gh.check_run_writes(), WRITES + 1, "the successes are gathered still");
    gathering.release();
    s.service.kill9().await;
}
