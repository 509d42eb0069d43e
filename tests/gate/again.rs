//! A decision turns when its reasons do: what makes gatelog look again, and what makes it withhold.

use std::time::Duration;

use crate::common::{
    scene::{REPO, Scene},
    view::View,
};
use gatelog::{
    event::SubjectKind,
    ledger::entry::{Kind, ReportResult},
    simulated_github::{Fault, Role, Route, commit},
    verdict::Decision,
};
use serde_json::json;

/// Causes of gatelog's own events, in order.
fn causes(s: &Scene) -> Vec<String> {
    let view = s.view();
    let own = view.of_kind(&Kind::Event).filter(|e| e.data["source"] == "gatelog");
    own.map(|e| e.data["cause"].as_str().unwrap().to_owned()).collect()
}

async fn green() -> (Scene, u64) {
    let s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{}", s.service.log());
    (s, pr)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_stops_to_count_when_its_author_may_not_write_any_more() {
    let (s, pr) = green().await;
    s.act(|w| w.set_role("alice", REPO, "bob", Some(Role::Read))).await;
    s.settle().await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "failure", "{title}");
    assert!(title.contains("@bob") || title.contains("ignored"), "{title}");
    assert_eq!(causes(&s), ["membership"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_re_run_is_always_answered_with_a_write() {
    let (s, pr) = green().await;
    let run = s.run_on(&s.head(pr), "gatelog").unwrap();
    let before = s.view().reports().filter(|r| r.conclusion.is_some()).count();
    s.act(|w| w.rerequest("carol", run.id)).await;
    let view = s.settle().await;
    assert_eq!(causes(&s), ["rerequested"]);
    let last = view.reports().last().unwrap();
    assert_eq!(
        (view.reports().filter(|r| r.conclusion.is_some()).count(), last.result),
        (before + 1, ReportResult::Updated)
    );
    assert_eq!(s.check(pr).0, "success");
    s.assert_runs_are_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_says_the_same_is_not_written_again() {
    let (s, pr) = green().await;
    s.act(|w| w.label("carol", REPO, pr, "nice")).await;
    let view = s.settle().await;
    assert_eq!(view.reports().last().unwrap().result, ReportResult::Unchanged);
    assert_eq!(s.check(pr).0, "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_the_pull_request_in_the_way_frees_the_head_it_shared() {
    let (s, pr) = green().await;
    // Another pull request from the same branch into another one: same head, no approval.
    s.act(|w| w.push("alice", REPO, "other-base", &[commit("alice", "base").write("b.txt", "b").signed()]))
        .await;
    // A push to a base makes gatelog look at what is open on it: nothing yet.
    s.settle().await;
    let second = s.act(|w| w.open_pull("mallory", REPO, "topic", "other-base", "In the way")).await.what;
    s.settle().await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "failure", "{title}");
    assert!(title.contains(&format!("#{second}")), "the one in the way is named: {title}");
    s.act(|w| w.close("mallory", REPO, second)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());
    assert!(causes(&s).iter().all(|c| c == "shared_head"), "{:?}", causes(&s));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_our_app_that_the_ledger_does_not_have_withholds_success_until_acknowledged() {
    let mut s = Scene::started().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    // Somebody with our key made a green run, or the ledger has forgotten one.
    let app = s.gh.app_id();
    let head = s.head(pr);
    let forged = json!({"action": "completed", "check_run": {
        "id": 99, "name": "gatelog", "head_sha": head, "status": "completed", "conclusion": "success",
        "external_id": format!("1:3:{}", "0".repeat(64)), "app": {"id": app}}});
    let did = s.act(|w| w.any_event("mallory", REPO, "check_run", forged)).await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    let view = s.settle().await;
    let entry = view.deliveries(&did.hooks[0].guid)[0].seq;
    assert_eq!(view.flags(entry), [json!("own_app"), json!("unknown_run")]);
    let (state, title) = s.check(pr);
    assert_ne!(state, "success", "{title}");
    assert!(title.contains("acknowledge"), "{title}");
    let told = "it names an entry 3 that is another one here; if the ledger was rolled back, restore a backup of which \
                `gatelog log show 3` says the leaf 0000000000000000";
    assert!(s.service.log().contains(told), "{}", s.service.log());
    // As far as somebody got who went on with what was lost here.
    let later = json!({"action": "completed", "check_run": {
        "id": 100, "name": "gatelog", "head_sha": head, "status": "completed", "conclusion": "failure",
        "external_id": format!("1:4000:{}", "f".repeat(64)), "app": {"id": app}}});
    s.act(|w| w.any_event("mallory", REPO, "check_run", later)).await;
    s.settle().await;
    let log = s.service.log();
    assert!(
        log.contains("it names entry 4000, and the ledger has ")
            && log.contains("says the leaf ffffffffffffffff"),
        "{log}"
    );

    // A restart does not forget it.
    s.service.stop().await;
    s.service.start().await;
    s.act(|w| w.label("carol", REPO, pr, "waiting")).await;
    s.settle().await;
    assert_ne!(s.check(pr).0, "success", "{:?}", s.check(pr));

    let said = s.service.gatelog(&["log", "acknowledge", "--ledger", "data"]).await;
    assert!(said.status.success(), "{said:?}");
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());
    s.service.verify().await;
}

/// Policies that can be changed. Before the start.
async fn use_own_policies(s: &Scene) {
    let written = s.service.gatelog(&["init", "own"]).await;
    assert!(written.status.success(), "{written:?}");
    let config = s.service.dir.join("gatelog.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let policies =
        |line: &str| if line.starts_with("path = \"/") { "path = \"own/policies\"" } else { line }.to_owned();
    std::fs::write(&config, text.lines().map(policies).collect::<Vec<_>>().join("\n")).unwrap();
}

fn ask_for_two_approvals(s: &Scene) {
    let data = s.service.dir.join("own/policies/data.yaml");
    let text = std::fs::read_to_string(&data).unwrap();
    let stricter = text.replace("required_approving_review_count: 1", "required_approving_review_count: 2");
    assert_ne!(text, stricter);
    std::fs::write(&data, stricter).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_bundle_looks_again_at_every_open_head() {
    let mut s = Scene::set().await;
    use_own_policies(&s).await;
    s.service.start().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{}", s.service.log());

    ask_for_two_approvals(&s);
    s.service.hang_up();
    for _ in 0..200 {
        if s.check(pr).0 == "failure" {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(s.check(pr).1.contains("1 of 2"), "{:?}\n{}", s.check(pr), s.service.log());
    assert_eq!(causes(&s), ["bundle"]);
    assert_eq!(s.view().of_kind(&Kind::Policy).count(), 2);
}

/// The looks that it asks for take time.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_bundle_reaches_every_open_head_though_the_process_dies_meanwhile() {
    let mut s = Scene::set().await;
    use_own_policies(&s).await;
    // One look, and no other in the life of this process.
    s.service.start_with_failpoints("gate::pace=return(3600000)").await.unwrap();
    let mut pulls = vec![];
    for branch in ["one", "two"] {
        let pr = s.pull(branch, "A door").await;
        s.act(|w| w.approve("bob", REPO, pr)).await;
        pulls.push(pr);
    }
    s.settle().await;
    let red = |s: &Scene| pulls.iter().filter(|pr| s.check(**pr).1.contains("1 of 2")).count();
    assert!(pulls.iter().all(|pr| s.check(*pr).0 == "success"), "{}", s.service.log());
    ask_for_two_approvals(&s);
    s.service.hang_up();
    until("the first look", &s, || red(&s) == 1).await;
    s.settle().await;
    assert_eq!((red(&s), causes(&s)), (1, vec!["bundle".to_owned()]));
    s.service.kill9().await;
    s.service.start().await;
    until("the other one is judged by the new bundle", &s, || red(&s) == 2).await;
    s.settle().await;
    assert_eq!(causes(&s), ["bundle", "start"], "what was judged by it is not judged again");
    s.service.verify().await;
}

/// A busy repository has many checks: only who reads them looks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_fact_that_no_control_reads_makes_nobody_look() {
    let (s, pr) = green().await;
    let head = s.head(pr);
    s.act(|w| w.check_by("ci", REPO, &head, "build", Some("success"))).await;
    s.act(|w| w.set_status("bob", REPO, &head, "build", "success")).await;
    s.act(|w| w.any_event("bob", REPO, "repository_ruleset", json!({"action": "edited"}))).await;
    s.settle().await;
    assert_eq!(causes(&s), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_that_a_control_reads_is_looked_at_when_it_changes() {
    let mut s = Scene::set().await;
    let checks = "required_checks: {enabled: true, checks: [{name: build, app: ci}]}";
    s.use_parameters(&format!("\"{REPO}\": {{{checks}}}\n"));
    s.service.start().await;
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "in_progress", "{}", s.service.log());
    let head = s.head(pr);
    s.act(|w| w.check_by("ci", REPO, &head, "build", Some("success"))).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{}", s.service.log());
    s.act(|w| w.check_by("ci", REPO, &head, "build", Some("failure"))).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "{}", s.service.log());
    assert_eq!(causes(&s), ["fact", "fact"]);
}

async fn until(what: &str, s: &Scene, f: impl Fn() -> bool) {
    s.until(what, 90, || f().then_some(())).await;
}

/// The title is in every answer that is late: nothing but the time of the change tells that it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_before_the_change_that_an_event_tells_of_is_not_judged() {
    let mut s = Scene::set().await;
    s.use_parameters(&format!("\"{REPO}\": {{title_convention: {{enabled: true}}}}\n"));
    s.service.start().await;
    let pr = s.pull("topic", "fix: a door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());
    s.gh.lag(2);
    s.act(|w| w.edit_title("alice", REPO, pr, "A door")).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "read again: {:?}", s.check(pr));
    s.act(|w| w.edit_title("alice", REPO, pr, "fix: a door")).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success");
    // Longer behind than it is read again.
    s.gh.lag(usize::MAX);
    s.act(|w| w.edit_title("alice", REPO, pr, "A door")).await;
    until("it waits for GitHub", &s, || s.check(pr).0 == "in_progress").await;
    s.gh.catch_up();
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "{:?}", s.check(pr));
    s.service.verify().await;
}

/// Nothing in an answer tells that somebody's right to write is that of before.
#[tokio::test(flavor = "multi_thread")]
async fn who_may_write_is_looked_at_again_when_it_has_settled() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("gate::settling=return(1500)").await.unwrap();
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{}", s.service.log());
    s.gh.lag(usize::MAX);
    let did = s.act(|w| w.set_role("alice", REPO, "bob", Some(Role::Read))).await;
    let first = |s: &Scene| {
        let (view, guid) = (s.view(), &did.hooks[0].guid);
        let own = view.of_kind(&Kind::Event).filter(|e| e.data["cause"] == "membership");
        let own: Vec<u64> = own.map(|e| e.seq).collect();
        view.decision(guid).is_some() && own.len() == 1 && view.verdict_of(own[0]).is_some()
    };
    until("the first look", &s, || first(&s)).await;
    s.gh.catch_up();
    until("the second look", &s, || s.check(pr).0 == "failure").await;
    s.settle().await;
    assert_eq!(causes(&s), ["membership", "membership"]);
    s.service.verify().await;
}

/// The second looks that were recorded, by their keys.
fn settled(s: &Scene) -> usize {
    s.view().entries.iter().filter(|e| e.key.starts_with("settled:")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_look_is_not_put_off_by_what_comes_meanwhile() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("gate::settling=return(1500)").await.unwrap();
    s.pull("topic", "A door").await;
    s.settle().await;
    let began = std::time::Instant::now();
    // More often than it takes to settle.
    for n in 0.. {
        let role = if n % 2 == 0 { Role::Read } else { Role::Write };
        s.act(|w| w.set_role("alice", REPO, "carol", Some(role))).await;
        if settled(&s) > 0 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{n} events, and no second look");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    s.settle().await;
    s.service.verify().await;
}

/// It shares the look of what came before it, which is too early for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_came_while_others_settled_is_looked_at_when_it_has_settled_itself() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("gate::settling=return(3000)").await.unwrap();
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    s.act(|w| w.set_role("alice", REPO, "carol", Some(Role::Read))).await;
    s.settle().await;
    s.gh.lag(usize::MAX);
    s.act(|w| w.set_role("alice", REPO, "bob", Some(Role::Read))).await;
    let early = |s: &Scene| {
        let view = s.view();
        let look = view.entries.iter().find(|e| e.key.starts_with("settled:")).map(|e| e.seq);
        look.and_then(|seq| view.verdict_of(seq)).map(|(_, verdict)| verdict.decision)
    };
    let early = s.until("the look of the first is taken", 90, || early(&s)).await;
    s.gh.catch_up();
    assert_eq!(early, Decision::Allow, "what GitHub showed was old");
    until("that of the second is taken", &s, || s.check(pr).0 == "failure").await;
    s.settle().await;
    s.service.verify().await;
}

/// An event may have waited to be judged, and its looks take time: it is old when the process dies.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_look_that_was_due_at_the_death_is_taken_after_it() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("gate::settling=return(600000)").await.unwrap();
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    s.gh.lag(usize::MAX);
    s.act(|w| w.set_role("alice", REPO, "bob", Some(Role::Read))).await;
    s.settle().await;
    s.gh.catch_up();
    tokio::time::sleep(Duration::from_secs(2)).await;
    s.act(|w| w.any_event("alice", REPO, "star", json!({"action": "created"}))).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "what GitHub showed was old");
    s.service.kill9().await;
    s.service.start_with_failpoints("gate::settling=return(1000)").await.unwrap();
    until("the second look", &s, || s.check(pr).0 == "failure").await;
    s.settle().await;
    s.service.kill9().await;
    s.service.start_with_failpoints("gate::settling=return(100)").await.unwrap();
    s.settle().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(settled(&s), 1, "one is enough");
    s.service.verify().await;
}

/// A group waits in the queue for the check alone: no event would come.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_group_that_waited_for_an_acknowledgement_is_shown_when_it_comes() {
    let (mut s, pr) = green().await;
    let app = s.gh.app_id();
    let forged = json!({"action": "completed", "check_run": {
        "id": 99, "name": "gatelog", "head_sha": s.head(pr), "status": "completed", "conclusion": "success",
        "external_id": format!("1:3:{}", "0".repeat(64)), "app": {"id": app}}});
    s.act(|w| w.any_event("mallory", REPO, "check_run", forged)).await;
    let group = s.act(|w| w.enqueue("alice", REPO, pr)).await.what;
    s.settle().await;
    let on_group = |s: &Scene| s.run_on(&group, "gatelog").and_then(|r| r.conclusion);
    assert_eq!(on_group(&s), None, "withheld");
    let said = s.service.gatelog(&["log", "acknowledge", "--ledger", "data"]).await;
    assert!(said.status.success(), "{said:?}");
    until("the group is shown", &s, || on_group(&s).as_deref() == Some("success")).await;
    s.settle().await;
    s.assert_runs_are_sound();
    s.service.stop().await;
}

/// A push happens once: no other event would bring its check to an end.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_could_not_be_decided_is_judged_again_when_somebody_asks() {
    let (mut s, pr) = green().await;
    let path = ["repository", "c0"].map(str::to_owned).to_vec();
    let partial = Fault::GraphqlPartial { path, kind: "INTERNAL", message: "Something went wrong" };
    s.gh.fault(Route::GraphqlWith("Push".to_owned()), usize::MAX, partial);
    let landed = s.act(|w| w.merge("bob", REPO, pr, gatelog::simulated_github::Method::Squash)).await.what;
    s.settle().await;
    let on_push = |s: &Scene| s.run_on(&landed, "gatelog/push").expect("a control judges the push");
    assert_eq!(on_push(&s).conclusion.as_deref(), Some("failure"), "{:?}", on_push(&s).title);
    s.gh.heal();
    let run = on_push(&s).id;
    s.act(|w| w.rerequest("carol", run)).await;
    s.settle().await;
    assert_eq!(on_push(&s).conclusion.as_deref(), Some("success"), "{:?}", on_push(&s).title);
    s.service.stop().await;
    s.service.verify().await;
}

