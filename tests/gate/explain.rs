//! The button `Explain` on a check run.

use crate::common::{
    program::copy,
    scene::{REPO, Scene},
};
use gatelog::{ledger::entry::Kind, simulated_github::CheckRun};
use serde_json::{Value, json};

/// Presses a button of the run that counts on a pull request's head.
async fn press(s: &Scene, who: &str, number: u64, button: &str) {
    let run = run(s, number);
    let (n, said) = (writes(s).0, refusals(s));
    s.act(|w| w.press(who, run.id, button)).await;
    // Beside the journey: who may is asked of GitHub, and the rules are taken apart.
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while writes(s).0 == n && refusals(s) == said {
        assert!(std::time::Instant::now() < end, "nothing came of it:\n{}", s.service.log());
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    s.settle().await;
}

fn refusals(s: &Scene) -> usize {
    let log = std::fs::read_to_string(s.service.dir.join("serve.log")).unwrap();
    log.matches("nothing is explained").count() + log.matches("explanations of a commit").count()
}

fn run(s: &Scene, number: u64) -> CheckRun {
    s.run_on(&s.head(number), "gatelog").unwrap()
}

/// Writes of check runs so far, and what the last one asked for.
fn writes(s: &Scene) -> (usize, Value) {
    let all: Vec<_> =
        s.gh.requests()
            .into_iter()
            .filter(|r| matches!(r.method.as_str(), "POST" | "PATCH") && r.path.contains("/check-runs"))
            .collect();
    let last = all.last().and_then(|r| serde_json::from_str(&r.body).ok()).unwrap_or_default();
    (all.len(), last)
}

#[tokio::test]
async fn the_rules_that_decided_are_shown_and_nothing_else_changes() {
    let mut s = Scene::started().await;
    s.gh.with(|w| w.repositories.values_mut().next().unwrap().private = true);
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    let (before, (n, sent)) = (run(&s, number), writes(&s));
    let buttons: Vec<&str> =
        sent["actions"].as_array().unwrap().iter().map(|a| a["identifier"].as_str().unwrap()).collect();
    assert_eq!(buttons, ["recheck", "explain"]);
    assert!(!before.text.as_deref().unwrap_or_default().contains("### Why"));
    let verdicts =
        |s: &Scene| s.view().of_kind(&Kind::Verdict).filter(|e| e.data["target"].is_object()).count();
    let judged = verdicts(&s);

    press(&s, "bob", number, "explain").await;
    let after = run(&s, number);
    assert_eq!(writes(&s).0, n + 1, "one update\n{}", s.service.log());
    let same =
        |r: &CheckRun| (r.id, r.status.clone(), r.conclusion.clone(), r.title.clone(), r.external_id.clone());
    assert_eq!(same(&after), same(&before));
    let text = after.text.unwrap();
    assert!(text.len() <= 65_535);
    // What blocks comes first: the rule that gave the finding, what it knew, and what kept others from holding.
    let why = text.find("### Why").unwrap();
    let (reviews, signed) = (text.find("**CHG-02**").unwrap(), text.find("**CHG-05**").unwrap());
    assert!(why < reviews && reviews < signed, "{text}");
    assert!(text.contains("controls/required_reviews/required_reviews.rego:"), "{text}");
    assert!(text.contains("all of it holds") && text.contains("does not hold"), "{text}");
    assert!(text.contains("gives {"), "values are shown in a private repository: {text}");
    let entry = s.view().reports().last().unwrap().covers[0];
    assert!(text.contains(&format!("`gatelog policy eval --entry {entry} --explain`")), "{text}");
    assert_eq!(verdicts(&s), judged, "nothing was judged again");
    // The press is an event, the update a report on the same verdict.
    let view = s.view();
    let pressed = |e: &&gatelog::ledger::entry::Entry| e.data["action"] == json!("requested_action");
    let event = view.of_kind(&Kind::Event).find(pressed).unwrap();
    assert!(view.verdict_of(event.seq).is_some());
    let report = view.of_kind(&Kind::Report).last().unwrap();
    assert!(report.seq > event.seq && report.data["covers"] == json!([entry]), "{report:?}");

    // Who may not write explains nothing; whoever may, not without end.
    press(&s, "mallory", number, "explain").await;
    assert_eq!(writes(&s).0, n + 1);
    for _ in 0..6 {
        press(&s, "bob", number, "explain").await;
    }
    assert_eq!(writes(&s).0, n + 5, "five in an hour");
    press(&s, "carol", number, "explain").await;
    assert_eq!(writes(&s).0, n + 6);

    // The other button judges again, and the page is the usual one.
    press(&s, "bob", number, "recheck").await;
    assert!(verdicts(&s) > judged);
    assert!(!run(&s, number).text.unwrap().contains("### Why"));
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn a_green_check_stays_green_and_a_public_one_shows_no_values() {
    let mut s = Scene::started().await;
    s.gh.with(|w| w.repositories.values_mut().next().unwrap().private = false);
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    s.act(|w| w.approve("bob", REPO, number)).await;
    s.settle().await;
    assert_eq!(s.check(number).0, "success");
    // Another process explains what this one judged, by policies that are not the active ones any more.
    s.service.stop().await;
    let own = s.service.dir.join("policies");
    let rego = "package controls.extra\n\ndeny contains \"never\" if false\n";
    let there = crate::common::foreign::root().join("policies");
    copy(&there, &own);
    s.service.configure(&there.display().to_string(), "policies");
    s.service.start().await;
    s.settle().await;
    let judged_again = run(&s, number);
    std::fs::create_dir_all(own.join("controls/extra")).unwrap();
    std::fs::write(own.join("controls/extra/extra.rego"), rego).unwrap();
    press(&s, "bob", number, "explain").await;
    let explained = run(&s, number);
    assert_eq!((explained.id, explained.conclusion.as_deref()), (judged_again.id, Some("success")));
    let text = explained.text.unwrap();
    assert!(text.contains("### Why") && text.contains("Values are left out"), "{text}");
    assert!(text.contains("does not hold") && !text.contains("gives {"), "{text}");
    assert!(!text.contains("bob"), "no value of the input: {text}");
    // A failed write is done once more, and nothing else.
    s.gh.fault(
        gatelog::simulated_github::Route::UpdateCheckRun,
        1,
        gatelog::simulated_github::Fault::DoneButStatus(503),
    );
    press(&s, "carol", number, "explain").await;
    assert_eq!(run(&s, number).id, judged_again.id);
    s.assert_runs_are_sound();
    s.service.stop().await;
    s.service.verify().await;
}

#[tokio::test]
async fn what_github_shows_and_who_may_see_it_is_asked_when_it_is_explained() {
    let mut s = Scene::started().await;
    s.gh.with(|w| w.repositories.values_mut().next().unwrap().private = true);
    let number = s.pull("topic", "A door").await;
    s.settle().await;
    // The payload says private; by the time it comes the repository is public.
    let id = run(&s, number).id;
    let pressed = s.gh.with(|w| w.press("bob", id, "explain")).unwrap();
    s.gh.with(|w| w.repositories.values_mut().next().unwrap().private = false);
    let n = writes(&s).0;
    for hook in &pressed.hooks {
        s.deliver(hook).await;
    }
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while writes(&s).0 == n {
        assert!(std::time::Instant::now() < end, "nothing came of it:\n{}", s.service.log());
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    }
    s.settle().await;
    let text = run(&s, number).text.unwrap();
    assert!(text.contains("Values are left out") && !text.contains("gives {"), "{text}");

    // The run was turned red by what this ledger does not know any more: explaining does not turn it green.
    s.act(|w| w.approve("bob", REPO, number)).await;
    s.settle().await;
    assert_eq!(s.check(number).0, "success");
    let id = run(&s, number).id;
    s.gh.with(|w| w.check_runs.get_mut(&id).unwrap().conclusion = Some("failure".to_owned()));
    let n = writes(&s).0;
    press(&s, "carol", number, "explain").await;
    assert_eq!((writes(&s).0, s.check(number).0.as_str()), (n, "failure"));
    s.service.stop().await;
    s.service.verify().await;
}
