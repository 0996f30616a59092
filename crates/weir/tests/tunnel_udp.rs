//! UDP through a tunnel on loopback, over a way that carries streams alone: `-L`, `-R` and SOCKS.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod tunnel_common;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tunnel_common::{NEVER, Names, Place, Tunnel, pattern, socks_name, soon, until};
use weir::tunnel::{AllowTo, ServerConfig, Transport};

/// The longest payload over IPv4: 65,535 less 20 for IP and 8 for UDP.
const LONGEST: usize = 65_507;

/// A server that gives back each datagram. Its address.
async fn echo(bind: &str) -> SocketAddr {
    let socket = UdpSocket::bind(bind).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = vec![0; 70_000];
        loop {
            if let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&buffer[..length], from).await;
            }
        }
    });
    address
}

async fn client(bind: &str) -> UdpSocket {
    UdpSocket::bind(bind).await.unwrap()
}

/// What comes next at a socket.
async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let length = soon("a datagram", socket.recv(&mut buffer)).await.unwrap();
    buffer.truncate(length);
    buffer
}

/// Nothing comes at a socket for a while.
async fn nothing(socket: &UdpSocket) {
    let mut buffer = [0; 100];
    let came = timeout(Duration::from_millis(100), socket.recv(&mut buffer)).await;
    assert!(came.is_err(), "{came:?} of {buffer:?}");
}

/// Sends datagrams of all sizes to `entrance` and takes their echoes.
async fn check_sizes(entrance: SocketAddr) {
    let socket = client("127.0.0.1:0").await;
    socket.connect(entrance).await.unwrap();
    for size in [1, 0, 1200, LONGEST, 0, 9000] {
        let data = pattern(size, 7);
        socket.send(&data).await.unwrap();
        assert!(receive(&socket).await == data, "{size} bytes");
    }
}

fn any() -> ServerConfig {
    let mut config = ServerConfig::default();
    config.allow_to = AllowTo::any();
    config
}

#[tokio::test]
async fn local_forward_of_every_size() {
    let echo = echo("127.0.0.1:0").await;
    let tunnel = Tunnel::start(&[("-L", &format!("udp:0:{echo}"))]).await;
    check_sizes(tunnel.client.local[0]).await;
    let status = tunnel.client.view.status();
    assert_eq!(status.forwards[0].transport, Transport::Udp);
    let flow = &status.streams[0];
    let counts = flow.datagrams.unwrap();
    assert_eq!(
        (flow.transport, flow.to.as_str()),
        (Transport::Udp, echo.to_string().as_str())
    );
    assert_eq!((counts.sent, counts.received), (6, 6));
    assert_eq!(
        (counts.sent_direct, counts.received_direct, counts.dropped),
        (0, 0, 0)
    );
    assert_eq!((flow.sent, flow.received), (75_708, 75_708));
}

#[tokio::test]
async fn remote_forward_of_every_size() {
    let echo = echo("127.0.0.1:0").await;
    let tunnel = Tunnel::start(&[("-R", &format!("udp:0:{echo}"))]).await;
    check_sizes(tunnel.client.remote[0].unwrap()).await;
}

/// TCP and UDP have ports of their own, on both sides.
#[tokio::test]
async fn one_port_for_tcp_and_udp() {
    let udp = echo("127.0.0.1:0").await;
    let tcp = tunnel_common::echo("127.0.0.1:0").await;
    let first = Tunnel::start(&[("-R", &format!("0:{tcp}")), ("-L", &format!("0:{tcp}"))]).await;
    let there = first.client.remote[0].unwrap();
    let options = [
        ("-L", &*format!("udp:{}:{udp}", first.client.local[0])),
        ("-R", &*format!("udp:{there}:{udp}")),
        ("-R", &*format!("0:{tcp}")),
    ];
    let second = Tunnel::start(&options).await;
    check_sizes(second.client.local[0]).await;
    check_sizes(there).await;
    tunnel_common::check_echo(second.client.remote[1].unwrap(), b"tcp").await;
    tunnel_common::check_echo(there, b"tcp").await;
}

#[tokio::test]
async fn two_clients_get_their_own_answers_alone() {
    for option in ["-L", "-R"] {
        let echo = echo("127.0.0.1:0").await;
        let tunnel = Tunnel::start(&[(option, &format!("udp:0:{echo}"))]).await;
        let entrance = match option {
            "-L" => tunnel.client.local[0],
            _ => tunnel.client.remote[0].unwrap(),
        };
        let (one, two) = (client("127.0.0.1:0").await, client("127.0.0.1:0").await);
        for round in 0..20u8 {
            one.send_to(&[1, round], entrance).await.unwrap();
            two.send_to(&[2, round], entrance).await.unwrap();
            assert_eq!(receive(&one).await, [1, round]);
            assert_eq!(receive(&two).await, [2, round]);
        }
        nothing(&one).await;
        nothing(&two).await;
        assert_eq!(tunnel.client.view.status().streams.len(), 2);
    }
}

