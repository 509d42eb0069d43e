//! Every kind of webhook that the simulated GitHub can send.

use std::{collections::BTreeSet, fs};

use gatelog::simulated_github::{Act, Method, Role, SimulatedGithub, Webhook, World, commit};

use crate::common::foreign::root;

const REPO: &str = "octo-org/app";
const FORK: &str = "erin/app";

/// The events that stand in the simulated GitHub's source.
pub fn written() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut todo = vec![root().join("src/simulated_github")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(path).unwrap().map(|e| e.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for call in ["self.hook(", "self.org_hook(", "world.hook("] {
            for rest in text.split(call).skip(1) {
                // No literal: the event is the caller's.
                let arguments = rest.lines().next().unwrap();
                if let Some(event) = arguments.split('"').nth(1) {
                    found.insert(event.to_owned());
                }
            }
        }
    }
    found
}

struct Story {
    hooks: Vec<Webhook>,
}

impl Story {
    fn act<T>(&mut self, did: Act<T>) -> T {
        let did = did.unwrap();
        self.hooks.extend(did.hooks);
        did.what
    }
}

/// One of each, in all the forms in which the simulated GitHub writes it.
pub async fn all() -> Vec<Webhook> {
    let sim = SimulatedGithub::start().await.unwrap();
    sim.with(|w| {
        w.add_organization("octo-org");
        let id = w.add_repository(REPO).unwrap();
        for login in ["alice", "bob", "dave", "erin"] {
            w.add_user(login);
            w.grant(login, REPO, Role::Write).unwrap();
        }
        w.add_bot("ci");
        w.fork(REPO, FORK).unwrap();
        w.add_team("octo-org", "everyone", None, &["alice"]).unwrap();
        w.add_team("octo-org", "some", Some("everyone"), &["bob"]).unwrap();
        w.add_org_member("octo-org", "dave", false).unwrap();
        w.repositories.get_mut(&id).unwrap().secret_alerts = Some(vec![]);
        let mut s = Story { hooks: vec![] };
        pull_requests(w, &mut s);
        pushes(w, &mut s);
        checks(w, &mut s);
        people(w, &mut s);
        s.hooks
    })
}

fn change(path: &str) -> gatelog::simulated_github::CommitSpec {
    commit("alice", path).write(path, path).signed()
}

fn pull_requests(w: &mut World, s: &mut Story) {
    s.act(w.push("alice", REPO, "topic", &[change("a")]));
    let number = s.act(w.open_draft("alice", REPO, "topic", "main", "A door"));
    s.act(w.ready_for_review("alice", REPO, number));
    s.act(w.edit_title("alice", REPO, number, "A green door"));
    s.act(w.label("bob", REPO, number, "urgent"));
    s.act(w.push("alice", REPO, "topic", &[change("b").co_author("bob")]));
    s.act(w.push("alice", REPO, "other", &[]));
    s.act(w.retarget("alice", REPO, number, "other"));
    s.act(w.retarget("alice", REPO, number, "main"));
    s.act(w.close("alice", REPO, number));
    s.act(w.reopen("alice", REPO, number));
    s.act(w.request_changes("bob", REPO, number, "no"));
    s.act(w.comment("bob", REPO, number, "hm"));
    let review = s.act(w.approve("bob", REPO, number));
    s.act(w.dismiss("bob", REPO, number, review));
    s.act(w.say("bob", REPO, number, "/gatelog recheck"));
    s.act(w.update_branch("alice", REPO, number));
    s.act(w.merge("bob", REPO, number, Method::Squash));
    // From a fork, of somebody whose account is deleted.
    s.act(w.push("erin", FORK, "fix", &[commit("erin", "fix").write("c", "c")]));
    let fixed = s.act(w.open_pull("erin", REPO, &format!("{FORK}:fix"), "main", "A fix"));
    s.act(w.approve("erin", REPO, fixed));
    w.delete_account("erin").unwrap();
    s.act(w.label("bob", REPO, fixed, "orphaned"));
    // Through the queue.
    s.act(w.push("alice", REPO, "queued", &[change("d")]));
    let queued = s.act(w.open_pull("alice", REPO, "queued", "main", "In the queue"));
    s.act(w.enqueue("alice", REPO, queued));
    s.act(w.merge_queue_lands("alice", REPO, "main"));
    // Stacked on a branch that goes.
    s.act(w.push("alice", REPO, "upper", &[change("e")]));
    s.act(w.open_pull("alice", REPO, "upper", "topic", "Stacked"));
}

fn pushes(w: &mut World, s: &mut Story) {
    s.act(w.delete_branch("alice", REPO, "topic"));
    s.act(w.force_push("alice", REPO, "other", "main", &[change("f")]));
    s.act(w.push_with_key("alice", "deploy_key", REPO, "main", &[change("g")]));
    let tip = w.repository(REPO).unwrap().refs["refs/heads/main"].clone();
    s.act(w.tag("alice", REPO, "v1", &tip));
    s.act(w.annotated_tag("alice", REPO, "v2", &tip));
    s.act(w.delete_tag("alice", REPO, "v1"));
}

fn checks(w: &mut World, s: &mut Story) {
    let tip = w.repository(REPO).unwrap().refs["refs/heads/main"].clone();
    for (action, conclusion) in [("requested", None), ("in_progress", None), ("completed", Some("success"))] {
        s.act(w.workflow_run("alice", REPO, &tip, action, conclusion));
    }
    s.act(w.deployment("alice", REPO, &tip, "production"));
    s.act(w.ask_to_deploy("alice", REPO, "production", "https://api.github.test"));
    let run = s.act(w.check_by("ci", REPO, &tip, "build", None));
    s.act(w.check_by("ci", REPO, &tip, "build", Some("failure")));
    s.act(w.rerequest("alice", run));
    s.act(w.press("alice", run, "recheck"));
    for state in ["pending", "success"] {
        s.act(w.set_status("alice", REPO, &tip, "ci/other", state));
    }
    s.act(w.secret_alert("alice", REPO, 3, None));
    s.act(w.secret_alert("alice", REPO, 0, Some("revoked")));
}

fn people(w: &mut World, s: &mut Story) {
    for member in [true, false] {
        s.act(w.set_team_member("alice", "octo-org", "some", "dave", member));
    }
    for role in [Some(Role::Admin), None, Some(Role::Read)] {
        s.act(w.set_role("alice", REPO, "dave", role));
    }
    for role in [Some(Role::Maintain), None] {
        s.act(w.set_team_role("alice", "octo-org", "everyone", REPO, role));
    }
    s.act(w.remove_org_member("alice", "octo-org", "dave"));
}
