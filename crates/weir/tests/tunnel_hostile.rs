//! Peers that break the tunnel protocol: nothing panics, nothing grows, and others are served on (C1, C2, C4).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod tunnel_common;

use std::time::Duration;

use bytes::Bytes;
use tunnel_common::{Client, Server, check_echo, client_config, echo, identity, pattern, soon};
use weir::tunnel::protocol::{
    Granted, Notice, Refusal, Request, Status, Unit, UnitReader, read_answer,
};
use weir::tunnel::{AllowPeers, ServerConfig};
use weir::{Connection, Endpoint, RecvStream, SendStream, StreamError, Via};

/// A peer that is let in and speaks bytes of the test's choice.
struct Raw {
    _server: Server,
    connection: Connection,
    _endpoint: Endpoint,
}

impl Raw {
    async fn new(config: ServerConfig) -> Self {
        let (server_id, id) = (identity(), identity());
        let mut peers = AllowPeers::none();
        peers.add(id.peer_id());
        let peer = server_id.peer_id();
        let server = Server::start(server_id, "127.0.0.1:0", Via::Yamux, peers, config).await;
        let endpoint = Endpoint::builder().identity(id).client().await.unwrap();
        let connection = endpoint
            .connect(&format!("{peer}@{}", server.address))
            .await
            .unwrap();
        Self {
            _server: server,
            connection,
            _endpoint: endpoint,
        }
    }

    async fn stream(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, recv) = soon("a stream", self.connection.open_bi()).await.unwrap();
        send.write_chunk(&mut Bytes::copy_from_slice(bytes))
            .await
            .unwrap();
        (send, recv)
    }

    /// Sends these bytes on a stream of their own and reads the refusal.
    async fn refusal(&self, bytes: &[u8]) -> Refusal {
        let (_send, mut recv) = self.stream(bytes).await;
        let unit = soon("the answer", unit(&mut recv))
            .await
            .unwrap()
            .expect("an answer");
        let request = Request::Listen {
            id: 0,
            bind: "127.0.0.1:0".parse().unwrap(),
        };
        read_answer(&request, &unit)
            .unwrap()
            .expect_err("a refusal")
    }

    /// The server serves this peer as before.
    async fn still_works(&self) {
        let echo = echo("127.0.0.1:0").await;
        let mut wire = Vec::new();
        Request::Connect(echo.try_into().unwrap()).write(&mut wire);
        wire.extend_from_slice(b"alive");
        let (mut send, mut recv) = self.stream(&wire).await;
        send.finish().unwrap();
        let all = soon("the echo", recv.read_to_end(100)).await.unwrap();
        assert_eq!(all, b"\x01\0\0\0alive");
    }
}

async fn unit(recv: &mut RecvStream) -> Result<Option<Unit>, StreamError> {
    let mut reader = UnitReader::default();
    while let Some(mut chunk) = recv.read_chunk(1000).await? {
        if let Ok(Some(unit)) = reader.push(&mut chunk) {
            return Ok(Some(unit));
        }
    }
    Ok(None)
}

#[tokio::test]
async fn garbage_and_endless_headers_are_refused() {
    let raw = Raw::new(ServerConfig::default()).await;
    let mut accepted = Vec::new();
    Request::Accepted {
        id: 0,
        from: "127.0.0.1:1".parse().unwrap(),
    }
    .write(&mut accepted);
    for (bytes, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Status::BadVersion),
        (&[2, 2, 0, 0], Status::BadVersion),
        (&[1, 2, 0xff, 0xff, 0, 0], Status::Malformed),
        (&[1, 2, 0, 0], Status::Malformed),
        (&[1, 2, 0, 7, 1, 127, 0, 0, 1, 0, 0], Status::Malformed),
        (&[1, 2, 0, 7, 9, 127, 0, 0, 1, 0, 80], Status::Malformed),
        (&[1, 99, 0, 0], Status::Unsupported),
        (&[1, 5, 0, 0], Status::Malformed),
        // A flow number of the listening side's own.
        (&[1, 5, 0, 8, 1, 1, 127, 0, 0, 1, 0, 80], Status::Malformed),
        (
            &[1, 7, 0, 12, 0, 0, 0, 0, 1, 1, 127, 0, 0, 1, 0, 80],
            Status::NotAllowed,
        ),
        (&accepted, Status::NotAllowed),
    ] {
        let refusal = raw.refusal(bytes).await;
        assert_eq!(refusal.status, status, "{bytes:?}: {refusal}");
    }
    raw.still_works().await;
}

