//! yamux and QUIC over stacks of one's own, by the same calls as over the system's sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod tcpip_common;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use tcpip_common::obstacle::Obstacle;
use tcpip_common::*;
use weir::tcpip::{Capabilities, Device, Medium, Memory, Stack};
use weir::{ConnectError, Connection, Endpoint, Identity, Via};

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

/// Dials `target` from host 1 by QUIC, whose device is `device`; how that ends, which is at once.
async fn in_vain(device: impl Device, target: &str) -> (io::ErrorKind, String) {
    let interface = host(1)
        .route("0.0.0.0/1".parse().unwrap(), Some(v4(2, 0).ip()))
        .route("::/1".parse().unwrap(), Some(v6(2, 0).ip()));
    let stack = Stack::builder().device(device, interface).start().unwrap();
    let client = Endpoint::builder()
        .via(Via::Quic)
        .over(&stack)
        .client()
        .await
        .unwrap();
    // As the system's sockets have it: not by the handshake's time-out, which is another error.
    match soon(client.connect(target)).await {
        Err(ConnectError::Dial { source, .. }) => (source.kind(), source.to_string()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_closed_port_is_told_at_once() {
    for target in [v4(2, 4433), v6(2, 4433)] {
        let (ours, theirs) = Memory::pair(plain(1500));
        let _there = stack(theirs, 2);
        let (kind, words) = in_vain(ours, &target.to_string()).await;
        assert_eq!(kind, io::ErrorKind::ConnectionRefused);
        assert_eq!(words, "nobody listens on that UDP port");
    }
}

// RFC 1122 section 2.4: three questions, a second each, and nobody has the address.
#[tokio::test(start_paused = true)]
async fn a_host_that_is_not_on_the_link_is_told_when_nobody_answers_for_it() {
    let (ours, theirs) = Memory::pair(Capabilities::plain(Medium::Ethernet, 1500));
    let _there = stack(theirs, 2);
    let (kind, _) = in_vain(ours, &v4(77, 4433).to_string()).await;
    assert_eq!(kind, io::ErrorKind::HostUnreachable);
}

#[tokio::test]
async fn where_no_route_leads_a_dial_does_not_begin() {
    let (ours, _theirs) = Memory::pair(plain(1500));
    let (kind, _) = in_vain(ours, "203.0.113.1:4433").await;
    assert_eq!(kind, io::ErrorKind::NetworkUnreachable);
}

#[tokio::test]
async fn what_is_in_the_way_of_a_dial_is_told_at_once() {
    let unreachable = [
        // RFC 792, RFC 1812 section 5.2.7.1
        ("10.77.0.1:4433", 3, 0, io::ErrorKind::NetworkUnreachable),
        ("10.77.0.1:4433", 3, 1, io::ErrorKind::HostUnreachable),
        ("10.77.0.1:4433", 3, 3, io::ErrorKind::ConnectionRefused),
        ("10.77.0.1:4433", 3, 13, io::ErrorKind::PermissionDenied),
        // RFC 4443 section 3.1
        ("[2001::1]:4433", 1, 0, io::ErrorKind::NetworkUnreachable),
        ("[2001::1]:4433", 1, 1, io::ErrorKind::PermissionDenied),
        ("[2001::1]:4433", 1, 3, io::ErrorKind::HostUnreachable),
        ("[2001::1]:4433", 1, 4, io::ErrorKind::ConnectionRefused),
    ];
    for (target, icmp_type, code, expected) in unreachable {
        let (kind, words) = in_vain(Obstacle::new(icmp_type, code), target).await;
        assert_eq!(kind, expected, "{target} {icmp_type}/{code}: {words}");
    }
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
