//! The simulated GitHub answers as GitHub documents: hand-written expectations of every interface
//! that gatelog uses, through real HTTP.

use std::time::Duration;

use bytes::Bytes;
use gatelog::simulated_github::{
    Act, Change, CommitSpec, Fault, Method, NO_COMMIT, Options, ReviewState, Role, Route, SimulatedGithub,
    Webhook, World, commit, sign, state::CodeownersError,
};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};

const REPO: &str = "octo-org/payments";
const PR_FACTS: &str = include_str!("../../src/github/pr_facts.graphql");
const PR_PEOPLE: &str = include_str!("../../src/github/pr_people.graphql");
const TEAMS: &str = include_str!("../../src/github/teams.graphql");
const CODEOWNERS: &str = include_str!("../../src/github/codeowners.graphql");
const PUSH: &str = include_str!("../../src/github/push.graphql");
const MERGE_GROUP: &str = include_str!("../../src/github/merge_group.graphql");
const OPEN_PULLS: &str = include_str!("../../src/github/open_pulls.graphql");

/// A client that knows nothing of octocrab.
struct Asker {
    gh: SimulatedGithub,
    http: Client<HttpConnector, Full<Bytes>>,
    installation: u64,
    token: String,
}

struct Got {
    status: u16,
    body: Value,
    headers: HeaderMap,
}

impl Asker {
    async fn of(gh: SimulatedGithub) -> Self {
        let http = Client::builder(TokioExecutor::new()).build_http();
        let installation = gh.with(scene);
        let mut asker = Self { gh, http, installation, token: String::new() };
        asker.token = asker.mint().await;
        asker
    }

    async fn start() -> Self {
        Self::of(SimulatedGithub::start().await.unwrap()).await
    }

    async fn mint(&self) -> String {
        let path = format!("/app/installations/{}/access_tokens", self.installation);
        let got = self.send("POST", &path, &self.jwt(), Some(json!({})), "").await;
        assert_eq!(got.status, 201, "{}", got.body);
        got.body["token"].as_str().unwrap().to_owned()
    }

    fn jwt(&self) -> String {
        jwt(&self.gh.app_key_pem(), self.gh.app_id())
    }

    async fn send(&self, method: &str, path: &str, token: &str, body: Option<Value>, accept: &str) -> Got {
        let url =
            if path == "graphql" { self.gh.graphql_url() } else { format!("{}{path}", self.gh.api_url()) };
        let body = body.map(|b| b.to_string()).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(url).header("accept", accept);
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.http.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Got { status, body: serde_json::from_str(&text).unwrap_or(Value::String(text)), headers }
    }

    async fn get(&self, path: &str) -> Got {
        self.send("GET", path, &self.token, None, "application/vnd.github+json").await
    }

    async fn post_check(&self, body: Value) -> Got {
        self.send("POST", &format!("/repos/{REPO}/check-runs"), &self.token, Some(body), "").await
    }

    async fn graphql(&self, query: &str, variables: Value) -> Value {
        let body = json!({"query": query, "variables": variables});
        let got = self.send("POST", "graphql", &self.token, Some(body), "").await;
        assert_eq!(got.status, 200, "{}", got.body);
        got.body
    }

    async fn facts(&self, number: u64) -> Value {
        self.graphql(PR_FACTS, json!({"owner": "octo-org", "repo": "payments", "number": number})).await
    }

    /// `pullRequest` of [`Self::facts`], which must be without errors.
    async fn pull(&self, number: u64) -> Value {
        let answer = self.facts(number).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        answer["data"]["repository"]["pullRequest"].clone()
    }

    fn act<T>(&self, f: impl FnOnce(&mut World) -> Act<T>) -> T {
        self.gh.with(f).unwrap().what
    }

    /// A branch `topic` with one commit.
    fn topic(&self) -> String {
        self.act(|w| w.push("alice", REPO, "topic", &[commit("alice", "One").write("x", "1")]))
    }

    /// A pull request of [`Self::topic`].
    fn small_pull(&self) -> u64 {
        self.act(|w| topic(w, &[commit("alice", "One").write("x", "1").signed()]))
    }

    fn sha_of(&self, branch: &str) -> String {
        self.gh.with(|w| sha_of(w, branch))
    }
}

fn jwt(pem: &str, app: u64) -> String {
    let key = octocrab::auth::EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
    octocrab::auth::create_jwt(octocrab::models::AppId(app), &key).unwrap()
}

/// One organisation, a few people, a repository with code owners. Returns the installation.
fn scene(w: &mut World) -> u64 {
    let installation = w.add_organization("octo-org");
    for login in ["alice", "bob", "carol", "dave", "eve"] {
        w.add_user(login);
    }
    w.add_bot("renovate");
    let owners = "* @octo-org/payments\n/docs/ @bob\n";
    let first = commit("alice", "First").write(".github/CODEOWNERS", owners).write("a.txt", "1\n2\n");
    w.add_repository_with(REPO, &first).unwrap();
    let parent = w.add_team("octo-org", "payments", None, &["carol"]).unwrap();
    w.add_team("octo-org", "payments-core", Some("payments"), &["bob"]).unwrap();
    w.grant_team(parent, REPO, Role::Maintain).unwrap();
    w.add_org_member("octo-org", "alice", false).unwrap();
    w.grant("alice", REPO, Role::Write).unwrap();
    w.grant_custom("dave", REPO, Role::Write, "release-manager").unwrap();
    w.grant("renovate[bot]", REPO, Role::Write).unwrap();
    installation
}

fn topic(w: &mut World, commits: &[CommitSpec]) -> Act<u64> {
    w.push("alice", REPO, "topic", commits)?;
    w.open_pull("alice", REPO, "topic", "main", "A <b>door</b>")
}

fn repo_id(w: &World) -> u64 {
    w.repository(REPO).unwrap().id
}

fn sha_of(w: &World, branch: &str) -> String {
    w.branch(repo_id(w), branch).unwrap().to_owned()
}

// ---- GraphQL

#[tokio::test]
async fn pr_facts_tells_the_head_of_a_pull_request() {
    let a = Asker::start().await;
    let number = a.small_pull();
    a.act(|w| w.label("alice", REPO, number, "urgent"));
    let answer = a.facts(number).await;
    assert_eq!(answer["data"]["rateLimit"]["cost"], 1);
    let pull = &answer["data"]["repository"]["pullRequest"];
    assert_eq!(pull["title"], "A <b>door</b>");
    assert_eq!(pull["author"]["login"], "alice");
    assert_eq!(pull["author"]["__typename"], "User");
    assert!(pull["fullDatabaseId"].is_string(), "a BigInt is a string");
    assert_eq!(pull["state"], "OPEN");
    assert_eq!(pull["changedFiles"], 1);
    assert_eq!(pull["labels"], json!({"totalCount": 1, "nodes": [{"name": "urgent"}]}));
    assert_eq!(pull["headRepository"]["nameWithOwner"], REPO);
    assert_eq!(pull["tip"]["nodes"][0]["commit"]["associatedPullRequests"]["nodes"][0]["number"], number);
}

