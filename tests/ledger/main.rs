//! The ledger from outside: what is written, published, proved, tampered with, erased, saved and restored.

mod backup;
mod catalog;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod erase;
mod erasure;
mod evidence;
mod evidence_asked;
mod evidence_landed;
mod judged;
#[path = "../ledger_util/mod.rs"]
mod ledger_util;
mod monitor;
mod outside;
mod powercut;
mod proofs;
mod search;
mod service;
#[path = "../shim/mod.rs"]
mod shim;
mod store;
mod tamper;
mod tampering;
mod tiles;
mod witness;
mod witness_foreign;
mod witness_late;
mod witness_util;
