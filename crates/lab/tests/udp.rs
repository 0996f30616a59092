//! What a lab does to datagrams.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod common;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use common::{Scene, is_empty};
use weir_lab::{DropReason, Lab, LabConfig, LabError, QueueLimit, Rebind, Schedule};

/// Numbered packets of 100 bytes with the form of QUIC's short header.
fn numbered(number: u8) -> Vec<u8> {
    let mut payload = vec![0x40; 100];
    payload[60] = number;
    payload
}

#[tokio::test]
async fn a_perfect_lab_passes_everything_unchanged_both_ways() {
    let scene = Scene::new(|_| {}).await;
    for size in [0, 1, 50, 1200, 1472, 9000, 65_507] {
        let payload: Vec<u8> = (0..size).map(|at: usize| at as u8).collect();
        scene.send(&payload).await;
        let (arrived, relay) = scene.at_server().await;
        assert_eq!(arrived, payload);
        scene.answer(relay, &payload).await;
        assert_eq!(scene.at_client().await, payload);
    }
    let stats = scene.lab.stop();
    assert_eq!(
        (stats.to_server.delivered, stats.to_client.delivered),
        (7, 7)
    );
    assert_eq!(stats.to_server.dropped().count(), 0);
    assert_eq!(stats.to_client.dropped().count(), 0);
    assert_eq!(stats.flows, 1);
}

#[tokio::test]
async fn each_client_has_a_flow_of_its_own() {
    let scene = Scene::new(|_| {}).await;
    let other = common::socket().await;
    scene.send(b"one").await;
    let (_, first) = scene.at_server().await;
    other.send_to(b"two", scene.lab.listening()).await.unwrap();
    let (_, second) = scene.at_server().await;
    assert_ne!(first, second);
    scene.answer(second, b"for two").await;
    assert_eq!(common::receive(&other).await.0, b"for two");
    scene.answer(first, b"for one").await;
    assert_eq!(scene.at_client().await, b"for one");
    assert_eq!(scene.lab.stats().flows, 2);
}

#[tokio::test]
async fn certain_loss_passes_nothing() {
    let scene = Scene::new(|config| config.to_server.loss = 1.0).await;
    for number in 0..50 {
        scene.send(&numbered(number)).await;
    }
    scene.until_offered(50).await;
    assert!(is_empty(&scene.server));
    let stats = scene.lab.stats().to_server;
    assert_eq!(stats.link.dropped_by(DropReason::Loss), 50);
    assert_eq!(stats.delivered, 0);
}

#[tokio::test]
async fn a_run_of_losses_has_a_limit() {
    let scene = Scene::new(|config| {
        config.to_server.loss = 1.0;
        config.to_server.run_limit = Some(3);
    })
    .await;
    for number in 1..=12 {
        scene.send(&numbered(number)).await;
    }
    for expected in [4, 8, 12] {
        assert_eq!(scene.at_server().await.0[60], expected);
    }
    assert!(is_empty(&scene.server));
}

#[tokio::test]
async fn the_drop_lists_drop_exactly_the_named_packets_of_each_direction() {
    let scene = Scene::new(|config| {
        config.to_server.drop_numbers = vec![2, 3, 4, 5, 6, 7];
        config.to_client.drop_numbers = vec![1, 3];
    })
    .await;
    for number in 1..=9 {
        scene.send(&numbered(number)).await;
    }
    let mut relay = None;
    for expected in [1, 8, 9] {
        let (payload, from) = scene.at_server().await;
        assert_eq!(payload, numbered(expected));
        relay = Some(from);
    }
    for number in 1..=4 {
        scene.answer(relay.unwrap(), &numbered(number)).await;
    }
    assert_eq!(scene.at_client().await, numbered(2));
    assert_eq!(scene.at_client().await, numbered(4));
    let stats = scene.lab.stats();
    assert_eq!(stats.to_server.link.dropped_by(DropReason::Numbered), 6);
    assert_eq!(stats.to_client.link.dropped_by(DropReason::Numbered), 2);
}

