//! The ways to the peer past the tunnel: where a machine's routes lead into the tunnel, its own packets must not, to
//! whichever address the peer is dialled at next.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::shared::ClientCore;
use crate::connection::Connection;
use crate::dial::{self, ConnectOptions};
use crate::endpoint::Endpoint;
use crate::error::ConnectError;
use crate::target::Target;

/// Told which addresses must be reached outside of the tunnel ([`TunnelClient::keep_ways`]).
///
/// [`TunnelClient::keep_ways`]: super::client::TunnelClient::keep_ways
pub type Ways = Arc<dyn Fn(&[IpAddr]) + Send + Sync>;

/// How long a name may take before the addresses of the last time are dialled: while the tunnel is down, so may be the
/// way to the name server, which can lead through it.
const RESOLVE: Duration = Duration::from_secs(4);

/// Who keeps the ways, if anybody, and what for.
#[derive(Default)]
pub(crate) struct KeptWays(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    ways: Option<Ways>,
    /// What is being dialled.
    dialled: Vec<SocketAddr>,
    /// Where the peer was last.
    known: Vec<SocketAddr>,
}

impl KeptWays {
    pub(crate) fn set(&self, ways: Ways) {
        self.lock().ways = Some(ways);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects to the peer; where ways are kept, to addresses that ways were made to before.
pub(crate) async fn connect(
    core: &ClientCore,
    endpoint: &Endpoint,
) -> Result<Connection, ConnectError> {
    if core.ways.lock().ways.is_none() {
        return endpoint.connect(&core.config.peer).await;
    }
    let target: Target = core.config.peer.parse()?;
    let known = core.ways.lock().known.clone();
    let addresses = match timeout(RESOLVE, dial::resolve(&target)).await {
        Ok(Ok(addresses)) => addresses,
        _ if !known.is_empty() => known,
        Ok(Err(error)) => return Err(error),
        Err(_) => dial::resolve(&target).await?,
    };
    core.ways.lock().dialled.clone_from(&addresses);
    update(core);
    let attempt = |address| {
        let (endpoint, target) = (endpoint.clone(), target.clone());
        let options = ConnectOptions {
            address: Some(address),
            ..ConnectOptions::default()
        };
        async move { endpoint.connect_with(&target, &options).await }
    };
    dial::race(addresses, attempt).await
}

/// A connection stands, or one is over: ways to what is not needed any more go.
pub(crate) fn settled(core: &ClientCore, reached: Option<SocketAddr>) {
    if let Some(address) = reached {
        let mut kept = core.ways.lock();
        (kept.known, kept.dialled) = (vec![address], Vec::new());
    }
    update(core);
}

fn update(core: &ClientCore) {
    let (ways, dialled) = {
        let kept = core.ways.lock();
        let Some(ways) = &kept.ways else {
            return;
        };
        (Arc::clone(ways), kept.dialled.clone())
    };
    let live = core.life(|life| {
        let live = life.live.values();
        live.map(Connection::remote_addr).collect::<Vec<_>>()
    });
    let mut needed: Vec<IpAddr> = dialled.iter().chain(&live).map(SocketAddr::ip).collect();
    needed.sort_unstable();
    needed.dedup();
    ways(&needed);
}
