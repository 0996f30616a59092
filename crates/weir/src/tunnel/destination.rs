//! What a stream is to reach: a host and a port, as text and on the wire.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The longest domain name in bytes: SOCKS5 (RFC 1928 section 5) and the tunnel's own wire count it in one byte.
pub const MAX_NAME: usize = 255;

/// The longest label of a domain name in bytes (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// A domain name that is safe to resolve, to compare and to print.
///
/// Letters, digits, `-` and `_` in labels of at most 63 bytes, 255 bytes in all; kept in lower case, because
/// names compare without regard to case (RFC 4343), and without the dot that may end it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Box<str>);

impl Name {
    /// The name as text, in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `localhost` or a name below it, which mean the machine itself (RFC 6761 section 6.3).
    pub fn is_localhost(&self) -> bool {
        self.is_within("localhost")
    }

    /// Whether this is `parent` or a name below it.
    pub fn is_within(&self, parent: &str) -> bool {
        match self.0.strip_suffix(parent) {
            Some("") => true,
            Some(rest) => rest.ends_with('.'),
            None => false,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() || text.len() > MAX_NAME {
            return Err(DestinationError::Name);
        }
        let label_is_good = |label: &str| {
            !label.is_empty()
                && label.len() <= MAX_LABEL
                && label
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !text.split('.').all(label_is_good) {
            return Err(DestinationError::Name);
        }
        Ok(Self(text.to_ascii_lowercase().into_boxed_str()))
    }
}

/// A host: an address, or a name that is resolved on the side that connects to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// An IPv4 or IPv6 address. An IPv4 address written inside IPv6 (`::ffff:a.b.c.d`) is held as IPv4, so that no rule can be passed by in the other spelling.
    Ip(IpAddr),
    /// A domain name.
    Name(Name),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => write!(f, "{name}"),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }
}

impl FromStr for Host {
    type Err = DestinationError;

    /// Takes `192.0.2.1`, `[2001:db8::1]`, `2001:db8::1` and `example.org`.
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(DestinationError::Brackets)?;
            let ip = inner
                .parse::<Ipv6Addr>()
                .map_err(|_| DestinationError::Brackets)?;
            return Ok(Self::from(IpAddr::V6(ip)));
        }
        match text.parse::<IpAddr>() {
            Ok(ip) => Ok(Self::from(ip)),
            Err(_) => text.parse::<Name>().map(Self::Name),
        }
    }
}

/// A host and a TCP port other than 0.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Destination {
    /// The host.
    pub host: Host,
    /// The port, 1 to 65535.
    pub port: u16,
}

impl Destination {
    /// A destination of `host` and `port`; port 0 is nothing that can be reached.
    pub fn new(host: impl Into<Host>, port: u16) -> Result<Self, DestinationError> {
        match port {
            0 => Err(DestinationError::Port),
            _ => Ok(Self {
                host: host.into(),
                port,
            }),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl TryFrom<SocketAddr> for Destination {
    type Error = DestinationError;

    fn try_from(address: SocketAddr) -> Result<Self, DestinationError> {
        Self::new(address.ip(), address.port())
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    /// Takes `host:port`, an IPv6 address in brackets.
    fn from_str(text: &str) -> Result<Self, DestinationError> {
        let (host, port) = text.rsplit_once(':').ok_or(DestinationError::Port)?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(DestinationError::Brackets);
        }
        Self::new(
            host.parse::<Host>()?,
            port.parse::<u16>().map_err(|_| DestinationError::Port)?,
        )
    }
}

/// Why a text or a wire form is no destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// No usable port.
    #[error("a port from 1 to 65535 is needed, as in example.org:80")]
    Port,
    /// An IPv6 address that is not written in brackets, or brackets around something else.
    #[error("an IPv6 address is written in brackets, as in [2001:db8::1]:80")]
    Brackets,
    /// Not a domain name.
    #[error(
        "not a host name: letters, digits, '-', '_' and '.', at most 63 bytes a label and 255 in all"
    )]
    Name,
    /// The address type on the wire is none that this version knows.
    #[error("unknown address type {0}")]
    AddressType(u8),
    /// The wire form ends too early.
    #[error("address cut short")]
    Truncated,
}

/// Address types on the wire. The numbers are those of RFC 1928 section 5, so that nothing has to be remembered twice.
const TYPE_IPV4: u8 = 1;
const TYPE_NAME: u8 = 3;
const TYPE_IPV6: u8 = 4;

/// Takes bytes off the front of a slice, never past its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }
}

/// Reads address type, address and port: the form that SOCKS5 requests and the tunnel's own share. Port 0 is let
/// through, because a SOCKS client may leave it open for a request that is refused anyway.
pub(crate) fn read_host_port(input: &mut Reader<'_>) -> Result<(Host, u16), DestinationError> {
    let cut = DestinationError::Truncated;
    let host = match input.u8().ok_or(cut)? {
        TYPE_IPV4 => Host::from(IpAddr::V4(Ipv4Addr::from(input.array::<4>().ok_or(cut)?))),
        TYPE_IPV6 => Host::from(IpAddr::V6(Ipv6Addr::from(input.array::<16>().ok_or(cut)?))),
        TYPE_NAME => {
            let len = input.u8().ok_or(cut)?;
            let name = input.take(usize::from(len)).ok_or(cut)?;
            // Clients send address literals as names too; as addresses they meet the address rules.
            std::str::from_utf8(name)
                .map_err(|_| DestinationError::Name)?
                .parse::<Host>()?
        }
        other => return Err(DestinationError::AddressType(other)),
    };
    Ok((host, input.u16().ok_or(cut)?))
}

