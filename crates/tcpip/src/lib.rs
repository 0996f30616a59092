//! A TCP/IP stack in user space as a sans-IO engine: Ethernet, ARP and NDP, IPv4 and IPv6, ICMP,
//! UDP and TCP over any source of packets.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "tests"
    )
)]

mod device;
mod ip;
pub mod limits;
mod link;
mod offload;
mod stack;
mod tcp;
mod trace;
mod transmit;
mod udp;
pub mod wire;

pub use device::{
    Capabilities, Checksum, InterfaceId, Medium, Offload, SegmentKind, Segmentation, Segments,
};
pub use ip::{
    Cidr, CidrError, ConfigError, Ecn, IcmpKind, InterfaceConfig, IpCounters, IpTimer,
    NeighborState, NoRoute, RouteConfig, SendError,
};
pub use link::{IdentifierSecret, Mac};
pub use stack::{
    AddressState, BindError, Config, ConnectConfig, ConnectError, Counters, Event, Gone,
    IncomingKey, ListenConfig, ListenerKey, Refusal, Stack, StackStats, SynCookies, TcpKey, Timer,
    UdpConfig, UdpKey, UdpSendError,
};
pub use tcp::{
    CloseCause, KeepAlive, ReadError, SendBufferConfig, Setting, State, TcpConfig, TcpStats,
    TcpTimer, WriteError,
};
pub use transmit::{Frame, TransmitBuf};
pub use udp::{Datagram, Quote, Received, UdpError};
