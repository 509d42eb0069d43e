//! `gatelog audit evidence export|verify`

use super::{CommandResult, Exit, Failure};

mod export;
mod page;
mod search;
mod verify;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Write a zip file with everything about a pull request, an entry or a time.
    Export(export::Args),
    /// Check such a file with nothing but the log's vkey.
    Verify(verify::Args),
}

pub fn run(command: Command) -> CommandResult {
    match command {
        Command::Export(args) => export::run(&args),
        Command::Verify(args) => verify::run(&args),
    }
}
