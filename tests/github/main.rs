//! What is asked of GitHub and what is made of its answers.

mod budget;
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod gather;
mod gather_asked;
mod openapi;
mod scenario;
mod scenarios;
mod setup;
#[path = "../shim/mod.rs"]
mod shim;
mod signatures;
mod simulated_github;
mod told;
