//! TUN and TAP devices on tokio, with the kernel's own stack at the other end, in network namespaces
//! that the tests make.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "tcpip_common/inside.rs"]
mod inside;

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;
use weir::tcpip::{
    Checksum, Device, Frame, InterfaceId, Medium, Offload, ReceiveBuf, SegmentKind, Tap, Tun,
};

fn in_namespace<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    inside::in_namespace(test, Duration::from_secs(120), body);
}

/// A device whose kernel end is 10.7.0.2.
fn device() -> Tun {
    let address = "10.7.0.2/24".parse().unwrap();
    Tun::builder("weir%d").address(address).open().unwrap()
}

async fn receive(device: &mut impl Device, batch: &mut ReceiveBuf) {
    batch.clear();
    poll_fn(|cx| device.poll_recv(cx, batch)).await.unwrap();
    assert!(!batch.is_empty());
}

fn is(packet: &[u8], protocol: u8) -> bool {
    packet[0] >> 4 == 4 && packet[9] == protocol
}

/// What goes to 10.7.0.9 comes from there; the checksums stay right.
fn turn_round(packet: &mut [u8]) {
    for i in 0..4 {
        packet.swap(12 + i, 16 + i);
    }
}

async fn send(device: &mut impl Device, head: &[u8], rest: &[Bytes], offload: Offload) {
    let frame = Frame {
        interface: InterfaceId::default(),
        offload,
        head,
        rest,
    };
    let sent = poll_fn(|cx| device.poll_send(cx, &[frame])).await.unwrap();
    assert_eq!(sent, 1);
}

#[test]
fn a_burst_comes_in_few_batches_with_its_checksums_left_open() {
    in_namespace(
        "a_burst_comes_in_few_batches_with_its_checksums_left_open",
        || async {
            let mut device = device();
            let capabilities = device.capabilities();
            assert_eq!((capabilities.medium, capabilities.mtu), (Medium::Ip, 1500));
            assert!(capabilities.checksum_offload && capabilities.segmentation.tcp4);
            assert_eq!(capabilities.segmentation.max_bytes, 65_535);
            let socket = UdpSocket::bind("10.7.0.2:0").unwrap();
            for number in 0..100u8 {
                socket.send_to(&[number], "10.7.0.9:99").unwrap();
            }
            let mut batch = ReceiveBuf::new();
            let (mut next, mut batches) = (0, 0);
            while next < 100 {
                receive(&mut device, &mut batch).await;
                batches += 1;
                for (packet, offload) in batch.frames().filter(|(packet, _)| is(packet, 17)) {
                    assert_eq!(packet[28], next);
                    let partial = Checksum::Partial {
                        start: 20,
                        offset: 6,
                    };
                    assert_eq!(offload.checksum, partial);
                    next += 1;
                }
            }
            assert!(batches <= 4, "{batches}");
        },
    );
}

#[test]
fn frames_of_several_slices_leave_whole() {
    in_namespace("frames_of_several_slices_leave_whole", || async {
        let mut device = device();
        let socket = UdpSocket::bind("10.7.0.2:99").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(120)))
            .unwrap();
        // Long enough for a hundred slices, more than one write gathers.
        let payload: Vec<u8> = (0..200u8).collect();
        socket.send_to(&payload, "10.7.0.9:99").unwrap();
        let mut batch = ReceiveBuf::new();
        let (mut packet, offload) = loop {
            receive(&mut device, &mut batch).await;
            let found = batch.frames().find(|(packet, _)| is(packet, 17));
            if let Some((packet, offload)) = found {
                break (packet.to_vec(), offload);
            }
        };
        turn_round(&mut packet);
        for pieces in [1, 3, 200] {
            let (head, rest) = packet.split_at(28);
            let slices: Vec<Bytes> = rest
                .chunks(rest.len().div_ceil(pieces))
                .map(Bytes::copy_from_slice)
                .collect();
            send(&mut device, head, &slices, offload).await;
            let mut back = [0; 500];
            let (len, from) = socket.recv_from(&mut back).unwrap();
            assert_eq!(back[..len], payload, "{pieces}");
            assert_eq!(from.to_string(), "10.7.0.9:99");
        }
    });
}

#[test]
fn what_the_kernel_refuses_is_one_frame_s_loss() {
    in_namespace("what_the_kernel_refuses_is_one_frame_s_loss", || async {
        let mut device = device();
        let frame = |head| Frame {
            interface: InterfaceId::default(),
            offload: Offload::default(),
            head,
            rest: &[],
        };
        // No version of IP begins so.
        let bad = [frame(&[0x70; 40][..])];
        let refused = poll_fn(|cx| device.poll_send(cx, &bad)).await;
        assert!(refused.is_err());
        let good = [0x45; 40];
        let mixed = [frame(&good[..]), bad[0]];
        let sent = poll_fn(|cx| device.poll_send(cx, &mixed)).await.unwrap();
        assert_eq!(sent, 1);
    });
}

