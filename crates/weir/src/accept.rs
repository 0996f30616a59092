//! The task of a listening endpoint: takes TCP connections, secures them, hands them on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::endpoint::{Arrived, Inner};
use crate::net::{TcpListener, TcpStream};
use crate::via::Via;

/// How long the loop pauses when the system has no file descriptor left: long enough not to burn
/// the processor, short enough that nobody notices once one is free.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts until the endpoint is closed or nobody can take connections from it any more.
pub(crate) async fn run(
    listener: TcpListener,
    endpoint: Arc<Inner>,
    accepted: mpsc::Sender<Arrived>,
    via: Via,
) {
    let handshakes = Arc::new(Semaphore::new(endpoint.config.max_handshakes));
    let mut closing = endpoint.closing.subscribe();
    let mut complained = false;
    loop {
        // Waiting for a place before accepting leaves the rest in the system's listen queue.
        let Ok(place) = Arc::clone(&handshakes).acquire_owned().await else {
            return;
        };
        let incoming = tokio::select! {
            incoming = listener.accept() => incoming,
            _ = closing.wait_for(|closing| *closing) => return,
            () = accepted.closed() => return,
        };
        match incoming {
            Ok((stream, remote)) => {
                complained = false;
                let (endpoint, accepted) = (Arc::clone(&endpoint), accepted.clone());
                tokio::spawn(welcome(stream, remote, endpoint, accepted, place, via));
            }
            Err(error) => {
                if !complained {
                    warn!("cannot take connections for now: {error}; see `ulimit -n`");
                    complained = true;
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// The handshake of one connection.
async fn welcome(
    stream: TcpStream,
    remote: SocketAddr,
    endpoint: Arc<Inner>,
    accepted: mpsc::Sender<Arrived>,
    place: OwnedSemaphorePermit,
    via: Via,
) {
    let Ok(local) = stream.local_addr() else {
        return;
    };
    if let Err(error) = stream.set_nodelay() {
        debug!("{remote} left before the handshake: {error}");
        return;
    }
    let mut info = endpoint.info(false, via, local, remote);
    let limit = endpoint.config.handshake_timeout;
    let carrier = match timeout(limit, endpoint.secure(stream, &mut info, None)).await {
        Ok(Ok(carrier)) => carrier,
        Ok(Err(error)) => {
            info!("{remote} did not come in: {error}");
            return;
        }
        Err(_) => {
            info!(
                "{remote} did not come in: no handshake within {} s",
                limit.as_secs_f32()
            );
            return;
        }
    };
    drop(place);
    match endpoint.arrived(carrier, info) {
        // Nobody takes connections any more when this fails: dropping the connection tells the peer.
        Ok(arrived) => drop(accepted.send(arrived).await),
        Err(problem) => warn!("{remote} did not come in: {problem}"),
    }
}
