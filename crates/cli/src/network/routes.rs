//! The routes that `--route` asks for, and the one past the tunnel that keeps the tunnel itself from going through it.

use crate::out::{Failure, say};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::{info, warn};
use weir::tunnel::Ways;
use weir_os::kept::KeptRoutes;
use weir_os::netlink::{Netlink, RouteSpec};
use weir_os::{Cidr, SystemError};

/// Routes that are taken back when this is dropped, or when `weir` starts the next time.
pub(crate) struct Routes {
    set: Arc<Mutex<Set>>,
}

/// What was set, and what for.
struct Set {
    kept: KeptRoutes,
    netlink: Netlink,
    /// The tunnel's.
    interface: u32,
    wanted: Vec<Cidr>,
    /// The peer's addresses that packets go to as if there were no tunnel.
    past: BTreeMap<IpAddr, RouteSpec>,
}

impl Routes {
    /// Leads `wanted` to the interface. The way to `peer`, where these would cover it, stays as it is.
    pub(crate) fn set(device: &str, wanted: &[Cidr], peer: IpAddr) -> Result<Routes, Failure> {
        let (kept, left) = open()?;
        for route in left {
            say(format_args!(
                "took back {route}, left behind by a `weir` that is no more"
            ));
        }
        let mut netlink = Netlink::open().map_err(Failure::failed)?;
        let interface = netlink.link(device).map_err(Failure::failed)?.index;
        let mut set = Set {
            kept,
            netlink,
            interface,
            wanted: wanted.to_vec(),
            past: BTreeMap::new(),
        };
        set.lead_past(peer.to_canonical())
            .map_err(Failure::failed)?;
        for block in wanted.iter().flat_map(halves) {
            set.kept
                .add(RouteSpec {
                    to: block,
                    via: None,
                    interface: Some(interface),
                    metric: None,
                })
                .map_err(Failure::failed)?;
            info!("--route: {} goes through the tunnel", block.network());
        }
        let set = Arc::new(Mutex::new(set));
        Ok(Routes { set })
    }

    /// What keeps the ways to the peer out of the tunnel when it is dialled at other addresses than before, for as long
    /// as the routes are there.
    pub(crate) fn follow(&self) -> Ways {
        let set = Arc::downgrade(&self.set);
        Arc::new(move |needed| {
            if let Some(set) = set.upgrade() {
                let mut set = set.lock().unwrap_or_else(PoisonError::into_inner);
                set.follow(needed);
            }
        })
    }
}

impl Set {
    /// Ways past the tunnel are needed to these addresses, and to no others any more.
    fn follow(&mut self, needed: &[IpAddr]) {
        let needed: BTreeSet<IpAddr> = needed.iter().map(IpAddr::to_canonical).collect();
        for address in &needed {
            if let Err(error) = self.lead_past(*address) {
                warn!("--route: the peer at {address} may be out of reach: {error}");
            }
        }
        let given_up: Vec<IpAddr> = self.past.keys().copied().collect();
        for address in given_up.iter().filter(|it| !needed.contains(it)) {
            if let Some(route) = self.past.remove(address) {
                self.kept.remove(&route);
            }
        }
    }

    /// Packets to the peer go on as they would without the tunnel.
    fn lead_past(&mut self, peer: IpAddr) -> Result<(), SystemError> {
        if !self.wanted.iter().any(|block| block.contains(peer)) {
            return Ok(());
        }
        let mut way = self.netlink.way_to(peer)?;
        if way.interface == self.interface {
            // The tunnel's own routes are there, and what led past them is not, or not any more: the network may have
            // changed.
            if let Some(old) = self.past.remove(&peer) {
                self.kept.remove(&old);
            }
            let past = self.netlink.way_past(peer, self.interface)?;
            way = past.ok_or_else(|| {
                let error = std::io::Error::from(std::io::ErrorKind::NetworkUnreachable);
                SystemError::new(format!("find a way to {peer} past the tunnel"), error)
            })?;
        } else if self.past.contains_key(&peer) {
            return Ok(());
        }
        let loopback = self.netlink.link("lo")?.index;
        // What is this machine's own is looked up before all other routes.
        if way.interface == loopback {
            return Ok(());
        }
        let route = RouteSpec {
            to: Cidr::host(peer),
            via: way.via,
            interface: Some(way.interface),
            metric: None,
        };
        match self.kept.add(route) {
            Ok(()) => {
                self.past.insert(peer, route);
                Ok(())
            }
            // Somebody else's, and as good.
            Err(error) if error.io().kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Everything is led in two halves: they are narrower than the default route, which stays untouched.
fn halves(block: &Cidr) -> Vec<Cidr> {
    if !block.is_everything() {
        return vec![block.network()];
    }
    let upper: IpAddr = match block.address {
        IpAddr::V4(_) => [128, 0, 0, 0].into(),
        IpAddr::V6(_) => [0x8000, 0, 0, 0, 0, 0, 0, 0].into(),
    };
    let lower = block.network().address;
    [lower, upper]
        .into_iter()
        .filter_map(|address| Cidr::new(address, 1))
        .collect()
}

/// Where routes are written down: gone after a restart of the machine, as the routes are. `/run` is root's; but not every
/// root's, for a namespace has one, too.
fn open() -> Result<(KeptRoutes, Vec<RouteSpec>), Failure> {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|directory| !directory.is_empty());
    let places = [
        Some(PathBuf::from("/run")),
        own.map(PathBuf::from),
        Some(std::env::temp_dir()),
    ];
    let mut refused = None;
    for place in places.into_iter().flatten() {
        match KeptRoutes::open(&place.join("weir")) {
            Ok(opened) => return Ok(opened),
            Err(error) => refused = Some(error),
        }
    }
    let words = refused.map_or_else(String::new, |error| error.to_string());
    Err(Failure::failed(words).hint("set XDG_RUNTIME_DIR to a directory of this user's"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_is_never_replaced() {
        let shown = |text: &str| -> Vec<String> {
            let halves = halves(&text.parse().unwrap());
            halves.iter().map(Cidr::to_string).collect()
        };
        assert_eq!(shown("0.0.0.0/0"), ["0.0.0.0/1", "128.0.0.0/1"]);
        assert_eq!(shown("::/0"), ["::/1", "8000::/1"]);
        assert_eq!(shown("10.7.3.1/16"), ["10.7.0.0/16"]);
    }
}
