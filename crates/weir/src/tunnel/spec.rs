//! Forwards as a user writes them: `-L`, `-R` and `-D`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::destination::{Destination, DestinationError};

/// What a forward carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Connections.
    #[default]
    Tcp,
    /// Datagrams.
    Udp,
}

impl Transport {
    /// What stands before a forward of this kind: TCP goes without saying.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Tcp => "",
            Self::Udp => "udp:",
        }
    }
}

/// `-L [udp:][bind:]port:host:port`: listen here, connect there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalForward {
    /// TCP unless said otherwise.
    pub transport: Transport,
    /// Where this side listens; loopback unless said otherwise.
    pub bind: SocketAddr,
    /// What the far side connects to; names are resolved there.
    pub to: Destination,
}

/// `-R [udp:][bind:]port:host:port`: listen there, connect here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteForward {
    /// TCP unless said otherwise.
    pub transport: Transport,
    /// Where the far side listens; loopback unless said otherwise, port 0 lets it choose.
    pub bind: SocketAddr,
    /// What this side connects to; names are resolved here.
    pub to: Destination,
}

/// `-D [bind:]port`: a SOCKS proxy here whose connections leave from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocksForward {
    /// Where this side listens; loopback unless said otherwise.
    pub bind: SocketAddr,
}

/// Why a text is no forward.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// Not the right number of parts.
    #[error("`{text}` is no forward: expected {expected}, IPv6 addresses in brackets")]
    Form {
        /// What was given.
        text: String,
        /// The form it should have.
        expected: &'static str,
    },
    /// The address to listen at is no address.
    #[error("`{bind}` is no address to listen at: use an IP address, `localhost` or `*`")]
    Bind {
        /// What was given.
        bind: String,
    },
    /// The port to listen at is no port.
    #[error("`{port}` is no port to listen at: use 0 to 65535, where 0 lets the system choose")]
    Port {
        /// What was given.
        port: String,
    },
    /// The destination is none.
    #[error("`{text}`: {problem}")]
    Destination {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: DestinationError,
    },
}

const LOCAL_FORM: &str = "[udp:][bind:]port:host:port";
const SOCKS_FORM: &str = "[bind:]port";

/// Cuts at colons that are not inside brackets.
fn parts(text: &str) -> Vec<&str> {
    let mut inside = false;
    text.split(|c| {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
        c == ':' && !inside
    })
    .collect()
}

fn parse_bind(bind: &str, port: &str) -> Result<SocketAddr, ForwardError> {
    let ip = match bind {
        "" | "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        // Where the system allows it, the IPv6 form takes IPv4 too.
        "*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => {
            let inner = bind
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            let ip = inner.unwrap_or(bind).parse::<IpAddr>();
            ip.map_err(|_| ForwardError::Bind {
                bind: bind.to_owned(),
            })?
        }
    };
    let port = port.parse().map_err(|_| ForwardError::Port {
        port: port.to_owned(),
    })?;
    Ok(SocketAddr::new(ip, port))
}

fn parse_forward(text: &str) -> Result<(Transport, SocketAddr, Destination), ForwardError> {
    let (transport, rest) = match text.split_once(':') {
        Some(("udp", rest)) => (Transport::Udp, rest),
        Some(("tcp", rest)) => (Transport::Tcp, rest),
        _ => (Transport::Tcp, text),
    };
    let (bind, port, host, to_port) = match *parts(rest).as_slice() {
        [port, host, to_port] => ("", port, host, to_port),
        [bind, port, host, to_port] => (bind, port, host, to_port),
        _ => {
            return Err(ForwardError::Form {
                text: text.to_owned(),
                expected: LOCAL_FORM,
            });
        }
    };
    let bind = parse_bind(bind, port)?;
    let to = format!("{host}:{to_port}");
    let to = to.parse().map_err(|problem| ForwardError::Destination {
        text: to.clone(),
        problem,
    })?;
    Ok((transport, bind, to))
}

impl FromStr for LocalForward {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        parse_forward(text).map(|(transport, bind, to)| Self {
            transport,
            bind,
            to,
        })
    }
}

impl FromStr for RemoteForward {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        parse_forward(text).map(|(transport, bind, to)| Self {
            transport,
            bind,
            to,
        })
    }
}

impl FromStr for SocksForward {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let (bind, port) = match *parts(text).as_slice() {
            [port] => ("", port),
            [bind, port] => (bind, port),
            _ => {
                return Err(ForwardError::Form {
                    text: text.to_owned(),
                    expected: SOCKS_FORM,
                });
            }
        };
        parse_bind(bind, port).map(|bind| Self { bind })
    }
}

impl fmt::Display for LocalForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", self.transport.prefix(), self.bind, self.to)
    }
}

impl fmt::Display for RemoteForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}:{}", self.transport.prefix(), self.bind, self.to)
    }
}

impl fmt::Display for SocksForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn local(text: &str) -> Result<String, ForwardError> {
        text.parse::<LocalForward>()
            .map(|forward| forward.to_string())
    }

    #[test]
    fn forms_of_l_and_r() {
        for (text, shown) in [
            ("8080:127.0.0.1:80", "127.0.0.1:8080:127.0.0.1:80"),
            ("0:example.org:80", "127.0.0.1:0:example.org:80"),
            ("*:8080:example.org:80", "[::]:8080:example.org:80"),
            ("localhost:8080:[::1]:80", "127.0.0.1:8080:[::1]:80"),
            (":8080:h:80", "127.0.0.1:8080:h:80"),
            ("[::1]:8080:[2001:db8::2]:80", "[::1]:8080:[2001:db8::2]:80"),
            ("0.0.0.0:1:h:2", "0.0.0.0:1:h:2"),
            ("udp:5353:10.0.0.1:53", "udp:127.0.0.1:5353:10.0.0.1:53"),
            ("udp:[::1]:5353:dns:53", "udp:[::1]:5353:dns:53"),
            ("tcp::80:h:80", "127.0.0.1:80:h:80"),
        ] {
            assert_eq!(local(text).as_deref(), Ok(shown), "{text}");
            assert_eq!(text.parse::<RemoteForward>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn forms_of_d() {
        for (text, shown) in [
            ("1080", "127.0.0.1:1080"),
            ("[::1]:0", "[::1]:0"),
            ("*:1", "[::]:1"),
        ] {
            assert_eq!(text.parse::<SocksForward>().unwrap().to_string(), shown);
        }
        assert!("1:2:3".parse::<SocksForward>().is_err());
        assert!("".parse::<SocksForward>().is_err());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("8080", "[bind:]port:host:port"),
            ("8080:h", "[bind:]port:host:port"),
            ("udp:8080:h", "[udp:][bind:]port:host:port"),
            ("::1:8080:h:80", "brackets"),
            ("x:8080:h:80", "`x` is no address"),
            ("http:h:80", "`http` is no port"),
            ("8080:h:0", "a port from 1"),
            ("8080:h_%:80", "not a host name"),
            ("8080:[h]:80", "brackets"),
        ] {
            let error = local(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(udp:)?[a-z0-9:.*\\[\\] ]{0,40}") {
            if let Ok(forward) = text.parse::<LocalForward>() {
                prop_assert_eq!(forward.to_string().parse::<LocalForward>().unwrap(), forward);
            }
            let _ = text.parse::<SocksForward>();
        }
    }
}
