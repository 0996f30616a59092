//! yamux and QUIC over stacks of one's own, by the same calls as over the system's sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod tcpip_common;

use std::time::Duration;

use bytes::Bytes;
use tcpip_common::*;
use weir::tcpip::{Capabilities, Stack};
use weir::{Connection, Endpoint, Identity, Via};

/// Both ends of a connection from host 1 to host 2, and what keeps it.
struct Ends {
    client: Connection,
    server: Connection,
    endpoints: [Endpoint; 2],
    _stacks: [Stack; 2],
}

async fn ends(via: Via, capabilities: Capabilities) -> Ends {
    let (one, two) = pair(capabilities);
    let server_endpoint = Endpoint::builder()
        .identity(Identity::generate().unwrap())
        .via(via)
        .over(&two)
        .bind("10.9.0.2:0")
        .await
        .unwrap();
    let client_endpoint = Endpoint::builder()
        .via(via)
        .over(&one)
        .client()
        .await
        .unwrap();
    let address = server_endpoint.local_addr();
    assert_eq!(address.ip(), v4(2, 0).ip());
    let target = match via.is_secure() {
        true => format!("{}@{address}", server_endpoint.peer_id()),
        false => address.to_string(),
    };
    let both = async { tokio::join!(client_endpoint.connect(&target), server_endpoint.accept()) };
    let (client, server) = soon(both).await;
    Ends {
        client: client.unwrap(),
        server: server.unwrap(),
        endpoints: [client_endpoint, server_endpoint],
        _stacks: [one, two],
    }
}

/// Echoes one stream of `len` bytes, and closes in good order.
async fn echoes(ends: Ends, len: usize) {
    let server = ends.server;
    let serving = tokio::spawn(async move {
        let (mut send, mut recv) = server.accept_bi().await.unwrap();
        while let Some(mut chunk) = recv.read_chunk(256 * 1024).await.unwrap() {
            send.write_chunk(&mut chunk).await.unwrap();
        }
        send.finish().unwrap();
        server.closed().await;
    });
    let (mut send, mut recv) = ends.client.open_bi().await.unwrap();
    let data = pattern(len);
    let mut left: Bytes = data.clone();
    let sending = tokio::spawn(async move {
        send.write_chunk(&mut left).await.unwrap();
        send.finish().unwrap();
        send
    });
    let got = recv.read_to_end(len).await.unwrap();
    assert!(got == data, "something else came back");
    drop(sending.await.unwrap());
    for endpoint in &ends.endpoints {
        endpoint.close(0, "done");
    }
    for endpoint in &ends.endpoints {
        soon(endpoint.wait_idle()).await;
    }
    serving.await.unwrap();
}

#[tokio::test]
async fn yamux_over_tls_runs_over_two_stacks() {
    echoes(ends(Via::Yamux, plain(1500)).await, 4 << 20).await;
    echoes(ends(Via::Yamux, offloading(1500)).await, 16 << 20).await;
}

#[tokio::test]
async fn yamux_without_tls_runs_over_two_stacks() {
    echoes(ends(Via::YamuxPlain, offloading(1500)).await, 16 << 20).await;
}

#[tokio::test]
async fn quic_runs_over_two_stacks() {
    echoes(ends(Via::Quic, plain(1500)).await, 4 << 20).await;
    echoes(ends(Via::Quic, offloading(1500)).await, 16 << 20).await;
}

// QUIC looks for the largest datagrams that the path takes (RFC 9000 section 14.3): those of the device.
#[tokio::test]
async fn quic_finds_the_mtu_of_the_device() {
    let ends = ends(Via::Quic, plain(4000)).await;
    let (mut send, _recv) = ends.client.open_bi().await.unwrap();
    let mtu = soon(async {
        loop {
            // Probes travel beside data.
            send.write_all(&[0; 1000]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
            match ends.client.max_datagram_size() {
                Some(mtu) if mtu > 3800 => return mtu,
                _ => {}
            }
        }
    })
    .await;
    assert!(mtu < 4000, "datagrams of {mtu} bytes");
}

#[tokio::test]
async fn either_is_taken_where_both_are_offered() {
    // Which of the two is ready first depends on the machine: QUIC is, sooner or later.
    let ends = soon(async {
        loop {
            let ends = ends(Via::Auto, plain(1500)).await;
            if (ends.client.via(), ends.server.via()) == (Via::Quic, Via::Quic) {
                return ends;
            }
        }
    })
    .await;
    echoes(ends, 1 << 20).await;
}

#[tokio::test]
async fn the_addresses_are_those_of_the_stacks() {
    for via in [Via::Yamux, Via::Quic] {
        let ends = ends(via, plain(1500)).await;
        let (remote, local) = (ends.server.remote_addr(), ends.server.local_addr());
        assert_eq!(remote.ip(), v4(1, 0).ip(), "{via}");
        assert_eq!(local.ip(), v4(2, 0).ip(), "{via}");
    }
}