/// RFC 1122 section 4.1.3.3: ICMP says that nobody listens; the flow lives on and serves who listens later.
#[tokio::test]
async fn a_dead_destination_does_not_end_the_flow() {
    let (held, gone) = closed();
    let tunnel = Tunnel::start(&[("-L", &format!("udp:0:{gone}"))]).await;
    let socket = client("127.0.0.1:0").await;
    socket.connect(tunnel.client.local[0]).await.unwrap();
    for _ in 0..10 {
        socket.send(b"anybody?").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    nothing(&socket).await;
    let flow = tunnel.client.view.status().streams[0].id;
    drop(held);
    echo(&gone.to_string()).await;
    socket.send(b"now").await.unwrap();
    assert_eq!(receive(&socket).await, b"now");
    assert_eq!(tunnel.client.view.status().streams[0].id, flow);
}

/// An address where nobody listens, and the socket that keeps it: datagrams of others are not for it, since it is
/// connected to itself.
fn closed() -> (std::net::UdpSocket, SocketAddr) {
    let held = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    held.connect(address).unwrap();
    (held, address)
}

#[tokio::test]
async fn rules_hold_for_datagrams() {
    let (allowed, forbidden) = (echo("127.0.0.1:0").await, echo("127.0.0.1:0").await);
    let mut config = ServerConfig::default();
    config.allow_to = AllowTo::from_rules([allowed.to_string()]).unwrap();
    let options = [
        ("-L", &*format!("udp:0:{forbidden}")),
        ("-L", &*format!("udp:0:{allowed}")),
        ("-D", "0"),
    ];
    let tunnel = Tunnel::with(config, &options, |_| {}).await;
    let socket = client("127.0.0.1:0").await;
    for _ in 0..5 {
        socket
            .send_to(b"let me", tunnel.client.local[0])
            .await
            .unwrap();
    }
    nothing(&socket).await;
    socket.send_to(b"ok", tunnel.client.local[1]).await.unwrap();
    assert_eq!(receive(&socket).await, b"ok");
    let mut socks = Socks::new(tunnel.client.socks[0], None).await;
    let name = socks_name("localhost");
    socks.send(&name, forbidden.port(), b"by name").await;
    socks.send(&[1, 127, 0, 0, 1], allowed.port(), b"ok").await;
    assert_eq!(socks.receive().await.1, b"ok");
    nothing(&socks.socket).await;
}

/// A name that leads elsewhere at each question is checked each time (DNS rebinding), as for TCP.
#[tokio::test]
async fn a_name_that_leads_to_what_is_not_allowed_is_refused() {
    let secret = echo("127.0.0.1:0").await;
    let mut config = ServerConfig::default();
    config.allow_to = AllowTo::from_rules(["203.0.113.0/24"]).unwrap();
    config.resolver = Names::of(&[("evil.example", &[&["127.0.0.1"]])]);
    let tunnel = Tunnel::with(config, &[("-D", "0")], |_| {}).await;
    let mut socks = Socks::new(tunnel.client.socks[0], None).await;
    socks
        .send(&socks_name("evil.example"), secret.port(), b"x")
        .await;
    nothing(&socks.socket).await;
}

/// A SOCKS client with its association.
struct Socks {
    control: TcpStream,
    relay: SocketAddr,
    socket: UdpSocket,
}

impl Socks {
    /// Asks for an association, from the port of this socket where one is given.
    async fn new(proxy: SocketAddr, said: Option<UdpSocket>) -> Self {
        let port = said
            .as_ref()
            .map_or(0, |said| said.local_addr().unwrap().port());
        let mut control = TcpStream::connect(proxy).await.unwrap();
        control.write_all(&[5, 1, 0]).await.unwrap();
        let mut method = [0; 2];
        control.read_exact(&mut method).await.unwrap();
        let request = [&[5, 3, 0, 1, 0, 0, 0, 0][..], &port.to_be_bytes()].concat();
        control.write_all(&request).await.unwrap();
        let mut head = [0; 4];
        soon("the reply", control.read_exact(&mut head))
            .await
            .unwrap();
        assert_eq!(head[..3], [5, 0, 0]);
        let relay = match head[3] {
            1 => {
                let mut ip = [0; 4];
                control.read_exact(&mut ip).await.unwrap();
                SocketAddr::new(IpAddr::from(ip), control.read_u16().await.unwrap())
            }
            _ => {
                let mut ip = [0; 16];
                control.read_exact(&mut ip).await.unwrap();
                SocketAddr::new(IpAddr::from(ip), control.read_u16().await.unwrap())
            }
        };
        assert_eq!(
            relay.ip(),
            proxy.ip(),
            "where the client reaches it already"
        );
        let socket = match said {
            Some(said) => said,
            None => client(&SocketAddr::new(relay.ip(), 0).to_string()).await,
        };
        Self {
            control,
            relay,
            socket,
        }
    }

    fn datagram(fragment: u8, address: &[u8], port: u16, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, fragment], address, &port.to_be_bytes(), payload].concat()
    }

    async fn send(&mut self, address: &[u8], port: u16, payload: &[u8]) {
        let datagram = Self::datagram(0, address, port, payload);
        self.socket.send_to(&datagram, self.relay).await.unwrap();
    }

    /// The source in the next datagram's header, and its payload.
    async fn receive(&mut self) -> (SocketAddr, Vec<u8>) {
        let datagram = receive(&self.socket).await;
        assert_eq!(datagram[..3], [0, 0, 0]);
        let (ip, rest): (IpAddr, _) = match datagram[3] {
            1 => (
                <[u8; 4]>::try_from(&datagram[4..8]).unwrap().into(),
                &datagram[8..],
            ),
            _ => (
                <[u8; 16]>::try_from(&datagram[4..20]).unwrap().into(),
                &datagram[20..],
            ),
        };
        let port = u16::from_be_bytes([rest[0], rest[1]]);
        (SocketAddr::new(ip, port), rest[2..].to_vec())
    }
}

