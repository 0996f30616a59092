//! Datagrams.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use weir_tcpip::{Datagram, Received, UdpConfig, UdpError, UdpKey, UdpSendError};

use super::error::{TcpError, from_icmp, from_udp};
use super::shared::{Handle, State};
use super::stack::Stack;
use crate::drive::Half;

/// A UDP socket of a [`Stack`].
///
/// Any number of tasks may send and receive at once. Every future here may be dropped at any await:
/// no datagram is lost or sent twice by that. A datagram is sent when it stands in the send queue,
/// and may get lost afterwards like any.
///
/// # ICMP errors
/// On a connected socket the next call reports them, as with the kernel's sockets ("connection
/// refused", "host unreachable", "permission denied"), and so it does where nobody on the link answers
/// for the next hop. On others only [`take_error`](UdpSocket::take_error) does, for they may be about
/// any of many peers.
pub struct UdpSocket {
    handle: Arc<Handle>,
    key: UdpKey,
}

impl UdpSocket {
    /// A socket at `local`. The unspecified address stands for all of the stack's, that of IPv6 for
    /// both versions; port 0 for one chosen at random.
    ///
    /// # Errors
    /// The address is not the stack's, or the port is taken.
    pub fn bind(stack: &Stack, local: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::bind_with(stack, local, UdpConfig::default())
    }

    /// [`UdpSocket::bind`] with other settings.
    ///
    /// # Errors
    /// As [`UdpSocket::bind`], and where a setting is out of its range.
    pub fn bind_with(stack: &Stack, local: SocketAddr, config: UdpConfig) -> io::Result<UdpSocket> {
        let key = stack.try_call(|state, now| {
            let bound = state.engine.udp_bind(now, local, config);
            bound.map_err(super::error::from_bind)
        })?;
        Ok(UdpSocket {
            handle: Arc::clone(&stack.handle),
            key,
        })
    }

    /// From here on datagrams go to `remote` where nothing else is said, and only those from there are
    /// received.
    ///
    /// # Errors
    /// There is no route there.
    pub fn connect(&self, remote: SocketAddr) -> io::Result<()> {
        self.handle.0.call(|state, _| {
            let connected = state.engine.udp_connect(self.key, remote);
            connected.map_err(from_udp)?;
            state.set_connected(self.key);
            Ok(())
        })
    }

    /// The Differentiated Services codepoint of what is sent from here on, 0 to 63: what the kernel's
    /// sockets take as the high six bits of `IP_TOS` and `IPV6_TCLASS`. The low two are those of
    /// [`Datagram::ecn`].
    ///
    /// # Errors
    /// The codepoint is above 63.
    pub fn set_dscp(&self, dscp: u8) -> io::Result<()> {
        let set = |state: &mut State| state.engine.udp_set_dscp(self.key, dscp);
        let set = self.handle.0.call(|state, _| set(state));
        set.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The stack is over.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let state = self.handle.0.lock();
        let local = state.engine.udp_local(self.key);
        local.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Sends to whom the socket is connected to.
    ///
    /// # Errors
    /// It is not connected, the datagram is too long, or there is no route.
    pub async fn send(&self, data: &[u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send(cx, data, Datagram::default())).await?;
        Ok(data.len())
    }

    /// Sends to `remote`.
    ///
    /// # Errors
    /// The datagram is too long, or there is no route.
    pub async fn send_to(&self, data: &[u8], remote: SocketAddr) -> io::Result<usize> {
        poll_fn(|cx| self.poll_send(cx, data, Datagram::to(remote))).await?;
        Ok(data.len())
    }

    /// Sends one datagram, or with [`Datagram::segment_size`] several in one call, with the source and
    /// ECN mark that `datagram` says. Pending while the send queue is full.
    ///
    /// # Errors
    /// As [`UdpSocket::send_to`].
    pub fn poll_send(
        &self,
        cx: &mut Context<'_>,
        data: &[u8],
        datagram: Datagram,
    ) -> Poll<io::Result<()>> {
        self.handle.0.call(|state, now| {
            if let Some(error) = self.failure(state) {
                return Poll::Ready(Err(error));
            }
            match state.engine.udp_send(now, self.key, data, datagram) {
                Ok(()) => Poll::Ready(Ok(())),
                Err(UdpSendError::Full) => {
                    state.wait_udp(self.key, Half::Write, cx);
                    Poll::Pending
                }
                Err(error) => Poll::Ready(Err(from_udp(error))),
            }
        })
    }

    /// [`UdpSocket::poll_send`] that does not wait.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while the send queue is full; else as [`UdpSocket::send_to`].
    pub fn try_send(&self, data: &[u8], datagram: Datagram) -> io::Result<()> {
        self.handle.0.call(|state, now| {
            if let Some(error) = self.failure(state) {
                return Err(error);
            }
            let sent = state.engine.udp_send(now, self.key, data, datagram);
            if let Err(UdpSendError::Full) = &sent {
                state.set_full(self.key);
            }
            sent.map_err(from_udp)
        })
    }

    /// Ready when [`UdpSocket::try_send`] is worth another try.
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.handle.0.call(|state, _| {
            if !state.is_full(self.key) || state.over.is_some() {
                return Poll::Ready(());
            }
            state.wait_udp(self.key, Half::Write, cx);
            Poll::Pending
        })
    }

