use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{event::Circle, time::Time};

const HEAD: &str = "1111111111111111111111111111111111111111";
const BASE: &str = "2222222222222222222222222222222222222222";
const ZERO: &str = "0000000000000000000000000000000000000000";

fn delivery(name: &str, body: impl Into<bytes::Bytes>) -> Delivery {
    let time = Time::from_unix_micros(1_800_000_000_000_000).unwrap();
    Delivery {
        guid: "g".into(),
        name: name.into(),
        content: ContentType::Json,
        body: body.into(),
        received_at: time,
    }
}

fn event(name: &str, mut payload: Value) -> Event {
    payload["repository"] = json!({"id": 7, "full_name": "octo/app", "default_branch": "main"});
    payload["installation"] = json!({"id": 9});
    payload["sender"] = json!({"id": 3, "login": "ana", "type": "User"});
    parse(&delivery(name, payload.to_string())).unwrap()
}

fn error(name: &str, payload: &Value) -> String {
    parse(&delivery(name, payload.to_string())).unwrap_err().to_string()
}

fn pull() -> Value {
    json!({
        "number": 5, "state": "open", "merged": false, "commits": 2,
        "head": {"sha": HEAD, "ref": "fix", "repo": {"id": 8}},
        "base": {"sha": BASE, "ref": "main", "repo": {"id": 7}},
    })
}

#[test]
fn a_pull_request() {
    let e = event("pull_request", json!({"action": "synchronize", "before": BASE, "pull_request": pull()}));
    assert_eq!((e.installation, e.sender.unwrap().login.as_str()), (Some(9), "ana"));
    assert_eq!(e.repository.unwrap().default_branch.as_deref(), Some("main"));
    let About::PullRequest(p) = e.about else { panic!("{:?}", e.about) };
    assert_eq!((p.number, p.open, p.merged, p.commits), (5, Some(true), Some(false), Some(2)));
    assert_eq!((p.head.unwrap().as_str(), p.head_repository), (HEAD, Some(8)));
    assert_eq!((p.base.unwrap().as_str(), p.base_ref.as_deref()), (BASE, Some("main")));
    assert_eq!(p.before.unwrap().as_str(), BASE);
}

#[test]
fn a_deleted_fork_and_a_deleted_sender() {
    let mut p = pull();
    p["head"]["repo"] = Value::Null;
    let body = json!({"action": "labeled", "pull_request": p, "sender": null}).to_string();
    let e = parse(&delivery("pull_request", body)).unwrap();
    assert!(e.sender.is_none());
    let About::PullRequest(p) = e.about else { panic!() };
    assert_eq!(p.head_repository, None);
}

#[test]
fn the_state_of_a_review_is_upper_case() {
    let e = event(
        "pull_request_review",
        json!({"action": "submitted", "pull_request": pull(), "review": {"id": 4, "state": "changes_requested"}}),
    );
    let About::PullRequest(p) = e.about else { panic!() };
    assert_eq!(p.review, Some((4, "CHANGES_REQUESTED".into())));
}

#[test]
fn comments_are_about_a_pull_request_only_on_one() {
    let on = |issue: Value| event("issue_comment", json!({"action": "created", "issue": issue})).about;
    assert!(
        matches!(on(json!({"number": 5, "pull_request": {"url": ""}})), About::PullRequest(p) if p.number == 5)
    );
    // It may be an old one, delivered again after the pull request was reopened.
    let closed = on(json!({"number": 5, "state": "closed", "pull_request": {"url": ""}}));
    assert!(matches!(closed, About::PullRequest(ref p) if p.open.is_none()), "{closed:?}");
    assert!(matches!(on(json!({"number": 5})), About::Thing { kind: SubjectKind::Issue, id: Some(5) }));
}

fn push(name: &str, more: Value) -> RefChange {
    let mut payload = json!({
        "ref": name, "before": BASE, "after": HEAD, "created": false, "deleted": false, "forced": false,
        "commits": [{"added": [], "removed": [], "modified": ["src/a.rs"]}],
    });
    payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    match event("push", payload).about {
        About::Ref(r) => r,
        other => panic!("{other:?}"),
    }
}

