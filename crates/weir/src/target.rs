//! Who to dial: `PEER@HOST:PORT`, or `HOST:PORT` where any peer will do.

use std::fmt;
use std::str::FromStr;

use crate::error::ConnectError;
use crate::security::PeerId;

/// A peer to dial.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Whose key must answer; `None` takes anyone, so whoever holds the address.
    pub peer: Option<PeerId>,
    /// Host name or IP address, IPv6 without brackets.
    pub host: String,
    /// TCP or UDP port.
    pub port: u16,
}

impl FromStr for Target {
    type Err = ConnectError;

    fn from_str(text: &str) -> Result<Self, ConnectError> {
        let fail = |problem: String| ConnectError::Target {
            text: text.to_owned(),
            problem,
        };
        let (peer, address) = match text.split_once('@') {
            Some((peer, rest)) => {
                let peer = peer.parse::<PeerId>().map_err(|e| fail(e.to_string()))?;
                (Some(peer), rest)
            }
            None => (None, text),
        };
        let (host, port) = address
            .rsplit_once(':')
            .ok_or_else(|| fail("the port is missing".to_owned()))?;
        let port = port
            .parse()
            .map_err(|_| fail(format!("`{port}` is no port")))?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner
                .strip_suffix(']')
                .ok_or_else(|| fail("the bracket of the IPv6 address is not closed".to_owned()))?,
            None if host.contains(':') => {
                return Err(fail("an IPv6 address stands in brackets".to_owned()));
            }
            None => host,
        };
        if host.is_empty() {
            return Err(fail("the host is missing".to_owned()));
        }
        Ok(Target {
            peer,
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(peer) = &self.peer {
            write!(f, "{peer}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_names_and_brackets_are_read_and_written_alike() {
        for text in ["example.org:4433", "127.0.0.1:1", "[::1]:65535"] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.peer, None);
            assert_eq!(target.to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("example.org", "port is missing"),
            ("example.org:http", "`http` is no port"),
            ("::1:80", "brackets"),
            ("[::1:80", "not closed"),
            (":80", "host is missing"),
            ("nobody@example.org:80", "nobody"),
        ] {
            let error = text.parse::<Target>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
