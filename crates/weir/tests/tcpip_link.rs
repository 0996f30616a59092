//! What the link says reaches the application in the words of the kernel's sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panic")]

use std::io;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use weir::tcpip::{Capabilities, Interface, Medium, Memory, Stack, TcpStream, UdpSocket};

// T143: three ARP requests a second apart, and no wait for the SYN time-out.
#[tokio::test]
async fn a_dead_host_is_unreachable_after_three_seconds() {
    // The other end of the cable is held, and nobody looks at it.
    let (ours, _theirs) = Memory::pair(Capabilities::plain(Medium::Ethernet, 1500));
    let interface = Interface::new().address("10.7.0.1/24".parse().unwrap());
    let stack = Stack::builder().device(ours, interface).start().unwrap();
    let socket = UdpSocket::bind(&stack, "10.7.0.1:0".parse().unwrap()).unwrap();
    socket.connect("10.7.0.8:53".parse().unwrap()).unwrap();
    socket.send(b"anybody?").await.unwrap();
    let begun = Instant::now();
    let limit = Duration::from_secs(30);
    let dialed = TcpStream::connect(&stack, "10.7.0.7:80".parse().unwrap());
    let error = timeout(limit, dialed).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
    assert!(begun.elapsed() >= Duration::from_millis(2_500));
    let received = timeout(limit, socket.recv(&mut [0; 16])).await;
    let error = received.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::HostUnreachable);
}
