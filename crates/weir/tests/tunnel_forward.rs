//! Connections through a tunnel: every kind of forward, both ends of each direction, every failure by its name.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod tunnel_common;

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tunnel_common::{
    Tunnel, check_echo, echo, exchange, pattern, serve, socks_name, socks5, soon, until,
};
use weir::tunnel::{AllowTo, ServerConfig};

fn any() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.allow_to = AllowTo::any();
    config
}

#[tokio::test]
async fn local_forward_carries_both_ways() {
    let echo = echo("127.0.0.1:0").await;
    let to = format!("0:{echo}");
    let tunnel = Tunnel::start(&[("-L", &to)]).await;
    for len in [0, 1, 5000, 300_000, 3_000_000] {
        check_echo(tunnel.client.local[0], &pattern(len, 1)).await;
    }
}

#[tokio::test]
async fn local_forward_to_ipv6_and_to_a_name() {
    let six = echo("[::1]:0").await;
    let four = echo("127.0.0.1:0").await;
    let (six, four) = (
        format!("0:[::1]:{}", six.port()),
        format!("0:localhost:{}", four.port()),
    );
    let tunnel = Tunnel::start(&[("-L", &six), ("-L", &four)]).await;
    check_echo(tunnel.client.local[0], b"to ::1").await;
    check_echo(
        tunnel.client.local[1],
        b"to localhost, by IPv4 after IPv6 was refused",
    )
    .await;
}

#[tokio::test]
async fn remote_forward_carries_both_ways() {
    let echo = echo("127.0.0.1:0").await;
    let to = format!("0:{echo}");
    let tunnel = Tunnel::start(&[("-R", &to), ("-R", &to)]).await;
    for remote in &tunnel.client.remote {
        check_echo(remote.expect("a bound address"), &pattern(200_000, 2)).await;
    }
    assert_ne!(tunnel.client.remote[0], tunnel.client.remote[1]);
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let banner = serve("127.0.0.1:0", |mut stream| async move {
        stream.write_all(b"SSH-2.0-x\r\n").await?;
        stream.shutdown().await
    })
    .await;
    let to = format!("0:{banner}");
    let tunnel = Tunnel::start(&[("-L", &to)]).await;
    let mut stream = TcpStream::connect(tunnel.client.local[0]).await.unwrap();
    let mut text = String::new();
    soon("the banner", stream.read_to_string(&mut text))
        .await
        .unwrap();
    assert_eq!(text, "SSH-2.0-x\r\n");
}

#[tokio::test]
async fn socks_by_ipv4_ipv6_and_name() {
    let four = echo("127.0.0.1:0").await;
    let six = echo("[::1]:0").await;
    let tunnel = Tunnel::start(&[("-D", "0")]).await;
    let proxy = tunnel.client.socks[0];
    let v6 = [&[4][..], &[0; 15], &[1]].concat();
    for (address, port) in [
        (vec![1, 127, 0, 0, 1], four.port()),
        (v6, six.port()),
        (socks_name("localhost"), four.port()),
        (socks_name("127.0.0.1"), four.port()),
    ] {
        let (stream, code) = socks5(proxy, 1, &address, port).await;
        assert_eq!(code, 0, "{address:?}");
        let data = pattern(100_000, 3);
        let back = soon("the echo", exchange(stream, &data)).await.unwrap();
        assert!(back == data);
    }
}

/// RFC 1928 section 6: the far side's failure reaches the SOCKS client under its own code.
#[tokio::test]
async fn socks_replies_tell_why() {
    let (_held, gone) = tunnel_common::closed_port();
    let mut config = any();
    config.resolver = tunnel_common::Names::of(&[("empty.example", &[&[]])]);
    let tunnel = Tunnel::with(config, &[("-D", "0")], |_| {}).await;
    let proxy = tunnel.client.socks[0];
    let ask = |command, address: Vec<u8>, port| async move {
        let (mut stream, code) = socks5(proxy, command, &address, port).await;
        let mut rest = Vec::new();
        soon("the end", stream.read_to_end(&mut rest))
            .await
            .unwrap();
        assert!(rest.is_empty());
        code
    };
    assert_eq!(
        ask(1, vec![1, 127, 0, 0, 1], gone.port()).await,
        5,
        "refused"
    );
    assert_eq!(
        ask(1, socks_name("empty.example"), 80).await,
        4,
        "a name without addresses"
    );
    assert_eq!(
        ask(1, socks_name("unknown.example"), 80).await,
        4,
        "an unknown name"
    );
    assert_eq!(ask(2, vec![1, 0, 0, 0, 0], 0).await, 7, "BIND");
}

