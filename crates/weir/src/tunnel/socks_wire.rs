//! SOCKS5 (RFC 1928) and SOCKS4/4a requests and replies as bytes: pure, incremental, bounded.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::destination::{
    Destination, DestinationError, Host, Reader, read_host_port, write_host_port,
};
use super::protocol::Status;

/// The most bytes a client may send before its request stands. SOCKS5 needs at most 257 + 262, SOCKS4a at most
/// 9 + 2 x 256.
pub(crate) const MAX_HANDSHAKE: usize = 1024;

/// The longest user id or name in SOCKS4, which are ended by a zero byte instead of counted.
const MAX_SOCKS4_TEXT: usize = 255;

const NO_AUTHENTICATION: u8 = 0;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;

/// Which dialect the client speaks, so that the reply is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Socks5,
    Socks4,
}

/// What a client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Connect(Destination),
    /// With the address that the client means to send from, zeros where it does not know.
    UdpAssociate(Host, u16),
    Bind,
}

/// What to do after the bytes so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// More bytes are needed.
    More,
    /// Send this, then read on.
    Send(Vec<u8>),
    /// The request stands; `used` bytes belong to it, the rest is payload of an eager client.
    Request {
        dialect: Dialect,
        command: Command,
        used: usize,
    },
    /// The client cannot be served: send `reply` (it may be empty) and close. `why` is for the log.
    Refuse { reply: Vec<u8>, why: String },
}

/// The handshake of one client. The caller keeps the bytes in one buffer and shows all of it each time.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    /// Length of the SOCKS5 greeting once it has been answered.
    greeted: Option<usize>,
}

impl Handshake {
    /// Looks at everything the client has sent so far.
    pub(crate) fn step(&mut self, input: &[u8]) -> Step {
        let step = match (self.greeted, input.first()) {
            (_, None) => return Step::More,
            (Some(from), _) => socks5_request(input, from),
            (None, Some(5)) => self.socks5_greeting(input),
            (None, Some(4)) => socks4_request(input),
            (None, Some(byte)) => Some(not_socks(*byte)),
        };
        match step {
            Some(step) => step,
            None if input.len() >= MAX_HANDSHAKE => Step::Refuse {
                reply: Vec::new(),
                why: format!("no SOCKS request within {MAX_HANDSHAKE} bytes"),
            },
            None => Step::More,
        }
    }

    /// RFC 1928 section 3: version, count, methods.
    fn socks5_greeting(&mut self, input: &[u8]) -> Option<Step> {
        let mut reader = Reader(input);
        let [_, count] = reader.array::<2>()?;
        let methods = reader.take(usize::from(count))?;
        if !methods.contains(&NO_AUTHENTICATION) {
            return Some(Step::Refuse {
                reply: vec![5, NO_ACCEPTABLE_METHOD],
                why: "the client insists on a password, which this proxy does not ask for"
                    .to_owned(),
            });
        }
        self.greeted = Some(input.len().saturating_sub(reader.0.len()));
        Some(Step::Send(vec![5, NO_AUTHENTICATION]))
    }
}

/// RFC 1928 section 4: version, command, reserved, address.
fn socks5_request(input: &[u8], from: usize) -> Option<Step> {
    let mut reader = Reader(input.get(from..)?);
    let [version, command, _reserved] = reader.array::<3>()?;
    let refuse = |code: u8, why: String| {
        Some(Step::Refuse {
            reply: socks5_reply(code),
            why,
        })
    };
    if version != 5 {
        return refuse(
            Reply5::FAILURE,
            format!("request of SOCKS version {version}"),
        );
    }
    let (host, port) = match read_host_port(&mut reader) {
        Ok(address) => address,
        Err(DestinationError::Truncated) => return None,
        Err(error @ DestinationError::AddressType(_)) => {
            return refuse(Reply5::ADDRESS_TYPE, error.to_string());
        }
        // A name that cannot exist leads nowhere; the host is unreachable.
        Err(error) => return refuse(Reply5::HOST_UNREACHABLE, error.to_string()),
    };
    let command = match command {
        1 => match Destination::new(host, port) {
            Ok(to) => Command::Connect(to),
            Err(error) => return refuse(Reply5::FAILURE, error.to_string()),
        },
        2 => Command::Bind,
        3 => Command::UdpAssociate(host, port),
        other => return refuse(Reply5::COMMAND, format!("unknown SOCKS command {other}")),
    };
    let used = input.len().saturating_sub(reader.0.len());
    Some(Step::Request {
        dialect: Dialect::Socks5,
        command,
        used,
    })
}

