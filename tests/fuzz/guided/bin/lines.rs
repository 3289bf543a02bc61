//! Feeds `lines`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| erstwhile_fuzz::lines::run(input));
