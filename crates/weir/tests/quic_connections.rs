//! How QUIC connections begin, move, end and fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on says so"
)]

mod common;

use std::time::Duration;

use common::{Pair, echo, gate, pair, patient, pattern, soon};
use tokio::net::UdpSocket;
use weir::rustls::RootCertStore;
use weir::rustls::pki_types::PrivateKeyDer;
use weir::{Config, ConnectError, Connection, Endpoint, Identity, StreamError, Via};

fn quic() -> weir::Builder {
    Endpoint::builder().via(Via::Quic)
}

/// Both sides know each other by their keys, and what the handshake agreed on.
#[tokio::test]
async fn both_sides_are_authenticated() {
    let Pair {
        client,
        server,
        client_endpoint,
        server_endpoint,
    } = pair(Via::Quic, Config::default()).await;
    assert_eq!(client.peer_id(), Some(server_endpoint.peer_id()));
    assert_eq!(server.peer_id(), Some(client_endpoint.peer_id()));
    assert_eq!(server.stats().peer, Some(client_endpoint.peer_id()));
    let agreed = client.handshake().unwrap();
    assert_eq!(agreed.alpn.as_deref(), Some(&b"weir/1"[..]));
    assert_eq!(client.via(), Via::Quic);
    assert!(client.local_addr().ip().is_loopback());
}

/// Another key than the one asked for is refused, and both are named.
#[tokio::test]
async fn the_wrong_peer_is_refused_by_name() {
    let server = quic().bind("127.0.0.1:0").await.unwrap();
    let client = quic().client().await.unwrap();
    let expected = Identity::generate().unwrap().peer_id();
    let target = format!("{expected}@{}", server.local_addr());
    let error = soon(client.connect(&target)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&expected.to_string()), "{text}");
    assert!(text.contains(&server.peer_id().to_string()), "{text}");
}

/// The reason of a close reaches the peer word for word, from either side (RFC 9000 19.19).
#[tokio::test]
async fn the_last_words_arrive_word_for_word() {
    for by_client in [true, false] {
        let Pair { client, server, .. } = pair(Via::Quic, Config::default()).await;
        let (_send, mut recv) = client.open_bi().await.unwrap();
        let (closing, hearing) = match by_client {
            true => (&client, &server),
            false => (&server, &client),
        };
        closing.close(4321, "done for today: \u{fc}ber und aus");
        let heard = soon(hearing.closed()).await;
        assert_eq!(heard.code, 4321);
        assert_eq!(heard.reason, "done for today: \u{fc}ber und aus");
        let said = soon(closing.closed()).await;
        assert_eq!((said.code, &said.reason), (heard.code, &heard.reason));
        let read = soon(recv.read_chunk(1)).await;
        assert!(matches!(read, Err(StreamError::Closed(_))), "{read:?}");
    }
}

