//! libFuzzer for the parser that `GATELOG_FUZZ` names.
#![no_main]

use std::sync::LazyLock;

use gatelog_fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let wanted = std::env::var("GATELOG_FUZZ").unwrap_or_default();
    match TARGETS.iter().find(|(name, _)| *name == wanted) {
        Some((_, target)) => *target,
        None => {
            let names: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
            panic!("GATELOG_FUZZ is `{wanted}`, not one of {}", names.join(", "))
        }
    }
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
