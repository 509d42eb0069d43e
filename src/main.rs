//! The `gatelog` command.

fn main() -> std::process::ExitCode {
    if let Err(e) = gatelog::config::keep_secrets_out_of_core_dumps() {
        eprintln!("gatelog: core dumps cannot be turned off, one could hold secrets: {e}");
    }
    // The crash tests say with the variable FAILPOINTS where to die.
    #[cfg(feature = "failpoints")]
    let _armed = fail::FailScenario::setup();
    if let Err(e) = gatelog::policy::ensure_no_backtraces() {
        // Only slower.
        eprintln!("gatelog: could not turn off backtraces of errors, loading policies will be slow: {e}");
    }
    gatelog::cli::main()
}
