//! Streams over any path: endpoints, connections and streams on tokio.

mod carrier;
pub mod security;
pub mod tunnel;
