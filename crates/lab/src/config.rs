//! What a lab is like.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use weir_sim::LinkConfig;

use crate::error::LabError;

/// A lab: where it listens, where it relays to, and what the two directions are like.
///
/// Moments and schedules (outages, rebindings) count from the first thing that a client sends, so
/// that they do not depend on how long the peers take to start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LabConfig {
    /// Where clients connect to; port 0 takes one that is free for UDP and TCP.
    pub listen: SocketAddr,
    /// The server.
    pub to: SocketAddr,
    /// Packets from clients to the server.
    ///
    /// UDP goes through the link model packet by packet: sizes are those of the IP packet (payload
    /// and 28 bytes of headers over IPv4, 48 over IPv6), numbers count UDP packets from 1, and
    /// `corrupt` replaces one byte at an offset of 0 to 50 of the payload by another one, but never
    /// in a Version Negotiation packet of QUIC. TCP is a stream: it takes delay, jitter, rate (each
    /// connection for itself), loss as a delay of one round trip, and outages as a standstill.
    pub to_server: LinkConfig,
    /// Packets from the server to clients.
    pub to_client: LinkConfig,
    /// When client flows of UDP get another socket towards the server.
    pub rebind: Option<Rebind>,
    /// Where random numbers come from.
    pub seed: u64,
    /// A UDP flow in which nothing moved for so long ends.
    pub idle: Duration,
    /// Record the UDP packets that clients send and get: the near side of a bad network. A pcapng file.
    pub pcap_client: Option<PathBuf>,
    /// Record the UDP packets that the server gets and sends: the far side.
    pub pcap_server: Option<PathBuf>,
    /// Whether UDP passes; otherwise it vanishes, as behind a firewall that says nothing.
    pub udp: bool,
    /// Whether TCP passes; otherwise nothing listens there.
    pub tcp: bool,
}

impl LabConfig {
    /// A perfect network towards `to`, listening on a free port of 127.0.0.1.
    #[must_use]
    pub fn new(to: SocketAddr) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            to,
            to_server: LinkConfig::default(),
            to_client: LinkConfig::default(),
            rebind: None,
            seed: 0,
            // RFC 4787 section 4.3: a translator keeps a mapping for two minutes at least.
            idle: Duration::from_secs(120),
            pcap_client: None,
            pcap_server: None,
            udp: true,
            tcp: true,
        }
    }

    /// Makes both directions like `link`.
    #[must_use]
    pub fn both(mut self, link: LinkConfig) -> Self {
        self.to_client = link.clone();
        self.to_server = link;
        self
    }

    /// Checks what the link models do not check themselves.
    pub(crate) fn validate(&self) -> Result<(), LabError> {
        if let Some(rebind) = &self.rebind {
            if rebind.every.is_some_and(|every| every.is_zero()) {
                return Err(LabError::RebindPeriod);
            }
            let in_loopback = matches!(self.to.ip(), IpAddr::V4(ip) if ip.is_loopback());
            if rebind.address && !in_loopback {
                return Err(LabError::RebindAddress(self.to));
            }
        }
        Ok(())
    }
}

/// When all live client flows of UDP move to new sockets: a translator that forgets, a device that
/// changes networks. What the server sends to the old ones is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebind {
    /// The first time, counted from the first packet.
    pub first: Duration,
    /// And so often after that; `None` leaves it at the first.
    pub every: Option<Duration>,
    /// Whether the new socket has another address of 127.0.0.0/8 too, and not only another port.
    pub address: bool,
}

impl Rebind {
    /// Every `period`, the first time after one.
    #[must_use]
    pub fn every(period: Duration) -> Self {
        Self {
            first: period,
            every: Some(period),
            address: false,
        }
    }
}
