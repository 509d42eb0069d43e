//! `gatelog schema`: JSON Schemas for editors, `opa check --schema`, and whoever builds an input.

use std::io::Write as _;

use super::{CommandResult, Exit};
use crate::policy::schema;

#[derive(clap::Args)]
pub struct Args {
    /// Of what
    #[arg(value_enum)]
    of: Of,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Of {
    /// What policies read
    Input,
    /// Parameters
    Data,
    /// What a control says of itself
    Metadata,
}

pub fn run(args: &Args) -> CommandResult {
    let schema = match args.of {
        Of::Input => schema::input(),
        Of::Data => schema::data(),
        Of::Metadata => schema::metadata(),
    };
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &schema).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(Exit::Ok)
}
