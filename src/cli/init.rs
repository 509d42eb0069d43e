//! `gatelog init`: a configuration and the policies to start from.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use include_dir::{Dir, include_dir};

use super::{CommandResult, Exit, Failure};
use crate::github::needed;

/// The policies of this version.
static POLICIES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/policies");

pub(in crate::cli) const CONFIG: &str = include_str!("../../examples/gatelog.toml");

#[derive(clap::Args)]
pub struct Args {
    /// Folder to write to; made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub fn run(args: Args) -> CommandResult {
    let text = write(&args.dir)?;
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Ok)
}

/// Writes everything and returns what to do next.
fn write(dir: &Path) -> Result<String, Failure> {
    let (config, policies) = (dir.join("gatelog.toml"), dir.join("policies"));
    for there in [&config, &policies] {
        if there.symlink_metadata().is_ok() {
            return Err(Failure::usage(format!("{} exists, nothing was written", there.display())));
        }
    }
    let cannot = |e: io::Error| Failure::could_not_run(format!("cannot write to {}: {e}", dir.display()));
    fs::create_dir_all(dir).map_err(cannot)?;
    let files = write_policies(&policies).map_err(cannot)?;
    write_new(&config, CONFIG.as_bytes()).map_err(cannot)?;
    Ok(next_steps(dir, files))
}

/// Writes the policies of this version into `dir`, which is made. Returns how many files.
///
/// # Errors
/// A file exists already (it is left as it is), or cannot be written.
pub fn write_policies(dir: &Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    write_dir(&POLICIES, dir)
}

fn write_dir(from: &Dir<'_>, to: &Path) -> io::Result<usize> {
    let mut files = 0;
    for file in from.files() {
        write_new(&to.join(file.path()), file.contents())?;
        files += 1;
    }
    for sub in from.dirs() {
        fs::create_dir_all(to.join(sub.path()))?;
        files += write_dir(sub, to)?;
    }
    Ok(files)
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    fs::File::create_new(path)?.write_all(contents)
}

fn next_steps(dir: &Path, policies: usize) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    let (config, key, secret) = (at("gatelog.toml"), at("app.pem"), at("webhook.secret"));
    let permissions: String =
        needed::PERMISSIONS.iter().map(|(name, level)| format!("         {name}: {level}\n")).collect();
    let events = wrap(&needed::all_events().map(str::to_owned).collect::<Vec<_>>(), 80, "         ");
    format!(
        "Wrote {config} and {} ({policies} files).

Next (in a folder without gatelog.toml, `gatelog app create --org NAME --url https://YOUR-HOST` does 1 to 3):
  1. A webhook secret:  (umask 077; openssl rand -hex 32 > {secret})
  2. Register a GitHub App (Settings > Developer settings > GitHub Apps > New) with the webhook URL
     https://YOUR-HOST/webhook, content type application/json, that secret, and
       permissions
{permissions}       events
{events}
  3. Let its page generate a private key, save it as {key} (chmod 600), put the number of the App
     into {config} as app_id, and install the App on your organisation.
  4. gatelog check-config --config {config}
     gatelog doctor --config {config}
  5. gatelog serve --config {config}
     (publish = \"observe\" under [github] judges and records without writing to GitHub)
  6. Require the check `gatelog` in a ruleset, with the App as its source.
",
        at("policies")
    )
}

/// Words separated by commas, in lines of at most `width`.
fn wrap(words: &[String], width: usize, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for (i, word) in words.iter().enumerate() {
        let word = if i + 1 < words.len() { format!("{word}, ") } else { word.clone() };
        if lines.last().is_some_and(|l| l.len() + word.len() > width) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(&word);
        }
    }
    lines.iter().map(|l| format!("{indent}{}", l.trim_end())).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    #[test]
    fn writes_what_serve_reads() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("a/gate");
        write(&to).unwrap();
        let config = Config::load(&to.join("gatelog.toml"), &Environment::new()).unwrap();
        assert_eq!(config.policies.path, to.join("policies"));
        assert!(to.join("policies/data.yaml").is_file());
    }

    #[test]
    fn never_overwrites() {
        for name in ["gatelog.toml", "policies"] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), "mine").unwrap();
            let failure = write(dir.path()).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(name), "{}", failure.message);
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "mine");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn says_what_to_do_next() {
        insta::assert_snapshot!(next_steps(Path::new("gate"), 9));
    }
}
