//! The stack against the Linux kernel's, over TUN, in network namespaces that the tests make.
//!
//! `WEIR_CAMPAIGN_BYTES` makes the transfers longer than the suite has time for.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "tcpip_common/inside.rs"]
mod inside;
mod tcpip_common;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Duration;

use tcpip_common::impaired::Impaired;
use tcpip_common::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net;
use weir::tcpip::{
    Capabilities, Device, Frame, Interface, ListenConfig, ReceiveBuf, Stack, TcpListener,
    TcpStream, Tun, TunBuilder, UdpSocket,
};
use weir_sim::{EcnTreatment, LinkConfig};

const MIB: usize = 1 << 20;

fn in_namespace<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    let limit = Duration::from_secs(if campaign().is_some() { 3600 } else { 300 });
    inside::in_namespace(test, limit, body);
}

/// How many bytes a campaign transfers.
fn campaign() -> Option<usize> {
    std::env::var("WEIR_CAMPAIGN_BYTES").ok()?.parse().ok()
}

/// The kernel's end of the link.
fn kernel(v6: bool, port: u16) -> SocketAddr {
    match v6 {
        false => (Ipv4Addr::new(10, 7, 0, 2), port).into(),
        true => (Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, 2), port).into(),
    }
}

/// The stack's end.
fn ours(v6: bool, port: u16) -> SocketAddr {
    match v6 {
        false => (Ipv4Addr::new(10, 7, 0, 1), port).into(),
        true => (Ipv6Addr::new(0xfd07, 0, 0, 0, 0, 0, 0, 1), port).into(),
    }
}

/// An interface of the kernel's, 10.7.0.2 and where its MTU allows fd07::2.
fn tun(mtu: u16) -> TunBuilder {
    let builder = Tun::builder("weir%d").mtu(mtu);
    let builder = builder.address("10.7.0.2/24".parse().unwrap());
    match mtu >= 1280 {
        true => builder.address("fd07::2/64".parse().unwrap()),
        false => builder,
    }
}

/// A stack at the other end of it.
fn stack_on(device: impl Device) -> Stack {
    let interface = Interface::new().address("10.7.0.1/24".parse().unwrap());
    let interface = match device.capabilities().mtu >= 1280 {
        true => interface.address("fd07::1/64".parse().unwrap()),
        false => interface,
    };
    Stack::builder().device(device, interface).start().unwrap()
}

/// The stack dials the kernel.
async fn dial_out(stack: &Stack, v6: bool) -> (TcpStream, net::TcpStream) {
    let listener = net::TcpListener::bind(kernel(v6, 0)).await.unwrap();
    let remote = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(stack, remote), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

/// The kernel dials the stack.
async fn dial_in(stack: &Stack, v6: bool) -> (TcpStream, net::TcpStream) {
    let listener = TcpListener::bind(stack, ours(v6, 0)).unwrap();
    let remote = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(net::TcpStream::connect(remote), listener.accept());
    (server.unwrap().0, client.unwrap())
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), len: usize) -> io::Result<()> {
    let data = pattern(MIB - 17);
    let mut left = len;
    while left > 0 {
        let piece = left.min(data.len());
        stream.write_all(&data[..piece]).await?;
        left -= piece;
    }
    stream.shutdown().await
}

/// Reads to the end, and compares each byte with what was sent at its place.
async fn check(stream: &mut (impl AsyncRead + Unpin), len: usize) {
    let data = pattern(MIB - 17);
    let mut buffer = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            break;
        }
        let mut got = &buffer[..read];
        while !got.is_empty() {
            let from = at % data.len();
            let count = got.len().min(data.len() - from);
            assert!(got[..count] == data[from..from + count], "wrong at {at}");
            got = &got[count..];
            at += count;
        }
    }
    assert_eq!(at, len, "the stream ended early or late");
}

/// So many bytes each way at once.
async fn exchange(stream: TcpStream, other: net::TcpStream, len: usize) {
    let (mut stream, mut other) = (stream, other);
    let (mut read, mut write) = stream.split();
    let (mut other_read, mut other_write) = other.split();
    let (sent, other_sent, (), ()) = tokio::join!(
        send(&mut write, len),
        send(&mut other_write, len),
        check(&mut read, len),
        check(&mut other_read, len),
    );
    sent.unwrap();
    other_sent.unwrap();
}

