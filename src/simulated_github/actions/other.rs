//! Workflow runs, deployments, check re-runs, and events nobody has heard of.

use serde_json::{Value, json};

use crate::{
    simulated_github::{
        payload,
        state::{Status, World},
    },
    time::Time,
};

use super::{Act, Did, impossible};

impl World {
    /// A workflow run on a commit: `requested`, `in_progress` or `completed`. Returns its id.
    ///
    /// # Errors
    /// Unknown login, repository or commit.
    pub fn workflow_run(
        &mut self,
        who: &str,
        repo: &str,
        sha: &str,
        action: &str,
        conclusion: Option<&str>,
    ) -> Act<u64> {
        let now = payload::seconds(self.tick());
        let (who, repo, id) = (self.who(who)?, self.repo_id(repo)?, self.next_id());
        if self.commit_in(repo, sha).is_none() {
            return impossible(format!("there is no commit {sha}"));
        }
        let mut run = self.run_json(self.repo(repo)?, id, sha, action, conclusion);
        run["actor"] = self.user_json(Some(who));
        let workflow = json!({
            "id": 7, "name": "build", "path": ".github/workflows/build.yml", "state": "active", "created_at": now,
            "updated_at": now,
        });
        let body = json!({"action": action, "workflow_run": run, "workflow": workflow});
        Ok(Did { what: id, hooks: self.hook(repo, Some(who), "workflow_run", body) })
    }

    /// A deployment of a commit. Returns its id.
    ///
    /// # Errors
    /// Unknown login or repository.
    pub fn deployment(&mut self, who: &str, repo: &str, sha: &str, environment: &str) -> Act<u64> {
        let now = payload::seconds(self.tick());
        let (who, repo, id) = (self.who(who)?, self.repo_id(repo)?, self.next_id());
        let deployment = json!({
            "id": id, "sha": sha, "ref": sha, "task": "deploy", "environment": environment, "payload": {},
            "creator": self.user_json(Some(who)), "created_at": now, "updated_at": now,
        });
        let body =
            json!({"action": "created", "deployment": deployment, "workflow": null, "workflow_run": null});
        Ok(Did { what: id, hooks: self.hook(repo, Some(who), "deployment", body) })
    }

    /// A workflow run wants to deploy to an environment that the App guards: `deployment_protection_rule`. Returns
    /// the run. `api` is the address of the API, as the callback address begins.
    ///
    /// # Errors
    /// Unknown login or repository.
    pub fn ask_to_deploy(&mut self, who: &str, repo: &str, environment: &str, api: &str) -> Act<u64> {
        let sha = self.tip(self.repo_id(repo)?, "main")?;
        self.ask_to_deploy_from(who, repo, ("main", &sha), environment, api)
    }

    /// As [`World::ask_to_deploy`], of a commit that the run calls by the name of a branch or tag.
    ///
    /// # Errors
    /// Unknown login or repository.
    pub fn ask_to_deploy_from(
        &mut self,
        who: &str,
        repo: &str,
        (name, sha): (&str, &str),
        environment: &str,
        api: &str,
    ) -> Act<u64> {
        let now = payload::seconds(self.tick());
        let (who, id, run) = (self.who(who)?, self.repo_id(repo)?, self.next_id());
        let deployment = self.next_id();
        self.waiting_runs.insert(run, id);
        self.deploying_runs.insert(run, (id, sha.to_owned()));
        let body = json!({
            "action": "requested",
            "environment": environment,
            "event": "push",
            "deployment_callback_url": format!("{api}/repos/{repo}/actions/runs/{run}/deployment_protection_rule"),
            "deployment": {
                "id": deployment, "sha": sha, "ref": name, "task": "deploy", "environment": environment,
                "payload": {}, "creator": self.user_json(Some(who)), "created_at": now, "updated_at": now,
            },
            "pull_requests": [],
        });
        Ok(Did { what: run, hooks: self.hook(id, Some(who), "deployment_protection_rule", body) })
    }

    /// Somebody cancels a run that waits for its environment.
    pub fn cancel_run(&mut self, run: u64) {
        self.waiting_runs.remove(&run);
    }

    /// What another app says of a commit: a new check run, or the end of the one it began (`conclusion`).
    /// Returns its id.
    ///
    /// # Errors
    /// Unknown repository or commit.
    pub fn check_by(
        &mut self,
        slug: &str,
        repo: &str,
        sha: &str,
        name: &str,
        conclusion: Option<&str>,
    ) -> Act<u64> {
        self.tick();
        let repo = self.repo_id(repo)?;
        if self.commit_in(repo, sha).is_none() {
            return impossible(format!("there is no commit {sha}"));
        }
        let known = self.other_apps.iter().find(|(_, s)| *s == slug).map(|(id, _)| *id);
        let app = known.unwrap_or_else(|| self.next_id());
        self.other_apps.insert(app, slug.to_owned());
        let of = |r: &&crate::simulated_github::CheckRun| {
            r.repository == repo && r.head_sha == sha && r.app == app && r.name == name
        };
        let begun = self.check_runs.values().rev().find(of).filter(|r| r.conclusion.is_none()).map(|r| r.id);
        let id = begun.unwrap_or_else(|| self.add_foreign_check_run(app, repo, sha, name, "success"));
        let now = self.now;
        let Some(run) = self.check_runs.get_mut(&id) else { return impossible("the run is gone".to_owned()) };
        run.conclusion = conclusion.map(str::to_owned);
        run.status = if conclusion.is_some() { "completed" } else { "in_progress" }.to_owned();
        run.completed_at = conclusion.map(|_| now);
        let run = run.clone();
        let action = if conclusion.is_some() { "completed" } else { "created" };
        let body = json!({"action": action, "check_run": self.check_run_json(&run)});
        let bot = self.account(&format!("{slug}[bot]")).map(|a| a.id);
        let bot = Some(bot.unwrap_or_else(|| self.add_bot(slug)));
        Ok(Did { what: id, hooks: self.hook(repo, bot, "check_run", body) })
    }

