//! The stack against the Linux kernel's over TAP, in network namespaces that the tests make: ARP,
//! neighbour discovery, echo and fragments, as the kernel has them.

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

use std::process::Command;
use std::time::Duration;

use tcpip_common::pattern;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net;
use weir::tcpip::{Interface, Stack, TcpListener, TcpStream, Tun};

fn in_namespace<F: Future<Output = ()>>(test: &str, body: impl FnOnce() -> F) {
    if Command::new("ping").arg("-V").output().is_err() {
        println!("not tried: there is no `ping` here (iputils-ping)");
        return;
    }
    inside::in_namespace(test, tcpip_common::LIMIT, body);
}

/// A stack that is 10.7.0.1 and fd07::1 on an Ethernet with the kernel's 10.7.0.2 and fd07::2.
async fn neighbours() -> Stack {
    let tap = Tun::builder("weir%d")
        .address("10.7.0.2/24".parse().unwrap())
        .address("fd07::2/64".parse().unwrap())
        .open_tap()
        .unwrap();
    let interface = Interface::new()
        .address("10.7.0.1/24".parse().unwrap())
        .address("fd07::1/64".parse().unwrap());
    let stack = Stack::builder().device(tap, interface).start().unwrap();
    // Both look for duplicates first.
    for address in ["10.7.0.1:0", "[fd07::1]:0"] {
        until_ours(&stack, address).await;
    }
    until_the_kernels("[fd07::2]:0").await;
    stack
}

/// Waits until the stack may use an address.
async fn until_ours(stack: &Stack, address: &str) {
    while TcpListener::bind(stack, address.parse().unwrap()).is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the kernel may use an address.
async fn until_the_kernels(address: &str) {
    while net::TcpListener::bind(address).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs a program to its end without holding up the stack, and returns what it said.
async fn run(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{program} {args:?}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

// T143, T144, T147, T138, T140
#[test]
fn echoes_of_every_size_come_back() {
    in_namespace("echoes_of_every_size_come_back", || async {
        let _stack = neighbours().await;
        for address in ["10.7.0.1", "fd07::1"] {
            for size in ["0", "56", "1472", "1473", "8000", "60000"] {
                let said = run(
                    "ping",
                    &["-c", "3", "-i", "0.1", "-W", "60", "-s", size, address],
                )
                .await;
                assert!(said.contains(" 0% packet loss"), "{size}: {said}");
            }
        }
    });
}

// T143, T144
#[test]
fn connections_both_ways_find_their_neighbour() {
    in_namespace("connections_both_ways_find_their_neighbour", || async {
        let stack = neighbours().await;
        let data = pattern(3_000_000);
        for (kernel, ours) in [("10.7.0.2", "10.7.0.1"), ("[fd07::2]", "[fd07::1]")] {
            let listener = net::TcpListener::bind(format!("{kernel}:0")).await.unwrap();
            let remote = listener.local_addr().unwrap();
            let (client, server) =
                tokio::join!(TcpStream::connect(&stack, remote), listener.accept());
            let (mut client, mut server) = (client.unwrap(), server.unwrap().0);
            let sent = data.clone();
            let send = async {
                client.write_all(&sent).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(send, server.read_to_end(&mut got));
            read.unwrap();
            assert!(got == data);

            let listener = TcpListener::bind(&stack, format!("{ours}:0").parse().unwrap()).unwrap();
            let remote = listener.local_addr().unwrap();
            let (client, server) = tokio::join!(net::TcpStream::connect(remote), listener.accept());
            let (mut client, mut server) = (client.unwrap(), server.unwrap().0);
            let send = async {
                client.write_all(&sent).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let mut got = Vec::new();
            let (_, read) = tokio::join!(send, server.read_to_end(&mut got));
            read.unwrap();
            assert!(got == data);
        }
    });
}

// T145: the kernel has the address already; we do without.
#[test]
fn an_address_of_the_kernels_is_not_used() {
    in_namespace("an_address_of_the_kernels_is_not_used", || async {
        let tap = Tun::builder("weir%d")
            .address("fd07::2/64".parse().unwrap())
            .open_tap()
            .unwrap();
        until_the_kernels("[fd07::2]:0").await;
        let interface = Interface::new()
            .address("fd07::2/64".parse().unwrap())
            .address("fd07::1/64".parse().unwrap());
        let stack = Stack::builder().device(tap, interface).start().unwrap();
        until_ours(&stack, "[fd07::1]:0").await;
        // Time enough to make sure of the other one, were it free.
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(TcpListener::bind(&stack, "[fd07::2]:80".parse().unwrap()).is_err());
        let said = run("ping", &["-c", "1", "-W", "60", "fd07::1"]).await;
        assert!(said.contains(" 0% packet loss"), "{said}");
    });
}
