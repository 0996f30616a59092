//! The connection IDs that the peer gave: NEW_CONNECTION_ID in, RETIRE_CONNECTION_ID out.

use crate::cid::ResetToken;
use crate::error::{TransportError, code};
use crate::limits::{ACTIVE_CONNECTION_ID_LIMIT, MAX_UNACKED_RETIREMENTS};
use crate::wire::ConnectionId;

/// Type of a NEW_CONNECTION_ID frame, for errors.
const NEW_CONNECTION_ID: u64 = 0x18;
/// Sequence numbers above the lowest one not seen that are told apart, one bit each.
const WINDOW: u64 = u64::BITS as u64;

#[derive(Debug)]
struct Held {
    sequence: u64,
    cid: ConnectionId,
    /// Absent for a client's first connection ID, and a server's that sent no token.
    token: Option<ResetToken>,
    /// Whether a path has it, or had it.
    taken: bool,
    /// It is not used any more, and will be retired.
    doomed: bool,
}

/// A retired connection ID whose RETIRE_CONNECTION_ID is not acknowledged yet.
#[derive(Copy, Clone, Debug)]
struct Retired {
    sequence: u64,
    in_flight: bool,
}

/// Connection IDs to send to: at most [`ACTIVE_CONNECTION_ID_LIMIT`], and a bounded number of
/// retired ones that the peer has yet to hear of.
pub(crate) struct RemoteCids {
    held: Vec<Held>,
    retired: Vec<Retired>,
    /// Entries of `retired` that are not in flight.
    unsent: usize,
    retire_prior_to: u64,
    /// Every sequence number below counts as seen.
    seen_below: u64,
    /// Bit n: `seen_below + n` was seen.
    seen: u64,
    /// Below this some were passed over without having been seen.
    passed_over: u64,
    /// Other tokens are in use than when that was last asked.
    tokens_changed: bool,
}

impl RemoteCids {
    /// `initial` is the connection ID to begin with; it has sequence number 0 once the handshake
    /// has settled it ([`replace_initial`](Self::replace_initial)).
    pub(crate) fn new(initial: ConnectionId) -> RemoteCids {
        RemoteCids {
            held: vec![Held {
                sequence: 0,
                cid: initial,
                token: None,
                taken: false,
                doomed: false,
            }],
            retired: Vec::new(),
            unsent: 0,
            retire_prior_to: 0,
            seen_below: 1,
            seen: 0,
            passed_over: 0,
            tokens_changed: false,
        }
    }

    /// The peer's first packet, or a Retry, names another connection ID (RFC 9000 section 7.2).
    pub(crate) fn replace_initial(&mut self, cid: ConnectionId) {
        if let Some(first) = self.held.first_mut().filter(|held| held.sequence == 0) {
            first.cid = cid;
        }
    }

    /// The server's stateless_reset_token transport parameter: the token of sequence number 0.
    pub(crate) fn set_initial_token(&mut self, token: ResetToken) {
        if let Some(first) = self.held.first_mut().filter(|held| held.sequence == 0) {
            first.token = Some(token);
            self.tokens_changed = true;
        }
    }

    /// The connection ID of the server's preferred_address transport parameter: sequence number 1.
    ///
    /// # Errors
    /// TRANSPORT_PARAMETER_ERROR from a server that uses zero-length connection IDs (RFC 9000
    /// section 18.2).
    pub(crate) fn on_preferred(
        &mut self,
        cid: ConnectionId,
        token: ResetToken,
    ) -> Result<(), TransportError> {
        if self.is_zero_length() || cid.is_empty() {
            let words = "a preferred address with a connection ID of no bytes";
            return Err(TransportError::new(code::TRANSPORT_PARAMETER_ERROR, words));
        }
        self.on_new(1, 0, cid, token)
    }

    /// Whether packets to the peer carry no connection ID.
    pub(crate) fn is_zero_length(&self) -> bool {
        self.held.first().is_some_and(|held| held.cid.is_empty())
    }

