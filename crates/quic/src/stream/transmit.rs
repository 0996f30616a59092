//! Which frames leave, in which order.
//!
//! Frames without data go first: they are small and unblock the peer. Then data: the stream whose
//! turn it is fills packet after packet, until its turn is used up or a more urgent one has data.

use weir_core::sched::Priority;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};
use weir_core::trace::HeldBy;
use weir_core::window::SendWindow;

use super::Streams;
use super::entry::{Stream, bit};
use super::ids::PerDir;
use super::limits::{SMALLEST_PIECE, SWEEP_ABOVE};
use super::seen::Seen;
use super::state::SendTrigger;
use crate::sent::SentFrame;
use crate::wire::frame::encode::{self, max_size};
use crate::wire::{Dir, varint};

/// Bytes of the least STREAM frame that may be written: an end without data, or a byte without length.
const SMALLEST_FRAME: usize = 3;

/// The stream whose turn it is.
#[derive(Copy, Clone, Debug)]
pub(super) struct Run {
    key: Key,
    /// The priority it was queued at.
    priority: Priority,
    /// Bytes left of its turn, as long as others wait.
    left: u64,
}

/// Room in a packet.
struct Packet<'a> {
    out: &'a mut Vec<u8>,
    log: &'a mut Vec<SentFrame>,
    /// The length that `out` may have in the end.
    end: usize,
    may_omit_length: bool,
}

impl Packet<'_> {
    #[inline]
    fn room(&self) -> usize {
        self.end.saturating_sub(self.out.len())
    }
}

/// What became of a stream's turn in one packet.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Emitted {
    /// So many bytes of data went out.
    Data(u64),
    /// The packet is too full.
    NoRoom,
    /// It needs credit of the stream.
    StreamBlocked,
    /// It needs credit of the connection.
    ConnectionBlocked,
    /// It has nothing to send.
    Nothing,
}

impl Streams {
    /// Appends frames to `out`, at most `max` bytes, and logs in `log` what matters again. Returns how
    /// many bytes that were. `rtt` is the smoothed round trip, by which windows are tuned. With
    /// `may_omit_length` a STREAM frame that fills the room exactly says no length: nothing may
    /// follow it in the packet.
    pub(crate) fn write_frames(
        &mut self,
        now: Instant,
        rtt: Option<Duration>,
        out: &mut Vec<u8>,
        max: usize,
        may_omit_length: bool,
        log: &mut Vec<SentFrame>,
    ) -> usize {
        let before = out.len();
        let mut packet = Packet {
            end: before.saturating_add(max),
            out,
            log,
            may_omit_length,
        };
        if self.wants_control() {
            self.write_control(now, rtt, &mut packet);
        }
        self.write_data(&mut packet);
        if self.wants_control() {
            // What was found to be blocked on the way, if there is room.
            self.write_control(now, rtt, &mut packet);
        }
        packet.out.len().saturating_sub(before)
    }

    /// Whether [`write_frames`](Streams::write_frames) has something to give.
    #[inline]
    pub(crate) fn wants_transmit(&self) -> bool {
        self.has_stream_data_to_send() || self.wants_control()
    }

    /// Whether a STREAM frame is to be sent and permitted by the peer's limits.
    #[inline]
    pub(crate) fn has_stream_data_to_send(&self) -> bool {
        self.out.run.is_some() || !self.out.scheduler.is_empty()
    }

    #[inline]
    fn wants_control(&self) -> bool {
        let pending =
            |dir| self.own.get(dir).blocked.is_pending() || self.theirs.get(dir).limit.is_pending();
        !self.out.control.is_empty()
            || self.out.credit_due
            || self.out.max_data.is_pending()
            || self.out.data_blocked.is_pending()
            || pending(Dir::Bi)
            || pending(Dir::Uni)
    }

