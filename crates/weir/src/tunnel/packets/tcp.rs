//! Connections of the machine's own making: the peer is asked before they are taken.

use std::net::SocketAddr;
use std::sync::Arc;

use tracing::{debug, warn};

use super::{Carried, relay};
use crate::stream::{RecvStream, SendStream};
use crate::tcpip::{Incoming, Refusal, TcpListener};
use crate::tunnel::destination::Destination;
use crate::tunnel::local::{CarryError, log_end};
use crate::tunnel::protocol::{Request, Status, read_answer};
use crate::tunnel::registry::Registered;
use crate::tunnel::relay::RelayError;
use crate::tunnel::status::ForwardKind;
use crate::tunnel::streams::ask;
use crate::tunnel::units::UnitStream;

/// Takes attempts to connect, for as long as there is a stack.
pub(super) async fn serve(carried: Carried, listener: TcpListener) {
    let mut full = false;
    loop {
        let incoming = match listener.incoming().await {
            Ok(incoming) => incoming,
            Err(error) => return warn!("--tun: {}: {error}", carried.name),
        };
        // The stack is this machine's end of the tunnel: beyond it there is nobody of its address.
        let to = Destination::try_from(incoming.local_addr());
        let to = match to {
            Ok(to) if !carried.is_own(incoming.local_addr()) => to,
            _ => {
                incoming.refuse();
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&carried.core.slots).try_acquire_owned() else {
            if !full {
                warn!("--tun: all connections allowed at once are in use; refusing more");
                full = true;
            }
            incoming.refuse();
            continue;
        };
        full = false;
        let task = carried.clone();
        carried.tasks.spawn(async move {
            let (core, from) = (&task.core, incoming.peer_addr());
            let registered = core
                .registry
                .add(ForwardKind::Packets, from, to.to_string());
            let result = carry(&task, incoming, to, &registered).await;
            end(&task, from, &registered, result);
            drop(slot);
        });
    }
}

/// Asks the peer, takes or refuses the attempt as it answers, and passes bytes.
async fn carry(
    carried: &Carried,
    incoming: Incoming,
    to: Destination,
    registered: &Registered,
) -> Result<(), CarryError> {
    let (send, recv) = match begin(carried, to, registered).await {
        Ok(begun) => begun,
        Err(error) => {
            incoming.refuse_with(refusal(&error));
            return Err(error);
        }
    };
    registered.open();
    let (tcp, send) = confirm(incoming, send)?;
    relay::run(tcp, send, recv, registered).await?;
    Ok(())
}

/// Asks the peer, and waits for its yes.
async fn begin(
    carried: &Carried,
    to: Destination,
    registered: &Registered,
) -> Result<(SendStream, UnitStream<RecvStream>), CarryError> {
    let core = &carried.core;
    let (session, mut send, recv) = core.open().await?;
    registered.opening(session, send.id());
    let request = Request::Connect(to);
    ask(&mut send, &request, &[])
        .await
        .map_err(RelayError::from)?;
    let mut recv = UnitStream::new(recv);
    granted(&request, &mut recv, core.config.request_timeout).await?;
    Ok((send, recv))
}

/// What the machine is told, which is what its program then sees: "no route to host" within a round trip, not a
/// time-out of two minutes, and "connection refused" only where that is so. A router that gets no answer from the last
/// hop says the same of it (RFC 1812 section 5.2.7.1), so that is also what a time-out of the far side becomes.
fn refusal(error: &CarryError) -> Refusal {
    let CarryError::Relay(RelayError::Refused(refusal)) = error else {
        // There is no way to the peer, and so none to anybody behind it.
        return Refusal::NetworkUnreachable;
    };
    match refusal.status {
        Status::NetworkUnreachable | Status::ShuttingDown => Refusal::NetworkUnreachable,
        Status::HostUnreachable | Status::TimedOut | Status::AddressNotAvailable => {
            Refusal::HostUnreachable
        }
        Status::NotAllowed => Refusal::Prohibited,
        _ => Refusal::Reset,
    }
}

fn confirm(
    incoming: Incoming,
    mut send: SendStream,
) -> Result<(crate::tcpip::TcpStream, SendStream), RelayError> {
    match incoming.confirm_now() {
        Ok(tcp) => Ok((tcp, send)),
        Err(error) => {
            send.reset(0);
            Err(error.into())
        }
    }
}

async fn granted(
    request: &Request,
    recv: &mut UnitStream<RecvStream>,
    limit: std::time::Duration,
) -> Result<(), RelayError> {
    let unit = recv.next_within(limit).await.map_err(RelayError::Answer)?;
    let answer = read_answer(request, &unit).map_err(|e| RelayError::Answer(e.into()))?;
    answer.map(drop).map_err(RelayError::Refused)
}

/// What the peer cannot reach is everyday business of a whole machine: programs say so themselves.
fn end(
    carried: &Carried,
    from: SocketAddr,
    registered: &Registered,
    result: Result<(), CarryError>,
) {
    match result {
        Err(CarryError::Relay(RelayError::Refused(refusal)))
            if refusal.status != Status::NotAllowed =>
        {
            debug!("--tun: {from} to {}: {refusal}", registered.to());
        }
        result => log_end(&carried.core, "--tun", from, registered, result),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::protocol::Refusal as Answer;
    use crate::tunnel::shared::NoStream;

    #[test]
    fn only_a_refusal_is_told_as_one() {
        let told = |status| {
            let answer = Answer::new(status, "words");
            refusal(&CarryError::Relay(RelayError::Refused(answer)))
        };
        assert_eq!(told(Status::Refused), Refusal::Reset);
        assert_eq!(told(Status::TooMany), Refusal::Reset);
        assert_eq!(told(Status::TimedOut), Refusal::HostUnreachable);
        assert_eq!(told(Status::HostUnreachable), Refusal::HostUnreachable);
        let network = Status::NetworkUnreachable;
        assert_eq!(told(network), Refusal::NetworkUnreachable);
        assert_eq!(told(Status::NotAllowed), Refusal::Prohibited);
        let lost = NoStream::NotConnected(std::time::Duration::ZERO);
        let no_peer = refusal(&CarryError::NoStream(lost));
        assert_eq!(no_peer, Refusal::NetworkUnreachable);
    }
}
