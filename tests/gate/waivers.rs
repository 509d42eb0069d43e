//! Exceptions: by comment, by the operator, in the policies; through the real binary and real HTTP.

use std::time::{Duration, Instant};

use crate::common::scene::{REPO, Scene, push_and_open};
use gatelog::{
    ledger::entry::{Kind, WaiverData, WaiverStep},
    simulated_github::{Fault, Method, Role, Route, commit},
    time::Time,
};

const RULES: &str = "\
waiving:
  waive: {by: {permission: admin, teams: [octo-org/security]}, controls: [CHG-02], max_days: 14}
  break_glass: {by: {permission: maintain}, hours: 4, review_within_hours: 72}
";

/// dora is an admin, erin maintains, frank is in octo-org/security and may write.
async fn started(rules: &str) -> Scene {
    let mut s = Scene::set().await;
    s.use_parameters(&format!("\"{REPO}\": {{}}"));
    std::fs::write(s.service.dir.join("policies/waivers.yaml"), rules).unwrap();
    s.gh.with(|w| {
        // Comments are answered when they are fresh.
        w.now = Time::now();
        for (login, role) in [("dora", Role::Admin), ("erin", Role::Maintain), ("frank", Role::Write)] {
            w.add_user(login);
            w.grant(login, REPO, role).unwrap();
        }
        w.add_team("octo-org", "security", None, &["frank"]).unwrap();
    });
    s.service.start().await;
    s
}

/// Says something on a pull request, and waits until nothing is left to do.
async fn say(s: &Scene, who: &str, pr: u64, body: &str) {
    s.act(|w| w.say(who, REPO, pr, body)).await;
    s.settle().await;
}

fn page(s: &Scene, pr: u64) -> String {
    s.run_on(&s.head(pr), "gatelog").and_then(|r| r.summary).unwrap_or_default()
}

/// A day on which an exception made now still holds, and its end.
fn day(days: u64) -> String {
    Time::now().plus(Duration::from_secs(days * 24 * 3600)).to_string()[..10].to_owned()
}

/// `main` goes on, and somebody presses "Update branch".
async fn update(s: &Scene, who: &str, pr: u64) {
    let other = commit("carol", "meanwhile").write(&format!("{who}.md"), "m").signed();
    s.act(|w| w.push("carol", REPO, "main", &[other])).await;
    s.act(|w| w.update_branch(who, REPO, pr)).await;
    s.settle().await;
}

/// `gatelog …` beside the service: its exit code and what it said.
async fn run(s: &Scene, args: &[&str]) -> (Option<i32>, String) {
    let out = s.service.gatelog(args).await;
    let text = [out.stdout, out.stderr].map(|o| String::from_utf8(o).unwrap()).concat();
    (out.status.code(), text)
}

fn steps(s: &Scene) -> Vec<(u64, WaiverStep)> {
    let view = s.view();
    let step = |e: &gatelog::ledger::entry::Entry| {
        (e.seq, serde_json::from_value::<WaiverData>(e.data.clone()).unwrap().step)
    };
    view.of_kind(&Kind::Waiver).map(step).collect()
}

/// What is in the files of the ledger.
fn is_written(s: &Scene, text: &str) -> bool {
    let read = || {
        let files = std::fs::read_dir(s.service.ledger.join("journal"))?;
        files.map(|f| std::fs::read(f?.path())).collect::<std::io::Result<Vec<_>>>()
    };
    loop {
        match read() {
            Ok(files) => return files.iter().any(|b| b.windows(text.len()).any(|w| w == text.as_bytes())),
            // One was put in the place of another meanwhile.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => panic!("{e}"),
        }
    }
}

