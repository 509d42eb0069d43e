//! A GitHub over real HTTP, for the demo and the tests: it keeps state, so a test reads like a
//! conversation, and it fails on command.
//!
//! ```no_run
//! # async fn story() -> Result<(), Box<dyn std::error::Error>> {
//! use gatelog::simulated_github::{Role, SimulatedGithub, commit};
//!
//! let gh = SimulatedGithub::start().await?;
//! let opened = gh.with(|world| {
//!     world.add_organization("octo-org");
//!     world.add_user("alice");
//!     world.add_repository("octo-org/app")?;
//!     world.grant("alice", "octo-org/app", Role::Write)?;
//!     world.push("alice", "octo-org/app", "topic", &[commit("alice", "A door").write("door.rs", "").signed()])?;
//!     world.open_pull("alice", "octo-org/app", "topic", "main", "A door")
//! })?;
//! gh.set_hook("http://127.0.0.1:8080/webhook", "secret");
//! gh.deliver_all(&opened.hooks).await?;
//! # Ok(()) }
//! ```
//!
//! HTTP only: it shares no type with [`crate::github`], so a mistake there is not repeated here.
//!
//! | module | what it is |
//! |---|---|
//! | `state`, `people`, `git` | what exists: accounts, rights, commits, pull requests, check runs |
//! | `actions`, `payload` | what people do, and the webhooks GitHub would send for it |
//! | `graphql`, `rest` | the two interfaces |
//! | `http`, `faults` | the door: log, faults, authentication |
//! | `deliver`, `keys`, `manifest` | signed deliveries; the App's key; registering the App |

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use crate::time::Time;

mod actions;
mod deliver;
mod faults;
pub mod git;
mod graphql;
mod http;
mod keys;
mod manifest;
mod payload;
mod people;
mod rest;
mod secondary;
pub mod state;

pub use actions::{Act, CommitSpec, Did, Impossible, Method, commit};
pub use deliver::{Answer, Courier, DeliveryError, Webhook, sign};
pub use faults::{Change, Fault, Hold, Route};
pub use http::Logged;
pub use keys::AppKey;
pub use secondary::{Enforced, Most};
pub use state::{AccountKind, CheckRun, NO_COMMIT, ReviewState, Role, World};

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// GitHub Enterprise Server's paths: `/api/v3` and `/api/graphql`.
    pub enterprise: bool,
    /// What the GUIDs of deliveries are made of.
    pub seed: String,
    pub app_id: u64,
    pub app_slug: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { enterprise: false, seed: "gatelog".to_owned(), app_id: 12345, app_slug: "gatelog".to_owned() }
    }
}

