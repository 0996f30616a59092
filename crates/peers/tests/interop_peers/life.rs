//! What happens to a connection that stands: new keys, silence, a peer that forgets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{AckFrequencyConfig, VarInt};
use weir_core::close::Initiator;
use weir_peers::{Node, NodeConfig};
use weir_quic::Dir;

use crate::ends::closed;
use crate::tls::Tls;
use crate::{pattern, q, s2n, weir};

/// Some packets each way, so that what was announced in them is known to both.
async fn chat(conn: &weir_peers::Conn, connection: &quinn::Connection) {
    for len in [1, 50_000] {
        let key = conn.open(Dir::Uni).await.unwrap();
        conn.write_all(key, pattern(len)).await.unwrap();
        conn.finish(key);
        let mut recv = connection.accept_uni().await.unwrap();
        assert!(recv.read_to_end(len).await.unwrap() == pattern(len));
        let mut send = connection.open_uni().await.unwrap();
        send.write_chunk(pattern(len)).await.unwrap();
        send.finish().unwrap();
        let key = conn.accept(Dir::Uni).await.unwrap();
        assert!(conn.read_all(key).await.unwrap() == pattern(len));
    }
}

// RFC 9001 section 6
#[tokio::test]
async fn keys_are_updated_by_each_side_with_quinn() {
    for weir_is_client in [true, false] {
        let (conn, connection, _keep) =
            q::pair(weir_is_client, Tls::default(), |_| {}, |_| {}).await;
        chat(&conn, &connection).await;
        let updates = || conn.with(|c, _| c.stats().key_updates);
        // quinn begins updates of its own, too.
        for _ in 0..3 {
            let before = updates();
            conn.until("leave to update", |c, now, _| {
                c.initiate_key_update(now).then_some(())
            })
            .await;
            chat(&conn, &connection).await;
            let between = updates();
            assert!(between > before);
            // quinn passes over the wish while it keeps the keys before for late packets.
            while updates() == between {
                connection.force_key_update();
                chat(&conn, &connection).await;
            }
        }
    }
}

// The engine updates again and again while data flows both ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_updated_under_load() {
    let data = pattern(2 << 20);
    let often = |t: &mut weir_quic::TransportConfig| t.key_update_after = Some(100);
    let node = weir::client().await;
    let config = weir::client_config(Tls::default(), often);
    let server = q::server(Tls::default());
    let quinn_addr = server.local_addr().unwrap();
    let _server = q::echo(server);
    let server = s2n::server(Tls::default());
    let s2n_addr = server.local_addr().unwrap();
    s2n::echo(server);
    for addr in [quinn_addr, s2n_addr] {
        let conn = node.connect(&config, addr).unwrap();
        assert!(weir::exchange(&conn, &data).await == data);
        assert!(conn.with(|c, _| c.stats().key_updates) >= 2);
    }
    let node = Node::start(weir::server_config(Tls::default(), often))
        .await
        .unwrap();
    let addr = node.addr().unwrap();
    let mut conns = weir::echo(node);
    let (_endpoint, connection) = q::connect(Tls::default(), addr).await;
    assert!(q::exchange(&connection, &data).await == data);
    let (_client, mut connection) = s2n::connect(Tls::default(), addr).await;
    assert!(s2n::exchange(&mut connection, &data).await == data);
    for _ in 0..2 {
        let conn = conns.recv().await.unwrap();
        assert!(conn.with(|c, _| c.stats().key_updates) >= 2);
    }
}

/// An idle time that a machine which stands still for seconds does not let pass in the midst of a handshake.
const SHORT: Duration = Duration::from_secs(6);

