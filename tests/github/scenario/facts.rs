//! A story, told as the facts that GitHub would show: a small model of its own, in memory.

use std::collections::{BTreeMap, BTreeSet};

use gatelog::{
    event::{Account, RefKind, Repository, Sha, Source, SubjectKind},
    facts::{
        BaseRules, Branch, Change, Check, Codeowners, Commit, Comparison, DeployedLanding, DeployedPull,
        Deployment, Facts, File, Landed, LandedPull, MergeGroup, Missing, Person, PullRequest, Push,
        RepositoryId, Retarget, Review, SecretAlert, Status, TargetRef, Team, Verification, Workflow,
        checks::{CheckApp, CheckKind},
        codeowners::{Resolved, Rules, owned},
        graph,
        pushes::{self, KnownPush},
        rules::Required,
    },
    policy::{Bundle, EventHeader, Input},
    time::Time,
    verdict::{Decision, Verdict},
};
use serde_json::json;

use super::story::{self, Described, Signature, Step};

const REPOSITORY: u64 = 1;
/// Commits of the base branch have numbers from here on.
const BASE: usize = 0x1000;

#[derive(Default)]
struct Model {
    n: String,
    clock: i64,
    roles: BTreeMap<String, String>,
    ids: Vec<String>,
    vanished: BTreeSet<String>,
    /// Every commit made on `topic`, with what it changed; `None` stands for a clean update.
    commits: Vec<(Commit, Vec<File>)>,
    /// Those of the pull request: places in `commits`.
    line: Vec<usize>,
    base_commits: usize,
    ledger: Vec<KnownPush>,
    reviews: Vec<Review>,
    author: String,
    base: String,
    draft: bool,
    open: bool,
    retarget: Option<Retarget>,
    owners: Option<String>,
    teams: BTreeMap<String, (Vec<String>, bool)>,
    organizations: BTreeMap<String, Vec<String>>,
    rules: Vec<String>,
    /// Commits of the base that are in the branch.
    stands_on: usize,
    checks: Vec<Check>,
    alerts: Vec<SecretAlert>,
    /// Kinds of workflows that commits wrote, by their place in `commits`.
    workflows: BTreeMap<usize, String>,
    /// Whether what was merged was allowed.
    merged: Option<bool>,
    ends: Ends,
}

#[derive(Default)]
enum Ends {
    #[default]
    Pull,
    Group,
    Push(Box<Push>),
    /// Who deploys, and where.
    Deployment(String, String),
}

fn sha(n: usize) -> Sha {
    format!("{n:040x}").parse().unwrap()
}

/// The verdict at the end of the story.
pub fn verdict(bundle: &Bundle, n: &str, phases: &[Vec<Step>]) -> Verdict {
    let roles =
        story::PEOPLE.iter().map(|(name, role)| (story::local(name, n), (*role).to_owned())).collect();
    let base = "main".to_owned();
    let mut model = Model { n: n.to_owned(), roles, base, open: true, ..Model::default() };
    for step in phases.iter().flatten() {
        model.act(step, bundle);
    }
    model.judge(bundle)
}