/// Reads a destination; port 0 is an error.
pub(crate) fn read_destination(input: &mut Reader<'_>) -> Result<Destination, DestinationError> {
    let (host, port) = read_host_port(input)?;
    Destination::new(host, port)
}

/// Reads an address and port; a name is an error, port 0 is not.
pub(crate) fn read_socket_addr(input: &mut Reader<'_>) -> Result<SocketAddr, DestinationError> {
    match read_host_port(input)? {
        (Host::Ip(ip), port) => Ok(SocketAddr::new(ip, port)),
        (Host::Name(_), _) => Err(DestinationError::AddressType(TYPE_NAME)),
    }
}

/// Appends address type, address and port.
pub(crate) fn write_host_port(out: &mut Vec<u8>, host: &Host, port: u16) {
    match host {
        Host::Ip(IpAddr::V4(ip)) => {
            out.push(TYPE_IPV4);
            out.extend_from_slice(&ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            out.push(TYPE_IPV6);
            out.extend_from_slice(&ip.octets());
        }
        Host::Name(name) => {
            out.push(TYPE_NAME);
            // A `Name` is never longer than MAX_NAME, which fits a byte.
            out.push(u8::try_from(name.0.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(name.0.as_bytes());
        }
    }
    out.extend_from_slice(&port.to_be_bytes());
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_forms() {
        let show = |text: &str| text.parse::<Destination>().map(|t| t.to_string());
        assert_eq!(show("127.0.0.1:80").unwrap(), "127.0.0.1:80");
        assert_eq!(show("[::1]:22").unwrap(), "[::1]:22");
        assert_eq!(show("Example.ORG.:443").unwrap(), "example.org:443");
        assert_eq!(show("[::ffff:10.0.0.1]:1").unwrap(), "10.0.0.1:1");
        assert_eq!(show("::1:22"), Err(DestinationError::Brackets));
        assert_eq!(show("[example.org]:22"), Err(DestinationError::Brackets));
        assert_eq!(show("example.org"), Err(DestinationError::Port));
        assert_eq!(show("example.org:0"), Err(DestinationError::Port));
        assert_eq!(show("example.org:65536"), Err(DestinationError::Port));
        assert_eq!(show("exa mple.org:1"), Err(DestinationError::Name));
        assert_eq!(show("a..b:1"), Err(DestinationError::Name));
        assert_eq!(show(":1"), Err(DestinationError::Name));
        assert_eq!(show("\u{7}bell:1"), Err(DestinationError::Name));
    }

    #[test]
    fn names_are_bounded() {
        let label = "a".repeat(63);
        let name = [label.as_str(); 4].join(".");
        assert_eq!(name.len(), 255);
        assert!(name.parse::<Name>().is_ok());
        assert!(format!("{name}a").parse::<Name>().is_err());
        assert!("a".repeat(64).parse::<Name>().is_err());
    }

    #[test]
    fn names_below_a_name() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        assert!(name("localhost").is_localhost());
        assert!(name("x.localhost").is_localhost());
        assert!(!name("notlocalhost").is_localhost());
        assert!(!name("localhost.example.org").is_localhost());
    }

    #[test]
    fn a_literal_sent_as_a_name_becomes_an_address() {
        let mut wire = vec![TYPE_NAME, 9];
        wire.extend_from_slice(b"127.0.0.1");
        wire.extend_from_slice(&[0, 80]);
        let destination = read_destination(&mut Reader(&wire)).unwrap();
        assert_eq!(destination.host, Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    pub(crate) fn any_destination() -> impl Strategy<Value = Destination> {
        let host = prop_oneof![
            any::<[u8; 4]>().prop_map(|ip| Host::from(IpAddr::from(ip))),
            any::<[u8; 16]>().prop_map(|ip| Host::from(IpAddr::from(ip))),
            "[a-z0-9_-]{1,63}(\\.[a-z0-9_-]{1,62}){0,2}\\.[a-z]{1,40}"
                .prop_map(|name| Host::Name(name.parse().unwrap())),
        ];
        (host, 1..=u16::MAX).prop_map(|(host, port)| Destination { host, port })
    }

    proptest! {
        #[test]
        fn wire_and_text_round_trip(destination in any_destination(), tail in any::<Vec<u8>>()) {
            let mut wire = Vec::new();
            write_host_port(&mut wire, &destination.host, destination.port);
            let whole = wire.len();
            wire.extend_from_slice(&tail);
            let mut reader = Reader(&wire);
            prop_assert_eq!(&read_destination(&mut reader).unwrap(), &destination);
            prop_assert_eq!(reader.0, &tail[..]);
            for cut in 0..whole {
                prop_assert_eq!(read_destination(&mut Reader(&wire[..cut])), Err(DestinationError::Truncated));
            }
            prop_assert_eq!(destination.to_string().parse::<Destination>().unwrap(), destination);
        }

        #[test]
        fn no_input_panics(wire in any::<Vec<u8>>(), text in "\\PC{0,80}") {
            let _ = read_destination(&mut Reader(&wire));
            let _ = read_socket_addr(&mut Reader(&wire));
            if let Ok(destination) = text.parse::<Destination>() {
                prop_assert_eq!(destination.to_string().parse::<Destination>().unwrap(), destination);
            }
        }
    }
}