/// A push is judged once: when the alarm ends, nothing but its check would bring it up again.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_alarm_withheld_is_shown_when_it_has_ended() {
    let mut s = Scene::set().await;
    let rule = "{restricted_branches: {rules: [{type: branch, pattern: main, restrict: [updates], \
                allow: {users: [bob], teams: [], apps: []}}]}}";
    s.use_parameters(&format!("\"{REPO}\": {rule}"));
    s.service.start().await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let run = s.run_on(&s.head(pr), "gatelog").unwrap();
    let forged = json!({"action": "completed", "check_run": {"id": run.id, "name": "gatelog",
        "head_sha": s.head(pr), "external_id": run.external_id, "status": "completed",
        "conclusion": "success", "app": {"id": s.gh.app_id()}}});
    s.act(|w| w.any_event("alice", REPO, "check_run", forged)).await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    let pushed = commit("bob", "straight").write("straight.txt", "s").signed();
    let sha = s.act(|w| w.push("bob", REPO, "main", &[pushed])).await.what;
    s.settle().await;
    let of_push = || s.run_on(&sha, "gatelog/push").unwrap();
    assert_eq!((of_push().status.as_str(), s.check(pr).0.as_str()), ("in_progress", "in_progress"));
    // The process ends with the looks that the end of the alarm asks for.
    let acknowledge = async |s: &Scene| {
        let out = s.service.gatelog(&["log", "acknowledge", "--ledger", "data"]).await;
        assert_eq!(out.status.code(), Some(0), "{out:?}");
    };
    acknowledge(&s).await;
    s.until("the push is shown", 60, || (of_push().conclusion.as_deref() == Some("success")).then_some(()))
        .await;
    s.until("the pull request is shown", 60, || (s.check(pr).0 == "success").then_some(())).await;
    s.settle().await;
    s.service.stop().await;
    s.service.verify().await;
}