impl Model {
    fn act(&mut self, step: &Step, bundle: &Bundle) {
        self.clock += 1;
        let (who, words) = (step.who.as_str(), &step.words);
        let first = || words[0].as_str();
        match step.verb.as_str() {
            "pushes" => self.push(who, &Described::of(who, words), Some(who)),
            "key-pushes" => self.push(who, &Described::of(who, words), None),
            "rewrites" => {
                let before = self.head();
                self.line.truncate(first().parse().unwrap());
                if self.line.is_empty() {
                    self.stands_on = self.base_commits;
                }
                self.commit(&Described::of(who, &words[1..]));
                self.moved(before, Some(who), true);
            }
            "resets" => {
                let before = self.head();
                let to = first().parse::<usize>().unwrap();
                let at = self.line.iter().position(|i| *i == to - 1);
                match at {
                    Some(at) => self.line.truncate(at + 1),
                    None => self.line = (0..to).collect(),
                }
                self.moved(before, Some(who), true);
            }
            "opens" | "drafts" => {
                self.author = who.to_owned();
                self.base = words.first().cloned().unwrap_or(self.base.clone());
                self.draft = step.verb == "drafts";
            }
            "approves" => {
                let at = words.first().map(|w| sha(w.parse().unwrap()));
                self.review(who, "APPROVED", at);
            }
            "requests-changes" => self.review(who, "CHANGES_REQUESTED", None),
            "dismisses" => {
                let id = self.account(first()).id;
                let mut own = self.reviews.iter_mut().rev();
                own.find(|r| r.user.as_ref().is_some_and(|u| u.id == id)).unwrap().state = "DISMISSED".into();
            }
            "updates" | "resolves" => self.update(who, words.first()),
            "owns" => {
                self.owners = Some(words.join(" ").replace(" | ", "\n"));
                self.base_commits += 1;
            }
            "lands" => self.base_commits += 1,
            "retargets" => {
                let (from, to) = (std::mem::replace(&mut self.base, first().to_owned()), first().to_owned());
                let (at, actor) = (self.now(), Some(self.account(who)));
                self.retarget = Some(Retarget { at, from, to, actor });
            }
            "becomes" => _ = self.roles.insert(who.to_owned(), first().to_owned()),
            "vanishes" => _ = self.vanished.insert(who.to_owned()),
            "has" | "reads" => {
                let name = format!("{}/{who}", story::organization(&self.n));
                self.teams.insert(name, (words.clone(), step.verb == "has"));
            }
            "quits" => {
                let name = format!("{}/{}", story::organization(&self.n), first());
                self.teams.get_mut(&name).unwrap().0.retain(|m| m != who);
            }
            "employs" => _ = self.organizations.insert(who.to_owned(), words.clone()),
            "comments" | "branches" | "labels" => {}
            "closes" => self.open = false,
            "reopens" => self.open = true,
            "readies" => self.draft = false,
            "leaks" => {
                let days = first().parse::<i64>().unwrap();
                let created_at =
                    Time::from_unix_micros(self.now().unix_micros() - days * 86_400_000_000).unwrap();
                let (number, state) = (self.alerts.len() as u64 + 1, "open".to_owned());
                let secret_type = "aws_access_key_id".to_owned();
                self.alerts.push(SecretAlert {
                    number,
                    secret_type,
                    state,
                    created_at,
                    push_protection_bypassed: None,
                });
            }
            "rotates" => _ = self.alerts.pop(),
            "deploys" => self.ends = Ends::Deployment(who.to_owned(), first().to_owned()),
            "reports" | "sets" => self.check(who, step.verb == "reports", first(), &words[1]),
            "demands" => self.rules.clone_from(words),
            "queues" => self.ends = Ends::Group,
            "merges" => self.merge(who, first(), bundle),
            "pushes-to" | "key-pushes-to" => {
                let kind = if step.verb == "pushes-to" { "user" } else { "deploy_key" };
                self.move_ref(who, kind, first(), Some(&Described::of(who, &words[1..])), |_| ());
            }
            "force-pushes" => {
                let d = Described { author: who.to_owned(), ..Described::default() };
                self.move_ref(who, "user", first(), Some(&d), |p| p.forced = true);
            }
            "deletes" => self.move_ref(who, "user", first(), None, |p| {
                (p.created, p.deleted, p.before, p.after) = (false, true, Some(sha(BASE)), None);
            }),
            "tags" | "untags" => {
                let gone = step.verb == "untags";
                self.move_ref(who, "user", first(), None, |p| {
                    p.ref_kind = RefKind::Tag;
                    p.on_default_branch = Some(words.len() == 1);
                    (p.created, p.deleted) = (!gone, gone);
                    if gone { p.after = None } else { p.before = None }
                });
            }
            other => panic!("nobody {other}"),
        }
    }

    fn now(&self) -> Time {
        Time::from_unix_micros((1_700_000_000 + self.clock) * 1_000_000).unwrap()
    }

    fn account(&mut self, name: &str) -> Account {
        let at = self.ids.iter().position(|n| n == name).unwrap_or_else(|| {
            self.ids.push(name.to_owned());
            self.ids.len() - 1
        });
        let kind = if name.ends_with("[bot]") { "Bot" } else { "User" };
        Account { id: 100 + at as u64, login: name.to_owned(), kind: kind.into() }
    }

    /// Of what GitHub shows now: `None` for an account that is gone, or never was.
    fn shown(&mut self, name: &str) -> Option<Account> {
        let is_there = self.roles.contains_key(name) && !self.vanished.contains(name);
        is_there.then(|| self.account(name))
    }