    fn write_control(&mut self, now: Instant, rtt: Option<Duration>, packet: &mut Packet<'_>) {
        if self.closed {
            return;
        }
        if std::mem::take(&mut self.out.credit_due) {
            let windows = &self.connection_windows;
            self.recv
                .poll_update(now, rtt, windows, &self.memory, &mut self.unread);
            self.out.max_data.set(self.recv.limit());
            self.clock.sweep(now);
        }
        write_value(
            packet,
            &mut self.out.max_data,
            max_size::MAX_DATA,
            |out, limit| {
                encode::max_data(out, limit);
                SentFrame::MaxData { limit }
            },
        );
        write_value(
            packet,
            &mut self.out.data_blocked,
            max_size::DATA_BLOCKED,
            |out, limit| {
                encode::data_blocked(out, limit);
                SentFrame::DataBlocked { limit }
            },
        );
        for dir in Dir::ALL {
            let limit = &mut self.theirs.get_mut(dir).limit;
            write_value(packet, limit, max_size::MAX_STREAMS, |out, limit| {
                encode::max_streams(out, dir, limit);
                SentFrame::MaxStreams { dir, limit }
            });
            let blocked = &mut self.own.get_mut(dir).blocked;
            write_value(packet, blocked, max_size::STREAMS_BLOCKED, |out, limit| {
                encode::streams_blocked(out, dir, limit);
                SentFrame::StreamsBlocked { dir, limit }
            });
        }
        while let Some(key) = self.out.control.front().copied()
            && self.write_stream_control(now, rtt, key, packet)
        {
            self.out.control.pop_front();
            if let Some(stream) = self.slots.get_mut(key) {
                stream.bits.clear(bit::IN_CONTROL);
            }
            self.try_free(key);
        }
    }

    /// What one stream has to say apart from data. False when there is no room for all of it.
    fn write_stream_control(
        &mut self,
        now: Instant,
        rtt: Option<Duration>,
        key: Key,
        packet: &mut Packet<'_>,
    ) -> bool {
        let Some(stream) = self.slots.get_mut(key) else {
            return true;
        };
        if stream.bits.any(bit::OVER_LIMIT) {
            return true;
        }
        let id = stream.id;
        if stream.bits.any(bit::RESET_DUE) {
            if packet.room() < max_size::RESET_STREAM {
                return false;
            }
            stream.bits.clear(bit::RESET_DUE);
            encode::reset_stream(packet.out, id, stream.send_code, stream.send.sent());
            packet.log.push(SentFrame::ResetStream { key });
        }
        if stream.bits.any(bit::STOP_DUE) {
            if packet.room() < max_size::STOP_SENDING {
                return false;
            }
            stream.bits.clear(bit::STOP_DUE);
            encode::stop_sending(packet.out, id, stream.recv_code);
            packet.log.push(SentFrame::StopSending { key });
        }
        if stream.bits.any(bit::CREDIT_DUE) {
            if packet.room() < max_size::MAX_STREAM_DATA {
                return false;
            }
            stream.bits.clear(bit::CREDIT_DUE);
            self.write_credit(now, rtt, key, packet);
        }
        let Some(stream) = self.slots.get_mut(key) else {
            return true;
        };
        if stream.bits.any(bit::BLOCKED_DUE) {
            if packet.room() < max_size::STREAM_DATA_BLOCKED {
                return false;
            }
            stream.bits.clear(bit::BLOCKED_DUE);
            let limit = stream.send.limit();
            encode::stream_data_blocked(packet.out, id, limit);
            packet.log.push(SentFrame::StreamDataBlocked { key, limit });
            stream.move_send(SendTrigger::DataSent, &mut self.seen);
        }
        true
    }

