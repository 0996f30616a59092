//! Segmentation where a device has none.
//!
//! Connections hand out super-segments; a device that cannot cut them gets segments instead. Two ways
//! lead there: [`TcpCuts`] advances a header over the data of a super-segment that is still to be
//! written, and [`Cuts`] cuts a whole frame that came from elsewhere (a device with offload, a
//! packet that is passed on). [`complete_checksum`] does what is left to do for a frame that is one
//! packet.

mod frame;
mod tcp;

pub(crate) use frame::{Cuts, complete_checksum};
pub(crate) use tcp::TcpCuts;