#[tokio::test]
async fn datagrams_sent_as_one_run_count_one_by_one() {
    let scene = Scene::new(|config| config.to_server.drop_numbers = vec![2]).await;
    let state = quinn_udp::UdpSocketState::new((&scene.client).into()).unwrap();
    let run: Vec<u8> = (1..=4).flat_map(numbered).collect();
    let transmit = quinn_udp::Transmit {
        destination: scene.lab.listening(),
        ecn: None,
        contents: &run,
        segment_size: (state.max_gso_segments() >= 4).then_some(100),
        src_ip: None,
    };
    if transmit.segment_size.is_none() {
        return; // No segmentation offload on this system: nothing to show.
    }
    state.try_send((&scene.client).into(), &transmit).unwrap();
    for expected in [1, 3, 4] {
        assert_eq!(scene.at_server().await.0, numbered(expected));
    }
    assert_eq!(scene.lab.stats().to_server.link.offered, 4);
}

#[tokio::test]
async fn corruption_changes_one_byte_of_the_first_fifty_one() {
    let scene = Scene::new(|config| config.to_server.corrupt = 1.0).await;
    let original = [0x40; 1200];
    let mut offsets = BTreeSet::new();
    for _ in 0..300 {
        scene.send(&original).await;
        let (payload, _) = scene.at_server().await;
        assert_eq!(payload.len(), original.len());
        let changed: Vec<usize> = (0..payload.len())
            .filter(|&at| payload[at] != original[at])
            .collect();
        assert_eq!(changed.len(), 1);
        offsets.extend(changed);
    }
    assert!(offsets.iter().all(|&offset| offset <= 50), "{offsets:?}");
    assert!(offsets.len() > 40, "they spread: {offsets:?}");
    assert_eq!(scene.lab.stats().to_server.link.corrupted, 300);
}

#[tokio::test]
async fn version_negotiation_is_never_corrupted() {
    let scene = Scene::new(|config| config.to_client.corrupt = 1.0).await;
    scene.send(b"begin").await;
    let (_, relay) = scene.at_server().await;
    // RFC 9000 section 17.2.1: the form bit, version zero, two connection IDs, versions.
    let mut negotiation = vec![0xca, 0, 0, 0, 0, 1, 7, 1, 8];
    negotiation.extend([0x1a, 0x2a, 0x3a, 0x4a, 0, 0, 0, 1]);
    for _ in 0..50 {
        scene.answer(relay, &negotiation).await;
        assert_eq!(scene.at_client().await, negotiation);
    }
    scene.answer(relay, &numbered(1)).await;
    assert_ne!(scene.at_client().await, numbered(1));
    assert_eq!(scene.lab.stats().to_client.link.corrupted, 1);
}

#[tokio::test]
async fn greater_packets_than_the_mtu_vanish() {
    let scene = Scene::new(|config| config.to_server.mtu = 1300).await;
    // 28 bytes are the headers of IPv4 and UDP.
    scene.send(&[1; 1273]).await;
    scene.send(&[2; 1272]).await;
    assert_eq!(scene.at_server().await.0, [2; 1272]);
    let stats = scene.lab.stats().to_server;
    assert_eq!(stats.link.dropped_by(DropReason::Mtu), 1);
    // Nobody is told: the client's next call works as ever.
    scene.send(&[3; 10]).await;
    assert_eq!(scene.at_server().await.0, [3; 10]);
}

#[tokio::test]
async fn rebinding_changes_the_port_and_answers_still_arrive() {
    let scene = Scene::new(|_| {}).await;
    scene.send(b"before").await;
    let (_, old) = scene.at_server().await;
    scene.lab.rebind(false);
    // What is sent to the old binding is lost.
    scene.answer(old, b"too late").await;
    scene.send(b"after").await;
    let (payload, new) = scene.at_server().await;
    assert_eq!(payload, b"after");
    assert_ne!(old.port(), new.port());
    assert_eq!(old.ip(), new.ip());
    scene.answer(new, b"answer").await;
    assert_eq!(scene.at_client().await, b"answer");
    let stats = scene.lab.stats();
    assert_eq!((stats.rebindings, stats.rebound_flows), (1, 1));
}

