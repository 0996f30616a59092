//! Neighbor Discovery (RFC 4861 4): messages of ICMPv6 and their options.

use core::net::Ipv6Addr;

use super::Malformed;
use super::ethernet::Mac;

const NAME: &str = "Neighbor Discovery";

const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;
const PREFIX: u8 = 3;
const MTU: u8 = 5;

/// A message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Router Solicitation (133).
    RouterSolicitation {
        /// Who asks.
        source_mac: Option<Mac>,
    },
    /// Router Advertisement (134).
    RouterAdvertisement(RouterAdvertisement<'a>),
    /// Neighbor Solicitation (135).
    NeighborSolicitation {
        /// Who is sought; never a multicast address.
        target: Ipv6Addr,
        /// Who asks; absent in duplicate address detection.
        source_mac: Option<Mac>,
    },
    /// Neighbor Advertisement (136).
    NeighborAdvertisement {
        /// Who speaks; never a multicast address.
        target: Ipv6Addr,
        /// R: is a router.
        router: bool,
        /// S: answers a solicitation, which proves reachability.
        solicited: bool,
        /// O: replaces what is known.
        replaces: bool,
        /// Its hardware address.
        target_mac: Option<Mac>,
    },
    /// Redirect (137).
    Redirect {
        /// The better first hop.
        target: Ipv6Addr,
        /// For packets to here.
        destination: Ipv6Addr,
        /// The hop's hardware address.
        target_mac: Option<Mac>,
    },
}

/// What a router says of itself and of the link.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement<'a> {
    /// Hop limit for packets sent; 0 is none said.
    pub hop_limit: u8,
    /// M: addresses by DHCPv6.
    pub managed: bool,
    /// O: other settings by DHCPv6.
    pub other: bool,
    /// How long it serves as default router, in seconds; 0: it does not.
    pub router_lifetime: u16,
    /// How long a neighbour counts as reachable, in milliseconds; 0 is none said.
    pub reachable_time: u32,
    /// Between repeated solicitations, in milliseconds; 0 is none said.
    pub retrans_timer: u32,
    /// Its options, of which [`options`](RouterAdvertisement::options) finds those that are known.
    pub option_bytes: &'a [u8],
}

impl<'a> RouterAdvertisement<'a> {
    /// The options, in order.
    #[must_use]
    pub const fn options(&self) -> Options<'a> {
        Options(self.option_bytes)
    }
}

/// A prefix of the link (RFC 4861 4.6.2).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The prefix, bits behind its length as they came.
    pub prefix: Ipv6Addr,
    /// Its length in bits, at most 128.
    pub prefix_len: u8,
    /// L: addresses of it are on the link.
    pub on_link: bool,
    /// A: addresses may be made of it (RFC 4862).
    pub autonomous: bool,
    /// Seconds; `u32::MAX` is for ever.
    pub valid_lifetime: u32,
    /// Seconds; `u32::MAX` is for ever.
    pub preferred_lifetime: u32,
}

/// An option.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum NdpOption<'a> {
    /// The sender's hardware address (1).
    SourceLinkAddress(Mac),
    /// The target's hardware address (2).
    TargetLinkAddress(Mac),
    /// A prefix (3).
    Prefix(Prefix),
    /// The link's MTU in bytes (5).
    Mtu(u32),
    /// One that is not known, or not of the size that it should be: passed over.
    Other {
        /// Type.
        kind: u8,
        /// What stands behind type and length.
        data: &'a [u8],
    },
}

/// The options of a message. Ends at the first of length 0 or beyond the message; [`parse`] refuses
/// messages with such.
#[derive(Copy, Clone, Debug)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = NdpOption<'a>;

    fn next(&mut self) -> Option<NdpOption<'a>> {
        let (kind, data, rest) = split_option(self.0)?;
        self.0 = rest;
        Some(read_option(kind, data))
    }
}

/// Type and data of the first option, and what follows it. Lengths count units of 8 bytes.
fn split_option(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let [kind, units, ..] = *bytes else {
        return None;
    };
    let (option, rest) = bytes.split_at_checked(usize::from(units) << 3)?;
    Some((kind, option.get(2..)?, rest))
}

fn read_option(kind: u8, data: &[u8]) -> NdpOption<'_> {
    let link_address = |data: &[u8]| <[u8; 6]>::try_from(data).ok().map(Mac);
    let known = match kind {
        SOURCE_LINK_ADDRESS => link_address(data).map(NdpOption::SourceLinkAddress),
        TARGET_LINK_ADDRESS => link_address(data).map(NdpOption::TargetLinkAddress),
        PREFIX => read_prefix(data).map(NdpOption::Prefix),
        MTU => match *data {
            [_, _, a, b, c, d] => Some(NdpOption::Mtu(u32::from_be_bytes([a, b, c, d]))),
            _ => None,
        },
        _ => None,
    };
    known.unwrap_or(NdpOption::Other { kind, data })
}

