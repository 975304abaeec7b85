#![no_main]

#[path = "../bodies/accounts.rs"]
#[allow(dead_code, reason = "each target uses one body")]
mod accounts;

libfuzzer_sys::fuzz_target!(|data: &[u8]| accounts::invite_link(data));
