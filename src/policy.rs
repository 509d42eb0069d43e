//! The judgement room: Rego bundles in, verdicts out. Pure: no network, no clock, no ledger.
//!
//! A bundle goes through five doors before it judges:
//!
//! | door | what it keeps out |
//! |---|---|
//! | [`Bundle::load`] (`folder`, `data`) | odd files, too much, data that OPA would read otherwise |
//! | `admission` | brackets nested so deeply, chains so long, that the parser or the stack would give up |
//! | `names` | unknown and forbidden functions, wrong numbers of arguments, recursion |
//! | `rewrite`, `spread` | `not`, `every` and packages in several files, where regorus means something else than OPA |
//! | `engine` | clock, chance, endless loops, panics |
//!
//! **Same answer as OPA, or refused.** The same folder passes `opa test`; where regorus would answer
//! otherwise, a built-in is replaced (`builtins`, `glob`, `re2`), the text is rewritten, or the place
//! is refused at load with the way round. `tests/policy/opa_whole.rs` holds it against the real `opa`.

mod admission;
mod ast;
mod builtins;
mod bundle;
pub mod check;
mod contents;
mod data;
mod engine;
mod error;
mod extent;
pub mod fixture;
mod folder;
mod glob;
mod input;
mod judge;
pub mod judge_process;
mod metadata;
mod names;
mod pool;
mod re2;
mod reads;
pub mod replay;
mod rewrite;
mod saying;
pub mod schema;
mod spread;
pub mod testing;
mod waived;
pub mod why;

pub use bundle::Bundle;
pub use engine::{ENGINE, TIME_LIMIT};
pub use error::{LoadError, Place};
pub use glob::quote_meta;
pub use input::{EventHeader, Input, InputError};
pub use judge::Need;
pub use metadata::{ControlMeta, Mode};
pub use pool::Judge;
pub(crate) use pool::on_big_stack;
pub use rewrite::REWRITER;
pub use waived::{BreakGlassRule, By, Permission, Rules, WaiveRule, Waiving, not_a_glob};

/// Starts this program again with `RUST_LIB_BACKTRACE=0` if it would record a backtrace for every
/// error. Call it first in `main`: the standard library reads the variables once.
///
/// regorus' parser backtracks by errors, and with `RUST_BACKTRACE=1` (usual in CI and containers)
/// each of them costs a walk over the stack: 8 s instead of 0.4 s for 1,000 files. Panics still
/// print theirs.
///
/// # Errors
/// The program could not be started again. Going on is right, only slow.
#[cfg(unix)]
pub fn ensure_no_backtraces() -> std::io::Result<()> {
    use std::os::unix::process::CommandExt as _;
    let set = |name: &str| std::env::var_os(name).is_some_and(|v| v != "0");
    let wanted = match std::env::var_os("RUST_LIB_BACKTRACE") {
        Some(v) => v != "0",
        None => set("RUST_BACKTRACE"),
    };
    if !wanted {
        return Ok(());
    }
    let mut args = std::env::args_os();
    let mut command = std::process::Command::new(std::env::current_exe()?);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    // Only returns if it failed.
    Err(command.args(args).env("RUST_LIB_BACKTRACE", "0").exec())
}

#[cfg(not(unix))]
pub fn ensure_no_backtraces() -> std::io::Result<()> {
    Ok(())
}
