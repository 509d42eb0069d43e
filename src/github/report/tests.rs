use std::time::Duration;

use super::*;
use crate::{
    event::Repository,
    github::Settings,
    simulated_github::{Change, Fault, Route, SimulatedGithub, commit},
};

struct Scene {
    gh: SimulatedGithub,
    github: Github,
    at: RepoAt,
    sha: Sha,
}

async fn scene() -> Scene {
    let gh = SimulatedGithub::start().await.unwrap();
    let (installation, id, sha) = gh.with(|w| {
        let installation = w.add_organization("octo-org");
        w.add_user("alice");
        let id = w.add_repository("octo-org/app").unwrap();
        let pushed = w.push("alice", "octo-org/app", "main", &[commit("alice", "first")]).unwrap();
        (installation, id, pushed.what)
    });
    let settings = Settings {
        api_url: gh.api_url(),
        graphql_url: None,
        app_id: gh.app_id(),
        private_key_pem: gh.app_key_pem().into_bytes().into(),
        timeout: Duration::from_secs(5),
        outbound: crate::outbound::Outbound::new(None, &crate::outbound::Proxies::default()).unwrap(),
        secondary_limits: false,
    };
    let repository = Repository { id, name: "octo-org/app".parse().unwrap(), default_branch: None };
    let at = RepoAt { installation, repository };
    Scene { github: Github::new(&settings).unwrap(), gh, at, sha: sha.parse().unwrap() }
}

impl Scene {
    async fn show(&self, show: &Show) -> Result<Shown, Trouble> {
        super::show(&self.github, &self.at, show, None).await
    }

    /// id, status or conclusion, title: of every run, oldest first.
    fn runs(&self) -> Vec<(u64, String, String)> {
        let runs = self.gh.check_runs_on(self.sha.as_str());
        runs.into_iter().map(|r| (r.id, r.conclusion.unwrap_or(r.status), r.title.unwrap())).collect()
    }
}

fn says(sha: &Sha, state: State, title: &str) -> Show {
    Show {
        name: "gatelog/push".to_owned(),
        sha: sha.clone(),
        state,
        title: title.to_owned(),
        summary: "summary".to_owned(),
        text: "text".to_owned(),
        annotations: vec![],
        external_id: format!("1:5:{title}"),
        known_run: None,
        look_first: false,
        keep_red: false,
        started_at: Some("2026-11-24T15:04:05.123456Z".parse().unwrap()),
        details_url: None,
    }
}

fn known(shown: Shown, completed: bool) -> Option<KnownRun> {
    Some(KnownRun { id: shown.check_run, completed })
}

#[tokio::test]
async fn created_then_updated_on_the_same_run() {
    let s = scene().await;
    let first = s.show(&says(&s.sha, State::InProgress, "a")).await.unwrap();
    assert_eq!(first.done, Done::Created);
    let second = Show { known_run: known(first, false), ..says(&s.sha, State::Failure, "b") };
    assert_eq!(s.show(&second).await.unwrap(), Shown { done: Done::Updated, state: second.state, ..first });
    let third = Show { known_run: known(first, true), ..says(&s.sha, State::Success, "c") };
    assert_eq!(s.show(&third).await.unwrap(), Shown { done: Done::Updated, state: third.state, ..first });
    assert_eq!(s.runs(), [(first.check_run, "success".to_owned(), "c".to_owned())]);
    let sent = s.gh.requests().into_iter().find(|r| r.path.ends_with("/check-runs")).unwrap();
    insta::assert_snapshot!(sent.body.replace(s.sha.as_str(), "SHA"));
}

#[tokio::test]
async fn an_annotation_is_sent_once() {
    let s = scene().await;
    let with = |state, title: &str| Show {
        annotations: vec![json!({"path": "a.yml", "start_line": 1, "end_line": 1,
            "annotation_level": "failure", "message": "no"})],
        ..says(&s.sha, state, title)
    };
    let shown = |id: u64| {
        let run = s.gh.check_runs_on(s.sha.as_str()).into_iter().find(|r| r.id == id).unwrap();
        run.annotations.len()
    };
    let run = s.show(&with(State::InProgress, "a")).await.unwrap();
    assert_eq!(shown(run.check_run), 0, "nothing is decided yet");
    s.show(&Show { known_run: known(run, false), ..with(State::Failure, "b") }).await.unwrap();
    assert_eq!(shown(run.check_run), 1);
    s.show(&Show { known_run: known(run, true), ..with(State::Failure, "c") }).await.unwrap();
    s.show(&Show { look_first: true, ..with(State::Failure, "d") }).await.unwrap();
    assert_eq!(shown(run.check_run), 1, "an update would add it again");
}