/// The same where the process ends before the looks are recorded that the end of the alarm asks for.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_alarm_withheld_is_shown_by_the_next_process() {
    let (mut s, pr) = green().await;
    let run = s.run_on(&s.head(pr), "gatelog").unwrap();
    let forged = json!({"action": "completed", "check_run": {"id": 77, "name": "gatelog",
        "head_sha": s.head(pr), "external_id": "nobody", "status": "completed",
        "conclusion": "failure", "app": {"id": run.app}}});
    s.act(|w| w.any_event("alice", REPO, "check_run", forged)).await;
    s.settle().await;
    s.act(|w| w.rerequest("bob", run.id)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "in_progress");
    s.service.kill9().await;
    s.service.start_with_failpoints("gate::looks=return").await.unwrap();
    let out = s.service.gatelog(&["log", "acknowledge", "--ledger", "data"]).await;
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    s.service.wait_until_ended(Duration::from_secs(30)).await;
    assert_eq!(s.check(pr).0, "in_progress");
    s.service.start().await;
    s.until("shown", 60, || (s.check(pr).0 == "success").then_some(())).await;
    s.settle().await;
    s.service.stop().await;
    s.service.verify().await;
}

/// The queue merges a green group at once. One that could not be shown before an approval went is not shown green
/// because that was not judged yet.
#[tokio::test(flavor = "multi_thread")]
async fn a_green_of_a_merge_group_does_not_go_out_late() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("publish::fresh=return(600000)").await.unwrap();
    let pr = s.pull("topic", "A door").await;
    let review = s.act(|w| w.approve("bob", REPO, pr)).await.what;
    s.settle().await;
    s.gh.fault(Route::WriteCheckRun, usize::MAX, Fault::Status(502));
    let group = s.act(|w| w.enqueue("alice", REPO, pr)).await.what;
    let allowed = |view: &View| {
        let on_it = |e: &&gatelog::ledger::entry::Entry| e.subject.kind == SubjectKind::MergeGroup;
        view.of_kind(&Kind::Verdict).filter(on_it).any(|e| e.data["decision"] == json!("allow"))
    };
    until("the group is allowed, and not shown", &s, || allowed(&s.view())).await;
    // It is looked at again, and GitHub does not answer.
    let route = || Route::GraphqlWith("MergeGroup".to_owned());
    let hold = s.gh.hold(route());
    s.act(|w| w.dismiss("carol", REPO, pr, review)).await;
    hold.arrived(1).await;
    // Writing works again.
    s.gh.heal();
    let also = s.gh.hold(route());
    until("it is shown as in progress", &s, || s.run_on(&group, "gatelog").is_some()).await;
    let run = s.run_on(&group, "gatelog").unwrap();
    assert_eq!(run.conclusion, None);
    // Whatever brings it up again shows no more.
    s.act(|w| w.press("bob", run.id, "explain")).await;
    let nothing = "nothing is explained: GitHub does not show the newest decision";
    until("it was brought up again", &s, || s.service.log().contains(nothing)).await;
    let shown = |s: &Scene| s.run_on(&group, "gatelog").and_then(|r| r.conclusion);
    assert_eq!(shown(&s), None);
    hold.release();
    also.release();
    s.gh.heal();
    until("the group is red", &s, || shown(&s).as_deref() == Some("failure")).await;
    s.settle().await;
    s.assert_runs_are_sound();
    s.service.stop().await;
}