// RFC 9000 10.1: the lesser of both times counts.
#[tokio::test]
async fn silence_ends_a_connection_on_both_sides() {
    let theirs = |t: &mut quinn::TransportConfig| {
        t.max_idle_timeout(Some(SHORT.try_into().unwrap()));
    };
    let ours = |t: &mut weir_quic::TransportConfig| t.idle_timeout = SHORT;
    let with_quinns = async |weir_is_client| {
        let (conn, connection, _keep) =
            q::pair(weir_is_client, Tls::default(), |_| {}, theirs).await;
        assert_eq!(closed(&conn).await.by, Initiator::Timer);
        assert_eq!(connection.closed().await, quinn::ConnectionError::TimedOut);
    };
    let with_our_time = async |weir_is_client| {
        let (conn, connection, _keep) = q::pair(weir_is_client, Tls::default(), ours, |_| {}).await;
        assert_eq!(connection.closed().await, quinn::ConnectionError::TimedOut);
        assert_eq!(closed(&conn).await.by, Initiator::Timer);
    };
    let with_s2n = async |weir_is_client| {
        let (conn, mut connection, _keep) =
            s2n::pair(weir_is_client, Tls::default(), ours, s2n::limits()).await;
        let error = connection.accept().await.map(|_| ());
        // s2n-quic gives an end without an error here, or its own.
        assert!(matches!(
            error,
            Ok(()) | Err(s2n_quic::connection::Error::IdleTimerExpired { .. })
        ));
        assert_eq!(closed(&conn).await.by, Initiator::Timer);
    };
    let both = async |weir_is_client| {
        tokio::join!(
            with_quinns(weir_is_client),
            with_our_time(weir_is_client),
            with_s2n(weir_is_client)
        );
    };
    tokio::join!(both(true), both(false));
}

// RFC 9000 10.1.2
#[tokio::test]
async fn keep_alive_of_either_side_keeps_a_connection() {
    let often = Duration::from_millis(150);
    let kept = async |weir_is_client, ours: bool| {
        let (conn, connection, _keep) = q::pair(
            weir_is_client,
            Tls::default(),
            |t| {
                t.idle_timeout = SHORT;
                t.keep_alive = ours.then_some(often);
            },
            |t| {
                t.max_idle_timeout(Some(SHORT.try_into().unwrap()));
                t.keep_alive_interval((!ours).then_some(often));
            },
        )
        .await;
        let waited = tokio::time::timeout(2 * SHORT, connection.closed()).await;
        assert!(waited.is_err(), "{waited:?}");
        chat(&conn, &connection).await;
    };
    tokio::join!(
        kept(true, true),
        kept(true, false),
        kept(false, true),
        kept(false, false)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_are_fewer_when_quinn_asks() {
    let data = pattern(2 << 20);
    for weir_is_client in [true, false] {
        let (conn, connection, _keep) = q::pair(
            weir_is_client,
            Tls::default(),
            |_| {},
            |t| {
                let mut config = AckFrequencyConfig::default();
                config.ack_eliciting_threshold(VarInt::from_u32(20));
                config.max_ack_delay(Some(Duration::from_millis(30)));
                t.ack_frequency_config(Some(config));
            },
        )
        .await;
        let mut send = connection.open_uni().await.unwrap();
        let data_there = data.clone();
        let writer = tokio::spawn(async move {
            send.write_chunk(data_there).await.unwrap();
            send.finish().unwrap();
            send
        });
        let key = conn.accept(Dir::Uni).await.unwrap();
        assert!(conn.read_all(key).await.unwrap() == data);
        writer.await.unwrap();
        let key = conn.open(Dir::Uni).await.unwrap();
        conn.write_all(key, data.clone()).await.unwrap();
        conn.finish(key);
        let mut recv = connection.accept_uni().await.unwrap();
        assert!(recv.read_to_end(usize::MAX).await.unwrap() == data);
        let stats = connection.stats();
        assert!(stats.frame_tx.ack_frequency >= 1, "{stats:?}");
        assert!(stats.frame_rx.ack_frequency >= 1, "{stats:?}");
    }
}

// RFC 8899: both sides find out that loopback carries more than 1,200 bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn larger_datagrams_are_found() {
    for weir_is_client in [true, false] {
        let (conn, connection, _keep) =
            q::pair(weir_is_client, Tls::default(), |_| {}, |_| {}).await;
        for _ in 0..3 {
            chat(&conn, &connection).await;
        }
        conn.until("a larger size", |c, _, _| {
            (c.datagram_size() == 1452).then_some(())
        })
        .await;
        while connection.stats().path.current_mtu <= 1200 {
            chat(&conn, &connection).await;
        }
        assert_eq!(connection.stats().path.black_holes_detected, 0);
    }
}

/// quinn with reset tokens that outlive it, in a runtime of its own that can die at once.
fn quinn_at(addr: SocketAddr) -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[9; 64]);
    let mut settings = quinn::EndpointConfig::new(Arc::new(key));
    // Its default makes connection IDs that only the same process knows for its own.
    settings.cid_generator(|| Box::new(quinn_proto::RandomConnectionIdGenerator::new(8)));
    let socket = bind_again(addr);
    let config = q::server_config(Tls::default(), |_| {});
    let tokio = Arc::new(quinn::TokioRuntime);
    let endpoint = quinn::Endpoint::new(settings, Some(config), socket, tokio).unwrap();
    let addr = endpoint.local_addr().unwrap();
    q::echo(endpoint);
    (runtime, addr)
}

