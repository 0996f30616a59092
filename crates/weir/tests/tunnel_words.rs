//! What the log says: one line for each change, with the reason, on both sides.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod tunnel_common;

use std::fmt::{Debug, Write};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};
use tunnel_common::{Tunnel, echo, soon, until};
use weir::tunnel::TunnelState;

/// Keeps the lines of level info and above.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").unwrap();
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with("weir::tunnel")
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        self.0.lock().unwrap().push(message.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

impl Lines {
    fn count(&self, part: &str) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line.contains(part))
            .count()
    }
}

#[tokio::test]
async fn a_client_that_ends_says_why_on_both_sides() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let to = format!("0:{}", echo("127.0.0.1:0").await);
    let tunnel = Tunnel::start(&[("-L", &to)]).await;
    assert_eq!(lines.count("letting in: 1 peer ID(s)"), 1);
    assert_eq!(lines.count("they may reach: loopback"), 1);
    assert_eq!(lines.count("they may listen at: loopback:1024-65535"), 1);
    assert_eq!(lines.count("connected to "), 1);
    tunnel.client.stop.drain("going home");
    soon("the end of the client", tunnel.client.task)
        .await
        .unwrap();
    until("the other side's line", || {
        lines.count("closed by the peer: going home") == 1
    })
    .await;
    assert_eq!(lines.count("connection closed: going home"), 1);
}

#[tokio::test]
async fn a_server_that_ends_says_why_on_both_sides() {
    let lines = Lines::default();
    let _guard = tracing::subscriber::set_default(lines.clone());
    let tunnel = Tunnel::start(&[]).await;
    tunnel.server.stop.drain("maintenance");
    soon("the end of the server", tunnel.server.task)
        .await
        .unwrap();
    until("the loss", || {
        tunnel.client.view.status().state == TunnelState::Connecting
    })
    .await;
    assert_eq!(lines.count("the peer is going away (maintenance)"), 1);
    assert_eq!(lines.count("closed by this side: maintenance"), 1);
    until("the end of the old connection", || {
        lines.count("the old connection is over") == 1
    })
    .await;
    assert_eq!(
        lines.count("the old connection is over: closed by the peer: maintenance"),
        1
    );
}