/// SOCKS4: version, command, port, address, user id up to a zero byte; in SOCKS4a the address 0.0.0.x announces a
/// name behind it, up to another zero byte.
fn socks4_request(input: &[u8]) -> Option<Step> {
    let mut reader = Reader(input);
    let [_, command] = reader.array::<2>()?;
    let port = reader.u16()?;
    let ip = reader.array::<4>()?;
    let refuse = |why: &str| {
        Some(Step::Refuse {
            reply: socks4_reply(false),
            why: why.to_owned(),
        })
    };
    let text = |reader: &mut Reader<'_>| -> Result<Option<Vec<u8>>, ()> {
        match reader
            .0
            .iter()
            .take(MAX_SOCKS4_TEXT + 1)
            .position(|byte| *byte == 0)
        {
            Some(len) => {
                let text = reader.take(len).map(<[u8]>::to_vec);
                reader.u8();
                Ok(text)
            }
            None if reader.0.len() > MAX_SOCKS4_TEXT => Err(()),
            None => Ok(None),
        }
    };
    match text(&mut reader) {
        Err(()) => return refuse("SOCKS4 user id beyond 255 bytes"),
        Ok(None) => return None,
        Ok(Some(_user)) => {}
    }
    let host = match ip {
        [0, 0, 0, last] if last != 0 => match text(&mut reader) {
            Err(()) => return refuse("SOCKS4a name beyond 255 bytes"),
            Ok(None) => return None,
            Ok(Some(name)) => match std::str::from_utf8(&name).map(str::parse::<Host>) {
                Ok(Ok(host)) => host,
                _ => return refuse("SOCKS4a request for what is no host name"),
            },
        },
        ip => Host::from(IpAddr::V4(Ipv4Addr::from(ip))),
    };
    let command = match command {
        1 => match Destination::new(host, port) {
            Ok(to) => Command::Connect(to),
            Err(_) => return refuse("SOCKS4 request for port 0"),
        },
        2 => Command::Bind,
        _ => return refuse("unknown SOCKS4 command"),
    };
    let used = input.len().saturating_sub(reader.0.len());
    Some(Step::Request {
        dialect: Dialect::Socks4,
        command,
        used,
    })
}

