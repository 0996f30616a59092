//! What can be set on QUIC beyond what every way has.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use weir_quic::cid::{ConnectionIdGenerator, RandomCids};
use weir_quic::{EndpointConfig, ResetKey, RetryPolicy, TokenKeys, TransportConfig, Version};

use crate::config::Config;

pub use weir_core::congestion::Algorithm as Congestion;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Connection IDs of this length cannot be guessed and leave the packet short.
const CID_LEN: usize = 8;

/// The cipher that all of a connection's packets are sealed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Cipher {
    /// AES with keys of 128 bits, in Galois/Counter Mode.
    Aes128Gcm,
    /// AES with keys of 256 bits, in Galois/Counter Mode.
    Aes256Gcm,
    /// ChaCha20 with Poly1305: fast on processors without instructions for AES.
    ChaCha20Poly1305,
}

/// Settings of QUIC connections, beside those in [`Config`] that every way has. The defaults suit
/// all networks; most of what is here is for measurements, tests and fleets.
#[derive(Clone)]
pub struct QuicConfig {
    /// Congestion control. CUBIC with HyStart++, which shares a bottleneck fairly with TCP.
    pub congestion: Congestion,
    /// Largest UDP payload in bytes that is sent. `None`: what the path turns out to carry (RFC
    /// 8899), at most what an Ethernet does (1,452), or on loopback all that UDP has.
    pub mtu: Option<u16>,
    /// Whether larger packets than the 1,200 bytes that every path carries are tried at all.
    pub discover_mtu: bool,
    /// Versions in the order of preference. 1, then 2.
    pub versions: Vec<Version>,
    /// The version that connections begin with, one of `versions`, when it is not the preferred one.
    pub first_version: Option<Version>,
    /// Whether a server takes the version that its client prefers among `versions`, instead of the
    /// one that it prefers itself (RFC 9368 section 2.3 leaves it the choice).
    pub follows_client_versions: bool,
    /// Silence after which a connection is over; `None`: keep-alive time and its time-out together,
    /// or 2 minutes without keep-alive.
    pub idle_timeout: Option<Duration>,
    /// Unidirectional streams that the peer may have open at once. 1,000.
    pub max_uni_streams: u64,
    /// Bytes of received datagrams (RFC 9221) that wait for the application. 1 MiB.
    pub datagram_buffer: usize,
    /// Whether packets are marked for explicit congestion notification where the path passes it.
    pub ecn: bool,
    /// Whether packets are spread over the round trip instead of sent in bursts.
    pub pacing: bool,
    /// Whether reserved values are sent now and then, so that middleboxes do not come to rely on
    /// their absence (RFC 9287).
    pub grease: bool,
    /// Whether peers may move to another address on purpose (RFC 9000 section 9).
    pub migration: bool,
    /// Packets under one key before it is replaced; `None`: as the cipher's limit asks.
    pub key_update_after: Option<u64>,
    /// The one cipher that is offered and taken; `None`: all, the fastest on this processor first.
    pub cipher: Option<Cipher>,
    /// How long a socket's task looks for the next datagram without going to sleep, after one came or
    /// something was sent. Waking a task takes the system some 50 us, which round trips within a data
    /// centre feel; looking takes a processor core for that time. Zero: it sleeps at once.
    pub busy_poll: Duration,
    /// Whether listening sides keep what [`crate::Connection::export_keying_material`] needs, some
    /// 10 KiB a connection.
    pub exporter: bool,
    /// When clients have to show that they are at their address before anything is kept for them.
    pub retry: RetryPolicy,
    /// Makes the connection IDs; `None`: random ones. A fleet behind a load balancer uses
    /// [`weir_quic::cid::QuicLb`].
    pub cid_generator: Option<Arc<dyn ConnectionIdGenerator>>,
    /// Keys of address validation tokens, for servers that take each other's; `None`: fresh ones.
    pub token_keys: Option<Arc<TokenKeys>>,
    /// Key of stateless reset tokens, by which peers learn that this side has forgotten them. `None`:
    /// what follows from the endpoint's identity and the address where it listens, so that peers
    /// learn at once of a restart with the same key at the same place.
    pub reset_key: Option<Arc<ResetKey>>,
    /// Where clients are asked to move to after the handshake (RFC 9000 section 9.6): an address of
    /// the listening socket, bound to all of the machine's. Port 0 stands for the socket's own.
    pub preferred: weir_quic::PreferredAddresses,
}