/// Has the kernel send `bytes` to itself by way of `device`; the largest frame and what it stood for.
async fn transfer(device: &mut Tun, bytes: usize) -> (usize, Option<SegmentKind>) {
    let listener = TcpListener::bind("10.7.0.2:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect(("10.7.0.9", port)).unwrap();
        stream.write_all(&vec![7; bytes]).unwrap();
    });
    let mut receiver = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut all).unwrap();
        assert!(all.len() == bytes && all.iter().all(|byte| *byte == 7));
    });
    let (mut batch, mut largest) = (ReceiveBuf::new(), (0, None));
    loop {
        tokio::select! {
            done = &mut receiver => {
                done.unwrap();
                return largest;
            }
            () = receive(device, &mut batch) => {}
        }
        let frames: Vec<(Vec<u8>, Offload)> = batch
            .frames()
            .filter(|(packet, _)| is(packet, 6))
            .map(|(packet, offload)| (packet.to_vec(), offload))
            .collect();
        for (mut packet, offload) in frames {
            if packet.len() > largest.0 {
                largest = (packet.len(), offload.segments.map(|segments| segments.kind));
            }
            turn_round(&mut packet);
            send(device, &packet, &[], offload).await;
        }
    }
}

#[test]
fn super_segments_pass_both_ways() {
    in_namespace("super_segments_pass_both_ways", || async {
        let mut device = device();
        let (largest, kind) = transfer(&mut device, 4 << 20).await;
        assert!(largest > 10_000, "{largest}");
        assert_eq!(kind, Some(SegmentKind::Tcp4));
    });
}

#[test]
fn without_offload_it_is_a_wire() {
    in_namespace("without_offload_it_is_a_wire", || async {
        let builder = Tun::builder("weir%d").mtu(1280).without_offload();
        let mut device = builder
            .address("10.7.0.2/24".parse().unwrap())
            .open()
            .unwrap();
        let capabilities = device.capabilities();
        assert!(!capabilities.checksum_offload && !capabilities.segmentation.tcp4);
        let (largest, kind) = transfer(&mut device, 1 << 20).await;
        assert_eq!((largest, kind), (1280, None));
    });
}

#[test]
fn every_queue_takes_its_share() {
    in_namespace("every_queue_takes_its_share", || async {
        let builder = Tun::builder("weir%d").address("10.7.0.2/24".parse().unwrap());
        let mut queues = builder.open_queues(2).unwrap();
        assert_eq!(queues.len(), 2);
        let names: Vec<&str> = queues.iter().map(Device::name).collect();
        assert_eq!(names, ["weir0", "weir0"]);
        // Flows enough that one queue alone cannot have drawn them all.
        for _ in 0..64 {
            let socket = UdpSocket::bind("10.7.0.2:0").unwrap();
            socket.send_to(b"x", "10.7.0.9:99").unwrap();
        }
        let mut batch = ReceiveBuf::new();
        let mut total = 0;
        for queue in &mut queues {
            let mut own = 0;
            while let Ok(()) = timeout(Duration::from_millis(200), receive(queue, &mut batch)).await
            {
                own += batch.frames().filter(|(packet, _)| is(packet, 17)).count();
            }
            assert!(own > 0, "a queue without a flow");
            total += own;
        }
        assert_eq!(total, 64);
    });
}

#[test]
fn a_tap_device_brings_ethernet_and_is_no_tun() {
    in_namespace("a_tap_device_brings_ethernet_and_is_no_tun", || async {
        let builder = Tun::builder("wtap%d").address("10.7.0.2/24".parse().unwrap());
        let mut tap = builder.open_tap().unwrap();
        assert_eq!(tap.capabilities().medium, Medium::Ethernet);
        let socket = UdpSocket::bind("10.7.0.2:0").unwrap();
        socket.send_to(b"x", "10.7.0.9:99").unwrap();
        let mut batch = ReceiveBuf::new();
        let arp = |packet: &[u8]| packet[12..14] == [0x08, 0x06];
        while !batch.frames().any(|(packet, _)| arp(packet)) {
            receive(&mut tap, &mut batch).await;
        }
        let queue = weir_os::tun::Tun::open(&weir_os::tun::TunOptions::default()).unwrap();
        let error = Tap::from_queue(queue, 1500).unwrap_err();
        assert!(error.to_string().contains("weir0"), "{error}");
    });
}
