//! Whose turn it is to send.

use super::Tcp;
use super::entry::Entry;
use crate::ip::Ecn;
use crate::limits::DEFAULT_HOP_LIMIT;
use crate::stack::host::Host;
use crate::stack::sink::{Sink, Wire};
use crate::tcp::interface::{Context, SegmentSink, Tuple};
use crate::transmit::TransmitBuf;
use crate::wire::tcp::Header;

/// A segment for which there is no connection.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(super) tuple: Tuple,
    pub(super) header: Header,
    /// As the listener, or the connection that was, would have it.
    pub(super) dscp: u8,
}

impl Entry {
    /// Tables changed: the way is looked for again. Without one the old is tried: its packets are lost,
    /// as in a network.
    #[cold]
    fn renew_route(&mut self, host: &mut Host<'_>) {
        let tuple = self.tuple;
        let Some(route) = host.route(&tuple.local, &tuple.remote) else {
            return;
        };
        let is_other = route.mtu != self.route.mtu;
        self.route = route;
        if is_other {
            self.connection()
                .handle_path_mtu(&mut host.context(), route.mtu);
        }
    }
}

impl Tcp {
    /// Whether there may be something to send.
    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        !self.ready.is_empty() || !self.touched.is_empty() || !self.replies.is_empty()
    }

    /// Fills the batch. True when there is more than fits.
    pub(crate) fn poll_transmit(&mut self, host: &mut Host<'_>, out: &mut TransmitBuf) -> bool {
        if !self.replies.is_empty() {
            self.send_replies(host, out);
        }
        if self.has_touched() {
            self.settle_all(host);
        }
        while !out.is_full()
            && let Some(index) = self.ready.pop_front()
        {
            self.turn(host, out, index);
        }
        !self.ready.is_empty() || !self.replies.is_empty()
    }

    /// One connection's turn.
    #[inline]
    fn turn(&mut self, host: &mut Host<'_>, out: &mut TransmitBuf, index: u32) {
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        entry.queued = false;
        if !host.ip.is_current(&entry.route) {
            entry.renew_route(host);
        }
        let connection = entry.body.connection(&entry.tuple);
        let wire = Wire {
            local: connection.tuple().local.ip(),
            remote: connection.tuple().remote.ip(),
            route: &entry.route,
            hop_limit: connection.config().hop_limit,
            dscp: connection.config().dscp,
        };
        let shared = &mut *host.shared;
        let mut context = Context {
            now: host.now,
            chunks: &mut shared.chunks,
            budget: &shared.budget,
            rng: &mut shared.rng,
            counters: &mut shared.counters,
            tracer: &mut shared.tracer,
        };
        let mut sink = Sink::new(host.now, host.ip, out, wire);
        let more = connection.poll_transmit(&mut context, &mut sink);
        if sink.is_unreachable {
            connection.handle_unreachable(&mut context);
            return self.settle(host, index);
        }
        if more {
            entry.queued = true;
            self.ready.push_back(index);
        }
        if connection.has_news() || entry.is_over() {
            self.settle_sent(host, index);
        } else {
            entry.arm(&mut self.wheel, host.now, index);
        }
    }

    fn send_replies(&mut self, host: &mut Host<'_>, out: &mut TransmitBuf) {
        while !out.is_full()
            && let Some(reply) = self.replies.pop_front()
        {
            let tuple = reply.tuple;
            let Some(route) = host.route(&tuple.local, &tuple.remote) else {
                continue;
            };
            let wire = Wire {
                local: tuple.local.ip(),
                remote: tuple.remote.ip(),
                route: &route,
                hop_limit: DEFAULT_HOP_LIMIT,
                dscp: reply.dscp,
            };
            let mut sink = Sink::new(host.now, host.ip, out, wire);
            sink.emit(&reply.header, Ecn::NotEct, 0, None);
            let counters = host.counters();
            counters.out_segs = counters.out_segs.saturating_add(1);
        }
    }
}