    fn head(&self) -> Option<Sha> {
        self.line.last().map(|i| self.commits[*i].0.sha.clone())
    }

    fn push(&mut self, who: &str, d: &Described, pusher: Option<&str>) {
        let before = self.head();
        self.commit(d);
        self.moved(before, pusher, false);
        let _ = who;
    }

    fn moved(&mut self, before: Option<Sha>, pusher: Option<&str>, forced: bool) {
        let user = pusher.map(|p| self.account(p));
        // They are of the head.
        self.checks.clear();
        let after = self.head().unwrap();
        self.ledger.push(KnownPush { repository: REPOSITORY, before, after, user, forced });
    }

    fn commit(&mut self, d: &Described) {
        if self.commits.is_empty() {
            self.stands_on = self.base_commits;
        }
        let parent = self.head().unwrap_or_else(|| sha(BASE));
        let mut commit = self.made(d, vec![parent]);
        commit.sha = sha(self.commits.len() + 1);
        self.line.push(self.commits.len());
        if let Some(kind) = &d.workflow {
            self.workflows.insert(self.commits.len(), kind.clone());
        }
        self.commits.push((commit, files(d)));
    }

    fn made(&mut self, d: &Described, parents: Vec<Sha>) -> Commit {
        let person = |user: Option<Account>| {
            let email = user.as_ref().map(|u| format!("{}@example.com", u.login));
            Person { email, user }
        };
        let author = person(self.shown(&d.author));
        let co_authors: Vec<Person> = d.co_authors.iter().map(|c| person(self.shown(c))).collect();
        let committer = person(self.shown(d.committer.as_ref().unwrap_or(&d.author)));
        let (state, signer) = match &d.signature {
            Signature::Own => ("VALID", Some(d.author.clone())),
            Signature::By(who) => ("VALID", Some(who.clone())),
            Signature::None => ("UNSIGNED", None),
            Signature::Bad(state) => (state.as_str(), None),
        };
        let verification = Verification {
            verified: state == "VALID",
            state: state.to_owned(),
            signed_by_github: false,
            signer: signer.map(|s| self.account(&s)),
            key_id: Some("0123456789ABCDEF".to_owned()).filter(|_| state != "UNSIGNED"),
        };
        Commit {
            sha: sha(BASE),
            message: String::new(),
            parents,
            authors: std::iter::once(author.clone()).chain(co_authors).collect(),
            author,
            committer,
            committed_via_web: false,
            full_message: Some(match &d.signed_off {
                Some(who) => format!("a commit\n\nSigned-off-by: {who} <{who}@example.com>"),
                None => "a commit".to_owned(),
            }),
            update_merge: false,
            verification,
        }
    }

    /// "Update branch", or "Resolve conflicts" where something is written by hand.
    fn update(&mut self, who: &str, by_hand: Option<&String>) {
        let before = self.head();
        let written = by_hand.cloned().into_iter().collect();
        let d = Described { author: who.to_owned(), written, ..Described::default() };
        self.stands_on = self.base_commits;
        let parents = vec![before.clone().unwrap(), sha(BASE + self.base_commits)];
        let mut commit = self.made(&d, parents);
        self.by_github(&mut commit);
        commit.update_merge = by_hand.is_none();
        commit.sha = sha(self.commits.len() + 1);
        self.line.push(self.commits.len());
        self.commits.push((commit, files(&d)));
        self.moved(before, Some(who), false);
    }

    fn by_github(&mut self, commit: &mut Commit) {
        let web_flow = Account { id: 1, login: "web-flow".into(), kind: "User".into() };
        commit.committer = Person { email: None, user: Some(web_flow.clone()) };
        commit.committed_via_web = true;
        commit.verification.signed_by_github = true;
        commit.verification.signer = Some(web_flow);
    }

    fn review(&mut self, who: &str, state: &str, at: Option<Sha>) {
        let (user, id) = (Some(self.account(who)), self.reviews.len() as u64 + 1);
        let commit_id = at.or_else(|| self.head());
        let submitted_at = self.now();
        let state = state.to_owned();
        let (can_push, permission, commits_since) = (false, None, None);
        self.reviews.push(Review {
            id,
            state,
            user,
            commit_id,
            submitted_at,
            can_push,
            permission,
            commits_since,
        });
    }

