//! A story, played on the simulated GitHub.

use std::collections::VecDeque;

use gatelog::{
    simulated_github::{CommitSpec, Did, Method, Role, Webhook, World, commit},
    verdict::Decision,
};

use serde_json::json;

use super::story::{self, Described, Signature, Step};
use crate::common::{scene::Scene, view::View};

/// Deliveries under way at once.
const COURIERS: usize = 8;

pub struct Played {
    n: String,
    /// Address of the API.
    api: String,
    phases: VecDeque<Vec<Step>>,
    number: u64,
    /// Every commit made on `topic`, in order.
    commits: Vec<String>,
    /// Where the decision is looked for.
    ends: Ends,
}

#[derive(Clone)]
enum Ends {
    Pull,
    Group(String),
    /// GUID of the delivery, and the commit pushed.
    Push(String, Option<String>),
}

pub fn role(name: &str) -> Role {
    match name {
        "admin" => Role::Admin,
        "maintain" => Role::Maintain,
        "write" => Role::Write,
        "triage" => Role::Triage,
        "read" => Role::Read,
        other => panic!("{other} is no role"),
    }
}

impl Played {
    pub fn begin(scene: &Scene, n: &str, story: &str) -> Self {
        let repo = story::repository(n);
        scene.gh.with(|w| {
            w.add_organization(&story::organization(n));
            w.add_repository(&repo).unwrap();
            for (name, right) in story::PEOPLE {
                let name = story::local(name, n);
                match name.strip_suffix("[bot]") {
                    Some(slug) => w.add_bot(slug),
                    None => w.add_user(&name),
                };
                w.grant(&name, &repo, role(right)).unwrap();
            }
            // Where a forced push goes back to.
            w.push(&story::local("frank", n), &repo, "start", &[]).unwrap();
        });
        let phases = story::read(story, n).into();
        Self {
            n: n.to_owned(),
            api: scene.gh.api_url(),
            phases,
            number: 0,
            commits: vec![],
            ends: Ends::Pull,
        }
    }

    /// Plays the next phase; what GitHub sends for it. `None`: the story is told.
    pub fn go_on(&mut self, scene: &Scene) -> Option<Vec<Webhook>> {
        let steps = self.phases.pop_front()?;
        let mut hooks = Vec::new();
        for step in &steps {
            hooks.extend(scene.gh.with(|w| self.act(w, step)));
        }
        Some(hooks)
    }