#[tokio::test]
async fn rebinding_can_change_the_address_too() {
    let scene = Scene::new(|_| {}).await;
    scene.send(b"before").await;
    let (_, old) = scene.at_server().await;
    scene.lab.rebind(true);
    scene.send(b"after").await;
    let (_, new) = scene.at_server().await;
    assert_ne!(old.ip(), new.ip());
    assert!(
        matches!(new.ip(), IpAddr::V4(ip) if ip.is_loopback()),
        "{new}"
    );
    scene.answer(new, b"answer").await;
    assert_eq!(scene.at_client().await, b"answer");
}

#[tokio::test]
async fn rebinding_comes_by_itself_when_it_is_time() {
    let rebind = Rebind {
        first: Duration::from_millis(20),
        every: Some(Duration::from_millis(30)),
        address: false,
    };
    let scene = Scene::new(|config| config.rebind = Some(rebind)).await;
    let mut ports = BTreeSet::new();
    let begun = Instant::now();
    while ports.len() < 4 {
        scene.send(b"x").await;
        ports.insert(scene.at_server().await.1.port());
        assert!(begun.elapsed() < common::LIMIT, "{ports:?}");
    }
    // The first packet's port, and three rebindings after it: 20, 50 and 80 ms.
    assert!(begun.elapsed() >= Duration::from_millis(80));
    assert!(scene.lab.stats().rebindings >= 3);
}

#[tokio::test]
async fn a_packet_is_never_earlier_than_asked() {
    let delay = Duration::from_millis(30);
    let scene = Scene::new(|config| {
        config.to_server.delay = delay;
        config.to_client.delay = delay;
    })
    .await;
    for _ in 0..5 {
        let sent = Instant::now();
        scene.send(b"ping").await;
        let (_, relay) = scene.at_server().await;
        assert!(sent.elapsed() >= delay, "{:?}", sent.elapsed());
        scene.answer(relay, b"pong").await;
        scene.at_client().await;
        assert!(sent.elapsed() >= 2 * delay, "{:?}", sent.elapsed());
    }
}

#[tokio::test]
async fn a_rate_spreads_packets_and_a_full_queue_drops_them() {
    let scene = Scene::new(|config| {
        // A packet of 128 bytes takes 10.24 ms.
        config.to_server.rate = Some(100_000);
        config.to_server.queue = QueueLimit {
            packets: 5,
            bytes: usize::MAX,
        };
    })
    .await;
    let begun = Instant::now();
    let dropped = || {
        let link = scene.lab.stats().to_server.link;
        link.dropped_by(DropReason::Queue)
    };
    // However slowly they are sent, more than go out come in at some time.
    let mut sent = 0;
    while sent < 20 || dropped() == 0 {
        scene.send(&numbered(7)).await;
        sent += 1;
        scene.until_offered(sent).await;
        assert!(begun.elapsed() < common::LIMIT, "{sent} sent");
    }
    let forwarded = scene.lab.stats().to_server.link.forwarded;
    for _ in 0..forwarded {
        scene.at_server().await;
    }
    // One in transmission, five in the queue, and one more for each that left while others came.
    assert!(forwarded >= 6, "{forwarded}");
    let least = Duration::from_micros(10_240) * u32::try_from(forwarded).unwrap();
    assert!(
        begun.elapsed() >= least,
        "{forwarded}: {:?}",
        begun.elapsed()
    );
    assert_eq!(dropped(), sent - forwarded);
}

#[tokio::test]
async fn duplicates_and_late_packets_arrive() {
    let scene = Scene::new(|config| {
        config.to_server.duplicate = 1.0;
        config.to_client.reorder = 0.5;
        config.to_client.reorder_by = Duration::from_millis(20);
        config.seed = 7;
    })
    .await;
    scene.send(b"twice").await;
    let (first, relay) = scene.at_server().await;
    let (second, _) = scene.at_server().await;
    assert_eq!((&first[..], &second[..]), (&b"twice"[..], &b"twice"[..]));
    for number in 0..40 {
        scene.answer(relay, &numbered(number)).await;
    }
    let mut order = Vec::new();
    for _ in 0..40 {
        order.push(scene.at_client().await[60]);
    }
    assert!(!order.is_sorted(), "{order:?}");
    order.sort_unstable();
    assert_eq!(order, (0..40).collect::<Vec<u8>>());
    let stats = scene.lab.stats();
    assert_eq!(stats.to_server.link.duplicated, 1);
    assert!(stats.to_client.link.reordered > 5);
}

