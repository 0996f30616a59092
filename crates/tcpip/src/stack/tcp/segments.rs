//! What becomes of a segment (RFC 9293 section 3.10.7).

use std::net::{IpAddr, SocketAddr};

use super::entry::Entry;
use super::{Owner, Tcp, hash};
use crate::device::Checksum;
use crate::ip;
use crate::limits::MAX_REPLIES;
use crate::stack::demux::Target;
use crate::stack::host::Host;
use crate::stack::tcp::transmit::Reply;
use crate::tcp::State;
use crate::tcp::interface::{Received, Tuple};
use crate::tcp::listen::Listeners;
use crate::tcp::time_wait::TimeWaitAnswer;
use crate::wire::checksum;
use crate::wire::protocol;
use crate::wire::tcp::{Flags, Header, Options, Plain, Segment};

/// A segment on its way through the stack.
#[derive(Copy, Clone)]
pub(super) struct Arrival<'a> {
    pub(super) tuple: Tuple,
    pub(super) hash: u32,
    pub(super) received: Received<'a>,
}

impl Arrival<'_> {
    pub(super) fn flags(&self) -> Flags {
        self.received.segment.flags
    }
}

impl Tcp {
    /// Takes a packet with a segment in it.
    pub(crate) fn handle(&mut self, host: &mut Host<'_>, packet: &ip::Received<'_>) {
        let segments = segments(packet);
        let counters = host.counters();
        counters.in_segs = counters.in_segs.saturating_add(u64::from(segments));
        if packet.to_many {
            // T34: RFC 1122 4.2.3.10: a segment to more than one host is nobody's.
            return;
        }
        if packet.checksum == Checksum::Complete && !is_whole(host, packet) {
            return;
        }
        if !self.take_plain(host, packet, segments) {
            self.take_any(host, packet, segments);
        }
    }

    /// Takes the segment if it is what its connection expects. False: nothing was done.
    #[inline]
    fn take_plain(
        &mut self,
        host: &mut Host<'_>,
        packet: &ip::Received<'_>,
        segments: u16,
    ) -> bool {
        let Some(segment) = Plain::parse(packet.payload) else {
            return false;
        };
        let Some(index) = self.find_recent(host, packet, &segment) else {
            return false;
        };
        let Some(entry) = self.connections.get_at_mut(index) else {
            return false;
        };
        if entry.half_open && is_kept_waiting(&self.listeners, entry) {
            return false;
        }
        let connection = entry.body.connection(&entry.tuple);
        if !connection.take_plain(&mut host.context(), &segment, segments, packet.ecn) {
            return false;
        }
        if entry.half_open || entry.is_over() {
            self.settle(host, index);
        } else if !entry.touched {
            entry.touched = true;
            self.touched.push(index);
        }
        true
    }

    /// The connection of a segment: that of the segment before it, or as the table says.
    #[inline]
    fn find_recent(
        &mut self,
        host: &Host<'_>,
        packet: &ip::Received<'_>,
        segment: &Plain<'_>,
    ) -> Option<u32> {
        let ends = match (packet.src, packet.dst, packet.payload.first_chunk()) {
            (IpAddr::V4(src), IpAddr::V4(dst), Some(ports)) => {
                let ([a, b, c, d], [e, f, g, h]) = (src.octets(), dst.octets());
                Some(([a, b, c, d, e, f, g, h], *ports))
            }
            _ => None,
        };
        if let Some(index) = ends.and_then(|ends| self.ends.recent(&self.recent, ends)) {
            return Some(index);
        }
        let tuple = Tuple {
            local: SocketAddr::new(packet.dst, segment.dst_port),
            remote: SocketAddr::new(packet.src, segment.src_port),
        };
        let hash = hash(&host.shared.spread, &tuple);
        let Some(Target::Connection(index)) = self.find(hash, &tuple) else {
            return None;
        };
        if let Some(ends) = ends {
            self.recent = self.ends.note(ends, index);
        }
        Some(index)
    }

