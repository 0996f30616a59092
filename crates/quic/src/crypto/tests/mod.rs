//! Packet protection and TLS, shown by vectors and by handshakes in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod faults;
mod handshake;
mod pair;
mod phases;
mod reset;
mod resumption;
mod token;
mod vectors;

/// Bytes from hexadecimal.
fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
