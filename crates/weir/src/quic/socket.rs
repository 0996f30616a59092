//! One UDP socket: batches in, batches out.

use std::collections::VecDeque;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Once};
use std::task::{Context, Poll};

use quinn_udp::{EcnCodepoint, RecvMeta, UdpSocketState};
use socket2::{Domain, Protocol, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tracing::{debug, warn};
use weir_core::time::Instant;
use weir_quic::{ConnectionHandle, Ecn, PathAddr, Transmit};

use super::reports::Reports;
use super::routes::Routes;
use super::table::Table;
use super::watch::Watch;
use crate::observe::DatagramTap;

/// What a sender at 10 Gbit/s fills within the 6 ms that a busy reader may be away.
const BUFFER: usize = 8 << 20;
/// Messages of one receiving call. Each is a datagram, or with receive offload up to 64 of them; all
/// of their buffers together stay in a processor's cache.
const MESSAGES: usize = 16;
/// Room of one message: the largest that UDP has.
const ROOM: usize = 64 * 1024;

/// A bound socket.
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    watch: Option<Box<Watch>>,
    reports: Reports,
}

/// How a batch fared.
#[derive(PartialEq, Eq)]
pub(super) enum Sent {
    /// It is the system's now, or was refused for good: then it counts as lost.
    Done,
    /// The system has no room: it is to be sent again when there is.
    Blocked,
}

impl Socket {
    /// Binds `address`; `[::]` takes IPv4 as well where the system allows both.
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Socket> {
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
        Ok(Socket {
            io,
            state,
            local,
            watch: None,
            reports: Reports::default(),
        })
    }

    /// Shows `tap` every datagram from now on.
    pub(super) fn watch(&mut self, tap: Box<dyn DatagramTap>, routes: &Arc<Routes>) {
        self.watch = Some(Box::new(Watch::new(tap, self.local, routes)));
    }

    /// Takes over from `old`, on which dials may be under way.
    pub(super) fn succeed(&mut self, old: &mut Socket) {
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
    pub(crate) fn local(&self) -> SocketAddr {
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
        if batch.count < MESSAGES {
            // The queue is empty. Saying so spares the call that would find it out: what comes from
            // now on is told anew.
            let empty = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.io.try_io(Interest::READABLE, empty);
        }
        self.show(batch);
        Ok(())
    }

    /// The same before the runtime has said that there is something to read.
    pub(super) fn receive_unasked(&mut self, batch: &mut Batch) -> io::Result<()> {
        batch.fill(&self.io, &self.state)?;
        self.show(batch);
        Ok(())
    }

    fn show(&mut self, batch: &Batch) {
        if let Some(watch) = &mut self.watch {
            batch.show(watch);
        }
    }

    /// Sends one batch of datagrams.
    pub(super) fn send(&mut self, transmit: &Transmit, data: &[u8]) -> Sent {
        let data = data.get(..transmit.len).unwrap_or(data);
        let mut sent = self.try_send(transmit, data);
        if let Err(error) = &sent
            && error.kind() != io::ErrorKind::WouldBlock
            && self.reports.collect(&self.io)
        {
            // It was about an earlier datagram, perhaps of another connection.
            sent = self.try_send(transmit, data);
        }
        match sent {
            Ok(()) => Sent::Done,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Sent::Blocked,
            // A probe that is too long for this machine's own interface is a lost one.
            Err(error) if quinn_udp::is_msg_size_err(&error) => Sent::Done,
            Err(error) if data.len() > transmit.segment_size => {
                debug!("a batch to {} did not go: {error}", transmit.path.remote);
                self.send_singly(transmit, data)
            }
            Err(error) => {
                debug!("a datagram to {} did not go: {error}", transmit.path.remote);
                self.reports.hear(transmit.path.remote, error, data);
                Sent::Done
            }
        }
    }

    /// For interfaces that refuse batches: the datagrams one by one, and what does not go is lost.
    fn send_singly(&mut self, transmit: &Transmit, data: &[u8]) -> Sent {
        for datagram in data.chunks(transmit.segment_size.max(1)) {
            let single = Transmit {
                len: datagram.len(),
                ..*transmit
            };
            if let Err(error) = self.try_send(&single, datagram) {
                debug!("a datagram to {} did not go: {error}", transmit.path.remote);
                self.reports.hear(transmit.path.remote, error, datagram);
                return Sent::Done;
            }
        }
        Sent::Done
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
        })?;
        if let Some(watch) = &mut self.watch {
            watch.sent(transmit, data);
        }
        Ok(())
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

/// What one receiving call brought. One of these serves a socket for as long as it lives.
pub(super) struct Batch {
    data: Vec<u8>,
    metas: [RecvMeta; MESSAGES],
    count: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Batch {
            data: vec![0; MESSAGES * ROOM],
            metas: [RecvMeta::default(); MESSAGES],
            count: 0,
        }
    }
}

