use super::CommandResult;

#[derive(clap::Subcommand)]
pub enum Command {}

pub fn run(command: Command) -> CommandResult {
    match command {}
}
