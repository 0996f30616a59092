//! The path to a peer: its name, TCP, the handshake, UDP, the greatest packet, ECN.

use super::Findings;
use super::check::Check;
use super::mtu;
use super::probe::{Answer, LEAST, Negotiated, Prober, udp_reachability, version_name};
use crate::link::Instruments;
use crate::units;
use quinn_udp::EcnCodepoint;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use weir::{EcnReport, Target, Via};

/// RFC 8200 section 5: what every link carries. Below it a path is out of the ordinary.
const ORDINARY: usize = 1_280;

/// Addresses of a name that are tried.
const ADDRESSES: usize = 8;

/// A visit to a peer.
pub(super) struct Visit<'a> {
    pub(super) target: &'a Target,
    /// How long each answer may take.
    pub(super) limit: Duration,
    pub(super) key: Option<&'a Path>,
    pub(super) instruments: &'a Instruments,
}

impl Visit<'_> {
    /// Checks all of it. What needs something that was found broken is left out.
    pub(super) async fn examine(&self, findings: &mut Findings) {
        let (check, addresses) = self.name().await;
        findings.add(check);
        if addresses.is_empty() {
            return;
        }
        let tcp = self.tcp(&addresses).await;
        let reached = tcp.as_ref().ok().map(|(_, address)| *address);
        let (address, answer) = self.udp(reached, &addresses).await;
        let answers = matches!(answer, Answer::Negotiated(_));
        findings.add(match tcp {
            Ok((check, _)) => check,
            Err(failure) => failure.judge(answers),
        });
        findings.add(udp(address, &answer, self.limit, reached.is_some()));
        if reached.is_some() {
            self.security(Via::Yamux, findings).await;
        }
        let marks = match (answers, reached) {
            (false, _) => None,
            (true, Some(_)) => self.second_handshake(findings).await,
            (true, None) => self.security(Via::Quic, findings).await,
        };
        if let Answer::Negotiated(negotiated) = answer {
            self.path(address, &negotiated, marks, findings).await;
        }
    }

    /// What the address that TCP reached says to UDP; if TCP reached none, the first that answers.
    async fn udp(
        &self,
        reached: Option<SocketAddr>,
        addresses: &[SocketAddr],
    ) -> (SocketAddr, Answer) {
        let mut last = None;
        for &address in reached.as_slice().iter().chain(addresses) {
            let answer = udp_reachability(address, self.limit).await;
            let is_found = matches!(answer, Answer::Negotiated(_));
            if is_found || reached.is_some() {
                return (address, answer);
            }
            last.get_or_insert((address, answer));
        }
        last.unwrap_or((SocketAddr::from(([0, 0, 0, 0], 0)), Answer::Silence))
    }

    async fn name(&self) -> (Check, Vec<SocketAddr>) {
        let (host, begun) = (&self.target.host, Instant::now());
        let looked_up = timeout(self.limit, lookup_host((host.as_str(), self.target.port))).await;
        let broken = |why: String| {
            let check = Check::broken("name", format!("{host} leads to no address: {why}"));
            check.remedy("check the spelling and this machine's resolver")
        };
        let addresses: Vec<_> = match looked_up {
            Ok(Ok(found)) => found.take(ADDRESSES).collect(),
            Ok(Err(error)) => return (broken(error.to_string()), Vec::new()),
            Err(_) => {
                let why = format!("no answer within {}", units::time(self.limit));
                return (broken(why), Vec::new());
            }
        };
        if addresses.is_empty() {
            return (broken("it has none".to_owned()), addresses);
        }
        let list: Vec<String> = addresses
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        let check = Check::ok("name", format!("{host} is {}", list.join(", ")));
        (
            check.figure("time_us", begun.elapsed().as_micros()),
            addresses,
        )
    }

    /// The first address that takes a connection.
    async fn tcp(&self, addresses: &[SocketAddr]) -> Result<(Check, SocketAddr), TcpFailure> {
        let mut failed = Vec::new();
        let mut cause = Cause::NoWay;
        for &address in addresses {
            let begun = Instant::now();
            match timeout(self.limit, TcpStream::connect(address)).await {
                Ok(Ok(_)) => {
                    let time = begun.elapsed();
                    let found = format!("{address} took a connection in {}", units::time(time));
                    let found = match failed.len() {
                        0 => found,
                        _ => format!("{found}, but {}", failed.join(", ")),
                    };
                    let check = if failed.is_empty() {
                        Check::ok("tcp", found)
                    } else {
                        Check::limited("tcp", found)
                            .remedy("let the listener serve all addresses of its name")
                    };
                    return Ok((check.figure("time_us", time.as_micros()), address));
                }
                Ok(Err(error)) => {
                    if error.kind() == io::ErrorKind::ConnectionRefused {
                        cause = cause.max(Cause::Refused);
                    }
                    failed.push(format!("{address} does not: {error}"));
                }
                Err(_) => {
                    cause = Cause::Silent;
                    let waited = units::time(self.limit);
                    failed.push(format!("{address} is silent for {waited}"));
                }
            }
        }
        let found = format!("no connection: {}", failed.join(", "));
        Err(TcpFailure { found, cause })
    }

    /// What the path carries, once it is known that it carries something.
    async fn path(
        &self,
        address: SocketAddr,
        negotiated: &Negotiated,
        marks: Option<EcnReport>,
        findings: &mut Findings,
    ) {
        let mut prober = match Prober::new(address) {
            Ok(prober) => prober,
            Err(error) => {
                findings.add(Check::limited(
                    "path-mtu",
                    format!("no second socket: {error}"),
                ));
                return;
            }
        };
        if prober.keeps_whole() {
            // RFC 791 and RFC 8200: the header of IP; RFC 768: that of UDP.
            let overhead = if address.is_ipv4() { 28 } else { 48 };
            findings.add(path_mtu(
                mtu::search(&mut prober, overhead, negotiated.time).await,
            ));
        } else {
            let found = "packets may be cut up on the way, so it cannot be seen";
            findings.add(Check::limited("path-mtu", found));
        }
        let answer = prober
            .ask(LEAST, Some(EcnCodepoint::Ect0), self.limit)
            .await;
        findings.add(match marks.and_then(told) {
            Some(check) => check,
            None => ecn(&answer),
        });
    }
}