impl Default for QuicConfig {
    fn default() -> Self {
        QuicConfig {
            congestion: Congestion::Cubic,
            mtu: None,
            discover_mtu: true,
            versions: vec![Version::V1, Version::V2],
            first_version: None,
            follows_client_versions: false,
            idle_timeout: None,
            max_uni_streams: 1000,
            datagram_buffer: MIB as usize,
            ecn: true,
            pacing: true,
            grease: true,
            migration: true,
            key_update_after: None,
            cipher: None,
            busy_poll: Duration::ZERO,
            exporter: false,
            retry: RetryPolicy::Above(1_000),
            cid_generator: None,
            token_keys: None,
            reset_key: None,
            preferred: weir_quic::PreferredAddresses::default(),
        }
    }
}

impl fmt::Debug for QuicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicConfig")
            .field("congestion", &self.congestion)
            .field("mtu", &self.mtu)
            .field("versions", &self.versions)
            .field("first_version", &self.first_version)
            .field("follows_client_versions", &self.follows_client_versions)
            .field("idle_timeout", &self.idle_timeout)
            .field("cipher", &self.cipher)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// What is probed for where nothing better is known: an Ethernet's 1,500 bytes less the headers of
/// IPv6 and UDP.
pub(super) const ETHERNET: usize = 1452;

impl Config {
    /// The engine's settings that follow from these.
    pub(crate) fn quic_transport(&self) -> TransportConfig {
        let quic = &self.quic;
        let memory = self.connection_memory;
        let window = (memory / 2).min(2 * MIB);
        let mut transport = TransportConfig {
            stream_window: self.stream_window,
            max_stream_window: self.max_stream_window,
            connection_window: window,
            max_connection_window: (memory / 4).saturating_mul(3).max(window),
            connection_memory: memory,
            send_buffer: self.send_buffer,
            max_bidi_streams: self.max_inbound_streams.into(),
            max_uni_streams: quic.max_uni_streams,
            datagram_receive_buffer: quic.datagram_buffer,
            congestion: quic.congestion,
            idle_timeout: self.quic_idle(),
            keep_alive: self.keep_alive,
            answer_timeout: self.keep_alive_timeout,
            handshake_timeout: self.handshake_timeout,
            max_datagram: quic.mtu.map_or(ETHERNET, usize::from),
            discover_mtu: quic.discover_mtu,
            ecn: quic.ecn,
            pacing: quic.pacing,
            grease: quic.grease,
            migration: quic.migration,
            key_update_after: quic.key_update_after,
            exporter: quic.exporter,
            ..TransportConfig::default()
        };
        // A connection's window below a stream's would only hide the stream's.
        transport.connection_window = transport.connection_window.max(self.stream_window);
        transport.max_connection_window = transport
            .max_connection_window
            .max(transport.connection_window);
        transport
    }

    fn quic_idle(&self) -> Duration {
        const UNASKED: Duration = Duration::from_secs(120);
        let asked = |every: Duration| every.saturating_add(self.keep_alive_timeout);
        let idle = self.quic.idle_timeout;
        idle.unwrap_or_else(|| self.keep_alive.map_or(UNASKED, asked))
    }

    /// The settings of a socket's router. `epoch` is the wall clock at its time zero, in seconds
    /// since the Unix epoch; `reset` is what the key of stateless resets is made from where none is
    /// set.
    pub(super) fn quic_endpoint(
        &self,
        epoch: u64,
        reset: &[u8; 32],
        secret: impl Fn() -> Result<[u8; 32], String>,
    ) -> Result<EndpointConfig, String> {
        let quic = &self.quic;
        let generator = match &quic.cid_generator {
            Some(generator) => Arc::clone(generator),
            None => {
                let random = RandomCids::new(CID_LEN);
                Arc::new(random.ok_or("no connection IDs have that length")?)
            }
        };
        let token_keys = match &quic.token_keys {
            Some(keys) => Arc::clone(keys),
            None => Arc::new(TokenKeys::new(&secret()?)),
        };
        let reset_key = match &quic.reset_key {
            Some(key) => Arc::clone(key),
            None => Arc::new(ResetKey::new(reset)),
        };
        let mut config = EndpointConfig::new(generator, token_keys, reset_key, epoch);
        config.retry = quic.retry;
        config.grease = quic.grease;
        config.max_half_open = self.max_handshakes;
        config.max_half_open_per_source = self.max_handshakes;
        config.accept_backlog = self.connection_backlog;
        Ok(config)
    }
}