    /// Takes any segment whose checksum is right.
    #[inline(never)]
    fn take_any(&mut self, host: &mut Host<'_>, packet: &ip::Received<'_>, segments: u16) {
        let Some(segment) = parsed(host, packet.payload) else {
            return;
        };
        let tuple = Tuple {
            local: SocketAddr::new(packet.dst, segment.dst_port),
            remote: SocketAddr::new(packet.src, segment.src_port),
        };
        let arrival = Arrival {
            tuple,
            hash: hash(&host.shared.spread, &tuple),
            received: Received {
                segment,
                ecn: packet.ecn,
                segments,
            },
        };
        match self.find(arrival.hash, &tuple) {
            Some(Target::Connection(index)) => self.on_connection(host, index, &arrival),
            Some(Target::TimeWait(index)) => self.on_time_wait(host, index, &arrival),
            Some(Target::Incoming(index)) => self.on_incoming(host, index, &arrival),
            _ => self.on_stranger(host, &arrival, None),
        }
    }

    #[inline]
    fn on_connection(&mut self, host: &mut Host<'_>, index: u32, arrival: &Arrival<'_>) {
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        if entry.half_open
            && arrival.flags().contains(Flags::ACK)
            && !arrival.flags().intersects(Flags::RST.with(Flags::SYN))
            && is_kept_waiting(&self.listeners, entry)
        {
            // T35: it stays half-open, and the client's next segment, or its answer to our next
            // SYN,ACK, tries again.
            let counters = host.counters();
            counters.listen_overflows = counters.listen_overflows.saturating_add(1);
            return;
        }
        let mut context = host.context();
        entry
            .connection()
            .handle_segment(&mut context, &arrival.received);
        let is_over = matches!(entry.state(), State::Closed | State::TimeWait);
        if entry.half_open || is_over {
            // What comes next in the batch has to find the accept queue, and the table, as they are
            // now.
            self.settle(host, index);
        } else {
            self.touch(index);
        }
    }

    fn on_time_wait(&mut self, host: &mut Host<'_>, index: u32, arrival: &Arrival<'_>) {
        let Some(waiting) = self.waits.get_mut(index) else {
            return;
        };
        let answer = waiting
            .wait
            .handle_segment(host.now, &arrival.tuple, &arrival.received);
        match answer {
            TimeWaitAnswer::Drop => {}
            TimeWaitAnswer::Acknowledge(header) => {
                let dscp = waiting.wait.dscp;
                self.reply(&arrival.tuple, header, dscp);
            }
            TimeWaitAnswer::Replace => {
                // T120
                let least = waiting.wait.successor().0;
                self.end_time_wait(index);
                let counters = host.counters();
                counters.tw_recycled = counters.tw_recycled.saturating_add(1);
                self.on_stranger(host, arrival, Some(least));
            }
        }
    }

    /// Forgets a connection in TIME-WAIT.
    pub(super) fn end_time_wait(&mut self, index: u32) {
        if let Some(waiting) = self.waits.remove(index) {
            self.ends.remove(waiting.hash, Target::TimeWait(index));
            if let Some(timer) = waiting.timer {
                self.wheel.cancel(timer);
            }
        }
    }

    /// A segment for which there is no connection (RFC 9293 3.10.7.1 and 3.10.7.2).
    fn on_stranger(&mut self, host: &mut Host<'_>, arrival: &Arrival<'_>, least: Option<u32>) {
        let flags = arrival.flags();
        if flags.contains(Flags::RST) {
            // T16, T17
            return;
        }
        let spread = &host.shared.spread;
        let Some(listener) = self.listeners.find(spread, &arrival.tuple.local) else {
            // T14, T15
            self.strangers = self.strangers.saturating_add(1);
            let length = arrival.received.segment.payload.len();
            let why = ("no_listener", "nobody listens on the port");
            host.tell_dropped(("TCP", length), why, self.strangers);
            self.reset(host, arrival);
            return;
        };
        if flags.contains(Flags::ACK) {
            if flags.contains(Flags::SYN) || !self.on_cookie(host, listener, arrival) {
                // T17, T37
                self.reset(host, arrival);
            }
        } else if flags.contains(Flags::SYN) && !flags.contains(Flags::FIN) {
            self.on_syn(host, listener, arrival, least);
        }
        // Anything else cannot come from a TCP (RFC 9293 3.10.7.2, "fourth").
    }

