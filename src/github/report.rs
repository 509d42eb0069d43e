//! Writing check runs: one live run of ours per target, whatever was lost on the way.
//!
//! Raw JSON over our own client: octocrab's types lack `external_id`, `status`, `app`, `actions`.
//!
//! ```text
//!  look first? ── list our runs ──▶ shows it already: unchanged
//!        │                     └──▶ newest run of ours ─┐
//!        └─ known run ─────────────────────────────────┴▶ PATCH   (gone, or done and to go back: POST)
//!        └─ none ──────────────────────────────────────▶ POST
//! ```
//!
//! If the process dies or the answer is lost between GitHub's write and our `report` entry, GitHub
//! shows a run that the ledger does not know. The caller then sets [`Show::look_first`], and the run
//! is found by app, name and commit and adopted: nothing is written twice.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Github, RepoAt, Trouble, TroubleKind, Turn, check_run::State, rest::segment};
use crate::{
    event::{self, Sha},
    time::Time,
};

/// GitHub lists at most this many per page.
const PER_PAGE: usize = 100;

/// GitHub keeps at most 1,000 runs of one name per suite; more pages than that are no list of ours.
const MAX_PAGES: usize = 10;

/// What a target should show.
#[derive(Clone, Debug)]
pub struct Show {
    /// Name of the check; part of the target.
    pub name: String,
    pub sha: Sha,
    pub state: State,
    pub title: String,
    /// Markdown.
    pub summary: String,
    /// Markdown; empty: none.
    pub text: String,
    /// GitHub's `output.annotations`, at most 50. GitHub adds those of an update to those that the run has, so
    /// they are sent once: with the first conclusion of a run.
    pub annotations: Vec<Value>,
    /// `<generation>:<seq>:<leaf hash>` of the entry shown.
    pub external_id: String,
    /// The newest run of the target that our ledger knows.
    pub known_run: Option<KnownRun>,
    /// Ask GitHub what it shows before writing: after an ambiguous answer, or a restart with work
    /// unfinished.
    pub look_first: bool,
    /// A red run that is found first stays: it blocks as it is, and a live run over it would only be a
    /// second one.
    pub keep_red: bool,
    /// When the judging began.
    pub started_at: Option<Time>,
    pub details_url: Option<String>,
}

