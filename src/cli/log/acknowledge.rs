//! `gatelog log acknowledge`: an operator has looked at the alarm.

use std::io::Write as _;

use http::{Method, StatusCode};

use super::{CommandResult, Place, why};
use crate::{
    cli::{Exit, Failure, runtime},
    server::admin::{self, CallError},
};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
}

/// Goes through the running service, which records it: only it may write to its ledger.
pub fn run(args: &Args) -> CommandResult {
    let dir = args.place.folder()?;
    let answer = runtime()?.block_on(admin::call(&dir, Method::POST, "/acknowledge"));
    match answer {
        Ok((StatusCode::OK, body)) => {
            let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            writeln!(anstream::stdout(), "acknowledged as entry {}; success is sent again", answer["seq"])?;
            Ok(Exit::Ok)
        }
        Ok((status, body)) => {
            Err(Failure::could_not_run(format!("the service answered {status}: {}", why(&body))))
        }
        Err(CallError::NotRunning) => Err(Failure::could_not_run(format!(
            "no gatelog runs on {}; start it, then acknowledge",
            dir.display()
        ))),
        Err(e) => Err(Failure::could_not_run(e.to_string())),
    }
}