/// The head of a merge group whose pull request is approved once.
async fn queued(s: &Scene) -> String {
    let pr = s.pull("topic", "A door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    let group = s.act(|w| w.enqueue("alice", REPO, pr)).await.what;
    s.settle().await;
    group
}

fn concluded(s: &Scene, sha: &str) -> Option<String> {
    s.run_on(sha, "gatelog").and_then(|run| run.conclusion)
}

/// Its queue waits for it, and no event would come. GitHub does not list the open pull requests, whose own looks
/// would bring it up too.
#[tokio::test(flavor = "multi_thread")]
async fn a_merge_group_is_judged_by_a_new_bundle_though_the_process_died_before_it_was() {
    let mut s = Scene::set().await;
    use_own_policies(&s).await;
    s.service.start().await;
    let group = queued(&s).await;
    assert_eq!(concluded(&s, &group).as_deref(), Some("success"), "{}", s.service.log());
    // What was judged as it would be now is not judged again.
    let looked = causes(&s);
    s.gh.fault(Route::GraphqlWith("OpenPulls".to_owned()), usize::MAX, Fault::Status(503));
    let listed = |s: &Scene| s.gh.requests().iter().filter(|r| r.body.contains("OpenPulls")).count();
    s.service.stop().await;
    let before = listed(&s);
    s.service.start_with_failpoints("gate::looks=return").await.unwrap();
    until("what follows the groups", &s, || listed(&s) > before).await;
    s.settle().await;
    assert_eq!(causes(&s), looked);
    // The new bundle is durable, and the process ends before it looks at anything.
    ask_for_two_approvals(&s);
    s.service.hang_up();
    s.service.wait_until_ended(Duration::from_secs(60)).await.expect("it ends at its failpoint");
    s.service.start().await;
    until("the group is red", &s, || concluded(&s, &group).as_deref() == Some("failure")).await;
    s.gh.heal();
    s.settle().await;
    assert_eq!(causes(&s).get(looked.len()).map(String::as_str), Some("start"), "{:?}", causes(&s));
    s.service.kill9().await;
    s.service.verify().await;
}

/// Events of a pull request that come while one of it is judged, which waits for GitHub until this is released.
async fn while_one_is_judged(s: &Scene, pr: u64) -> gatelog::simulated_github::Hold {
    let hold = s.gh.hold(Route::GraphqlWith("PrFacts".to_owned()));
    s.act(|w| w.label("carol", REPO, pr, "one")).await;
    hold.arrived(1).await;
    s.gh.heal();
    hold
}

/// Somebody asks for a re-run, and the look that it asks for waits to be judged: its entry.
async fn re_run_waits(s: &Scene, run: u64) -> u64 {
    let looks = |s: &Scene| -> Vec<u64> {
        let view = s.view();
        let own = view.of_kind(&Kind::Event).filter(|e| e.data["cause"] == "rerequested");
        own.map(|e| e.seq).collect()
    };
    s.act(|w| w.rerequest("carol", run)).await;
    until("the look is recorded", s, || !looks(s).is_empty()).await;
    looks(s)[0]
}

/// GitHub shows a re-run as queued until it is written to, whatever else is judged with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_re_run_that_a_later_event_stands_for_is_answered_with_a_write() {
    let mut s = Scene::set().await;
    s.service.start_with_failpoints("github::timeout=return(600000)").await.unwrap();
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let run = s.run_on(&s.head(pr), "gatelog").unwrap();
    assert_eq!(run.conclusion.as_deref(), Some("failure"));
    let hold = while_one_is_judged(&s, pr).await;
    let look = re_run_waits(&s, run.id).await;
    s.act(|w| w.label("carol", REPO, pr, "two")).await;
    let writes = s.gh.check_run_writes();
    hold.release();
    let view = s.settle().await;
    assert_eq!(view.verdict_of(look).unwrap().1.decision, Decision::Superseded, "they were judged together");
    assert_eq!((s.gh.check_run_writes(), s.check(pr).0.as_str()), (writes + 1, "failure"));
}

