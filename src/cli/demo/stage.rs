//! Where the story is played: something is done on the simulated GitHub, its webhooks are delivered
//! one by one, and what gatelog decides and shows is compared with what the story expects.

use std::path::Path;

use super::{
    super::Failure,
    child::Server,
    journal::{Journal, Judged},
    show,
};
use crate::{
    simulated_github::{Act, Answer, CheckRun, Did, SimulatedGithub, Webhook, World},
    verdict::Decision,
};

/// What must come of a delivery.
#[derive(Clone, Copy)]
pub struct Expect {
    pub decision: Decision,
    /// Each must stand in the verdict.
    pub says: &'static [&'static str],
    /// Name of the check run that shows it. `None`: nothing is published.
    pub check: Option<&'static str>,
}

/// No control objects, and nothing is shown on GitHub.
pub const QUIET: Expect = Expect { decision: Decision::Allow, says: &[], check: None };
/// The required check is green.
pub const GREEN: Expect = Expect { decision: Decision::Allow, says: &[], check: Some("gatelog") };

/// The required check is red, and says this.
pub const fn red(says: &'static [&'static str]) -> Expect {
    Expect { decision: Decision::Deny, says, check: Some("gatelog") }
}

impl Expect {
    /// Shown under another name.
    pub const fn under(self, check: &'static str) -> Self {
        Self { check: Some(check), ..self }
    }
}

pub struct Stage {
    pub github: SimulatedGithub,
    pub server: Server,
    pub journal: Journal,
    /// Everything that was not as expected.
    pub wrong: Vec<String>,
}

impl Stage {
    pub fn new(github: SimulatedGithub, server: Server, dir: &Path) -> Self {
        let journal = Journal { dir: dir.join("data").join("journal") };
        Self { github, server, journal, wrong: vec![] }
    }

    /// Something is done on GitHub; nothing is delivered yet.
    ///
    /// # Errors
    /// The story asks for something that does not exist.
    pub fn act<T>(&self, f: impl FnOnce(&mut World) -> Act<T>) -> Result<Did<T>, Failure> {
        self.github.with(f).map_err(|e| Failure::could_not_run(format!("the story: {e}")))
    }

    /// Something is done, its webhooks are delivered and judged, one expectation each.
    ///
    /// # Errors
    /// The story cannot go on: the server does not answer or decides nothing.
    pub async fn play<T>(
        &mut self,
        f: impl FnOnce(&mut World) -> Act<T>,
        expect: &[Expect],
    ) -> Result<T, Failure> {
        let did = self.act(f)?;
        if did.hooks.len() != expect.len() {
            let said: Vec<&str> = did.hooks.iter().map(|h| h.event.as_str()).collect();
            self.wrong.push(format!(
                "{} webhooks were expected, GitHub sent {}",
                expect.len(),
                said.join(", ")
            ));
        }
        for (hook, expect) in did.hooks.iter().zip(expect) {
            let event = self.deliver(hook).await?;
            self.outcome(hook, event, *expect).await?;
        }
        Ok(did.what)
    }

    /// Delivers and returns the entry of the event.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn deliver(&mut self, hook: &Webhook) -> Result<u64, Failure> {
        let answer = self.github.deliver(hook).await.map_err(|e| Failure::could_not_run(e.to_string()))?;
        if answer.status != 202 {
            return Err(Failure::could_not_run(format!(
                "a delivery was answered {}: {}",
                answer.status, answer.body
            )));
        }
        seq(&answer)
    }

    /// Waits for the verdict on an event and what GitHub then shows, prints the line, compares.
    /// Returns the entry of the verdict.
    ///
    /// # Errors
    /// No verdict or report comes.
    pub async fn outcome(&mut self, hook: &Webhook, event: u64, expect: Expect) -> Result<u64, Failure> {
        let judged = self.journal.verdict_of(event).await?;
        if judged.target.is_some() {
            self.journal.report_of(judged.seq).await?;
        }
        show::delivery(hook, event, &judged)?;
        self.compare(event, &judged, expect);
        Ok(judged.seq)
    }

    fn compare(&mut self, event: u64, judged: &Judged, expect: Expect) {
        let got = judged.verdict.decision;
        if got != expect.decision {
            let (want, got) = (expect.decision.as_str(), got.as_str());
            self.wrong.push(format!("entry {event}: expected {want}, got {got} ({})", judged.verdict.reason));
        }
        let text = serde_json::to_string(&judged.verdict).unwrap_or_default();
        for part in expect.says.iter().filter(|part| !text.contains(**part)) {
            self.wrong.push(format!("entry {event}: the verdict does not say `{part}`"));
        }
        if let Some(why) = self.shown_wrong(judged, expect) {
            self.wrong.push(format!("entry {event}: {why}"));
        }
    }

    /// What is wrong with what GitHub shows: the newest check run of a name counts; no other is live.
    /// (A run that is done stays done: judging again that takes long shows as a new run.)
    fn shown_wrong(&self, judged: &Judged, expect: Expect) -> Option<String> {
        let (target, name) = match (&judged.target, expect.check) {
            (None, None) => return None,
            (Some(t), None) => return Some(format!("a check run {} was not expected", t.check)),
            (None, Some(name)) => return Some(format!("there is no check run {name}")),
            (Some(t), Some(name)) => (t, name),
        };
        let runs = self.runs(target.sha.as_str(), name);
        let want = if expect.decision == Decision::Allow { "success" } else { "failure" };
        let live = runs.iter().filter(|r| r.status != "completed").count();
        match runs.last() {
            None => Some(format!("GitHub shows no check run {name}")),
            Some(_) if live > 0 => Some(format!("{live} check runs {name} are still in progress")),
            Some(run) if run.conclusion.as_deref() == Some(want) => None,
            Some(run) => Some(format!("{name} shows {}", run.conclusion.as_deref().unwrap_or("nothing yet"))),
        }
    }

    /// How often a check run that shows this verdict was sent to GitHub.
    pub fn times_sent(&self, verdict: u64) -> usize {
        let shows = |body: &str| {
            let body: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
            // `<generation>:<entry>:<leaf hash>`
            let id = body.get("external_id").and_then(serde_json::Value::as_str).unwrap_or_default();
            id.split(':').nth(1) == Some(verdict.to_string().as_str())
        };
        let writes = |method: &str| matches!(method, "POST" | "PATCH");
        let requests = self.github.requests();
        requests
            .iter()
            .filter(|r| writes(&r.method) && r.path.contains("/check-runs") && shows(&r.body))
            .count()
    }

    /// Our check runs of a name on a commit, oldest first.
    pub fn runs(&self, sha: &str, name: &str) -> Vec<CheckRun> {
        self.github.check_runs_on(sha).into_iter().filter(|r| r.name == name).collect()
    }
}

/// The entry number that a 200 or 202 names.
///
/// # Errors
/// It names none.
pub fn seq(answer: &Answer) -> Result<u64, Failure> {
    answer.json().get("seq").and_then(serde_json::Value::as_u64).ok_or_else(|| {
        Failure::could_not_run(format!("a delivery was answered {} without an entry number", answer.status))
    })
}