/// Both roles over IPv4 and IPv6.
async fn all_ways(stack: &Stack, v6: bool, len: usize) {
    for v6 in [false, true].into_iter().take(1 + usize::from(v6)) {
        let (stream, other) = dial_out(stack, v6).await;
        exchange(stream, other, len).await;
        let (stream, other) = dial_in(stack, v6).await;
        exchange(stream, other, len).await;
    }
}

fn sysctl(name: &str, value: &str) {
    let path = format!("/proc/sys/net/{}", name.replace('.', "/"));
    std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}

#[test]
fn bytes_cross_with_offloads() {
    in_namespace("bytes_cross_with_offloads", || async {
        let stack = stack_on(tun(1500).open().unwrap());
        all_ways(&stack, true, campaign().unwrap_or(32 * MIB)).await;
    });
}

#[test]
fn bytes_cross_without_offloads() {
    in_namespace("bytes_cross_without_offloads", || async {
        let stack = stack_on(tun(1500).without_offload().open().unwrap());
        all_ways(&stack, true, campaign().unwrap_or(8 * MIB)).await;
    });
}

#[test]
fn bytes_cross_in_small_packets() {
    in_namespace("bytes_cross_in_small_packets", || async {
        let stack = stack_on(tun(1280).without_offload().open().unwrap());
        all_ways(&stack, true, 2 * MIB).await;
    });
}

#[test]
fn bytes_cross_in_packets_of_296_bytes() {
    in_namespace("bytes_cross_in_packets_of_296_bytes", || async {
        let stack = stack_on(tun(296).without_offload().open().unwrap());
        all_ways(&stack, false, MIB).await;
    });
}

#[test]
fn a_thousand_connections_each_way() {
    in_namespace("a_thousand_connections_each_way", || async {
        let stack = stack_on(tun(1500).open().unwrap());
        let _ = weir_os::lift_open_files();
        // The kernel dials.
        let config = ListenConfig {
            backlog: 1024,
            ..ListenConfig::default()
        };
        let listener = TcpListener::bind_with(&stack, ours(false, 0), config).unwrap();
        let remote = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..1000_u32)
            .map(|n| {
                tokio::spawn(async move { asks(net::TcpStream::connect(remote).await, n).await })
            })
            .collect();
        for _ in 0..1000 {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(echoes(stream));
        }
        for client in clients {
            client.await.unwrap();
        }
        // The stack dials.
        let socket = net::TcpSocket::new_v4().unwrap();
        socket.bind(kernel(false, 0)).unwrap();
        let listener = socket.listen(4096).unwrap();
        let remote = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..1000_u32)
            .map(|n| {
                let stack = stack.clone();
                tokio::spawn(async move { asks(TcpStream::connect(&stack, remote).await, n).await })
            })
            .collect();
        for _ in 0..1000 {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(echoes(stream));
        }
        for client in clients {
            client.await.unwrap();
        }
        until(&stack, |stats| stats.connections == 0).await;
    });
}

async fn asks(stream: io::Result<impl AsyncRead + AsyncWrite + Unpin>, n: u32) {
    let mut stream = stream.unwrap();
    let said = n.to_be_bytes().repeat(300);
    stream.write_all(&said).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(read_all(&mut stream).await.unwrap(), said);
}

async fn echoes(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let all = read_all(&mut stream).await.unwrap();
    stream.write_all(&all).await.unwrap();
    stream.shutdown().await.unwrap();
}