#[tokio::test]
async fn an_outage_swallows_both_directions_and_ends() {
    let scene = Scene::new(|config| {
        let outage = Schedule::once(weir_core::time::Instant::ZERO, Duration::from_secs(3600));
        config.to_server.outages = outage;
    })
    .await;
    scene.send(b"lost").await;
    scene.until_offered(1).await;
    let perfect = weir_lab::LinkConfig::default();
    scene.lab.reconfigure(perfect.clone(), perfect).unwrap();
    scene.send(b"through").await;
    let (payload, relay) = scene.at_server().await;
    assert_eq!(payload, b"through");
    scene.lab.set_udp(false);
    scene.answer(relay, b"lost").await;
    scene.send(b"lost").await;
    scene.until_offered(3).await;
    scene.lab.set_udp(true);
    scene.send(b"again").await;
    assert_eq!(scene.at_server().await.0, b"again");
    let stats = scene.lab.stats();
    assert_eq!(stats.to_server.link.dropped_by(DropReason::Outage), 2);
}

#[tokio::test]
async fn one_seed_loses_the_same_packets() {
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let scene = Scene::new(|config| {
            config.seed = seed;
            config.to_server.loss = 0.5;
        })
        .await;
        let mut arrived = Vec::new();
        for number in 1..=60 {
            scene.send(&numbered(number)).await;
            scene.until_offered(number.into()).await;
        }
        for _ in 0..scene.lab.stats().to_server.link.forwarded {
            arrived.push(scene.at_server().await.0[60]);
        }
        runs.push(arrived);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

#[tokio::test]
async fn an_idle_flow_ends_and_a_new_one_begins() {
    let scene = Scene::new(|config| config.idle = Duration::from_millis(40)).await;
    scene.send(b"one").await;
    scene.at_server().await;
    let begun = Instant::now();
    while scene.lab.stats().flows < 2 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        scene.send(b"two").await;
        scene.at_server().await;
        assert!(begun.elapsed() < common::LIMIT, "the flow does not end");
    }
}

#[tokio::test]
async fn strangers_do_not_reach_a_client_through_a_relay() {
    let scene = Scene::new(|_| {}).await;
    scene.send(b"begin").await;
    let (_, relay) = scene.at_server().await;
    let stranger = common::socket().await;
    stranger.send_to(b"forged", relay).await.unwrap();
    scene.answer(relay, b"true").await;
    assert_eq!(scene.at_client().await, b"true");
    assert_eq!(scene.lab.stats().to_client.link.offered, 1);
}

#[tokio::test]
async fn ecn_marks_pass_both_ways() {
    use quinn_udp::EcnCodepoint::{Ce, Ect0, Ect1};
    let scene = Scene::new(|_| {}).await;
    let client = quinn_udp::UdpSocketState::new((&scene.client).into()).unwrap();
    let server = quinn_udp::UdpSocketState::new((&scene.server).into()).unwrap();
    for mark in [Some(Ect0), Some(Ect1), Some(Ce), None] {
        send_marked(&scene.client, &client, scene.lab.listening(), mark);
        let (read, relay) = receive_marked(&scene.server, &server).await;
        assert_eq!(read, mark, "to the server");
        send_marked(&scene.server, &server, relay, mark);
        let (read, _) = receive_marked(&scene.client, &client).await;
        assert_eq!(read, mark, "to the client");
    }
}

#[tokio::test]
async fn ecn_marks_of_a_run_that_the_system_keeps_together_pass() {
    use quinn_udp::EcnCodepoint::Ect0;
    let scene = Scene::new(|_| {}).await;
    let client = quinn_udp::UdpSocketState::new((&scene.client).into()).unwrap();
    let server = quinn_udp::UdpSocketState::new((&scene.server).into()).unwrap();
    let run = quinn_udp::Transmit {
        destination: scene.lab.listening(),
        ecn: Some(Ect0),
        contents: b"markedmarked",
        segment_size: (client.max_gso_segments() > 1).then_some(6),
        src_ip: None,
    };
    client.try_send((&scene.client).into(), &run).unwrap();
    let (read, _) = receive_marked(&scene.server, &server).await;
    assert_eq!(read, Some(Ect0));
}

