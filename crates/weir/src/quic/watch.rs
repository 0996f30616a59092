//! The datagrams of a socket, shown to those who look inside.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weir_quic::Transmit;

use super::routes::Routes;
use crate::observe::{DatagramBatch, DatagramTap};

/// A socket's tap, and what it takes to name both ends of a datagram.
pub(super) struct Watch {
    tap: Box<dyn DatagramTap>,
    local: SocketAddr,
    routes: Arc<Routes>,
}

impl Watch {
    /// Shows `tap` the datagrams of the socket at `local`.
    pub(super) fn new(tap: Box<dyn DatagramTap>, local: SocketAddr, routes: &Arc<Routes>) -> Self {
        Watch {
            tap,
            local,
            routes: Arc::clone(routes),
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
    fn here(&self, known: Option<IpAddr>, remote: SocketAddr) -> SocketAddr {
        match known {
            Some(ip) => SocketAddr::new(ip, self.local.port()),
            None => self.routes.towards(self.local, remote),
        }
    }
}
