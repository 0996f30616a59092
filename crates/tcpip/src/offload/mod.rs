//! Segmentation where a device has none.
//!
//! Connections hand out super-segments; a device that cannot cut them gets segments instead. Two ways
//! lead there: [`TcpCuts`] advances a header over the data of a super-segment that is still to be
//! written, and [`Cuts`] cuts a whole frame that came from elsewhere (a device with offload, a
//! packet that is passed on). [`complete_checksum`] does what is left to do for a frame that is one
//! packet.
//!
//! # Why nothing is coalesced here
//! What a device coalesces (`virtio_net_hdr`) arrives as one super-segment and is taken as one. Frames of
//! a device that does not are taken one by one. Joining them first could spare about 80 ns of the 140
//! that a full-sized segment of a bulk transfer costs from frame to reassembled bytes: reading its headers, its checksum
//! and the copy of its bytes (60 ns) remain, and so does telling flows apart. Such devices cost a system
//! call a frame, or the opening of a sealed packet, each some ten times what would be spared; and
//! acknowledgements are coalesced anyway, for a batch of frames is answered once.

mod frame;
mod tcp;

pub(crate) use frame::{Cuts, complete_checksum};
pub(crate) use tcp::TcpCuts;