/// The looks that were taken because of an exception, by gatelog itself.
fn looks(s: &Scene) -> usize {
    let view = s.view();
    view.of_kind(&Kind::Event).filter(|e| e.key.starts_with("erased:")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_whose_words_were_erased_holds_no_more_and_is_not_written_anew() {
    let mut s = started(RULES).await;
    let pr = s.pull("topic", "A door").await;
    let other = s.pull("other", "A window").await;
    for pr in [pr, other] {
        say(&s, "dora", pr, &format!("/gatelog waive CHG-02 until {} because all are away", day(2))).await;
        assert_eq!(s.check(pr).0, "success", "{}", s.service.log());
    }
    assert!(is_written(&s, "\"dora\""));
    let of_other = steps(&s)[1].0.to_string();
    let (code, said) = run(&s, &["log", "erase", "--reason", "ticket 7", "--entry", &of_other]).await;
    assert_eq!(code, Some(0), "{said}");
    s.until("nothing stands on it", 90, || (s.check(other).0 == "failure").then_some(())).await;
    s.settle().await;
    assert_eq!((looks(&s), s.check(pr).0.as_str()), (1, "success"), "the one that it concerns");
    // As a person, while nobody runs: the next start sees to it, and once.
    s.service.stop().await;
    let (code, said) =
        run(&s, &["log", "erase", "--ledger", "data", "--reason", "ticket 8", "--login", "dora"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(!is_written(&s, "\"dora\""));
    s.service.start().await;
    s.until("nothing stands on it", 90, || (s.check(pr).0 == "failure").then_some(())).await;
    say(&s, "alice", pr, "/gatelog recheck").await;
    assert_eq!(s.check(pr).0, "failure", "{}", s.service.log());
    assert!(!is_written(&s, "\"dora\""), "it is written anew");
    s.service.kill9().await;
    s.service.start().await;
    say(&s, "alice", pr, "/gatelog recheck").await;
    assert_eq!(looks(&s), 2, "once for each erasure");
    s.service.verify().await;
}

/// Somebody is erased while the exception holds that she made.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_is_not_named_by_what_is_judged_afterwards() {
    let s = started(RULES).await;
    let pr = s.pull("topic", "A door").await;
    say(&s, "dora", pr, &format!("/gatelog waive CHG-02 until {} because all are away", day(2))).await;
    assert_eq!(s.check(pr).0, "success", "{}", s.service.log());
    let (code, said) = run(&s, &["log", "erase", "--reason", "ticket 7", "--login", "dora"]).await;
    assert_eq!(code, Some(0), "{said}");
    s.until("nothing stands on it", 90, || (s.check(pr).0 == "failure").then_some(())).await;
    say(&s, "alice", pr, "/gatelog recheck").await;
    assert_eq!(s.check(pr).0, "failure");
    assert!(!is_written(&s, "\"dora\""), "it is written anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waived_finding_is_shown_and_lets_pass_until_the_head_moves() {
    let s = started(RULES).await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure");
    say(&s, "dora", pr, &format!("/gatelog waive CHG-02 until {} because the reviewers are away", day(2)))
        .await;
    let (state, title) = s.check(pr);
    assert_eq!(
        (state.as_str(), title.as_str()),
        ("success", "Allowed by 2 of 3 controls, 1 waived"),
        "{}",
        s.service.log()
    );
    let page = page(&s, pr);
    for text in
        ["**Waived**", "by dora: the reviewers are away", "not met: ", "0 of 1 approvals", "**Commands**"]
    {
        assert!(page.contains(text), "{text} is not in\n{page}");
    }
    // The process is killed: the exception is in the ledger.
    let mut s = s;
    s.service.kill9().await;
    s.service.start().await;
    say(&s, "alice", pr, "/gatelog recheck").await;
    assert_eq!(s.check(pr).0, "success", "{}", s.service.log());
    let more = commit("alice", "more").write("more.txt", "more").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[more])).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "it was for the head before");
    // What is waived in the queue is what was waived on the pull request.
    say(&s, "frank", pr, &format!("/gatelog waive CHG-02 until {} because seen", day(2))).await;
    let group = s.act(|w| w.enqueue("alice", REPO, pr)).await.what;
    s.settle().await;
    assert_eq!(s.run_on(&group, "gatelog").unwrap().conclusion.as_deref(), Some("success"));
    let seq = steps(&s).last().unwrap().0;
    say(&s, "bob", pr, &format!("/gatelog revoke {seq} because they are back")).await;
    assert_eq!(s.check(pr).0, "failure");
    assert_eq!(
        s.run_on(&group, "gatelog").unwrap().conclusion.as_deref(),
        Some("failure"),
        "{}",
        s.service.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_is_refused_with_the_reason_or_not_heard() {
    let s = started(RULES).await;
    let (pr, other) = (s.pull("topic", "A door").await, s.pull("other", "A window").await);
    s.settle().await;
    let waive = format!("/gatelog waive CHG-02 until {} because x", day(2));
    for (who, line, says) in [
        ("bob", waive.clone(), "only people with admin access or members of @octo-org/security may"),
        ("dora", waive.replace("CHG-02", "CHG-05"), "CHG-05 may not be waived by comment"),
        ("dora", waive.replace("CHG-02", "CHG-99"), "no control has the id CHG-99"),
        ("dora", waive.replace(&day(2), &day(30)), "lasts at most 14 days"),
        ("dora", waive.replace(&day(2), "2026-01-01"), "would have ended before it began"),
        ("dora", "/gatelog waive CHG-02".to_owned(), "`until` is missing"),
        ("dora", "/gatelog approve".to_owned(), "no request waits"),
        ("dora", "/gatelog revoke 1 because x".to_owned(), "entry 1 is no exception on this pull request"),
        ("bob", "/gatelog break-glass because x".to_owned(), "only people with maintain access may"),
    ] {
        say(&s, who, pr, &line).await;
        assert_eq!(s.check(pr).0, "failure", "{who}: {line}");
        let page = page(&s, pr).replace(['\\'], "").replace("&#8203;", "");
        assert!(page.contains(says), "{who}: {line}: {says} is not in\n{page}");
    }
    // alice is the author; she may do much else.
    s.act(|w| w.set_role("dora", REPO, "alice", Some(Role::Admin))).await;
    say(&s, "alice", pr, &waive).await;
    assert!(
        page(&s, pr).contains("the author of a pull request makes no exception for it"),
        "{}",
        page(&s, pr)
    );
    // dora pushes to it: then it is hers too.
    let hers = commit("dora", "mine").write("mine.txt", "m").signed();
    s.act(|w| w.push("dora", REPO, "topic", &[hers])).await;
    say(&s, "dora", pr, &waive).await;
    assert!(page(&s, pr).contains("whoever pushed a commit of it makes no exception"), "{}", page(&s, pr));
    assert_eq!(s.check(pr).0, "failure");
    // Somebody else presses "Update branch": her commit is in it still.
    update(&s, "bob", pr).await;
    say(&s, "dora", pr, &waive.replace("because x", "because y")).await;
    assert_eq!(s.check(pr).0, "failure", "{}", page(&s, pr));
    let refused = page(&s, pr).matches("whoever pushed a commit of it makes no exception").count();
    assert_eq!(refused, 1, "at the new head: {}", page(&s, pr));
    // The head moves between the comment and its delivery: what was looked at is not what would be waived.
    let late = s.gh.with(|w| w.say("dora", REPO, other, &waive)).unwrap();
    let more = commit("alice", "sly").write("sly.txt", "s").signed();
    s.act(|w| w.push("alice", REPO, "other", &[more])).await;
    s.settle().await;
    s.deliver(&late.hooks[0]).await;
    s.settle().await;
    assert_eq!(s.check(other).0, "failure", "{}", page(&s, other));
    assert!(page(&s, other).contains("the head moved after the comment was written"), "{}", page(&s, other));
    // A comment that comes long after it was written was about something else.
    let old = s.gh.with(|w| w.say("dora", REPO, other, &waive)).unwrap();
    let mut old = old.hooks.into_iter().next().unwrap();
    let hour_ago = Time::now().before(Duration::from_secs(3600)).to_string();
    old.payload["comment"]["created_at"] = format!("{}Z", &hour_ago[..19]).into();
    s.deliver(&old).await;
    s.settle().await;
    assert!(page(&s, other).contains("more than 15 minutes after it was written"), "{}", page(&s, other));
    // mallory may only read: nothing is answered, nothing is judged again.
    let before = steps(&s).len();
    say(&s, "mallory", other, &waive).await;
    say(&s, "mallory", other, "/gatelog recheck").await;
    assert_eq!(steps(&s).len(), before);
    assert!(!page(&s, other).contains("mallory"));
    // Nor is a comment that was edited, sent again under another GUID, or written by somebody else.
    let mut hook = s.gh.with(|w| w.say("dora", REPO, other, &waive)).unwrap().hooks.remove(0);
    hook.payload["action"] = "edited".into();
    s.deliver(&hook).await;
    s.settle().await;
    assert_eq!(steps(&s).len(), before);
    assert_eq!(s.check(other).0, "failure");
}

#[tokio::test(flavor = "multi_thread")]
async fn four_eyes_are_two_people_at_one_head() {
    let s = started(&RULES.replace("max_days: 14", "max_days: 14, approvals: 2")).await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    say(&s, "dora", pr, &format!("/gatelog waive CHG-02 until {} because away", day(2))).await;
    assert_eq!(s.check(pr).0, "failure");
    assert!(page(&s, pr).contains("waits for a second person"), "{}", page(&s, pr));
    say(&s, "dora", pr, "/gatelog approve").await;
    assert!(page(&s, pr).contains("whoever asked cannot be the second person"), "{}", page(&s, pr));
    say(&s, "bob", pr, "/gatelog approve").await;
    assert_eq!(s.check(pr).0, "failure", "bob may not");
    say(&s, "frank", pr, "/gatelog approve").await;
    assert_eq!(s.check(pr).0, "success", "{}", page(&s, pr));
    // A request for a head that is gone cannot be agreed to.
    let more = commit("alice", "more").write("more.txt", "more").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[more])).await;
    s.settle().await;
    say(&s, "dora", pr, &format!("/gatelog waive CHG-02 until {} because away", day(2))).await;
    let again = commit("alice", "again").write("again.txt", "again").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[again])).await;
    s.settle().await;
    say(&s, "frank", pr, "/gatelog approve").await;
    assert_eq!(s.check(pr).0, "failure");
    assert!(page(&s, pr).contains("another head than when this was asked for"), "{}", page(&s, pr));
}