    /// Tunes a stream's window and tells the peer of it; the connection's window keeps ahead of it.
    fn write_credit(
        &mut self,
        now: Instant,
        rtt: Option<Duration>,
        key: Key,
        packet: &mut Packet<'_>,
    ) {
        let Some(stream) = self.slots.get_mut(key) else {
            return;
        };
        let before = stream.recv.size();
        let (budget, share) = (&self.window_credit, &mut stream.credit);
        stream
            .recv
            .poll_update(now, rtt, &self.windows, budget, share);
        let limit = stream.recv.limit();
        encode::max_stream_data(packet.out, stream.id, limit);
        packet.log.push(SentFrame::MaxStreamData { key, limit });
        let size = stream.recv.size();
        self.seen.window(stream.id, before, size, rtt);
        if size > before && !self.memory.is_short() {
            // One stream at full speed is not to be held by the window of all.
            let wanted = size.saturating_add(size / 2);
            let windows = &self.connection_windows;
            let raised = self
                .recv
                .raise(wanted, windows, &self.memory, &mut self.unread);
            self.out.credit_due |= raised && self.recv.update_due();
        }
    }

    /// STREAM frames, as many as fit.
    #[inline]
    fn write_data(&mut self, packet: &mut Packet<'_>) {
        while packet.room() >= SMALLEST_FRAME
            && let Some(run) = self.turn()
        {
            let Some(stream) = self.slots.get_mut(run.key) else {
                self.out.run = None;
                continue;
            };
            match emit(stream, run.key, &mut self.send, &mut self.seen, packet) {
                Emitted::NoRoom => return,
                Emitted::Data(count) => self.after_data_sent(run, count),
                Emitted::Nothing => self.end_turn(run.key),
                Emitted::StreamBlocked => {
                    self.end_turn(run.key);
                    self.note_blocked(run.key);
                }
                Emitted::ConnectionBlocked => {
                    self.end_turn(run.key);
                    self.wait_for_connection(run.key);
                }
            }
        }
    }

    /// The stream to go on with.
    #[inline]
    fn turn(&mut self) -> Option<Run> {
        if let Some(run) = self.out.run {
            if self.out.scheduler.is_empty() {
                return Some(run);
            }
            let urgent = run.priority.urgency.checked_sub(1);
            let preempted =
                urgent.is_some_and(|urgency| self.out.scheduler.competitors(urgency) > 0);
            if run.left > 0 && !preempted {
                return Some(run);
            }
            if preempted || self.out.scheduler.competitors(run.priority.urgency) > 0 {
                self.yield_turn(run);
            } else {
                return Some(run);
            }
        }
        let (key, priority) = self.out.scheduler.pop()?;
        let left = self.config.turn;
        self.out.run = Some(Run {
            key,
            priority,
            left,
        });
        self.out.run
    }

    /// Others wait, and the turn is used up.
    fn yield_turn(&mut self, run: Run) {
        self.out.run = None;
        let Some(stream) = self.slots.get_mut(run.key) else {
            return;
        };
        if stream.priority == run.priority {
            self.out.scheduler.requeue(run.key, run.priority);
        } else {
            self.out.scheduler.push(run.key, stream.priority);
        }
    }

    #[inline]
    fn after_data_sent(&mut self, run: Run, count: u64) {
        self.stats.bytes_sent = self.stats.bytes_sent.saturating_add(count);
        let Some(stream) = self.slots.get(run.key) else {
            return;
        };
        if stream.has_sendable() {
            let left = run.left.saturating_sub(count);
            self.out.run = Some(Run { left, ..run });
        } else {
            self.end_turn(run.key);
            self.note_blocked(run.key);
        }
        self.wake_writer(run.key);
    }

    fn end_turn(&mut self, key: Key) {
        self.out.run = None;
        if let Some(stream) = self.slots.get_mut(key) {
            stream.bits.clear(bit::IN_SCHEDULER);
        }
        self.try_free(key);
    }

