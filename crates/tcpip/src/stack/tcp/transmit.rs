//! Whose turn it is to send.

use super::Tcp;
use crate::ip::Ecn;
use crate::limits::DEFAULT_HOP_LIMIT;
use crate::stack::host::Host;
use crate::stack::sink::{Sink, Wire};
use crate::tcp::interface::{SegmentSink, Tuple};
use crate::transmit::TransmitBuf;
use crate::wire::tcp::Header;

/// A segment for which there is no connection.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(super) tuple: Tuple,
    pub(super) header: Header,
}

impl Tcp {
    /// Whether there may be something to send.
    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        !self.ready.is_empty() || !self.touched.is_empty() || !self.replies.is_empty()
    }

    /// Fills the batch. True when there is more than fits.
    pub(crate) fn poll_transmit(&mut self, host: &mut Host<'_>, out: &mut TransmitBuf) -> bool {
        self.send_replies(host, out);
        self.settle_all(host);
        while !out.is_full()
            && let Some(index) = self.ready.pop_front()
        {
            self.turn(host, out, index);
        }
        !self.ready.is_empty() || !self.replies.is_empty()
    }

    /// One connection's turn.
    fn turn(&mut self, host: &mut Host<'_>, out: &mut TransmitBuf, index: u32) {
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        entry.queued = false;
        if !host.ip.is_current(&entry.route) {
            let tuple = entry.connection.tuple();
            // Without a way the old one is tried: its packets are lost, as in a network.
            if let Some(route) = host.route(&{ tuple.local }, &{ tuple.remote }) {
                let is_other = route.mtu != entry.route.mtu;
                entry.route = route;
                if is_other {
                    let mtu = route.mtu;
                    entry.connection.handle_path_mtu(&mut host.context(), mtu);
                }
            }
        }
        let shared = &mut *host.shared;
        let mut context = crate::tcp::interface::Context {
            now: host.now,
            chunks: &mut shared.chunks,
            budget: &shared.budget,
            rng: &mut shared.rng,
            counters: &mut shared.counters,
            tracer: &mut shared.tracer,
        };
        let wire = Wire {
            tuple: *entry.connection.tuple(),
            route: entry.route,
            hop_limit: entry.connection.config().hop_limit,
        };
        let mut sink = Sink::new(host.now, host.ip, out, wire);
        let more = entry.connection.poll_transmit(&mut context, &mut sink);
        if sink.is_unreachable {
            entry.connection.handle_unreachable(&mut context);
            return self.settle(host, index);
        }
        if more {
            entry.queued = true;
            self.ready.push_back(index);
        }
        self.settle_sent(host, index);
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
                tuple,
                route,
                hop_limit: DEFAULT_HOP_LIMIT,
            };
            let mut sink = Sink::new(host.now, host.ip, out, wire);
            sink.emit(&reply.header, Ecn::NotEct, 0, None);
            let counters = host.counters();
            counters.out_segs = counters.out_segs.saturating_add(1);
        }
    }
}
