#![no_main]

#[path = "../harness/tcpip_wire.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::run(data));
