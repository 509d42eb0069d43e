//! `gatelog audit`: for those who prove that controls were followed.

use super::{CommandResult, Exit, Failure};

mod evidence;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Evidence about a pull request, an entry or a time: to take away, and to check offline.
    #[command(subcommand)]
    Evidence(evidence::Command),
}

pub fn run(command: Command) -> CommandResult {
    match command {
        Command::Evidence(command) => evidence::run(command),
    }
}
