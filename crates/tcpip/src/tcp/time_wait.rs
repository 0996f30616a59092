//! TIME-WAIT (RFC 9293 3.6.1): what is left of a connection while old segments may be under way.

use weir_core::time::{Duration, Instant};

use super::interface::{Numbers, Received, Tuple};
use crate::limits::MAX_CHALLENGE_ACKS;
use crate::wire::tcp::{Flags, Header, Options, Timestamps};

/// What the stack keeps of a connection in TIME-WAIT, beside its two ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TimeWait {
    /// When it is over.
    pub(crate) until: Instant,
    /// How long it lasts, from the last FIN on.
    lasts: Duration,
    snd_nxt: u32,
    rcv_nxt: u32,
    ts_recent: u32,
    timestamp_offset: u32,
    rcv_wnd: u16,
    has_timestamps: bool,
    /// As its segments had.
    pub(crate) dscp: u8,
    /// ACKs that may still be sent for old segments.
    answers: u8,
}

const _: () = assert!(size_of::<TimeWait>() <= 64);

/// What the stack does about a segment for a connection in TIME-WAIT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimeWaitAnswer {
    /// Nothing.
    Drop,
    /// This segment is sent.
    Acknowledge(Header),
    /// The segment is a SYN that begins a new connection (T120): TIME-WAIT is over, and the SYN goes
    /// to the listener. If there is none, it is answered as any SYN to a closed port.
    Replace,
}

/// What a [`TimeWait`] is made of.
#[derive(Copy, Clone, Debug)]
pub(crate) struct TimeWaitInit {
    pub(crate) snd_nxt: u32,
    pub(crate) rcv_nxt: u32,
    /// The window field of the last ACK.
    pub(crate) rcv_wnd: u16,
    pub(crate) timestamp_offset: u32,
    /// TS.Recent, where timestamps were agreed.
    pub(crate) recent: Option<u32>,
    pub(crate) lasts: Duration,
    pub(crate) dscp: u8,
}

impl TimeWait {
    pub(crate) fn new(now: Instant, init: &TimeWaitInit) -> TimeWait {
        let ts_recent = init.recent.unwrap_or(0);
        TimeWait {
            until: now + init.lasts,
            lasts: init.lasts,
            snd_nxt: init.snd_nxt,
            rcv_nxt: init.rcv_nxt,
            ts_recent,
            timestamp_offset: init.timestamp_offset,
            rcv_wnd: init.rcv_wnd,
            has_timestamps: init.recent.is_some(),
            dscp: init.dscp,
            answers: MAX_CHALLENGE_ACKS,
        }
    }

    /// Judges a segment (RFC 9293 3.10.7.4, RFC 6191, RFC 1337).
    pub(crate) fn handle_segment(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        received: &Received<'_>,
    ) -> TimeWaitAnswer {
        let segment = &received.segment;
        if segment.flags.contains(Flags::RST) {
            // RFC 1337: a RST must not cut it short (T121).
            return TimeWaitAnswer::Drop;
        }
        if segment.flags.contains(Flags::SYN) && !segment.flags.contains(Flags::ACK) {
            return if self.may_replace(received) {
                TimeWaitAnswer::Replace
            } else {
                TimeWaitAnswer::Drop
            };
        }
        let end = segment.seq.wrapping_add(segment.sequence_len());
        if segment.flags.contains(Flags::FIN) && end == self.rcv_nxt {
            // The peer has not seen our last ACK (T119).
            self.until = now + self.lasts;
            self.answers = MAX_CHALLENGE_ACKS;
        } else if end == segment.seq && end == self.rcv_nxt {
            // An ACK without anything, as it should be: no answer, or two ends would never cease.
            return TimeWaitAnswer::Drop;
        }
        self.acknowledge(now, tuple)
    }

    /// Whether a SYN begins a new connection: its timestamp, or else its sequence number, is above
    /// what the old one had (RFC 6191 section 2, RFC 9293 3.6.1, T120).
    fn may_replace(&self, received: &Received<'_>) -> bool {
        let segment = &received.segment;
        let seq_above = after(segment.seq, self.rcv_nxt);
        match segment.options.timestamps {
            Some(Timestamps { value, .. }) if self.has_timestamps => {
                after(value, self.ts_recent) || (value == self.ts_recent && seq_above)
            }
            Some(_) => true,
            None => seq_above,
        }
    }

    fn acknowledge(&mut self, now: Instant, tuple: &Tuple) -> TimeWaitAnswer {
        let Some(left) = self.answers.checked_sub(1) else {
            return TimeWaitAnswer::Drop;
        };
        self.answers = left;
        let numbers = Numbers {
            iss: 0,
            timestamp_offset: self.timestamp_offset,
        };
        let timestamps = self.has_timestamps.then(|| Timestamps {
            value: numbers.timestamp(now),
            echo: self.ts_recent,
        });
        TimeWaitAnswer::Acknowledge(Header {
            src_port: tuple.local.port(),
            dst_port: tuple.remote.port(),
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags: Flags::ACK,
            window: self.rcv_wnd,
            urgent: 0,
            options: Options {
                timestamps,
                ..Options::default()
            },
        })
    }

    /// The least initial sequence number of a connection that this side begins between the same two
    /// ends while this lasts (RFC 9293 3.6.1), and whether timestamps make that safe (RFC 6191).
    pub(crate) fn successor(&self) -> (u32, bool) {
        (self.snd_nxt.wrapping_add(65_537), self.has_timestamps)
    }
}

/// `a` > `b` in the circle of 2^32.
#[inline]
fn after(a: u32, b: u32) -> bool {
    let distance = a.wrapping_sub(b);
    distance != 0 && distance < 1 << 31
}
