//! `gatelog reconcile`: a sweep by hand.

use std::io::Write as _;

use http::{Method, StatusCode};
use serde_json::Value;

use super::{CommandResult, Exit, Failure, log, log::Place, runtime};
use crate::server::admin::{self, CallError};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

/// The running service sweeps and records it: only it may write to its ledger.
///
/// Exit 4: something could not be read, or is missing and could not be fetched.
pub fn run(args: &Args) -> CommandResult {
    let dir = args.place.folder()?;
    match runtime()?.block_on(admin::call(&dir, Method::POST, "/reconcile")) {
        Ok((StatusCode::OK, body)) => {
            let answer: Value = serde_json::from_slice(&body)
                .map_err(|e| Failure::could_not_run(format!("the service's answer cannot be read: {e}")))?;
            write!(anstream::stdout(), "{}", text(&answer))?;
            let whole = answer["sweep"]["complete"] == Value::Bool(true);
            Ok(if whole { Exit::Ok } else { Exit::Incomplete })
        }
        Ok((status, body)) => {
            Err(Failure::could_not_run(format!("the service answered {status}: {}", log::why(&body))))
        }
        Err(CallError::NotRunning) => {
            Err(Failure::could_not_run(format!("no gatelog runs on {}; start it first", dir.display())))
        }
        Err(e) => Err(Failure::could_not_run(e.to_string())),
    }
}

/// What was found, a line each; nothing is said of what is zero.
fn text(answer: &Value) -> String {
    const LINES: &[(&str, &str)] = &[
        ("sent", "deliveries GitHub sent since the last sweep"),
        ("asked_again", "deliveries that did not arrive were asked for again"),
        ("read_by_get", "deliveries were read from GitHub's API, because they did not arrive"),
        ("lost", "deliveries GitHub takes for arrived are not in the ledger"),
        ("never_sent", "recorded deliveries that GitHub never sent: somebody else has the webhook secret"),
        ("open_heads", "open pull requests"),
        ("judged_again", "of them had no verdict and are judged"),
        ("landed", "commits landed on watched branches"),
        ("found", "changes of branches and tags that no webhook told, recorded and judged"),
        ("waiting", "changes wait for their webhook; another sweep in a minute tells whether it comes"),
        ("vanished", "repositories are not there for this App any more"),
        ("left_over", "repositories are left to the next sweep, to spare GitHub's rate limit"),
        ("trouble", "things could not be read; `gatelog log show` on this entry names them"),
    ];
    let sweep = &answer["sweep"];
    let mut out = format!(
        "swept {} of {} repositories, entry {}\n",
        sweep["swept"], sweep["repositories"], answer["seq"]
    );
    for (field, what) in LINES {
        if let Some(n) = sweep[*field].as_u64().filter(|n| *n > 0) {
            out += &format!("{n:>6} {what}\n");
        }
    }
    if sweep["deliveries_truncated"] == Value::Bool(true) {
        out += "       there is more than one sweep reads; the next goes on\n";
    }
    out
}