/// A socket on `addr`, as soon as the one before has let it go.
fn bind_again(addr: SocketAddr) -> std::net::UdpSocket {
    let began = std::time::Instant::now();
    loop {
        if let Ok(socket) = std::net::UdpSocket::bind(addr) {
            return socket;
        }
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "{addr} stays taken"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

// RFC 9000 10.3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quinn_that_forgot_resets() {
    let (runtime, addr) = quinn_at(SocketAddr::from(([127, 0, 0, 1], 0)));
    let node = weir::client().await;
    let conn = node
        .connect(&weir::client_config(Tls::default(), |_| {}), addr)
        .unwrap();
    assert_eq!(weir::exchange(&conn, &pattern(100)).await, pattern(100));
    weir::confirmed(&conn).await;
    runtime.shutdown_background();
    let (runtime, _) = quinn_at(addr);
    conn.with(|c, _| c.ping());
    let reason = closed(&conn).await;
    assert_eq!(reason.by, Initiator::Peer, "{reason:?}");
    assert!(reason.reason.contains("reset"), "{reason:?}");
    assert_eq!(node.stats().resets_received, 1);
    runtime.shutdown_background();
}

// RFC 9000 10.3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_forgot_resets() {
    let (quinn_node, s2n_node) = (
        weir::server(Tls::default()).await,
        weir::server(Tls::default()).await,
    );
    let (quinn_addr, s2n_addr) = (quinn_node.addr().unwrap(), s2n_node.addr().unwrap());
    let (_endpoint, connection) = q::connect(Tls::default(), quinn_addr).await;
    let (_client, mut peer) = s2n::connect(Tls::default(), s2n_addr).await;
    for (mut node, addr) in [(quinn_node, quinn_addr), (s2n_node, s2n_addr)] {
        let conn = node.accept().await.unwrap();
        weir::confirmed(&conn).await;
        // Gone without a word.
        drop(conn);
        node.stop().await;
        let config = NodeConfig {
            bind: Some(addr),
            ..weir::server_config(Tls::default(), |_| {})
        };
        drop(bind_again(addr));
        let node = Node::start(config).await.unwrap();
        if addr == quinn_addr {
            connection
                .open_uni()
                .await
                .unwrap()
                .write_all(&[0; 1000])
                .await
                .unwrap();
            assert_eq!(connection.closed().await, quinn::ConnectionError::Reset);
        } else {
            let mut send = peer.open_send_stream().await.unwrap();
            send.send(pattern(1000)).await.unwrap();
            match peer.accept().await {
                Err(s2n_quic::connection::Error::StatelessReset { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(node.stats().resets_sent >= 1);
    }
}
