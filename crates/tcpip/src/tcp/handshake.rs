//! How a connection opens (RFC 9293 3.5 and 3.10.7.3, RFC 7413): SYNs in and out.

use weir_core::time::nanos;

use super::connection::Connection;
use super::error::CloseCause;
use super::interface::{Context, Received, SegmentSink, ticks};
use super::receiver::Receiver;
use super::recovery::Sent;
use super::state::State;
use super::telling::Going;
use crate::ip::Ecn;
use crate::wire::tcp::{FastOpen, Flags, Header, Options, Timestamps};

impl Connection {
    /// A segment in SYN-SENT (RFC 9293 3.10.7.3).
    pub(super) fn on_segment_in_syn_sent(&mut self, cx: &mut Context<'_>, received: &Received<'_>) {
        let segment = &received.segment;
        let has_ack = segment.flags.contains(Flags::ACK);
        // The SYN is offset 0: an acceptable ACK lies above it, and not above what was sent with it.
        let ack = u64::from(segment.ack.wrapping_sub(self.numbers.iss));
        let acceptable = has_ack && ack >= 1 && ack <= self.send.nxt;
        if has_ack && !acceptable {
            if !segment.flags.contains(Flags::RST) {
                // T18.
                self.stray_reset = Some(segment.ack);
                self.kick = true;
            }
            return;
        }
        if segment.flags.contains(Flags::RST) {
            // T19.
            if acceptable {
                self.die(cx, CloseCause::Refused);
            }
            return;
        }
        if !segment.flags.contains(Flags::SYN) {
            return;
        }
        if acceptable && !self.echo_is_ours(cx, received) {
            // RFC 7323 5.2 and appendix D have PAWS for SYN-SENT: an answer to an older SYN.
            let refused = &mut cx.counters.paws_active;
            *refused = refused.saturating_add(1);
            self.stray_reset = Some(segment.ack);
            self.kick = true;
            return;
        }
        self.take_syn(cx, received);
        if acceptable {
            self.on_syn_ack(cx, received, ack);
        } else {
            // Simultaneous open (T13): our SYN goes again, as SYN,ACK.
            self.set_state(cx, State::SynReceived, "SYN received");
            self.begin.syn_due = true;
            self.kick = true;
        }
    }

    /// Whether the timestamp that a SYN,ACK echoes is one that our SYNs had.
    fn echo_is_ours(&self, cx: &Context<'_>, received: &Received<'_>) -> bool {
        let Some(Timestamps { echo, .. }) = received.segment.options.timestamps else {
            return true;
        };
        let age = self.numbers.timestamp(cx.now).wrapping_sub(echo);
        let most = ticks(cx.now.saturating_duration_since(self.begin.at));
        // One tick of grace: both times were cut to milliseconds. 0 is what some peers echo always.
        !self.config.timestamps || echo == 0 || age <= most.saturating_add(1)
    }

    /// The peer's SYN: what it says is in force.
    pub(super) fn take_syn(&mut self, cx: &mut Context<'_>, received: &Received<'_>) {
        let segment = &received.segment;
        self.receive.irs = segment.seq;
        self.agree(cx.now, &segment.options);
        // Windows of SYNs are not scaled (T113).
        self.send.update_window(0, 0, segment.window, 0);
        let answer = segment.flags.contains(Flags::ACK);
        self.ecn.is_on = self.config.ecn
            && if answer {
                // RFC 3168 6.1.1: a SYN,ACK with both flags only reflects ours.
                self.ecn.asked
                    && segment.flags.contains(Flags::ECE)
                    && !segment.flags.contains(Flags::CWR)
            } else {
                Connection::asks_for_ecn(segment.flags)
            };
    }

    /// Data that came with a SYN whose Fast Open cookie was good (RFC 7413 section 4.2).
    pub(super) fn take_syn_data(&mut self, cx: &mut Context<'_>, received: &Received<'_>) {
        let segment = &received.segment;
        let room = usize::try_from(self.config.receive_window.initial).unwrap_or(usize::MAX);
        let data = segment.payload.get(..segment.payload.len().min(room));
        self.receive.advertise_in_syn();
        self.take_data(cx, 1, data.unwrap_or_default(), received.segments);
        if segment.flags.contains(Flags::FIN) {
            let end = 1_u64.saturating_add(segment.payload.len() as u64);
            self.receive.fin_at = end;
            self.take_fin(cx);
        }
        let taken = &mut cx.counters.tcp_fast_open_passive;
        *taken = taken.saturating_add(1);
    }

    /// SYN,ACK for our SYN: the connection is open.
    fn on_syn_ack(&mut self, cx: &mut Context<'_>, received: &Received<'_>, ack: u64) {
        let segment = &received.segment;
        self.settle_syn_data(cx, ack);
        if let Some(cookie) = segment.options.fast_open.filter(|_| self.config.fast_open) {
            self.begin.cookie = (!cookie.is_request()).then(|| Box::new(cookie));
        }
        self.receive.advertise_in_syn();
        self.process_ack(cx, received, 0, ack);
        self.establish(cx);
        // RFC 9293 3.10.7.3: further data or controls in the segment are processed too.
        if !segment.payload.is_empty() && self.config.fast_open {
            self.take_data(cx, 1, segment.payload, received.segments);
        }
        self.acknowledge_now();
    }