/// RFC 1928 section 7: every form of address, and the header of an answer names its real source.
#[tokio::test]
async fn socks_by_ipv4_ipv6_and_name() {
    let (four, six) = (echo("127.0.0.1:0").await, echo("[::1]:0").await);
    let mut config = any();
    config.resolver = Names::of(&[("echo.example", &[&["127.0.0.1"]])]);
    let tunnel = Tunnel::with(config, &[("-D", "0"), ("-D", "[::1]:0")], |_| {}).await;
    let v6 = [&[4][..], &[0; 15], &[1]].concat();
    for proxy in &tunnel.client.socks {
        let mut socks = Socks::new(*proxy, None).await;
        for (address, destination) in [
            (vec![1, 127, 0, 0, 1], four),
            (v6.clone(), six),
            (socks_name("echo.example"), four),
            (socks_name("localhost"), four),
            (socks_name("127.0.0.1"), four),
        ] {
            let header = 3 + address.len() + 2;
            for size in [1, 0, 1200, LONGEST - header.max(22)] {
                let data = pattern(size, 5);
                socks.send(&address, destination.port(), &data).await;
                let (source, back) = socks.receive().await;
                assert_eq!(source, destination, "{address:?}");
                assert!(back == data, "{size} bytes to {address:?}");
            }
        }
    }
}

/// RFC 1928 section 7: fragments and what is no request are dropped; the association goes on.
#[tokio::test]
async fn socks_drops_fragments_and_garbage() {
    let echo = echo("127.0.0.1:0").await;
    let tunnel = Tunnel::start(&[("-D", "0")]).await;
    let mut socks = Socks::new(tunnel.client.socks[0], None).await;
    let four = [1, 127, 0, 0, 1];
    for bad in [
        Socks::datagram(1, &four, echo.port(), b"a fragment"),
        Socks::datagram(0x81, &four, echo.port(), b"the last"),
        Socks::datagram(0, &four, 0, b"port 0"),
        Socks::datagram(0, &[9, 1, 2], 1, b"no such type"),
        Socks::datagram(0, &[3, 200, b'a'], 1, b"cut short"),
        Socks::datagram(0, &[3, 2, b'a', b'\n'], 1, b"no name"),
        vec![0, 0],
        Vec::new(),
    ] {
        socks.socket.send_to(&bad, socks.relay).await.unwrap();
    }
    nothing(&socks.socket).await;
    assert!(tunnel.client.view.status().streams.is_empty());
    socks.send(&four, echo.port(), b"whole").await;
    assert_eq!(socks.receive().await.1, b"whole");
}

