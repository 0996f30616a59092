//! What an observer is shown of a socket's datagrams.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so"
)]

mod common;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use common::{echo, pattern, soon};
use weir::{
    Config, ConnectionInfo, DatagramBatch, DatagramTap, Endpoint, Identity, Observer,
    SharedObserver, Via,
};
use weir_core::trace::Sink;

type Seen = Arc<Mutex<Vec<(bool, SocketAddr, SocketAddr, Vec<u8>)>>>;

/// Keeps every datagram: whether it was sent, the address here, the other one, and the bytes.
#[derive(Clone, Default)]
struct Keep(Seen);

impl Observer for Keep {
    fn sinks(&self, _: &ConnectionInfo) -> Vec<Box<dyn Sink>> {
        Vec::new()
    }

    fn datagram_tap(&self, _: SocketAddr) -> Option<Box<dyn DatagramTap>> {
        Some(Box::new(self.clone()))
    }
}

impl Keep {
    fn note(&self, sent: bool, batch: &DatagramBatch<'_>) {
        let mut seen = self.0.lock().unwrap();
        for datagram in batch.datagrams() {
            seen.push((sent, batch.local, batch.remote, datagram.to_vec()));
        }
    }

    /// The datagrams of one direction, sorted.
    fn of(&self, sent: bool) -> Vec<Vec<u8>> {
        let seen = self.0.lock().unwrap();
        let mut of: Vec<Vec<u8>> = seen
            .iter()
            .filter(|(direction, ..)| *direction == sent)
            .map(|(.., data)| data.clone())
            .collect();
        of.sort();
        of
    }
}

impl DatagramTap for Keep {
    fn sent(&mut self, batch: &DatagramBatch<'_>) {
        self.note(true, batch);
    }

    fn received(&mut self, batch: &DatagramBatch<'_>) {
        self.note(false, batch);
    }
}

/// Both ends are shown the same datagrams, sealed as they were on the wire, each of a batch by
/// itself, and before and after the socket was exchanged.
#[tokio::test]
async fn taps_see_what_is_on_the_wire() {
    let (near, far) = (Keep::default(), Keep::default());
    let built = |keep: &Keep| {
        let observer: SharedObserver = Arc::new(keep.clone());
        let mut config = Config::default();
        config.quic.mtu = Some(1200);
        let builder = Endpoint::builder().via(Via::Quic).config(config);
        builder.observer(observer)
    };
    let server = built(&far)
        .identity(Identity::generate().unwrap())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let client = built(&near).client().await.unwrap();
    let target = format!("{}@{}", server.peer_id(), server.local_addr());
    let (dialled, accepted) = tokio::join!(client.connect(&target), server.accept());
    let connection = dialled.unwrap();
    echo(accepted.unwrap());
    for seed in 0..2 {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let data = pattern(seed, 100_000);
        send.write_chunk(&mut data.clone()).await.unwrap();
        send.finish().unwrap();
        assert_eq!(soon(recv.read_to_end(100_000)).await.unwrap(), data);
        client.rebind("127.0.0.1:0").await.unwrap();
    }
    client.close(0, "done");
    soon(client.wait_idle()).await;
    soon(async {
        while far.of(false).len() < near.of(true).len() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(near.of(true).len() > 100 && far.of(true).len() > 100);
    assert_eq!(near.of(true), far.of(false));
    // What was on its way to the old socket is lost.
    let sent = far.of(true);
    assert!(
        near.of(false)
            .iter()
            .all(|one| sent.binary_search(one).is_ok())
    );
    let seen = near.0.lock().unwrap();
    assert!(seen.iter().all(|(_, local, remote, _)| {
        local.ip().is_loopback() && *remote == server.local_addr()
    }));
    let mut ports: Vec<u16> = seen.iter().map(|(_, local, ..)| local.port()).collect();
    ports.dedup();
    assert!(ports.len() >= 2, "{ports:?}");
}