impl Show {
    /// The body that creates it, as the ledger keeps it.
    #[must_use]
    pub fn request(&self) -> Value {
        let mut body = content(self, true);
        body["head_sha"] = json!(self.sha);
        if let Some(started) = self.started_at {
            body["started_at"] = json!(seconds(started));
        }
        body
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownRun {
    pub id: u64,
    /// It was last given a conclusion.
    pub completed: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub check_run: u64,
    pub done: Done,
    /// What it shows now.
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    Created,
    Updated,
    /// GitHub showed it already.
    Unchanged,
}

/// A check run as GitHub shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Run {
    pub id: u64,
    pub name: String,
    pub external_id: Option<String>,
    /// `queued`, `in_progress`, `completed` …
    pub status: String,
    pub conclusion: Option<String>,
    /// `null`: the app is gone.
    app: Option<App>,
    #[serde(default)]
    output: Output,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct App {
    id: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Output {
    title: Option<String>,
}

impl Run {
    #[must_use]
    pub fn app_id(&self) -> Option<u64> {
        self.app.as_ref().map(|a| a.id)
    }

    #[must_use]
    pub fn title(&self) -> Option<&str> {
        self.output.title.as_deref()
    }

    fn is_in(&self, state: State) -> bool {
        self.status == state.status() && self.conclusion.as_deref() == state.conclusion()
    }

    fn shows(&self, show: &Show) -> bool {
        self.is_in(show.state)
            && self.external_id.as_deref() == Some(&show.external_id)
            && self.title() == Some(&show.title)
    }
}

/// Makes GitHub show it, on one run. `turn`: to write, if it was waited for already.
///
/// # Errors
/// What [`Github::post`] and [`Github::get`] give. After `Unavailable` the write may have happened:
/// call again with `look_first`. `Gone`: the repository is not there for us any more. `Unexpected`:
/// among others 422 for a commit that the repository does not have.
pub async fn show(github: &Github, at: &RepoAt, show: &Show, turn: Option<Turn>) -> Result<Shown, Trouble> {
    let mut known = show.known_run;
    if show.look_first {
        let newest = find_runs(github, at, &show.sha, &show.name).await?.pop();
        if let Some(run) = newest.as_ref().filter(|run| run.shows(show)) {
            return Ok(Shown { check_run: run.id, done: Done::Unchanged, state: show.state });
        }
        if let Some(run) = newest.as_ref().filter(|run| show.keep_red && run.is_in(State::Failure)) {
            return Ok(Shown { check_run: run.id, done: Done::Unchanged, state: State::Failure });
        }
        known = newest.map(|run| KnownRun { id: run.id, completed: run.status == "completed" });
    }
    match known.filter(|run| can_become(*run, show.state)) {
        Some(run) => update_or_create(github, at, show, run, turn).await,
        None => create(github, at, show, turn).await,
    }
}

/// A run that is done does not become undone: GitHub keeps its conclusion (seen by several apps,
/// such as Mergify, which makes a new run too). The newest run of a name is the one that counts.
fn can_become(run: KnownRun, state: State) -> bool {
    !(run.completed && state == State::InProgress)
}

/// Runs of our app with this name on this commit, oldest first.
///
/// # Errors
/// As [`Github::get`]; `Gone` for an unknown repository or commit.
pub async fn find_runs(github: &Github, at: &RepoAt, sha: &Sha, name: &str) -> Result<Vec<Run>, Trouble> {
    #[derive(Deserialize)]
    struct Page {
        check_runs: Vec<Run>,
    }
    let (ours, name_asked) = (github.app_id(), segment(name));
    let mut found = Vec::new();
    for page in 1..=MAX_PAGES {
        let path = at.path(&format!(
            "/commits/{sha}/check-runs?check_name={name_asked}&app_id={ours}&filter=all&per_page={PER_PAGE}&page={page}"
        ));
        let listed = github.get(at.installation, &path).await?.expect(&[200])?.json::<Page>()?.check_runs;
        let last = listed.len() < PER_PAGE;
        found.extend(listed);
        if last {
            break;
        }
    }
    // An older Enterprise Server may not know `app_id`: another app's run is never ours to write.
    found.retain(|run| run.app_id() == Some(ours) && run.name == name);
    found.sort_by_key(|run| run.id);
    Ok(found)
}

async fn create(github: &Github, at: &RepoAt, show: &Show, turn: Option<Turn>) -> Result<Shown, Trouble> {
    let body = show.request();
    let path = at.path("/check-runs");
    die_at("report.create.before");
    let answer = github.write(at.installation, Method::POST, &path, &body, turn).await;
    die_at("report.create.after");
    let run: Run = answer?.expect(&[201])?.json()?;
    if !run.is_in(show.state) {
        return Err(mismatch(&run, show.state));
    }
    Ok(Shown { check_run: run.id, done: Done::Created, state: show.state })
}

async fn update_or_create(
    github: &Github,
    at: &RepoAt,
    show: &Show,
    run: KnownRun,
    turn: Option<Turn>,
) -> Result<Shown, Trouble> {
    let path = at.path(&format!("/check-runs/{}", run.id));
    let body = content(show, !run.completed);
    die_at("report.update.before");
    let answer = github.write(at.installation, Method::PATCH, &path, &body, turn).await;
    die_at("report.update.after");
    let answer = answer?;
    // GitHub deletes old runs of a commit with very many; the repository itself is still there.
    if answer.status.as_u16() == 404 {
        return create(github, at, show, None).await;
    }
    let now: Run = answer.expect(&[200])?.json()?;
    // It says what it now shows; a write that changed nothing must not pass for a red check.
    if !now.is_in(show.state) {
        return create(github, at, show, None).await;
    }
    Ok(Shown { check_run: run.id, done: Done::Updated, state: show.state })
}

/// Where tests end the process as a power cut would, before and after GitHub was told. Without the
/// feature `failpoints`: nothing.
fn die_at(name: &'static str) {
    fail::fail_point!(name, |_| std::process::abort());
    let _ = name;
}

fn mismatch(run: &Run, state: State) -> Trouble {
    let shown = run.conclusion.as_deref().unwrap_or(&run.status);
    let reason = format!("GitHub shows check run {} as {shown}, sent was {state:?}", run.id);
    Trouble::new(TroubleKind::Unexpected, reason)
}

/// What POST and PATCH have in common. `first`: the run has had no conclusion before.
fn content(show: &Show, first: bool) -> Value {
    let mut body = json!({
        "name": show.name,
        "external_id": show.external_id,
        "status": show.state.status(),
        "output": {"title": show.title, "summary": show.summary},
        // GitHub: at most three; label and identifier at most 20 characters, description 40.
        "actions": [
            {"label": "Re-check", "identifier": event::RECHECK, "description": "Judge this commit again"},
            {"label": "Explain", "identifier": event::EXPLAIN, "description": "Which rules decided, and why"},
        ],
    });
    if let Some(conclusion) = show.state.conclusion() {
        // Never `null`: GitHub answers 422 to that.
        body["conclusion"] = json!(conclusion);
        if first && !show.annotations.is_empty() {
            body["output"]["annotations"] = json!(show.annotations);
        }
    }
    if !show.text.is_empty() {
        body["output"]["text"] = json!(show.text);
    }
    if let Some(url) = &show.details_url {
        body["details_url"] = json!(url);
    }
    body
}

/// GitHub documents `YYYY-MM-DDTHH:MM:SSZ`.
fn seconds(time: Time) -> String {
    let text = time.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(whole, _)| format!("{whole}Z"))
}

#[cfg(test)]
mod tests;