/// After the last words nothing is left: no connection, no memory.
#[tokio::test]
async fn an_idle_endpoint_holds_nothing() {
    let Pair {
        client,
        server,
        client_endpoint,
        server_endpoint,
    } = pair(Via::Quic, Config::default()).await;
    echo(server);
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    let mut data = pattern(1, 1 << 20);
    let sending = tokio::spawn(async move {
        send.write_chunk(&mut data).await.unwrap();
        send.finish().unwrap();
    });
    assert_eq!(
        soon(recv.read_to_end(1 << 20)).await.unwrap().len(),
        1 << 20
    );
    soon(sending).await.unwrap();
    drop(recv);
    client.close(0, "done");
    client_endpoint.close(0, "done");
    server_endpoint.close(0, "done");
    soon(client_endpoint.wait_idle()).await;
    soon(server_endpoint.wait_idle()).await;
    drop(client);
    soon(async {
        while client_endpoint.budget().used() + server_endpoint.budget().used() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert!(soon(server_endpoint.accept()).await.is_none());
}

/// A connection whose last handle is dropped ends, and says so.
#[tokio::test]
async fn dropping_the_last_handle_closes() {
    let Pair { client, server, .. } = pair(Via::Quic, Config::default()).await;
    drop(client);
    let reason = soon(server.closed()).await;
    assert_eq!(reason.code, 0);
}

/// Any number of connections share one socket on either side, and do not mix.
#[tokio::test]
async fn fifty_connections_on_one_socket() {
    let server = quic().bind("127.0.0.1:0").await.unwrap();
    let target = format!("{}@{}", server.peer_id(), server.local_addr());
    let accepting = server.clone();
    tokio::spawn(async move {
        while let Some(connection) = accepting.accept().await {
            echo(connection);
        }
    });
    let client = quic().client().await.unwrap();
    let mut tasks = Vec::new();
    for n in 0..50 {
        let (client, target) = (client.clone(), target.clone());
        tasks.push(tokio::spawn(async move {
            let connection = client.connect(&target).await.unwrap();
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            let mine = pattern(n, 30_000);
            let mut left = mine.clone();
            send.write_chunk(&mut left).await.unwrap();
            send.finish().unwrap();
            assert!(recv.read_to_end(30_000).await.unwrap() == mine);
            connection.local_addr().port()
        }));
    }
    let mut ports = Vec::new();
    for task in tasks {
        ports.push(soon(task).await.unwrap());
    }
    ports.dedup();
    assert_eq!(ports.len(), 1);
}

/// Two endpoints of one process that listen dial each other from the sockets that they listen on.
#[tokio::test]
async fn listening_endpoints_dial_from_the_port_they_listen_on() {
    let one = quic().bind("127.0.0.1:0").await.unwrap();
    let two = quic().bind("127.0.0.1:0").await.unwrap();
    for (from, to) in [(&one, &two), (&two, &one)] {
        let target = format!("{}@{}", to.peer_id(), to.local_addr());
        let (dialled, taken) = tokio::join!(from.connect(&target), to.accept());
        let (dialled, taken) = (dialled.unwrap(), taken.unwrap());
        assert_eq!(taken.remote_addr(), from.local_addr());
        echo(taken);
        let (mut send, mut recv) = dialled.open_bi().await.unwrap();
        send.write_all(b"across").await.unwrap();
        send.finish().unwrap();
        assert_eq!(soon(recv.read_to_end(10)).await.unwrap(), b"across");
    }
}

/// IPv6, and IPv4 on a socket of both families.
#[tokio::test]
async fn both_families() {
    for (bind, host) in [
        ("[::1]:0", "[::1]"),
        ("[::]:0", "127.0.0.1"),
        ("[::]:0", "[::1]"),
    ] {
        let server = quic().bind(bind).await.unwrap();
        let client = quic().client().await.unwrap();
        let target = format!("{}@{host}:{}", server.peer_id(), server.local_addr().port());
        let (dialled, taken) = tokio::join!(client.connect(&target), server.accept());
        let dialled = dialled.unwrap_or_else(|error| panic!("{bind} {host}: {error}"));
        echo(taken.unwrap());
        let (mut send, mut recv) = dialled.open_bi().await.unwrap();
        send.write_all(b"over").await.unwrap();
        send.finish().unwrap();
        assert_eq!(soon(recv.read_to_end(10)).await.unwrap(), b"over");
    }
}

/// A client that changes networks keeps its connection: the download goes on (RFC 9000 section 9).
#[tokio::test]
async fn a_download_survives_a_change_of_sockets() {
    const SIZE: usize = 8 << 20;
    let Pair {
        client,
        server,
        client_endpoint,
        ..
    } = pair(Via::Quic, Config::default()).await;
    let sending = server.clone();
    tokio::spawn(async move {
        let (mut send, _recv) = sending.accept_bi().await.unwrap();
        let mut data = pattern(7, SIZE);
        send.write_chunk(&mut data).await.unwrap();
        send.finish().unwrap();
        sending.closed().await;
    });
    let (mut send, mut recv) = client.open_bi().await.unwrap();
    send.write_all(b"go").await.unwrap();
    let mut got = Vec::new();
    let before = server.remote_addr();
    while got.len() < SIZE / 4 {
        got.extend_from_slice(&soon(recv.read_chunk(1 << 16)).await.unwrap().unwrap());
    }
    let moved = soon(client_endpoint.rebind("127.0.0.1:0")).await.unwrap();
    got.extend_from_slice(&soon(recv.read_to_end(SIZE)).await.unwrap());
    assert!(got == pattern(7, SIZE));
    assert_ne!(before.port(), moved.port());
    assert_eq!(server.remote_addr().port(), moved.port());
    assert_eq!(client.stats().path.unwrap().migrations, 1);
}

/// Nobody there: the dial ends when the handshake's time is over.
#[tokio::test]
async fn a_silent_address_is_given_up_in_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        handshake_timeout: Duration::from_millis(300),
        ..Config::default()
    };
    let client = quic().config(config).client().await.unwrap();
    let target = silent.local_addr().unwrap().to_string();
    let error = soon(client.connect(&target)).await.unwrap_err();
    assert!(matches!(error, ConnectError::TimedOut { .. }), "{error:?}");
    soon(client.wait_idle()).await;
}

