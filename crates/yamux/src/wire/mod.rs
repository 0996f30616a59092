//! Bytes to values and back; no state.
//!
//! [`Header::decode`] is the only way from bytes to a [`Header`], and it refuses every header
//! that the specification rules out. Code behind it acts on valid values. Neither direction
//! can panic.

mod flags;
mod header;

pub use flags::Flags;
pub use header::{FrameType, HEADER_LEN, Header, HeaderError};
