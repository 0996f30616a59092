//! A device without `/dev/net/tun`: one end of a pair of Ethernet interfaces (veth) in the command's
//! network, and a packet socket at the other.
//!
//! The other end lies in a network namespace of its own, which nothing but the socket keeps: when that is
//! closed, both ends go, as a TUN device goes with its file. The command sees its own end only.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;

use nix::libc;
use nix::sched::{CloneFlags, setns, unshare};

use super::plan::DevicePlan;
use crate::SystemError;
use crate::netlink::{Netlink, PairEnd};
use crate::tun::Tun;
use crate::tun::packet;

/// Makes the pair and opens the socket. The near end, with the name and the MTU of the plan, is left to
/// be brought up, like a TUN device.
pub(super) fn make(plan: &DevicePlan) -> Result<Tun, SystemError> {
    // Packets on this device are not complete, and without a header nothing would say so.
    if !plan.vnet_header || plan.multi_queue {
        let error = io::Error::from(io::ErrorKind::Unsupported);
        let doing = format!("make `{}` without a TUN device", plan.name);
        return Err(SystemError::new(doing, error).hint("it has headers, and one queue"));
    }
    let failed =
        |error: io::Error| SystemError::new("make a network for the device's other end", error);
    let own = File::open("/proc/self/ns/net").map_err(failed)?;
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| failed(error.into()))?;
    let made = in_other_network(plan, &own);
    setns(&own, CloneFlags::CLONE_NEWNET).map_err(|error| failed(error.into()))?;
    made
}

fn in_other_network(plan: &DevicePlan, own: &File) -> Result<Tun, SystemError> {
    // What this network's own IPv6 would say on the link (RFC 4861, RFC 3810) is noise; where the
    // setting cannot be written (a container's /proc/sys) it does no harm.
    let _ = fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    let far = PairEnd {
        address: packet::FAR,
        flags: libc::IFF_UP | libc::IFF_NOARP,
    };
    // Without ARP and neighbour discovery every destination is on the link, and nobody is asked where.
    let near = PairEnd {
        address: packet::NEAR,
        flags: libc::IFF_NOARP,
    };
    let mut netlink = Netlink::open()?;
    netlink.add_pair(&plan.name, plan.mtu, far, near, own.as_fd())?;
    // It has the same name, for the socket to tell it by.
    let link = netlink.link(&plan.name)?;
    let socket = packet::open(link.index).map_err(|error| {
        SystemError::new(format!("open a packet socket on `{}`", plan.name), error)
    })?;
    Ok(Tun::of_packet_socket(socket, link.name))
}
