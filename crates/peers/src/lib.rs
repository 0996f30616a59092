//! What the tests against other stacks stand on: the QUIC engine on a UDP socket of tokio, bare, so
//! that a test sees every event and can call everything on the engine's connection.
//!
//! Only tests use this crate; programs use `weir`.

mod node;
mod streams;

pub use node::{Conn, Node, NodeConfig, Seen};
