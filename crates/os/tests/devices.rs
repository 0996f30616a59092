//! TUN and TAP devices, interfaces, addresses and routes, in namespaces that the tests make.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weir_os::Cidr;
use weir_os::kept::KeptRoutes;
use weir_os::namespace::{Identity, Plan, exit_code, prepare};
use weir_os::netlink::{Netlink, RouteSpec};
use weir_os::tun::{Layer, MAX_PACKET, Offloads, Tun, TunOptions, VNET_HEADER_LEN, support};

const INSIDE: &str = "WEIR_TEST_INSIDE";

/// Runs `body` as root of a network of its own: starts this program again for the one test, in there.
fn in_namespace(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    if let Err(error) = support() {
        return println!("not tried: {error}");
    }
    let mut plan = Plan::new("env");
    let program = std::env::current_exe().unwrap();
    plan.arguments = vec![format!("{INSIDE}=1").into(), program.into()];
    plan.arguments
        .extend(["--exact", test, "--nocapture"].map(Into::into));
    plan.helper = PathBuf::from(env!("CARGO_BIN_EXE_weir-os-namespace"));
    plan.identity = Identity::Root;
    match prepare(&plan) {
        Ok(prepared) => {
            let mut running = prepared.start().unwrap();
            assert_eq!(exit_code(running.wait().unwrap()), 0);
        }
        Err(error) if error.advice().is_some() => println!("not tried: {error}"),
        Err(error) => panic!("{error}"),
    }
}

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn options(name: &str) -> TunOptions {
    TunOptions {
        name: name.to_owned(),
        ..TunOptions::default()
    }
}

/// Up, with `10.7.0.2/24`.
fn up(tun: &Tun) -> u32 {
    let mut netlink = Netlink::open().unwrap();
    let index = netlink.link(tun.name()).unwrap().index;
    netlink.add_address(index, cidr("10.7.0.2/24")).unwrap();
    netlink.set_up(index, true).unwrap();
    index
}

struct Packet {
    header: [u8; VNET_HEADER_LEN],
    bytes: Vec<u8>,
}

/// What has not come by then hangs: far more than a machine needs that stands still for seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// The next packet of which `wanted` is true.
fn next(tun: &Tun, wanted: impl Fn(&[u8]) -> bool) -> Packet {
    let (mut header, mut buffer) = ([0; VNET_HEADER_LEN], vec![0; MAX_PACKET]);
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        match tun.recv(&mut header, &mut buffer) {
            Ok(len) if wanted(&buffer[..len]) => {
                let bytes = buffer[..len].to_vec();
                return Packet { header, bytes };
            }
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                let mut fds = [PollFd::new(tun.as_fd(), PollFlags::POLLIN)];
                poll(&mut fds, PollTimeout::from(50u16)).unwrap();
            }
        }
    }
    panic!("no packet came");
}

fn is_udp(packet: &[u8]) -> bool {
    packet[0] >> 4 == 4 && packet[9] == 17
}

fn say_hello() {
    let socket = UdpSocket::bind("10.7.0.2:0").unwrap();
    socket.send_to(b"hello", "10.7.0.9:99").unwrap();
}

#[test]
fn interfaces_are_found_and_changed() {
    in_namespace("interfaces_are_found_and_changed", || {
        let tun = Tun::open(&options("weir%d")).unwrap();
        assert_eq!(tun.name(), "weir0");
        let mut netlink = Netlink::open().unwrap();
        let link = netlink.link("weir0").unwrap();
        assert_eq!((link.mtu, link.up), (1500, false));
        netlink.set_mtu(link.index, 9000).unwrap();
        netlink.set_up(link.index, true).unwrap();
        let link = netlink.link("weir0").unwrap();
        assert_eq!((link.mtu, link.up), (9000, true));
        let names: Vec<String> = netlink
            .links()
            .unwrap()
            .into_iter()
            .map(|l| l.name)
            .collect();
        assert!(names.contains(&"lo".to_owned()), "{names:?}");
        netlink.set_up(link.index, false).unwrap();
        assert!(!netlink.link("weir0").unwrap().up);
        netlink.delete_link(link.index).unwrap();
        let error = netlink.link("weir0").unwrap_err();
        assert!(
            error.to_string().contains("find the interface `weir0`"),
            "{error}"
        );
        let error = netlink.set_mtu(link.index, 1400).unwrap_err();
        assert!(
            error.advice().unwrap().contains("no such interface"),
            "{error}"
        );
    });
}