    fn move_ref(
        &mut self,
        who: &str,
        kind: &str,
        name: &str,
        d: Option<&Described>,
        alter: impl FnOnce(&mut Push),
    ) {
        let made = d.map(|d| {
            let mut commit = self.made(d, vec![sha(BASE)]);
            commit.sha = sha(BASE + 0x100);
            commit
        });
        let pusher = Some(self.account(who)).filter(|_| kind != "deploy_key");
        let mut push = Push {
            full_ref: String::new(),
            ref_kind: RefKind::Branch,
            ref_name: name.to_owned(),
            before: Some(sha(BASE)),
            after: Some(sha(BASE + 0x100)),
            created: false,
            deleted: false,
            forced: false,
            pusher_kind: if who.ends_with("[bot]") { "app" } else { kind }.to_owned(),
            pusher,
            commits: Some(made.into_iter().collect()),
            on_default_branch: Some(true),
            landed: Some(Landed {
                kind: "direct".into(),
                pull_requests: vec![],
                reason: None,
                waivers_hold: false,
            }),
        };
        // Every branch but `main` is made by the push.
        if name != "main" {
            (push.created, push.before) = (true, None);
        }
        alter(&mut push);
        push.full_ref = format!("refs/heads/{name}");
        self.ends = Ends::Push(Box::new(push));
    }

    fn merge(&mut self, who: &str, method: &str, bundle: &Bundle) {
        let allowed = self.judge(bundle).decision == Decision::Allow;
        self.merged = Some(allowed);
        let head = self.head().unwrap();
        let signed_line: Vec<Commit> = self.line.iter().map(|i| self.commits[*i].0.clone()).collect();
        let d = Described { author: who.to_owned(), ..Described::default() };
        let mut tip = self.made(&d, vec![sha(BASE), head.clone()]);
        self.by_github(&mut tip);
        tip.sha = sha(BASE + 0x100);
        self.move_ref(who, "user", "main", None, |_| ());
        let Ends::Push(push) = &mut self.ends else { return };
        let mut commits = if method == "merge" { signed_line } else { vec![] };
        commits.push(tip);
        push.commits = Some(commits);
        let kind = if allowed { method } else { "bypass" }.to_owned();
        let reason = (!allowed).then(|| "was not allowed".to_owned());
        let pull = LandedPull { number: 1, head, allowed, verdict: Some(1) };
        push.landed = Some(Landed { kind, pull_requests: vec![pull], reason, waivers_hold: false });
    }

    fn judge(&mut self, bundle: &Bundle) -> Verdict {
        let (about, mut facts) = self.facts();
        let (mut name, mut action, mut payload) = ("pull_request", None, json!({}));
        if about == SubjectKind::Ref {
            name = "push";
        }
        if let Ends::Deployment(who, environment) = &self.ends {
            let (who, environment) = (who.clone(), environment.clone());
            let who = json!(self.account(&who));
            (name, action) = ("deployment_protection_rule", Some("requested".to_owned()));
            let deployment = json!({"sha": sha(BASE + 0x100), "ref": "main", "creator": who});
            payload = json!({"environment": environment, "deployment": deployment, "sender": who});
        }
        let input = |facts: &Facts| {
            let header = EventHeader {
                name: name.into(),
                action: action.clone(),
                delivery: None,
                received_at: facts.time,
                source: Source::Github,
                cause: None,
            };
            Input::new(about, header, payload.clone(), facts).unwrap()
        };
        for need in bundle.needs(&input(&facts)) {
            if need.fact == "team_members" && need.id.as_ref().is_some_and(|id| !facts.teams.contains_key(id))
            {
                let reason = "there is no such team".to_owned();
                facts.facts.missing.push(Missing { fact: need.fact, id: need.id, reason });
            }
        }
        bundle.judge(&input(&facts))
    }

