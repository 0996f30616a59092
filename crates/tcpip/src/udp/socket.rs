//! One socket: what waits at it, each way.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use weir_core::buf::{Pool, ReadBuf};

use super::{Received, UdpError};
use crate::ip::{Ecn, Route};
use crate::limits::{MAX_UDP_ERRORS, UDP_DATAGRAM_COST};
use crate::stack::UdpConfig;

/// A socket.
pub(super) struct Socket {
    /// Where it is bound. The address may be unspecified; for one of any place the port is 0.
    pub(super) local: SocketAddr,
    /// To whom it is connected.
    pub(super) remote: Option<SocketAddr>,
    pub(super) config: UdpConfig,
    received: VecDeque<Received>,
    /// Bytes of `received`, with what each datagram costs besides.
    received_bytes: usize,
    outgoing: VecDeque<Outgoing>,
    outgoing_bytes: usize,
    errors: VecDeque<UdpError>,
    /// What datagrams are copied into, both ways.
    buffer: ReadBuf,
    /// The way to whom it sent last.
    pub(super) route: Option<CachedRoute>,
    /// In the list of those that want to send.
    pub(super) queued: bool,
    /// A send found too little room.
    pub(super) blocked: bool,
    /// The application let go of it.
    pub(super) closing: bool,
}

/// The way to one destination.
#[derive(Copy, Clone)]
pub(super) struct CachedRoute {
    /// The source that was asked for.
    pub(super) from: Option<IpAddr>,
    pub(super) to: IpAddr,
    pub(super) route: Route,
}

/// A datagram, or several of one size, to be sent.
pub(super) struct Outgoing {
    pub(super) data: Bytes,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) ecn: Ecn,
    /// Bytes of each datagram but the last.
    pub(super) size: usize,
    pub(super) route: Route,
}

/// What a datagram of `bytes` counts for in a queue.
pub(super) fn cost(bytes: usize) -> usize {
    bytes.saturating_add(UDP_DATAGRAM_COST)
}

impl Socket {
    pub(super) fn new(local: SocketAddr, config: UdpConfig, pool: &Pool) -> Socket {
        Socket {
            local,
            remote: None,
            config,
            received: VecDeque::new(),
            received_bytes: 0,
            outgoing: VecDeque::new(),
            outgoing_bytes: 0,
            errors: VecDeque::new(),
            buffer: pool.reader(),
            route: None,
            queued: false,
            blocked: false,
            closing: false,
        }
    }

    /// A copy of `data` to keep.
    pub(super) fn copy(&mut self, data: &[u8]) -> Bytes {
        self.buffer.spare(data.len()).extend_from_slice(data);
        self.buffer.take()
    }

    /// Queues a datagram that arrived, in place of the oldest ones where it needs their room.
    /// Returns what they, and it if it is larger than the queue, gave free, and how many they were.
    pub(super) fn push_received(&mut self, received: Received) -> Dropped {
        let mut dropped = Dropped::default();
        let bytes = cost(received.data.len());
        self.received_bytes = self.received_bytes.saturating_add(bytes);
        self.received.push_back(received);
        while self.received_bytes > self.config.receive_queue
            && let Some(oldest) = self.received.pop_front()
        {
            let bytes = cost(oldest.data.len());
            self.received_bytes = self.received_bytes.saturating_sub(bytes);
            dropped.count = dropped.count.saturating_add(1);
            dropped.bytes = dropped.bytes.saturating_add(bytes);
        }
        dropped
    }

    pub(super) fn pop_received(&mut self) -> Option<Received> {
        let received = self.received.pop_front()?;
        let bytes = cost(received.data.len());
        self.received_bytes = self.received_bytes.saturating_sub(bytes);
        self.rest();
        Some(received)
    }

    pub(super) fn has_received(&self) -> bool {
        !self.received.is_empty()
    }

    /// True when a datagram of `bytes` may be queued for sending. One always may.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        let all = self.outgoing_bytes.saturating_add(cost(bytes));
        all <= self.config.send_queue || self.outgoing.is_empty()
    }

    pub(super) fn push_outgoing(&mut self, outgoing: Outgoing) {
        let bytes = cost(outgoing.data.len());
        self.outgoing_bytes = self.outgoing_bytes.saturating_add(bytes);
        self.outgoing.push_back(outgoing);
    }

    pub(super) fn pop_outgoing(&mut self) -> Option<Outgoing> {
        let outgoing = self.outgoing.pop_front()?;
        let bytes = cost(outgoing.data.len());
        self.outgoing_bytes = self.outgoing_bytes.saturating_sub(bytes);
        self.rest();
        Some(outgoing)
    }

    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// True when a writer that found no room finds enough to go on.
    pub(super) fn is_roomy(&self) -> bool {
        self.outgoing_bytes <= self.config.send_queue / 2
    }

    /// Bytes that are held of the budget.
    pub(super) fn held(&self) -> usize {
        self.received_bytes.saturating_add(self.outgoing_bytes)
    }

    /// Keeps an error for the application. True when there was none before.
    pub(super) fn push_error(&mut self, error: UdpError) -> bool {
        if self.errors.len() >= MAX_UDP_ERRORS {
            self.errors.pop_front();
        }
        self.errors.push_back(error);
        self.errors.len() == 1
    }

    pub(super) fn pop_error(&mut self) -> Option<UdpError> {
        self.errors.pop_front()
    }

    /// Gives memory back when nothing waits.
    fn rest(&mut self) {
        if self.received.is_empty() && self.outgoing.is_empty() {
            self.buffer.rest();
        }
    }
}

/// Datagrams that gave way to a newer one.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Dropped {
    pub(super) count: u64,
    pub(super) bytes: usize,
}
