use super::CommandResult;

#[derive(clap::Args)]
pub struct Args {}

pub fn run(_args: Args) -> CommandResult {
    Err(super::Failure::could_not_run("not built yet"))
}
