//! `gatelog demo`: the real server as a child process, a simulated GitHub, and a story of deliveries.
//!
//! | file | what it is |
//! |---|---|
//! | `story` | what happens, in order, and what must be decided |
//! | `scene` | who and what there is before the story begins; the configuration |
//! | `stage` | delivers, waits for verdict and check run, compares |
//! | `child`, `journal` | the server as a process; its ledger, read while it runs |
//! | `show` | the lines |

use std::path::{Path, PathBuf};

use super::{CommandResult, Exit, Failure, serve::Stop};
use crate::simulated_github::{Options, SimulatedGithub};

mod child;
mod journal;
mod scene;
mod show;
mod stage;
mod story;

use stage::Stage;

#[derive(clap::Args)]
pub struct Args {
    /// Keep everything in DIR, which must be new or empty (default: a temporary folder)
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep the server and the simulated GitHub running until Ctrl-C
    #[arg(long)]
    serve: bool,
}

pub fn run(args: Args) -> CommandResult {
    let dir = match &args.dir {
        Some(dir) => empty_dir(dir)?,
        None => temporary_dir()?,
    };
    super::runtime()?.block_on(async {
        let mut stop = Stop::install()?;
        let mut stage = tokio::select! {
            played = demo(&dir, args.serve) => played?,
            // What was started is dropped, which kills it.
            () = stop.asked() => return Err(Failure::could_not_run("interrupted")),
        };
        if args.serve {
            show::serving(&stage)?;
            stop.asked().await;
            stage.server.stop().await?;
        }
        Ok(if stage.wrong.is_empty() { Exit::Ok } else { Exit::Failed })
    })
}

/// Plays the story and shows how it ended. The server goes on running if it is to `serve`.
async fn demo(dir: &Path, serve: bool) -> Result<Stage, Failure> {
    let github = SimulatedGithub::start_with(Options::default())
        .await
        .map_err(|e| Failure::could_not_run(format!("the simulated GitHub: {e}")))?;
    let settings = scene::prepare(dir, &github)?;
    let server = child::Server::start(dir, settings.listen).await?;
    let mut stage = Stage::new(github, server, dir);
    show::opening(dir, &stage)?;
    let run = story::play(&mut stage).await?;
    show::check_run(&run)?;
    if !serve {
        stage.server.stop().await?;
    }
    let verified = journal::verify(&stage.journal.dir)?;
    show::ending(dir, &verified, &stage.wrong)?;
    Ok(stage)
}

fn empty_dir(dir: &Path) -> Result<PathBuf, Failure> {
    let cannot = |e: std::io::Error| Failure::could_not_run(format!("cannot use {}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(cannot)?;
    if std::fs::read_dir(dir).map_err(cannot)?.next().is_some() {
        return Err(Failure::usage(format!(
            "--dir {} is not empty; the demo needs a folder of its own",
            dir.display()
        )));
    }
    dir.canonicalize().map_err(cannot)
}

/// A new folder that nobody else may look into.
fn temporary_dir() -> Result<PathBuf, Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let dir = std::env::temp_dir().join(format!("gatelog-demo-{}", scene::random_hex::<6>()?));
    let made = std::fs::DirBuilder::new().mode(0o700).create(&dir);
    made.map_err(|e| Failure::could_not_run(format!("cannot make the folder {}: {e}", dir.display())))?;
    Ok(dir)
}