#[test]
fn zeros_are_no_commit() {
    let created = push("refs/heads/a/b", json!({"created": true, "before": ZERO}));
    assert_eq!((created.name.as_str(), created.kind, created.before), ("a/b", RefKind::Branch, None));
    let deleted = push("refs/tags/heads/v1", json!({"deleted": true, "after": ZERO}));
    assert_eq!((deleted.name.as_str(), deleted.kind, deleted.after), ("heads/v1", RefKind::Tag, None));
}

#[test]
fn a_push_that_may_change_code_owners_says_so() {
    let touches = |more: Value| push("refs/heads/main", more).touches_codeowners;
    let change = |path: &str, list: &str| json!({"commits": [{list: [path]}]});
    assert!(!touches(json!({})));
    assert!(touches(change("CODEOWNERS", "added")));
    assert!(touches(change(".github/CODEOWNERS", "removed")));
    assert!(touches(change("docs/CODEOWNERS", "modified")));
    assert!(!touches(change("src/CODEOWNERS", "modified")));
    // What the payload does not list cannot be ruled out.
    assert!(touches(json!({"forced": true})));
    assert!(touches(json!({"commits": []})));
    let id = json!({"id": HEAD});
    assert!(touches(json!({"commits": [id]})), "a sweep knows ids only");
    assert!(touches(json!({"commits": [{"modified": ["src/a.rs"]}, id]})));
    assert!(!touches(json!({"commits": [], "deleted": true, "after": ZERO})));
    assert!(!push("refs/tags/v1", json!({"commits": []})).touches_codeowners);
}

#[test]
fn create_and_delete() {
    let e = event("create", json!({"ref": "v1", "ref_type": "tag"}));
    assert!(
        matches!(e.about, About::Ref(r) if r.created && !r.deleted && r.kind == RefKind::Tag && r.name == "v1")
    );
    let e = event("delete", json!({"ref": "fix", "ref_type": "branch"}));
    assert!(matches!(e.about, About::Ref(r) if r.deleted && !r.created && r.kind == RefKind::Branch));
    assert!(matches!(
        event("create", json!({"ref": null, "ref_type": "repository"})).about,
        About::Thing { kind: SubjectKind::Repository, .. }
    ));
}

#[test]
fn a_merge_group() {
    let group = json!({"head_sha": HEAD, "head_ref": "refs/heads/gh-readonly-queue/main/pr-5-abc",
                       "base_sha": BASE, "base_ref": "refs/heads/main"});
    let e = event("merge_group", json!({"action": "destroyed", "reason": "dequeued", "merge_group": group}));
    let About::MergeGroup { head, head_ref, base, base_ref, reason } = e.about else { panic!() };
    assert_eq!((head.as_str(), base.unwrap().as_str()), (HEAD, BASE));
    assert_eq!((head_ref.as_str(), base_ref.as_str()), ("gh-readonly-queue/main/pr-5-abc", "main"));
    assert_eq!(reason.as_deref(), Some("dequeued"));
}

#[test]
fn checks() {
    let run =
        json!({"id": 1, "name": "gatelog", "head_sha": HEAD, "external_id": "1:2:3", "app": {"id": 77}});
    let button = json!({"identifier": "look_again"});
    let e = event(
        "check_run",
        json!({"action": "requested_action", "check_run": run, "requested_action": button}),
    );
    let About::Check(c) = e.about else { panic!() };
    assert_eq!((c.app_id, c.check_run, c.button.as_deref()), (Some(77), Some(1), Some("look_again")));
    assert_eq!((c.head.unwrap().as_str(), c.external_id.as_deref()), (HEAD, Some("1:2:3")));
    let suite = json!({"head_sha": HEAD, "app": {"id": 77}});
    let e = event("check_suite", json!({"action": "rerequested", "check_suite": suite}));
    assert!(matches!(e.about, About::Check(c) if c.app_id == Some(77) && c.check_run.is_none()));
}