    /// The connection's credit is used up: the stream waits, and the peer is told once (Q93).
    pub(super) fn wait_for_connection(&mut self, key: Key) {
        self.out.data_blocked.set(self.send.limit());
        if let Some(stream) = self.slots.get_mut(key)
            && stream.bits.put(bit::IN_WAITING)
        {
            let id = stream.id;
            self.seen.held(id, HeldBy::ConnectionWindow);
            let most = self
                .slots
                .len()
                .saturating_mul(2)
                .saturating_add(SWEEP_ABOVE);
            if self.out.waiting.len() > most {
                // Streams that were reset meanwhile.
                let slots = &self.slots;
                self.out.waiting.retain(|key| slots.contains(*key));
            }
            self.out.waiting.push(key);
        }
    }
}

/// Writes a value that the peer is to be told, if it is due and there is room.
fn write_value(
    packet: &mut Packet<'_>,
    value: &mut weir_core::deliver::Deliver<u64>,
    size: usize,
    write: impl FnOnce(&mut Vec<u8>, u64) -> SentFrame,
) {
    if value.is_pending()
        && packet.room() >= size
        && let Some(limit) = value.poll()
    {
        let frame = write(packet.out, limit);
        packet.log.push(frame);
    }
}

/// One STREAM frame: what was lost first, then new data as far as both credits go, with the end if it
/// is reached.
#[inline]
fn emit(
    stream: &mut Stream,
    key: Key,
    credit: &mut SendWindow,
    seen: &mut Seen,
    packet: &mut Packet<'_>,
) -> Emitted {
    if !stream.has_sendable() {
        return Emitted::Nothing;
    }
    let sent = stream.send.sent();
    let within_connection = sent.saturating_add(credit.available());
    let limit = stream.send.limit().min(within_connection);
    let range = match &stream.outgoing {
        Some(out) => out.next_range(limit),
        None => sent..sent,
    };
    let available = usize::try_from(range.end.saturating_sub(range.start)).unwrap_or(usize::MAX);
    if available == 0 && stream.unsent() > 0 {
        return match stream.send.available() {
            0 => Emitted::StreamBlocked,
            _ => Emitted::ConnectionBlocked,
        };
    }
    let header = encode::stream_header_size(stream.id, range.start, None);
    let Some(space) = packet.room().checked_sub(header) else {
        return Emitted::NoRoom;
    };
    let (len, says_length) = if packet.may_omit_length && available >= space {
        (space, false)
    } else {
        (fitting(available, space), true)
    };
    if len < available.min(SMALLEST_PIECE) || says_length && space == 0 {
        return Emitted::NoRoom;
    }
    let range = range.start..range.start.saturating_add(len as u64);
    let fin = stream.bits.any(bit::FINISHED) && range.end == stream.written;
    encode::stream_header(
        packet.out,
        stream.id,
        range.start,
        fin,
        says_length.then_some(len),
    );
    if let Some(out) = &mut stream.outgoing {
        out.copy_range(range.clone(), packet.out);
        out.on_sent(&range);
    }
    if range.end > sent {
        // Both were looked at above.
        let new = range.end.saturating_sub(sent);
        let _within = (stream.send.consume(new), credit.consume(new));
    }
    let trigger = if fin {
        stream.bits.clear(bit::FIN_DUE);
        SendTrigger::FinSent
    } else {
        SendTrigger::DataSent
    };
    stream.move_send(trigger, seen);
    packet.log.push(SentFrame::Stream {
        key,
        offset: range.start,
        len: u32::try_from(len).unwrap_or(u32::MAX),
        fin,
    });
    Emitted::Data(len as u64)
}

/// How many of `available` bytes fit into `space` together with their length.
#[inline]
fn fitting(available: usize, space: usize) -> usize {
    let length = varint::size(available.min(space) as u64);
    available.min(space.saturating_sub(length))
}

impl<T> PerDir<T> {
    /// Both values.
    pub(super) fn both(&self) -> [&T; 2] {
        [self.get(Dir::Bi), self.get(Dir::Uni)]
    }
}
