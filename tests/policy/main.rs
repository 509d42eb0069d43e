//! Policies from outside: what authors type, what is refused, and that OPA answers the same.

mod check;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod eval;
mod examples;
mod foreign_rego;
mod opa_inputs;
mod opa_support;
mod opa_whole;
mod refused;
mod same;
mod testing;
mod tutorial;
mod verdicts;
