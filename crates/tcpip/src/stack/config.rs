//! Settings of a stack and its sockets, checked when they are used.

use core::ops::RangeInclusive;
use std::net::SocketAddr;

use weir_core::limits::{OutOfRange, check_range};
use weir_core::time::{Duration, nanos};

use crate::limits::{
    DEFAULT_BACKLOG, DEFAULT_CONNECTIONS, DEFAULT_HALF_OPEN, DEFAULT_MEMORY, DEFAULT_ORPHANS,
    DEFAULT_TIME_WAITS, DEFAULT_UDP_QUEUE, LEAST_MEMORY, MAX_BACKLOG, MAX_CONNECTIONS,
    MAX_UDP_QUEUE,
};
use crate::tcp::{TcpConfig, check_dscp};

/// What one stack may hold, and how it answers strangers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes that buffers of all connections and sockets may hold together.
    pub memory: u64,
    /// TCP connections, half-open and orphaned ones among them.
    pub max_connections: usize,
    /// Connections in SYN-RECEIVED. When there are as many, clients are answered with SYN cookies,
    /// or not at all (RFC 4987).
    pub max_half_open: usize,
    /// When SYN cookies are sent.
    pub syn_cookies: SynCookies,
    /// Connections that the application let go of and that still have something to send. The next
    /// one is reset instead.
    pub max_orphans: usize,
    /// Connections in TIME-WAIT. The oldest one gives way to the next.
    pub max_time_waits: usize,
    /// The ports that connections and sockets without one get, at random (RFC 6056).
    pub ports: RangeInclusive<u16>,
    /// Whether segments and datagrams for nobody are answered: RST (T14, T15), port unreachable
    /// (T151). False: they are dropped in silence.
    pub answer_strangers: bool,
    /// How long an attempt waits for the application's decision at a deferring listener.
    pub incoming_timeout: Duration,
}

/// When a stack answers a SYN with a cookie instead of remembering it (RFC 4987 section 3.6).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum SynCookies {
    /// Never: a SYN too many is dropped.
    Never,
    /// When as many connections are half-open as there may be.
    #[default]
    WhenFull,
    /// Always: nothing is remembered of a SYN.
    Always,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            memory: DEFAULT_MEMORY,
            max_connections: DEFAULT_CONNECTIONS,
            max_half_open: DEFAULT_HALF_OPEN,
            syn_cookies: SynCookies::default(),
            max_orphans: DEFAULT_ORPHANS,
            max_time_waits: DEFAULT_TIME_WAITS,
            // RFC 6056 3.2 wants the range large; below it are the ports that services listen on.
            ports: 32_768..=65_535,
            answer_strangers: true,
            incoming_timeout: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// Checks the figures.
    ///
    /// # Errors
    /// [`OutOfRange`] with the field's name and what it may be; times in nanoseconds.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        const DAY: u64 = 86_400_000_000_000;
        let connections = MAX_CONNECTIONS as u64;
        check_range("memory", self.memory, LEAST_MEMORY, u64::MAX)?;
        let counts = [
            ("max_connections", self.max_connections, 1),
            ("max_half_open", self.max_half_open, 0),
            ("max_orphans", self.max_orphans, 0),
            ("max_time_waits", self.max_time_waits, 0),
        ];
        for (field, value, least) in counts {
            check_range(field, value as u64, least, connections)?;
        }
        let waits = nanos(self.incoming_timeout);
        check_range("incoming_timeout", waits, 1_000_000, DAY)?;
        check_range("ports.start", u64::from(*self.ports.start()), 1, 65_535)?;
        let start = u64::from(*self.ports.start());
        check_range("ports.end", u64::from(*self.ports.end()), start, 65_535)
    }
}

/// How a listener takes connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// Connections that may wait to be accepted; a SYN more is dropped, and its repetition is taken
    /// when there is room (T35). With `defer`: attempts that may wait for a decision.
    pub backlog: usize,
    /// How its connections behave.
    pub tcp: TcpConfig,
    /// True: a SYN is not answered before [`tcp_confirm`](crate::Stack::tcp_confirm) or
    /// [`tcp_refuse`](crate::Stack::tcp_refuse); for a tunnel that has to look first whether
    /// whoever is behind it can be reached.
    pub defer: bool,
    /// True: takes connections to every address *and port* that nobody else listens on; the given
    /// address counts by its IP version alone. For tunnels, with an interface in any-address mode.
    pub any: bool,
}

impl Default for ListenConfig {
    fn default() -> ListenConfig {
        ListenConfig {
            backlog: DEFAULT_BACKLOG,
            tcp: TcpConfig::default(),
            defer: false,
            any: false,
        }
    }
}

impl ListenConfig {
    /// Checks the figures.
    ///
    /// # Errors
    /// [`OutOfRange`] with the field's name and what it may be.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        check_range("backlog", self.backlog as u64, 1, MAX_BACKLOG as u64)?;
        self.tcp.validate()
    }
}

/// How a connection is begun.
///
/// With [`TcpConfig::fast_open`] and a cookie of the server's, what is written before the next
/// [`poll_transmit`](crate::Stack::poll_transmit) goes out in the SYN (RFC 7413 section 4.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectConfig {
    /// The address and port to connect from. `None`, an unspecified address or port 0: the stack
    /// chooses. An address that is none of the stack's is taken where an interface in any-address
    /// mode leads to the remote.
    pub local: Option<SocketAddr>,
    /// How it behaves.
    pub tcp: TcpConfig,
}

/// How a UDP socket behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpConfig {
    /// True: takes datagrams to every address *and port* that no other socket has; the bound address
    /// counts by its IP version alone. For tunnels, with an interface in any-address mode; it may
    /// send from any address and port.
    pub any: bool,
    /// Bytes of received datagrams that may wait; the oldest goes when there are more.
    pub receive_queue: usize,
    /// Bytes of datagrams that may wait to be sent.
    pub send_queue: usize,
    /// Whether sent datagrams carry a checksum on IPv4; on IPv6 they always do (T150).
    pub checksum: bool,
    /// The TTL or hop limit of what is sent. 64 by default (T142).
    pub hop_limit: u8,
    /// The Differentiated Services codepoint of what is sent, 0 to 63 (RFC 1122 3.2.1.6, 4.1.4). 0 by
    /// default; [`udp_set_dscp`](crate::Stack::udp_set_dscp) changes it.
    pub dscp: u8,
    /// Whether what is sent may be fragmented on the way. False for path MTU discovery.
    pub fragment: bool,
}

impl Default for UdpConfig {
    fn default() -> UdpConfig {
        UdpConfig {
            any: false,
            receive_queue: DEFAULT_UDP_QUEUE,
            send_queue: DEFAULT_UDP_QUEUE,
            checksum: true,
            hop_limit: 64,
            dscp: 0,
            fragment: true,
        }
    }
}

impl UdpConfig {
    /// Checks the figures.
    ///
    /// # Errors
    /// [`OutOfRange`] with the field's name and what it may be.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        let most = MAX_UDP_QUEUE as u64;
        check_range("receive_queue", self.receive_queue as u64, 1, most)?;
        check_range("send_queue", self.send_queue as u64, 1, most)?;
        check_range("hop_limit", u64::from(self.hop_limit), 1, 255)?;
        check_dscp(self.dscp)
    }
}
