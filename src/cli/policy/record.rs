//! `gatelog policy record`: an input from real history, for tests.

use std::{io::Write as _, path::PathBuf};

use super::{
    super::{
        CommandResult, Exit, Failure,
        log::{Place, input_of},
    },
    show,
};
use crate::policy::fixture;

#[derive(clap::Args)]
pub struct Args {
    /// A verdict, or an event that has one.
    #[arg(long, value_name = "SEQ", value_parser = crate::cli::log::parse_seq)]
    entry: u64,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> CommandResult {
    let mut input = input_of(&args.place, args.entry)?;
    let people = fixture::without_people(&mut input);
    let text = serde_json::to_string_pretty(&input).map_err(|e| Failure::could_not_run(e.to_string()))?;
    std::fs::write(&args.out, text + "\n")
        .map_err(|e| Failure::could_not_run(format!("{} cannot be written: {e}", args.out.display())))?;
    let mut err = anstream::stderr();
    for (was, is) in people {
        writeln!(err, "{} is {is}", show(&was))?;
    }
    writeln!(
        err,
        "titles, messages and branch names are as they were: read them before you commit the file"
    )?;
    Ok(Exit::Ok)
}
