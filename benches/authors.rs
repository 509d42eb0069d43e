//! What policy authors wait for, as whole commands, in turn with what others would run on the same folder:
//! `policy test` and `opa test`, `policy check` and `regal lint`.
//!
//! `cargo bench --bench authors`. Regal and opa are built by Go the first time.

#[path = "../tests/common/foreign.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod foreign;

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use foreign::{Tool, foreign, root};

const ROUNDS: usize = 15;

fn main() {
    let gatelog = Path::new(env!("CARGO_BIN_EXE_gatelog"));
    if let Some(opa) = foreign(Tool::Opa) {
        compare(gatelog, &["policy", "test"], 0, &opa, &["test"], 0);
    }
    if let Some(regal) = foreign(Tool::Regal) {
        // With `.regal/config.yaml`: neither finds anything.
        compare(gatelog, &["policy", "check"], 0, &regal, &["lint"], 0);
    }
}

fn compare(ours: &Path, our: &[&str], our_code: i32, theirs: &Path, their: &[&str], their_code: i32) {
    let (mut mine, mut other, mut ratios) = (vec![], vec![], vec![]);
    for round in 0..=ROUNDS {
        let a = run(ours, our, our_code);
        let b = run(theirs, their, their_code);
        // The first fills the caches of the file system.
        if round > 0 {
            mine.push(a);
            other.push(b);
            ratios.push(a.as_secs_f64() / b.as_secs_f64());
        }
    }
    mine.sort();
    other.sort();
    ratios.sort_by(f64::total_cmp);
    let name = theirs.file_name().unwrap_or_default().to_string_lossy();
    println!(
        "median of {ROUNDS}: gatelog {} {:?}, {name} {} {:?}; median ratio {:.3}",
        our.join(" "),
        mine[ROUNDS / 2],
        their.join(" "),
        other[ROUNDS / 2],
        ratios[ROUNDS / 2],
    );
}

fn run(program: &Path, args: &[&str], code: i32) -> Duration {
    let began = Instant::now();
    let status = Command::new(program)
        .args(args)
        .arg("policies")
        .current_dir(root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("it starts");
    let took = began.elapsed();
    assert_eq!(status.code(), Some(code), "{} {args:?}", program.display());
    took
}
