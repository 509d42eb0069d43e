//! `gatelog serve`: everything is opened, in the order in which a mistake is cheapest to tell; then the
//! doors open, until a signal closes them.

use std::{io::Write as _, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use super::{CommandResult, ConfigArg, Exit, Failure};
use crate::{
    config::{self, Config, Publish, Secrets},
    gate::{self, Gate, ReadBack, Running},
    github::{self, Github},
    ledger::{
        Ledger,
        publish::{self, PublishError, Publisher},
    },
    outbound::{Outbound, Proxies},
    policy::Bundle,
    server::{self, App, Doors, admin},
    store::embedded::OpenError,
    telemetry::{self, Metrics, alerts::Poster},
    time::Time,
};

/// What is being judged may take this long to finish after the doors are closed. With the 5 s of the
/// doors: 10 s, as long as GitHub waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest call to GitHub.
pub const GITHUB_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigArg,
}

pub fn run(args: Args) -> CommandResult {
    let config = args.config.load()?;
    telemetry::start(&config.log, std::env::var(telemetry::LEVEL_VARIABLE).ok().as_deref());
    let runtime = super::runtime()?;
    let result = runtime.block_on(serve(&config));
    // Does not wait for a ledger that is still being read after a signal during the start.
    runtime.shutdown_background();
    result
}

async fn serve(config: &Config) -> CommandResult {
    let mut stop = Stop::install()?;
    // From here on a hangup does not end the process.
    let hangup = on(SignalKind::hangup())?;
    // A signal during the start leaves what a power cut would leave: nothing that was acknowledged.
    let started = tokio::select! {
        started = start(config) => started?,
        () = stop.asked() => return Ok(Exit::Ok),
    };
    let Started { running, doors, app, publisher } = started;
    let gate = running.gate.clone();
    announce(&doors)?;
    tokio::spawn(reload_on(hangup, gate.clone()));
    let mut fatal = gate.fatal();
    let (stopping, stopped) = watch::channel(false);
    let mut publishing = tokio::spawn(self::publishing(publisher.clone(), stopped));
    let mut contradiction = None;
    let until = async {
        tokio::select! {
            () = stop.asked() => tracing::info!("stopping"),
            why = failed(&mut fatal) => tracing::error!("stopping: {why}"),
            // It ends by itself only where the ledger must not go on.
            ended = &mut publishing => {
                let why = ended.map_or_else(|e| e.to_string(), |e| e.to_string());
                tracing::error!("stopping: {why}");
                contradiction = Some(why);
            }
        }
    };
    server::serve(doors, app, until).await;
    let why = gate.fatal().borrow().clone();
    running.stop(PATIENCE).await;
    stopping.send_replace(true);
    if contradiction.is_none() {
        let _ = publishing.await;
        sign_the_end(publisher).await;
    }
    match (contradiction, why) {
        (Some(why), _) => Err(Failure::new(Exit::Integrity, why)),
        (None, Some(why)) => Err(Failure::could_not_run(why)),
        (None, None) => Ok(Exit::Ok),
    }
}

/// Publishes until `stop`; returns before only with the reason to end the process.
async fn publishing(publisher: Option<Arc<Publisher>>, mut stop: watch::Receiver<bool>) -> String {
    if let Some(publisher) = publisher
        && let Err(e) = publisher.run(stop.clone()).await
    {
        return e.to_string();
    }
    // The sender lives as long as the service.
    let _ = stop.wait_for(|stop| *stop).await;
    String::new()
}

/// What the stop itself recorded is signed too: then a ledger that lacks it does not start again.
async fn sign_the_end(publisher: Option<Arc<Publisher>>) {
    let Some(publisher) = publisher else { return };
    match publisher.publish().await {
        // Without the quorum it is signed and not published, as before.
        Ok(_) | Err(PublishError::Withheld(_)) => {}
        Err(e) => tracing::error!("the end of the ledger could not be signed: {e}"),
    }
}

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|e| Failure::could_not_run(format!("cannot wait for signals: {e}")))
}

