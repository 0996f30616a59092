//! Engines as actors: what drives a sans-IO engine and its application, in the way a real driver
//! does.

mod datagrams;
mod pipe;

pub use datagrams::{DatagramPeer, OnDatagrams, Transmit};
pub use pipe::{OnPipe, PipeClose, PipeInput, PipePeer};

/// Rounds of application and engine in one turn. An application that writes whenever it can fills
/// its windows in a few rounds; one that is at it after so many will be for ever.
const MAX_ROUNDS: usize = 100_000;
