//! A UDP socket of the system's.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Once;
use std::task::{Context, Poll};

use quinn_udp::{EcnCodepoint, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::{debug, warn};
use weir_core::time::Instant;
use weir_quic::{ConnectionHandle, Ecn, Transmit};

use super::super::reports::Reports;
use super::super::table::Table;
use super::batch::Batch;

/// What a sender at 10 Gbit/s fills within the 6 ms that a busy reader may be away.
const BUFFER: usize = 8 << 20;
/// A bound socket.
pub(super) struct System {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    reports: Reports,
}

impl System {
    /// Binds `address`; `[::]` takes IPv4 as well where the system allows both.
    pub(super) fn bind(address: SocketAddr) -> io::Result<System> {
        let domain = Domain::for_address(address);
        let socket = socket2::Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            // An address of one family is of use to that family alone.
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let io = UdpSocket::from_std(socket.into())?;
        let state = UdpSocketState::new((&io).into())?;
        enlarge(&io, &state);
        #[cfg(unix)]
        if let Err(error) = weir_os::socket::without_timestamps(&io) {
            debug!("{error}");
        }
        let local = io.local_addr()?;
        Ok(System {
            io,
            state,
            local,
            reports: Reports::default(),
        })
    }

    /// Takes over from `old`, on which dials may be under way.
    pub(super) fn succeed(&mut self, old: &mut System) {
        self.reports = std::mem::take(&mut old.reports);
        self.reports.moved(&self.io);
    }

    /// A dial from here begins: word that it is in vain is waited for.
    pub(super) fn expect(&mut self, now: Instant, dial: ConnectionHandle) {
        self.reports.expect(now, &self.io, dial);
    }

    /// When to look for such word.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.reports.next()
    }

    /// Tells dials what the system reports of them, where it is time or something was heard.
    pub(super) fn look(&mut self, now: Instant, table: &mut Table, due: &mut VecDeque<usize>) {
        if self.reports.look(now, &self.io, table, due) {
            // To the runtime, a socket that had an error is one that can be written to for ever.
            match duplicate(&self.io) {
                Ok(io) => self.io = io,
                Err(error) => debug!("a socket that had an error cannot be renewed: {error}"),
            }
        }
    }

    /// Where it is bound.
    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Most datagrams that one call sends.
    pub(super) fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Ready when there may be something to read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(cx)
    }

    /// Ready when there may be room to write.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_send_ready(cx)
    }

    /// Fills the batch; [`io::ErrorKind::WouldBlock`] when there is nothing to read.
    pub(super) fn receive(&mut self, batch: &mut Batch) -> io::Result<()> {
        let (io, state) = (&self.io, &self.state);
        let received = io.try_io(Interest::READABLE, || batch.fill(io, state));
        if let Err(error) = &received
            && error.kind() != io::ErrorKind::WouldBlock
        {
            self.reports.collect(&self.io);
        }
        received?;
        if !batch.is_full() {
            // The queue is empty. Saying so spares the call that would find it out: what comes from
            // now on is told anew.
            let empty = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.io.try_io(Interest::READABLE, empty);
        }
        Ok(())
    }

    /// The same before the runtime has said that there is something to read.
    pub(super) fn receive_unasked(&mut self, batch: &mut Batch) -> io::Result<()> {
        batch.fill(&self.io, &self.state)
    }

    /// Sends one batch of datagrams.
    pub(super) fn send(&mut self, transmit: &Transmit, data: &[u8]) -> io::Result<()> {
        let sent = self.try_send(transmit, data);
        if let Err(error) = &sent
            && error.kind() != io::ErrorKind::WouldBlock
            && self.reports.collect(&self.io)
        {
            // It was about an earlier datagram, perhaps of another connection.
            return self.try_send(transmit, data);
        }
        sent
    }

    /// A datagram did not go.
    pub(super) fn hear(&mut self, to: SocketAddr, error: io::Error, datagram: &[u8]) {
        self.reports.hear(to, error, datagram);
    }

    fn try_send(&mut self, transmit: &Transmit, data: &[u8]) -> io::Result<()> {
        let out = quinn_udp::Transmit {
            destination: self.to_wire(transmit.path.remote),
            ecn: transmit.ecn.map(to_codepoint),
            contents: data,
            segment_size: (data.len() > transmit.segment_size).then_some(transmit.segment_size),
            src_ip: transmit.path.local.map(|ip| self.source(ip)),
        };
        self.io.try_io(Interest::WRITABLE, || {
            self.state.try_send((&self.io).into(), &out)
        })
    }

    /// An IPv6 socket speaks to IPv4 by mapped addresses (RFC 4291 section 2.5.5.2).
    fn to_wire(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.local.is_ipv6() => {
                SocketAddr::from((v4.ip().to_ipv6_mapped(), v4.port()))
            }
            other => other,
        }
    }

    fn source(&self, ip: IpAddr) -> IpAddr {
        match ip {
            IpAddr::V4(v4) if self.local.is_ipv6() => v4.to_ipv6_mapped().into(),
            other => other,
        }
    }
}

