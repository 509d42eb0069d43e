//! `gatelog witness`: a witness of its own for other people's logs, in one small process.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{CommandResult, Exit, Failure, serve::Stop};
use crate::{
    config::{Log, LogFormat},
    escape::terminal as safe,
    ledger::{
        cosignature::CosigningKey,
        key::{new_witness, read_witness, write_witness},
        witness::{Witness, WitnessError},
    },
    server, telemetry,
};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Cosign the checkpoints of logs, as long as each goes on from what was seen before.
    Serve(ServeArgs),
    /// The key that cosigns: make it, show what to hand to logs and auditors.
    #[command(subcommand)]
    Key(KeyCommand),
}

#[derive(clap::Subcommand)]
pub enum KeyCommand {
    /// Make a key file.
    New(NewArgs),
    /// Print the vkey.
    Show(ShowArgs),
}

#[derive(clap::Args)]
pub struct NewArgs {
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Under which name it cosigns: where the witness is, without https://
    #[arg(long, value_name = "HOST/NAME")]
    name: String,
    /// The folder in which it will remember what it saw, made with the key: `serve` takes no other one.
    #[arg(long, value_name = "DIR", default_value = "witness")]
    state: PathBuf,
}

#[derive(clap::Args)]
pub struct ShowArgs {
    /// The key file.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

#[derive(clap::Args)]
pub struct ServeArgs {
    /// The key file, as `gatelog witness key new` made it.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Key of a log to witness, as its `gatelog log key show` prints it; several, also of one log while its
    /// key is changed.
    #[arg(long = "log", value_name = "VKEY", required = true)]
    logs: Vec<String>,
    /// Where to listen; a proxy in front ends TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7380")]
    listen: SocketAddr,
    /// The folder with what was seen. Never go back to an older copy of it, and never delete it: without its
    /// memory a witness cosigns what contradicts what it cosigned before.
    #[arg(long, value_name = "DIR", default_value = "witness")]
    state: PathBuf,
    /// The key has cosigned nothing yet: make the folder. Without it, a folder that does not know the key is
    /// refused, as it may be that its disk is not mounted.
    #[arg(long)]
    first_use: bool,
}

pub fn run(command: Command) -> CommandResult {
    match command {
        Command::Serve(args) => serve(&args),
        Command::Key(KeyCommand::New(args)) => new(&args.key, &args.name, &args.state),
        Command::Key(KeyCommand::Show(args)) => print(&read_witness(&args.key)?),
    }
}

fn new(file: &Path, name: &str, state: &Path) -> CommandResult {
    // Nobody may lose a key by asking for one.
    if file.exists() {
        return Err(Failure::usage(format!("{} exists already", file.display())));
    }
    let key = new_witness(name).map_err(|e| Failure::usage(format!("--name {}: {e}", safe(name))))?;
    write_witness(file, &key)
        .map_err(|e| Failure::could_not_run(format!("writing {}: {e}", file.display())))?;
    // A crash before: `serve --first-use` makes the folder.
    Witness::begin(state, &key)?;
    writeln!(anstream::stdout(), "made {}; whoever reads it can cosign in its name", file.display())?;
    print(&key)
}

fn print(key: &CosigningKey) -> CommandResult {
    writeln!(anstream::stdout(), "{}", key.cosigner())?;
    Ok(Exit::Ok)
}

fn serve(args: &ServeArgs) -> CommandResult {
    telemetry::start(
        &Log { format: LogFormat::Text, level: "info".into() },
        std::env::var(telemetry::LEVEL_VARIABLE).ok().as_deref(),
    );
    let parse =
        |text: &String| text.trim().parse().map_err(|e| Failure::usage(format!("--log {}: {e}", safe(text))));
    let logs = args.logs.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let key = read_witness(&args.key)?;
    if args.first_use {
        Witness::begin(&args.state, &key)?;
    }
    let witness = Witness::open(&args.state, key, &logs)?;
    for origin in witness.unseen() {
        tracing::warn!("nothing was seen yet of {}: whatever it shows first is believed", safe(origin));
    }
    let witness = Arc::new(witness);
    super::runtime()?.block_on(async {
        let mut stop = Stop::install()?;
        let bound = server::bind("--listen", args.listen).await;
        let listener = bound.map_err(Failure::could_not_run)?;
        // Whoever started it may wait for this line.
        let mut out = std::io::stdout().lock();
        writeln!(out, "listening on http://{} as {}", listener.local_addr()?, witness.key().cosigner())?;
        out.flush()?;
        drop(out);
        server::witness::serve(listener, witness, stop.asked()).await;
        Ok(Exit::Ok)
    })
}

impl From<WitnessError> for Failure {
    fn from(e: WitnessError) -> Self {
        let exit = match e {
            WitnessError::Damaged { .. } | WitnessError::Unknown { .. } | WitnessError::OfAnother { .. } => {
                Exit::Integrity
            }
            WitnessError::Locked { .. } | WitnessError::Io { .. } => Exit::CouldNotRun,
        };
        Self::new(exit, e.to_string())
    }
}