#[tokio::test]
async fn pr_facts_tells_commits_and_files() {
    let a = Asker::start().await;
    let number = a.act(|w| {
        let two = commit("renovate[bot]", "Two\n\nbody").write("docs/x.md", "x\n");
        let two = two.co_author("bob").committer("nobody@x");
        topic(w, &[commit("alice", "One").rename("a.txt", "b.txt").signed(), two])
    });
    let pull = a.pull(number).await;
    let commits = &pull["commits"];
    assert_eq!(commits["totalCount"], 2);
    assert_eq!(commits["pageInfo"]["hasNextPage"], false);
    let (one, two) = (&commits["nodes"][0]["commit"], &commits["nodes"][1]["commit"]);
    assert_eq!(one["signature"]["__typename"], "SshSignature");
    assert_eq!(one["signature"]["isValid"], true);
    assert_eq!(one["signature"]["signer"]["login"], "alice");
    assert_eq!(one["parents"]["nodes"][0]["oid"], pull["baseRefOid"]);
    assert_eq!(two["messageHeadline"], "Two");
    assert_eq!(two["signature"], Value::Null);
    assert_eq!(two["author"]["user"]["login"], "renovate[bot]", "a bot has [bot] as user of a commit");
    assert_eq!(two["authors"]["totalCount"], 2);
    assert_eq!(two["authors"]["nodes"][1]["user"]["login"], "bob");
    assert_eq!(two["committer"], json!({"email": "nobody@x", "user": null}));
    assert_eq!(two["oid"], pull["headRefOid"]);
    let files = &pull["files"]["nodes"];
    assert_eq!(files[0], json!({"path": "b.txt", "changeType": "RENAMED", "additions": 0, "deletions": 0}));
    assert_eq!(files[1], json!({"path": "docs/x.md", "changeType": "ADDED", "additions": 1, "deletions": 0}));
}

#[tokio::test]
async fn pr_facts_tells_reviews_and_dismissals() {
    let a = Asker::start().await;
    let number = a.small_pull();
    a.act(|w| w.approve("bob", REPO, number));
    a.act(|w| w.comment("carol", REPO, number, "hm"));
    let review = a.act(|w| w.request_changes("dave", REPO, number, "no"));
    a.act(|w| w.dismiss("carol", REPO, number, review));
    let pull = a.pull(number).await;
    let reviews = &pull["reviews"];
    assert_eq!(reviews["totalCount"], 2, "comments are filtered out of the total");
    assert_eq!(reviews["nodes"][0]["state"], "APPROVED");
    assert_eq!(reviews["nodes"][0]["commit"]["oid"], pull["headRefOid"]);
    assert_eq!(reviews["nodes"][1]["state"], "DISMISSED");
    let can = |i: usize| reviews["nodes"][i]["authorCanPushToRepository"].clone();
    assert_eq!((can(0), can(1)), (json!(true), json!(true)), "by an inherited team right; by a custom role");
    assert_eq!(pull["dismissals"]["nodes"][0]["previousReviewState"], "CHANGES_REQUESTED");
    assert_eq!(pull["dismissals"]["nodes"][0]["review"]["fullDatabaseId"], review.to_string());
}

#[tokio::test]
async fn connections_page_and_switch_off() {
    let a = Asker::start().await;
    let commits: Vec<_> =
        (0..7).map(|i| commit("alice", &format!("c{i}")).write("x", &format!("{i}"))).collect();
    let number = a.act(|w| topic(w, &commits));
    let mut variables = json!({"owner": "octo-org", "repo": "payments", "number": number, "commits": 3});
    let mut seen = vec![];
    loop {
        let answer = a.graphql(PR_FACTS, variables.clone()).await;
        let pull = &answer["data"]["repository"]["pullRequest"];
        let page = &pull["commits"];
        assert_eq!(page["totalCount"], 7);
        if !seen.is_empty() {
            assert_eq!((pull.get("title"), pull.get("reviews")), (None, None), "switched off");
        }
        seen.extend(page["nodes"].as_array().unwrap().iter().map(|n| n["commit"]["messageHeadline"].clone()));
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        variables["afterCommits"] = page["pageInfo"]["endCursor"].clone();
        for off in ["withHead", "withReviews", "withFiles"] {
            variables[off] = json!(false);
        }
    }
    assert_eq!(seen, ["c0", "c1", "c2", "c3", "c4", "c5", "c6"]);
}

#[tokio::test]
async fn costs_are_githubs_formula() {
    let a = Asker::start().await;
    let number = a.small_pull();
    for (commits, points) in [(45, 1), (69, 1), (70, 2), (100, 2)] {
        let variables =
            json!({"owner": "octo-org", "repo": "payments", "number": number, "commits": commits});
        let answer = a.graphql(PR_FACTS, variables).await;
        assert_eq!(answer["data"]["rateLimit"]["cost"], points, "{commits} commits");
    }
}

#[tokio::test]
async fn force_pushes_and_retargets_are_in_the_timeline() {
    let a = Asker::start().await;
    let number = a.act(|w| topic(w, &[commit("alice", "One").write("x", "1")]));
    a.act(|w| w.push("alice", REPO, "release/1", &[]));
    let old = a.sha_of("topic");
    let new = a.act(|w| w.sign_head("alice", REPO, "topic"));
    a.act(|w| w.retarget("alice", REPO, number, "release/1"));
    let pull = a.pull(number).await;
    let pushed = &pull["headPushes"]["nodes"][0];
    assert_eq!((&pushed["beforeCommit"]["oid"], &pushed["afterCommit"]["oid"]), (&json!(old), &json!(new)));
    let retarget = &pull["retargets"]["nodes"][0];
    assert_eq!(retarget["__typename"], "BaseRefChangedEvent");
    assert_eq!(
        (&retarget["previousRefName"], &retarget["currentRefName"]),
        (&json!("main"), &json!("release/1"))
    );
    assert_eq!(pull["baseRefName"], "release/1");
    assert_eq!(pull["basePushes"]["nodes"], json!([]));
    assert_eq!(pull["commits"]["nodes"][0]["commit"]["signature"]["state"], "VALID");
}

#[tokio::test]
async fn a_stacked_pull_request_is_retargeted_when_its_base_goes() {
    let a = Asker::start().await;
    let lower = a.small_pull();
    let upper = a.act(|w| {
        let tip = sha_of(w, "topic");
        w.push("bob", REPO, "upper", &[])?;
        w.force_push("bob", REPO, "upper", &tip, &[commit("bob", "Two").write("y", "2")])?;
        w.open_pull("bob", REPO, "upper", "topic", "Upper")
    });
    a.act(|w| w.merge("carol", REPO, lower, Method::Squash));
    a.act(|w| w.delete_branch("carol", REPO, "topic"));
    let pull = a.pull(upper).await;
    assert_eq!(pull["baseRefName"], "main");
    assert_eq!(pull["retargets"]["nodes"][0]["__typename"], "AutomaticBaseChangeSucceededEvent");
    assert_eq!(pull["retargets"]["nodes"][0]["oldBase"], "topic");
}

#[tokio::test]
async fn ghosts_are_null_and_no_error() {
    let a = Asker::start().await;
    let number = a.small_pull();
    a.act(|w| w.approve("bob", REPO, number));
    a.gh.with(|w| w.delete_account("bob")).unwrap();
    a.gh.with(|w| w.delete_account("alice")).unwrap();
    let pull = a.pull(number).await;
    assert_eq!(pull["author"], Value::Null);
    assert_eq!(pull["reviews"]["nodes"][0]["author"], Value::Null);
    assert_eq!(pull["commits"]["nodes"][0]["commit"]["author"]["user"], Value::Null);
}

