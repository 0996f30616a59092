//! A TCP/IP stack of one's own: sockets without the kernel's, over any source of packets.
//!
//! | file | what of it |
//! |---|---|
//! | `device/` | where frames come from and go to: the trait, a pair in memory, TUN and TAP |
//! | `stack.rs` | a stack as programs have it, and how it is made |
//! | `shard.rs` | the task that owns the devices |
//! | `shared.rs`, `waiters.rs` | the engine behind its lock, and who waits |
//! | `listener.rs`, `stream.rs`, `halves.rs`, `end.rs` | TCP |
//! | `udp.rs` | UDP |
//! | `error.rs` | what can go wrong |

pub mod device;
mod end;
mod error;
mod halves;
mod listener;
mod shard;
mod shared;
mod stack;
mod stream;
mod udp;
mod waiters;

pub use device::{Device, Memory, ReceiveBuf};
#[cfg(target_os = "linux")]
pub use device::{DeviceError, Tap, Tun, TunBuilder};
pub use error::{StackError, TcpError};
pub use halves::{NotOneStream, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use listener::{Incoming, TcpListener};
pub use stack::{Interface, Stack, StackBuilder};
pub use stream::TcpStream;
pub use udp::UdpSocket;
pub use weir_core::congestion::Algorithm;
pub use weir_tcpip::{
    Capabilities, Checksum, Cidr, CidrError, CloseCause, Config, ConfigError, ConnectConfig,
    Counters, Datagram, Ecn, Frame, InterfaceId, KeepAlive, ListenConfig, Mac, Medium, Offload,
    Received, RouteConfig, SegmentKind, Segmentation, Segments, SendBufferConfig, Setting,
    StackStats, State, SynCookies, TcpConfig, TcpStats, TransmitBuf, UdpConfig, UdpError,
};
