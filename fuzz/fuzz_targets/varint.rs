#![no_main]

#[path = "../bodies/wire.rs"]
#[allow(dead_code, reason = "each target uses one body")]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::varint(data));