    /// NEW_CONNECTION_ID arrived (RFC 9000 section 19.15). What it retires is retired before the
    /// new one is added.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION when packets to the peer carry no connection ID, and when it contradicts
    /// an earlier frame; FRAME_ENCODING_ERROR for an impossible length or Retire Prior To;
    /// CONNECTION_ID_LIMIT_ERROR when more are active than was announced, or more retired than are
    /// kept track of.
    pub(crate) fn on_new(
        &mut self,
        sequence: u64,
        retire_prior_to: u64,
        cid: ConnectionId,
        token: ResetToken,
    ) -> Result<(), TransportError> {
        if self.is_zero_length() {
            return Err(fault(
                code::PROTOCOL_VIOLATION,
                "connection IDs here have no bytes",
            ));
        }
        if cid.is_empty() {
            return Err(fault(
                code::FRAME_ENCODING_ERROR,
                "connection ID of no bytes",
            ));
        }
        if retire_prior_to > sequence {
            return Err(fault(
                code::FRAME_ENCODING_ERROR,
                "retires the connection ID it brings",
            ));
        }
        let known = self.check_repetition(sequence, &cid, &token)?;
        if retire_prior_to > self.retire_prior_to {
            self.retire_prior_to(retire_prior_to)?;
        }
        if known {
            return Ok(());
        }
        match self.mark_seen(sequence) {
            // It was retired before, and the peer told.
            Seen::Before => return Ok(()),
            Seen::Unknown => return self.push_retired(sequence),
            Seen::First if sequence < self.retire_prior_to => return self.push_retired(sequence),
            Seen::First => {}
        }
        if self.held.len() >= ACTIVE_CONNECTION_ID_LIMIT {
            let words = "more connection IDs than the announced limit";
            return Err(fault(code::CONNECTION_ID_LIMIT_ERROR, words));
        }
        self.held.push(Held {
            sequence,
            cid,
            token: Some(token),
            taken: false,
            doomed: false,
        });
        Ok(())
    }

    /// An unused connection ID, which is the caller's from now on: its sequence number.
    pub(crate) fn take_unused(&mut self) -> Option<u64> {
        let held = self
            .held
            .iter_mut()
            .find(|held| !held.taken && !held.doomed)?;
        held.taken = true;
        self.tokens_changed = true;
        Some(held.sequence)
    }

    /// Whether [`take_unused`](Self::take_unused) has one.
    pub(crate) fn has_unused(&self) -> bool {
        self.held.iter().any(|held| !held.taken && !held.doomed)
    }

    /// The connection ID numbered `sequence`, unless it is retired.
    #[inline]
    pub(crate) fn get(&self, sequence: u64) -> Option<ConnectionId> {
        let mut usable = self.held.iter().filter(|held| !held.doomed);
        Some(usable.find(|held| held.sequence == sequence)?.cid)
    }

    /// Packets will not be sent to `sequence` any more; the peer is told, once it has acknowledged
    /// enough of what was retired before. A zero-length connection ID is never retired.
    pub(crate) fn retire(&mut self, sequence: u64) {
        if self.is_zero_length() {
            return;
        }
        if let Some(held) = self.held.iter_mut().find(|held| held.sequence == sequence) {
            held.doomed = true;
            self.retire_doomed();
        }
    }

    /// Retires what waits for room to be remembered.
    fn retire_doomed(&mut self) {
        while self.retired.len() < MAX_UNACKED_RETIREMENTS
            && let Some(index) = self.held.iter().position(|held| held.doomed)
        {
            // There is room: it cannot fail.
            if self.retire_at(index).is_err() {
                return;
            }
        }
    }

    /// Whether [`poll_retire`](Self::poll_retire) has something.
    pub(crate) fn wants_retire(&self) -> bool {
        self.unsent > 0
    }

    /// The sequence number of the next RETIRE_CONNECTION_ID frame to be sent.
    pub(crate) fn poll_retire(&mut self) -> Option<u64> {
        if self.unsent == 0 {
            return None;
        }
        let next = self.retired.iter_mut().find(|retired| !retired.in_flight)?;
        next.in_flight = true;
        self.unsent = self.unsent.saturating_sub(1);
        Some(next.sequence)
    }

    /// The packet with this RETIRE_CONNECTION_ID frame was acknowledged.
    pub(crate) fn on_acked(&mut self, sequence: u64) {
        if let Some(index) = self.retired.iter().position(|old| old.sequence == sequence)
            && !self.retired.swap_remove(index).in_flight
        {
            self.unsent = self.unsent.saturating_sub(1);
        }
        self.retire_doomed();
    }

    /// The packet with this RETIRE_CONNECTION_ID frame was lost: it is sent again.
    pub(crate) fn on_lost(&mut self, sequence: u64) {
        let lost = |old: &&mut Retired| old.sequence == sequence && old.in_flight;
        if let Some(retired) = self.retired.iter_mut().find(lost) {
            retired.in_flight = false;
            self.unsent = self.unsent.saturating_add(1);
        }
    }

    /// The reset token of the connection ID numbered `sequence`, unless it has none or is retired.
    pub(crate) fn token(&self, sequence: u64) -> Option<ResetToken> {
        let mut usable = self.held.iter().filter(|held| !held.doomed);
        usable.find(|held| held.sequence == sequence)?.token
    }

    /// A path sends to another connection ID than before, or to none any more.
    pub(crate) fn note_use(&mut self) {
        self.tokens_changed = true;
    }

    /// Whether other tokens may be in use than at the last call, or with other addresses.
    #[inline]
    pub(crate) fn take_tokens_changed(&mut self) -> bool {
        std::mem::take(&mut self.tokens_changed)
    }

