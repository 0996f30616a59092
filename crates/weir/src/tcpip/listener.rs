//! Taking connections.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use weir_tcpip::{ListenConfig, ListenerKey, Refusal, TcpKey};

use super::error::{TcpError, from_bind, gone};
use super::shared::{Attempt, Handle, State};
use super::stack::Stack;
use super::stream::TcpStream;

/// Takes connections at an address of a [`Stack`].
///
/// # Dropping
/// Connections that nobody has accepted yet are reset; accepted ones live on.
///
/// # Cancelling
/// [`accept`](TcpListener::accept) and [`incoming`](TcpListener::incoming) may be dropped at any
/// await without losing a connection. Any number of tasks may wait in them.
pub struct TcpListener {
    handle: Arc<Handle>,
    key: ListenerKey,
    defers: bool,
}

impl TcpListener {
    /// Takes connections to `local`. The unspecified address stands for all of the stack's, that of
    /// IPv6 for both versions; port 0 for one chosen at random.
    ///
    /// # Errors
    /// The address is not the stack's, or the port is taken.
    pub fn bind(stack: &Stack, local: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind_with(stack, local, ListenConfig::default())
    }

    /// [`TcpListener::bind`] with a backlog, settings of the connections, every address and port
    /// ([`ListenConfig::any`]), or attempts that are decided on first ([`ListenConfig::defer`]).
    ///
    /// # Errors
    /// As [`TcpListener::bind`], and where a setting is out of its range.
    pub fn bind_with(
        stack: &Stack,
        local: SocketAddr,
        config: ListenConfig,
    ) -> io::Result<TcpListener> {
        let defers = config.defer;
        let key =
            stack.try_call(|state, _| state.engine.tcp_listen(local, config).map_err(from_bind))?;
        Ok(TcpListener {
            handle: Arc::clone(&stack.handle),
            key,
            defers,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The stack is over.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let state = self.handle.0.lock();
        let address = state.engine.tcp_listener_address(self.key);
        address.ok_or_else(|| TcpError::Unknown.into())
    }

    /// The next connection, and who made it. At a listener that defers, of an attempt that this call
    /// confirms.
    ///
    /// # Errors
    /// The stack is over.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        if !self.defers {
            return poll_fn(|cx| self.poll_accept(cx)).await;
        }
        loop {
            let incoming = self.incoming().await?;
            let remote = incoming.peer_addr();
            match incoming.confirm().await {
                Ok(stream) => return Ok((stream, remote)),
                // Who took it back is of no interest to those who wait for somebody.
                Err(_) => continue,
            }
        }
    }

    /// [`TcpListener::accept`] for those who poll, at a listener that does not defer.
    ///
    /// # Errors
    /// The stack is over.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let found = self.poll(cx, |state, now| {
            let key = state.engine.tcp_accept(now, self.key)?;
            let remote = state.engine.tcp_addresses(key)?.1;
            Some((key, remote))
        });
        found.map_ok(|(key, remote)| (self.stream(key), remote))
    }

    /// The next attempt at a listener that defers ([`ListenConfig::defer`]): the client has heard
    /// nothing yet, and waits for [`Incoming::confirm`] or [`Incoming::refuse`].
    ///
    /// # Errors
    /// The stack is over.
    pub async fn incoming(&self) -> io::Result<Incoming> {
        poll_fn(|cx| self.poll_incoming(cx)).await
    }

    /// [`TcpListener::incoming`] for those who poll.
    ///
    /// # Errors
    /// The stack is over.
    pub fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<io::Result<Incoming>> {
        let found = self.poll(cx, |state, _| state.next_attempt(self.key));
        found.map_ok(|attempt| Incoming {
            handle: Arc::clone(&self.handle),
            attempt: Some(attempt),
            local: attempt.local,
            remote: attempt.remote,
        })
    }

    fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        find: impl FnOnce(&mut State, weir_core::time::Instant) -> Option<T>,
    ) -> Poll<io::Result<T>> {
        self.handle.0.call(|state, now| {
            if let Some(found) = find(state, now) {
                return Poll::Ready(Ok(found));
            }
            if let Some(why) = state.refusal() {
                return Poll::Ready(Err(TcpError::StackGone(why).into()));
            }
            state.wait_accept(self.key, cx);
            Poll::Pending
        })
    }

    fn stream(&self, key: TcpKey) -> TcpStream {
        TcpStream::new(Arc::clone(&self.handle), key)
    }
}

impl Drop for TcpListener {
    fn drop(&mut self) {
        self.handle.0.call(|state, now| {
            state.engine.tcp_unlisten(now, self.key);
            state.forget_listener(self.key);
        });
    }
}

impl fmt::Debug for TcpListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpListener")
            .field("local", &self.local_addr().ok())
            .finish_non_exhaustive()
    }
}

/// An attempt to connect that has not been answered: what a tunnel looks at before it says yes.
///
/// Dropped without an answer, it is refused. The engine forgets attempts that nobody decides on after
/// [`Config::incoming_timeout`](weir_tcpip::Config::incoming_timeout).
pub struct Incoming {
    handle: Arc<Handle>,
    /// Until it is answered.
    attempt: Option<Attempt>,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Incoming {
    /// The address and port that the client wants.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The client.
    #[must_use]
    pub fn peer_addr(&self) -> SocketAddr {
        self.remote
    }

    /// Says yes, and waits until the connection stands.
    ///
    /// # Errors
    /// The client has gone meanwhile.
    pub async fn confirm(self) -> io::Result<TcpStream> {
        let stream = self.confirm_now()?;
        stream.connected().await?;
        Ok(stream)
    }

    /// Says yes, and does not wait: what is written goes out once the connection stands.
    ///
    /// # Errors
    /// The client has gone meanwhile.
    pub fn confirm_now(mut self) -> io::Result<TcpStream> {
        let Some(attempt) = self.attempt.take() else {
            return Err(TcpError::Unknown.into());
        };
        let confirmed = self
            .handle
            .0
            .call(|state, now| state.engine.tcp_confirm(now, attempt.key));
        let key = confirmed.map_err(gone)?;
        Ok(TcpStream::new(Arc::clone(&self.handle), key))
    }

    /// Says no: the client sees a refused connection.
    pub fn refuse(self) {
        drop(self);
    }

    /// Says why not: the client's host reports what is in the way, at once on most systems.
    pub fn refuse_with(mut self, why: Refusal) {
        self.answer_no(why);
    }

    fn answer_no(&mut self, why: Refusal) {
        if let Some(attempt) = self.attempt.take() {
            // One that is gone needs no answer.
            let _ = self
                .handle
                .0
                .call(|state, now| state.engine.tcp_refuse_with(now, attempt.key, why));
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.answer_no(Refusal::Reset);
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming")
            .field("local", &self.local)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}