/// RFC 1928 section 7: datagrams from elsewhere than the client are dropped.
#[tokio::test]
async fn socks_takes_datagrams_of_its_client_alone() {
    let echo = echo("127.0.0.1:0").await;
    let tunnel = Tunnel::start(&[("-D", "0")]).await;
    let datagram = Socks::datagram(0, &[1, 127, 0, 0, 1], echo.port(), b"stolen");
    let mut socks = Socks::new(tunnel.client.socks[0], None).await;
    let elsewhere = client("127.0.0.2:0").await;
    elsewhere.send_to(&datagram, socks.relay).await.unwrap();
    nothing(&elsewhere).await;
    socks.send(&[1, 127, 0, 0, 1], echo.port(), b"mine").await;
    assert_eq!(socks.receive().await.1, b"mine");
    // The first datagram has fixed the port.
    let same_host = client("127.0.0.1:0").await;
    same_host.send_to(&datagram, socks.relay).await.unwrap();
    nothing(&same_host).await;

    // A client that said its port is safe from the first datagram on.
    let said = client("127.0.0.1:0").await;
    let mut socks = Socks::new(tunnel.client.socks[0], Some(said)).await;
    same_host.send_to(&datagram, socks.relay).await.unwrap();
    nothing(&same_host).await;
    socks.send(&[1, 127, 0, 0, 1], echo.port(), b"mine").await;
    assert_eq!(socks.receive().await.1, b"mine");
}

/// RFC 1928 section 7: the association ends with its TCP connection.
#[tokio::test]
async fn an_association_ends_with_its_connection() {
    let echo = echo("127.0.0.1:0").await;
    let tunnel = Tunnel::start(&[("-D", "0")]).await;
    let mut socks = Socks::new(tunnel.client.socks[0], None).await;
    socks.send(&[1, 127, 0, 0, 1], echo.port(), b"alive").await;
    assert_eq!(socks.receive().await.1, b"alive");
    assert_eq!(tunnel.client.view.status().streams.len(), 1);
    socks.control.shutdown().await.unwrap();
    let mut rest = Vec::new();
    soon("the end", socks.control.read_to_end(&mut rest))
        .await
        .unwrap();
    until("the end of its flows", || {
        tunnel.client.view.status().streams.is_empty()
    })
    .await;
    until("the socket to be free", || {
        std::net::UdpSocket::bind(socks.relay).is_ok()
    })
    .await;
}

#[tokio::test]
async fn many_destinations_of_one_association_are_bounded() {
    let tunnel = Tunnel::with(any(), &[("-D", "0")], |config| {
        config.max_udp_flows_of_association = 3;
    })
    .await;
    let mut socks = Socks::new(tunnel.client.socks[0], None).await;
    for _ in 0..10 {
        let echo = echo("127.0.0.1:0").await;
        socks.send(&[1, 127, 0, 0, 1], echo.port(), b"hello").await;
        assert_eq!(socks.receive().await, (echo, b"hello".to_vec()));
    }
    until("three flows", || {
        tunnel.client.view.status().streams.len() == 3
    })
    .await;
}

#[tokio::test]
async fn a_flow_ends_when_it_is_idle_and_a_new_one_begins() {
    let echo = echo("127.0.0.1:0").await;
    for server_first in [false, true] {
        let mut server = any();
        let short = Duration::from_millis(200);
        if server_first {
            server.udp_idle = short;
        }
        let options = [("-L", &*format!("udp:0:{echo}"))];
        let tunnel = Tunnel::with(server, &options, |config| {
            if !server_first {
                config.udp_idle = short;
            }
        })
        .await;
        let socket = client("127.0.0.1:0").await;
        socket.connect(tunnel.client.local[0]).await.unwrap();
        let flows = || tunnel.client.view.status().streams;
        // A machine that stands still for a while ends a flow before its answer came.
        let asked = async |data: &[u8]| loop {
            socket.send(data).await.unwrap();
            let mut buffer = [0; 10];
            let came = timeout(Duration::from_secs(1), socket.recv(&mut buffer)).await;
            if let (Ok(Ok(length)), Some(flow)) = (came, flows().first())
                && buffer[..length] == *data
            {
                return flow.id;
            }
        };
        let first = soon("the first echo", asked(b"one")).await;
        until("the idle end", || flows().is_empty()).await;
        let second = soon("the second echo", asked(b"two")).await;
        assert_ne!(first, second);
    }
}

/// A new client is served at the cost of the one that was idle longest, and the far side's limit is not passed.
#[tokio::test]
async fn more_clients_than_flows() {
    let echo = echo("127.0.0.1:0").await;
    let mut server = any();
    server.max_udp_flows = 6;
    let options = [("-L", &*format!("udp:0:{echo}"))];
    let tunnel = Tunnel::with(server, &options, |config| config.max_udp_flows = 3).await;
    for number in 0..30u8 {
        let socket = client("127.0.0.1:0").await;
        socket.connect(tunnel.client.local[0]).await.unwrap();
        socket.send(&[number]).await.unwrap();
        assert_eq!(receive(&socket).await, [number]);
    }
    until("three flows", || {
        tunnel.client.view.status().streams.len() == 3
    })
    .await;
}

