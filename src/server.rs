//! The doors: webhooks and health for GitHub, metrics for operators, a socket for local commands, and the
//! transparency log for whoever may read it.
//!
//! Every connection is bounded in number, time and memory, because `listen` faces the internet.

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::{Router, routing};
use tokio::{net::TcpListener, sync::watch};

use crate::{config::Secret, gate::Gate, github::Github, ledger::publish::Publisher, telemetry::Metrics};

pub mod admin;
mod connection;
mod health;
mod metrics;
mod tlog;
mod webhook;
pub mod witness;

use connection::{Limits, accept};

/// How long connections may take to finish once gatelog stops.
const PATIENCE: Duration = Duration::from_secs(5);

/// What every handler needs. A cheap clone.
#[derive(Clone)]
pub struct App {
    gate: Gate,
    github: Github,
    metrics: Arc<Metrics>,
    intake: Arc<webhook::Intake>,
    /// `None`: the ledger signs nothing.
    publisher: Option<Arc<Publisher>>,
    /// The log is for everybody.
    public_log: bool,
}

impl App {
    /// `github` is asked for its numbers only; any of `secrets` signs a delivery.
    #[must_use]
    pub fn new(gate: Gate, github: Github, metrics: Arc<Metrics>, secrets: Vec<Secret>) -> Self {
        let intake = Arc::new(webhook::Intake::new(secrets));
        Self { gate, github, metrics, intake, publisher: None, public_log: false }
    }

    /// With a transparency log: on the internal listener, and on the public one if `public`.
    #[must_use]
    pub fn with_log(self, publisher: Option<Arc<Publisher>>, public: bool) -> Self {
        Self { publisher, public_log: public, ..self }
    }
}

/// Where gatelog listens. Bound before anything else is done, so that a port in use is said at once.
pub struct Doors {
    pub public: TcpListener,
    pub internal: TcpListener,
    /// `None`: no local commands.
    pub admin: Option<admin::Socket>,
}

/// Serves until `stop` is ready, then stops accepting and finishes what is in hand, for at most 5 s.
pub async fn serve(doors: Doors, app: App, stop: impl Future<Output = ()>) {
    let (stopping, stopped) = watch::channel(false);
    let public = accept(doors.public, public_routes(app.clone()), Limits::INTERNET, stopped.clone());
    let internal = accept(doors.internal, internal_routes(app.clone()), Limits::LOCAL, stopped.clone());
    let admin = async {
        if let Some(socket) = doors.admin {
            let (listener, _removed_when_done) = socket.into_parts();
            accept(listener, admin::routes(app), Limits::LOCAL, stopped).await;
        }
    };
    let signal = async {
        stop.await;
        stopping.send_replace(true);
    };
    let all = async { tokio::join!(public, internal, admin, signal) };
    tokio::pin!(all);
    let mut late = stopping.subscribe();
    let give_up = async {
        // The sender lives in this function.
        let _ = late.wait_for(|stopping| *stopping).await;
        tokio::time::sleep(PATIENCE).await;
    };
    tokio::select! {
        _ = &mut all => {}
        () = give_up => tracing::warn!("some connections did not end in {PATIENCE:?} and were cut"),
    }
}

/// Binds a TCP port.
///
/// # Errors
/// One sentence for the user.
pub async fn bind(key: &str, address: std::net::SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => format!("{key}: {address} is in use by another program"),
        io::ErrorKind::PermissionDenied => format!("{key}: this user may not listen on {address}"),
        io::ErrorKind::AddrNotAvailable => {
            format!("{key}: this machine has no address {}", address.ip())
        }
        _ => format!("{key}: cannot listen on {address}: {e}"),
    })
}

fn public_routes(app: App) -> Router {
    let log = if app.public_log { tlog::routes() } else { Router::new() };
    log.route("/webhook", routing::post(webhook::receive))
        .route("/healthz", routing::get(health::alive))
        .route("/readyz", routing::get(health::ready))
        .with_state(app)
}

fn internal_routes(app: App) -> Router {
    tlog::routes()
        .route("/metrics", routing::get(metrics::scrape))
        .route("/healthz", routing::get(health::alive))
        .route("/readyz", routing::get(health::ready))
        .with_state(app)
}

#[cfg(test)]
mod tests;
