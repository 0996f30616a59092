//! Sockets on loopback around a lab.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::timeout;
use weir_lab::{Lab, LabConfig};

/// What has not come by then hangs: far more than a machine needs that stands still for seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// A client, a lab and a server.
pub(crate) struct Scene {
    pub(crate) client: UdpSocket,
    pub(crate) lab: Lab,
    pub(crate) server: UdpSocket,
}

impl Scene {
    /// With a lab as `change` makes it out of a perfect one.
    pub(crate) async fn new(change: impl FnOnce(&mut LabConfig)) -> Self {
        let server = socket().await;
        let mut config = LabConfig::new(server.local_addr().unwrap());
        change(&mut config);
        let lab = Lab::start(config).await.unwrap();
        let client = socket().await;
        Self {
            client,
            lab,
            server,
        }
    }

    pub(crate) async fn send(&self, payload: &[u8]) {
        let to = self.lab.listening();
        assert_eq!(
            self.client.send_to(payload, to).await.unwrap(),
            payload.len()
        );
    }

    pub(crate) async fn answer(&self, relay: SocketAddr, payload: &[u8]) {
        assert_eq!(
            self.server.send_to(payload, relay).await.unwrap(),
            payload.len()
        );
    }

    /// The next datagram at the server, and where it came from.
    pub(crate) async fn at_server(&self) -> (Vec<u8>, SocketAddr) {
        receive(&self.server).await
    }

    /// The next datagram at the client, which must come from the lab.
    pub(crate) async fn at_client(&self) -> Vec<u8> {
        let (payload, from) = receive(&self.client).await;
        assert_eq!(from, self.lab.listening());
        payload
    }

    /// Waits until the lab has seen so many packets to the server.
    pub(crate) async fn until_offered(&self, count: u64) {
        let seen = async {
            while self.lab.stats().to_server.link.offered < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LIMIT, seen).await.unwrap();
    }
}

pub(crate) async fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}

pub(crate) async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (length, from) = timeout(LIMIT, socket.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    buffer.truncate(length);
    (buffer, from)
}

/// Whether nothing waits at a socket.
pub(crate) fn is_empty(socket: &UdpSocket) -> bool {
    let nothing = socket.try_recv_from(&mut [0; 1]);
    nothing.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
