//! `--pull`: a pull request as it stands on GitHub now.
//!
//! The running service reads it: it has the App's key, GitHub's limits are counted there, and only its ledger
//! knows who pushed. What the policies at hand ask for is what is read, not what the active ones do.

use std::{collections::BTreeSet, path::Path};

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    cli::{Failure, log::Place, runtime},
    escape::terminal as safe,
    event::RepoName,
    policy::{Bundle, Input, Need},
    server::admin::{self, CallError},
};

/// The second is enough where nothing changes meanwhile.
const READINGS: usize = 5;

/// # Errors
/// Exit 1: no gatelog runs there, or GitHub did not answer. Exit 2: no such pull request.
pub(super) fn read(place: &Place, asked: &str, bundle: &Bundle) -> Result<Input, Failure> {
    let parts = asked.rsplit_once('#').and_then(|(name, number)| Some((name, number.parse::<u64>().ok()?)));
    let (name, number) =
        parts.ok_or_else(|| Failure::usage(format!("--pull {}: write it as owner/name#12", safe(asked))))?;
    name.parse::<RepoName>().map_err(Failure::usage)?;
    let dir = place.folder()?;
    let mut asked = BTreeSet::new();
    for _ in 0..READINGS {
        // All is read again, so that it is of one moment; it may have changed, and what is asked for with it.
        let input = look(&dir, name, number, &asked)?;
        let needs = bundle.needs(&input);
        if needs.is_subset(&asked) {
            return Ok(input);
        }
        asked.extend(needs);
    }
    Err(Failure::could_not_run(format!("{name}#{number} changes while it is read; try again")))
}

fn look(dir: &Path, repository: &str, number: u64, needs: &BTreeSet<Need>) -> Result<Input, Failure> {
    let asked = json!({"repository": repository, "pull_request": number, "needs": needs});
    let (status, answer) = runtime()?
        .block_on(admin::call_with(dir, Method::POST, "/look", asked.to_string().into()))
        .map_err(|e| match e {
            CallError::NotRunning => Failure::could_not_run(format!(
                "no gatelog runs on {}, which would read the pull request; start it, or judge a recorded input (--entry)",
                dir.display()
            )),
            CallError::Io(_) => Failure::could_not_run(e.to_string()),
        })?;
    let answer: Value = serde_json::from_slice(&answer)
        .map_err(|e| Failure::could_not_run(format!("the service's answer cannot be read: {e}")))?;
    let why = || safe(answer["error"].as_str().unwrap_or("no reason"));
    match status {
        StatusCode::OK => Input::from_json(answer).map_err(|e| Failure::could_not_run(e.to_string())),
        StatusCode::UNPROCESSABLE_ENTITY => Err(Failure::usage(why())),
        _ => Err(Failure::could_not_run(format!("the service answered {status}: {}", why()))),
    }
}
