//! Reaching a host by TCP: every address of the name, each with a head start.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::error::ConnectError;
use crate::net::{Net, TcpStream, no_address};
use crate::target::Target;

/// RFC 8305 section 5: the recommended delay between connection attempts.
pub(crate) const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How a connection is begun, where the target alone does not say it.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// The one address that is dialled, whatever the target's name leads to: the name is then only
    /// what the peer is asked for, and what its certificate has to say ([`crate::Builder::roots`]).
    pub address: Option<SocketAddr>,
    /// Whether the connection is wanted before the handshake is done, where that is possible. What is
    /// sent so can be replayed: see [`crate::Builder::early_data`].
    pub early_data: bool,
}

/// A TCP connection to the first address of `target` that answers, or to this one.
pub(crate) async fn tcp(
    net: &Net,
    target: &Target,
    only: Option<SocketAddr>,
    limit: Duration,
) -> Result<TcpStream, ConnectError> {
    let addresses = match only {
        Some(address) => vec![address],
        None => resolve(target).await?,
    };
    let last = addresses.last().copied().unwrap_or_else(unknown);
    let attempt = |address| connect(net.clone(), address);
    match timeout(limit, race(addresses, attempt)).await {
        Ok(result) => result,
        Err(_) => Err(ConnectError::Dial {
            address: last,
            source: io::ErrorKind::TimedOut.into(),
        }),
    }
}

async fn connect(net: Net, address: SocketAddr) -> Result<TcpStream, ConnectError> {
    net.connect(address)
        .await
        .map_err(|source| ConnectError::Dial { address, source })
}

/// The addresses of `target` in the order in which to try them; at least one.
pub(crate) async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |source| ConnectError::Resolve {
        host: target.host.clone(),
        source,
    };
    let found = lookup_host((target.host.as_str(), target.port))
        .await
        .map_err(failed)?;
    let addresses = interleave(found.collect());
    if addresses.is_empty() {
        return Err(failed(no_address()));
    }
    Ok(addresses)
}

/// What stands for an address that is not known.
fn unknown() -> SocketAddr {
    SocketAddr::from(([0, 0, 0, 0], 0))
}

/// The two ends of a connected socket.
pub(crate) fn addresses(stream: &TcpStream) -> Result<(SocketAddr, SocketAddr), ConnectError> {
    let wrong = |source| ConnectError::Dial {
        address: unknown(),
        source,
    };
    Ok((
        stream.local_addr().map_err(wrong)?,
        stream.peer_addr().map_err(wrong)?,
    ))
}

/// RFC 8305 section 4: the families take turns, the resolver's first one first.
fn interleave(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first_is_v6);
    let mut second = second.into_iter();
    let mut turns = Vec::new();
    for address in first {
        turns.push(address);
        turns.extend(second.next());
    }
    turns.extend(second);
    turns
}

/// RFC 8305 section 5: the next attempt starts after the delay, or when one fails; the first to
/// succeed wins and the others are dropped.
pub(crate) async fn race<T, A>(
    addresses: Vec<SocketAddr>,
    attempt: impl Fn(SocketAddr) -> A,
) -> Result<T, ConnectError>
where
    T: Send + 'static,
    A: Future<Output = Result<T, ConnectError>> + Send + 'static,
{
    let mut attempts = JoinSet::new();
    let mut waiting = addresses.into_iter();
    let mut failed = None;
    loop {
        match waiting.next() {
            Some(address) => {
                attempts.spawn(attempt(address));
            }
            None if attempts.is_empty() => {
                let source = io::Error::from(io::ErrorKind::AddrNotAvailable);
                return Err(failed.unwrap_or(ConnectError::Dial {
                    address: unknown(),
                    source,
                }));
            }
            None => {}
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(ended) = attempts.join_next() => match ended {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(error)) => failed = Some(error),
                Err(_) => {}
            },
            () = sleep(ATTEMPT_DELAY), if more => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        // RFC 8305 section 4
        let v4 = |n: u8| SocketAddr::from(([10, 0, 0, n], 1));
        let v6 = |n: u16| SocketAddr::from(([1, 0, 0, 0, 0, 0, 0, n], 1));
        let turns = interleave(vec![v6(1), v6(2), v6(3), v4(1)]);
        assert_eq!(turns, [v6(1), v4(1), v6(2), v6(3)]);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_keep_a_living_one_waiting() {
        // RFC 8305 section 5: a failed attempt starts the next at once.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        // Bound, so that nobody else gets the port, and not listening.
        let held = tokio::net::TcpSocket::new_v4().unwrap();
        held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let dead = held.local_addr().unwrap();
        let from_here = |address| connect(Net::System, address);
        let stream = race(vec![dead, alive], from_here).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        let error = race(vec![dead], from_here).await.unwrap_err().to_string();
        assert!(error.contains(&dead.to_string()), "{error}");
    }
}