/// The far side refuses what is beyond its limit, and connections are not refused for it.
#[tokio::test]
async fn flows_do_not_take_the_place_of_connections() {
    let udp = echo("127.0.0.1:0").await;
    let tcp = tunnel_common::echo("127.0.0.1:0").await;
    let mut server = any();
    server.max_udp_flows = 2;
    // The control stream and two connections.
    server.max_streams = 3;
    let options = [
        ("-L", &*format!("udp:0:{udp}")),
        ("-L", &*format!("0:{tcp}")),
    ];
    let tunnel = Tunnel::with(server, &options, |_| {}).await;
    let mut clients = Vec::new();
    for number in 0..2 {
        let socket = client("127.0.0.1:0").await;
        socket.connect(tunnel.client.local[0]).await.unwrap();
        socket.send(&[number]).await.unwrap();
        assert_eq!(receive(&socket).await, [number]);
        clients.push(socket);
    }
    let third = client("127.0.0.1:0").await;
    third
        .send_to(b"too many", tunnel.client.local[0])
        .await
        .unwrap();
    nothing(&third).await;
    tunnel_common::check_echo(tunnel.client.local[1], b"tcp").await;
    clients[0].send(b"still").await.unwrap();
    assert_eq!(receive(&clients[0]).await, b"still");
}

/// One client that sends more than the way carries loses datagrams of its own; another is served meanwhile.
#[tokio::test]
async fn a_flood_does_not_hold_up_another_client() {
    let sink = client("127.0.0.1:0").await;
    let echo = echo("127.0.0.1:0").await;
    let options = [
        ("-L", &*format!("udp:0:{}", sink.local_addr().unwrap())),
        ("-L", &*format!("udp:0:{echo}")),
    ];
    let tunnel = Tunnel::start(&options).await;
    let (flooding, polite) = (client("127.0.0.1:0").await, client("127.0.0.1:0").await);
    let entrance = tunnel.client.local[0];
    let flood = tokio::spawn(async move {
        let data = vec![1; 8000];
        for _ in 0..5000 {
            let _ = flooding.send_to(&data, entrance).await;
        }
    });
    polite.connect(tunnel.client.local[1]).await.unwrap();
    for round in 0..20u8 {
        polite.send(&[round]).await.unwrap();
        assert_eq!(receive(&polite).await, [round]);
    }
    flood.await.unwrap();
}

/// The end does not wait for flows: they never finish.
#[tokio::test]
async fn a_drain_does_not_wait_for_flows() {
    let echo = echo("127.0.0.1:0").await;
    let options = [
        ("-L", &*format!("udp:0:{echo}")),
        ("-R", &*format!("udp:0:{echo}")),
    ];
    let tunnel = Tunnel::with(ServerConfig::default(), &options, |config| {
        config.grace = NEVER;
    })
    .await;
    check_sizes(tunnel.client.local[0]).await;
    check_sizes(tunnel.client.remote[0].unwrap()).await;
    tunnel.client.stop.drain("done");
    soon("the end", tunnel.client.task).await.unwrap();
}

/// The connection breaks; the client's next datagram makes a new flow over the next connection.
#[tokio::test]
async fn a_flow_begins_anew_after_a_reconnect() {
    let echo = echo("127.0.0.1:0").await;
    let to = format!("udp:0:{echo}");
    let (place, server, tunnel) = Place::start(&[("-L", &to), ("-R", &to)]).await;
    let (here, there) = (client("127.0.0.1:0").await, client("127.0.0.1:0").await);
    here.connect(tunnel.local[0]).await.unwrap();
    there.connect(tunnel.remote[0].unwrap()).await.unwrap();
    for socket in [&here, &there] {
        socket.send(b"before").await.unwrap();
        assert_eq!(receive(socket).await, b"before");
    }
    server.crash().await;
    let _server = place.serve().await;
    until("the reconnect", || tunnel.view.status().reconnects == 1).await;
    for socket in [&here, &there] {
        let mut buffer = [0; 10];
        let again = async {
            loop {
                // ICMP may tell of the moment when nobody listened.
                let _ = socket.send(b"after").await;
                let came = timeout(Duration::from_millis(100), socket.recv(&mut buffer)).await;
                if let Ok(Ok(length)) = came {
                    return buffer[..length].to_vec();
                }
            }
        };
        assert_eq!(soon("an answer", again).await, b"after");
    }
}