/// A dial that is dropped leaves nothing behind.
#[tokio::test]
async fn a_dial_that_is_dropped_is_over() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let client = quic().config(patient()).client().await.unwrap();
    let target = silent.local_addr().unwrap().to_string();
    let dial = client.connect(&target);
    let dropped = tokio::time::timeout(Duration::from_millis(50), dial).await;
    assert!(dropped.is_err(), "{dropped:?}");
    soon(client.wait_idle()).await;
}

/// A port that nobody listens on: the host says so, and the dial does not wait for its time-out.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_closed_port_is_told_at_once() {
    let client = quic().config(patient()).client().await.unwrap();
    for bind in ["127.0.0.1:0", "[::1]:0"] {
        let Ok(held) = common::closed_port(bind) else {
            println!("not tried: {bind} cannot be had here");
            continue;
        };
        let closed = held.local_addr().unwrap();
        let error = soon(client.connect(&closed.to_string())).await.unwrap_err();
        assert!(matches!(&error, ConnectError::Dial { source, .. }
            if source.kind() == std::io::ErrorKind::ConnectionRefused));
        let words = format!("{closed} does not answer: nobody listens on that UDP port");
        assert_eq!(error.to_string(), words);
    }
}

/// Dials in vain disturb nobody who shares the socket, and the socket can still be exchanged.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn dials_in_vain_disturb_nobody() {
    let Pair {
        client,
        server,
        client_endpoint,
        server_endpoint,
    } = pair(Via::Quic, patient()).await;
    echo(server);
    let held = common::closed_port("127.0.0.1:0").unwrap();
    let closed = held.local_addr().unwrap().to_string();
    let transfer = tokio::spawn(async move {
        for seed in 0..20 {
            let (mut send, mut recv) = client.open_bi().await.unwrap();
            let data = pattern(seed, 200_000);
            let mut left = data.clone();
            let sending = async move {
                send.write_chunk(&mut left).await.unwrap();
                send.finish().unwrap();
                send
            };
            let (_sent, got) = tokio::join!(sending, recv.read_to_end(200_000));
            assert!(got.unwrap() == data);
        }
        client.stats().path.unwrap()
    });
    for n in 0..40 {
        let error = soon(client_endpoint.connect(&closed)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Dial { .. }), "{error:?}");
        if n == 20 {
            client_endpoint.rebind("127.0.0.1:0").await.unwrap();
        }
    }
    soon(transfer).await.unwrap();
    let target = format!(
        "{}@{}",
        server_endpoint.peer_id(),
        server_endpoint.local_addr()
    );
    soon(client_endpoint.connect(&target)).await.unwrap();
}