#[tokio::test]
async fn a_bot_has_its_plain_login_as_author() {
    let a = Asker::start().await;
    let number = a.act(|w| {
        w.push("renovate[bot]", REPO, "bump", &[commit("renovate[bot]", "Bump").write("x", "1")])?;
        w.open_pull("renovate[bot]", REPO, "bump", "main", "Bump")
    });
    let pull = a.pull(number).await;
    assert_eq!(pull["author"]["__typename"], "Bot");
    assert_eq!(pull["author"]["login"], "renovate");
    let user = &pull["commits"]["nodes"][0]["commit"]["author"]["user"];
    assert_eq!(user["login"], "renovate[bot]");
    assert_eq!(user["databaseId"], pull["author"]["databaseId"]);
}

#[tokio::test]
async fn a_fork_is_cross_repository_and_its_head_has_no_associated_pull_requests() {
    let a = Asker::start().await;
    let number = a.act(|w| {
        w.fork(REPO, "eve/payments")?;
        w.push("eve", "eve/payments", "fix", &[commit("eve", "Fix").write("x", "1")])?;
        w.open_pull("eve", REPO, "eve/payments:fix", "main", "Fix")
    });
    let pull = a.pull(number).await;
    assert_eq!(pull["isCrossRepository"], true);
    assert_eq!(pull["headRepository"]["nameWithOwner"], "eve/payments");
    assert_eq!(pull["tip"]["nodes"][0]["commit"]["associatedPullRequests"]["totalCount"], 0);
}

#[tokio::test]
async fn update_branch_is_a_clean_web_merge_signed_by_github() {
    let a = Asker::start().await;
    let number = a.small_pull();
    let before = a.sha_of("topic");
    let base = a.act(|w| w.push("carol", REPO, "main", &[commit("carol", "Else").write("z", "1")]));
    let merge = a.act(|w| w.update_branch("bob", REPO, number));
    let pull = a.pull(number).await;
    assert_eq!(pull["commits"]["totalCount"], 2, "what came from the base is not the pull request's");
    let c = &pull["commits"]["nodes"][1]["commit"];
    assert_eq!(c["oid"], merge);
    assert_eq!(c["committedViaWeb"], true);
    assert_eq!(c["signature"]["wasSignedByGitHub"], true);
    assert_eq!(c["parents"]["nodes"], json!([{"oid": before}, {"oid": base}]));
    assert_eq!(c["committer"]["user"]["login"], "web-flow");
    assert_eq!(pull["changedFiles"], 1);
    let files = async |head: &str| {
        a.get(&format!("/repos/{REPO}/compare/{base}...{head}")).await.body["files"].clone()
    };
    assert_eq!(files(&merge).await, files(&before).await, "clean");
    let by_hand = a.act(|w| w.resolve_conflicts("bob", REPO, number, &[("x", "evil")]));
    assert_ne!(files(&by_hand).await, files(&before).await, "not clean");
}

#[tokio::test]
async fn teams_have_members_of_child_teams_and_unknown_ones_are_null() {
    let a = Asker::start().await;
    let answer = a.graphql(TEAMS, json!({"org": "octo-org", "t0": "payments", "t1": "nobody"})).await;
    assert_eq!(answer.get("errors"), None);
    let org = &answer["data"]["organization"];
    assert_eq!(org["t0"]["combinedSlug"], "octo-org/payments");
    assert_eq!(org["t0"]["members"]["totalCount"], 2);
    let logins: Vec<_> =
        org["t0"]["members"]["nodes"].as_array().unwrap().iter().map(|n| &n["login"]).collect();
    assert_eq!(logins, ["bob", "carol"]);
    assert_eq!(org["t1"], Value::Null);
}

#[tokio::test]
async fn permissions_by_login_are_exact() {
    let a = Asker::start().await;
    let variables = json!({"owner": "octo-org", "repo": "payments", "u0": "carol", "u1": "eve"});
    let answer = a.graphql(PR_PEOPLE, variables.clone()).await;
    let repo = &answer["data"]["repository"];
    assert_eq!(repo["u0"]["edges"][0]["permission"], "MAINTAIN");
    assert_eq!(repo["u0"]["edges"][0]["node"]["login"], "carol");
    assert_eq!(repo["u1"]["edges"], json!([]));
    a.gh.with(|w| {
        let id = repo_id(w);
        w.repositories.get_mut(&id).unwrap().collaborators_hidden = true;
    });
    let answer = a.graphql(PR_PEOPLE, variables).await;
    assert_eq!(answer["data"]["repository"]["u0"], Value::Null);
    assert_eq!(answer["errors"][0]["type"], "FORBIDDEN");
    assert_eq!(answer["errors"][0]["path"], json!(["repository", "u0"]));
}

#[tokio::test]
async fn codeowners_are_read_at_a_commit() {
    let a = Asker::start().await;
    let sha = a.sha_of("main");
    a.gh.with(|w| {
        let id = repo_id(w);
        let (path, kind) = (".github/CODEOWNERS".to_owned(), "Unknown owner".to_owned());
        let error = CodeownersError { path, line: 2, kind, message: "Unknown owner on line 2".to_owned() };
        w.repositories.get_mut(&id).unwrap().codeowners_errors.push(error);
    });
    let at = |path: &str| format!("{sha}:{path}");
    let (github, root, docs) = (at(".github/CODEOWNERS"), at("CODEOWNERS"), at("docs/CODEOWNERS"));
    let variables = json!({"owner": "octo-org", "repo": "payments", "baseRef": "main", "commit": sha,
                           "dotGithub": github, "root": root, "docs": docs});
    let answer = a.graphql(CODEOWNERS, variables).await;
    let repo = &answer["data"]["repository"];
    assert_eq!(repo["dotGithub"]["__typename"], "Blob");
    assert_eq!(repo["dotGithub"]["text"], "* @octo-org/payments\n/docs/ @bob\n");
    assert_eq!((&repo["root"], &repo["docs"]), (&Value::Null, &Value::Null));
    assert_eq!(repo["codeowners"]["errors"][0]["line"], 2);
    assert_eq!(repo["modes"], json!({"dotGithub": {"mode": 0o100_644}, "root": null, "docs": null}));
    assert_eq!(answer["errors"][0]["type"], "NOT_FOUND");
    assert_eq!(answer["errors"][0]["path"], json!(["repository", "modes", "root"]));
}

