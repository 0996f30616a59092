//! The routes that `--route` asks for, and the one past the tunnel that keeps the tunnel itself from going through it.

use crate::out::{Failure, say};
use std::net::IpAddr;
use std::path::PathBuf;
use tracing::info;
use weir_os::Cidr;
use weir_os::kept::KeptRoutes;
use weir_os::netlink::{Netlink, RouteSpec};

/// Routes that are taken back when this is dropped, or when `weir` starts the next time.
pub(crate) struct Routes {
    _kept: KeptRoutes,
}

impl Routes {
    /// Leads `wanted` to the interface. The way to `peer`, where these would cover it, stays as it is.
    pub(crate) fn set(device: &str, wanted: &[Cidr], peer: IpAddr) -> Result<Routes, Failure> {
        let (mut kept, left) = open()?;
        for route in left {
            say(format_args!(
                "took back {route}, left behind by a `weir` that is no more"
            ));
        }
        let mut netlink = Netlink::open().map_err(Failure::failed)?;
        let interface = netlink.link(device).map_err(Failure::failed)?.index;
        let peer = peer.to_canonical();
        if wanted.iter().any(|block| block.contains(peer)) {
            past_the_tunnel(&mut netlink, &mut kept, peer)?;
        }
        for block in wanted.iter().flat_map(halves) {
            kept.add(RouteSpec {
                to: block,
                via: None,
                interface: Some(interface),
                metric: None,
            })
            .map_err(Failure::failed)?;
            info!("--route: {} goes through the tunnel", block.network());
        }
        Ok(Routes { _kept: kept })
    }
}

/// Packets to the peer itself go on as they went before.
fn past_the_tunnel(
    netlink: &mut Netlink,
    kept: &mut KeptRoutes,
    peer: IpAddr,
) -> Result<(), Failure> {
    let way = netlink.way_to(peer).map_err(Failure::failed)?;
    let loopback = netlink.link("lo").map_err(Failure::failed)?.index;
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
    match kept.add(route) {
        Err(error) if error.io().kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Failure::failed(error))
        }
        _ => Ok(()),
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