#[tokio::test]
async fn a_run_that_is_done_is_not_reopened() {
    let s = scene().await;
    let first = s.show(&says(&s.sha, State::Success, "a")).await.unwrap();
    let again = Show { known_run: known(first, true), ..says(&s.sha, State::InProgress, "b") };
    let second = s.show(&again).await.unwrap();
    assert_eq!(second.done, Done::Created);
    assert!(second.check_run > first.check_run, "the newest run is the one that counts");
    let last = Show { look_first: true, ..says(&s.sha, State::Failure, "c") };
    assert_eq!(s.show(&last).await.unwrap(), Shown { done: Done::Updated, state: last.state, ..second });
    assert!(s.runs().iter().all(|(_, state, _)| state != "in_progress"));
}

#[tokio::test]
async fn a_lost_answer_is_found_again() {
    let s = scene().await;
    s.gh.fault(Route::CreateCheckRun, 1, Fault::DoneButStatus(502));
    let show = says(&s.sha, State::InProgress, "a");
    let lost = s.show(&show).await.unwrap_err();
    assert_eq!(lost.kind, TroubleKind::Unavailable);
    let found = s.show(&Show { look_first: true, ..show.clone() }).await.unwrap();
    assert_eq!(found.done, Done::Unchanged);
    let next = Show { look_first: true, ..says(&s.sha, State::Success, "b") };
    assert_eq!(s.show(&next).await.unwrap(), Shown { done: Done::Updated, state: next.state, ..found });
    assert_eq!(s.runs().len(), 1);
}

#[tokio::test]
async fn runs_of_others_are_never_touched() {
    let s = scene().await;
    let sha = s.sha.as_str().to_owned();
    s.gh.with(|w| {
        w.add_foreign_check_run(999, s.at.repository.id, &sha, "gatelog/push", "success");
    });
    let other_name = Show { name: "gatelog".to_owned(), ..says(&s.sha, State::Failure, "x") };
    s.show(&other_name).await.unwrap();
    let shown = s.show(&Show { look_first: true, ..says(&s.sha, State::Failure, "a") }).await.unwrap();
    assert_eq!(shown.done, Done::Created);
    let ours = find_runs(&s.github, &s.at, &s.sha, "gatelog/push").await.unwrap();
    assert_eq!(ours.len(), 1);
    assert_eq!((ours[0].app_id(), ours[0].title()), (Some(s.gh.app_id()), Some("a")));
}

#[tokio::test]
async fn all_pages_are_read() {
    let s = scene().await;
    let mut newest = None;
    for n in 0..101 {
        newest = Some(s.show(&says(&s.sha, State::Failure, &n.to_string())).await.unwrap());
    }
    let shown = s.show(&Show { look_first: true, ..says(&s.sha, State::Success, "a") }).await.unwrap();
    assert_eq!(Some(shown.check_run), newest.map(|n| n.check_run));
}

#[tokio::test]
async fn a_run_that_github_deleted_is_made_anew() {
    let s = scene().await;
    let first = s.show(&says(&s.sha, State::InProgress, "a")).await.unwrap();
    s.gh.with(|w| w.check_runs.clear());
    let shown = s.show(&Show { known_run: known(first, false), ..says(&s.sha, State::Success, "b") }).await;
    assert_eq!(shown.unwrap().done, Done::Created);
    assert_eq!(s.runs().len(), 1);
}

#[tokio::test]
async fn troubles_say_what_to_do() {
    let s = scene().await;
    let show = says(&s.sha, State::Success, "a");
    s.gh.fault(Route::CreateCheckRun, 1, Fault::RetryAfter { status: 403, seconds: 7 });
    let limited = s.show(&show).await.unwrap_err();
    assert_eq!((limited.kind, limited.retry_after), (TroubleKind::RateLimited, Some(Duration::from_secs(7))));

    let s = scene().await;
    let nowhere = Show { sha: "a".repeat(40).parse().unwrap(), ..says(&s.sha, State::Success, "a") };
    let unknown = s.show(&nowhere).await.unwrap_err();
    assert_eq!(unknown.kind, TroubleKind::Unexpected);
    assert!(unknown.reason.contains("No commit found for SHA"), "{unknown}");

    let gone = s.at.repository.id;
    let delete = Change::new(move |w| drop(w.repositories.remove(&gone)));
    s.gh.fault(Route::CreateCheckRun, 1, Fault::Meanwhile(delete));
    assert_eq!(s.show(&show).await.unwrap_err().kind, TroubleKind::Gone);
}
