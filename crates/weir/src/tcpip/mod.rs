//! A TCP/IP stack of one's own: sockets without the kernel's, over any source of packets.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use weir::tcpip::{Capabilities, Interface, Medium, Memory, Stack, TcpListener, TcpStream};
//!
//! // Two hosts with a cable between them. A TUN device, or one's own `Device`, serves as well.
//! let (ours, theirs) = Memory::pair(Capabilities::plain(Medium::Ip, 1500));
//! let server = Stack::builder()
//!     .device(ours, Interface::new().address("10.0.0.1/24".parse()?))
//!     .start()?;
//! let client = Stack::builder()
//!     .device(theirs, Interface::new().address("10.0.0.2/24".parse()?))
//!     .start()?;
//!
//! let listener = TcpListener::bind(&server, "10.0.0.1:80".parse()?)?;
//! tokio::spawn(async move {
//!     let (mut stream, _) = listener.accept().await.expect("a stack that runs");
//!     while let Some(mut chunk) = stream.read_chunk(64 * 1024).await.expect("bytes") {
//!         stream.write_chunk(&mut chunk).await.expect("a reader");
//!     }
//!     stream.finish();
//! });
//!
//! let mut stream = TcpStream::connect(&client, "10.0.0.1:80".parse()?).await?;
//! stream.write_all(b"hello").await?;
//! stream.shutdown().await?; // ends this direction; the answer still comes
//! let mut answer = Vec::new();
//! stream.read_to_end(&mut answer).await?;
//! assert_eq!(answer, b"hello");
//! # Ok(()) }
//! ```
//!
//! | file | what of it |
//! |---|---|
//! | `device/` | where frames come from and go to: the trait, a pair in memory, TUN and TAP |
//! | `stack.rs` | a stack as programs have it, and how it is made |
//! | `shard.rs` | the task that owns the devices |
//! | `shared.rs`, `waiters.rs` | the engine behind its lock, and who waits |
//! | `listener.rs`, `stream.rs`, `halves.rs`, `end.rs` | TCP |
//! | `backlog.rs` | what waits for one device while the others go on |
//! | `udp.rs` | UDP |
//! | `error.rs` | what can go wrong |

mod backlog;
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
pub(crate) use error::icmp_kind;
pub use error::{StackError, TcpError};
pub use halves::{NotOneStream, OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use listener::{Incoming, TcpListener};
pub(crate) use stack::WeakStack;
pub use stack::{Interface, Stack, StackBuilder, TcpConnection};
pub use stream::TcpStream;
pub use udp::UdpSocket;
pub use weir_core::congestion::Algorithm;
pub use weir_tcpip::{
    Capabilities, Checksum, Cidr, CidrError, CloseCause, Config, ConfigError, ConnectConfig,
    Counters, Datagram, Ecn, Frame, IcmpKind, InterfaceId, IpCounters, KeepAlive, ListenConfig,
    Mac, Medium, Offload, Quote, Received, Refusal, RouteConfig, SegmentKind, Segmentation,
    Segments, SendBufferConfig, Setting, StackStats, State, SynCookies, TcpConfig, TcpStats,
    TransmitBuf, UdpConfig, UdpError,
};