#[test]
fn addresses_come_and_go() {
    in_namespace("addresses_come_and_go", || {
        let tun = Tun::open(&options("weir0")).unwrap();
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.link(tun.name()).unwrap().index;
        for text in ["10.7.0.2/24", "fd77::2/64"] {
            let address = cidr(text);
            netlink.add_address(index, address).unwrap();
            let error = netlink.add_address(index, address).unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
            assert_eq!(error.io().kind(), ErrorKind::AlreadyExists);
            let has = |netlink: &mut Netlink| {
                let all = netlink.addresses().unwrap();
                all.iter().any(|a| a.index == index && a.address == address)
            };
            assert!(has(&mut netlink));
            netlink.delete_address(index, address).unwrap();
            assert!(!has(&mut netlink));
            let error = netlink.delete_address(index, address).unwrap_err();
            assert!(error.advice().unwrap().contains("not there"), "{error}");
        }
    });
}

#[test]
fn routes_come_and_go_and_lead_where_they_say() {
    in_namespace("routes_come_and_go_and_lead_where_they_say", || {
        let tun = Tun::open(&options("weir0")).unwrap();
        let index = up(&tun);
        let mut netlink = Netlink::open().unwrap();
        netlink.add_address(index, cidr("fd77::2/64")).unwrap();
        let direct = |to: &str| RouteSpec {
            to: cidr(to),
            via: None,
            interface: Some(index),
            metric: None,
        };
        let routes = [
            direct("192.0.2.0/24"),
            direct("0.0.0.0/0"),
            direct("2001:db8::/32"),
            RouteSpec {
                via: Some("10.7.0.1".parse().unwrap()),
                metric: Some(77),
                ..direct("198.51.100.7/32")
            },
        ];
        for route in &routes {
            netlink.add_route(route).unwrap();
            let listed = netlink.routes().unwrap();
            let found = listed.iter().find(|r| r.to == route.to).unwrap();
            assert_eq!((found.via, found.interface), (route.via, Some(index)));
            assert!(netlink.add_route(route).is_err(), "{route} twice");
        }
        let way = netlink.way_to("198.51.100.7".parse().unwrap()).unwrap();
        assert_eq!((way.interface, way.via), (index, routes[3].via));
        assert_eq!(way.source, Some("10.7.0.2".parse().unwrap()));
        let way = netlink.way_to("2001:db8::9".parse().unwrap()).unwrap();
        assert_eq!((way.interface, way.via), (index, None));
        for route in &routes {
            netlink.delete_route(route).unwrap();
            assert!(
                netlink.routes().unwrap().iter().all(|r| r.to != route.to),
                "{route}"
            );
        }
        let error = netlink.way_to("203.0.113.1".parse().unwrap()).unwrap_err();
        assert_eq!(error.io().kind(), ErrorKind::NetworkUnreachable);
        let lost = RouteSpec {
            via: Some("172.16.0.1".parse().unwrap()),
            ..direct("203.0.113.0/24")
        };
        let error = netlink.add_route(&lost).unwrap_err();
        assert!(
            error.to_string().contains("203.0.113.0/24 via 172.16.0.1"),
            "{error}"
        );
    });
}

#[test]
fn routes_are_taken_back_even_after_a_crash() {
    in_namespace("routes_are_taken_back_even_after_a_crash", || {
        let tun = Tun::open(&options("weir0")).unwrap();
        let index = up(&tun);
        let directory = std::env::temp_dir().join(format!("weir-kept-{}", std::process::id()));
        let mut netlink = Netlink::open().unwrap();
        let route = |to: &str| RouteSpec {
            to: cidr(to),
            via: None,
            interface: Some(index),
            metric: None,
        };
        let mut is_there = |to: &str| {
            let routes = netlink.routes().unwrap();
            routes.iter().any(|route| route.to == cidr(to))
        };
        // At the end of who set them.
        let (mut kept, left) = KeptRoutes::open(&directory).unwrap();
        assert!(left.is_empty());
        kept.add(route("192.0.2.0/24")).unwrap();
        assert!(is_there("192.0.2.0/24"));
        let error = kept.add(route("192.0.2.0/24")).unwrap_err();
        assert_eq!(error.io().kind(), ErrorKind::AlreadyExists);
        assert_eq!(kept.routes(), [route("192.0.2.0/24")]);
        // Another one that starts leaves alone what belongs to a process that runs.
        assert!(KeptRoutes::open(&directory).is_ok());
        assert!(is_there("192.0.2.0/24"));
        drop(kept);
        assert!(!is_there("192.0.2.0/24"));
        // Of a process that is no more: killed, it never came to its end.
        let (mut kept, _) = KeptRoutes::open(&directory).unwrap();
        kept.add(route("198.51.100.0/24")).unwrap();
        std::mem::forget(kept);
        let mut files = std::fs::read_dir(&directory).unwrap();
        let own = files.next().unwrap().unwrap().path();
        let name = own.file_name().unwrap().to_str().unwrap();
        let (of_namespace, pid) = name.rsplit_once('-').unwrap();
        assert_eq!(pid, std::process::id().to_string());
        // No process has a number as large.
        let dead = directory.join(format!("{of_namespace}-4194305"));
        std::fs::rename(&own, &dead).unwrap();
        // What belongs to another namespace is left alone.
        let elsewhere = directory.join("routes-1-4194305");
        std::fs::copy(&dead, &elsewhere).unwrap();
        assert!(is_there("198.51.100.0/24"));
        let (_kept, left) = KeptRoutes::open(&directory).unwrap();
        assert_eq!(left, [route("198.51.100.0/24")]);
        assert!(!is_there("198.51.100.0/24"));
        assert!(!dead.exists() && elsewhere.exists());
        std::fs::remove_dir_all(&directory).unwrap();
    });
}

