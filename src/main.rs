//! The `gatelog` command.

fn main() -> std::process::ExitCode {
    // Only slower if it fails.
    let _ = gatelog::policy::ensure_no_backtraces();
    gatelog::cli::main()
}