    fn act(&mut self, w: &mut World, step: &Step) -> Vec<Webhook> {
        let repo = &story::repository(&self.n);
        let (who, words, number) = (step.who.as_str(), &step.words, self.number);
        let first = || words[0].as_str();
        let fine = |r: Result<Did<()>, _>| -> Vec<Webhook> {
            r.map(|d: Did<()>| d.hooks)
                .unwrap_or_else(|e: gatelog::simulated_github::Impossible| panic!("{step:?}: {e}"))
        };
        let topic = |d: Did<String>, commits: &mut Vec<String>| {
            commits.push(d.what);
            d.hooks
        };
        match step.verb.as_str() {
            "pushes" => {
                let did = w.push(who, repo, "topic", &[spec(w, &Described::of(who, words))]).unwrap();
                topic(did, &mut self.commits)
            }
            "key-pushes" => {
                let spec = spec(w, &Described::of(who, words));
                topic(w.push_with_key(who, "deploy_key", repo, "topic", &[spec]).unwrap(), &mut self.commits)
            }
            "rewrites" => {
                let kept: usize = first().parse().unwrap();
                let onto = if kept == 0 { "main".to_owned() } else { self.commits[kept - 1].clone() };
                let spec = spec(w, &Described::of(who, &words[1..]));
                let did = w.force_push(who, repo, "topic", &onto, &[spec]).unwrap();
                topic(did, &mut self.commits)
            }
            "resets" => {
                let to = self.commits[first().parse::<usize>().unwrap() - 1].clone();
                w.force_push(who, repo, "topic", &to, &[]).unwrap().hooks
            }
            "opens" | "drafts" => {
                let base = words.first().map_or("main", String::as_str);
                let did = match step.verb.as_str() {
                    "opens" => w.open_pull(who, repo, "topic", base, "A change"),
                    _ => w.open_draft(who, repo, "topic", base, "A change"),
                };
                let did = did.unwrap();
                self.number = did.what;
                did.hooks
            }
            "approves" if !words.is_empty() => {
                let at = self.commits[first().parse::<usize>().unwrap() - 1].clone();
                let state = gatelog::simulated_github::ReviewState::Approved;
                w.review_at(who, repo, number, state, "", &at).unwrap().hooks
            }
            "approves" => w.approve(who, repo, number).unwrap().hooks,
            "requests-changes" => w.request_changes(who, repo, number, "no").unwrap().hooks,
            "comments" => w.comment(who, repo, number, "hm").unwrap().hooks,
            "dismisses" => {
                let whose = w.account(first()).unwrap().id;
                let reviews = &w.pull(repo, number).unwrap().reviews;
                let review = reviews.iter().rev().find(|r| r.author == Some(whose)).unwrap().id;
                fine(w.dismiss(who, repo, number, review))
            }
            "updates" => topic(w.update_branch(who, repo, number).unwrap(), &mut self.commits),
            "resolves" => {
                let by_hand = [(first(), "by hand")];
                topic(w.resolve_conflicts(who, repo, number, &by_hand).unwrap(), &mut self.commits)
            }
            "lands" => {
                let spec = spec(w, &Described::of(who, words));
                w.push(who, repo, "main", &[spec]).unwrap().hooks
            }
            "owns" => {
                let text = words.join(" ").replace(" | ", "\n");
                let owners = commit(who, "owners").write(".github/CODEOWNERS", &text).signed();
                w.push(who, repo, "main", &[owners]).unwrap().hooks
            }
            "branches" => w.push(who, repo, first(), &[]).unwrap().hooks,
            "retargets" => fine(w.retarget(who, repo, number, first())),
            "closes" => fine(w.close(who, repo, number)),
            "reopens" => fine(w.reopen(who, repo, number)),
            "readies" => fine(w.ready_for_review(who, repo, number)),
            "labels" => fine(w.label(who, repo, number, first())),
            "becomes" => fine(w.set_role(&story::local("frank", &self.n), repo, who, Some(role(first())))),
            "vanishes" => {
                w.delete_account(who).unwrap();
                vec![]
            }
            "has" | "reads" => {
                let members: Vec<&str> = words.iter().map(String::as_str).collect();
                let team = w.add_team(&story::organization(&self.n), who, None, &members).unwrap();
                let right = if step.verb == "has" { Role::Write } else { Role::Read };
                w.grant_team(team, repo, right).unwrap();
                vec![]
            }
            "quits" => {
                let (frank, org) = (story::local("frank", &self.n), story::organization(&self.n));
                fine(w.set_team_member(&frank, &org, first(), who, false))
            }
            "employs" => {
                words.iter().for_each(|m| w.add_org_member(who, m, false).unwrap());
                vec![]
            }
            "leaks" => w.secret_alert(who, repo, first().parse().unwrap(), None).unwrap().hooks,
            "rotates" => w.secret_alert(who, repo, 0, Some("revoked")).unwrap().hooks,
            "deploys" => {
                let hooks = w.ask_to_deploy(who, repo, first(), &self.api).unwrap().hooks;
                self.ends = Ends::Push(hooks[0].guid.clone(), None);
                hooks
            }
            "reports" | "sets" => {
                let head = self.commits.last().unwrap();
                let done = Some(words[1].as_str()).filter(|c| *c != "running");
                let did = match step.verb.as_str() {
                    "reports" => w.check_by(who, repo, head, first(), done),
                    _ => w.set_status(who, repo, head, first(), done.unwrap_or("pending")),
                };
                did.unwrap().hooks
            }
            "demands" => {
                let app = w.app.id;
                let rules = words.iter().map(|word| rule(word, app)).collect();
                let id = w.repository(repo).unwrap().id;
                w.repositories.get_mut(&id).unwrap().rules.insert("main".to_owned(), rules);
                vec![]
            }
            "queues" => {
                let did = w.enqueue(who, repo, number).unwrap();
                self.ends = Ends::Group(did.what);
                did.hooks
            }
            "merges" => {
                let method = match first() {
                    "merge" => Method::Merge,
                    "squash" => Method::Squash,
                    _ => Method::Rebase,
                };
                let did = w.merge(who, repo, number, method).unwrap();
                self.pushed(did.what, did.hooks, "push")
            }
            "pushes-to" | "key-pushes-to" => {
                let spec = spec(w, &Described::of(who, &words[1..]));
                let did = match step.verb.as_str() {
                    "pushes-to" => w.push(who, repo, first(), &[spec]),
                    _ => w.push_with_key(who, "deploy_key", repo, first(), &[spec]),
                };
                let did = did.unwrap();
                self.pushed(did.what, did.hooks, "push")
            }
            "force-pushes" => {
                let other = commit(who, "instead").write("instead.txt", "instead").signed();
                let root = w.repository(repo).unwrap().refs["refs/heads/start"].clone();
                let did = w.force_push(who, repo, first(), &root, &[other]).unwrap();
                self.pushed(did.what, did.hooks, "push")
            }
            "deletes" => {
                let hooks = fine(w.delete_branch(who, repo, first()));
                self.gone(hooks)
            }
            "tags" => {
                let branch = words.get(1).map_or("main", String::as_str);
                let tip = w.repository(repo).unwrap().refs[&format!("refs/heads/{branch}")].clone();
                let hooks = fine(w.tag(who, repo, first(), &tip));
                self.pushed(tip, hooks, "push")
            }
            "untags" => {
                let hooks = fine(w.delete_tag(who, repo, first()));
                self.gone(hooks)
            }
            other => panic!("nobody {other}"),
        }
    }

