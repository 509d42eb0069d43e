//! The real binary on a real socket: deliveries go in, check runs come out, and everything that can go wrong between.

mod again;
mod attacks;
#[path = "../common/mod.rs"]
mod common;
mod crash;
mod demo;
mod deployments;
mod explain;
mod faults;
mod faults_journal;
mod faults_pressure;
mod healing;
mod hostile;
mod hostile_parsers;
mod journey;
mod landed;
#[path = "../ledger_util/mod.rs"]
mod ledger_util;
mod reconcile;
mod serve;
#[path = "../shim/mod.rs"]
mod shim;
mod waivers;
