//! The datagrams of a socket, shown to those who look inside.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use weir_quic::Transmit;

use crate::observe::{DatagramBatch, DatagramTap};

/// Destinations whose way out of this machine is remembered.
const SOURCES: usize = 256;

/// A socket's tap, and what it takes to name both ends of a datagram.
pub(super) struct Watch {
    tap: Box<dyn DatagramTap>,
    local: SocketAddr,
    /// The address here, by the one that is spoken to, where the socket is bound to all.
    sources: HashMap<IpAddr, IpAddr>,
}

impl Watch {
    /// Shows `tap` the datagrams of the socket at `local`.
    pub(super) fn new(tap: Box<dyn DatagramTap>, local: SocketAddr) -> Self {
        Watch {
            tap,
            local,
            sources: HashMap::new(),
        }
    }

    /// The system took `data` as `transmit` says.
    pub(super) fn sent(&mut self, transmit: &Transmit, data: &[u8]) {
        let remote = transmit.path.remote;
        let batch = DatagramBatch {
            local: self.here(transmit.path.local, remote),
            remote,
            ecn: transmit.ecn.map_or(0, |mark| mark as u8),
            segment: transmit.segment_size,
            data,
        };
        self.tap.sent(&batch);
    }

    /// `data` came from `remote`, sent to `local`, as datagrams of `segment` bytes.
    pub(super) fn received(
        &mut self,
        local: Option<IpAddr>,
        remote: SocketAddr,
        ecn: u8,
        segment: usize,
        data: &[u8],
    ) {
        let batch = DatagramBatch {
            local: self.here(local, remote),
            remote,
            ecn,
            segment,
            data,
        };
        self.tap.received(&batch);
    }

    /// This end of a datagram. The first of a connection do not say it.
    fn here(&mut self, known: Option<IpAddr>, remote: SocketAddr) -> SocketAddr {
        let bound = self.local.ip();
        let ip = match known {
            Some(ip) => ip,
            None if !bound.is_unspecified() => bound,
            None => match self.sources.get(&remote.ip()) {
                Some(ip) => *ip,
                None => {
                    if self.sources.len() >= SOURCES {
                        self.sources.clear();
                    }
                    let ip = towards(self.local, remote).ip();
                    self.sources.insert(remote.ip(), ip);
                    ip
                }
            },
        };
        SocketAddr::new(ip, self.local.port())
    }
}

/// The address that a socket speaks to `remote` from, where it is bound to all of them. Connecting
/// another socket sends nothing: it only lets the system choose.
pub(super) fn towards(bound: SocketAddr, remote: SocketAddr) -> SocketAddr {
    if !bound.ip().is_unspecified() {
        return bound;
    }
    let all: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let chosen = UdpSocket::bind((all, 0)).and_then(|socket| {
        socket.connect(remote)?;
        socket.local_addr()
    });
    chosen.map_or(bound, |chosen| SocketAddr::new(chosen.ip(), bound.port()))
}