    /// Answers a segment that is for nobody with RST (RFC 9293 3.10.7.1), unless there have been too
    /// many such answers.
    pub(super) fn reset(&mut self, host: &mut Host<'_>, arrival: &Arrival<'_>) {
        if !host.config.answer_strangers {
            return;
        }
        let source = arrival.tuple.remote.ip();
        if !self.rate.allow(host.now, &host.shared.spread, source) {
            let counters = host.counters();
            counters.tcp_rst_rate_limited = counters.tcp_rst_rate_limited.saturating_add(1);
            return;
        }
        let segment = &arrival.received.segment;
        let (seq, ack, flags) = if segment.flags.contains(Flags::ACK) {
            (segment.ack, 0, Flags::RST)
        } else {
            let end = segment.seq.wrapping_add(segment.sequence_len());
            (0, end, Flags::RST.with(Flags::ACK))
        };
        self.send_reset(host, &arrival.tuple, seq, ack, flags);
    }

    /// Sends a RST for which there is no connection.
    pub(super) fn send_reset(
        &mut self,
        host: &mut Host<'_>,
        tuple: &Tuple,
        seq: u32,
        ack: u32,
        flags: Flags,
    ) {
        let counters = host.counters();
        counters.out_rsts = counters.out_rsts.saturating_add(1);
        self.reply(
            tuple,
            Header {
                src_port: tuple.local.port(),
                dst_port: tuple.remote.port(),
                seq,
                ack,
                flags,
                window: 0,
                urgent: 0,
                options: Options::default(),
            },
            0,
        );
    }

    /// Queues a segment for which there is no connection. Dropped where too many wait: whoever asked
    /// will ask again.
    pub(super) fn reply(&mut self, tuple: &Tuple, header: Header, dscp: u8) {
        if self.replies.len() < MAX_REPLIES {
            self.replies.push_back(Reply {
                tuple: *tuple,
                header,
                dscp,
            });
        }
    }
}

/// True when a half-open connection has nowhere to go once it is open (T35).
fn is_kept_waiting(listeners: &Listeners, entry: &Entry) -> bool {
    let Owner::Opening(key) = entry.owner else {
        return false;
    };
    listeners
        .get(key)
        .is_some_and(|listener| listener.is_full())
}

/// How many segments a packet stands for.
#[inline]
fn segments(packet: &ip::Received<'_>) -> u16 {
    let Some(segments) = &packet.segments else {
        return 1;
    };
    let count = packet
        .payload
        .len()
        .div_ceil(usize::from(segments.size).max(1));
    u16::try_from(count).unwrap_or(u16::MAX).max(1)
}

/// Whether the checksum of a segment is right (T1).
#[inline]
fn is_whole(host: &mut Host<'_>, packet: &ip::Received<'_>) -> bool {
    let bytes = packet.payload;
    if !checksum::is_valid_transport(packet.src, packet.dst, protocol::TCP, bytes) {
        let counters = host.counters();
        counters.in_csum_errors = counters.in_csum_errors.saturating_add(1);
        counters.in_errs = counters.in_errs.saturating_add(1);
        let count = counters.in_csum_errors;
        let why = ("checksum", "the checksum is wrong");
        host.tell_dropped(("TCP", bytes.len()), why, count);
        return false;
    }
    true
}

/// The segment of a packet, if it is one (T2).
#[inline]
fn parsed<'a>(host: &mut Host<'_>, bytes: &'a [u8]) -> Option<Segment<'a>> {
    match Segment::parse(bytes) {
        // Port 0 is no port (RFC 6335 section 6).
        Ok(segment) if segment.src_port != 0 && segment.dst_port != 0 => Some(segment),
        _ => {
            let counters = host.counters();
            counters.in_errs = counters.in_errs.saturating_add(1);
            let count = counters.in_errs;
            let why = ("malformed", "the header makes no sense");
            host.tell_dropped(("TCP", bytes.len()), why, count);
            None
        }
    }
}
