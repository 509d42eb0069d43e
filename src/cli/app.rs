//! `gatelog app`: the GitHub App.

use super::CommandResult;

mod create;
mod files;
mod page;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Register the App in an organisation and write configuration, key and secret.
    Create(create::Args),
}

pub fn run(command: Command) -> CommandResult {
    match command {
        Command::Create(args) => create::run(&args),
    }
}
