//! GitHub's limits for one minute, enforced by the simulated GitHub: a flood breaks none, and all of it is shown.

mod common;

use std::time::{Duration, Instant};

use common::{long, measured, scene::Scene};
use gatelog::simulated_github::{Role, Webhook, World, commit};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_many_repositories_breaks_no_limit_and_is_shown_whole() {
    let (flood, mut s) = (flood(), Scene::set().await);
    s.gh.with(|w| {
        for r in 0..flood.repositories {
            w.add_repository(&name(r)).unwrap();
            for login in ["alice", "bob"] {
                w.grant(login, &name(r), Role::Write).unwrap();
            }
        }
    });
    s.service.configure("secondary_limits = false", "secondary_limits = true");
    // Facts grow old while their verdict waits for its turn, as they would in whole minutes.
    let fresh = flood.minute / 2;
    let armed = format!(
        "budget::minute=return({});publish::fresh=return({})",
        flood.minute.as_millis(),
        fresh.as_millis()
    );
    s.service.start_with_failpoints(&armed).await.unwrap();
    s.gh.enforce_secondary_limits(flood.minute);

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
    // Every delivery is recorded and judged, and GitHub shows for each head what is true of it.
    for hook in &hooks {
        assert!(view.decision(&hook.guid).is_some(), "{} {}", hook.event, hook.guid);
    }
    for pull in &pulls {
        let head = s.gh.with(|w| w.pull(&pull.repository, pull.number).unwrap().head.sha.clone());
        let run = s.run_on(&head, "gatelog").unwrap_or_else(|| panic!("nothing on {head}"));
        let wanted = if pull.approved { "success" } else { "failure" };
        assert_eq!(run.conclusion.as_deref(), Some(wanted), "{}#{}", pull.repository, pull.number);
    }
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