/// A listener that is closed lets nobody in any more, and ends those who are.
#[tokio::test]
async fn a_closed_listener_ends_everything() {
    let Pair {
        client,
        server: _held,
        server_endpoint,
        client_endpoint,
    } = pair(Via::Quic, Config::default()).await;
    server_endpoint.close(9, "gone home");
    let reason = soon(client.closed()).await;
    assert_eq!((reason.code, &*reason.reason), (9, "gone home"));
    let target = format!(
        "{}@{}",
        server_endpoint.peer_id(),
        server_endpoint.local_addr()
    );
    let again = soon(client_endpoint.connect(&target)).await.unwrap_err();
    let known = matches!(
        again,
        ConnectError::Refused { .. } | ConnectError::TimedOut { .. }
    );
    assert!(known, "{again:?}");
}

/// A peer that forgot everything in a restart says so as soon as it is spoken to (RFC 9000 10.3).
#[tokio::test]
async fn a_restart_is_noticed_at_once() {
    let identity = Identity::generate().unwrap();
    let client = quic().client().await.unwrap();
    // A runtime of its own is what a killed process leaves: nothing.
    let first = tokio::runtime::Runtime::new().unwrap();
    let (before, address) = {
        let identity = identity.clone();
        let binding = first
            .spawn(async move { quic().identity(identity).bind("127.0.0.1:0").await.unwrap() });
        let server = binding.await.unwrap();
        let address = server.local_addr();
        let target = format!("{}@{address}", server.peer_id());
        let connection = soon(client.connect(&target)).await.unwrap();
        // A round trip: the handshake is confirmed, and the token for resets is known.
        let held = soon(server.accept()).await.unwrap();
        let answering = async move {
            let (mut send, mut recv) = held.accept_bi().await.unwrap();
            recv.read_chunk(1).await.unwrap();
            send.write_all(b"y").await.unwrap();
            held.closed().await;
        };
        first.spawn(answering);
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(b"x").await.unwrap();
        soon(recv.read_chunk(1)).await.unwrap();
        std::mem::forget(server);
        (connection, address)
    };
    tokio::task::spawn_blocking(move || drop(first))
        .await
        .unwrap();
    let again = quic().identity(identity).bind(&address.to_string()).await;
    let _again = again.unwrap();
    let (mut send, _recv) = before.open_bi().await.unwrap();
    send.write_all(b"anybody there?").await.unwrap();
    let reason = soon(before.closed()).await;
    assert!(reason.to_string().contains("stateless reset"), "{reason}");
}

/// More connections than fit into the queue of those that nobody takes are refused.
#[tokio::test]
async fn a_full_queue_refuses() {
    let config = Config {
        connection_backlog: 1,
        ..Config::default()
    };
    let server = quic().config(config).bind("127.0.0.1:0").await.unwrap();
    let target = format!("{}@{}", server.peer_id(), server.local_addr());
    let client = quic().client().await.unwrap();
    let _first = soon(client.connect(&target)).await.unwrap();
    let second = soon(client.connect(&target)).await.unwrap_err();
    assert!(matches!(second, ConnectError::Refused { .. }), "{second:?}");
    assert!(soon(server.accept()).await.is_some());
    soon(client.connect(&target)).await.unwrap();
}

/// A name's certificate, and the roots that vouch for it.
fn certified(alpn: &str, early: bool) -> (weir::Builder, weir::Builder) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = quic()
        .certificate(vec![made.cert.der().clone()], key)
        .alpn([alpn])
        .early_data(early);
    let client = quic().roots(roots).alpn(["hq-interop"]).early_data(early);
    (server, client)
}

/// Certificates for names in place of peer IDs.
#[tokio::test]
async fn names_are_dialled_by_certificate() {
    let (server, client) = certified("hq-interop", false);
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let client = client.client().await.unwrap();
    let port = server.local_addr().port();
    let target = format!("localhost:{port}");
    let (dialled, taken) = tokio::join!(client.connect(&target), server.accept());
    let (dialled, taken) = (dialled.unwrap(), taken.unwrap());
    assert_eq!(dialled.peer_id(), None);
    let agreed = taken.handshake().unwrap();
    assert_eq!(agreed.server_name.as_deref(), Some("localhost"));
    assert_eq!(agreed.alpn.as_deref(), Some(&b"hq-interop"[..]));
    // Another name than the certificate's.
    let error = soon(client.connect(&format!("127.0.0.1:{port}")))
        .await
        .unwrap_err();
    assert!(matches!(error, ConnectError::Handshake { .. }), "{error:?}");
}