/// Has the kernel's TCP send 1 MiB over the device to a listener at its own end, by way of a packet
/// turned round: whatever goes to 10.7.0.9 comes back as if from there. The length of the largest.
fn largest_of_a_transfer(tun: &Tun) -> usize {
    const BYTES: usize = 1 << 20;
    let listener = TcpListener::bind("10.7.0.2:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sender = std::thread::spawn(move || {
        let mut stream = std::net::TcpStream::connect(("10.7.0.9", port)).unwrap();
        stream.write_all(&[7; BYTES]).unwrap();
    });
    let receiver = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        assert!(all.len() == BYTES && all.iter().all(|b| *b == 7));
    });
    let (mut header, mut buffer) = ([0; VNET_HEADER_LEN], vec![0; MAX_PACKET]);
    let start = Instant::now();
    let mut largest = 0;
    while !receiver.is_finished() && start.elapsed() < LIMIT {
        let Ok(len) = tun.recv(&mut header, &mut buffer) else {
            std::thread::sleep(Duration::from_micros(50));
            continue;
        };
        if buffer[0] >> 4 != 4 || buffer[9] != 6 {
            continue;
        }
        largest = largest.max(len);
        turn_round(&mut buffer[..len]);
        tun.send(&[IoSlice::new(&header), IoSlice::new(&buffer[..len])])
            .unwrap();
    }
    sender.join().unwrap();
    receiver.join().unwrap();
    largest
}

/// To 10.7.0.9 becomes from 10.7.0.9, and the other way round. Adding up to the same, the addresses
/// leave the checksums right: 10.7.0.2 -> 10.7.0.9 becomes 10.7.0.9 -> 10.7.0.2.
fn turn_round(packet: &mut [u8]) {
    for i in 0..4 {
        packet.swap(12 + i, 16 + i);
    }
}

#[test]
fn offloads_are_agreed_upon_and_taken_back() {
    in_namespace("offloads_are_agreed_upon_and_taken_back", || {
        assert!(support().unwrap().vnet_header);
        let mut tun = Tun::open(&options("weir0")).unwrap();
        up(&tun);
        assert!(largest_of_a_transfer(&tun) <= 1500);
        let got = tun.set_offloads(Offloads::ALL).unwrap();
        assert!(
            got.checksum && got.tso4 && got.tso6 && got.tso_ecn,
            "{got:?}"
        );
        assert_eq!(tun.offloads(), got);
        let largest = largest_of_a_transfer(&tun);
        assert!(largest > 3000, "no super-segment: {largest}");
        assert_eq!(tun.set_offloads(Offloads::NONE).unwrap(), Offloads::NONE);
        assert!(largest_of_a_transfer(&tun) <= 1500);
    });
}

#[test]
fn a_device_that_stays_is_left_without_offloads() {
    in_namespace("a_device_that_stays_is_left_without_offloads", || {
        let many = TunOptions {
            multi_queue: true,
            ..options("weir0")
        };
        let mut first = Tun::open(&many).unwrap();
        first.set_persistent(true).unwrap();
        up(&first);
        // As if of another program: it knows nothing of what the first one agrees upon.
        let witness = Tun::open(&many).unwrap();
        first.set_offloads(Offloads::ALL).unwrap();
        drop(first);
        say_hello();
        let packet = next(&witness, is_udp);
        assert_eq!(packet.header, [0; VNET_HEADER_LEN], "half a checksum");
        assert!(witness.is_persistent());
        drop(witness);
        let mut netlink = Netlink::open().unwrap();
        assert!(netlink.link("weir0").is_ok(), "it did not stay");
        let mut again = Tun::open(&many).unwrap();
        again.set_persistent(false).unwrap();
        drop(again);
        assert!(netlink.link("weir0").is_err(), "it stayed");
    });
}