    /// The tokens of all connection IDs that packets are sent to, for the endpoint to forget at
    /// the end.
    pub(crate) fn tokens_in_use(&self) -> impl Iterator<Item = &ResetToken> {
        let taken = self.held.iter().filter(|held| held.taken);
        taken.filter_map(|held| held.token.as_ref())
    }

    /// The connection is quiet: gives back memory that is not in use.
    pub(crate) fn release_memory(&mut self) {
        self.held.shrink_to_fit();
        self.retired.shrink_to_fit();
    }

    /// Bytes allocated.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        let held = self.held.capacity().saturating_mul(size_of::<Held>());
        let retired = self.retired.capacity().saturating_mul(size_of::<Retired>());
        held.saturating_add(retired)
    }

    /// Compares a frame with what is held: `true` when it repeats one.
    fn check_repetition(
        &self,
        sequence: u64,
        cid: &ConnectionId,
        token: &ResetToken,
    ) -> Result<bool, TransportError> {
        for held in &self.held {
            let same = held.sequence == sequence;
            if same != (held.cid == *cid) {
                let words = "a connection ID and its sequence number do not match";
                return Err(fault(code::PROTOCOL_VIOLATION, words));
            }
            // Equality of tokens takes the same time wherever they differ.
            if same && held.token.as_ref().is_some_and(|old| old != token) {
                let words = "another reset token for the same connection ID";
                return Err(fault(code::PROTOCOL_VIOLATION, words));
            }
            if !same && held.token.as_ref().is_some_and(|old| old == token) {
                let words = "the reset token of another connection ID";
                return Err(fault(code::PROTOCOL_VIOLATION, words));
            }
            if same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Retires everything below `bound` (RFC 9000 section 5.1.2). Walks what is held, never the
    /// numbers in between, which the peer chose.
    fn retire_prior_to(&mut self, bound: u64) -> Result<(), TransportError> {
        self.retire_prior_to = bound;
        while let Some(index) = self.held.iter().position(|held| held.sequence < bound) {
            self.retire_at(index)?;
        }
        Ok(())
    }

    fn retire_at(&mut self, index: usize) -> Result<(), TransportError> {
        if index >= self.held.len() {
            return Ok(());
        }
        let gone = self.held.remove(index);
        self.tokens_changed |= gone.taken;
        self.push_retired(gone.sequence)
    }

    /// A RETIRE_CONNECTION_ID for `sequence`, unless one is on its way.
    fn push_retired(&mut self, sequence: u64) -> Result<(), TransportError> {
        if self.retired.iter().any(|old| old.sequence == sequence) {
            return Ok(());
        }
        if self.retired.len() >= MAX_UNACKED_RETIREMENTS {
            let words = "too many connection IDs retired and not acknowledged";
            return Err(fault(code::CONNECTION_ID_LIMIT_ERROR, words));
        }
        self.retired.push(Retired {
            sequence,
            in_flight: false,
        });
        self.unsent = self.unsent.saturating_add(1);
        Ok(())
    }

    /// Notes that `sequence` has been received.
    fn mark_seen(&mut self, sequence: u64) -> Seen {
        if let Some(ahead) = sequence.checked_sub(self.seen_below.saturating_add(WINDOW - 1)) {
            // A peer that keeps to the limit is never this far ahead. What is passed over here and
            // still comes is retired without having been used.
            self.seen_below = self.seen_below.saturating_add(ahead);
            self.seen = shifted(self.seen, ahead);
            self.passed_over = self.seen_below;
        }
        let Some(bit) = sequence.checked_sub(self.seen_below) else {
            return match sequence < self.passed_over {
                true => Seen::Unknown,
                false => Seen::Before,
            };
        };
        let mask = shifted_up(bit);
        if self.seen & mask != 0 {
            return Seen::Before;
        }
        self.seen |= mask;
        let run = u64::from(self.seen.trailing_ones());
        self.seen_below = self.seen_below.saturating_add(run);
        self.seen = shifted(self.seen, run);
        Seen::First
    }
}

/// What is known of a sequence number that is not held.
enum Seen {
    First,
    Before,
    /// It was passed over, and may have been seen before that.
    Unknown,
}

/// `bits` moved down by `by`, which may be more than there are.
fn shifted(bits: u64, by: u64) -> u64 {
    u32::try_from(by)
        .ok()
        .and_then(|by| bits.checked_shr(by))
        .unwrap_or(0)
}

/// Bit number `bit`; none when there is no such bit.
fn shifted_up(bit: u64) -> u64 {
    u32::try_from(bit)
        .ok()
        .and_then(|bit| 1u64.checked_shl(bit))
        .unwrap_or(0)
}

fn fault(code: u64, words: &'static str) -> TransportError {
    TransportError::new(code, words).in_frame(NEW_CONNECTION_ID)
}
