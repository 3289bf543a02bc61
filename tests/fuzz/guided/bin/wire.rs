//! Feeds `wire`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| erstwhile_fuzz::wire::run(input));