    /// Somebody sets a commit status.
    ///
    /// # Errors
    /// Unknown login, repository or commit.
    pub fn set_status(&mut self, who: &str, repo: &str, sha: &str, context: &str, state: &str) -> Act<u64> {
        let at = self.tick();
        let (creator, repository, id) = (self.who(who)?, self.repo_id(repo)?, self.next_id());
        if self.commit_in(repository, sha).is_none() {
            return impossible(format!("there is no commit {sha}"));
        }
        let (sha, context, state) = (sha.to_owned(), context.to_owned(), state.to_owned());
        let status = Status { id, repository, sha, context, state, creator, at };
        let mut body = self.status_json(&status);
        if let Some(body) = body.as_object_mut() {
            // Who set it is the `sender`.
            body.remove("creator");
        }
        let here = |(_, tip): &(&String, &String)| **tip == status.sha;
        let branches = self.repo(repository)?.refs.iter().filter(here).filter_map(|(name, _)| {
            let name = name.strip_prefix("refs/heads/")?;
            Some(json!({"name": name, "commit": {"sha": status.sha}, "protected": false}))
        });
        let branches: Vec<Value> = branches.collect();
        let more = json!({"sha": status.sha, "name": repo, "branches": branches, "commit": self.commit_json(&status.sha)});
        payload::merge(&mut body, more);
        self.statuses.push(status);
        Ok(Did { what: id, hooks: self.hook(repository, Some(creator), "status", body) })
    }

    /// GitHub finds a secret, made public this many days ago, or somebody closes the alert on it
    /// (`resolution`). Returns its number.
    ///
    /// # Errors
    /// Unknown login or repository; secret scanning is switched off.
    pub fn secret_alert(&mut self, who: &str, repo: &str, days: u64, resolution: Option<&str>) -> Act<u64> {
        let now = self.tick();
        let (who, id) = (self.who(who)?, self.repo_id(repo)?);
        let Some(alerts) = self.repositories.get_mut(&id).and_then(|r| r.secret_alerts.as_mut()) else {
            return impossible("secret scanning is switched off");
        };
        let age = i64::try_from(days).unwrap_or(0) * 86_400_000_000;
        let created = Time::from_unix_micros(now.unix_micros() - age).unwrap_or(now);
        if resolution.is_none() {
            alerts.push(json!({
                "number": alerts.len() + 1, "secret_type": "aws_access_key_id", "state": "open", "resolution": null,
                "created_at": payload::seconds(created), "push_protection_bypassed": false, "secret": "AKIA",
            }));
        }
        let number = alerts.len() as u64;
        let Some(alert) = alerts.last_mut() else { return impossible("there is no alert") };
        if let Some(resolution) = resolution {
            alert["state"] = json!("resolved");
            alert["resolution"] = json!(resolution);
        }
        let action = if resolution.is_some() { "resolved" } else { "created" };
        let mut alert = alert.clone();
        if let Some(alert) = alert.as_object_mut() {
            // The event says what became of it, and never the secret.
            alert.retain(|field, _| field != "state" && field != "secret");
        }
        let body = json!({"action": action, "alert": alert});
        Ok(Did { what: number, hooks: self.hook(id, Some(who), "secret_scanning_alert", body) })
    }

    /// Any event of a repository, known or not; `payload` gets the common fields added.
    ///
    /// # Errors
    /// Unknown login or repository.
    pub fn any_event(&mut self, who: &str, repo: &str, event: &str, payload: Value) -> Act {
        self.tick();
        let (who, repo) = (self.who(who)?, self.repo_id(repo)?);
        Ok(Did { what: (), hooks: self.hook(repo, Some(who), event, payload) })
    }

    /// Somebody pressed "Re-run" on a check run.
    ///
    /// # Errors
    /// Unknown login or check run.
    pub fn rerequest(&mut self, who: &str, check_run: u64) -> Act {
        self.tick();
        let who = self.who(who)?;
        let Some(run) = self.check_runs.get(&check_run).cloned() else {
            return impossible(format!("there is no check run {check_run}"));
        };
        let body = json!({"action": "rerequested", "check_run": self.check_run_json(&run)});
        Ok(Did { what: (), hooks: self.hook(run.repository, Some(who), "check_run", body) })
    }

    /// Somebody pressed a button on a check run.
    ///
    /// # Errors
    /// Unknown login or check run.
    pub fn press(&mut self, who: &str, check_run: u64, button: &str) -> Act {
        self.tick();
        let who = self.who(who)?;
        let Some(run) = self.check_runs.get(&check_run).cloned() else {
            return impossible(format!("there is no check run {check_run}"));
        };
        let body = json!({
            "action": "requested_action", "check_run": self.check_run_json(&run),
            "requested_action": {"identifier": button},
        });
        Ok(Did { what: (), hooks: self.hook(run.repository, Some(who), "check_run", body) })
    }

    /// The commit is lost (force pushed over and collected).
    pub fn forget_commit(&mut self, sha: &str) {
        self.commits.remove(sha);
    }
}