/// No common application protocol: no connection (RFC 9001 8.1).
#[tokio::test]
async fn another_protocol_is_refused() {
    let (server, client) = certified("h3", false);
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let client = client.client().await.unwrap();
    let target = format!("localhost:{}", server.local_addr().port());
    let error = soon(client.connect(&target)).await.unwrap_err();
    assert!(error.to_string().contains("ALPN"), "{error}");
}

/// A question that is echoed.
async fn ask(connection: &Connection) {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"early").await.unwrap();
    send.finish().unwrap();
    assert_eq!(recv.read_to_end(10).await.unwrap(), b"early");
}

/// The second connection to a server sends data before its handshake is done.
#[tokio::test]
async fn the_second_time_data_goes_first() {
    let (server, client) = certified("hq-interop", true);
    let server = server.bind("127.0.0.1:0").await.unwrap();
    let client = client.client().await.unwrap();
    let target = format!("localhost:{}", server.local_addr().port());
    let accepting = server.clone();
    tokio::spawn(async move {
        while let Some(connection) = accepting.accept().await {
            echo(connection);
        }
    });
    // The ticket comes some time after the first handshake.
    let connection = soon(async {
        loop {
            let connection = client.connect_early(&target).await.unwrap();
            if connection.handshake().is_none() {
                return connection;
            }
            assert!(!connection.handshake().unwrap().resumed);
            assert_eq!(connection.handshake().unwrap().early_data, None);
            ask(&connection).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            connection.close(0, "next");
        }
    })
    .await;
    soon(ask(&connection)).await;
    let agreed = connection.handshake().unwrap();
    assert!(agreed.resumed);
    assert_eq!(agreed.early_data, Some(true));
}

/// QUIC is taken where it passes, which is told.
#[tokio::test]
async fn auto_prefers_quic() {
    // Which of the two is ready first depends on the machine: QUIC is, sooner or later.
    let Pair { client, .. } = soon(async {
        loop {
            let pair = pair(Via::Auto, Config::default()).await;
            if (pair.client.via(), pair.server.via()) == (Via::Quic, Via::Quic) {
                return pair;
            }
        }
    })
    .await;
    assert!(client.why().unwrap().contains("QUIC was ready"));
}

/// Where UDP is swallowed, yamux carries without QUIC's having given up; once UDP passes, QUIC does again.
#[tokio::test]
async fn auto_falls_back_and_returns() {
    let server = Endpoint::builder().bind("127.0.0.1:0").await.unwrap();
    // The same port number for both, TCP let through and UDP swallowed.
    let cut = common::Cut::new();
    let (front, udp) = loop {
        let front = cut.before(server.local_addr()).await;
        if let Ok(udp) = UdpSocket::bind(front).await {
            break (front, udp);
        }
    };
    let open = gate(server.local_addr(), udp).await;
    let accepting = server.clone();
    tokio::spawn(async move {
        while let Some(connection) = accepting.accept().await {
            echo(connection);
        }
    });
    let client = Endpoint::builder().config(patient());
    let client = client.client().await.unwrap();
    let target = format!("{}@{front}", server.peer_id());
    let fallen = soon(client.connect(&target)).await.unwrap();
    assert_eq!(fallen.via(), Via::Yamux);
    assert!(fallen.why().unwrap().contains("UDP"), "{:?}", fallen.why());
    let (mut send, mut recv) = fallen.open_bi().await.unwrap();
    send.write_all(b"by TCP").await.unwrap();
    send.finish().unwrap();
    assert_eq!(soon(recv.read_to_end(10)).await.unwrap(), b"by TCP");
    open.send_replace(true);
    soon(async {
        // Which of the two is ready first depends on the machine: QUIC is, sooner or later.
        while client.connect(&target).await.unwrap().via() != Via::Quic {}
    })
    .await;
}