#[test]
fn the_rest_has_a_subject_where_there_is_one() {
    let alert = json!({"action": "created", "alert": {"number": 4, "secret": "s"}});
    assert!(matches!(
        event("secret_scanning_alert", alert).about,
        About::SecretAlert { number: 4, open: true }
    ));
    let alert = json!({"action": "resolved", "alert": {"number": 4}});
    assert!(matches!(
        event("secret_scanning_alert", alert).about,
        About::SecretAlert { number: 4, open: false }
    ));
    assert!(matches!(event("status", json!({"sha": HEAD})).about, About::Commit { .. }));
    let told = event("status", json!({"sha": HEAD, "id": 9, "context": "ci", "state": "success"})).about;
    let About::Check(c) = told else { panic!() };
    assert_eq!(
        (c.status, c.name.as_deref(), c.conclusion.as_deref()),
        (Some(9), Some("ci"), Some("success"))
    );
    let told = event("status", json!({"sha": HEAD, "id": 9, "context": "ci", "state": "pending"})).about;
    assert!(matches!(told, About::Check(c) if c.conclusion.is_none()));
    let job = json!({"id": 1, "run_id": 2, "head_sha": HEAD});
    assert!(matches!(
        event("workflow_job", json!({"workflow_job": job})).about,
        About::WorkflowJob { id: 1, .. }
    ));
    let deployment = json!({"deployment": {"id": 6, "sha": HEAD}});
    assert!(matches!(event("deployment_status", deployment).about, About::Deployment { id: 6, .. }));
    let in_repository = |about| matches!(about, About::Thing { kind: SubjectKind::Repository, id: None });
    assert!(in_repository(event("code_scanning_alert", json!({"commit_oid": ""})).about));
    assert!(matches!(event("team", json!({})).about, About::Thing { kind: SubjectKind::Team, id: None }));
    assert!(matches!(event("membership", json!({"action": "added"})).about, About::Organization));
    assert!(in_repository(event("never_heard_of", json!({"action": "danced"})).about));
    let e = parse(&delivery("never_heard_of", r#"{"organization":{"id":4}}"#)).unwrap();
    assert!(matches!(e.about, About::Organization) && e.organization == Some(4));
}

#[test]
fn who_joined_or_left_is_stated() {
    let stated = |name: &str, body| match event(name, body).about {
        About::Membership(m) => Some((m.circle, m.account, m.member)),
        _ => None,
    };
    let team = |action: &str, team| json!({"action": action, "member": {"id": 5}, "team": team});
    let (some, none) = (json!({"id": 9}), json!({"name": "core", "deleted": true}));
    assert_eq!(stated("membership", team("removed", some.clone())), Some((Circle::Team(9), 5, false)));
    assert_eq!(stated("membership", team("added", some.clone())), Some((Circle::Team(9), 5, true)));
    assert_eq!(stated("membership", team("danced", some)), None);
    assert_eq!(stated("membership", team("removed", none)), None);
    let body = |action: &str| json!({"action": action, "membership": {"user": {"id": 5}}, "organization": {"id": 1, "login": "Octo"}});
    let octo = || Circle::Organization("octo".to_owned());
    assert_eq!(stated("organization", body("member_removed")), Some((octo(), 5, false)));
    assert_eq!(stated("organization", body("member_added")), Some((octo(), 5, true)));
    assert_eq!(stated("organization", body("member_invited")), None);
}

#[test]
fn the_account_of_an_installation_is_the_organisation() {
    let body = json!({"installation": {"id": 1, "account": {"id": 4, "type": "Organization"}}}).to_string();
    assert_eq!(parse(&delivery("installation", body)).unwrap().organization, Some(4));
    let body = json!({"installation": {"id": 1, "account": {"id": 4, "type": "User"}}}).to_string();
    assert_eq!(parse(&delivery("installation", body)).unwrap().organization, None);
}

#[test]
fn subjects_are_typed() {
    use SubjectKind as K;
    let of = |name: &str, payload: Value| {
        let subject = event(name, payload).subject();
        assert_eq!((subject.repository, subject.installation), (Some(7), Some(9)), "{name}");
        (subject.kind, subject.id)
    };
    let id = |field: &str| json!({"action": "edited", field: {"id": 5, "head_sha": HEAD, "run_id": 6}});
    assert_eq!(of("deployment", id("deployment")), (K::Deployment, Some(5)));
    assert_eq!(of("deployment_status", id("deployment")), (K::Deployment, Some(5)));
    assert_eq!(of("workflow_run", id("workflow_run")), (K::WorkflowRun, Some(5)));
    assert_eq!(of("workflow_job", id("workflow_job")), (K::WorkflowJob, Some(5)));
    assert_eq!(of("secret_scanning_alert", json!({"alert": {"number": 4}})), (K::SecretAlert, Some(4)));
    assert_eq!(of("repository_ruleset", id("repository_ruleset")), (K::Ruleset, Some(5)));
    assert_eq!(of("branch_protection_rule", id("rule")), (K::BranchProtection, Some(5)));
    assert_eq!(of("branch_protection_configuration", json!({})), (K::BranchProtection, None));
    // A person's id is none of the ledger's business.
    assert_eq!(of("member", id("member")), (K::Member, None));
    for name in ["team", "team_add", "membership"] {
        let payload = json!({"action": "added", "team": {"id": 5}, "member": {"id": 3}});
        assert_eq!(of(name, payload), (K::Team, Some(5)), "{name}");
    }
    for name in ["installation", "installation_repositories"] {
        assert_eq!(of(name, json!({"action": "removed"})), (K::Installation, Some(9)), "{name}");
    }
    assert_eq!(of("issues", json!({"issue": {"number": 5}})), (K::Issue, Some(5)));
    assert_eq!(of("issue_comment", json!({"issue": {"number": 5}})), (K::Issue, Some(5)));
    assert_eq!(of("release", id("release")), (K::Release, Some(5)));
    for name in ["star", "repository", "never_heard_of"] {
        assert_eq!(of(name, json!({"action": "created"})), (K::Repository, None), "{name}");
    }
    // An id of another shape is left out; the event is recorded and judged all the same.
    assert_eq!(of("team", json!({"team": "owners"})), (K::Team, None));
    let org = json!({"action": "created", "organization": {"id": 4}}).to_string();
    assert_eq!(parse(&delivery("custom_property", org)).unwrap().subject().kind, K::Organization);
    assert_eq!(parse(&delivery("ping", "{}")).unwrap().subject().kind, K::None);
}

#[test]
fn only_gatelog_itself_looks_again() {
    let body = json!({"action": "look_again", "pull_request": {"number": 5}}).to_string();
    let forged = parse(&delivery("gatelog", body.clone())).unwrap();
    assert!(matches!(forged.about, About::Nothing));
    let cause = Some(Cause::Expired);
    let own = parse_stored("gatelog", Source::Gatelog, cause, ContentType::Json, body.as_bytes()).unwrap();
    assert!(matches!(own.about, About::PullRequest(p) if p.number == 5 && p.open.is_none()));
    assert_eq!(own.cause, cause);
}

#[test]
fn errors_name_field_and_place() {
    let mut p = pull();
    p["head"]["sha"] = json!("main");
    insta::assert_snapshot!(error("pull_request", &json!({"pull_request": p})), @"field `pull_request.head.sha`: `main` is not a git object id at line 1 column 165");
    insta::assert_snapshot!(error("pull_request", &json!({})), @"the payload: missing field `pull_request` at line 1 column 2");
    insta::assert_snapshot!(error("push", &json!({"ref": 5})), @"field `ref`: invalid type: integer `5`, expected a string at line 1 column 8");
    insta::assert_snapshot!(error("star", &json!({"repository": {"id": 1, "full_name": "a/../b"}})), @"field `repository.full_name`: `a/../b` is not a repository name (owner/name)");
    insta::assert_snapshot!(error("star", &json!([1])), @"the payload is not a JSON object");
    insta::assert_snapshot!(parse(&delivery("star", "{\"a\":")).unwrap_err(), @"the payload is not readable JSON: EOF while parsing a value at line 1 column 5");
    assert!(
        error("push", &json!({"ref": "x".repeat(5000), "before": "y".repeat(5000)})).chars().count() <= 501
    );
}

proptest! {
    #[test]
    fn never_panics(name in "(push|pull_request|check_run|x)", body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&delivery(&name, body.clone()));
        let _ = parse(&Delivery { content: ContentType::Form, ..delivery(&name, body) });
    }

    #[test]
    fn never_panics_on_changed_json(at in 0usize..600, byte in any::<u8>()) {
        let mut body = json!({"action": "closed", "pull_request": pull(), "repository": {"id": 7, "full_name": "o/a"}})
            .to_string()
            .into_bytes();
        let len = body.len();
        body[at % len] = byte;
        if let Ok(e) = parse(&delivery("pull_request", body)) {
            let _ = (crate::event::handling(&e), crate::event::lane(&e), crate::event::is_look_again(&e), e.subject());
        }
    }
}
