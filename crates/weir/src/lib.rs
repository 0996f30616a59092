//! Streams over any path: endpoints, connections and streams on tokio.

pub mod security;
pub mod tunnel;
