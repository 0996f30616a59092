//! Listening for the TCP connections that are to be forwarded.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};
use weir_os::socket::{ListenOptions, TcpOptions, listen, reset_on_close};

use super::dial::tcp_options;

/// The first pause after the system has refused a connection for want of something; doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Listens at an address. `[::]` becomes `0.0.0.0` on a machine without IPv6.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let open = |address| {
        let options = (ListenOptions::default(), TcpOptions::default());
        listen(address, &options.0, &options.1).map_err(io::Error::from)
    };
    let listener = match open(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() => {
            // The first error is the better one when both fail.
            open(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))).map_err(|_| error)?
        }
        result => result?,
    };
    TcpListener::from_std(listener)
}

/// Takes connections for ever and hands each on with a slot of `slots`, which its holder keeps for as long as the
/// connection lives. No failure ends the loop: those of one connection are passed over, and when the system has run
/// out of something, or all slots are taken, that is said once until it is over.
pub(crate) async fn accept_loop(
    listener: TcpListener,
    what: &str,
    slots: &Arc<Semaphore>,
    mut hand_on: impl FnMut(TcpStream, SocketAddr, OwnedSemaphorePermit),
) {
    let mut pause = FIRST_PAUSE;
    let mut short = false;
    let mut full = false;
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                if !short {
                    warn!("{what}: cannot take connections: {error}; trying on");
                    short = true;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        if short {
            info!("{what}: takes connections again");
        }
        (pause, short) = (FIRST_PAUSE, false);
        match Arc::clone(slots).try_acquire_owned() {
            Ok(slot) => {
                full = false;
                let _ = tcp_options().apply(&stream);
                hand_on(stream, canonical(from), slot);
            }
            Err(_) => {
                if !full {
                    warn!("{what}: all connections allowed at once are in use; refusing more");
                    full = true;
                }
                let _ = reset_on_close(&stream);
            }
        }
    }
}

/// An IPv4 client of a socket for both families is shown as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Failures that are over with the connection they came from (accept(2), "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn beyond_the_limit_connections_are_reset_and_then_taken_again() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let slots = Arc::new(Semaphore::new(2));
        let (sender, mut taken) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn({
            let slots = Arc::clone(&slots);
            async move {
                accept_loop(listener, "test", &slots, |stream, _, slot| {
                    sender.send((stream, slot)).unwrap();
                })
                .await;
            }
        });
        let mut clients = Vec::new();
        for _ in 0..2 {
            clients.push(TcpStream::connect(address).await.unwrap());
        }
        let held = [taken.recv().await.unwrap(), taken.recv().await.unwrap()];
        let mut third = TcpStream::connect(address).await.unwrap();
        let error = third.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        drop(held);
        let _fourth = TcpStream::connect(address).await.unwrap();
        let _kept = taken.recv().await.unwrap();
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error_with_its_kind() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(listener.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