#[tokio::test]
async fn the_commits_of_a_push_know_their_pull_request() {
    let a = Asker::start().await;
    let number = a.small_pull();
    let head = a.sha_of("topic");
    let merged = a.act(|w| w.merge("carol", REPO, number, Method::Merge));
    let ask = |c0: &str| json!({"owner": "octo-org", "repo": "payments", "c0": c0, "c1": head});
    let answer = a.graphql(PUSH, ask(&merged)).await;
    assert_eq!(answer.get("errors"), None, "{answer}");
    let (c0, c1) = (&answer["data"]["repository"]["c0"], &answer["data"]["repository"]["c1"]);
    assert_eq!(c0["signature"]["wasSignedByGitHub"], true);
    assert_eq!(c0["parents"]["totalCount"], 2);
    let pull = &c0["associatedPullRequests"]["nodes"][0];
    assert_eq!(pull["mergeCommit"]["oid"], merged);
    assert_eq!(pull["mergedBy"]["login"], "carol");
    assert_eq!(pull["state"], "MERGED");
    assert_eq!(c1["oid"], head);
    // Of the commits of a merged pull request as well as of the merge itself.
    let swapped = json!({"owner": "octo-org", "repo": "payments", "c0": head, "c1": merged});
    let answer = a.graphql(PUSH, swapped).await;
    let pull = &answer["data"]["repository"]["c0"]["associatedPullRequests"]["nodes"][0];
    assert_eq!(pull["number"], number);
    assert_eq!(a.graphql(PUSH, ask(&"1".repeat(40))).await["data"]["repository"]["c0"], Value::Null);
}

#[tokio::test]
async fn squash_is_signed_by_github_and_rebase_is_not() {
    let a = Asker::start().await;
    for (method, parents, signed) in [(Method::Squash, 1, true), (Method::Rebase, 1, false)] {
        let branch = format!("{method:?}");
        let sha = a.act(|w| {
            w.push("alice", REPO, &branch, &[commit("alice", "c").write(&branch, "1").signed()])?;
            let number = w.open_pull("alice", REPO, &branch, "main", "T")?.what;
            w.merge("carol", REPO, number, method)
        });
        a.gh.with(|w| {
            let c = &w.commits[&sha];
            assert_eq!((c.parents.len(), c.signature.is_some()), (parents, signed), "{method:?}");
        });
    }
}

#[tokio::test]
async fn the_merge_queue_lists_entries_in_order() {
    let a = Asker::start().await;
    let open = |branch: &str| {
        a.act(|w| {
            w.push("alice", REPO, branch, &[commit("alice", "c").write(branch, "1").signed()])?;
            w.open_pull("alice", REPO, branch, "main", branch)
        })
    };
    let numbers = [open("q0"), open("q1")];
    let main = a.sha_of("main");
    let first = a.act(|w| w.enqueue("alice", REPO, numbers[0]));
    let did = a.gh.with(|w| w.enqueue("alice", REPO, numbers[1])).unwrap();
    let hook = did.hooks.iter().find(|h| h.event == "merge_group").unwrap();
    assert_eq!(hook.payload["action"], "checks_requested");
    assert_eq!(hook.payload["merge_group"]["base_sha"], first, "a stacked group stands on the one ahead");
    let head_ref = hook.payload["merge_group"]["head_ref"].as_str().unwrap();
    assert!(
        head_ref.starts_with(&format!("refs/heads/gh-readonly-queue/main/pr-{}-", numbers[1])),
        "{head_ref}"
    );

    let variables = json!({"owner": "octo-org", "repo": "payments", "branch": "main", "head": did.what});
    let answer = a.graphql(MERGE_GROUP, variables).await;
    let entries = &answer["data"]["repository"]["mergeQueue"]["entries"];
    assert_eq!(entries["totalCount"], 2);
    assert_eq!(entries["nodes"][0]["position"], 1);
    assert_eq!(entries["nodes"][0]["baseCommit"]["oid"], main);
    assert_eq!(entries["nodes"][1]["headCommit"]["oid"], did.what);
    assert_eq!(entries["nodes"][1]["pullRequest"]["number"], numbers[1]);
    assert_eq!(answer["data"]["repository"]["head"]["history"]["nodes"][0]["oid"], did.what);

    let landed = a.gh.with(|w| w.merge_queue_lands("carol", REPO, "main")).unwrap();
    assert_eq!(landed.what, first);
    assert_eq!(
        events(&landed.hooks),
        [("merge_group", "destroyed"), ("pull_request", "closed"), ("push", "")]
    );
}

#[tokio::test]
async fn open_pulls_are_listed_without_closed_ones() {
    let a = Asker::start().await;
    let number = a.small_pull();
    let other = a.act(|w| {
        w.push("alice", REPO, "other", &[commit("alice", "c").write("y", "1")])?;
        w.open_draft("alice", REPO, "other", "main", "Other")
    });
    a.act(|w| w.close("alice", REPO, number));
    let answer = a.graphql(OPEN_PULLS, json!({"owner": "octo-org", "repo": "payments"})).await;
    let pulls = &answer["data"]["repository"]["pullRequests"];
    assert_eq!(pulls["totalCount"], 1);
    assert_eq!(pulls["nodes"][0]["number"], other);
    assert_eq!(pulls["nodes"][0]["isDraft"], true);
}

#[tokio::test]
async fn rules_by_rest() {
    let a = Asker::start().await;
    let rule = json!({"type": "deletion", "ruleset_id": 9});
    a.gh.with(|w| {
        let id = repo_id(w);
        w.repositories.get_mut(&id).unwrap().rules.insert("main".into(), vec![rule.clone()]);
    });
    assert_eq!(a.get(&format!("/repos/{REPO}/rules/branches/main")).await.body, json!([rule]));
}

#[tokio::test]
async fn what_github_refuses_is_refused() {
    let a = Asker::start().await;
    let error = async |query: &str| -> Value {
        let answer = a.graphql(query, json!({})).await;
        assert_eq!(answer.get("data"), None, "{answer}");
        answer["errors"][0].clone()
    };
    let codes = [
        ("repository(owner: \"o\", name: \"r\") { nope }", "undefinedField"),
        ("repository(owner: \"o\", name: \"r\", wrong: 1) { name }", "argumentNotAccepted"),
        ("repository(owner: \"o\") { name }", "missingRequiredArguments"),
        ("repository(owner: \"o\", name: \"r\")", "selectionMismatch"),
        ("repository(owner: \"o\", name: $x) { name }", "variableNotDefined"),
        ("repository(owner: \"o\", name: \"r\") { ...Nope }", "useAndDefineFragment"),
        ("repository(owner: \"o\", name: \"r\") { ... on User { login } }", "cannotSpreadFragment"),
        (
            "repository(owner: \"o\", name: \"r\") { pullRequests(first: 1, states: ODD) { totalCount } }",
            "argumentLiteralsIncompatible",
        ),
    ];
    for (inner, code) in codes {
        assert_eq!(error(&format!("{{ {inner} }}")).await["extensions"]["code"], code, "{inner}");
    }
    assert_eq!(
        error("{ repository(owner: \"octo-org\", name: \"payments\") { nope } }").await["message"],
        "Field 'nope' doesn't exist on type 'Repository'"
    );
    assert_eq!(error("query($x: Int) { rateLimit { cost } }").await["extensions"]["code"], "variableNotUsed");
    let missing =
        "query($n: Int!) { repository(owner: \"o\", name: \"r\") { pullRequest(number: $n) { title } } }";
    assert_eq!(error(missing).await["message"], "Variable $n of type Int! was provided invalid value");
    let paged = |args: &str| {
        format!("{{ repository(owner: \"o\", name: \"r\") {{ pullRequests{args} {{ totalCount }} }} }}")
    };
    assert_eq!(error(&paged("")).await["type"], "MISSING_PAGINATION_BOUNDARIES");
    assert_eq!(error(&paged("(first: 101)")).await["type"], "EXCESSIVE_PAGINATION");
    assert!(error("{ rateLimit { ").await["message"].as_str().unwrap().contains("Parse error"));
}

