//! The path to a peer: its name, TCP, the handshake, UDP, the greatest packet, ECN.

use super::Findings;
use super::check::Check;
use super::mtu;
use super::probe::{Answer, LEAST, Negotiated, Prober, udp_reachability, version_name};
use crate::link::Instruments;
use crate::units;
use quinn_udp::EcnCodepoint;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use weir::Target;

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
        let Some(&first) = addresses.first() else {
            return;
        };
        let (check, reached) = self.tcp(&addresses).await;
        findings.add(check);
        if reached.is_some() {
            self.security(findings).await;
        }
        let address = reached.unwrap_or(first);
        let answer = udp_reachability(address, self.limit).await;
        findings.add(udp(address, &answer, self.limit));
        if let Answer::Negotiated(negotiated) = answer {
            self.path(address, &negotiated, findings).await;
        }
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
    async fn tcp(&self, addresses: &[SocketAddr]) -> (Check, Option<SocketAddr>) {
        let mut failed = Vec::new();
        let mut silent = false;
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
                    return (check.figure("time_us", time.as_micros()), Some(address));
                }
                Ok(Err(error)) => failed.push(format!("{address} does not: {error}")),
                Err(_) => {
                    silent = true;
                    let waited = units::time(self.limit);
                    failed.push(format!("{address} is silent for {waited}"));
                }
            }
        }
        let remedy = if silent {
            "a firewall swallows it: let TCP to this port through, on both sides"
        } else {
            "start `weir listen` there, or correct the port"
        };
        let found = format!("no connection: {}", failed.join(", "));
        (Check::broken("tcp", found).remedy(remedy), None)
    }

    /// What the path carries, once it is known that it carries something.
    async fn path(&self, address: SocketAddr, negotiated: &Negotiated, findings: &mut Findings) {
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
        findings.add(ecn(&answer));
    }
}

fn udp(address: SocketAddr, answer: &Answer, limit: Duration) -> Check {
    let limited = |found: String| Check::limited("udp", found);
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
        Answer::Unreachable => limited(format!("nothing listens on UDP at {address}"))
            .remedy("streams go over TCP; start a listener with QUIC there for more"),
        Answer::TooBig => limited(format!(
            "{LEAST} bytes are too many for the path to {address}"
        ))
        .remedy("QUIC needs packets of 1,200 bytes: raise the MTU of the tunnel below"),
        Answer::NotSent(error) => limited(format!("nothing can be sent to {address}: {error}"))
            .remedy("look at this machine's routes and firewall"),
        Answer::Silence => limited(format!(
            "no answer from {address} within {}: UDP is filtered, or no QUIC server is there",
            units::time(limit)
        ))
        .remedy("let UDP to this port through, on both sides; until then streams go over TCP"),
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