#[test]
fn every_queue_is_the_same_device() {
    in_namespace("every_queue_is_the_same_device", || {
        let mut first = Tun::open(&TunOptions {
            multi_queue: true,
            ..options("weir0")
        })
        .unwrap();
        first.set_offloads(Offloads::ALL).unwrap();
        let second = first.queue().unwrap();
        assert_eq!(
            (second.name(), second.offloads()),
            ("weir0", first.offloads())
        );
        up(&first);
        drop(first);
        // What is left gets all.
        say_hello();
        let packet = next(&second, is_udp);
        assert_eq!(packet.header[0], 1, "offloads went with the first queue");

        let alone = Tun::open(&options("weir1")).unwrap();
        assert!(alone.queue().is_err());
    });
}

#[test]
fn without_headers_packets_are_bare() {
    in_namespace("without_headers_packets_are_bare", || {
        let mut tun = Tun::open(&TunOptions {
            vnet_header: false,
            ..options("weir0")
        })
        .unwrap();
        assert_eq!(tun.set_offloads(Offloads::ALL).unwrap(), Offloads::NONE);
        up(&tun);
        say_hello();
        let packet = next(&tun, is_udp);
        assert_eq!(packet.bytes[0], 0x45);
        assert_eq!(&packet.bytes[28..], b"hello");
        let mut back = packet.bytes;
        turn_round(&mut back);
        let socket = UdpSocket::bind("10.7.0.2:99").unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let (head, tail) = back.split_at(20);
        tun.send(&[IoSlice::new(head), IoSlice::new(tail)]).unwrap();
        let mut buffer = [0; 16];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..len], b"hello");
        assert_eq!(from.ip(), Ipv4Addr::new(10, 7, 0, 9));
    });
}

#[test]
fn a_tap_device_carries_ethernet() {
    in_namespace("a_tap_device_carries_ethernet", || {
        let tap = Tun::open(&TunOptions {
            layer: Layer::Ethernet,
            ..options("wtap0")
        })
        .unwrap();
        assert_eq!(tap.layer(), Layer::Ethernet);
        up(&tap);
        say_hello();
        // Nobody is known there yet: the kernel asks who has 10.7.0.9 (RFC 826).
        let arp = |packet: &[u8]| packet[12..14] == [0x08, 0x06];
        let packet = next(&tap, arp);
        assert_eq!(&packet.bytes[..6], &[0xff; 6]);
        assert_eq!(&packet.bytes[38..42], &[10, 7, 0, 9]);
    });
}

#[test]
fn what_cannot_be_opened_says_what_to_do() {
    in_namespace("what_cannot_be_opened_says_what_to_do", || {
        let _held = Tun::open(&options("weir0")).unwrap();
        let error = Tun::open(&options("weir0")).unwrap_err();
        assert!(error.to_string().contains("`weir0`"), "{error}");
        assert!(
            error.advice().unwrap().contains("another program"),
            "{error}"
        );
        let tap = TunOptions {
            layer: Layer::Ethernet,
            ..options("weir0")
        };
        let error = Tun::open(&tap).unwrap_err();
        assert!(error.advice().unwrap().contains("another kind"), "{error}");
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = Tun::adopt(file.into()).unwrap_err();
        assert!(error.advice().unwrap().contains("no TUN device"), "{error}");
    });
}

#[test]
fn names_that_cannot_be_are_refused_before_the_system_does() {
    for name in [
        "",
        "sixteen-letters-",
        "a b",
        "a/b",
        ".",
        "..",
        "a:b",
        "weir\u{e4}",
    ] {
        let error = Tun::open(&options(name)).unwrap_err();
        assert!(error.to_string().contains(&format!("`{name}`")), "{error}");
        assert!(error.advice().unwrap().contains("1 to 15"), "{error}");
    }
}

#[test]
fn without_the_right_to_it_the_error_names_the_right() {
    in_namespace("without_the_right_to_it_the_error_names_the_right", || {
        // A thread of its own gives up its capabilities by becoming nobody, where there is a nobody.
        let nobody = nix::unistd::Uid::from_raw(65_534);
        if nix::unistd::setuid(nobody).is_err() {
            println!("not tried: this namespace has one user only");
            return;
        }
        let error = Tun::open(&options("weir0")).unwrap_err();
        let advice = error.advice().unwrap();
        // Where only root may even open /dev/net/tun, that is what there is to say.
        let closed = error.doing().starts_with("open ");
        let named = if closed {
            "/dev/net/tun"
        } else {
            "CAP_NET_ADMIN"
        };
        assert!(advice.contains(named), "{error}");
        let mut netlink = Netlink::open().unwrap();
        let lo = netlink.link("lo").unwrap().index;
        let error = netlink.add_address(lo, cidr("10.9.9.9/32")).unwrap_err();
        assert!(error.advice().unwrap().contains("CAP_NET_ADMIN"), "{error}");
    });
}
