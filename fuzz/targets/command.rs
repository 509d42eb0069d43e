#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatelog_fuzz::command(data));
