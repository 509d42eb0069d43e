//! `gatelog app create`: GitHub's App manifest flow, from a page on this machine to the files of a gate.

use std::{
    io::{BufRead as _, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{net::TcpListener, sync::mpsc};

use super::{
    files::Reserved,
    page::{self, Answer, Page, code_and_state},
};
use crate::{
    cli::{CommandResult, Exit, Failure, init, runtime, serve},
    config::{Config, Environment},
    escape,
    github::manifest::{self, Created, Place},
    outbound::{Outbound, Proxies},
};

/// A code is good for an hour; nobody waits longer.
const PATIENCE: Duration = Duration::from_secs(3600);

#[derive(clap::Args)]
pub struct Args {
    /// The organisation that owns the App
    #[arg(long, value_name = "NAME")]
    org: String,
    /// Where GitHub reaches this gatelog: https://gate.example.com (the webhook is /webhook there)
    #[arg(long, value_name = "URL")]
    url: String,
    /// Folder for gatelog.toml, app.pem, webhook.secret and the policies
    #[arg(long, value_name = "DIR", default_value = "gate")]
    dir: PathBuf,
    /// Name of the App, unique in all of GitHub; you can change it there [default: gatelog-ORG]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Another GitHub than github.com: https://HOST, https://SUB.ghe.com
    #[arg(long, value_name = "URL", default_value = "https://github.com")]
    github: String,
    /// Where the page for your browser is served; a fixed port can be forwarded
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Certificates to trust beside the system's (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

pub fn run(args: &Args) -> CommandResult {
    let place = Place::of(&args.github).map_err(|e| Failure::usage(format!("--github: {e}")))?;
    let gate = gate_url(&args.url)?;
    account_name(&args.org)?;
    if !args.listen.ip().is_loopback() {
        return Err(Failure::usage("--listen must be a loopback address: the page is for you alone"));
    }
    let outbound = Proxies::of_environment()
        .and_then(|proxies| Outbound::new(args.ca_file.as_deref(), &proxies))
        .map_err(|e| Failure::usage(e.to_string()))?;
    let reserved = Reserved::new(&args.dir, &["app.pem", "webhook.secret", "gatelog.toml"])?;
    let runtime = runtime()?;
    let result = runtime.block_on(create(args, &place, &gate, &outbound, reserved));
    // A line that is being waited for on standard input holds nothing up.
    runtime.shutdown_background();
    result
}

async fn create(
    args: &Args,
    place: &Place,
    gate: &str,
    outbound: &Outbound,
    reserved: Reserved,
) -> CommandResult {
    let mut stop = serve::Stop::install()?;
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|e| Failure::could_not_run(format!("cannot listen on {}: {e}", args.listen)))?;
    let host = listener.local_addr()?.to_string();
    let (secret, state) = (random()?, random()?);
    let at = format!("http://{host}/{secret}");
    let name = args.name.clone().unwrap_or_else(|| manifest::default_name(&args.org));
    let (answers, mut given) = mpsc::channel(1);
    let page = Page {
        form: place.form(&args.org, &state),
        manifest: manifest::manifest(&name, gate, &format!("{at}/created")),
        organization: args.org.clone(),
        state: state.clone(),
        secret,
        host: host.clone(),
        answers: answers.clone(),
    };
    let serving = tokio::spawn(page::serve(listener, page));
    read_terminal(state, answers);
    invite(&args.org, &at, &host)?;
    let created = tokio::select! {
        created = exchange(&mut given, place, outbound) => created,
        () = stop.asked() => return Err(Failure::could_not_run("stopped; no App was taken over, nothing was written")),
        () = tokio::time::sleep(PATIENCE) => {
            return Err(Failure::could_not_run("nobody came back from GitHub within an hour; nothing was written"));
        }
    };
    let Some((created, answer)) = created else {
        return Err(Failure::could_not_run("the page could not be served; nothing was written"));
    };
    let kept = keep(args, place, &created, reserved);
    // Whoever looks at the browser is told what the terminal says.
    let said = match &kept {
        Ok(_) => format!("The App {} is there. Go on in the terminal.", created.slug),
        Err(failure) => failure.message.clone(),
    };
    let _ = answer.told.send(said);
    // Time for that answer to leave.
    tokio::time::sleep(Duration::from_millis(200)).await;
    serving.abort();
    anstream::stdout().write_all(kept?.as_bytes())?;
    Ok(Exit::Ok)
}

/// The App, for the first code that GitHub takes. A wrong one is answered, and the next waited for.
async fn exchange(
    given: &mut mpsc::Receiver<Answer>,
    place: &Place,
    outbound: &Outbound,
) -> Option<(Created, Answer)> {
    loop {
        let answer = given.recv().await?;
        match manifest::convert(outbound, place, &answer.code, serve::GITHUB_TIMEOUT).await {
            Ok(created) => return Some((created, answer)),
            Err(why) => {
                let text = format!("{}. Open the page again.", escape::terminal(&why));
                let _ = writeln!(anstream::stderr(), "{text}");
                let _ = answer.told.send(text);
            }
        }
    }
}

/// Writes everything; what to do next.
fn keep(args: &Args, place: &Place, created: &Created, reserved: Reserved) -> Result<String, Failure> {
    let (dir, page) = (&args.dir, &created.html_url);
    let lost = |why: String| {
        let mend = format!(
            "the App {} was made at GitHub, and its key and secret could not be kept: {why}\n\
             delete it there ({page}, Advanced) and start again, or generate a new key and secret on its page",
            created.slug
        );
        Failure::could_not_run(escape::terminal_block(&mend))
    };
    let config = configuration(dir, place, created)?;
    let secret =
        created.webhook_secret.as_ref().ok_or_else(|| lost("GitHub made no webhook secret".into()))?;
    reserved
        .write(&[created.private_key.as_bytes(), secret.as_bytes(), config.as_bytes()])
        .map_err(|e| lost(e.to_string()))?;
    let policies = dir.join("policies");
    let policies = if policies.symlink_metadata().is_ok() {
        format!("{} was there and is as it was", policies.display())
    } else {
        let files = init::write_policies(&policies)
            .map_err(|e| Failure::could_not_run(format!("cannot write to {}: {e}", policies.display())))?;
        format!("{} ({files} files)", policies.display())
    };
    Ok(next_steps(dir, created, &policies))
}

/// The commented example with the App's number and the address of its API.
fn configuration(dir: &Path, place: &Place, created: &Created) -> Result<String, Failure> {
    let text = init::CONFIG
        .replace("api_url = \"https://api.github.com\"", &format!("api_url = \"{}\"", place.api))
        .replace("app_id = 12345", &format!("app_id = {}", created.id));
    let config = Config::parse(&dir.join("gatelog.toml"), &text, &Environment::new())?;
    let right = config.github.app_id == created.id && config.github.api_url == place.api;
    right.then_some(text).ok_or_else(|| Failure::could_not_run("the example configuration was not filled in"))
}

fn next_steps(dir: &Path, created: &Created, policies: &str) -> String {
    let at = |name: &str| dir.join(name).display().to_string();
    let (config, slug) = (at("gatelog.toml"), escape::terminal(&created.slug));
    format!(
        "\
Registered the App {slug}, number {id}.
Wrote {config}, {key} and {secret} (mode 0600); {policies}.

Next:
  1. Install it on your repositories: {page}/installations/new
  2. gatelog serve --config {config}
     (publish = \"observe\" under [github] judges and records without writing to GitHub)
  3. gatelog doctor --config {config}
  4. Require the check `gatelog` in a ruleset, with the App as its source.
",
        id = created.id,
        key = at("app.pem"),
        secret = at("webhook.secret"),
        page = escape::terminal(&created.html_url),
    )
}

/// `https://HOST[/PATH]` without a slash at the end.
fn gate_url(url: &str) -> Result<String, Failure> {
    let bad = || Failure::usage(format!("--url: `{url}` must be of the form https://gate.example.com"));
    let uri: http::Uri = url.trim().parse().map_err(|_| bad())?;
    // Without TLS the webhooks cross the network in the open: on this machine only.
    let here = uri.host().is_some_and(|h| matches!(h, "localhost" | "127.0.0.1" | "[::1]"));
    let right = (uri.scheme_str() == Some("https") || (uri.scheme_str() == Some("http") && here))
        && uri.query().is_none()
        && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    right.then(|| url.trim().trim_end_matches('/').to_owned()).ok_or_else(bad)
}

/// Letters, digits and single `-` inside, at most 39: what GitHub lets an account be called.
fn account_name(name: &str) -> Result<(), Failure> {
    let words = || name.split('-');
    let right =
        name.len() <= 39 && words().all(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_alphanumeric()));
    let bad = || {
        let name = escape::terminal(name);
        Failure::usage(format!("--org: `{name}` is no organisation; it is the NAME in github.com/NAME"))
    };
    right.then_some(()).ok_or_else(bad)
}

fn invite(organization: &str, at: &str, host: &str) -> Result<(), Failure> {
    let port = host.rsplit(':').next().unwrap_or_default();
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "Open this in a browser that is signed in to GitHub as an owner of {}:\n\n  {at}\n\n\
         A browser on another machine: forward the port first (ssh -L {port}:{host} …), or paste here the\n\
         address that it ends at, and press Enter.",
        escape::terminal(organization)
    )?;
    out.flush()?;
    Ok(())
}

/// Where the browser cannot reach this machine, the address it was sent to is pasted.
fn read_terminal(state: String, answers: mpsc::Sender<Answer>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let (code, back) = code_and_state(line.trim().split_once('?').map_or("", |(_, query)| query));
            let (Some(code), true) = (code, back.as_deref() == Some(&state)) else {
                let hint =
                    "this is not the address that GitHub sent the browser to (…/created?code=…&state=…)";
                let _ = writeln!(anstream::stderr(), "{hint}");
                continue;
            };
            let (told, _) = tokio::sync::oneshot::channel();
            if answers.blocking_send(Answer { code, told }).is_err() {
                return;
            }
        }
    });
}

