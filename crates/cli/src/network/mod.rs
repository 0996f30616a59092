//! A network interface whose traffic leaves at the peer: `weir connect --tun` makes it on this machine, `weir run` in a
//! namespace of the command's own.

mod routes;
pub(crate) mod run;
mod signals;

use crate::link::Instruments;
use crate::out::Failure;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use weir::tcpip::{Cidr, Device, Interface, Stack, Tun};
use weir::tunnel::PacketForward;

pub(crate) use routes::Routes;

/// A stack at the other end of `device`: it is `own` there, and takes packets for everybody else.
pub(crate) fn stack(
    device: impl Device,
    own: &[Cidr],
    name: &str,
    instruments: &Instruments,
) -> Result<PacketForward, Failure> {
    // Whoever sends by the interface is on its link, whatever address he sends from.
    let everybody = [
        Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        Cidr::new(Ipv6Addr::UNSPECIFIED.into(), 0),
    ];
    let mut interface = Interface::new().any_address().without_duplicate_detection();
    for cidr in own {
        interface = interface.address(*cidr);
    }
    for cidr in everybody.into_iter().flatten() {
        interface = interface.route(cidr, None);
    }
    let stack = Stack::builder()
        .name(name)
        .observer(Arc::new(instruments.clone()))
        .device(device, interface)
        .start()
        .map_err(Failure::failed)?;
    Ok(PacketForward {
        stack,
        own: own.iter().map(Cidr::address).collect(),
        name: name.to_owned(),
    })
}

/// The interface of `weir connect --tun`, and what of it is to be known.
pub(crate) struct OnThisMachine {
    pub(crate) forward: PacketForward,
    /// The interface's name.
    pub(crate) device: String,
    /// Where names are answered.
    pub(crate) names: Vec<IpAddr>,
}

/// Makes an interface on this machine with these addresses; the stack takes the first other address of each network.
pub(crate) fn on_this_machine(
    name: &str,
    addresses: &[Cidr],
    mtu: u16,
    instruments: &Instruments,
) -> Result<OnThisMachine, Failure> {
    let own = addresses
        .iter()
        .map(other_end)
        .collect::<Result<Vec<Cidr>, Failure>>()?;
    let mut builder = Tun::builder(name).mtu(mtu);
    for address in addresses {
        builder = builder.address(*address);
    }
    let device = builder.open().map_err(Failure::failed)?;
    let device_name = Device::name(&device).to_owned();
    let listed: Vec<String> = addresses.iter().map(Cidr::to_string).collect();
    let shown = format!("{device_name} ({})", listed.join(", "));
    let forward = stack(device, &own, &shown, instruments)?;
    Ok(OnThisMachine {
        names: forward.own.clone(),
        forward,
        device: device_name,
    })
}

/// The stack's address in the network of one of the machine's: the first that is not the machine's.
pub(crate) fn other_end(machine: &Cidr) -> Result<Cidr, Failure> {
    let (network, bits) = (machine.network().address(), machine.prefix());
    let spare = match network {
        IpAddr::V4(_) => 32u8.saturating_sub(bits),
        IpAddr::V6(_) => 128u8.saturating_sub(bits),
    };
    // The first address of a network means the network, except where there are two in all (RFC 3021, RFC 6164).
    let first = u8::from(spare > 1);
    let candidates = [first, first.saturating_add(1)].map(|number| nth(network, number));
    let free = candidates.into_iter().find(|ip| *ip != machine.address());
    match free {
        Some(ip) if spare > 0 => Cidr::new(ip, bits).map_err(Failure::usage),
        _ => Err(Failure::usage(format!(
            "{machine} has no room for the tunnel's own end, which answers for names"
        ))
        .hint("give a network of two addresses or more: 10.7.0.2/24, or 10.7.0.2/31")),
    }
}

fn nth(network: IpAddr, number: u8) -> IpAddr {
    match network {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits().saturating_add(number.into())).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits().saturating_add(number.into())).into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn the_stack_is_the_first_other_address_of_the_network() {
        for (machine, stack) in [
            ("10.7.0.2/24", "10.7.0.1/24"),
            ("10.7.0.1/24", "10.7.0.2/24"),
            ("10.7.3.9/16", "10.7.0.1/16"),
            ("10.7.0.0/31", "10.7.0.1/31"),
            ("10.7.0.1/31", "10.7.0.0/31"),
            ("fd00::2/64", "fd00::1/64"),
            ("fd00::1/126", "fd00::2/126"),
        ] {
            let found = other_end(&machine.parse().unwrap()).unwrap();
            assert_eq!(found.to_string(), stack, "{machine}");
        }
        for machine in ["10.7.0.2/32", "fd00::2/128"] {
            assert!(other_end(&machine.parse().unwrap()).is_err());
        }
    }
}