#[tokio::test]
async fn what_does_not_exist_is_null_with_an_error() {
    let a = Asker::start().await;
    let answer = a.facts(99).await;
    assert_eq!(answer["data"]["repository"]["pullRequest"], Value::Null);
    assert_eq!(answer["errors"][0]["type"], "NOT_FOUND");
    assert_eq!(answer["errors"][0]["path"], json!(["repository", "pullRequest"]));
}

#[tokio::test]
async fn another_installation_sees_nothing() {
    let a = Asker::start().await;
    let number = a.small_pull();
    let other = a.gh.with(|w| w.add_organization("other-org"));
    let got = a.send("POST", &format!("/app/installations/{other}/access_tokens"), &a.jwt(), None, "").await;
    let token = got.body["token"].as_str().unwrap().to_owned();
    let body =
        json!({"query": PR_FACTS, "variables": {"owner": "octo-org", "repo": "payments", "number": number}});
    let got = a.send("POST", "graphql", &token, Some(body), "").await;
    assert_eq!(got.body["errors"][0]["type"], "NOT_FOUND");
    let got = a.send("GET", &format!("/repos/{REPO}/pulls/{number}/files"), &token, None, "").await;
    assert_eq!(got.status, 404);
}

// ---- REST

#[tokio::test]
async fn the_app_shows_who_it_is() {
    let a = Asker::start().await;
    let get = async |path: &str, token: &str| a.send("GET", path, token, None, "").await;
    assert_eq!(get("/app", &a.jwt()).await.body["slug"], "gatelog");
    let all = get("/app/installations", &a.jwt()).await.body;
    assert_eq!(all[0]["id"], a.installation);
    assert_eq!(all[0]["account"]["login"], "octo-org");
    assert_eq!(get(&format!("/repos/{REPO}/installation"), &a.jwt()).await.body["id"], a.installation);
    let repositories = a.get("/installation/repositories").await.body;
    assert_eq!(repositories["repositories"][0]["full_name"], REPO);
    a.gh.set_hook("http://127.0.0.1:1/webhook", "s");
    assert_eq!(get("/app/hook/config", &a.jwt()).await.body["url"], "http://127.0.0.1:1/webhook");
}

#[tokio::test]
async fn who_does_not_show_who_he_is_gets_nothing() {
    let a = Asker::start().await;
    let status = async |path: &str, token: &str| a.send("GET", path, token, None, "").await.status;
    let activity = format!("/repos/{REPO}/activity");
    assert_eq!(status("/app", "").await, 401);
    assert_eq!(status("/app", &a.token).await, 401, "an installation token is not the App");
    assert_eq!(status(&activity, &a.jwt()).await, 401, "the App is not an installation");
    assert_eq!(status(&activity, "").await, 401);
    assert_eq!(status(&activity, "ghs_wrong").await, 401);
    let jwt_of_us = a.jwt();
    let forged = format!("{}AAAAAAAA", &jwt_of_us[..jwt_of_us.len() - 8]);
    assert_eq!(status("/app", &forged).await, 401);
    assert_eq!(status("/app", &jwt(&a.gh.app_key_pem(), 999)).await, 404);
    assert_eq!(status(&activity, &a.token).await, 200);
    a.gh.expire_tokens();
    assert_eq!(status(&activity, &a.token).await, 401);
}

#[tokio::test]
async fn check_runs_are_created_updated_and_listed() {
    let a = Asker::start().await;
    let sha = a.topic();
    let output = json!({"title": "Judging", "summary": "…"});
    let body = json!({"name": "gatelog", "head_sha": sha, "status": "in_progress", "external_id": "1:2:ab", "output": output});
    let made = a.post_check(body).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.body["status"], "in_progress");
    assert_eq!(made.body["app"]["id"], 12345);
    assert_eq!(made.body["external_id"], "1:2:ab");
    let path = format!("/repos/{REPO}/check-runs/{}", made.body["id"]);
    let done =
        json!({"conclusion": "success", "output": {"title": "Allowed", "summary": "all fine", "text": "t"}});
    let patched = a.send("PATCH", &path, &a.token, Some(done), "").await;
    assert_eq!(patched.status, 200);
    assert_eq!(
        (&patched.body["status"], &patched.body["conclusion"]),
        (&json!("completed"), &json!("success"))
    );
    assert!(patched.body["completed_at"].is_string());
    a.gh.with(|w| w.add_foreign_check_run(999, repo_id(w), &sha, "gatelog", "success"));
    let list =
        async |query: &str| a.get(&format!("/repos/{REPO}/commits/{sha}/check-runs{query}")).await.body;
    assert_eq!(list("").await["total_count"], 2);
    let ours = list("?check_name=gatelog&app_id=12345&filter=all&per_page=100").await;
    assert_eq!(ours["total_count"], 1);
    assert_eq!(ours["check_runs"][0]["output"]["title"], "Allowed");
    assert_eq!(list("?check_name=other").await["total_count"], 0);
    assert_eq!(a.gh.check_runs_on(&sha).len(), 2);
    assert_eq!(a.gh.check_run_writes(), 2);
    let told = a.gh.with(World::take_outbox);
    assert_eq!(events(&told), [("check_run", "created"), ("check_run", "completed")]);
    let back = json!({"status": "in_progress"});
    let again = a.send("PATCH", &path, &a.token, Some(back), "").await;
    assert_eq!(again.body["conclusion"], "success", "a run that is done stays done");
}

#[tokio::test]
async fn a_newer_run_of_the_same_name_hides_the_older_one() {
    let a = Asker::start().await;
    let sha = a.topic();
    for _ in 0..2 {
        assert_eq!(a.post_check(json!({"name": "gatelog", "head_sha": sha})).await.status, 201);
    }
    let list = async |q: &str| a.get(&format!("/repos/{REPO}/commits/{sha}/check-runs?{q}")).await;
    assert_eq!(list("filter=latest").await.body["total_count"], 1);
    let page = list("filter=all&per_page=1").await;
    assert_eq!(page.body["total_count"], 2);
    assert_eq!(page.body["check_runs"].as_array().unwrap().len(), 1);
    let link = page.headers["link"].to_str().unwrap();
    assert!(link.contains("rel=\"next\"") && link.contains("page=2"), "{link}");
}