#[test]
fn each_direction_ends_on_its_own() {
    in_namespace("each_direction_ends_on_its_own", || async {
        let stack = stack_on(tun(1500).open().unwrap());
        let (mut stream, mut other) = dial_out(&stack, false).await;
        stream.write_all(b"question").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_all(&mut other).await.unwrap(), b"question");
        other.write_all(b"answer").await.unwrap();
        drop(other);
        assert_eq!(read_all(&mut stream).await.unwrap(), b"answer");
        let (mut stream, mut other) = dial_in(&stack, true).await;
        other.write_all(b"question").await.unwrap();
        other.shutdown().await.unwrap();
        assert_eq!(read_all(&mut stream).await.unwrap(), b"question");
        stream.write_all(b"answer").await.unwrap();
        drop(stream);
        assert_eq!(read_all(&mut other).await.unwrap(), b"answer");
    });
}

#[test]
fn resets_are_told_both_ways() {
    in_namespace("resets_are_told_both_ways", || async {
        let stack = stack_on(tun(1500).open().unwrap());
        let (mut stream, other) = dial_out(&stack, false).await;
        other.set_zero_linger().unwrap();
        drop(other);
        let error = stream.read_chunk(1).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        let (stream, mut other) = dial_in(&stack, false).await;
        stream.abort();
        let error = other.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        // Where nobody listens, either side refuses.
        let error = TcpStream::connect(&stack, kernel(false, 9))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        let error = net::TcpStream::connect(ours(false, 9)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    });
}

// T60, T108: a reader that pauses until the window is shut, and longer than the first probes.
#[test]
fn a_shut_window_opens_again_both_ways() {
    in_namespace("a_shut_window_opens_again_both_ways", || async {
        let stack = stack_on(tun(1500).open().unwrap());
        const LEN: usize = 24 * MIB;
        let (mut stream, mut other) = dial_out(&stack, false).await;
        let sending = tokio::spawn(async move {
            send(&mut stream, LEN).await.unwrap();
            stream
        });
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(!sending.is_finished(), "nobody reads, and 24 MiB went");
        check(&mut other, LEN).await;
        drop(sending.await.unwrap());
        let (mut stream, mut other) = dial_in(&stack, false).await;
        let sending = tokio::spawn(async move {
            send(&mut other, LEN).await.unwrap();
            other
        });
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(!sending.is_finished(), "nobody reads, and 24 MiB went");
        check(&mut stream, LEN).await;
        drop(sending.await.unwrap());
    });
}

// T128 to T131: agreed by either side, and every packet marked CE slows down without a loss.
#[test]
fn ecn_is_agreed_and_marks_are_heeded() {
    in_namespace("ecn_is_agreed_and_marks_are_heeded", || async {
        sysctl("ipv4.tcp_ecn", "1");
        let stack = stack_on(tun(1500).open().unwrap());
        for v6 in [false, true] {
            let (stream, other) = dial_out(&stack, v6).await;
            assert!(stream.stats().unwrap().ecn, "dialled, v6 {v6}");
            exchange(stream, other, MIB).await;
            let (stream, other) = dial_in(&stack, v6).await;
            assert!(stream.stats().unwrap().ecn, "taken, v6 {v6}");
            exchange(stream, other, MIB).await;
        }
        drop(stack);
        let marking = LinkConfig {
            delay: Duration::from_millis(2),
            ecn: EcnTreatment::MarkAll,
            ..LinkConfig::default()
        };
        let device = Tun::builder("marks%d")
            .address("10.7.0.2/24".parse().unwrap())
            .without_offload()
            .open()
            .unwrap();
        let stack = stack_on(Impaired::new(device, &marking, 1));
        let (mut stream, mut other) = dial_out(&stack, false).await;
        let (sent, ()) = tokio::join!(send(&mut stream, MIB), check(&mut other, MIB));
        sent.unwrap();
        // It would have grown to what was sent; nothing was lost that could have held it.
        let window = stream.stats().unwrap().congestion_window;
        assert!(window < 64 * 1024, "{window}");
    });
}

/// Through a link like this, both roles, over both versions.
fn through(test: &str, config: LinkConfig, len: usize) {
    in_namespace(test, || async move {
        let device = tun(1500).without_offload().open().unwrap();
        let stack = stack_on(Impaired::new(device, &config, 7));
        all_ways(&stack, true, len).await;
    });
}

#[test]
fn bytes_cross_where_packets_get_lost() {
    let config = LinkConfig {
        delay: Duration::from_millis(2),
        loss: 0.02,
        ..LinkConfig::default()
    };
    through("bytes_cross_where_packets_get_lost", config, MIB);
}

#[test]
fn bytes_cross_where_packets_overtake_each_other_come_twice_and_change() {
    let config = LinkConfig {
        delay: Duration::from_millis(2),
        jitter: Duration::from_millis(1),
        reorder: 0.05,
        reorder_by: Duration::from_millis(3),
        duplicate: 0.02,
        corrupt: 0.01,
        ..LinkConfig::default()
    };
    through(
        "bytes_cross_where_packets_overtake_each_other_come_twice_and_change",
        config,
        MIB,
    );
}

/// A device that is taken for one of another MTU.
struct Claims<D>(D, u16);

impl<D: Device> Device for Claims<D> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            mtu: self.1,
            ..self.0.capabilities()
        }
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>> {
        self.0.poll_recv(cx, batch)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, frames)
    }
}