    fn facts(&mut self) -> (SubjectKind, Facts) {
        let time = self.now();
        let name = story::repository(&self.n).parse().unwrap();
        let repository = Repository { id: REPOSITORY, name, default_branch: Some("main".into()) };
        let mut facts = Facts {
            time,
            repository: Some(repository),
            target: Some(TargetRef { ref_kind: RefKind::Branch, name: self.base.clone() }),
            change: None,
            push: None,
            merge_group: None,
            teams: BTreeMap::new(),
            organizations: BTreeMap::new(),
            base_rules: Some(self.base_rules()),
            secret_alerts: Some(self.alerts.clone()),
            deployment: None,
            waivers: vec![],
            commands: vec![],
            facts: Status { complete: true, missing: vec![], fetched_at: time },
        };
        for (name, (members, can_write)) in self.teams.clone() {
            let members = members.iter().map(|m| self.account(m).id).collect();
            facts.teams.insert(name, Team { id: 1, members, can_write });
        }
        for (name, members) in self.organizations.clone() {
            let members = members.iter().map(|m| self.account(m).id).collect();
            facts.organizations.insert(name, members);
        }
        let about = match &self.ends {
            Ends::Pull => SubjectKind::PullRequest,
            Ends::Group => SubjectKind::MergeGroup,
            Ends::Deployment(..) => {
                facts.target = None;
                SubjectKind::None
            }
            Ends::Push(push) => {
                facts.target = Some(TargetRef { ref_kind: push.ref_kind, name: push.ref_name.clone() });
                facts.push = Some((**push).clone());
                SubjectKind::Ref
            }
        };
        if about == SubjectKind::None {
            facts.deployment = Some(self.deployment());
        }
        match about {
            SubjectKind::PullRequest => facts.change = Some(self.change()),
            SubjectKind::MergeGroup => {
                let entries = Some(vec![self.change()]);
                let (head_ref, base_ref) = ("gh-readonly-queue/main/pr-1-0".to_owned(), self.base.clone());
                facts.merge_group =
                    Some(MergeGroup { head_sha: sha(0xfff), head_ref, base_sha: None, base_ref, entries });
            }
            _ => {}
        }
        (about, facts)
    }

    /// The merge of the pull request, as it lies on `main`.
    fn deployment(&mut self) -> Deployment {
        let d = Described { author: self.author.clone(), ..Described::default() };
        let mut commit = self.made(&d, vec![sha(BASE)]);
        commit.sha = sha(BASE + 0x100);
        let author = self.shown(&d.author);
        let pull = self.merged.map(|allowed| DeployedPull {
            number: 1,
            head: self.head().unwrap(),
            base_ref: self.base.clone(),
            user: author.clone(),
            merged_by: None,
            authors: author.clone().into_iter().collect(),
            nameless: vec![],
            pushers: vec![author.clone()],
            allowed,
        });
        let landed = self.merged.map(|allowed| DeployedLanding {
            branch: self.base.clone(),
            kind: if allowed { "squash" } else { "bypass" }.to_owned(),
            allowed,
            verdict: None,
            reason: None,
        });
        Deployment {
            sha: commit.sha.clone(),
            on_default_branch: true,
            on_named_branch: Some(true),
            commit,
            pushers: if landed.as_ref().is_some_and(|l| l.allowed) { vec![] } else { vec![author] },
            landed: landed.into_iter().collect(),
            pull_requests: pull.into_iter().collect(),
        }
    }

    /// A check run of an app, or a status set by somebody; the newest of its name counts.
    fn check(&mut self, who: &str, run: bool, name: &str, conclusion: &str) {
        let kind = if run { CheckKind::CheckRun } else { CheckKind::Status };
        let same =
            |c: &Check| c.kind == kind && c.name == name && c.app.as_ref().is_none_or(|a| a.slug == who);
        self.checks.retain(|c| !same(c));
        let done = conclusion != "running";
        let (creator, id) = ((!run).then(|| self.account(who)), self.checks.len() as u64);
        self.checks.push(Check {
            kind,
            id,
            name: name.to_owned(),
            app: run.then(|| CheckApp { id: 70, slug: who.to_owned() }),
            creator,
            status: if done { "completed" } else { "in_progress" }.to_owned(),
            conclusion: done.then(|| conclusion.to_owned()),
        });
    }

    fn base_rules(&self) -> BaseRules {
        let has = |word: &str| self.rules.iter().any(|r| r == word);
        let required = match (has("check"), has("anyones-check")) {
            (true, _) => Required::Bound,
            (false, true) => Required::Unbound,
            (false, false) => Required::Missing,
        };
        let rules = self.rules.iter().map(|r| json!({"type": r})).collect();
        BaseRules { branch: self.base.clone(), rules, protection: None, required: Some(required) }
    }

