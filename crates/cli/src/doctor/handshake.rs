//! Whether the peer proves its key, and lets this machine in.

use super::Findings;
use super::check::Check;
use super::path::Visit;
use crate::key;
use crate::link;
use crate::units;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use weir::tunnel::{ClientConfig, ClientError, TunnelClient};
use weir::{Config, ConnectError, Connection, EcnReport, Endpoint, Identity, Target, Via};

/// A peer that proved its key.
struct Proved {
    peer: Target,
    /// What became of the connection's marks, over QUIC.
    marks: Option<EcnReport>,
}

impl Visit<'_> {
    /// Both, over this way, with this machine's own key where there is one. What became of the marks, if
    /// that was seen.
    pub(super) async fn security(&self, via: Via, findings: &mut Findings) -> Option<EcnReport> {
        let own = self.own();
        let known = own.is_some();
        let endpoint = self.endpoint(via, own, "handshake", findings).await?;
        let (check, proved) = match self.handshake(&endpoint).await {
            Ok((check, proved)) => (check, Some(proved)),
            Err(check) => (check, None),
        };
        findings.add(check);
        if let Some(proved) = &proved {
            findings.add(self.let_in(&endpoint, &proved.peer, known).await);
        }
        link::close(&endpoint, "examined", self.instruments).await;
        proved?.marks
    }

    /// Whether a connection comes to be over QUIC, too, after one over TCP did.
    pub(super) async fn second_handshake(&self, findings: &mut Findings) -> Option<EcnReport> {
        let endpoint = self
            .endpoint(Via::Quic, self.own(), "quic", findings)
            .await?;
        let result = self.handshake(&endpoint).await;
        link::close(&endpoint, "examined", self.instruments).await;
        let (check, marks) = match result {
            Ok((check, proved)) => (
                Check {
                    check: "quic",
                    ..check
                },
                proved.marks,
            ),
            Err(failed) => {
                let check = Check::limited("quic", failed.found);
                (check.remedy("streams go over TCP"), None)
            }
        };
        findings.add(check);
        marks
    }

    /// This machine's key, if it has one.
    fn own(&self) -> Option<Identity> {
        let path = key::path(self.key).ok()?;
        Identity::load(path).ok()
    }

    async fn endpoint(
        &self,
        via: Via,
        own: Option<Identity>,
        check: &'static str,
        findings: &mut Findings,
    ) -> Option<Endpoint> {
        // The doctor's own limit is the one that counts: this one is beyond it.
        let beyond = self.limit.saturating_mul(2);
        let config = Config {
            handshake_timeout: beyond.clamp(Duration::from_secs(10), Duration::from_secs(86_400)),
            ..Config::default()
        };
        let builder = link::builder(via, self.instruments).config(config);
        let builder = match own {
            Some(identity) => builder.identity(identity),
            None => builder,
        };
        match builder.client().await {
            Ok(endpoint) => Some(endpoint),
            Err(error) => {
                findings.add(Check::broken(check, error.to_string()));
                None
            }
        }
    }

    /// Who answered, if it proved its key.
    async fn handshake(&self, endpoint: &Endpoint) -> Result<(Check, Proved), Check> {
        let begun = Instant::now();
        match timeout(self.limit, endpoint.connect_target(self.target)).await {
            Ok(Ok(connection)) => {
                let time = begun.elapsed();
                let peer = Target {
                    peer: connection.peer_id(),
                    ..self.target.clone()
                };
                let marks = marks(&connection, self.limit).await;
                connection.close(0, "examined");
                let check = self.proved(&peer, connection.via(), time);
                let check = check.figure("time_us", time.as_micros());
                Ok((check, Proved { peer, marks }))
            }
            Ok(Err(error)) => {
                Err(Check::broken("handshake", error.to_string()).remedy(advice(&error)))
            }
            Err(_) => {
                let waited = units::time(self.limit);
                let check = Check::broken("handshake", format!("it did not end within {waited}"));
                Err(check.remedy(
                    "is that a `weir listen`? Otherwise see whether large packets pass (path MTU)",
                ))
            }
        }
    }

    fn proved(&self, peer: &Target, via: Via, time: Duration) -> Check {
        let id = peer.peer.map_or_else(String::new, |id| id.to_string());
        let time = units::time(time);
        if self.target.peer.is_some() {
            return Check::ok(
                "handshake",
                format!("{id} proved its key via {via}, in {time}"),
            );
        }
        let found = format!("{id} answered via {via}, in {time}; nobody was asked for");
        Check::limited("handshake", found).remedy(format!("if that is the right one: {peer}"))
    }

    /// A tunnel without forwards: the listener says whether it wants this machine.
    async fn let_in(&self, endpoint: &Endpoint, peer: &Target, known: bool) -> Check {
        let mut config = ClientConfig::new(peer.to_string());
        config.dial_timeout = self.limit;
        config.request_timeout = self.limit;
        config.status_socket = false;
        let check = |found: String| Check::broken("let-in", found);
        match TunnelClient::start(endpoint.clone(), config).await {
            Ok(_) => Check::ok("let-in", "the listener lets this machine in"),
            Err(ClientError::NotLetIn { reason, .. }) if known => check(reason).remedy(format!(
                "over there: weir listen --allow-peer {}",
                endpoint.peer_id()
            )),
            Err(ClientError::NotLetIn { reason, .. }) => check(reason).remedy(
                "this machine has no key yet: `weir key` makes one, and shows the ID to allow over there",
            ),
            Err(error) => check(error.to_string()).remedy("is that a `weir listen`?"),
        }
    }
}

/// What became of a connection's marks, once that is known or `limit` is over; `None` over TCP.
async fn marks(connection: &Connection, limit: Duration) -> Option<EcnReport> {
    let begun = Instant::now();
    loop {
        let marks = connection.stats().path?.ecn;
        if marks != EcnReport::Testing || begun.elapsed() > limit {
            return Some(marks);
        }
        // Something that is answered.
        let _ = connection.open_bi().await;
        sleep(Duration::from_millis(10)).await;
    }
}

fn advice(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Handshake { .. } => {
            "compare the peer ID with `weir key` there, and see that it is a `weir listen`"
        }
        _ => "is that a `weir listen`?",
    }
}
