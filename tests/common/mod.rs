//! Helpers that the integration tests share: the real binary, a simulated GitHub, a look into the ledger.
#![allow(dead_code, reason = "each test program uses a part of them")]

pub mod foreign;
pub mod ports;
pub mod program;
pub mod scene;
pub mod schemas;
pub mod service;
pub mod view;

/// Whether the random tests are to run for long (`GATELOG_EFFORT=long`).
pub fn long() -> bool {
    std::env::var("GATELOG_EFFORT").is_ok_and(|e| e == "long")
}

/// Notes a measurement for `docs/measured.md`, where `.ci/long` asked for it.
pub fn measured(what: &str, result: &str) {
    use std::io::Write as _;
    let Ok(path) = std::env::var("GATELOG_MEASURED") else { return };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    writeln!(file.unwrap(), "{what} | {result}").unwrap();
}

/// A small generator of random numbers: printed, a seed repeats a run.
pub struct Random(u64);

impl Random {
    /// From `GATELOG_SEED`, or the clock.
    pub fn seeded(what: &str) -> Self {
        let given = std::env::var("GATELOG_SEED").ok().and_then(|s| s.parse().ok());
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = given.unwrap_or(clock.as_micros() as u64);
        println!("{what}: GATELOG_SEED={seed}");
        Self(seed)
    }

    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

/// Does the same with each, on all cores; the answers in the order of the questions.
pub fn in_parallel<T: Sync, A: Send>(all: &[T], work: impl Fn(&T) -> A + Sync) -> Vec<A> {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let parts = all.chunks(all.len().div_ceil(cores).max(1));
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> =
            parts.map(|p| scope.spawn(move || p.iter().map(work).collect::<Vec<A>>())).collect();
        running.into_iter().flat_map(|r| r.join().unwrap()).collect()
    })
}
