//! The way that packets to an address take out of this machine.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// What the system's routes say about an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The address that packets go out from.
    pub local: IpAddr,
    /// The largest IP packet that the interface takes, or that the path is known to carry, in bytes;
    /// `None` where the system does not say (elsewhere than on Linux).
    pub mtu: Option<usize>,
}

/// Looks up the way to `remote`. Nothing is sent: connecting a UDP socket only lets the system choose.
///
/// # Errors
/// There is no way, or no socket left.
pub fn to(remote: SocketAddr) -> io::Result<Route> {
    let all: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((all, 0))?;
    socket.connect(remote)?;
    Ok(Route {
        local: socket.local_addr()?.ip(),
        mtu: mtu(&socket),
    })
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn mtu(socket: &UdpSocket) -> Option<usize> {
    use nix::sys::socket::{getsockopt, sockopt};
    // The option of IPv4 answers on sockets of IPv6 as well.
    let mtu = getsockopt(socket, sockopt::IpMtu).ok()?;
    usize::try_from(mtu).ok()
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn mtu(_: &UdpSocket) -> Option<usize> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_reached_from_loopback_by_large_packets() {
        for ip in ["127.0.0.1", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            let Ok(route) = to(SocketAddr::new(ip, 9)) else {
                println!("not tried: no {ip} here");
                continue;
            };
            assert_eq!(route.local, ip);
            let is_known = cfg!(any(target_os = "linux", target_os = "android"));
            assert_eq!(route.mtu.is_some(), is_known);
            assert!(route.mtu.is_none_or(|mtu| mtu >= 16_384), "{route:?}");
        }
    }
}