fn read_prefix(data: &[u8]) -> Option<Prefix> {
    let d: &[u8; 30] = data.try_into().ok()?;
    let prefix: [u8; 16] = *data.get(14..)?.first_chunk()?;
    Some(Prefix {
        prefix: prefix.into(),
        prefix_len: Some(d[0]).filter(|len| *len <= 128)?,
        on_link: d[1] & 0x80 != 0,
        autonomous: d[1] & 0x40 != 0,
        valid_lifetime: u32::from_be_bytes([d[2], d[3], d[4], d[5]]),
        preferred_lifetime: u32::from_be_bytes([d[6], d[7], d[8], d[9]]),
    })
}

/// Reads a message from its ICMPv6 type on; the checksum is the caller's business, and so is the hop
/// limit of 255 (RFC 4861 6.1, 7.1).
///
/// # Errors
///
/// [`Malformed`] for codes other than 0, messages that are too short, targets that are multicast
/// addresses, and lists with an option of length 0 or beyond the end.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, Malformed> {
    let ([kind, code, _, _, a, b, c, d], rest) = bytes
        .split_first_chunk::<8>()
        .ok_or(Malformed::Truncated(NAME))?;
    if *code != 0 {
        return Err(Malformed::field(NAME, "Code"));
    }
    match kind {
        133 => Ok(Message::RouterSolicitation {
            source_mac: mac(rest, SOURCE_LINK_ADDRESS)?,
        }),
        134 => advertisement([*a, *b, *c, *d], rest),
        135 => {
            let (target, options) = address(rest)?;
            Ok(Message::NeighborSolicitation {
                target: unicast(target)?,
                source_mac: mac(options, SOURCE_LINK_ADDRESS)?,
            })
        }
        136 => {
            let (target, options) = address(rest)?;
            Ok(Message::NeighborAdvertisement {
                target: unicast(target)?,
                router: a & 0x80 != 0,
                solicited: a & 0x40 != 0,
                replaces: a & 0x20 != 0,
                target_mac: mac(options, TARGET_LINK_ADDRESS)?,
            })
        }
        137 => {
            let (target, rest) = address(rest)?;
            let (destination, options) = address(rest)?;
            Ok(Message::Redirect {
                target: unicast(target)?,
                destination: unicast(destination)?,
                target_mac: mac(options, TARGET_LINK_ADDRESS)?,
            })
        }
        _ => Err(Malformed::field(NAME, "Type")),
    }
}

fn advertisement(
    [hop_limit, flags, high, low]: [u8; 4],
    rest: &[u8],
) -> Result<Message<'_>, Malformed> {
    let ([a, b, c, d, e, f, g, h], option_bytes) = rest
        .split_first_chunk::<8>()
        .ok_or(Malformed::Truncated(NAME))?;
    check_options(option_bytes)?;
    Ok(Message::RouterAdvertisement(RouterAdvertisement {
        hop_limit,
        managed: flags & 0x80 != 0,
        other: flags & 0x40 != 0,
        router_lifetime: u16::from_be_bytes([high, low]),
        reachable_time: u32::from_be_bytes([*a, *b, *c, *d]),
        retrans_timer: u32::from_be_bytes([*e, *f, *g, *h]),
        option_bytes,
    }))
}

fn address(bytes: &[u8]) -> Result<(Ipv6Addr, &[u8]), Malformed> {
    let (address, rest) = bytes
        .split_first_chunk::<16>()
        .ok_or(Malformed::Truncated(NAME))?;
    Ok((Ipv6Addr::from(*address), rest))
}

fn unicast(target: Ipv6Addr) -> Result<Ipv6Addr, Malformed> {
    if target.is_multicast() {
        return Err(Malformed::field(NAME, "Target Address"));
    }
    Ok(target)
}

/// RFC 4861 6.1, 7.1: every option has a length, and lies in the message.
fn check_options(mut bytes: &[u8]) -> Result<(), Malformed> {
    while !bytes.is_empty() {
        let (_, _, rest) = split_option(bytes).ok_or(Malformed::field(NAME, "option length"))?;
        bytes = rest;
    }
    Ok(())
}

/// The hardware address in the first option of type `kind`, all options checked.
fn mac(options: &[u8], kind: u8) -> Result<Option<Mac>, Malformed> {
    check_options(options)?;
    Ok(Options(options).find_map(|option| match option {
        NdpOption::SourceLinkAddress(mac) if kind == SOURCE_LINK_ADDRESS => Some(mac),
        NdpOption::TargetLinkAddress(mac) if kind == TARGET_LINK_ADDRESS => Some(mac),
        _ => None,
    }))
}

