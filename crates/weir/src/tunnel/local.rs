//! `-L`: connections that come in here and are made there.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::destination::Destination;
use super::listener::accept_loop;
use super::protocol::Request;
use super::registry::Registered;
use super::relay::{Relay, RelayError};
use super::shared::{ClientCore, NoStream};
use super::status::ForwardKind;
use super::streams::{ask, first_data};
use super::tasks::Tasks;
use super::units::UnitStream;

/// Why a connection was not forwarded to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CarryError {
    #[error("{0}")]
    NoStream(#[from] NoStream),
    #[error("{0}")]
    Relay(#[from] RelayError),
}

impl CarryError {
    /// Whether it never began, which its user should hear of; resets are everyday business.
    fn is_news(&self) -> bool {
        matches!(
            self,
            Self::NoStream(_) | Self::Relay(RelayError::Refused(_) | RelayError::Answer(_))
        )
    }
}

/// Forwards what comes to `listener`, for ever.
pub(crate) async fn serve(
    core: Arc<ClientCore>,
    tasks: Tasks,
    listener: TcpListener,
    bound: SocketAddr,
    to: Destination,
) {
    let slots = Arc::clone(&core.slots);
    let name = format!("-L {bound}");
    accept_loop(listener, &name, &slots, |tcp, from, slot| {
        let (core, to) = (Arc::clone(&core), to.clone());
        tasks.spawn(async move {
            let registered = core.registry.add(ForwardKind::Local, from, to.to_string());
            let result = forward(&core, tcp, to, &registered).await;
            log_end(&core, &format!("-L {bound}"), from, &registered, result);
            drop(slot);
        });
    })
    .await;
}

async fn forward(
    core: &ClientCore,
    tcp: TcpStream,
    to: Destination,
    registered: &Registered,
) -> Result<(), CarryError> {
    let (session, mut send, recv) = match core.open().await {
        Ok(opened) => opened,
        Err(error) => {
            let _ = weir_os::socket::reset_on_close(&tcp);
            return Err(error.into());
        }
    };
    registered.opening(session, send.id());
    let request = Request::Connect(to);
    let first = first_data(&tcp).await;
    registered.count_sent(first.len());
    if let Err(error) = ask(&mut send, &request, &first).await {
        let _ = weir_os::socket::reset_on_close(&tcp);
        return Err(RelayError::from(error).into());
    }
    drop(first);
    let awaits = Some((&request, core.config.request_timeout));
    let recv = UnitStream::new(recv);
    Ok(Relay {
        tcp,
        send,
        recv,
        awaits,
        pool: &core.pool,
        registered,
    }
    .run()
    .await?)
}

/// One line on how a forwarded connection ended.
pub(crate) fn log_end(
    core: &ClientCore,
    what: &str,
    from: SocketAddr,
    registered: &Registered,
    result: Result<(), CarryError>,
) {
    let to = registered.to();
    match result {
        Ok(()) => debug!("{what}: {from} to {to} done after {}", registered.summary()),
        Err(error) if error.is_news() => {
            if let Some(left_out) = core.quiet.suffix() {
                warn!("{what}: {from} to {to}: {error}{left_out}");
            }
        }
        Err(error) => debug!(
            "{what}: {from} to {to} broken off: {error}; {}",
            registered.summary()
        ),
    }
}
