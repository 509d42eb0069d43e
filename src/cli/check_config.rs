//! `gatelog check-config`: what is in force and where it came from, or what is wrong.

use std::io::Write as _;

use super::{CommandResult, ConfigArg, Exit, Failure, serve, witnesses};
use crate::{
    config::{Config, Line},
    escape::terminal,
};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub fn run(args: Args) -> CommandResult {
    let config = args.config.load()?;
    let mut out = anstream::stdout();
    out.write_all(table(&config.lines()).as_bytes())?;
    out.flush()?;
    let found = super::runtime()?.block_on(check(&config));
    for line in &found.said {
        writeln!(out, "{line}")?;
    }
    // All that is wrong is told; the first decides how the command ends.
    let Some(exit) = found.wrong.first().map(|f| f.exit) else {
        writeln!(out, "{} is in order", config.file.display())?;
        return Ok(Exit::Ok);
    };
    let messages: Vec<_> = found.wrong.into_iter().map(|f| f.message).collect();
    Err(Failure::new(exit, messages.join("\ngatelog: ")))
}

#[derive(Default)]
struct Found {
    said: Vec<String>,
    wrong: Vec<Failure>,
}

/// Opens what the configuration names, except the ledger and the ports: gatelog may be running.
async fn check(config: &Config) -> Found {
    let mut found = Found::default();
    let mut warnings = config.warnings();
    match config.secrets() {
        Ok(secrets) => {
            found.said.push(format!("secrets   private key, {} for webhooks", secrets.webhook.len()));
            let outbound = serve::outbound(config);
            let connected = outbound.and_then(|outbound| serve::connect(config, &secrets, &outbound));
            found.wrong.extend(connected.err());
            warnings.extend(secrets.warnings);
        }
        Err(e) => found.wrong.push(e.into()),
    }
    match serve::load_policies(config).await {
        Ok(bundle) => {
            found.said.push(format!("policies  {} controls, {}", bundle.controls().len(), bundle.digest()));
        }
        Err(e) => found.wrong.push(e),
    }
    // That there is no way out is said above.
    match serve::outbound(config).map(|outbound| witnesses::of(config, &outbound)) {
        Err(_) | Ok(Ok(None)) => {}
        Ok(Ok(Some(w))) => {
            let names: Vec<String> = w.policy().keys().iter().map(|k| terminal(k.name())).collect();
            found.said.push(format!("witnesses {}", names.join(", ")));
        }
        Ok(Err(e)) => found.wrong.push(e),
    }
    found.said.extend(warnings.into_iter().map(|w| format!("warning   {w}")));
    found
}

/// The effective configuration, as a file would say it, each value with its source.
fn table(lines: &[Line]) -> String {
    let text = |line: &Line| format!("{} = {}", line.key, line.value);
    let width = lines.iter().map(|l| text(l).chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    let mut section = "";
    for line in lines {
        if line.section != section {
            section = line.section;
            out.push_str(&format!("[{section}]\n"));
        }
        out.push_str(&format!("{:width$}   # {}\n", text(line), line.origin));
    }
    out.push('\n');
    out
}
