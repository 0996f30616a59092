//! A UDP socket of a stack of one's own.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use quinn_udp::EcnCodepoint;
use weir_core::time::Instant;
use weir_quic::{ConnectionHandle, Transmit};

use super::super::reports::Dials;
use super::super::table::Table;
use super::batch::Batch;
use crate::tcpip::{Datagram, Ecn, Received, Stack, UdpConfig, UdpSocket, icmp_kind};

/// Most datagrams that one call sends: what segmentation offload takes.
pub(super) const MAX_SEGMENTS: usize = 64;
/// Datagrams that are taken from the stack at once.
const AT_ONCE: usize = 256;
/// Bytes that may wait on either side: what the other one's task does in a few milliseconds.
const QUEUE: usize = 4 << 20;

/// A bound socket.
pub(super) struct Own {
    socket: UdpSocket,
    local: SocketAddr,
    /// What was taken from the stack and has not been handed on.
    waiting: VecDeque<Received>,
    scratch: Vec<Received>,
    dials: Dials,
}

impl Own {
    pub(super) fn bind(stack: &Stack, address: SocketAddr) -> io::Result<Own> {
        let config = UdpConfig {
            receive_queue: QUEUE,
            send_queue: QUEUE,
            // QUIC finds out itself what the path takes (RFC 9000 section 14).
            fragment: false,
            ..UdpConfig::default()
        };
        let socket = UdpSocket::bind_with(stack, address, config)?;
        let local = socket.local_addr()?;
        Ok(Own {
            socket,
            local,
            waiting: VecDeque::new(),
            scratch: Vec::new(),
            dials: Dials::default(),
        })
    }

    /// Takes over from `old`, on which dials may be under way.
    pub(super) fn succeed(&mut self, old: &mut Own) {
        self.dials = std::mem::take(&mut old.dials);
    }

    /// A dial from here begins: word that it is in vain is waited for.
    pub(super) fn expect(&mut self, dial: ConnectionHandle) {
        if self.dials.is_empty() {
            // The stack wakes for the first error that waits: not one of earlier days.
            while self.socket.take_error().is_some() {}
        }
        self.dials.expect(dial);
    }

    /// When to look for such word: at once where a datagram did not even go.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.dials.has_heard().then_some(Instant::ZERO)
    }

    /// Tells dials what the stack has heard of them. It wakes who waits to receive for that.
    pub(super) fn look(&mut self, now: Instant, table: &mut Table, due: &mut VecDeque<usize>) {
        if self.dials.is_empty() {
            return;
        }
        while let Some(error) = self.socket.take_error() {
            let why = io::Error::new(icmp_kind(error.kind), error.kind.to_string());
            self.dials.hear(error.remote, why, error.quoted.as_slice());
        }
        self.dials.tell(now, table, due);
    }

    /// A datagram did not go.
    pub(super) fn hear(&mut self, to: SocketAddr, error: io::Error, datagram: &[u8]) {
        self.dials.hear(to, error, datagram);
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.waiting.is_empty() {
            ready!(self.socket.poll_recv_batch(cx, &mut self.scratch, AT_ONCE))?;
            self.waiting.extend(self.scratch.drain(..));
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_writable(cx).map(Ok)
    }

    /// Hands on what waits, as far as the batch takes it.
    pub(super) fn receive(&mut self, batch: &mut Batch) -> io::Result<()> {
        batch.clear();
        if self.waiting.is_empty() {
            self.socket.try_recv_batch(&mut self.scratch, AT_ONCE);
            self.waiting.extend(self.scratch.drain(..));
        }
        if self.waiting.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        while let Some(next) = self.waiting.front() {
            let ecn = EcnCodepoint::from_bits(next.ecn as u8);
            if !batch.add(&next.data, next.from, next.to.ip(), ecn) {
                break;
            }
            self.waiting.pop_front();
        }
        Ok(())
    }

    pub(super) fn send(&mut self, transmit: &Transmit, data: &[u8]) -> io::Result<()> {
        let from = transmit.path.local;
        let datagram = Datagram {
            from: from.map(|ip| SocketAddr::new(ip, self.local.port())),
            to: Some(transmit.path.remote),
            ecn: transmit
                .ecn
                .map_or(Ecn::NotEct, |mark| Ecn::from_bits(mark as u8)),
            segment_size: (data.len() > transmit.segment_size).then_some(transmit.segment_size),
        };
        self.socket.try_send(data, datagram)
    }
}
