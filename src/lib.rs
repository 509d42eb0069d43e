//! gatelog: a merge gate that can prove itself.
//!
//! It receives every pipeline event of a GitHub organisation, judges it with Rego policies, appends
//! the event and the verdict to a hash-chained ledger, and reports the verdict as a GitHub check
//! run that branch protection requires.
//!
//! ```text
//!  GitHub ──POST──▶ server::webhook ─ Delivery ─▶ ledger: entry "event" (durable) ──▶ 202
//!                                                     │  the ledger is also the queue
//!                                                     ▼
//!    Delivery ─▶ Event ─▶ Facts ─▶ Input ─▶ Verdict ─▶ ledger: "verdict" ─▶ check run ─▶ ledger: "report"
//!    (verified)  (typed)  (what     (what    (what the
//!                         GitHub    policies  policies
//!                         says)     read)     say)
//! ```
//!
//! The whole journey is told top to bottom in [`gate`]. A module uses only lower floors and what stands beside (`tests/project/floors.rs` holds the list):
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 words | [`time`] | one kind of time |
//! | | [`event`] | what happened and what it is about; which events are judged, and how |
//! | | [`facts`] | what GitHub says, frozen; graph and set work over it |
//! | | [`verdict`] | outcomes, findings, the decision |
//! | 1 judgement | [`policy`] | bundles, admission, the engine, exceptions, the runner of Rego tests |
//! | 1 memory | [`ledger`] | entries, the chain, the tree, the sequencer, verification, checkpoints, witnesses, evidence, erasure |
//! | | [`store`] | where entries and bodies are kept: journal and sled, or memory |
//! | 2 GitHub | [`github`] | authentication, REST and GraphQL, gathering facts, writing check runs, what the App needs |
//! | 3 the story | [`gate`] | receive, judge, report; sweeps, merge verdicts, deployments, commands, exceptions, alarms |
//! | | [`worker`] | order per subject, many subjects at once, retries |
//! | 4 doors | [`server`] | webhook, health, metrics, admin socket |
//! | | [`cli`] | the commands |
//! | | [`simulated_github`] | a GitHub over HTTP for the demo and the tests |
//! | beside | [`config`], [`telemetry`], [`escape`] | configuration; logs and metrics; showing what people wrote harmlessly |
//! | | [`outbound`] | connections that gatelog makes: certificates, proxies |
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod escape;
pub mod event;
pub mod facts;
pub mod gate;
pub mod github;
pub mod ledger;
pub mod outbound;
pub mod policy;
pub mod server;
pub mod simulated_github;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod verdict;
pub mod worker;
