#![no_main]

#[path = "../harness/quic_connection.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::run(data));