// T133, T134: a router on the way with a smaller link behind it says so, and the sender heeds it.
#[test]
fn a_smaller_link_behind_a_router_is_found() {
    in_namespace("a_smaller_link_behind_a_router_is_found", || async {
        sysctl("ipv4.ip_forward", "1");
        sysctl("ipv6.conf.all.forwarding", "1");
        let near = stack_on(tun(1500).open().unwrap());
        let narrow = Tun::builder("narrow")
            .mtu(1300)
            .address("10.8.0.2/24".parse().unwrap())
            .address("fd08::2/64".parse().unwrap())
            .open()
            .unwrap();
        let far = Interface::new()
            .address("10.8.0.1/24".parse().unwrap())
            .address("fd08::1/64".parse().unwrap())
            .route("0.0.0.0/0".parse().unwrap(), None)
            .route("::/0".parse().unwrap(), None);
        // The far host does not know that its link is narrow, and announces a larger segment size.
        let far = Stack::builder()
            .device(Claims(narrow, 1500), far)
            .start()
            .unwrap();
        let first = weir::tcpip::InterfaceId::default();
        for to in ["10.8.0.0/24", "fd08::/64"] {
            let route = weir::tcpip::RouteConfig {
                to: to.parse().unwrap(),
                via: None,
                interface: first,
                metric: 0,
            };
            near.add_route(route).unwrap();
        }
        for at in ["10.8.0.1:0", "[fd08::1]:0"] {
            let listener = TcpListener::bind(&far, at.parse().unwrap()).unwrap();
            let remote = listener.local_addr().unwrap();
            let (client, server) =
                tokio::join!(TcpStream::connect(&near, remote), listener.accept());
            let (mut client, mut server) = (client.unwrap(), server.unwrap().0);
            let (sent, ()) = tokio::join!(send(&mut client, 4 * MIB), check(&mut server, 4 * MIB));
            sent.unwrap();
            assert_eq!(near.route_to(remote.ip()).unwrap().1, 1300, "{at}");
            assert_eq!(client.stats().unwrap().path_mtu, 1300, "{at}");
        }
    });
}

#[test]
fn datagrams_cross_both_ways() {
    in_namespace("datagrams_cross_both_ways", || async {
        let stack = stack_on(tun(1500).open().unwrap());
        for v6 in [false, true] {
            let socket = UdpSocket::bind(&stack, ours(v6, 0)).unwrap();
            let other = net::UdpSocket::bind(kernel(v6, 0)).await.unwrap();
            let (here, there) = (socket.local_addr().unwrap(), other.local_addr().unwrap());
            // The last ones come in fragments.
            for len in [0, 1, 1400, 4000, 40_000] {
                let data = pattern(len);
                let mut buffer = vec![0; 65_536];
                socket.send_to(&data, there).await.unwrap();
                let (got, from) = other.recv_from(&mut buffer).await.unwrap();
                assert!(from == here && buffer[..got] == data, "out, {len}");
                other.send_to(&data, here).await.unwrap();
                let (got, from) = socket.recv_from(&mut buffer).await.unwrap();
                assert!(from == there && buffer[..got] == data, "in, {len}");
            }
        }
    });
}
