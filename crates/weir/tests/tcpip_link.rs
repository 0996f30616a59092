//! What the link says reaches the application in the words of the kernel's sockets, and whoever traces
//! in those of qlog.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

use std::io;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use weir::tcpip::{
    Capabilities, Datagram, Interface, Medium, Memory, Stack, TcpListener, TcpStream, UdpSocket,
};
use weir::trace::{Instruments, TraceOptions};

/// The events of a qlog file whose name begins with `ip:`.
fn ip_events(text: &str) -> Vec<Value> {
    let records = text.split('\u{1e}').filter(|it| !it.trim().is_empty());
    let records = records.map(|record| serde_json::from_str::<Value>(record).unwrap());
    let of_ip = |record: &Value| {
        let name = record["name"].as_str();
        name.is_some_and(|name| name.starts_with("ip:"))
    };
    records.filter(of_ip).collect()
}

// T143: three ARP requests a second apart, and no wait for the SYN time-out. The trace tells the story.
#[tokio::test]
async fn a_dead_host_is_unreachable_after_three_seconds() {
    let dir = std::env::temp_dir().join(format!("weir-link-{}", std::process::id()));
    let options = TraceOptions {
        qlog: Some(dir.clone()),
        ..TraceOptions::default()
    };
    let instruments = Instruments::new(&options).unwrap();
    // The other end of the cable is held, and nobody looks at it.
    let (ours, _theirs) = Memory::pair(Capabilities::plain(Medium::Ethernet, 1500));
    let interface = Interface::new().address("10.7.0.1/24".parse().unwrap());
    let lonely = Stack::builder().device(ours, interface).name("lonely");
    let stack = instruments.attach_to_stack(lonely).start().unwrap();
    let socket = UdpSocket::bind(&stack, "10.7.0.1:0".parse().unwrap()).unwrap();
    socket.connect("10.7.0.8:53".parse().unwrap()).unwrap();
    socket.send(b"anybody?").await.unwrap();
    let begun = Instant::now();
    let limit = Duration::from_secs(120);
    let dialed = TcpStream::connect(&stack, "10.7.0.7:80".parse().unwrap());
    let error = timeout(limit, dialed).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
    assert!(begun.elapsed() >= Duration::from_millis(2_500));
    let received = timeout(limit, socket.recv(&mut [0; 16])).await;
    let error = received.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
    drop((socket, stack));
    instruments.finish();
    let files: Vec<_> = std::fs::read_dir(&dir).unwrap().collect();
    let text = std::fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    let events = ip_events(&text);
    let has = |name: &str, field: &str, value: &str| {
        let is_it = |it: &&Value| it["name"] == name && it["data"][field] == value;
        assert!(events.iter().any(|it| is_it(&it)), "{name} {value}: {text}");
    };
    has("ip:address_updated", "address", "10.7.0.1");
    has("ip:address_updated", "new", "preferred");
    has("ip:neighbor_updated", "address", "10.7.0.7");
    has("ip:neighbor_updated", "new", "incomplete");
    has("ip:neighbor_updated", "new", "failed");
    has("ip:packet_dropped", "trigger", "no_neighbor");
}

/// The TOS byte of the first packet of a protocol that a stack sends on a cable.
async fn tos_of(device: &mut Memory, protocol: u8) -> u8 {
    use weir::tcpip::{Device, ReceiveBuf};
    let mut batch = ReceiveBuf::new();
    loop {
        batch.clear();
        let received = std::future::poll_fn(|cx| device.poll_recv(cx, &mut batch));
        timeout(Duration::from_secs(120), received)
            .await
            .unwrap()
            .unwrap();
        let is_it = |packet: &&[u8]| packet[0] >> 4 == 4 && packet[9] == protocol;
        if let Some(packet) = batch.frames().map(|(frame, _)| frame).find(is_it) {
            return packet[1];
        }
    }
}

// T161, T162: beside the mark that the application or TCP sets.
#[tokio::test]
async fn the_diffserv_field_is_what_was_asked_for() {
    let (ours, mut theirs) = Memory::pair(Capabilities::plain(Medium::Ip, 1500));
    let interface = Interface::new().address("10.7.0.1/24".parse().unwrap());
    let stack = Stack::builder().device(ours, interface).start().unwrap();
    let socket = UdpSocket::bind(&stack, "10.7.0.1:0".parse().unwrap()).unwrap();
    assert!(socket.set_dscp(64).is_err());
    socket.set_dscp(46).unwrap();
    let datagram = Datagram {
        ecn: weir::tcpip::Ecn::Ect0,
        ..Datagram::to("10.7.0.2:9".parse().unwrap())
    };
    socket.try_send(b"hi", datagram).unwrap();
    assert_eq!(tos_of(&mut theirs, 17).await, 46 << 2 | 0b10);
    // Data after the handshake bears what was set on the stream.
    let listener = TcpListener::bind(&stack, "10.7.0.1:80".parse().unwrap()).unwrap();
    let dialed = TcpStream::connect(&stack, "10.7.0.1:80".parse().unwrap());
    let (stream, accepted) = tokio::join!(dialed, listener.accept());
    let stream = stream.unwrap();
    assert!(accepted.is_ok() && stream.set_dscp(64).is_err());
    stream.set_dscp(10).unwrap();
}

// T163, T164: between two of our own.
#[tokio::test]
async fn urgent_data_is_told_of() {
    let (ours, theirs) = Memory::pair(Capabilities::plain(Medium::Ip, 1500));
    let host = |text: &str| Interface::new().address(text.parse().unwrap());
    let one = Stack::builder().device(ours, host("10.7.0.1/24")).start();
    let two = Stack::builder().device(theirs, host("10.7.0.2/24")).start();
    let (one, two) = (one.unwrap(), two.unwrap());
    let at = "10.7.0.2:80".parse().unwrap();
    let listener = TcpListener::bind(&two, at).unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(&one, at), listener.accept());
    let (mut client, mut server) = (client.unwrap(), server.unwrap().0);
    let limit = Duration::from_secs(120);
    let waits = tokio::spawn(async move {
        let remaining = timeout(limit, server.urgent()).await.unwrap();
        (server, remaining.unwrap())
    });
    client.write_all(b"calm ").await.unwrap();
    assert_eq!(client.write_urgent(b"hurry").await.unwrap(), 5);
    let (back, remaining) = timeout(limit, waits).await.unwrap().unwrap();
    server = back;
    assert_eq!(remaining, 10);
    let mut buffer = [0; 10];
    server.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"calm hurry");
    // A waiter learns that nothing will come.
    client.abort();
    assert!(timeout(limit, server.urgent()).await.unwrap().is_err());
}
