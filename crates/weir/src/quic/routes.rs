//! The ways out of this machine: which address packets leave from, and how large they may be.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use weir_os::route::{self, Route};

use crate::tcpip::Stack;

/// How long an answer of the system's is good for.
const FRESH: Duration = Duration::from_secs(30);
/// Addresses that are remembered.
const ROUTES: usize = 1024;
/// Headers of IP and UDP (RFC 791, RFC 8200, RFC 768), and what UDP carries at most, in bytes.
const V4: (usize, usize) = (28, 65_507);
const V6: (usize, usize) = (48, 65_487);
/// The least that QUIC needs (RFC 9000 section 14).
const LEAST: usize = 1_200;

/// What the system said about ways, for a while.
#[derive(Default)]
pub(super) struct Routes {
    /// The largest UDP payload that the configuration asks for.
    asked: Option<usize>,
    /// Whose ways they are, where not the system's.
    stack: Option<Stack>,
    known: Mutex<HashMap<IpAddr, (Instant, Option<Route>)>>,
}

impl Routes {
    /// `asked` is the largest UDP payload that is wanted at all.
    pub(super) fn new(asked: Option<u16>, stack: Option<Stack>) -> Self {
        Routes {
            asked: asked.map(usize::from),
            stack,
            known: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, (Instant, Option<Route>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn to(&self, remote: SocketAddr) -> Option<Route> {
        if let Some(stack) = &self.stack {
            let (local, mtu) = stack.route_to(remote.ip())?;
            return Some(Route {
                local,
                mtu: Some(usize::from(mtu)),
            });
        }
        let now = Instant::now();
        let known = self.lock().get(&remote.ip()).copied();
        if let Some((at, route)) = known
            && now.saturating_duration_since(at) < FRESH
        {
            return route;
        }
        // Not under the lock: the system is asked.
        let route = route::to(remote).ok();
        let mut known = self.lock();
        if known.len() >= ROUTES {
            known.clear();
        }
        known.insert(remote.ip(), (now, route));
        route
    }

    /// The network has changed: what was known is not any more.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    /// The address that a socket speaks to `remote` from, where it is bound to all of them.
    pub(super) fn towards(&self, bound: SocketAddr, remote: SocketAddr) -> SocketAddr {
        match bound.ip().is_unspecified().then(|| self.to(remote)) {
            Some(Some(route)) => SocketAddr::new(route.local, bound.port()),
            _ => bound,
        }
    }

    /// The largest UDP payload to look for on the way to `remote`, in bytes: what the interface takes.
    /// `None` where nothing better is known than that it is an ordinary one.
    pub(super) fn bound(&self, remote: SocketAddr) -> Option<usize> {
        let (headers, most) = match remote {
            SocketAddr::V4(_) => V4,
            SocketAddr::V6(_) => V6,
        };
        let mtu = self.to(remote).and_then(|route| route.mtu);
        let carried = match mtu {
            Some(mtu) => mtu.saturating_sub(headers).clamp(LEAST, most),
            None if self.stack.is_none() && remote.ip().is_loopback() => most,
            None => return None,
        };
        Some(self.asked.map_or(carried, |asked| carried.min(asked)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn loopback_carries_all_that_udp_has_and_no_more_than_asked() {
        let remote: SocketAddr = "127.0.0.1:9".parse().unwrap();
        assert_eq!(Routes::new(None, None).bound(remote), Some(65_507));
        assert_eq!(Routes::new(Some(1300), None).bound(remote), Some(1300));
    }

    #[tokio::test]
    async fn the_own_address_is_the_systems_choice_where_the_socket_has_all() {
        let routes = Routes::default();
        let remote: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let towards = |bound: &str| routes.towards(bound.parse().unwrap(), remote);
        assert_eq!(towards("0.0.0.0:7"), "127.0.0.1:7".parse().unwrap());
        assert_eq!(towards("[::]:7"), "127.0.0.1:7".parse().unwrap());
        assert_eq!(towards("192.0.2.1:7"), "192.0.2.1:7".parse().unwrap());
    }

    #[tokio::test]
    async fn what_is_remembered_is_bounded() {
        let routes = Routes::default();
        for n in 0..2 * ROUTES {
            let ip = [127, 1, (n >> 8) as u8, n as u8];
            routes.bound(SocketAddr::from((ip, 9)));
        }
        assert!(routes.lock().len() <= ROUTES);
        routes.forget();
        assert!(routes.lock().is_empty());
    }
}