/// Slowloris: streams that never finish their request are reset after its limit, and hold nothing afterwards.
#[tokio::test]
async fn requests_that_trickle_in_are_given_up() {
    let mut config = ServerConfig::default();
    config.request_timeout = Duration::from_millis(200);
    let raw = Raw::new(config).await;
    let mut streams = Vec::new();
    for beginning in [&[][..], &[1], &[1, 2, 0], &[1, 2, 0, 7, 1, 127]] {
        let mut bytes = beginning.to_vec();
        if bytes.is_empty() {
            bytes.push(1);
        }
        streams.push(raw.stream(&bytes).await);
    }
    for (_send, recv) in &mut streams {
        let end = soon("the reset", recv.read_chunk(10)).await;
        assert!(matches!(end, Err(StreamError::Reset(_))), "{end:?}");
    }
    raw.still_works().await;
}

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_the_others_run() {
    let mut config = ServerConfig::default();
    config.max_streams = 4;
    let raw = Raw::new(config).await;
    let echo = echo("127.0.0.1:0").await;
    let mut wire = Vec::new();
    Request::Connect(echo.try_into().unwrap()).write(&mut wire);
    let mut running = Vec::new();
    for _ in 0..4 {
        let (send, mut recv) = raw.stream(&wire).await;
        let unit = soon("the grant", unit(&mut recv)).await.unwrap().unwrap();
        assert_eq!(unit.kind, 0);
        running.push((send, recv));
    }
    for _ in 0..20 {
        let (_send, mut recv) = raw.stream(&wire).await;
        match soon("the refusal", unit(&mut recv)).await {
            Ok(Some(unit)) => assert_eq!(Status::from_code(unit.kind), Status::TooMany),
            Ok(None) | Err(StreamError::Reset(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    for (mut send, mut recv) in running {
        send.write_all(b"on").await.unwrap();
        send.finish().unwrap();
        assert_eq!(soon("the echo", recv.read_to_end(10)).await.unwrap(), b"on");
    }
    raw.still_works().await;
}

#[tokio::test]
async fn a_flood_of_notices_ends_the_control_stream_alone() {
    let raw = Raw::new(ServerConfig::default()).await;
    let mut wire = Vec::new();
    Request::Control(Default::default()).write(&mut wire);
    for _ in 0..1000 {
        Notice::Unknown(77).write(&mut wire);
    }
    let (_send, mut recv) = raw.stream(&wire).await;
    let answer = soon("the greeting", unit(&mut recv))
        .await
        .unwrap()
        .unwrap();
    let request = Request::Control(Default::default());
    assert!(matches!(
        read_answer(&request, &answer),
        Ok(Ok(Granted::Hello(_)))
    ));
    let end = soon("the end", recv.read_chunk(10)).await;
    assert!(
        matches!(end, Ok(None) | Err(StreamError::Reset(_))),
        "{end:?}"
    );
    raw.still_works().await;
}

#[tokio::test]
async fn a_second_control_stream_is_refused() {
    let raw = Raw::new(ServerConfig::default()).await;
    let mut wire = Vec::new();
    Request::Control(Default::default()).write(&mut wire);
    let (_send, mut recv) = raw.stream(&wire).await;
    soon("the greeting", unit(&mut recv))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(raw.refusal(&wire).await.status, Status::Malformed);
    raw.still_works().await;
}

#[tokio::test]
async fn payload_of_a_refused_request_is_dropped_and_bounded() {
    let raw = Raw::new(ServerConfig::default()).await;
    let mut wire = Vec::new();
    Request::Connect("192.0.2.1:80".parse().unwrap()).write(&mut wire);
    let (mut send, mut recv) = raw.stream(&wire).await;
    let data = Bytes::from(pattern(1 << 20, 1));
    // Without end: the server has to put one.
    let flood = async {
        loop {
            send.write_chunk(&mut data.clone()).await?;
        }
    };
    let end: Result<(), StreamError> = soon("the reset", flood).await;
    assert!(end.is_err());
    if let Ok(Some(unit)) = soon("the refusal", unit(&mut recv)).await {
        assert_eq!(Status::from_code(unit.kind), Status::NotAllowed);
    }
    raw.still_works().await;
}

/// A server that opens streams of its own accord reaches nothing on the client's side.
#[tokio::test]
async fn a_hostile_server_reaches_only_what_was_forwarded() {
    let id = identity();
    let server = Endpoint::builder()
        .identity(identity())
        .bind("127.0.0.1:0")
        .await
        .unwrap();
    let peer = format!("{}@{}", server.peer_id(), server.local_addr());
    let client = Endpoint::builder().identity(id).client().await.unwrap();
    let serving = tokio::spawn(async move {
        let connection = server.accept().await.unwrap();
        let (mut send, mut recv) = connection.accept_bi().await.unwrap();
        unit(&mut recv).await.unwrap().unwrap();
        send.write_all(b"\x01\x00\x00\x05\x00\x00\x00\x00\x00")
            .await
            .unwrap();
        let mut verdicts = Vec::new();
        let from = "127.0.0.1:1".parse().unwrap();
        for request in [
            Request::Connect("127.0.0.1:22".parse().unwrap()),
            Request::Listen {
                id: 0,
                bind: "127.0.0.1:0".parse().unwrap(),
            },
            Request::Control(Default::default()),
            Request::Accepted { id: 0, from },
            Request::Accepted { id: u32::MAX, from },
        ] {
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            let mut wire = Vec::new();
            request.write(&mut wire);
            send.write_all(&wire).await.unwrap();
            let unit = unit(&mut recv).await.unwrap().unwrap();
            verdicts.push(Status::from_code(unit.kind));
        }
        verdicts
    });
    let client = weir::tunnel::TunnelClient::start(client, client_config(&peer, &[]))
        .await
        .unwrap();
    let running = tokio::spawn(client.run(weir::tunnel::Shutdown::new()));
    let verdicts = soon("the verdicts", serving).await.unwrap();
    let no = Status::NotAllowed;
    assert_eq!(
        verdicts,
        [no, no, no, Status::UnknownListen, Status::UnknownListen]
    );
    running.abort();
}

/// A peer that sends garbage and resets does no harm to another one of the same server.
#[tokio::test]
async fn other_peers_are_unharmed() {
    let (server_id, good, bad) = (identity(), identity(), identity());
    let mut peers = AllowPeers::none();
    peers.add(good.peer_id());
    peers.add(bad.peer_id());
    let peer = server_id.peer_id();
    let config = ServerConfig::default();
    let server = Server::start(server_id, "127.0.0.1:0", Via::Yamux, peers, config).await;
    let peer = format!("{peer}@{}", server.address);
    let to = format!("0:{}", echo("127.0.0.1:0").await);
    let client = Client::start(good, Via::Yamux, client_config(&peer, &[("-L", &to)])).await;
    let endpoint = Endpoint::builder().identity(bad).client().await.unwrap();
    for number in 0..20 {
        let connection = endpoint.connect(&peer).await.unwrap();
        for part in 0..10 {
            let (mut send, _recv) = connection.open_bi().await.unwrap();
            send.write_all(&pattern(500, number * 10 + part))
                .await
                .unwrap();
        }
        check_echo(client.local[0], b"unharmed").await;
        connection.close(0, "");
    }
}
