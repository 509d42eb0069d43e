//! The `gatelog` command.

fn main() -> std::process::ExitCode {
    gatelog::cli::main()
}