impl Batch {
    /// One receiving call.
    fn fill(&mut self, io: &UdpSocket, state: &UdpSocketState) -> io::Result<()> {
        self.count = 0;
        let mut rooms = self.data.chunks_exact_mut(ROOM);
        let mut slices: [IoSliceMut<'_>; MESSAGES] =
            std::array::from_fn(|_| IoSliceMut::new(rooms.next().unwrap_or_default()));
        self.count = state.recv(io.into(), &mut slices, &mut self.metas)?;
        Ok(())
    }

    /// Shows what came as it came: before it is decrypted in place.
    fn show(&self, watch: &mut Watch) {
        let rooms = self.data.chunks_exact(ROOM);
        for (room, meta) in rooms.zip(&self.metas).take(self.count) {
            let local = meta.dst_ip.map(unmapped);
            let remote = SocketAddr::new(unmapped(meta.addr.ip()), meta.addr.port());
            let ecn = meta.ecn.map_or(0, |mark| mark as u8);
            let data = room.get(..meta.len).unwrap_or(room);
            watch.received(local, remote, ecn, meta.stride, data);
        }
    }

    /// Every datagram, in the order in which they came.
    pub(super) fn datagrams(
        &mut self,
    ) -> impl Iterator<Item = (PathAddr, Option<Ecn>, &mut [u8])> + '_ {
        let rooms = self.data.chunks_exact_mut(ROOM);
        rooms
            .zip(&self.metas)
            .take(self.count)
            .flat_map(|(room, meta)| {
                let path = PathAddr {
                    local: meta.dst_ip.map(unmapped),
                    remote: SocketAddr::new(unmapped(meta.addr.ip()), meta.addr.port()),
                };
                let ecn = meta.ecn.and_then(|mark| Ecn::from_bits(mark as u8));
                let len = meta.len.min(ROOM);
                let (filled, _) = room.split_at_mut(len);
                let stride = meta.stride.max(1);
                filled
                    .chunks_mut(stride)
                    .map(move |datagram| (path, ecn, datagram))
            })
    }
}

fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_canonical(),
        v4 => v4,
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

/// The unspecified address of both families, port chosen by the system.
pub(super) fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn receive(socket: &mut Socket, batch: &mut Batch) {
        loop {
            std::future::poll_fn(|cx| socket.poll_readable(cx))
                .await
                .unwrap();
            match socket.receive(batch) {
                Ok(()) => return,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
    }

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

    #[tokio::test]
    async fn a_batch_arrives_as_the_datagrams_that_it_was() {
        let v4 = "127.0.0.1:0".parse().unwrap();
        passes(Socket::bind(v4).unwrap()).await;
        passes(Socket::bind(anywhere()).unwrap()).await;
    }

    async fn passes(mut from: Socket) {
        let mut to = Socket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let data: Vec<u8> = (0..2500_u32).map(|n| (n / 1000) as u8).collect();
        let transmit = Transmit {
            path: PathAddr::to(to.local()),
            ecn: Some(Ecn::Ect0),
            segment_size: 1000,
            len: 2500,
            release_at: None,
        };
        while from.send(&transmit, &data) == Sent::Blocked {
            std::future::poll_fn(|cx| from.poll_writable(cx))
                .await
                .unwrap();
        }
        let mut batch = Batch::default();
        let mut sizes = Vec::new();
        while sizes.len() < 3 {
            receive(&mut to, &mut batch).await;
            for (path, mark, datagram) in batch.datagrams() {
                assert_eq!(path.local, Some(to.local().ip()));
                // Mapped addresses are not seen above.
                assert_eq!(path.remote.ip(), "127.0.0.1".parse::<IpAddr>().unwrap());
                assert_eq!(path.remote.port(), from.local().port());
                assert_eq!(mark, Some(Ecn::Ect0));
                assert!(datagram.iter().all(|byte| *byte as usize == sizes.len()));
                sizes.push(datagram.len());
            }
        }
        assert_eq!(sizes, [1000, 1000, 500]);
    }
}