/// The simulated GitHub could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on a loopback port")]
    Listen(#[from] std::io::Error),
    #[error(transparent)]
    Key(#[from] keys::KeyError),
}

/// A running simulated GitHub; it stops when dropped.
pub struct SimulatedGithub {
    shared: Arc<http::Shared>,
    address: SocketAddr,
    courier: std::sync::Mutex<Option<Courier>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for SimulatedGithub {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl SimulatedGithub {
    /// # Errors
    /// No loopback port, or no randomness for the key.
    pub async fn start() -> Result<Self, StartError> {
        Self::start_with(Options::default()).await
    }

    /// # Errors
    /// No loopback port, or no randomness for the key.
    pub async fn start_with(options: Options) -> Result<Self, StartError> {
        let listener = tokio::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let root = if options.enterprise { "/api/v3" } else { "" };
        let shared = Arc::new(http::Shared {
            key: AppKey::of_this_process()?,
            api_url: format!("http://{address}{root}"),
            enterprise: options.enterprise,
            inner: std::sync::Mutex::new(http::Inner {
                world: first_world(&options),
                frozen: None,
                tokens: BTreeMap::new(),
                minted: 0,
                rules: vec![],
                outage: false,
                log: vec![],
                left: http::Left { core: http::HOURLY_LIMIT, graphql: http::HOURLY_LIMIT, enforced: false },
                secondary: None,
            }),
        });
        let app = axum::Router::new().fallback(http::handle).with_state(shared.clone());
        let server = tokio::spawn(async move {
            // Serving ends only when the task is aborted.
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { shared, address, courier: std::sync::Mutex::new(None), server })
    }

    /// `http://127.0.0.1:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What `[github] api_url` is set to.
    #[must_use]
    pub fn api_url(&self) -> String {
        self.shared.api_url.clone()
    }

    #[must_use]
    pub fn graphql_url(&self) -> String {
        let path = if self.shared.enterprise { "/api/graphql" } else { "/graphql" };
        format!("{}{path}", self.url())
    }

    /// The App's private key, PEM (PKCS#8).
    #[must_use]
    pub fn app_key_pem(&self) -> String {
        self.shared.key.private_pem.clone()
    }

    #[must_use]
    pub fn app_id(&self) -> u64 {
        self.with(|w| w.app.id)
    }

    /// Looks at the state, or changes it. Never call this inside itself: it holds the lock.
    pub fn with<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        f(&mut self.shared.lock().world)
    }

    // -- deliveries

    /// Where webhooks go, and the secret that signs them.
    pub fn set_hook(&self, url: &str, secret: &str) {
        let (hook_id, app_id) = self.with(|w| {
            url.clone_into(&mut w.app.hook_url);
            (w.app.hook_id, w.app.id)
        });
        *self.courier.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            Some(Courier::new(url, secret, hook_id, app_id));
    }

    /// The courier set by [`Self::set_hook`]; one that reaches nobody before that.
    #[must_use]
    pub fn courier(&self) -> Courier {
        let set = self.courier.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        set.unwrap_or_else(|| Courier::new("http://127.0.0.1:9/", "", 0, 0))
    }

    /// Delivers one webhook and notes what came of it for `/app/hook/deliveries`.
    ///
    /// # Errors
    /// The receiver could not be reached.
    pub async fn deliver(&self, hook: &Webhook) -> Result<Answer, DeliveryError> {
        let answer = self.courier().deliver(hook).await;
        let status = answer.as_ref().map_or(502, |a| a.status);
        self.with(|w| w.note_delivery(hook, status));
        answer
    }

    /// Delivers in order, stopping at the first that reaches nobody.
    ///
    /// # Errors
    /// The receiver could not be reached.
    pub async fn deliver_all(&self, hooks: &[Webhook]) -> Result<Vec<Answer>, DeliveryError> {
        let mut answers = Vec::new();
        for hook in hooks {
            answers.push(self.deliver(hook).await?);
        }
        Ok(answers)
    }

    /// Delivers what our own REST writes caused, and redeliveries asked for.
    ///
    /// # Errors
    /// The receiver could not be reached.
    pub async fn deliver_outbox(&self) -> Result<Vec<Answer>, DeliveryError> {
        let hooks = self.with(World::take_outbox);
        self.deliver_all(&hooks).await
    }

    // -- what was shown and asked

    /// Check runs on a commit, oldest first.
    #[must_use]
    pub fn check_runs_on(&self, sha: &str) -> Vec<CheckRun> {
        self.with(|w| w.check_runs_on(sha))
    }

    /// Requests that created or updated a check run, whatever they were answered.
    #[must_use]
    pub fn check_run_writes(&self) -> usize {
        let writes =
            |l: &&Logged| matches!(l.method.as_str(), "POST" | "PATCH") && l.path.contains("/check-runs");
        self.shared.lock().log.iter().filter(writes).count()
    }

    /// Every request, in the order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Logged> {
        self.shared.lock().log.clone()
    }

    pub fn forget_requests(&self) {
        self.shared.lock().log.clear();
    }

    /// Installation tokens minted so far.
    #[must_use]
    pub fn tokens_minted(&self) -> u64 {
        self.shared.lock().minted
    }

    // -- faults

    /// From now on GitHub's limits for one minute and one hour hold, which here may be shorter.
    pub fn enforce_secondary_limits(&self, limits: Enforced) {
        self.shared.lock().secondary = Some(secondary::Secondary::new(limits));
    }

    /// Which of them were broken, and the most that was seen of each.
    #[must_use]
    pub fn secondary_limits(&self) -> (Vec<String>, secondary::Most) {
        let inner = self.shared.lock();
        let of = |s: &secondary::Secondary| (s.broken.clone(), s.most);
        inner.secondary.as_ref().map(of).unwrap_or_default()
    }

    /// The next `times` requests of `route` meet `fault`.
    pub fn fault(&self, route: Route, times: usize, fault: Fault) {
        self.fault_after(route, 0, times, fault);
    }

    /// As [`Self::fault`], after `skip` requests of the route that go well.
    pub fn fault_after(&self, route: Route, skip: usize, times: usize, fault: Fault) {
        self.shared.lock().rules.push(faults::Rule { route, skip, times, fault });
    }

    /// Requests of `route` wait until the hold is released.
    #[must_use]
    pub fn hold(&self, route: Route) -> Hold {
        let hold = Hold::default();
        self.fault(route, usize::MAX, Fault::Hold(hold.clone()));
        hold
    }

    /// No more faults.
    pub fn heal(&self) {
        let mut inner = self.shared.lock();
        inner.rules.clear();
        inner.outage = false;
        inner.frozen = None;
        inner.left = http::Left { core: http::HOURLY_LIMIT, graphql: http::HOURLY_LIMIT, enforced: false };
    }

    /// Everything answers 503.
    pub fn outage(&self, on: bool) {
        self.shared.lock().outage = on;
    }

    /// The API goes on showing the state as it is now, for the next `reads` reads, whatever changes.
    /// Check runs are not affected. `usize::MAX`: until [`Self::catch_up`].
    pub fn lag(&self, reads: usize) {
        let mut inner = self.shared.lock();
        inner.frozen = (reads > 0).then(|| (inner.world.clone(), reads));
    }

    /// The API shows the state as it is.
    pub fn catch_up(&self) {
        self.shared.lock().frozen = None;
    }

    /// All installation tokens are worth nothing from now on.
    pub fn expire_tokens(&self) {
        self.shared.lock().tokens.clear();
    }

    /// What is left of the hourly limits; at zero, requests are refused.
    pub fn set_remaining(&self, core: u64, graphql: u64) {
        self.shared.lock().left = http::Left { core, graphql, enforced: true };
    }
}

impl World {
    fn note_delivery(&mut self, hook: &Webhook, status: u16) {
        let redelivery = self.deliveries.iter().any(|d| d.hook.guid == hook.guid);
        let id = self.next_id();
        self.deliveries.push(state::PastDelivery {
            id,
            hook: hook.clone(),
            status,
            redelivery,
            at: Time::now(),
        });
    }
}

fn first_world(options: &Options) -> World {
    let set = |all: &[(&str, &str)]| all.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let app = state::App {
        id: options.app_id,
        slug: options.app_slug.clone(),
        name: options.app_slug.clone(),
        hook_url: String::new(),
        hook_id: 77,
        permissions: set(&[
            ("checks", "write"),
            ("contents", "read"),
            ("members", "read"),
            ("merge_queues", "read"),
            ("metadata", "read"),
            ("pull_requests", "read"),
            ("administration", "read"),
        ]),
        events: ["check_run", "create", "delete", "member", "membership", "merge_group", "organization"]
            .iter()
            .chain(&["pull_request", "pull_request_review", "push", "repository", "team", "workflow_run"])
            .map(|e| (*e).to_owned())
            .collect(),
    };
    // 2026-11-02T09:00:00Z, so that the same story has the same times.
    let start = Time::from_unix_micros(1_793_610_000_000_000).unwrap_or_else(Time::now);
    let mut world = World::new(&options.seed, app, start.plus(Duration::ZERO));
    world.add_web_flow();
    world.add_bot(&options.app_slug);
    world
}