/// A pull request of alice into `sandbox`.
async fn into_sandbox(s: &Scene, branch: &str) -> u64 {
    let pr = s.act(|w| {
        let change = commit("alice", branch).write(&format!("{branch}.txt"), branch).signed();
        let pushed = w.push("alice", REPO, branch, &[change])?;
        let mut opened = w.open_pull("alice", REPO, branch, "sandbox", branch)?;
        opened.hooks.splice(..0, pushed.hooks);
        Ok(opened)
    });
    pr.await.what
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_is_for_the_branch_it_was_made_for() {
    let s = started(RULES).await;
    s.act(|w| w.push("alice", REPO, "sandbox", &[commit("alice", "play").write("s.md", "s").signed()])).await;
    let (pr, other) = (into_sandbox(&s, "topic").await, into_sandbox(&s, "other").await);
    s.settle().await;
    let waive = format!("/gatelog waive CHG-02 until {} because it is only the sandbox", day(2));
    say(&s, "dora", pr, &waive).await;
    assert_eq!(steps(&s).last().unwrap().1, WaiverStep::Granted, "{}", page(&s, pr));
    s.act(|w| w.retarget("alice", REPO, pr, "main")).await;
    // The base is changed between the comment and its delivery.
    let late = s.gh.with(|w| w.say("dora", REPO, other, &waive)).unwrap();
    s.act(|w| w.retarget("alice", REPO, other, "main")).await;
    s.settle().await;
    s.deliver(&late.hooks[0]).await;
    s.settle().await;
    assert_eq!(
        (s.check(pr).0.as_str(), s.check(other).0.as_str()),
        ("failure", "failure"),
        "{}\n{}",
        page(&s, pr),
        page(&s, other)
    );
    assert!(
        page(&s, other).contains("the base was changed after the comment was written"),
        "{}",
        page(&s, other)
    );
    say(&s, "dora", pr, &waive).await;
    assert_eq!(s.check(pr).0, "success", "{}", page(&s, pr));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exception_that_goes_on_after_a_push_does_not_cover_what_its_own_people_push() {
    let s = started(&RULES.replace("max_days: 14", "max_days: 14, keeps_on_push: true")).await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let waive = format!("/gatelog waive CHG-02 until {} because away", day(2));
    say(&s, "dora", pr, &waive).await;
    let more = commit("alice", "more").write("more.txt", "more").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[more])).await;
    update(&s, "dora", pr).await;
    assert_eq!(s.check(pr).0, "success", "{}", page(&s, pr));
    let hers = commit("dora", "mine").write("mine.txt", "m").signed();
    s.act(|w| w.push("dora", REPO, "topic", &[hers])).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "{}", page(&s, pr));
    say(&s, "frank", pr, &waive).await;
    assert_eq!(s.check(pr).0, "success", "frank pushed nothing: {}", page(&s, pr));
    // A deploy key: it may have been anybody's.
    let somebody = commit("alice", "key").write("key.txt", "k").signed();
    s.act(|w| w.push_with_key("alice", "ci", REPO, "topic", &[somebody])).await;
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure", "{}", page(&s, pr));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_agrees_agrees_to_what_may_be_asked_for_now() {
    let rules = RULES.replace("max_days: 14", "max_days: 14, approvals: 2, keeps_on_push: true");
    let s = started(&rules).await;
    s.act(|w| w.push("alice", REPO, "sandbox", &[commit("alice", "play").write("s.md", "s").signed()])).await;
    let (pr, own, moved) =
        (s.pull("topic", "A door").await, s.pull("own", "A wall").await, into_sandbox(&s, "moved").await);
    s.settle().await;
    for pr in [pr, own, moved] {
        s.act(|w| w.say("dora", REPO, pr, &format!("/gatelog waive CHG-02 until {} because away", day(2))))
            .await;
    }
    s.settle().await;
    assert!(steps(&s).iter().all(|(_, step)| *step == WaiverStep::Requested), "{:?}", steps(&s));
    let agreed_to = async |s: &Scene, pr: u64, says: &str| {
        say(s, "frank", pr, "/gatelog approve").await;
        assert_eq!(s.check(pr).0, "failure", "{}", page(s, pr));
        assert!(page(s, pr).contains(says), "{says} is not in\n{}", page(s, pr));
    };
    // Whoever asked has pushed since, the base is another one, or whoever asked may no more.
    let hers = commit("dora", "mine").write("mine.txt", "m").signed();
    s.act(|w| w.push("dora", REPO, "own", &[hers])).await;
    s.act(|w| w.retarget("alice", REPO, moved, "main")).await;
    s.settle().await;
    agreed_to(&s, own, "whoever asked has pushed to it").await;
    agreed_to(&s, moved, "another base than when this was asked for").await;
    s.act(|w| w.set_role("alice", REPO, "dora", Some(Role::Write))).await;
    agreed_to(&s, pr, "who asked, may not any more").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_glass_alarms_and_is_to_be_reviewed_by_somebody_else() {
    let s = started(&RULES.replace("review_within_hours: 72", "review_within_hours: 0")).await;
    let pr = s.act(|w| push_and_open(w, "topic", "A door")).await.what;
    s.settle().await;
    say(&s, "erin", pr, "/gatelog break-glass because the shop is down").await;
    let (state, title) = s.check(pr);
    assert_eq!(state, "success", "{title}\n{}", s.service.log());
    assert!(page(&s, pr).contains("**break-glass** until"), "{}", page(&s, pr));
    assert!(s.service.log().contains("break-glass by @erin on #1: the shop is down"), "{}", s.service.log());
    let until = Instant::now() + Duration::from_secs(30);
    while !steps(&s).iter().any(|(_, step)| *step == WaiverStep::Overdue) {
        assert!(Instant::now() < until, "{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let listed = async || {
        let out = s.service.gatelog(&["waiver", "list", "--ledger", "data"]).await;
        let exceptions = s.service.gatelog(&["audit", "exceptions", "--ledger", "data"]).await;
        let both = [out.stdout, exceptions.stdout].map(|o| String::from_utf8(o).unwrap());
        (both[0].clone(), both[1].clone())
    };
    let (list, exceptions) = listed().await;
    assert!(list.contains("BREAK-GLASS") && list.contains("review overdue"), "{list}");
    assert!(exceptions.contains("review overdue") && exceptions.contains("the shop is down"), "{exceptions}");
    let seq = steps(&s)[0].0;
    say(&s, "erin", pr, &format!("/gatelog reviewed {seq} because it was right")).await;
    assert!(page(&s, pr).contains("by somebody who had no part in it"), "{}", page(&s, pr));
    s.act(|w| w.close("alice", REPO, pr)).await;
    say(&s, "dora", pr, &format!("/gatelog reviewed {seq} because it was right")).await;
    assert_eq!(steps(&s).last().unwrap().1, WaiverStep::Reviewed);
    let (_, exceptions) = listed().await;
    assert!(exceptions.contains("reviewed") && !exceptions.contains("overdue"), "{exceptions}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_excused_on_the_pull_request_is_excused_where_it_landed() {
    let rules = RULES.replace("max_days: 14", "max_days: 14, keeps_on_push: true");
    let s = started(&rules.replace("[CHG-02]", "[CHG-02, CHG-05]")).await;
    let unsigned = async |branch: &str| {
        let pr = s.act(|w| {
            let hot = commit("alice", branch).write(&format!("{branch}.txt"), "h");
            let pushed = w.push("alice", REPO, branch, &[hot])?;
            let mut opened = w.open_pull("alice", REPO, branch, "main", branch)?;
            opened.hooks.splice(..0, pushed.hooks);
            Ok(opened)
        });
        pr.await.what
    };
    let (hot, kept) = (unsigned("hot").await, unsigned("kept").await);
    s.settle().await;
    say(&s, "erin", hot, "/gatelog break-glass because the shop is down").await;
    say(&s, "dora", kept, &format!("/gatelog waive CHG-02,CHG-05 until {} because import", day(2))).await;
    for pr in [hot, kept] {
        assert_eq!(s.check(pr).0, "success", "{}", page(&s, pr));
        let sha = s.act(|w| w.merge("erin", REPO, pr, Method::Merge)).await.what;
        s.settle().await;
        let run = s.run_on(&sha, "gatelog/push").unwrap();
        let said = format!("{:?}\n{:?}\n{}", run.title, run.summary, s.service.log());
        assert_eq!(run.conclusion.as_deref(), Some("success"), "{said}");
        assert!(run.title.unwrap().contains("waived"), "{said}");
    }
    // The same pushed by hand is excused by nothing.
    let by_hand = commit("alice", "by hand").write("hand.txt", "h");
    let sha = s.act(|w| w.push("alice", REPO, "main", &[by_hand])).await.what;
    s.settle().await;
    assert_eq!(s.run_on(&sha, "gatelog/push").unwrap().conclusion.as_deref(), Some("failure"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_exception_ends_by_itself() {
    let mut s = started("waivers: []\n").await;
    let (pr, other) = (s.pull("topic", "A door").await, s.pull("other", "A window").await);
    s.settle().await;
    let soon = Time::now().plus(Duration::from_secs(20)).to_string();
    let add = [
        "waiver",
        "add",
        "--control",
        "CHG-02",
        "--repo",
        REPO,
        "--pr",
        "1",
        "--owner",
        "mona",
        "--reason",
        "import",
    ];
    let (code, said) = run(&s, &[&add[..], &["--until", "2026-01-01"]].concat()).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("before it begins"), "{said}");
    let later = ["--until", "2099-01-01", "--from", &soon, "--break-glass", "4"];
    let (code, said) = run(&s, &[&add[..], &later].concat()).await;
    assert!(code == Some(2) && said.contains("an emergency begins now"), "{said}");
    let (code, said) =
        run(&s, &["waiver", "add", "--control", "CHG-2", "--owner", "m", "--reason", "r", "--until", &soon])
            .await;
    assert!(code == Some(2) && said.contains("no control has the id `CHG-2`; there are CHG-01"), "{said}");
    let (code, said) = run(&s, &[&add[..], &["--until", &soon]].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    s.settle().await;
    assert_eq!(
        (s.check(pr).0.as_str(), s.check(other).0.as_str()),
        ("success", "failure"),
        "{}",
        s.service.log()
    );
    // What anybody says about it, and another process, do not make it last.
    say(&s, "mallory", pr, "nice work").await;
    s.service.kill9().await;
    s.service.start().await;
    say(&s, "mallory", pr, "very nice").await;
    let until = Instant::now() + Duration::from_secs(60);
    while s.check(pr).0 == "success" {
        assert!(Instant::now() < until, "{}", s.service.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    s.settle().await;
    assert_eq!(s.check(pr).0, "failure");
    let (_, list) = run(&s, &["waiver", "list"]).await;
    assert_eq!(list, "no exceptions\n");
    let (_, list) = run(&s, &["waiver", "list", "--all"]).await;
    assert!(list.contains("CHG-02 in octo-org/app#1 until") && list.contains("(ended)"), "{list}");
    // For every pull request of the repository, then no more.
    let tomorrow = day(1);
    let wide = [
        "waiver",
        "add",
        "--control",
        "*",
        "--repo",
        REPO,
        "--owner",
        "mona",
        "--reason",
        "move",
        "--until",
        &tomorrow,
    ];
    let (code, said) = run(&s, &wide).await;
    assert_eq!(code, Some(0), "{said}");
    s.settle().await;
    assert_eq!((s.check(pr).0.as_str(), s.check(other).0.as_str()), ("success", "success"));
    let seq = steps(&s).last().unwrap().0.to_string();
    let (code, said) = run(&s, &["waiver", "revoke", &seq, "--reason", "done"]).await;
    assert_eq!(code, Some(0), "{said}");
    s.settle().await;
    assert_eq!((s.check(pr).0.as_str(), s.check(other).0.as_str()), ("failure", "failure"));
    let (_, said) = run(&s, &["waiver", "revoke", &seq, "--reason", "done"]).await;
    assert!(said.contains("has ended already"), "{said}");
    let (code, said) = run(&s, &["log", "verify"]).await;
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_look_is_given_five_times_an_hour() {
    let s = started(RULES).await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    let looks = || {
        let view = s.view();
        view.of_kind(&Kind::Event).filter(|e| e.data["cause"] == "rerequested").count()
    };
    say(&s, "alice", pr, "/gatelog recheck\nplease").await;
    assert_eq!(looks(), 1);
    for n in 2..=7 {
        s.act(|w| w.say("alice", REPO, pr, &format!("/gatelog recheck\nplease, {n}"))).await;
    }
    s.settle().await;
    assert_eq!(looks(), 5);
    say(&s, "bob", pr, "/gatelog recheck").await;
    assert_eq!(looks(), 6, "each person has their own");
}

/// Nobody delivered it, and GitHub does not deliver it again: only what its API shows of it is there, which nobody
/// signed.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_was_only_read_is_answered_and_not_carried_out() {
    let mut s = started(RULES).await;
    let pr = s.pull("topic", "A door").await;
    s.settle().await;
    s.service.stop().await;
    let waive = format!("/gatelog waive CHG-02 until {} because the reviewers are away", day(2));
    for (who, line) in [("dora", waive.as_str()), ("alice", "/gatelog recheck"), ("mallory", waive.as_str())]
    {
        for hook in s.gh.with(|w| w.say(who, REPO, pr, line)).unwrap().hooks {
            s.gh.deliver(&hook).await.unwrap_err();
        }
    }
    s.gh.fault(Route::Rest("POST", "app/hook/deliveries"), usize::MAX, Fault::Status(404));
    s.service.start().await;
    let (code, said) = run(&s, &["reconcile", "--ledger", "data"]).await;
    assert_eq!(code, Some(0), "{said}");
    let view = s.settle().await;
    let by_api = |e: &&gatelog::ledger::entry::Entry| e.data["source"] == "api";
    assert_eq!(view.of_kind(&Kind::Event).filter(by_api).count(), 3, "{}", s.service.log());
    assert_eq!(steps(&s).iter().map(|(_, step)| *step).collect::<Vec<_>>(), [WaiverStep::Refused]);
    assert_eq!(s.check(pr).0, "failure");
    let page = page(&s, pr);
    assert!(
        page.contains("dora") && page.contains("waive: refused: ") && page.contains("write it again"),
        "{page}"
    );
    let again = view.of_kind(&Kind::Event).filter(|e| e.data["cause"] == "rerequested").count();
    assert_eq!(again, 1, "a recheck decides nothing");
    s.service.stop().await;
    s.service.verify().await;
}

/// Nobody who opened, wrote or pushed what was let through looks at it afterwards, in a comment or by name.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_worked_on_it_does_not_review_it() {
    let s = started(RULES).await;
    s.gh.with(|w| {
        for login in ["grace", "heidi", "ivan"] {
            w.add_user(login);
            w.grant(login, REPO, Role::Maintain).unwrap();
        }
    });
    let pr = s.act(|w| push_and_open(w, "topic", "A door")).await.what;
    // One after the other: what the API shows first is dated by this machine's clock.
    s.settle().await;
    let written = commit("grace", "by grace").write("grace.txt", "g").signed();
    s.act(|w| w.push("alice", REPO, "topic", &[written])).await;
    s.settle().await;
    let pushed = commit("alice", "by alice").write("more.txt", "m").signed();
    s.act(|w| w.push("heidi", REPO, "topic", &[pushed])).await;
    s.settle().await;
    say(&s, "erin", pr, "/gatelog break-glass because the shop is down").await;
    let seq = steps(&s)[0].0;
    for who in ["grace", "heidi", "erin"] {
        say(&s, who, pr, &format!("/gatelog reviewed {seq} because it was right")).await;
        assert_eq!(steps(&s).last().unwrap().1, WaiverStep::Refused, "{who}");
        assert!(page(&s, pr).contains("by somebody who had no part in it"), "{who}: {}", page(&s, pr));
    }
    let by_name = async |name: &str| {
        let seq = seq.to_string();
        run(&s, &["waiver", "review", &seq, "--by", name, "--note", "right", "--ledger", "data"]).await
    };
    for name in ["alice", "@Grace", "heidi", "erin"] {
        let (code, said) = by_name(name).await;
        assert!(code == Some(2) && said.contains("by somebody who had no part in it"), "{name}: {said}");
    }
    let (code, said) = by_name("ivan").await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(steps(&s).last().unwrap().1, WaiverStep::Reviewed);
}