#[tokio::test]
async fn check_runs_beyond_githubs_limits_are_422() {
    let a = Asker::start().await;
    let sha = a.topic();
    let with = |extra: Value| {
        let mut body = json!({"name": "gatelog", "head_sha": sha});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let output = |summary: usize, text: usize, notes: usize| {
        let note = json!({"path": "a", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "m"});
        let (summary, text) = ("x".repeat(summary), "x".repeat(text));
        with(
            json!({"output": {"title": "t", "summary": summary, "text": text, "annotations": vec![note; notes]}}),
        )
    };
    let button = json!({"label": "x".repeat(21), "identifier": "i", "description": "d"});
    let bad = [
        json!({"head_sha": sha}),
        json!({"name": "gatelog"}),
        json!({"name": "gatelog", "head_sha": "1".repeat(40)}),
        with(json!({"status": "completed"})),
        with(json!({"conclusion": "stale"})),
        with(json!({"status": "waiting"})),
        with(json!({"external_id": 5})),
        with(json!({"output": {"title": "no summary"}})),
        with(json!({"actions": [button]})),
        output(65_536, 1, 0),
        output(1, 65_536, 0),
        output(1, 1, 51),
    ];
    for body in bad {
        let shown: String = body.to_string().chars().take(200).collect();
        assert_eq!(a.post_check(body).await.status, 422, "{shown}");
    }
    assert_eq!(a.gh.check_runs_on(&sha).len(), 0);
    assert_eq!(a.post_check(output(65_535, 65_535, 50)).await.status, 201);
    let foreign = a.gh.with(|w| w.add_foreign_check_run(999, repo_id(w), &sha, "gatelog", "success"));
    let patch = async |id: u64| {
        a.send("PATCH", &format!("/repos/{REPO}/check-runs/{id}"), &a.token, Some(json!({})), "").await.status
    };
    assert_eq!((patch(foreign).await, patch(1).await), (403, 404));
}

#[tokio::test]
async fn files_have_old_paths_and_pages() {
    let a = Asker::start().await;
    let many = commit("alice", "Many").rename("a.txt", "z/b.txt").remove(".github/CODEOWNERS");
    let many = (0..3).fold(many, |c, i| c.write(&format!("f{i}"), &format!("{i}\n")));
    let number = a.act(|w| topic(w, &[many]));
    let got = a.get(&format!("/repos/{REPO}/pulls/{number}/files?per_page=2")).await;
    assert_eq!(got.body.as_array().unwrap().len(), 2);
    assert!(got.headers["link"].to_str().unwrap().contains("page=2"));
    assert_eq!(got.headers["x-ratelimit-resource"], "core");
    let all = a.get(&format!("/repos/{REPO}/pulls/{number}/files?per_page=100&page=1")).await;
    assert!(all.headers.get("link").is_none());
    let all = all.body;
    assert_eq!(all[0]["status"], "removed");
    assert_eq!(all[4]["filename"], "z/b.txt");
    assert_eq!(all[4]["previous_filename"], "a.txt");
    assert_eq!(all[4]["status"], "renamed");
    assert_eq!(all[4]["sha"].as_str().unwrap().len(), 40);
}

#[tokio::test]
async fn activity_names_who_moved_a_branch() {
    let a = Asker::start().await;
    let first = a.topic();
    let second =
        a.act(|w| w.force_push("bob", REPO, "topic", "main", &[commit("bob", "Other").write("x", "2")]));
    a.act(|w| {
        w.push_with_key("alice", "deploy", REPO, "topic", &[commit("alice", "By key").write("x", "3")])
    });
    let got = a.get(&format!("/repos/{REPO}/activity?ref=refs/heads/topic&per_page=2")).await;
    assert_eq!(got.body[0]["actor"], Value::Null, "a deploy key");
    assert_eq!(got.body[1]["activity_type"], "force_push");
    assert_eq!((&got.body[1]["before"], &got.body[1]["after"]), (&json!(first), &json!(second)));
    assert_eq!(got.body[1]["actor"]["login"], "bob");
    let link = got.headers["link"].to_str().unwrap().to_owned();
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let rest = a.get(next.strip_prefix(&a.gh.api_url()).unwrap()).await;
    assert_eq!(rest.body.as_array().unwrap().len(), 1);
    assert_eq!(rest.body[0]["activity_type"], "branch_creation");
    assert_eq!(rest.body[0]["before"], NO_COMMIT);
    assert!(rest.headers.get("link").is_none());
}

#[tokio::test]
async fn teams_by_rest() {
    let a = Asker::start().await;
    let path = format!("/orgs/octo-org/teams/payments-core/repos/{REPO}");
    assert_eq!(a.get(&path).await.status, 204);
    let got = a.send("GET", &path, &a.token, None, "application/vnd.github.v3.repository+json").await;
    assert_eq!(got.status, 200);
    assert_eq!(got.body["role_name"], "maintain", "inherited from the parent team");
    assert_eq!(
        (&got.body["permissions"]["push"], &got.body["permissions"]["admin"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(a.get(&format!("/orgs/octo-org/teams/nobody/repos/{REPO}")).await.status, 404);

    let member =
        async |login: &str| a.get(&format!("/orgs/octo-org/teams/payments/memberships/{login}")).await;
    assert_eq!(member("bob").await.body["state"], "active", "of a child team");
    assert_eq!(member("alice").await.status, 404);
    a.gh.with(|w| {
        let eve = w.account("eve").unwrap().id;
        w.teams.values_mut().find(|t| t.slug == "payments").unwrap().pending.insert(eve);
    });
    assert_eq!(member("eve").await.body["state"], "pending");
}

#[tokio::test]
async fn people_by_rest() {
    let a = Asker::start().await;
    let member = async |login: &str| a.get(&format!("/orgs/octo-org/members/{login}")).await.status;
    assert_eq!((member("alice").await, member("eve").await), (204, 404));
    a.gh.with(|w| {
        let org = w.account("octo-org").unwrap().id;
        w.accounts.get_mut(&org).unwrap().members_hidden = true;
    });
    assert_eq!(member("alice").await, 302);
    let permission = async |login: &str| {
        let body = a.get(&format!("/repos/{REPO}/collaborators/{login}/permission")).await.body;
        (body["permission"].clone(), body["role_name"].clone())
    };
    assert_eq!(permission("carol").await, (json!("write"), json!("maintain")));
    assert_eq!(permission("dave").await, (json!("write"), json!("release-manager")));
    assert_eq!(permission("eve").await, (json!("none"), json!("none")));
}

#[tokio::test]
async fn compares_tags_and_contents() {
    let a = Asker::start().await;
    let base = a.sha_of("main");
    let head = a.topic();
    let compare = async |range: String| a.get(&format!("/repos/{REPO}/compare/{range}")).await.body;
    let ahead = compare(format!("{base}...{head}")).await;
    assert_eq!((&ahead["status"], &ahead["ahead_by"]), (&json!("ahead"), &json!(1)));
    assert_eq!(
        (&ahead["files"][0]["filename"], &ahead["files"][0]["status"]),
        (&json!("x"), &json!("added"))
    );
    assert_eq!(compare(format!("topic...{base}")).await["status"], "behind");
    assert_eq!(compare("main...main".to_owned()).await["status"], "identical");
    assert_eq!(a.get(&format!("/repos/{REPO}/compare/main...nope")).await.status, 404);

    a.act(|w| w.tag("alice", REPO, "v1", &head));
    let tags = a.get(&format!("/repos/{REPO}/git/matching-refs/tags/")).await.body;
    assert_eq!((&tags[0]["ref"], &tags[0]["object"]["sha"]), (&json!("refs/tags/v1"), &json!(head)));

    let path = format!("/repos/{REPO}/contents/.github/CODEOWNERS?ref={base}");
    let raw = a.send("GET", &path, &a.token, None, "application/vnd.github.raw+json").await;
    assert_eq!(raw.body, json!("* @octo-org/payments\n/docs/ @bob\n"));
    assert_eq!(a.get(&path).await.body["encoding"], "base64");
    assert_eq!(a.get(&format!("/repos/{REPO}/contents/nope?ref={base}")).await.status, 404);
}

#[tokio::test]
async fn enterprise_paths() {
    let options = Options { enterprise: true, ..Options::default() };
    let a = Asker::of(SimulatedGithub::start_with(options).await.unwrap()).await;
    assert!(a.gh.api_url().ends_with("/api/v3"));
    assert!(a.gh.graphql_url().ends_with("/api/graphql"));
    let number = a.small_pull();
    assert_eq!(a.pull(number).await["number"], number);
    assert_eq!(a.get(&format!("/repos/{REPO}/pulls/{number}/files")).await.status, 200);
}

// ---- webhooks

fn events(hooks: &[Webhook]) -> Vec<(&str, &str)> {
    hooks.iter().map(|h| (h.event.as_str(), h.payload["action"].as_str().unwrap_or(""))).collect()
}

#[tokio::test]
async fn a_push_is_told_with_everything_around_it() {
    let a = Asker::start().await;
    let did =
        a.gh.with(|w| w.push("alice", REPO, "topic", &[commit("alice", "One").write("x", "1")])).unwrap();
    assert_eq!(events(&did.hooks), [("push", ""), ("create", "")]);
    let push = &did.hooks[0].payload;
    assert_eq!(push["ref"], "refs/heads/topic");
    let flags = (&push["created"], &push["forced"], &push["deleted"]);
    assert_eq!(flags, (&json!(true), &json!(false), &json!(false)));
    assert_eq!((&push["before"], &push["after"]), (&json!(NO_COMMIT), &json!(did.what)));
    assert_eq!(push["commits"][0]["id"], did.what);
    assert_eq!(push["commits"][0]["added"], json!(["x"]));
    assert_eq!(push["pusher"]["name"], "alice");
    assert_eq!(push["repository"]["full_name"], REPO);
    assert_eq!(push["repository"]["default_branch"], "main");
    assert_eq!(push["organization"]["login"], "octo-org");
    assert_eq!(push["installation"]["id"], a.installation);
    assert_eq!(push["sender"]["login"], "alice");
    let did = a.gh.with(|w| w.push_with_key("alice", "deploy", REPO, "keyed", &[])).unwrap();
    assert_eq!(did.hooks[0].payload["pusher"], json!({"name": "deploy"}));
    assert_eq!(did.hooks[1].payload["pusher_type"], "deploy_key");
}

#[tokio::test]
async fn a_pull_requests_life_in_webhooks() {
    let a = Asker::start().await;
    let did = a.gh.with(|w| topic(w, &[commit("alice", "One").write("x", "1")])).unwrap();
    let number = did.what;
    assert_eq!(events(&did.hooks), [("pull_request", "opened")]);
    let pull = &did.hooks[0].payload["pull_request"];
    assert_eq!(pull["head"]["repo"]["full_name"], REPO);
    assert_eq!((&pull["base"]["ref"], &pull["commits"]), (&json!("main"), &json!(1)));

    let did =
        a.gh.with(|w| w.push("alice", REPO, "topic", &[commit("alice", "Two").write("x", "2")])).unwrap();
    assert_eq!(events(&did.hooks), [("push", ""), ("pull_request", "synchronize")]);
    assert_eq!(did.hooks[1].payload["after"], did.what);
    assert_eq!(did.hooks[1].payload["pull_request"]["head"]["sha"], did.what);

    let did = a.gh.with(|w| w.approve("bob", REPO, number)).unwrap();
    assert_eq!(events(&did.hooks), [("pull_request_review", "submitted")]);
    assert_eq!(did.hooks[0].payload["review"]["state"], "approved", "lower case in webhooks");
    let did = a.gh.with(|w| w.dismiss("carol", REPO, number, did.what)).unwrap();
    assert_eq!(events(&did.hooks), [("pull_request_review", "dismissed")]);

    let other = commit("alice", "New").write("x", "3");
    let did = a.gh.with(|w| w.force_push("alice", REPO, "topic", "main", &[other])).unwrap();
    assert_eq!(did.hooks[0].payload["forced"], true);

    let did = a.gh.with(|w| w.merge("carol", REPO, number, Method::Squash)).unwrap();
    assert_eq!(events(&did.hooks), [("pull_request", "closed"), ("push", "")]);
    assert_eq!(did.hooks[0].payload["pull_request"]["merged"], true);
    assert_eq!(did.hooks[0].payload["pull_request"]["merge_commit_sha"], did.what);
    assert_eq!(did.hooks[1].payload["after"], did.what);

    let did = a.gh.with(|w| w.delete_branch("alice", REPO, "topic")).unwrap();
    assert_eq!(events(&did.hooks), [("push", ""), ("delete", "")]);
    assert_eq!(did.hooks[0].payload["after"], NO_COMMIT);
}

#[tokio::test]
async fn other_webhooks() {
    let a = Asker::start().await;
    let main = a.sha_of("main");
    a.gh.with(|w| {
        let did = w.tag("alice", REPO, "v1", &main).unwrap();
        assert_eq!(events(&did.hooks), [("push", ""), ("create", "")]);
        assert_eq!(did.hooks[1].payload["ref_type"], "tag");
        let did = w.workflow_run("alice", REPO, &main, "completed", Some("success")).unwrap();
        assert_eq!(events(&did.hooks), [("workflow_run", "completed")]);
        let did = w.any_event("alice", REPO, "quantum_merge", json!({"action": "entangled"})).unwrap();
        assert_eq!(events(&did.hooks), [("quantum_merge", "entangled")]);
        assert_eq!(did.hooks[0].payload["repository"]["full_name"], REPO);
        let did = w.set_team_member("carol", "octo-org", "payments", "eve", true).unwrap();
        assert_eq!(events(&did.hooks), [("membership", "added")]);
        assert_eq!(did.hooks[0].payload.get("repository"), None);
        let did = w.set_role("carol", REPO, "alice", None).unwrap();
        assert_eq!(events(&did.hooks), [("member", "removed")]);
        assert!(w.push("nobody", REPO, "x", &[]).is_err());
    });
}

#[tokio::test]
async fn commits_pushed_by_hand_mark_the_pull_request_merged() {
    let a = Asker::start().await;
    let number = a.small_pull();
    a.gh.with(|w| {
        let tip = sha_of(w, "topic");
        let did = w.force_push("alice", REPO, "main", &tip, &[]).unwrap();
        assert_eq!(events(&did.hooks), [("push", ""), ("pull_request", "closed")]);
        assert!(w.pull(REPO, number).unwrap().merged.is_some());
    });
    let activity = a.get(&format!("/repos/{REPO}/activity?ref=refs/heads/main")).await.body;
    assert_eq!(activity[0]["activity_type"], "push", "not pr_merge: a person's hand");
}

#[tokio::test]
async fn the_same_story_has_the_same_names() {
    let story = async || {
        let a = Asker::start().await;
        let did = a.gh.with(|w| topic(w, &[commit("alice", "One").write("x", "1")])).unwrap();
        (did.hooks[0].guid.clone(), did.hooks[0].payload.to_string())
    };
    assert_eq!(story().await, story().await);
}

#[tokio::test]
async fn deliveries_are_signed_and_carry_githubs_headers() {
    use axum::{Router, extract::State, routing::post};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
    let (seen, mut inbox) = unbounded_channel::<(HeaderMap, Bytes)>();
    let receive = async |State(seen): State<UnboundedSender<(HeaderMap, Bytes)>>, h: HeaderMap, b: Bytes| {
        seen.send((h, b)).unwrap();
        "{\"seq\":7}"
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/webhook", listener.local_addr().unwrap());
    let app = Router::new().route("/webhook", post(receive)).with_state(seen);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let a = Asker::start().await;
    a.gh.set_hook(&url, "secret");
    let did = a.gh.with(|w| topic(w, &[commit("alice", "One").write("x", "1")])).unwrap();
    let answer = a.gh.deliver(&did.hooks[0]).await.unwrap();
    assert_eq!((answer.status, &answer.json()["seq"]), (200, &json!(7)));
    let (headers, body) = inbox.recv().await.unwrap();
    assert_eq!(headers["x-github-event"], "pull_request");
    assert_eq!(headers["x-github-delivery"].to_str().unwrap(), did.hooks[0].guid);
    assert!(headers["user-agent"].to_str().unwrap().starts_with("GitHub-Hookshot/"));
    assert_eq!(headers["x-github-hook-installation-target-type"], "integration");
    assert_eq!(headers["x-hub-signature-256"], sign(b"secret", &body));

    a.gh.courier().deliver_badly_signed(&did.hooks[0]).await.unwrap();
    let (headers, body) = inbox.recv().await.unwrap();
    assert_ne!(headers["x-hub-signature-256"], sign(b"secret", &body));

    // GitHub redelivers under the same GUID.
    let list = a.send("GET", "/app/hook/deliveries", &a.jwt(), None, "").await.body;
    let again = format!("/app/hook/deliveries/{}/attempts", list[0]["id"]);
    assert_eq!(a.send("POST", &again, &a.jwt(), None, "").await.status, 202);
    a.gh.deliver_outbox().await.unwrap();
    let (headers, _) = inbox.recv().await.unwrap();
    assert_eq!(headers["x-github-delivery"].to_str().unwrap(), did.hooks[0].guid);
    let list = a.send("GET", "/app/hook/deliveries", &a.jwt(), None, "").await.body;
    assert_eq!((&list[0]["redelivery"], &list[1]["redelivery"]), (&json!(true), &json!(false)));
}

// ---- faults

#[tokio::test]
async fn a_lost_answer_leaves_the_check_run_behind() {
    let a = Asker::start().await;
    let sha = a.topic();
    let create = async || a.post_check(json!({"name": "gatelog", "head_sha": sha})).await;
    a.gh.fault(Route::CreateCheckRun, 1, Fault::Status(502));
    assert_eq!(create().await.status, 502);
    assert_eq!(a.gh.check_runs_on(&sha).len(), 0, "5xx before the write");
    a.gh.fault(Route::CreateCheckRun, 1, Fault::DoneButStatus(502));
    assert_eq!(create().await.status, 502);
    assert_eq!(a.gh.check_runs_on(&sha).len(), 1, "5xx after the write");
    a.gh.fault(Route::CreateCheckRun, 1, Fault::RetryAfter { status: 403, seconds: 2 });
    let got = create().await;
    assert_eq!((got.status, got.headers["retry-after"].to_str().unwrap()), (403, "2"));
    assert_eq!(create().await.status, 201);
    a.gh.outage(true);
    assert_eq!(create().await.status, 503);
    a.gh.heal();
    assert_eq!(create().await.status, 201);
}

#[tokio::test]
async fn graphql_faults() {
    let a = Asker::start().await;
    let number = a.small_pull();
    let path = ["repository", "pullRequest", "commits", "nodes", "0", "commit", "author"]
        .map(str::to_owned)
        .to_vec();
    let partial =
        Fault::GraphqlPartial { path, kind: "SERVICE_UNAVAILABLE", message: "Something went wrong" };
    a.gh.fault(Route::Graphql, 1, partial);
    let answer = a.facts(number).await;
    let pull = &answer["data"]["repository"]["pullRequest"];
    assert_eq!(pull["number"], number);
    assert_eq!(pull["commits"]["nodes"][0]["commit"]["author"], Value::Null);
    assert_eq!(answer["errors"][0]["path"][4], 0);
    let limited = Fault::GraphqlError { kind: "RATE_LIMITED", message: "wait" };
    a.gh.fault(Route::GraphqlWith("PrFacts".into()), 1, limited);
    let answer = a.facts(number).await;
    assert_eq!((answer.get("data"), &answer["errors"][0]["type"]), (None, &json!("RATE_LIMITED")));
    a.gh.fault(Route::Graphql, 1, Fault::Truncated);
    assert!(a.facts(number).await.is_string(), "no JSON any more");
    assert_eq!(a.facts(number).await.get("errors"), None);
}

#[tokio::test]
async fn the_head_moves_while_somebody_reads() {
    let a = Asker::start().await;
    let number = a.small_pull();
    let head = a.sha_of("topic");
    let push = Change::new(|w| {
        w.push("alice", REPO, "topic", &[commit("alice", "Two").write("x", "2")]).unwrap();
    });
    a.gh.fault_after(Route::Graphql, 1, 1, Fault::Meanwhile(push));
    assert_eq!(a.pull(number).await["headRefOid"], head);
    assert_ne!(a.pull(number).await["headRefOid"], head);
}

#[tokio::test]
async fn the_api_lags_behind_the_webhook() {
    let a = Asker::start().await;
    let number = a.small_pull();
    let old = a.sha_of("topic");
    a.gh.lag(2);
    let new = a.act(|w| w.push("alice", REPO, "topic", &[commit("alice", "Two").write("x", "2")]));
    let head = async || a.pull(number).await["headRefOid"].clone();
    assert_eq!((head().await, head().await, head().await), (json!(old), json!(old), json!(new)));
}

#[tokio::test]
async fn requests_are_held_and_cut() {
    let a = Asker::start().await;
    let number = a.small_pull();
    let hold = a.gh.hold(Route::Graphql);
    let release = async {
        hold.arrived(1).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        hold.release();
    };
    let (answer, ()) = tokio::join!(a.facts(number), release);
    assert_eq!(answer.get("errors"), None);
    a.gh.heal();
    a.gh.fault(Route::Any, 1, Fault::Disconnect);
    let request = Request::get(format!("{}/app", a.gh.url())).body(Full::new(Bytes::new())).unwrap();
    let cut = match a.http.request(request).await {
        Err(_) => true,
        Ok(response) => response.into_body().collect().await.is_err(),
    };
    assert!(cut);
    a.gh.set_remaining(0, 0);
    let got = a.get("/installation/repositories").await;
    assert_eq!((got.status, got.headers["x-ratelimit-remaining"].to_str().unwrap()), (403, "0"));
}

#[tokio::test]
async fn reviews_of_old_commits_and_lost_ones() {
    let a = Asker::start().await;
    let number = a.small_pull();
    let old = a.sha_of("topic");
    a.act(|w| w.push("alice", REPO, "topic", &[commit("alice", "Two").write("x", "2")]));
    a.act(|w| w.review_at("carol", REPO, number, ReviewState::Approved, "", &old));
    let review = async || a.pull(number).await["reviews"]["nodes"][0].clone();
    assert_eq!(review().await["commit"]["oid"], old);
    a.act(|w| w.force_push("alice", REPO, "topic", "main", &[commit("alice", "New").write("x", "3")]));
    a.gh.with(|w| w.forget_commit(&old));
    assert_eq!(review().await["commit"], Value::Null);
}
