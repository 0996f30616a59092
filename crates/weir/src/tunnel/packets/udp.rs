//! Datagrams of the machine's: each pair of addresses is a flow.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use tracing::warn;

use super::Carried;
use crate::tcpip::{Received, UdpSocket};
use crate::tunnel::destination::Destination;
use crate::tunnel::status::ForwardKind;
use crate::tunnel::udp::{Asking, Exit, Side, Table, Wanted, pass};

/// Datagrams that are taken at once.
const BATCH: usize = 64;

/// Takes datagrams for as long as there is a stack. All flows end when this future is dropped.
pub(super) async fn serve(carried: Carried, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let table = Table::new(carried.core.config.max_udp_flows);
    let _guard = table.guard();
    let side = Side::Client(Arc::clone(&carried.core));
    let mut batch: Vec<Received> = Vec::with_capacity(BATCH);
    loop {
        if let Err(error) = poll_fn(|cx| socket.poll_recv_batch(cx, &mut batch, BATCH)).await {
            return warn!("--tun: {}: {error}", carried.name);
        }
        for received in batch.drain(..) {
            let Some(to) = wanted(&carried, received.to) else {
                continue;
            };
            let (client, destination) = (received.from, received.to);
            let begin = |begun| {
                Asking {
                    side: side.clone(),
                    kind: ForwardKind::Packets,
                    name: "--tun".to_owned(),
                    from: client,
                    to: to.to_string(),
                    wanted: Wanted::To(to.clone()),
                    exit: Exit::Stack {
                        socket: Arc::clone(&socket),
                        client,
                        destination,
                    },
                }
                .spawn(&carried.tasks, begun);
            };
            pass(
                &table,
                &(client, destination),
                &received.data,
                begin,
                side.udp(),
            );
        }
        tokio::task::consume_budget().await;
    }
}

/// Where a datagram leads; `None` for what ends here: the stack's own addresses, and what is said to everybody on a link,
/// for the link ends here too.
fn wanted(carried: &Carried, to: SocketAddr) -> Option<Destination> {
    let everybody = match to {
        SocketAddr::V4(v4) => v4.ip().is_multicast() || v4.ip().is_broadcast(),
        SocketAddr::V6(v6) => v6.ip().is_multicast(),
    };
    if everybody || carried.is_own(to) {
        return None;
    }
    Destination::try_from(to).ok()
}
