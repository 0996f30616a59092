//! The sockets that an endpoint listens on.

use std::io;
use std::net::SocketAddr;

use tokio::net::lookup_host;

use crate::net::{Net, TcpListener, no_address};
use crate::quic::Socket;
use crate::via::Via;

/// How often a port that the system chose for TCP is given back because UDP has it already.
const TRIES: usize = 16;

/// What listens.
pub(crate) struct Bound {
    pub(crate) tcp: Option<TcpListener>,
    pub(crate) udp: Option<Socket>,
    pub(crate) local: SocketAddr,
}

/// Binds what `via` needs, UDP and TCP at the same port number.
pub(crate) async fn both(net: &Net, address: &str, via: Via) -> io::Result<Bound> {
    let mut tries = TRIES;
    loop {
        tries -= 1;
        if via.over_tcp().is_none() {
            return udp_alone(net, address).await;
        }
        let tcp = net.listen(address).await?;
        let local = tcp.local_addr()?;
        if !via.uses_udp() {
            return Ok(Bound {
                tcp: Some(tcp),
                udp: None,
                local,
            });
        }
        match net.udp(local) {
            Ok(socket) => {
                return Ok(Bound {
                    tcp: Some(tcp),
                    udp: Some(socket),
                    local,
                });
            }
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && tries > 0
                    && chooses_port(address) => {}
            Err(error) => return Err(error),
        }
    }
}

async fn udp_alone(net: &Net, address: &str) -> io::Result<Bound> {
    let mut last = no_address();
    for address in lookup_host(address).await? {
        match net.udp(address) {
            Ok(socket) => {
                return Ok(Bound {
                    tcp: None,
                    local: socket.local(),
                    udp: Some(socket),
                });
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn chooses_port(address: &str) -> bool {
    address.ends_with(":0")
}

/// One UDP socket at the first address that `address` leads to.
pub(crate) async fn udp(net: &Net, address: &str) -> io::Result<Socket> {
    let bound = udp_alone(net, address).await?;
    bound
        .udp
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
