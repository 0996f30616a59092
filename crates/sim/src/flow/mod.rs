//! One direction of a byte pipe, as a pure model: bytes written at one end come out at the other,
//! in order and complete, when rate, delay and stalls let them.

mod config;
mod model;

pub use config::{Chunking, Cut, CutAt, Ending, PipeConfig};
pub use model::{Flow, FlowStats, Progress, Read, Segment, WriteError};