    /// What became of data that went with our SYN (RFC 7413 section 4.1.3).
    fn settle_syn_data(&mut self, cx: &mut Context<'_>, ack: u64) {
        let sent = self.send.nxt;
        self.begin.cookie = None;
        if sent <= 1 {
            return;
        }
        if ack > 1 {
            self.begin.fast_open = true;
            let count = &mut cx.counters.tcp_fast_open_active;
            *count = count.saturating_add(1);
        } else {
            let count = &mut cx.counters.tcp_fast_open_active_fail;
            *count = count.saturating_add(1);
        }
        if ack < sent {
            // Not taken: it goes again at once, as data.
            self.send.buffer.on_lost(ack..sent);
        }
    }

    /// Both SYNs are acknowledged.
    pub(super) fn establish(&mut self, cx: &mut Context<'_>) {
        let finished = self.send.finish;
        self.set_state(cx, State::Established, "SYN acknowledged");
        if self.receive.fin_taken {
            self.set_state(cx, State::CloseWait, "FIN received");
        }
        if finished {
            self.leave_open_state(cx);
        }
        self.news.connected |= !(self.begin.fast_open && self.begin.is_passive);
        self.news.confirmed = true;
        self.acking.quick = crate::limits::QUICK_ACKS;
        self.arm_keepalive(cx.now);
        self.kick = true;
    }

    /// Sends SYN, or SYN,ACK. True when the sink took no more.
    pub(super) fn transmit_syn(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl SegmentSink,
    ) -> bool {
        let repeat = self.recovery.needs_syn();
        if !self.begin.syn_due && !repeat {
            return false;
        }
        if sink.is_full() {
            return true;
        }
        self.begin.syn_due = false;
        let again = self.begin.syns > 0;
        let answer = self.state == State::SynReceived;
        if again && !answer {
            // What may have been the reason for the loss is left out (RFC 3168 6.1.1.1, RFC 7413
            // section 4.1.3, T128).
            self.ecn.asked = false;
            self.begin.cookie = None;
        }
        let options = self.syn_options(cx, answer);
        let header = self.syn_header(answer, options);
        self.begin.syns = self.begin.syns.saturating_add(1);
        let data = self.syn_data(&options, again || answer);
        let with_data = data.end > data.start;
        self.send.nxt = self.send.nxt.max(1).max(data.end);
        self.recovery.on_sent(cx.now, 0..1, Sent::Handshake, 0);
        let going = Going {
            len: data.end.saturating_sub(data.start),
            ..Going::bare(0, again.then_some("syn"))
        };
        self.tell_sent(cx, &header, &going);
        if with_data {
            let size = u16::try_from(data.end.saturating_sub(data.start)).unwrap_or(u16::MAX);
            self.send.buffer.on_sent(&data);
            self.recovery
                .on_sent(cx.now, data.clone(), Sent::New, u32::from(size));
            sink.emit(
                &header,
                Ecn::NotEct,
                size,
                Some((&mut self.send.buffer, data)),
            );
        } else {
            sink.emit(&header, Ecn::NotEct, 0, None);
        }
        self.count_sent(cx, 1, again);
        if again {
            let repeats = &mut cx.counters.tcp_syn_retrans;
            *repeats = repeats.saturating_add(1);
        }
        if answer {
            self.on_ack_sent();
        }
        false
    }

    fn syn_header(&mut self, answer: bool, options: Options) -> Header {
        let mut flags = Flags::SYN;
        let mut ack = 0;
        if answer {
            flags = flags | Flags::ACK;
            ack = self.receive.wire_next();
            if self.ecn.is_on {
                flags = flags | Flags::ECE;
            }
        } else if self.ecn.asked {
            flags = flags | Flags::ECE | Flags::CWR;
        }
        Header {
            src_port: self.tuple.local.port(),
            dst_port: self.tuple.remote.port(),
            seq: self.numbers.iss,
            ack,
            flags,
            window: self.receive.advertise_in_syn(),
            urgent: 0,
            options,
        }
    }

    /// The options of our SYN (T7, T26, T27, T96, T108, T113).
    fn syn_options(&self, cx: &Context<'_>, answer: bool) -> Options {
        let mss = self.path.link_mtu.saturating_sub(self.tuple.header_bytes());
        let config = &self.config;
        let shift = Receiver::shift_for(config.receive_window.max);
        let timestamps = if answer {
            self.clock.is_on
        } else {
            config.timestamps
        };
        Options {
            mss: Some(mss.min(config.mss.unwrap_or(u16::MAX))),
            window_scale: (if answer {
                self.scaling
            } else {
                config.window_scale
            })
            .then_some(shift),
            sack_permitted: if answer { self.sack } else { config.sack },
            timestamps: timestamps.then(|| Timestamps {
                value: self.numbers.timestamp(cx.now),
                echo: self.clock.recent,
            }),
            fast_open: self.begin.cookie.as_deref().copied(),
            ..Options::default()
        }
    }

    /// What goes with the SYN: data, if there is a cookie (RFC 7413 section 4.1.3).
    fn syn_data(&self, options: &Options, without: bool) -> core::ops::Range<u64> {
        let cookie = options.fast_open.as_ref();
        if without || cookie.is_none_or(FastOpen::is_request) {
            return 1..1;
        }
        let headers = self.tuple.header_bytes();
        let taken = u16::try_from(options.len()).unwrap_or(u16::MAX);
        let room = self.path.mtu.saturating_sub(headers).saturating_sub(taken);
        let end = self
            .send
            .buffer
            .end()
            .min(1_u64.saturating_add(u64::from(room)));
        1..end
    }

    /// When an attempt to connect is given up (T23).
    pub(super) fn opening_deadline(&self) -> Option<weir_core::time::Instant> {
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        (opening && nanos(self.config.syn_timeout) > 0)
            .then(|| self.begin.at + self.config.syn_timeout)
    }
}