    fn change(&mut self) -> Change {
        let mut commits: Vec<Commit> = self.line.iter().map(|i| self.commits[*i].0.clone()).collect();
        for person in commits.iter_mut().flat_map(|c| {
            let Commit { author, committer, authors, .. } = c;
            authors.iter_mut().chain([author, committer])
        }) {
            person.user = person.user.take().filter(|u| !self.vanished.contains(&u.login));
        }
        let mut reviews = self.reviews.clone();
        for review in &mut reviews {
            let login = review.user.as_ref().map(|u| u.login.clone()).unwrap_or_default();
            let role = self.roles.get(&login).map_or("none", String::as_str);
            review.can_push = matches!(role, "write" | "maintain" | "admin");
            review.permission = Some(role.to_owned());
            review.user = review.user.take().filter(|_| !self.vanished.contains(&login));
        }
        graph::mark_reviews(&mut reviews, &commits);
        let head = self.head().unwrap();
        let pushes = Some(pushes::chain(&head, &commits, &self.ledger, &[]).pushes);
        let rules = Rules::parse(self.owners.as_deref().unwrap_or_default());
        let mut files: Vec<File> = Vec::new();
        for file in self.line.iter().flat_map(|i| self.commits[*i].1.clone()) {
            files.retain(|f| f.filename != file.filename);
            files.push(file);
        }
        for file in &mut files {
            let paths = std::iter::once(&file.filename).chain(&file.previous_filename);
            let resolved = Resolved::default();
            file.owners = Some(paths.filter_map(|p| owned(p, rules.decide(p), &resolved)).collect());
        }
        let path = self.owners.as_ref().map(|_| ".github/CODEOWNERS".to_owned());
        let codeowners = Some(Codeowners { path, sha: sha(BASE), errors: rules.errors().to_vec() });
        let comparison = Some(Comparison {
            base_sha: sha(BASE),
            head_sha: head.clone(),
            merge_base_sha: Some(sha(BASE)),
            ahead_by: commits.len() as u64,
            behind_by: (self.base_commits - self.stands_on) as u64,
        });
        let checks = Some(self.checks.clone());
        let workflows = self.line.iter().rev().find_map(|i| self.workflows.get(i));
        let workflows = Some(
            workflows.into_iter().map(|kind| Workflow::of(story::WORKFLOW, &story::workflow(kind))).collect(),
        );
        let author = self.author.clone();
        let pull_request = self.pull_request(commits.len(), files.len(), &author, head);
        Change {
            pull_request,
            reviews,
            commits,
            files,
            codeowners,
            pushes,
            comparison,
            checks,
            workflows,
            shared_head: vec![],
        }
    }

    fn pull_request(&mut self, commits: usize, files: usize, author: &str, head: Sha) -> PullRequest {
        let repo = Some(RepositoryId { id: REPOSITORY, full_name: story::repository(&self.n) });
        PullRequest {
            number: 1,
            title: "A change".into(),
            state: if self.open { "open" } else { "closed" }.into(),
            draft: self.draft,
            merged: false,
            user: self.shown(author),
            head: Branch { name: "topic".into(), sha: Some(head), repo: repo.clone() },
            base: Branch { name: self.base.clone(), sha: Some(sha(BASE)), repo },
            labels: vec![],
            commits: commits as u64,
            changed_files: files as u64,
            created_at: self.now(),
            updated_at: self.now(),
            merged_by: None,
            merge_commit_sha: None,
            retarget: self.retarget.clone(),
            base_force_pushed_at: None,
            review_decision: None,
        }
    }
}

fn files(d: &Described) -> Vec<File> {
    let file = |name: &String, from: Option<&String>, status: &str| File {
        filename: name.clone(),
        previous_filename: from.cloned(),
        status: status.into(),
        additions: 1,
        deletions: 0,
        owners: None,
    };
    let mut files: Vec<File> = d.written.iter().map(|p| file(p, None, "added")).collect();
    files.extend(d.workflow.iter().map(|_| file(&story::WORKFLOW.to_owned(), None, "added")));
    files.extend(d.renamed.iter().map(|(from, to)| file(to, Some(from), "renamed")));
    files.extend(d.removed.iter().map(|p| file(p, None, "removed")));
    files
}