/// 128 bits nobody can guess.
fn random() -> Result<String, Failure> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|e| Failure::could_not_run(format!("no randomness: {e}")))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn created() -> Created {
        Created {
            id: 987,
            slug: "gatelog-octo-org".into(),
            html_url: "https://git.example.com/apps/gatelog-octo-org".into(),
            private_key: String::from("-----BEGIN …").into(),
            webhook_secret: None,
        }
    }

    #[test]
    fn the_configuration_is_the_example_filled_in() {
        let place = Place::of("https://git.example.com").unwrap();
        let text = configuration(Path::new("gate"), &place, &created()).unwrap();
        assert!(
            text.contains("app_id = 987\n")
                && text.contains("api_url = \"https://git.example.com/api/v3\"\n")
        );
        assert_eq!(text.lines().count(), init::CONFIG.lines().count());
    }

    #[test]
    fn says_what_to_do_next() {
        insta::assert_snapshot!(next_steps(Path::new("gate"), &created(), "gate/policies (9 files)"));
    }

    #[test]
    fn where_the_gate_is() {
        assert_eq!(gate_url("https://gate.example.com/").unwrap(), "https://gate.example.com");
        for bad in ["gate.example.com", "https://x?y", "ftp://x", "https://u:p@x"] {
            assert!(gate_url(bad).is_err(), "{bad}");
        }
    }
}