/// SIGTERM and Ctrl-C.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// # Errors
    /// The system does not let us wait for signals.
    pub(super) fn install() -> Result<Self, Failure> {
        let on =
            |kind| signal(kind).map_err(|e| Failure::could_not_run(format!("cannot wait for signals: {e}")));
        Ok(Self { terminate: on(SignalKind::terminate())?, interrupt: on(SignalKind::interrupt())? })
    }

    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits until the ledger cannot go on.
async fn failed(fatal: &mut watch::Receiver<Option<String>>) -> String {
    match fatal.wait_for(Option::is_some).await {
        Ok(why) => why.clone().unwrap_or_default(),
        // The gate is gone: so is everything else.
        Err(_) => std::future::pending().await,
    }
}

async fn reload_on(mut hangup: Signal, gate: Gate) {
    while hangup.recv().await.is_some() {
        if let Err(e) = gate.reload().await {
            tracing::error!("{e:#}");
        }
    }
}

struct Started {
    running: Running,
    doors: Doors,
    app: App,
    publisher: Option<Arc<Publisher>>,
}

async fn start(config: &Config) -> Result<Started, Failure> {
    let public = bind("listen", config.server.listen).await?;
    let internal = bind("internal_listen", config.server.internal_listen).await?;
    let secrets = config.secrets()?;
    for warning in config.warnings().iter().chain(&secrets.warnings) {
        tracing::warn!("{warning}");
    }
    let outbound = outbound(config)?;
    let github = connect(config, &secrets, &outbound)?;
    let settings = gate::Settings { alerts: poster(&secrets, &outbound)?, ..settings(config) };
    let bundle = load_policies(config).await?;
    let (ledger, past) = open_ledger(config).await?;
    let publisher = publisher(config, &ledger, &outbound)?;
    let admin = admin_socket(config);
    let metrics = Arc::new(Metrics::new());
    let running = Gate::start(settings, ledger, past, github.clone(), bundle, metrics.clone())
        .await
        .map_err(|e| Failure::could_not_run(format!("cannot start: {e:#}")))?;
    if let Some(publisher) = &publisher {
        publisher.begin().await?;
    }
    let app = App::new(running.gate.clone(), github, metrics, secrets.webhook)
        .with_log(publisher.clone(), config.ledger.public);
    Ok(Started { running, doors: Doors { public, internal, admin }, app, publisher })
}

/// Who signs, if the configuration names a key.
fn publisher(
    config: &Config,
    ledger: &Ledger,
    outbound: &Outbound,
) -> Result<Option<Arc<Publisher>>, Failure> {
    let witnesses = super::witnesses::of(config, outbound)?;
    let config::Ledger { path, origin: Some(origin), key_file: Some(key_file), .. } = &config.ledger else {
        return Ok(None);
    };
    let generation = ledger.head().generation;
    if publish::generation_of(origin).is_none_or(|(_, named)| named != generation) {
        return Err(Failure::usage(format!(
            "[ledger] origin = \"{origin}\" must end in /{generation}: the ledger in {} is of generation {generation}",
            path.display()
        )));
    }
    let place = publish::Place { dir: path.clone(), origin: origin.clone(), key_file: key_file.clone() };
    Ok(Some(Publisher::open(ledger.clone(), place, witnesses)?))
}

impl From<PublishError> for Failure {
    fn from(e: PublishError) -> Self {
        let exit = match e {
            PublishError::Key(_) | PublishError::Refused(_) => Exit::Usage,
            PublishError::Contradiction(_) => Exit::Integrity,
            PublishError::Failed(_) | PublishError::Withheld(_) => Exit::CouldNotRun,
        };
        Self::new(exit, e.to_string())
    }
}

async fn bind(key: &str, address: std::net::SocketAddr) -> Result<TcpListener, Failure> {
    server::bind(&format!("[server] {key}"), address).await.map_err(Failure::could_not_run)
}

/// The way to GitHub that the configuration describes. Nothing is sent yet.
///
/// # Errors
/// Exit 2: the key is not one.
pub fn connect(config: &Config, secrets: &Secrets, outbound: &Outbound) -> Result<Github, Failure> {
    let settings = github::Settings {
        api_url: config.github.api_url.clone(),
        graphql_url: config.github.graphql_url.clone(),
        app_id: config.github.app_id,
        private_key_pem: secrets.private_key.expose().to_vec().into(),
        timeout: GITHUB_TIMEOUT,
        outbound: outbound.clone(),
        secondary_limits: config.github.secondary_limits,
    };
    Github::new(&settings).map_err(|e| Failure::usage(format!("[github]: {e}")))
}