/// Somebody took this port for something else; a browser's user gets an answer that says so.
fn not_socks(first: u8) -> Step {
    if !first.is_ascii_uppercase() {
        let why = format!("not a SOCKS client (first byte 0x{first:02x})");
        return Step::Refuse {
            reply: Vec::new(),
            why,
        };
    }
    let text =
        "This is a SOCKS5 proxy, not an HTTP proxy: use socks5h://HOST:PORT as its address.\n";
    let reply = format!(
        "HTTP/1.1 501 This is a SOCKS5 proxy\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    let why = "an HTTP client; this is a SOCKS5 proxy, use socks5h://".to_owned();
    Step::Refuse {
        reply: reply.into_bytes(),
        why,
    }
}

/// Reply codes of RFC 1928 section 6.
pub(crate) struct Reply5;

impl Reply5 {
    pub(crate) const SUCCESS: u8 = 0;
    pub(crate) const FAILURE: u8 = 1;
    pub(crate) const NOT_ALLOWED: u8 = 2;
    pub(crate) const NETWORK_UNREACHABLE: u8 = 3;
    pub(crate) const HOST_UNREACHABLE: u8 = 4;
    pub(crate) const REFUSED: u8 = 5;
    pub(crate) const TTL_EXPIRED: u8 = 6;
    pub(crate) const COMMAND: u8 = 7;
    pub(crate) const ADDRESS_TYPE: u8 = 8;

    /// The code that tells a SOCKS client what became of its request.
    pub(crate) fn from_status(status: Status) -> u8 {
        match status {
            Status::Ok => Self::SUCCESS,
            Status::NotAllowed => Self::NOT_ALLOWED,
            Status::NetworkUnreachable => Self::NETWORK_UNREACHABLE,
            Status::HostUnreachable | Status::NameNotFound => Self::HOST_UNREACHABLE,
            Status::Refused => Self::REFUSED,
            // The RFC has no code for a timeout; the packets' time has expired comes nearest.
            Status::TimedOut => Self::TTL_EXPIRED,
            Status::Unsupported => Self::COMMAND,
            _ => Self::FAILURE,
        }
    }
}

/// The reply to a request. The address in it is left unspecified: what the far side bound is its own business.
fn socks5_reply(code: u8) -> Vec<u8> {
    vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

/// The reply that grants UDP ASSOCIATE: where the client is to send its datagrams (RFC 1928 section 6).
pub(crate) fn associated(at: SocketAddr) -> Vec<u8> {
    let mut reply = vec![5, Reply5::SUCCESS, 0];
    write_host_port(&mut reply, &Host::from(at.ip()), at.port());
    reply
}

fn socks4_reply(granted: bool) -> Vec<u8> {
    vec![0, if granted { 90 } else { 91 }, 0, 0, 0, 0, 0, 0]
}

/// The reply to a request, in the client's dialect.
pub(crate) fn reply(dialect: Dialect, status: Status) -> Vec<u8> {
    match dialect {
        Dialect::Socks5 => socks5_reply(Reply5::from_status(status)),
        Dialect::Socks4 => socks4_reply(status == Status::Ok),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::destination::tests::any_destination;
    use proptest::prelude::*;

    /// Shows a handshake ever more of `input`, `cut` bytes at a time, and collects what it sends.
    fn run(input: &[u8], cut: usize) -> (Vec<u8>, Step) {
        let mut handshake = Handshake::default();
        let mut sent = Vec::new();
        let mut shown = 0;
        loop {
            match handshake.step(&input[..shown]) {
                Step::More if shown == input.len() => return (sent, Step::More),
                Step::More => shown = (shown + cut).min(input.len()),
                Step::Send(bytes) => sent.extend(bytes),
                done => return (sent, done),
            }
        }
    }

    fn connect(to: &Destination) -> Vec<u8> {
        let mut wire = vec![5, 1, 0, 5, 1, 0];
        write_host_port(&mut wire, &to.host, to.port);
        wire
    }

    proptest! {
        #[test]
        fn connect_in_any_cut(to in any_destination(), cut in 1usize..20, payload in any::<Vec<u8>>()) {
            let mut wire = connect(&to);
            let used = wire.len();
            wire.extend(&payload);
            let (sent, step) = run(&wire, cut);
            prop_assert_eq!(sent, vec![5, 0]);
            let command = Command::Connect(to);
            prop_assert_eq!(step, Step::Request { dialect: Dialect::Socks5, command, used });
        }

        /// C1, C4: no bytes panic, and none keep the handshake waiting beyond its bound.
        #[test]
        fn hostile_bytes(mut wire in proptest::collection::vec(any::<u8>(), MAX_HANDSHAKE..1500), first in 0u8..8, cut in 1usize..50) {
            wire[0] = first;
            let (_, step) = run(&wire, cut);
            prop_assert!(!matches!(step, Step::More), "undecided after {} bytes", wire.len());
        }

        #[test]
        fn hostile_socks4(tail in proptest::collection::vec(any::<u8>(), 0..600), a4 in any::<bool>()) {
            let mut wire = vec![4, 1, 0, 80];
            wire.extend(if a4 { [0, 0, 0, 1] } else { [192, 0, 2, 1] });
            wire.extend(tail);
            run(&wire, 1);
        }
    }

    #[test]
    fn socks4_and_4a() {
        let (_, step) = run(b"\x04\x01\x00\x50\x7f\x00\x00\x01me\0payload", 1);
        let to = "127.0.0.1:80".parse().unwrap();
        let command = Command::Connect(to);
        assert_eq!(
            step,
            Step::Request {
                dialect: Dialect::Socks4,
                command,
                used: 11
            }
        );
        let (_, step) = run(b"\x04\x01\x00\x50\x00\x00\x00\x01\0example.org\0", 3);
        let command = Command::Connect("example.org:80".parse().unwrap());
        assert_eq!(
            step,
            Step::Request {
                dialect: Dialect::Socks4,
                command,
                used: 21
            }
        );
        assert_eq!(reply(Dialect::Socks4, Status::Ok)[1], 90);
        assert_eq!(reply(Dialect::Socks4, Status::Refused)[1], 91);
    }

    /// RFC 1928 section 6: what cannot be done has its own code.
    #[test]
    fn refusals_have_their_codes() {
        for (wire, code) in [
            (
                &[5, 1, 0, 5, 9, 0, 1, 1, 2, 3, 4, 0, 80][..],
                Reply5::COMMAND,
            ),
            (
                &[5, 1, 0, 5, 1, 0, 7, 1, 2, 3, 4, 0, 80],
                Reply5::ADDRESS_TYPE,
            ),
            (&[5, 1, 0, 5, 1, 0, 1, 1, 2, 3, 4, 0, 0], Reply5::FAILURE),
            (
                &[5, 1, 0, 5, 1, 0, 3, 1, b' ', 0, 80],
                Reply5::HOST_UNREACHABLE,
            ),
            (&[5, 1, 0, 4, 1, 0, 1, 1, 2, 3, 4, 0, 80], Reply5::FAILURE),
        ] {
            match run(wire, 1) {
                (sent, Step::Refuse { reply, .. }) => {
                    assert_eq!((sent, reply), (vec![5, 0], socks5_reply(code)));
                }
                other => panic!("{other:?}"),
            }
        }
        let (sent, step) = run(&[5, 1, 2], 1);
        assert!(sent.is_empty());
        assert!(matches!(step, Step::Refuse { reply, .. } if reply == [5, 0xff]));
    }

    #[test]
    fn bind_and_udp_are_told_apart() {
        let zeros = Host::from(IpAddr::from([0, 0, 0, 0]));
        for (code, command) in [(2, Command::Bind), (3, Command::UdpAssociate(zeros, 0))] {
            // Port 0 is what clients send with UDP ASSOCIATE when they do not know theirs yet.
            let wire = [5, 1, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0];
            let (_, step) = run(&wire, 5);
            assert_eq!(
                step,
                Step::Request {
                    dialect: Dialect::Socks5,
                    command,
                    used: wire.len()
                }
            );
        }
    }

    #[test]
    fn an_http_client_is_told_in_one_line() {
        let (_, step) = run(b"GET / HTTP/1.1\r\n", 1);
        let Step::Refuse { reply, why } = step else {
            panic!("{step:?}")
        };
        let reply = String::from_utf8(reply).unwrap();
        assert!(
            reply.starts_with("HTTP/1.1 501 ") && reply.contains("socks5h://"),
            "{reply}"
        );
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(why.contains("HTTP"));
    }

    #[test]
    fn every_status_has_a_reply() {
        let code = |status| reply(Dialect::Socks5, status)[1];
        assert_eq!(code(Status::Ok), 0);
        assert_eq!(code(Status::NotAllowed), 2);
        assert_eq!(code(Status::NetworkUnreachable), 3);
        assert_eq!(code(Status::HostUnreachable), 4);
        assert_eq!(code(Status::NameNotFound), 4);
        assert_eq!(code(Status::Refused), 5);
        assert_eq!(code(Status::TimedOut), 6);
        assert_eq!(code(Status::Unsupported), 7);
        for (status, number, _) in Status::all() {
            assert_eq!(code(status) == 0, number == 0, "only a grant reads as one");
        }
    }
}