#[tokio::test]
async fn socks_says_what_is_not_allowed() {
    let tunnel = Tunnel::start(&[("-D", "0")]).await;
    let (_, code) = socks5(tunnel.client.socks[0], 1, &[1, 192, 0, 2, 1], 80).await;
    assert_eq!(code, 2, "only loopback is allowed by default");
}

#[tokio::test]
async fn socks4a_and_http_clients() {
    let four = echo("127.0.0.1:0").await;
    let tunnel = Tunnel::start(&[("-D", "0")]).await;
    let proxy = tunnel.client.socks[0];
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    let [high, low] = four.port().to_be_bytes();
    let request = [
        &[4, 1, high, low, 0, 0, 0, 9][..],
        b"user\0localhost\0early ",
    ]
    .concat();
    stream.write_all(&request).await.unwrap();
    let mut reply = [0; 8];
    soon("the reply", stream.read_exact(&mut reply))
        .await
        .unwrap();
    assert_eq!(reply[1], 90);
    let back = soon("the echo", exchange(stream, b"late")).await.unwrap();
    assert_eq!(
        back, b"early late",
        "what an eager client sent behind its request is not lost"
    );

    let mut http = TcpStream::connect(proxy).await.unwrap();
    http.write_all(b"GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    soon("the answer", http.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 501 ") && answer.contains("socks5h://"),
        "{answer}"
    );
}

/// A client that shuts down its writing side still gets the answer, and the other way round.
#[tokio::test]
async fn half_close_passes_both_ways() {
    // Answers only after the client's end.
    let answers_late = serve("127.0.0.1:0", |mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await?;
        stream
            .write_all(format!("{} bytes", all.len()).as_bytes())
            .await?;
        stream.shutdown().await
    })
    .await;
    // Ends first, then reads on, and tells how much it read.
    let (told, mut counts) = mpsc::unbounded_channel();
    let ends_first = serve("127.0.0.1:0", move |mut stream| {
        let told = told.clone();
        async move {
            stream.write_all(b"bye").await?;
            stream.shutdown().await?;
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await?;
            told.send(all.len()).map_err(io::Error::other)
        }
    })
    .await;
    let forwards = [answers_late, ends_first].map(|to| format!("0:{to}"));
    let tunnel = Tunnel::start(&[
        ("-L", &forwards[0]),
        ("-L", &forwards[1]),
        ("-R", &forwards[0]),
        ("-R", &forwards[1]),
    ])
    .await;
    let remote = |index: usize| tunnel.client.remote[index].unwrap();
    for address in [tunnel.client.local[0], remote(0)] {
        let stream = TcpStream::connect(address).await.unwrap();
        let back = soon("the late answer", exchange(stream, &pattern(70_000, 4)))
            .await
            .unwrap();
        assert_eq!(back, b"70000 bytes");
    }
    for address in [tunnel.client.local[1], remote(1)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut first = Vec::new();
        soon("the early end", stream.read_to_end(&mut first))
            .await
            .unwrap();
        assert_eq!(first, b"bye");
        stream.write_all(&pattern(90_000, 5)).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(soon("the count", counts.recv()).await, Some(90_000));
    }
    until("the end of all streams", || {
        tunnel.client.view.status().streams.is_empty()
    })
    .await;
}

