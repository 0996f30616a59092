//! Every cap of the stack, by name.

use weir_core::time::Duration;

/// The largest frame between stack and device, in bytes: an IP packet of 65,535 bytes behind an
/// Ethernet header with room to spare. Super-segments are no larger (`IFF_VNET_HDR`, Linux' GSO).
pub const MAX_FRAME: usize = 65_536 + 64;

// wire

/// Extension headers of one IPv6 packet that are walked before it is dropped (RFC 8504 5.3).
pub const MAX_EXTENSION_HEADERS: usize = 8;
/// Options of one Hop-by-Hop or Destination Options header, padding not counted, before the packet
/// is dropped (RFC 8504 5.3).
pub const MAX_EXTENSION_OPTIONS: usize = 8;

// tcp: the connection

/// A peer's MSS below this is raised to it: with less, headers would be most of what is sent, and a
/// peer could make us send a packet for every few bytes (T29; Linux' `tcp_min_snd_mss`).
pub const FLOOR_MSS: u16 = 48;
/// The MSS of an IPv4 peer that names none (RFC 9293 3.7.1).
pub const DEFAULT_MSS_V4: u16 = 536;
/// The MSS of an IPv6 peer that names none (RFC 9293 3.7.1).
pub const DEFAULT_MSS_V6: u16 = 1220;
/// The largest window there can be in bytes (RFC 7323 2.2), and so the largest buffer.
pub const MOST_WINDOW: u64 = 1 << 30;
/// The smallest buffer of either direction, in bytes.
pub const LEAST_BUFFER: u64 = 2048;
/// Bytes that a peer may send at first: 65,535, and a sixteenth on top that is kept back.
pub const DEFAULT_RECEIVE_WINDOW: u64 = 70 * 1024;
/// What the receive window grows to in bytes: Linux' `tcp_rmem`.
pub const MAX_RECEIVE_WINDOW: u64 = 6 * 1024 * 1024;
/// Bytes that may be written ahead at first.
pub const DEFAULT_SEND_BUFFER: u64 = 64 * 1024;
/// What that grows to in bytes: Linux' `tcp_wmem`.
pub const MAX_SEND_BUFFER: u64 = 4 * 1024 * 1024;
/// Bytes that every connection may have unacknowledged, though memory is short, so that it gets on.
pub const LEAST_SEND: u64 = 4096;
/// Bytes of the budget that a connection keeps for what arrives next while it is awake: small messages
/// that are read as they come then do not change what all connections count.
pub const RECEIVE_SLACK: u64 = 2048;
/// See [`TcpConfig::user_timeout`](crate::TcpConfig::user_timeout).
pub const DEFAULT_USER_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// See [`TcpConfig::syn_timeout`](crate::TcpConfig::syn_timeout).
pub const DEFAULT_SYN_TIMEOUT: Duration = Duration::from_secs(180);
/// See [`TcpConfig::fin_wait_timeout`](crate::TcpConfig::fin_wait_timeout).
pub const DEFAULT_FIN_WAIT: Duration = Duration::from_secs(60);
/// See [`TcpConfig::time_wait`](crate::TcpConfig::time_wait).
pub const DEFAULT_TIME_WAIT: Duration = Duration::from_secs(60);
/// See [`TcpConfig::min_rto`](crate::TcpConfig::min_rto).
pub const DEFAULT_MIN_RTO: Duration = Duration::from_millis(200);
/// See [`TcpConfig::delayed_ack`](crate::TcpConfig::delayed_ack).
pub const DEFAULT_DELAYED_ACK: Duration = Duration::from_millis(40);
/// An ACK is never held back for longer (RFC 9293 3.8.6.3).
pub const MOST_DELAYED_ACK: Duration = Duration::from_millis(500);
/// The shortest time between keep-alive probes.
pub const LEAST_KEEPALIVE: Duration = Duration::from_millis(10);
/// The first retransmission time-out (RFC 6298 2.1), of the SYN and where nothing was measured.
pub const INITIAL_RTO: Duration = Duration::from_secs(1);
/// The longest time between repetitions, of SYNs and of window probes (RFC 6298 2.5).
pub const MAX_RTO: Duration = Duration::from_secs(60);
/// Repetitions after which the path is suspected (R1 of RFC 9293 3.8.3).
pub const R1: u32 = 3;
/// Segments that are acknowledged at once at the beginning (T65).
pub const QUICK_ACKS: u8 = 16;
/// Challenge ACKs, and ACKs in answer to segments out of the window that carry nothing, that one
/// connection sends in [`CHALLENGE_PERIOD`] (RFC 5961 section 7).
pub const MAX_CHALLENGE_ACKS: u8 = 10;
/// See [`MAX_CHALLENGE_ACKS`].
pub const CHALLENGE_PERIOD: Duration = Duration::from_secs(1);
/// SACK blocks that are remembered to be told again (T97): those that fit into a segment.
pub const MAX_SACK_BLOCKS: usize = 4;
/// A timestamp is not compared with one that is older than this (RFC 7323 5.5).
pub const PAWS_IDLE: Duration = Duration::from_secs(24 * 86_400);
/// Duplicate ACKs that one batch of segments out of order is answered with where there is no SACK.
pub const MAX_DUPLICATE_ACKS: u8 = 64;
/// How often a receive window that was grown is looked at when nothing is read.
pub const WINDOW_PERIOD: Duration = Duration::from_secs(1);
/// Ranges behind gaps that one connection remembers for SACK. Of more, data is kept all the same, but
/// reported by its own segment only.
pub const MAX_HELD_RANGES: usize = 128;
/// ICMP errors that say "unreachable" after which an attempt to connect is given up (RFC 5461): one
/// alone may be a routing change.
pub const MAX_SOFT_ERRORS: u8 = 3;
/// The shortest time before a window is probed, and before what fits into a small one is sent
/// (RFC 9293 3.8.6.2.1 has 0.1 to 1 second).
pub const LEAST_PERSIST: Duration = Duration::from_millis(200);
/// The largest Differentiated Services codepoint: six bits (RFC 2474 section 3).
pub const MAX_DSCP: u8 = 63;