fn to_codepoint(mark: Ecn) -> EcnCodepoint {
    match mark {
        Ecn::Ect0 => EcnCodepoint::Ect0,
        Ecn::Ect1 => EcnCodepoint::Ect1,
        Ecn::Ce => EcnCodepoint::Ce,
    }
}

/// The same socket, as the runtime has not seen it yet.
#[cfg(unix)]
fn duplicate(io: &UdpSocket) -> io::Result<UdpSocket> {
    use std::os::fd::AsFd;
    let copy = io.as_fd().try_clone_to_owned()?;
    UdpSocket::from_std(copy.into())
}

/// The same socket, as the runtime has not seen it yet.
#[cfg(windows)]
fn duplicate(io: &UdpSocket) -> io::Result<UdpSocket> {
    use std::os::windows::io::AsSocket;
    let copy = io.as_socket().try_clone_to_owned()?;
    UdpSocket::from_std(copy.into())
}

/// Asks for large buffers, and says once where to allow them.
fn enlarge(io: &UdpSocket, state: &UdpSocketState) {
    static SAID: Once = Once::new();
    // What is refused shows in what is granted.
    let _ = state.set_recv_buffer_size(io.into(), BUFFER);
    let _ = state.set_send_buffer_size(io.into(), BUFFER);
    // Linux counts its own book-keeping in: it reports double of what it grants.
    let factor = if cfg!(target_os = "linux") { 2 } else { 1 };
    let granted = |size: io::Result<usize>| size.unwrap_or(BUFFER * factor) / factor;
    let receive = granted(state.recv_buffer_size(io.into()));
    let send = granted(state.send_buffer_size(io.into()));
    if let Some(words) = shortfall(receive, send) {
        SAID.call_once(|| warn!("{words}"));
    }
}

/// What to tell of buffers that the system made smaller than asked for, with what to do about it.
fn shortfall(receive: usize, send: usize) -> Option<String> {
    if receive >= BUFFER && send >= BUFFER {
        return None;
    }
    let remedy = match cfg!(target_os = "linux") {
        true => format!("sysctl -w net.core.rmem_max={BUFFER} net.core.wmem_max={BUFFER}"),
        false => format!("sysctl -w kern.ipc.maxsockbuf={}", 2 * BUFFER),
    };
    let (receive, send, wanted) = (receive >> 10, send >> 10, BUFFER >> 10);
    Some(format!(
        "the system grants UDP sockets buffers of {receive} KiB to receive and {send} KiB to send, not \
         the {wanted} KiB that fast transfers want; as root: {remedy}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn small_buffers_are_told_with_the_settings_to_change() {
        assert_eq!(shortfall(BUFFER, BUFFER), None);
        let words = shortfall(212_992, BUFFER).unwrap();
        assert!(
            words.contains("208 KiB to receive and 8192 KiB to send"),
            "{words}"
        );
        assert!(
            words.ends_with("sysctl -w net.core.rmem_max=8388608 net.core.wmem_max=8388608"),
            "{words}"
        );
    }
}
