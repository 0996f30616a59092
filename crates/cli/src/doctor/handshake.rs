//! Whether the peer proves its key, and lets this machine in.

use super::Findings;
use super::check::Check;
use super::path::Visit;
use crate::key;
use crate::link;
use crate::units;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use weir::tunnel::{ClientConfig, ClientError, TunnelClient};
use weir::{ConnectError, Endpoint, Identity, Target, Via};

impl Visit<'_> {
    /// Both, over TLS on TCP, with this machine's own key where there is one.
    pub(super) async fn security(&self, findings: &mut Findings) {
        let builder = link::builder(Via::Yamux, self.instruments);
        let path = key::path(self.key).ok();
        let own = path.and_then(|path| Identity::load(path).ok());
        let known = own.is_some();
        let builder = match own {
            Some(identity) => builder.identity(identity),
            None => builder,
        };
        let endpoint = match builder.client().await {
            Ok(endpoint) => endpoint,
            Err(error) => {
                findings.add(Check::broken("handshake", error.to_string()));
                return;
            }
        };
        let (check, peer) = self.handshake(&endpoint).await;
        findings.add(check);
        if let Some(peer) = peer {
            findings.add(self.let_in(&endpoint, &peer, known).await);
        }
        link::close(&endpoint, "examined", self.instruments).await;
    }

    /// Who answered, if it proved its key.
    async fn handshake(&self, endpoint: &Endpoint) -> (Check, Option<Target>) {
        let begun = Instant::now();
        let check = match timeout(self.limit, endpoint.connect_target(self.target)).await {
            Ok(Ok(connection)) => {
                let time = begun.elapsed();
                let peer = Target {
                    peer: connection.peer_id(),
                    ..self.target.clone()
                };
                connection.close(0, "examined");
                let check = self.proved(&peer, time);
                return (check.figure("time_us", time.as_micros()), Some(peer));
            }
            Ok(Err(error)) => Check::broken("handshake", error.to_string()).remedy(advice(&error)),
            Err(_) => {
                let waited = units::time(self.limit);
                Check::broken("handshake", format!("it did not end within {waited}")).remedy(
                    "is that a `weir listen`? Otherwise see whether large packets pass (path MTU)",
                )
            }
        };
        (check, None)
    }

    fn proved(&self, peer: &Target, time: Duration) -> Check {
        let id = peer.peer.map_or_else(String::new, |id| id.to_string());
        let time = units::time(time);
        if self.target.peer.is_some() {
            return Check::ok("handshake", format!("{id} proved its key, in {time}"));
        }
        let found = format!("{id} answered, in {time}; nobody was asked for");
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

fn advice(error: &ConnectError) -> &'static str {
    match error {
        ConnectError::Handshake { .. } => {
            "compare the peer ID with `weir key` there, and see that it is a `weir listen` over yamux"
        }
        _ => "is that a `weir listen`?",
    }
}