// stack, udp

/// Bytes that the buffers of one stack may hold, where nothing else is said.
pub const DEFAULT_MEMORY: u64 = 256 * 1024 * 1024;
/// The least that a stack's memory can be set to, in bytes.
pub const LEAST_MEMORY: u64 = 256 * 1024;
/// TCP connections of one stack, where nothing else is said.
pub const DEFAULT_CONNECTIONS: usize = 65_536;
/// The most that any count of connections can be set to.
pub const MAX_CONNECTIONS: usize = 1 << 20;
/// Connections in SYN-RECEIVED before cookies are sent, where nothing else is said.
pub const DEFAULT_HALF_OPEN: usize = 1024;
/// Connections that nobody holds any more, where nothing else is said.
pub const DEFAULT_ORPHANS: usize = 8192;
/// Connections in TIME-WAIT, where nothing else is said. At 60 s each that is 546 a second.
pub const DEFAULT_TIME_WAITS: usize = 32_768;
/// Connections that wait to be accepted by one listener, where nothing else is said.
pub const DEFAULT_BACKLOG: usize = 1024;
/// The most that a backlog can be set to.
pub const MAX_BACKLOG: usize = 65_536;
/// Bytes of datagrams that wait at one socket, each way, where nothing else is said.
pub const DEFAULT_UDP_QUEUE: usize = 512 * 1024;
/// The most that a socket's queue can be set to, in bytes.
pub const MAX_UDP_QUEUE: usize = 64 * 1024 * 1024;
/// What a connection is taken for in the memory budget besides its buffers, in bytes.
pub const CONNECTION_COST: u64 = 1536;
/// How exactly connections' timers go off: up to so much late, never early.
pub const TIMER_TICK: Duration = Duration::from_micros(100);
/// A connection that was silent for so long gives back what only a flow needs; one that knows more of
/// its path than a new one would, after a retransmission time-out at the earliest.
pub const REST_AFTER: Duration = Duration::from_millis(50);
/// The same where congestion control has a model of the path.
pub const MODEL_REST_AFTER: Duration = Duration::from_secs(2);
/// Listeners of one stack.
pub const MAX_LISTENERS: usize = 65_536;
/// Segments that wait to be sent for which there is no connection: RSTs, SYN cookies, ACKs in
/// TIME-WAIT. Those beyond it are not sent; whoever asked will ask again.
pub const MAX_REPLIES: usize = 4096;
/// RSTs to one source address (or to those that share its bucket) for segments that are nobody's, a
/// second and at once.
pub const RST_PER_SOURCE: u32 = 500;
/// The same to all sources.
pub const RST_OVER_ALL: u32 = 10_000;
/// Buckets that sources are spread over.
pub const RATE_BUCKETS: usize = 1024;
/// The hop limit of segments for which there is no connection.
pub const DEFAULT_HOP_LIMIT: u8 = 64;
/// Connections that Fast Open brought data for and whose handshake is not done (RFC 7413 5.1).
pub const MAX_FAST_OPEN_PENDING: usize = 256;
/// Servers whose Fast Open cookie is kept.
pub const MAX_FAST_OPEN_COOKIES: usize = 256;
/// Bytes that one connection or socket sends before it is the next one's turn.
pub const TURN_BYTES: usize = 128 * 1024;
/// Payload bytes that one super-segment has at most: with all headers it has to be a packet.
pub const MAX_SUPER_SEGMENT: usize = 65_536;
/// Frames that a stack sends to itself in one call of `poll_transmit`.
pub const MAX_LOOPBACK_FRAMES: usize = 1024;
/// From so many bytes on a payload is handed to the device as a slice of its own instead of a copy.
pub const GATHER_FROM: usize = 4096;
/// UDP sockets of one stack.
pub const MAX_UDP_SOCKETS: usize = 65_536;
/// What a UDP socket is taken for in the memory budget besides its queues, in bytes.
pub const UDP_SOCKET_COST: u64 = 512;
/// What a datagram is taken for in a queue besides its bytes.
pub const UDP_DATAGRAM_COST: usize = 128;
/// Errors that wait at one socket; the oldest goes when there are more.
pub const MAX_UDP_ERRORS: usize = 16;
/// Bytes of a datagram that are kept with an error about it: enough to know a QUIC packet by its
/// connection ID (RFC 9000 section 17.2).
pub const UDP_QUOTE: usize = 32;
/// Bytes of the chunks that datagrams are kept in.
pub const UDP_CHUNK_BYTES: usize = 64 * 1024;
/// Chunks that are kept for the next datagrams.
pub const UDP_FREE_CHUNKS: usize = 16;