/// What GitHub told is older than the look that stands for it: an answer from before it is looked at again.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_before_an_event_that_a_look_of_ours_stands_for_is_read_again() {
    let mut s = Scene::set().await;
    s.use_parameters(&format!("\"{REPO}\": {{title_convention: {{enabled: true}}}}\n"));
    // Nothing is waited for longer than it is read again at once.
    s.service
        .start_with_failpoints(
            "gate::behind=return(0);gate::catch_up=return(200);github::timeout=return(600000)",
        )
        .await
        .unwrap();
    let pr = s.pull("topic", "fix: a door").await;
    s.act(|w| w.approve("bob", REPO, pr)).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "success", "{:?}\n{}", s.check(pr), s.service.log());
    let run = s.run_on(&s.head(pr), "gatelog").unwrap();
    let hold = while_one_is_judged(&s, pr).await;
    s.gh.lag(usize::MAX);
    let told = s.act(|w| w.edit_title("alice", REPO, pr, "A door")).await.hooks;
    let look = re_run_waits(&s, run.id).await;
    // It is read once, and three times more; what reads it after that waits until GitHub has caught up.
    let later = gatelog::simulated_github::Hold::default();
    let route = Route::GraphqlWith("PrFacts".to_owned());
    s.gh.fault_after(route, 4, usize::MAX, Fault::Hold(later.clone()));
    hold.release();
    tokio::time::timeout(Duration::from_secs(60), later.arrived(1)).await.expect("it is read again later");
    let view = s.view();
    assert_eq!(view.decision(&told[0].guid), Some(Decision::Superseded), "they were judged together");
    assert_eq!(view.verdict_of(look).unwrap().1.decision, Decision::Allow, "on an answer from before");
    s.gh.catch_up();
    later.release();
    until("red", &s, || s.check(pr).0 == "failure").await;
    s.settle().await;
    s.service.stop().await;
    s.service.verify().await;
}
