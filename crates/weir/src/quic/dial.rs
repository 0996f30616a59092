//! Connections that this side begins.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use weir_core::close::{CloseReason, Initiator, Layer};
use weir_quic::{ClientConfig, PathAddr, code};

use super::engine::{HubLink, QuicEngine, QuicShared};
use super::table::Entry;
use super::{Bound, bind_anywhere, start};
use crate::connection::Connection;
use crate::dial::{self, ConnectOptions};
use crate::drive::Shared;
use crate::endpoint::Inner;
use crate::error::ConnectError;
use crate::layer::StreamLayer;
use crate::observe::ConnectionInfo;
use crate::security::{PeerId, SecurityError};
use crate::target::Target;
use crate::via::Via;

/// Dials `target`: its addresses are raced as RFC 8305 says. With early data, the connection is
/// there before the handshake is done, where an earlier one left what that takes.
pub(crate) async fn connect(
    inner: &Arc<Inner>,
    target: &Target,
    options: &ConnectOptions,
) -> Result<Connection, ConnectError> {
    let addresses = match options.address {
        Some(address) => vec![address],
        None => dial::resolve(target).await?,
    };
    let early = options.early_data;
    let config = client_config(inner, target)?;
    let attempt = |address| {
        let (inner, target, config) = (Arc::clone(inner), target.clone(), config.clone());
        async move { reach(&inner, &target, config, address, early).await }
    };
    dial::race(addresses, attempt).await
}

fn client_config(inner: &Inner, target: &Target) -> Result<ClientConfig, ConnectError> {
    let tls = inner.client_tls(target.peer).map_err(ConnectError::Via)?;
    let mut config = ClientConfig::new(tls);
    config.transport = Arc::clone(&inner.quic.transport);
    config.versions.clone_from(&inner.config.quic.versions);
    config.first_version = inner.config.quic.first_version;
    Ok(config)
}

/// A connection to one address.
async fn reach(
    inner: &Arc<Inner>,
    target: &Target,
    config: ClientConfig,
    address: SocketAddr,
    early: bool,
) -> Result<Connection, ConnectError> {
    let (attempt, mut info) = begin(inner, target, config, address)?;
    let shared = &attempt.0;
    loop {
        let news = shared.established.notified();
        tokio::pin!(news);
        // Registered before the look, so that what comes in between is seen.
        news.as_mut().enable();
        if let Some(reason) = shared.reason() {
            return Err(failed(address, reason, inner));
        }
        if is_ready(shared, early) {
            break;
        }
        news.await;
    }
    let peer = peer(inner, shared);
    info.peer = peer.map_err(|source| ConnectError::Handshake { address, source })?;
    shared.set_peer(info.peer);
    Ok(Connection::new(attempt.succeed(), info))
}

fn is_ready(shared: &QuicShared, early: bool) -> bool {
    let engine = &shared.lock().engine;
    match early {
        true => engine.is_usable(),
        false => !engine.connection.is_handshaking(),
    }
}

/// Whose key answered.
fn peer(inner: &Inner, shared: &QuicShared) -> Result<Option<PeerId>, SecurityError> {
    let connection = &shared.lock().engine.connection;
    match connection.is_handshaking() {
        // Early data goes to names, not to peer IDs.
        true => Ok(None),
        false => inner.quic_peer(connection),
    }
}

/// Sends the first packet to an address.
fn begin(
    inner: &Arc<Inner>,
    target: &Target,
    mut config: ClientConfig,
    address: SocketAddr,
) -> Result<(Attempt, ConnectionInfo), ConnectError> {
    let dial = |source| ConnectError::Dial { address, source };
    with_bound(inner, address, |bound| {
        let hub = &bound.hub;
        let memory = inner.names_peers().then(|| {
            let server = target.to_string();
            config.token = inner.quic.memory.take_token(&server);
            config.remembered = inner.quic.memory.limits(&server);
            (Arc::clone(&inner.quic.memory), server)
        });
        let local = inner.quic.routes.towards(bound.local(), address);
        let info = inner.info(true, Via::Quic, local, address);
        let now = hub.clock.read();
        let begun = hub
            .router()
            .connect(now, &config, PathAddr::to(address), &target.host);
        let (handle, mut connection) =
            begun.map_err(|error| dial(io::Error::other(error.to_string())))?;
        inner.equip(&mut connection, &info);
        if let Some(bound) = inner.quic.routes.bound(address) {
            connection.set_mtu_bound(now, bound);
        }
        let engine = QuicEngine::new(connection, memory);
        let link = HubLink::new(Arc::clone(hub), handle);
        let shared: Arc<QuicShared> = Arc::new(Shared::new(engine, link, hub.clock, info.clone()));
        let layer: Arc<dyn StreamLayer> = shared.clone();
        inner.running.add(&layer);
        let entry = Entry::new(handle, Arc::clone(&shared), inner.alive.enter(), None);
        hub.tell(|queue| queue.newcomers.push(entry));
        Ok((Attempt(shared, false), info))
    })
    .map_err(dial)?
}

/// Runs `with` on a socket from which `address` can be reached.
fn with_bound<R>(
    inner: &Inner,
    address: SocketAddr,
    with: impl FnOnce(&Bound) -> R,
) -> io::Result<R> {
    if let Some(bound) = inner.quic.listening.get()
        && bound.reaches(address)
        && !*inner.closing.borrow()
    {
        return Ok(with(bound));
    }
    let known = inner.quic.dialling().clone();
    let bound = match known {
        Some(bound) => bound,
        None => {
            let started =
                start(inner, bind_anywhere(&inner.net)?, None).map_err(io::Error::other)?;
            Arc::clone(inner.quic.dialling().get_or_insert(Arc::new(started)))
        }
    };
    Ok(with(&bound))
}

/// A dial that was begun; dropped before it succeeded, it is called off.
struct Attempt(Arc<QuicShared>, bool);

impl Attempt {
    fn succeed(mut self) -> Arc<QuicShared> {
        self.1 = true;
        Arc::clone(&self.0)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.1 {
            self.0.close(0, "another way was faster");
        }
    }
}

/// Why there is no connection.
fn failed(address: SocketAddr, reason: &CloseReason, inner: &Inner) -> ConnectError {
    match (reason.by, reason.layer) {
        (Initiator::Timer, _) => ConnectError::TimedOut {
            address,
            within: inner.config.handshake_timeout,
        },
        // The system said that the packets do not get there.
        (Initiator::Carrier, _) => {
            let code = i32::try_from(reason.code).unwrap_or(0);
            let kind = io::Error::from_raw_os_error(code).kind();
            let source = io::Error::new(kind, reason.reason.clone());
            ConnectError::Dial { address, source }
        }
        (by, Layer::Security) => ConnectError::Handshake {
            address,
            source: SecurityError::from_alert(
                by == Initiator::Local,
                reason.code.saturating_sub(code::CRYPTO_ERROR),
                &reason.reason,
            ),
        },
        _ => ConnectError::Refused {
            address,
            reason: Box::new(reason.clone()),
        },
    }
}

impl Inner {
    /// Puts the endpoint's instruments on an engine.
    pub(super) fn equip(&self, engine: &mut weir_quic::Connection, info: &ConnectionInfo) {
        let sinks = self.sinks(info);
        if !sinks.is_empty() {
            engine.set_tracer(weir_core::trace::Tracer::to_all(sinks));
        }
    }
}