    /// Receives from whom the socket is connected to, or anybody. What does not fit is cut off.
    ///
    /// # Errors
    /// An ICMP error where the socket is connected; the stack is over.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(self.recv_from(buffer).await?.0)
    }

    /// Receives a datagram and who sent it. What does not fit is cut off.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let received = self.recv_datagram().await?;
        let len = received.data.len().min(buffer.len());
        if let (Some(out), Some(data)) = (buffer.get_mut(..len), received.data.get(..len)) {
            out.copy_from_slice(data);
        }
        Ok((len, received.from))
    }

    /// Receives a datagram without a copy, with both addresses and its ECN mark.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub async fn recv_datagram(&self) -> io::Result<Received> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// [`UdpSocket::recv_datagram`] for those who poll.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<io::Result<Received>> {
        self.handle.0.call(|state, _| {
            if let Some(received) = state.engine.udp_recv(self.key) {
                return Poll::Ready(Ok(received));
            }
            self.nothing(state, cx)
        })
    }

    /// Receives what there is, at most `most` datagrams, into `batch`, all under one lock; at least
    /// one.
    ///
    /// # Errors
    /// As [`UdpSocket::recv`].
    pub fn poll_recv_batch(
        &self,
        cx: &mut Context<'_>,
        batch: &mut Vec<Received>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        self.handle.0.call(|state, _| {
            let before = batch.len();
            batch.extend(std::iter::from_fn(|| state.engine.udp_recv(self.key)).take(most));
            match batch.len().saturating_sub(before) {
                0 if most > 0 => self.nothing(state, cx),
                count => Poll::Ready(Ok(count)),
            }
        })
    }

    /// [`UdpSocket::poll_recv_batch`] that does not wait: how many datagrams there were.
    pub fn try_recv_batch(&self, batch: &mut Vec<Received>, most: usize) -> usize {
        self.handle.0.call(|state, _| {
            let before = batch.len();
            batch.extend(std::iter::from_fn(|| state.engine.udp_recv(self.key)).take(most));
            batch.len().saturating_sub(before)
        })
    }

    /// What an ICMP message says about a datagram that was sent, and how that one began; each is given
    /// once. Tasks that wait to receive or to send are woken for the first.
    #[must_use]
    pub fn take_error(&self) -> Option<UdpError> {
        self.handle.0.lock().engine.udp_error(self.key)
    }

    /// Nothing waits: an error, or the task is noted.
    fn nothing<T>(&self, state: &mut State, cx: &Context<'_>) -> Poll<io::Result<T>> {
        if let Some(error) = self.failure(state) {
            return Poll::Ready(Err(error));
        }
        state.wait_udp(self.key, Half::Read, cx);
        Poll::Pending
    }

    /// What a call is to report in place of what it was asked for.
    fn failure(&self, state: &mut State) -> Option<io::Error> {
        if let Some(why) = &state.over {
            return Some(TcpError::StackGone(Arc::clone(why)).into());
        }
        if !state.is_connected(self.key) {
            return None;
        }
        let error = state.engine.udp_error(self.key)?;
        Some(from_icmp(error))
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.handle.0.call(|state, _| {
            state.forget_udp(self.key);
            // It is closed once, here.
            let _ = state.engine.udp_close(self.key);
        });
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket")
            .field("local", &self.local_addr().ok())
            .finish_non_exhaustive()
    }
}
