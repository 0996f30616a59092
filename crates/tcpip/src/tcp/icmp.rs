//! What ICMP and the path say (RFC 9293 3.9.2.2, RFC 5461, RFC 5927, RFC 1191, RFC 8201).

use super::connection::Connection;
use super::error::CloseCause;
use super::interface::Context;
use super::state::State;
use crate::ip::IcmpKind;
use crate::limits::MAX_SOFT_ERRORS;
use crate::wire::seq;

/// Packet sizes that are tried when full segments vanish without a word, the IP header included: what
/// common links and tunnels take (RFC 4821 section 7.7 and RFC 1191 section 7.1 have such tables).
const PLATEAUS: [u16; 6] = [8166, 1492, 1400, 1280, 1006, 576];

impl Connection {
    /// An ICMP error quotes a segment of this connection, with the sequence number `quoted`.
    ///
    /// It counts only when that segment is in flight (RFC 5927 section 4.1, T49). Hard errors end an
    /// attempt to connect; established connections end by no error (T50).
    pub(crate) fn handle_icmp(
        &mut self,
        cx: &mut Context<'_>,
        kind: IcmpKind,
        quoted: Option<u32>,
    ) {
        if !quoted.is_some_and(|at| self.is_in_flight(at)) {
            return;
        }
        let opening = matches!(self.state, State::SynSent | State::SynReceived);
        match kind {
            IcmpKind::PacketTooBig { mtu } => {
                // T134: the internet layer has checked the figure.
                let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
                if mtu != 0 && mtu < self.path.mtu {
                    self.handle_path_mtu(cx, mtu);
                }
            }
            IcmpKind::PortUnreachable | IcmpKind::ProtocolUnreachable => {
                self.soft_error = Some(CloseCause::PortUnreachable);
                if opening {
                    self.die(cx, CloseCause::PortUnreachable);
                }
            }
            IcmpKind::Prohibited => self.on_soft_error(cx, CloseCause::Prohibited, opening),
            IcmpKind::NetworkUnreachable => {
                self.on_soft_error(cx, CloseCause::NetworkUnreachable, opening);
            }
            IcmpKind::HostUnreachable | IcmpKind::TimeExceeded => {
                self.on_soft_error(cx, CloseCause::HostUnreachable, opening);
            }
            IcmpKind::ParameterProblem => {}
        }
    }

    /// True when the sequence number `at` was sent and is not acknowledged (RFC 5927 section 4.1).
    pub(crate) fn is_in_flight(&self, at: u32) -> bool {
        let offset = seq::widen(self.numbers.iss, at, self.send.una);
        offset.is_some_and(|at| self.send.una <= at && at < self.send.nxt)
    }

    /// Remembered as the cause should it come to nothing; an attempt to connect is not pursued
    /// against repeated errors (RFC 5461 section 4).
    fn on_soft_error(&mut self, cx: &mut Context<'_>, cause: CloseCause, opening: bool) {
        self.soft_error = Some(cause);
        if opening {
            self.begin.soft_errors = self.begin.soft_errors.saturating_add(1);
            if self.begin.soft_errors >= MAX_SOFT_ERRORS {
                self.die(cx, cause);
            }
        }
    }

    /// Nobody on the link answers for the next hop. It is this host that found so, no stranger: an
    /// attempt ends at once, as Linux has it; an open connection goes on, and remembers it as the cause
    /// should it time out (RFC 1122 section 4.2.3.9: soft).
    pub(crate) fn handle_unreachable(&mut self, cx: &mut Context<'_>) {
        self.soft_error = Some(CloseCause::HostUnreachable);
        if matches!(self.state, State::SynSent | State::SynReceived) {
            self.die(cx, CloseCause::HostUnreachable);
        }
    }

    /// The path takes packets of `mtu` bytes now. If that is less, what is in flight is sent again
    /// in smaller segments at once, and the congestion window stays (T133).
    pub(crate) fn handle_path_mtu(&mut self, cx: &mut Context<'_>, mtu: u16) {
        let before = self.mss;
        self.path.mtu = mtu;
        if !self.update_mss() || self.state == State::Closed {
            return;
        }
        let mss = u32::from(self.mss);
        if self.mss < before && self.state.is_synchronized() {
            let buffer = &mut self.send.buffer;
            self.recovery.on_packet_too_big(cx.now, mss, buffer);
            self.kick = true;
        } else {
            self.recovery.on_mtu(cx.now, mss);
        }
    }

    /// Full segments vanish: smaller ones are tried (T135).
    pub(super) fn on_black_hole(&mut self, cx: &mut Context<'_>) {
        let least = if self.tuple.remote.is_ipv4() {
            576
        } else {
            1280
        };
        let smaller = PLATEAUS.iter().find(|size| **size < self.path.mtu);
        if let Some(size) = smaller.filter(|size| **size >= least) {
            let count = &mut cx.counters.tcp_mtup_fail;
            *count = count.saturating_add(1);
            self.handle_path_mtu(cx, *size);
        }
    }
}
