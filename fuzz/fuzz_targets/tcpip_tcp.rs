#![no_main]

#[path = "../harness/tcpip_tcp.rs"]
mod harness;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::run(data));
