//! A stack whose traffic is carried: what becomes of it that needs no way to the destination. What does is shown by
//! `weir run` and `weir connect --tun`, whose tests have machines of their own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod tunnel_common;

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tunnel_common::{Client, Server, identity, soon};
use weir::Endpoint;
use weir::Via;
use weir::tcpip::{
    Capabilities, Interface, Medium, Memory, Stack, TcpListener, TcpStream, UdpSocket,
};
use weir::tunnel::{
    AllowPeers, AllowTo, ClientConfig, ForwardKind, PacketForward, ServerConfig, Shutdown,
    TunnelClient,
};

/// The tunnel's end, as the machine sees it.
const END: &str = "10.7.0.1";

struct Carried {
    server: Server,
    client: Client,
    /// The machine whose traffic is carried: another stack of ours.
    machine: Stack,
}

/// A machine at one end of a cable, a carried stack at the other, and a peer that reaches what `allow` says.
async fn carried(allow: &str) -> Carried {
    carried_with(allow, |_| {}).await
}

/// The same with other settings of the client.
async fn carried_with(allow: &str, change: impl FnOnce(&mut ClientConfig)) -> Carried {
    let (ours, theirs) = Memory::pair(Capabilities::plain(Medium::Ip, 1500));
    let everybody = "0.0.0.0/0".parse().unwrap();
    let machine = Stack::builder()
        .device(
            theirs,
            Interface::new()
                .address("10.7.0.2/24".parse().unwrap())
                .route(everybody, None),
        )
        .start()
        .unwrap();
    let stack = Stack::builder()
        .device(
            ours,
            Interface::new()
                .address("10.7.0.1/24".parse().unwrap())
                .route(everybody, None)
                .any_address(),
        )
        .start()
        .unwrap();
    let (server_id, client_id) = (identity(), identity());
    let mut peers = AllowPeers::none();
    peers.add(client_id.peer_id());
    let mut config = ServerConfig::default();
    config.allow_to = AllowTo::from_rules([allow]).unwrap();
    let peer = server_id.peer_id();
    let server = Server::start(server_id, "127.0.0.1:0", Via::Yamux, peers, config).await;
    let mut config = ClientConfig::new(format!("{peer}@{}", server.address));
    config.status_socket = false;
    change(&mut config);
    let endpoint = Endpoint::builder()
        .identity(client_id)
        .via(Via::Yamux)
        .client()
        .await
        .unwrap();
    let mut client = TunnelClient::start(endpoint, config).await.unwrap();
    let forward = PacketForward {
        stack,
        own: vec![END.parse().unwrap()],
        name: "cable".to_owned(),
    };
    client.carry(forward.clone()).unwrap();
    // What takes everything is there once.
    assert!(client.carry(forward).is_err());
    let stop = Shutdown::new();
    let client = Client {
        local: Vec::new(),
        socks: Vec::new(),
        remote: Vec::new(),
        view: client.watch(),
        task: tokio::spawn(client.run(stop.clone())),
        stop,
    };
    Carried {
        server,
        client,
        machine,
    }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn query(id: u16, name: &str, kind: TYPE) -> Vec<u8> {
    let mut packet = Packet::new_query(id);
    let name = Name::new_unchecked(name);
    let question = Question::new(name, QTYPE::TYPE(kind), QCLASS::CLASS(CLASS::IN), false);
    packet.questions.push(question);
    packet.build_bytes_vec().unwrap()
}

/// What a stack of ours, which goes on until the third error of ICMP (RFC 5461 section 4), makes of an attempt.
async fn fails(tunnel: &Carried, to: &str) -> std::io::Error {
    let connecting = TcpStream::connect(&tunnel.machine, at(to));
    soon("an error", connecting).await.unwrap_err()
}

#[tokio::test]
async fn what_the_rules_forbid_is_told_as_that() {
    let tunnel = carried("loopback").await;
    let both = tokio::join!(
        fails(&tunnel, "203.0.113.1:80"),
        fails(&tunnel, "192.0.2.7:443")
    );
    for error in [both.0, both.1] {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    }
    tunnel.server.stop.now("done");
}

#[tokio::test]
async fn the_tunnel_s_own_end_offers_nothing_but_names() {
    let tunnel = carried("any").await;
    for port in [1, 80, 54] {
        let connecting = TcpStream::connect(
            &tunnel.machine,
            SocketAddr::new(at("10.7.0.1:1").ip(), port),
        );
        let error = soon("a refusal", connecting).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{port}");
    }
    let status = tunnel.client.view.status();
    assert_eq!(status.forwards.len(), 1);
    assert_eq!(status.forwards[0].kind, ForwardKind::Packets);
    assert_eq!(status.forwards[0].bind.as_deref(), Some("cable"));
}

#[tokio::test]
async fn names_are_answered_over_udp() {
    let tunnel = carried("loopback").await;
    let socket = UdpSocket::bind(&tunnel.machine, at("10.7.0.2:0")).unwrap();
    let mut buffer = [0; 1500];
    socket
        .send_to(&query(7, "localhost", TYPE::A), at("10.7.0.1:53"))
        .await
        .unwrap();
    let (len, from) = soon("an answer", socket.recv_from(&mut buffer))
        .await
        .unwrap();
    assert_eq!(from, at("10.7.0.1:53"));
    let answer = Packet::parse(&buffer[..len]).unwrap();
    assert!(answer.has_flags(PacketFlag::RESPONSE) && answer.id() == 7);
    let [record] = &answer.answers[..] else {
        panic!("{answer:?}");
    };
    assert!(matches!(&record.rdata, RData::A(a) if a.address == 0x7f00_0001));
    // What is no question is not answered, and what asks nothing neither: the next answer is the next question's.
    let mut answered = query(8, "localhost", TYPE::A);
    answered[2] |= 0x80;
    for bad in [&b"x"[..], &[0xff; 60], &answered] {
        socket.send_to(bad, at("10.7.0.1:53")).await.unwrap();
    }
    // Types other than addresses are for peers that may reach everything.
    socket
        .send_to(&query(9, "localhost", TYPE::TXT), at("10.7.0.1:53"))
        .await
        .unwrap();
    let (len, _) = soon("an answer", socket.recv_from(&mut buffer))
        .await
        .unwrap();
    let answer = Packet::parse(&buffer[..len]).unwrap();
    assert_eq!((answer.id(), answer.rcode()), (9, RCODE::Refused));
}

#[tokio::test]
async fn names_are_answered_over_tcp_one_after_the_other() {
    let tunnel = carried("loopback").await;
    let connecting = TcpStream::connect(&tunnel.machine, at("10.7.0.1:53"));
    let mut stream = soon("a connection", connecting).await.unwrap();
    for id in [1, 2, 3] {
        let query = query(id, "localhost", TYPE::AAAA);
        let len = u16::try_from(query.len()).unwrap().to_be_bytes();
        // In two pieces: a length may come apart.
        stream.write_all(&len[..1]).await.unwrap();
        stream
            .write_all(&[&len[1..], &query].concat())
            .await
            .unwrap();
        let len = soon("an answer", stream.read_u16()).await.unwrap();
        let mut answer = vec![0; len.into()];
        soon("the rest", stream.read_exact(&mut answer))
            .await
            .unwrap();
        assert_eq!(Packet::parse(&answer).unwrap().id(), id);
    }
}

#[tokio::test]
async fn without_the_peer_names_fail_and_there_is_no_way_to_anybody() {
    let short = Duration::from_millis(500);
    let tunnel = carried_with("any", |config| config.wait_for_connection = short).await;
    tunnel.server.crash().await;
    let socket = UdpSocket::bind(&tunnel.machine, at("10.7.0.2:0")).unwrap();
    let mut buffer = [0; 1500];
    socket
        .send_to(&query(7, "localhost", TYPE::A), at("10.7.0.1:53"))
        .await
        .unwrap();
    let connecting = TcpStream::connect(&tunnel.machine, at("203.0.113.1:80"));
    let failed = soon("the error", connecting).await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::NetworkUnreachable);
    let answered = soon("the answer", socket.recv_from(&mut buffer)).await;
    let (len, _) = answered.unwrap();
    let answer = Packet::parse(&buffer[..len]).unwrap();
    assert_eq!(answer.rcode(), RCODE::ServerFailure);
}

#[tokio::test]
async fn who_listens_on_the_machine_is_not_disturbed() {
    let tunnel = carried("any").await;
    let listener = TcpListener::bind(&tunnel.machine, at("10.7.0.2:8080")).unwrap();
    let connecting = TcpStream::connect(&tunnel.machine, at("10.7.0.2:8080"));
    let (connected, accepted) = tokio::join!(connecting, listener.accept());
    assert!(connected.is_ok() && accepted.is_ok());
    assert!(tunnel.client.view.status().streams.is_empty());
}
