#![no_main]

#[path = "../harness/tunnel_protocol.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::run(data));