impl Message<'_> {
    /// Appends the message, its checksum 0.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Message::RouterSolicitation { source_mac } => {
                out.extend_from_slice(&[133, 0, 0, 0, 0, 0, 0, 0]);
                write_mac(SOURCE_LINK_ADDRESS, source_mac, out);
            }
            Message::RouterAdvertisement(advertisement) => advertisement.write(out),
            Message::NeighborSolicitation { target, source_mac } => {
                out.extend_from_slice(&[135, 0, 0, 0, 0, 0, 0, 0]);
                out.extend_from_slice(&target.octets());
                write_mac(SOURCE_LINK_ADDRESS, source_mac, out);
            }
            Message::NeighborAdvertisement {
                target,
                router,
                solicited,
                replaces,
                target_mac,
            } => {
                let flags =
                    u8::from(router) << 7 | u8::from(solicited) << 6 | u8::from(replaces) << 5;
                out.extend_from_slice(&[136, 0, 0, 0, flags, 0, 0, 0]);
                out.extend_from_slice(&target.octets());
                write_mac(TARGET_LINK_ADDRESS, target_mac, out);
            }
            Message::Redirect {
                target,
                destination,
                target_mac,
            } => {
                out.extend_from_slice(&[137, 0, 0, 0, 0, 0, 0, 0]);
                out.extend_from_slice(&target.octets());
                out.extend_from_slice(&destination.octets());
                write_mac(TARGET_LINK_ADDRESS, target_mac, out);
            }
        }
    }
}

impl RouterAdvertisement<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.managed) << 7 | u8::from(self.other) << 6;
        let [high, low] = self.router_lifetime.to_be_bytes();
        out.extend_from_slice(&[134, 0, 0, 0, self.hop_limit, flags, high, low]);
        out.extend_from_slice(&self.reachable_time.to_be_bytes());
        out.extend_from_slice(&self.retrans_timer.to_be_bytes());
        out.extend_from_slice(self.option_bytes);
    }
}

impl NdpOption<'_> {
    /// Appends the option, for the option bytes of an advertisement.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            NdpOption::SourceLinkAddress(mac) => write_mac(SOURCE_LINK_ADDRESS, Some(mac), out),
            NdpOption::TargetLinkAddress(mac) => write_mac(TARGET_LINK_ADDRESS, Some(mac), out),
            NdpOption::Prefix(prefix) => {
                let flags = u8::from(prefix.on_link) << 7 | u8::from(prefix.autonomous) << 6;
                out.extend_from_slice(&[PREFIX, 4, prefix.prefix_len, flags]);
                out.extend_from_slice(&prefix.valid_lifetime.to_be_bytes());
                out.extend_from_slice(&prefix.preferred_lifetime.to_be_bytes());
                out.extend_from_slice(&[0; 4]);
                out.extend_from_slice(&prefix.prefix.octets());
            }
            NdpOption::Mtu(mtu) => {
                out.extend_from_slice(&[MTU, 1, 0, 0]);
                out.extend_from_slice(&mtu.to_be_bytes());
            }
            NdpOption::Other { kind, data } => {
                let len = data.len().saturating_add(2);
                let units = u8::try_from(len.div_ceil(8)).unwrap_or(u8::MAX);
                let padded = usize::from(units) << 3;
                out.extend_from_slice(&[kind, units]);
                let data = data.get(..padded.saturating_sub(2)).unwrap_or(data);
                out.extend_from_slice(data);
                out.resize(out.len().saturating_add(padded.saturating_sub(len)), 0);
            }
        }
    }
}