/// A reset on one side becomes a reset on the other.
#[tokio::test]
async fn reset_passes_both_ways() {
    let (told, mut reads) = mpsc::unbounded_channel();
    let waits = serve("127.0.0.1:0", move |mut stream| {
        let told = told.clone();
        async move {
            let mut byte = [0; 1];
            for _ in 0..2 {
                let read = stream.read_exact(&mut byte).await;
                let read = read.map_err(|error| error.kind());
                told.send(read).map_err(io::Error::other)?;
            }
            Ok(())
        }
    })
    .await;
    let resets = serve("127.0.0.1:0", |mut stream| async move {
        let mut byte = [0; 1];
        stream.read_exact(&mut byte).await?;
        stream.set_zero_linger()
    })
    .await;
    let forwards = [waits, resets].map(|to| format!("0:{to}"));
    let tunnel = Tunnel::start(&[
        ("-L", &forwards[0]),
        ("-L", &forwards[1]),
        ("-R", &forwards[0]),
        ("-R", &forwards[1]),
    ])
    .await;
    let remote = |index: usize| tunnel.client.remote[index].unwrap();
    for address in [tunnel.client.local[0], remote(0)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        // So that the reset does not overtake the byte.
        assert_eq!(soon("the byte", reads.recv()).await.unwrap(), Ok(1));
        stream.set_zero_linger().unwrap();
        drop(stream);
        let end = soon("the reset", reads.recv()).await.unwrap();
        assert_eq!(end, Err(io::ErrorKind::ConnectionReset), "{address}");
    }
    for address in [tunnel.client.local[1], remote(1)] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        let error = soon("the reset", stream.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{address}");
    }
    until("the end of all streams", || {
        tunnel.client.view.status().streams.is_empty()
    })
    .await;
}

/// C11: a reset is passed on even while the other end takes no more bytes.
#[tokio::test]
async fn reset_passes_while_the_far_side_stands_still() {
    let (told, mut ends) = mpsc::unbounded_channel();
    let stalls = serve("127.0.0.1:0", move |stream| {
        let told = told.clone();
        async move {
            // Reads nothing; waits for the error that a reset leaves on the socket.
            loop {
                if let Some(error) = stream.take_error()? {
                    return told.send(error.kind()).map_err(io::Error::other);
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        }
    })
    .await;
    let to = format!("0:{stalls}");
    let tunnel = Tunnel::start(&[("-L", &to)]).await;
    let stream = TcpStream::connect(tunnel.client.local[0]).await.unwrap();
    let data = vec![0; 64 * 1024];
    let full = async {
        loop {
            stream.writable().await.unwrap();
            match stream.try_write(&data) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
    };
    // Nothing more goes for half a second: every buffer on the way is full.
    let mut before = 0;
    tokio::select! {
        () = full => {}
        () = async {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                let now = tunnel.client.view.status().streams[0].sent;
                if now == before && now > 0 {
                    break;
                }
                before = now;
            }
        } => {}
    }
    stream.set_zero_linger().unwrap();
    drop(stream);
    let end = soon("the reset", ends.recv()).await.unwrap();
    assert_eq!(end, io::ErrorKind::ConnectionReset);
    until("the end of all streams", || {
        tunnel.client.view.status().streams.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_refuses_resets_the_client() {
    let (_held, gone) = tunnel_common::closed_port();
    let to = format!("0:{gone}");
    let tunnel = Tunnel::start(&[("-L", &to), ("-R", &to)]).await;
    let addresses: [SocketAddr; 2] = [tunnel.client.local[0], tunnel.client.remote[0].unwrap()];
    for address in addresses {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let error = soon("the reset", stream.read_u8()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_connections_at_once_each_keep_their_bytes() {
    let echo = echo("127.0.0.1:0").await;
    let to = format!("0:{echo}");
    let tunnel = Tunnel::start(&[("-L", &to), ("-R", &to), ("-D", "0")]).await;
    let (local, remote) = (tunnel.client.local[0], tunnel.client.remote[0].unwrap());
    let socks = tunnel.client.socks[0];
    let mut all = tokio::task::JoinSet::new();
    for number in 0..200_u64 {
        all.spawn(async move {
            let data = pattern(20_000 + usize::try_from(number).unwrap() * 700, number);
            let stream = match number % 4 {
                0 => socks5(socks, 1, &[1, 127, 0, 0, 1], echo.port()).await.0,
                1 => TcpStream::connect(remote).await.unwrap(),
                _ => TcpStream::connect(local).await.unwrap(),
            };
            let back = exchange(stream, &data).await.unwrap();
            assert!(back == data, "connection {number}");
        });
    }
    soon("all of them", async {
        while let Some(done) = all.join_next().await {
            done.unwrap();
        }
    })
    .await;
    until("the end of all streams", || {
        tunnel.client.view.status().streams.is_empty()
    })
    .await;
}