// ip, link

/// Interfaces of one stack.
pub const MAX_INTERFACES: usize = 256;
/// Addresses of one interface.
pub const MAX_ADDRESSES: usize = 32;
/// Addresses of one interface that are made of routers' prefixes (RFC 4862 5.5), of those.
pub const MAX_AUTONOMOUS_ADDRESSES: usize = 8;
/// Prefixes on the link that routers of one stack's links tell of.
pub const MAX_PREFIXES: usize = 32;
/// Default routers from advertisements.
pub const MAX_ROUTERS: usize = 16;
/// Routes of one stack, from all sources.
pub const MAX_ROUTES: usize = 4096;
/// Neighbours that one stack knows, on all links (RFC 6583).
pub const MAX_NEIGHBORS: usize = 2048;
/// Neighbours set by hand, of those.
pub const MAX_STATIC_NEIGHBORS: usize = 1024;
/// Neighbours that are being asked for at one time.
pub const MAX_INCOMPLETE_NEIGHBORS: usize = 256;
/// Packets that wait for one neighbour to answer, the newest: all fragments of the largest datagram,
/// or a burst of small ones.
pub const MAX_PENDING_PACKETS: usize = 64;
/// Bytes of packets that wait for neighbours, of all of them.
pub const MAX_PENDING_BYTES: usize = 512 * 1024;
/// Datagrams that wait for fragments.
pub const MAX_REASSEMBLIES: usize = 1024;
/// Memory in bytes that they take, as Linux' `ipfrag_high_thresh`.
pub const MAX_REASSEMBLY_BYTES: usize = 4 * 1024 * 1024;
/// How much of a first fragment is kept to be quoted when the rest does not come, in bytes: what an
/// ICMPv6 error has room for.
pub const REASSEMBLY_QUOTE: usize = 1232;
/// Destinations whose path takes less than the first link.
pub const MAX_PATH_MTUS: usize = 4096;
/// Counters of IP identifications, shared by destinations.
pub const ID_COUNTERS: usize = 2048;
/// Buckets for ICMP errors, each shared by the receivers that a hash puts there.
pub const ERROR_BUCKETS: usize = 256;
/// ICMP errors a second to one receiver (RFC 4443 2.4 (f) has 10 as an example), ...
pub const ERRORS_PER_SECOND_EACH: u64 = 10;
/// ... at once, ...
pub const ERRORS_BURST_EACH: u64 = 10;
/// ... of the whole stack, ...
pub const ERRORS_PER_SECOND: u64 = 1000;
/// ... and at once.
pub const ERRORS_BURST: u64 = 500;
/// Frames that the internet layer sends on its own, or passes on, between two batches ...
pub const MAX_IP_REPLIES: usize = 4096;
/// ... and their bytes.
pub const MAX_IP_REPLY_BYTES: usize = 1024 * 1024;
/// Bytes of packets that the stack sent to itself and has not taken yet.
pub const MAX_LOOPBACK_BYTES: usize = 4 * 1024 * 1024;
/// News of the internet layer that nobody asked for yet.
pub const MAX_IP_EVENTS: usize = 1024;
/// What one call tells a tracer of neighbours, addresses and packets thrown away; the rest is not told.
pub const MAX_IP_NOTES: usize = 4096;

// Recovery.

/// Super-segments in flight that are remembered, 64 bytes each. With 64 KiB in each they are more
/// than any window; an application that writes single bytes without Nagle meets it, and waits.
pub const MAX_RECORDS: usize = 4096;
/// Runs of sacked segments that are remembered. A path with so many holes in one window is not worth
/// more; blocks beyond count as not reported, until those below are acknowledged.
pub const MAX_SACKED_RUNS: usize = 1024;
