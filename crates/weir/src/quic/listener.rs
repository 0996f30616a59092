//! How connections of clients come in.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use tokio::sync::mpsc;
use tracing::{info, warn};
use weir_core::close::CloseReason;
use weir_quic::{Connection as Engine, ConnectionHandle, PathAddr};

use super::engine::{HubLink, QuicEngine, QuicShared};
use super::hub::Hub;
use super::table::Entry;
use crate::connection::Connection;
use crate::drive::Shared;
use crate::endpoint::{Arrived, Inner};
use crate::layer::StreamLayer;
use crate::observe::ConnectionInfo;
use crate::via::Via;

/// The way from a socket to those who wait for connections.
pub(super) struct Listener {
    endpoint: Weak<Inner>,
    accepted: mpsc::Sender<Arrived>,
}

impl Listener {
    pub(super) fn new(endpoint: &Arc<Inner>, accepted: mpsc::Sender<Arrived>) -> Self {
        Listener {
            endpoint: Arc::downgrade(endpoint),
            accepted,
        }
    }

    /// A place for one more connection; `None` when those that nobody has taken yet fill the
    /// queue, or nobody takes any more.
    pub(super) fn welcome(&self, bound: SocketAddr, path: PathAddr) -> Option<Welcome> {
        let endpoint = self.endpoint.upgrade()?;
        if *endpoint.closing.borrow() {
            return None;
        }
        let place = self.accepted.clone().try_reserve_owned().ok()?;
        let local = SocketAddr::new(path.local.unwrap_or(bound.ip()), bound.port());
        let info = endpoint.info(false, Via::Quic, local, path.remote);
        Some(Welcome {
            endpoint,
            place,
            info,
        })
    }
}

/// A connection's place in the queue of those that wait to be taken, while its handshake runs.
pub(super) struct Welcome {
    endpoint: Arc<Inner>,
    place: mpsc::OwnedPermit<Arrived>,
    info: ConnectionInfo,
}

impl Welcome {
    /// Makes the engine a connection of the socket's.
    pub(super) fn entry(
        self,
        hub: &Arc<Hub>,
        handle: ConnectionHandle,
        mut engine: Engine,
    ) -> Entry {
        self.endpoint.equip(&mut engine, &self.info);
        let engine = QuicEngine::new(engine, None);
        let link = HubLink::new(Arc::clone(hub), handle);
        let shared: Arc<QuicShared> =
            Arc::new(Shared::new(engine, link, hub.clock, self.info.clone()));
        let layer: Arc<dyn StreamLayer> = shared.clone();
        self.endpoint.running.add(&layer);
        let alive = self.endpoint.alive.enter();
        Entry::new(handle, shared, alive, Some(self))
    }

    /// The handshake is complete: hands the connection over. Where nobody takes it any more, dropping
    /// it tells the peer.
    pub(super) fn complete(self, shared: &Arc<QuicShared>) {
        let mut info = self.info;
        match self.endpoint.quic_peer(&shared.lock().engine.connection) {
            Ok(peer) => info.peer = peer,
            Err(problem) => {
                warn!("{} did not come in: {problem}", info.remote_addr);
                shared.close(0, "the peer's identity cannot be read");
                return;
            }
        }
        shared.set_peer(info.peer);
        // Not before: whoever forges addresses is not to have the system asked about each.
        if let Some(bound) = self.endpoint.quic.routes.bound(info.remote_addr) {
            let mut state = shared.lock();
            let now = state.link.begin(shared.clock.read());
            state.engine.connection.set_mtu_bound(now, bound);
        }
        let connection = Connection::new(shared.clone(), info);
        self.place.send(Arrived::Connection(connection));
    }

    /// The handshake failed.
    pub(super) fn failed(self, reason: &CloseReason) {
        info!("{} did not come in: {reason}", self.info.remote_addr);
    }
}