fn send_marked(
    socket: &tokio::net::UdpSocket,
    state: &quinn_udp::UdpSocketState,
    destination: SocketAddr,
    ecn: Option<quinn_udp::EcnCodepoint>,
) {
    let transmit = quinn_udp::Transmit {
        destination,
        ecn,
        contents: b"marked",
        segment_size: None,
        src_ip: None,
    };
    state.try_send(socket.into(), &transmit).unwrap();
}

async fn receive_marked(
    socket: &tokio::net::UdpSocket,
    state: &quinn_udp::UdpSocketState,
) -> (Option<quinn_udp::EcnCodepoint>, SocketAddr) {
    let mut buffer = vec![0; 2048];
    let mut metas = [quinn_udp::RecvMeta::default()];
    loop {
        socket.readable().await.unwrap();
        let mut slices = [std::io::IoSliceMut::new(&mut buffer)];
        let read = socket.try_io(tokio::io::Interest::READABLE, || {
            state.recv(socket.into(), &mut slices, &mut metas)
        });
        if read.is_ok() {
            return (metas[0].ecn, metas[0].addr);
        }
    }
}

#[tokio::test]
async fn what_cannot_be_is_said() {
    let to: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let mut config = LabConfig::new(to);
    config.to_client.loss = 1.5;
    let error = Lab::start(config).await.unwrap_err().to_string();
    assert!(error.contains("to client: loss is 1.5"), "{error}");

    let mut config = LabConfig::new("192.0.2.1:9".parse().unwrap());
    let mut rebind = Rebind::every(Duration::from_secs(1));
    rebind.address = true;
    config.rebind = Some(rebind);
    let error = Lab::start(config).await.unwrap_err();
    assert!(matches!(error, LabError::RebindAddress(_)), "{error}");

    let mut config = LabConfig::new(to);
    config.rebind = Some(Rebind::every(Duration::ZERO));
    let error = Lab::start(config).await.unwrap_err();
    assert!(matches!(error, LabError::RebindPeriod), "{error}");

    let mut config = LabConfig::new(to);
    config.listen = "192.0.2.1:0".parse().unwrap();
    let error = Lab::start(config).await.unwrap_err().to_string();
    assert!(error.contains("192.0.2.1:0"), "{error}");
}

#[tokio::test]
async fn both_sides_are_recorded_as_they_were() {
    let dir = std::env::temp_dir().join(format!("weir-lab-pcap-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (near, far) = (dir.join("client.pcapng"), dir.join("server.pcapng"));
    let scene = Scene::new(|config| {
        config.to_server.drop_numbers = vec![2];
        config.to_client.drop_numbers = vec![1];
        config.pcap_client = Some(near.clone());
        config.pcap_server = Some(far.clone());
    })
    .await;
    scene.send(b"question one").await;
    let (_, relay) = scene.at_server().await;
    scene.send(b"question two").await;
    scene.answer(relay, b"answer one").await;
    scene.answer(relay, b"answer two").await;
    assert_eq!(scene.at_client().await, b"answer two");
    scene.until_offered(2).await;
    assert_eq!(scene.lab.stop().unrecorded, 0);
    let has = |file: &std::path::Path, text: &[u8]| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(text.len()).any(|window| window == text)
    };
    // A packet that is lost is seen before the loss and not behind it.
    assert!(has(&near, b"question one") && has(&near, b"question two"));
    assert!(has(&far, b"question one") && !has(&far, b"question two"));
    assert!(!has(&near, b"answer one") && has(&near, b"answer two"));
    assert!(has(&far, b"answer one") && has(&far, b"answer two"));
    // The addresses of each side are its own.
    let port = relay.port().to_be_bytes();
    let question = [
        &port[..],
        &scene.server.local_addr().unwrap().port().to_be_bytes(),
    ]
    .concat();
    assert!(has(&far, &question) && !has(&near, &question));
    std::fs::remove_dir_all(&dir).unwrap();

    let mut config = LabConfig::new("127.0.0.1:9".parse().unwrap());
    config.pcap_client = Some(dir.join("gone").join("file"));
    let error = Lab::start(config).await.unwrap_err().to_string();
    assert!(error.contains("cannot record into"), "{error}");
}