    fn pushed(&mut self, sha: String, hooks: Vec<Webhook>, event: &str) -> Vec<Webhook> {
        let told = hooks.iter().find(|h| h.event == event).unwrap();
        self.ends = Ends::Push(told.guid.clone(), Some(sha));
        hooks
    }

    fn gone(&mut self, hooks: Vec<Webhook>) -> Vec<Webhook> {
        let told = hooks.iter().find(|h| h.event == "push").unwrap();
        self.ends = Ends::Push(told.guid.clone(), None);
        hooks
    }

    /// The decision, and what the check run says; where there is none, because no commit is left to show it on or
    /// nothing is published, what the ledger says.
    pub fn outcome(&self, scene: &Scene, view: &View) -> (Option<Decision>, String) {
        let repo = story::repository(&self.n);
        let head = || scene.gh.with(|w| w.pull(&repo, self.number).unwrap().head.sha.clone());
        let run = match &self.ends {
            Ends::Pull => scene.run_on(&head(), "gatelog"),
            Ends::Group(sha) => scene.run_on(sha, "gatelog"),
            Ends::Push(_, sha) => sha.as_ref().and_then(|sha| scene.run_on(sha, "gatelog/push")),
        };
        let text = run.as_ref().map(|r| {
            let parts = [&r.title, &r.summary, &r.text];
            parts.into_iter().flatten().cloned().collect::<Vec<_>>().join("\n    ")
        });
        if let Ends::Push(guid, _) = &self.ends {
            let text = text.or_else(|| Some(view.reasons(guid)?.join("\n    ")));
            return (view.decision(guid), text.unwrap_or_default());
        }
        let title = run.as_ref().and_then(|r| r.title.clone()).unwrap_or_default();
        let decision = run.map(|r| match r.conclusion.as_deref() {
            Some("success") => Decision::Allow,
            Some(_) if title.starts_with("Could not decide") => Decision::Error,
            Some(_) => Decision::Deny,
            None => Decision::Pending,
        });
        (decision, text.unwrap_or_default())
    }
}

/// A rule of a ruleset: its type, or `check` (ours, from our app), `anyones-check`.
fn rule(word: &str, app: u64) -> serde_json::Value {
    let check = |entry: serde_json::Value| json!({"type": "required_status_checks", "parameters": {"required_status_checks": [entry]}});
    match word {
        "check" => check(json!({"context": "gatelog", "integration_id": app})),
        "anyones-check" => check(json!({"context": "gatelog"})),
        other => json!({"type": other}),
    }
}

fn spec(w: &World, d: &Described) -> CommitSpec {
    let mail = |who: &str| match w.account(who) {
        Some(_) => who.to_owned(),
        None => format!("{who}@nowhere.invalid"),
    };
    let address = |who: &String| w.account(who).unwrap().emails[0].clone();
    let line = |who: &String| format!("a commit\n\nSigned-off-by: {who} <{}>", address(who));
    let message = d.signed_off.as_ref().map_or_else(|| "a commit".to_owned(), line);
    let mut spec = commit(&mail(&d.author), &message);
    for path in &d.written {
        spec = spec.write(path, &format!("{path} by {}", d.author));
    }
    if let Some(kind) = &d.workflow {
        spec = spec.write(story::WORKFLOW, &story::workflow(kind));
    }
    if let Some((from, to)) = &d.renamed {
        spec = spec.rename(from, to);
    }
    if let Some(path) = &d.removed {
        spec = spec.remove(path);
    }
    for other in &d.co_authors {
        spec = spec.co_author(&mail(other));
    }
    if let Some(committer) = &d.committer {
        spec = spec.committer(&mail(committer));
    }
    match &d.signature {
        Signature::Own => spec.signed(),
        Signature::By(who) => spec.signed_by(who),
        Signature::None => spec,
        Signature::Bad(state) => spec.signed_badly(state),
    }
}

/// Rows side by side; the deliveries of one row in their order.
pub async fn deliver(scene: &Scene, rows: Vec<Vec<Webhook>>) {
    let mut rows = rows.into_iter();
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        while under_way.len() < COURIERS
            && let Some(hooks) = rows.next()
        {
            let courier = scene.gh.courier();
            under_way.spawn(async move {
                for hook in hooks {
                    let answer = courier.deliver(&hook).await.unwrap();
                    assert!(matches!(answer.status, 200 | 202), "{answer:?}");
                }
            });
        }
        match under_way.join_next().await {
            Some(done) => done.unwrap(),
            None => return,
        }
    }
}