/// How connections are made, by configuration and environment.
///
/// # Errors
/// Exit 2: a file of certificates or a proxy is none.
pub fn outbound(config: &Config) -> Result<Outbound, Failure> {
    Proxies::of_environment()
        .and_then(|proxies| Outbound::new(config.outbound.ca_file.as_deref(), &proxies))
        .map_err(|e| Failure::usage(e.to_string()))
}

/// Loads the bundle, on a thread that may take its time.
///
/// # Errors
/// Exit 2: file, line, column and the source line.
pub async fn load_policies(config: &Config) -> Result<Bundle, Failure> {
    let dir = config.policies.path.clone();
    let loaded = on_thread(move || gate::load(&dir)).await?;
    loaded.map_err(|e| {
        Failure::usage(format!("the policies in {} do not load\n{e}", config.policies.path.display()))
    })
}

async fn open_ledger(config: &Config) -> Result<(Ledger, ReadBack), Failure> {
    let dir = config.ledger.path.clone();
    let open = move || {
        let mut past = ReadBack::default();
        let (ledger, _) = Ledger::open_telling(&dir, Time::now, &mut |scanned| past.take(scanned))?;
        Ok((ledger, past))
    };
    on_thread(open).await?.map_err(|e: OpenError| match &e {
        OpenError::Locked { .. } => Failure::could_not_run(e.to_string()),
        OpenError::Damaged { .. } => {
            let general =
                "do not start it again before you know why; a copy of its journal can be put in place";
            let hint = publish::advice(&config.ledger.path).unwrap_or_else(|| general.into());
            Failure::new(Exit::Integrity, format!("{}: {e}\n{hint}", config.ledger.path.display()))
        }
        _ => Failure::could_not_run(format!("the ledger {}: {e}", config.ledger.path.display())),
    })
}

async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Failure::could_not_run(format!("cannot start: {e}")))
}

/// Without it gatelog runs all the same; only commands cannot ask it.
fn admin_socket(config: &Config) -> Option<admin::Socket> {
    match admin::Socket::bind(&config.ledger.path) {
        Ok(socket) => Some(socket),
        Err(e) => {
            let path = config.ledger.path.join(admin::NAME);
            tracing::warn!(
                "no admin socket, local commands cannot reach this process: {}: {e}",
                path.display()
            );
            None
        }
    }
}

fn poster(secrets: &Secrets, outbound: &Outbound) -> Result<Option<Poster>, Failure> {
    let Some(url) = &secrets.alerts else { return Ok(None) };
    let wrong = |e: String| Failure::usage(format!("[alerts] url_file: {e}"));
    let url = std::str::from_utf8(url.expose()).map_err(|_| wrong("it is not text".to_owned()))?;
    Poster::new(url, outbound).map(Some).map_err(wrong)
}

fn settings(config: &Config) -> gate::Settings {
    gate::Settings {
        ledger_dir: config.ledger.path.clone(),
        policies_dir: config.policies.path.clone(),
        app_id: config.github.app_id,
        check_name: config.github.check_name.clone(),
        publish: config.github.publish == Publish::Checks,
        judging: config.policies.judging,
        config_file: Some(config.file.clone()),
        sweep_every: (config.reconcile.minutes > 0)
            .then(|| Duration::from_secs(60 * config.reconcile.minutes)),
        watched: gate::reconcile::Watched::new(config.reconcile.branches.clone()),
        alerts: None,
    }
}

/// One line on standard output: whoever started gatelog may wait for it.
fn announce(doors: &Doors) -> Result<(), Failure> {
    let (public, internal) = (doors.public.local_addr()?, doors.internal.local_addr()?);
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "listening on http://{public} (metrics on http://{internal})")
        .and_then(|()| out.flush());
    match said {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e.into()),
        _ => Ok(()),
    }
}
