#![no_main]

#[path = "../bodies/files.rs"]
#[allow(dead_code, reason = "each target uses one body")]
mod files;

libfuzzer_sys::fuzz_target!(|data: &[u8]| files::name(data));
