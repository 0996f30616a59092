//! A TCP/IP stack of one's own: sockets without the kernel's, over any source of packets.
//!
//! | file | what of it |
//! |---|---|
//! | `device/` | where frames come from and go to: the trait, and a pair in memory |

pub mod device;

pub use device::{Device, Memory, ReceiveBuf};
pub use weir_tcpip::{
    Capabilities, Checksum, Frame, Medium, Offload, SegmentKind, Segmentation, Segments,
};