fn write_mac(kind: u8, mac: Option<Mac>, out: &mut Vec<u8>) {
    if let Some(Mac(mac)) = mac {
        out.extend_from_slice(&[kind, 1]);
        out.extend_from_slice(&mac);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn target() -> Ipv6Addr {
        "fe80::1:2".parse().unwrap()
    }

    fn written(message: &Message<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.write(&mut out);
        out
    }

    #[test]
    fn a_solicitation_stands_as_rfc_4861_has_it() {
        // RFC 4861 4.3
        let source_mac = Some(Mac([2, 0, 0, 0, 0, 1]));
        let message = Message::NeighborSolicitation {
            target: target(),
            source_mac,
        };
        let mut bytes = vec![135, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&target().octets());
        bytes.extend_from_slice(&[1, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(written(&message), bytes);
        assert_eq!(parse(&bytes), Ok(message));
    }

    #[test]
    fn every_message_comes_back_as_it_was() {
        let mac = Some(Mac([2, 3, 4, 5, 6, 7]));
        let destination = "2001:db8::9".parse().unwrap();
        for bits in 0..8 {
            let message = Message::NeighborAdvertisement {
                target: target(),
                router: bits & 4 != 0,
                solicited: bits & 2 != 0,
                replaces: bits & 1 != 0,
                target_mac: mac.filter(|_| bits & 1 != 0),
            };
            assert_eq!(parse(&written(&message)), Ok(message));
        }
        let messages = [
            Message::RouterSolicitation { source_mac: mac },
            Message::RouterSolicitation { source_mac: None },
            Message::NeighborSolicitation {
                target: target(),
                source_mac: None,
            },
            Message::Redirect {
                target: target(),
                destination,
                target_mac: mac,
            },
        ];
        for message in messages {
            assert_eq!(parse(&written(&message)), Ok(message));
        }
    }

    #[test]
    fn an_advertisement_tells_prefixes_mtu_and_address() {
        // RFC 4861 4.2, 4.6
        let options = [
            NdpOption::SourceLinkAddress(Mac([2, 0, 0, 0, 0, 1])),
            NdpOption::Mtu(1400),
            NdpOption::Prefix(Prefix {
                prefix: "2001:db8::".parse().unwrap(),
                prefix_len: 64,
                on_link: true,
                autonomous: true,
                valid_lifetime: u32::MAX,
                preferred_lifetime: 3600,
            }),
            NdpOption::Other {
                kind: 24,
                data: &[0; 14],
            },
        ];
        let mut option_bytes = Vec::new();
        options
            .iter()
            .for_each(|option| option.write(&mut option_bytes));
        let advertisement = RouterAdvertisement {
            hop_limit: 64,
            managed: false,
            other: true,
            router_lifetime: 1800,
            reachable_time: 30_000,
            retrans_timer: 1000,
            option_bytes: &option_bytes,
        };
        let bytes = written(&Message::RouterAdvertisement(advertisement));
        let Ok(Message::RouterAdvertisement(read)) = parse(&bytes) else {
            panic!("no advertisement");
        };
        assert_eq!(read, advertisement);
        assert!(read.options().eq(options));
    }

    #[test]
    fn an_option_without_length_spoils_the_message() {
        // RFC 4861 6.1.1, 7.1.1: "All included options have a length that is greater than zero."
        let message = Message::NeighborSolicitation {
            target: target(),
            source_mac: None,
        };
        for bad in [
            &[1, 0, 0, 0, 0, 0, 0, 0][..],
            &[14, 2, 0, 0, 0, 0, 0, 0],
            &[1],
        ] {
            let mut bytes = written(&message);
            bytes.extend_from_slice(&[99, 1, 0, 0, 0, 0, 0, 0]);
            assert_eq!(parse(&bytes), Ok(message));
            bytes.extend_from_slice(bad);
            assert_eq!(parse(&bytes), Err(Malformed::field(NAME, "option length")));
        }
    }

    #[test]
    fn codes_and_multicast_targets_are_refused() {
        // RFC 4861 7.1.1, 7.1.2
        let mut bytes = written(&Message::NeighborSolicitation {
            target: target(),
            source_mac: None,
        });
        bytes[1] = 1;
        assert_eq!(parse(&bytes), Err(Malformed::field(NAME, "Code")));
        bytes[1] = 0;
        bytes[8] = 0xff;
        assert_eq!(parse(&bytes), Err(Malformed::field(NAME, "Target Address")));
        bytes.truncate(23);
        assert_eq!(parse(&bytes), Err(Malformed::Truncated(NAME)));
    }

    #[test]
    fn options_of_another_size_are_passed_over() {
        // A hardware address of 14 bytes, a prefix of 8, a prefix length of 129 bits.
        let long = [1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let short = [3, 1, 64, 0, 0, 0, 0, 0];
        let mut wide = [0; 32];
        wide[..3].copy_from_slice(&[3, 4, 129]);
        for bytes in [&long[..], &short, &wide] {
            let read: Vec<_> = Options(bytes).collect();
            assert!(matches!(read[..], [NdpOption::Other { .. }]), "{read:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_lists_end(mut bytes in proptest::collection::vec(0_u8..6, 0..200), kind in 132_u8..139) {
            if bytes.len() > 2 {
                bytes[0] = kind;
                bytes[1] = 0;
            }
            if let Ok(message) = parse(&bytes) {
                if let Message::RouterAdvertisement(advertisement) = message {
                    prop_assert!(advertisement.options().count() <= bytes.len() / 8);
                }
                let again = written(&message);
                prop_assert_eq!(parse(&again), Ok(message));
            }
        }
    }
}