/// Why TCP reaches none of the addresses: what says most, last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    /// This machine does not know how to get there.
    NoWay,
    /// The host says that nothing listens there.
    Refused,
    /// Nothing came back.
    Silent,
}

/// No connection over TCP.
#[derive(Debug)]
struct TcpFailure {
    found: String,
    cause: Cause,
}

impl TcpFailure {
    /// Where QUIC answers, it is no more than a limit.
    fn judge(self, is_quic_there: bool) -> Check {
        let remedy = match self.cause {
            Cause::Silent => {
                "a firewall swallows it, or there is no such host: let TCP to this port through, on both sides"
            }
            Cause::Refused => "start `weir listen` there, or correct the port",
            Cause::NoWay => "look at this machine's routes and firewall",
        };
        if !is_quic_there {
            return Check::broken("tcp", self.found).remedy(remedy);
        }
        let remedy = match self.cause {
            Cause::Refused => "a listener with `--via auto` takes both".to_owned(),
            _ => remedy.to_owned(),
        };
        Check::limited("tcp", self.found).remedy(format!(
            "streams go over QUIC alone; for a second way where UDP is blocked: {remedy}"
        ))
    }
}

/// Without TCP there is nothing to fall back to.
fn udp(address: SocketAddr, answer: &Answer, limit: Duration, has_tcp: bool) -> Check {
    let without = |found: String, remedy: &str| match has_tcp {
        true => Check::limited("udp", found).remedy(format!("streams go over TCP; {remedy}")),
        false => Check::broken("udp", found).remedy(remedy),
    };
    match answer {
        Answer::Negotiated(Negotiated { time, versions, .. }) => {
            let names: Vec<String> = versions.iter().copied().filter_map(version_name).collect();
            let found = format!(
                "a QUIC server at {address} answered in {}, versions {}",
                units::time(*time),
                names.join(", ")
            );
            Check::ok("udp", found).figure("time_us", time.as_micros())
        }
        Answer::Unreachable => without(
            format!("nothing listens on UDP at {address}"),
            "for QUIC too: `weir listen` there with `--via auto`",
        ),
        Answer::TooBig => without(
            format!("{LEAST} bytes are too many for the path to {address}"),
            "QUIC needs packets of 1,200 bytes: raise the MTU of the tunnel below",
        ),
        Answer::NotSent(error) => without(
            format!("nothing can be sent to {address}: {error}"),
            "look at this machine's routes and firewall",
        ),
        Answer::Silence => without(
            format!(
                "no answer from {address} within {}: UDP is filtered, or no QUIC server is there",
                units::time(limit)
            ),
            "for QUIC too: let UDP to this port through, on both sides",
        ),
    }
}

fn path_mtu(found: mtu::PathMtu) -> Check {
    let words = format!(
        "IP packets of {} bytes arrive ({} of UDP payload)",
        found.packet, found.payload
    );
    let check = if found.packet >= ORDINARY {
        Check::ok("path-mtu", words)
    } else {
        Check::limited("path-mtu", words).remedy("raise the MTU of the tunnel or link on the way")
    };
    check
        .figure("packet_bytes", found.packet)
        .figure("payload_bytes", found.payload)
        .figure("sizes_tried", found.sizes)
}

/// What a connection has told of its marks; `None` where it has not.
fn told(marks: EcnReport) -> Option<Check> {
    let without = |found: &str| {
        let check = Check::limited("path-ecn", found);
        check.remedy(
            "congestion is noticed by loss alone; a router on the way does it, not this machine",
        )
    };
    match marks {
        EcnReport::Works => Some(Check::ok("path-ecn", "marks arrive as they were sent")),
        EcnReport::Cleared => Some(without(
            "marks are taken off on the way (bleached), or the peer does not report them",
        )),
        EcnReport::Dropped => Some(without("packets with an ECN mark vanish on the way")),
        EcnReport::Wrong => Some(without("other marks arrive than were sent")),
        _ => None,
    }
}

fn ecn(answer: &Answer) -> Check {
    match answer {
        Answer::Negotiated(Negotiated {
            ecn: Some(mark), ..
        }) => {
            let found = format!("marked packets arrive, and the answer is marked {mark:?}");
            Check::ok("path-ecn", found)
        }
        Answer::Negotiated(_) => {
            // What the server read of the mark, only a connection would tell.
            Check::ok(
                "path-ecn",
                "marked packets arrive; whether the mark does, is not seen",
            )
        }
        _ => Check::limited("path-ecn", "packets with an ECN mark vanish on the way")
            .remedy("some box drops what is marked; connections go on without marks"),
    }
}
