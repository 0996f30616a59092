//! The connection IDs given to the peer: NEW_CONNECTION_ID out, RETIRE_CONNECTION_ID in.

use std::sync::Arc;

use weir_core::rng::Rng;
use weir_core::time::{Duration, Instant};

use crate::cid::{ConnectionIdGenerator, ResetToken, ResetTokens};
use crate::error::{TransportError, code};
use crate::limits::{CID_DRAWS, MAX_ISSUED_CIDS};
use crate::wire::ConnectionId;

/// Type of a RETIRE_CONNECTION_ID frame, for errors.
const RETIRE_CONNECTION_ID: u64 = 0x19;

/// What goes into a NEW_CONNECTION_ID frame (RFC 9000 section 19.15).
#[derive(Clone, Debug)]
pub(crate) struct NewConnectionId {
    /// Its place in the order of issuing; 0 was the handshake's.
    pub(crate) sequence: u64,
    /// The peer has to retire all that come before this one; at most `sequence`.
    pub(crate) retire_prior_to: u64,
    /// The connection ID.
    pub(crate) cid: ConnectionId,
    /// What a stateless reset for it will end in.
    pub(crate) token: ResetToken,
    /// True the first time: packets with this connection ID have to find the connection from now
    /// on. False when the frame is sent again.
    pub(crate) fresh: bool,
}

/// How far the peer is told of one.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Delivery {
    Wanted,
    InFlight,
    Done,
}

#[derive(Debug)]
struct Issued {
    sequence: u64,
    cid: ConnectionId,
    /// Kept so that a repetition says the same when the key has been rotated in between; `None`
    /// for the handshake's, whose token a server gives in its transport parameters.
    token: Option<ResetToken>,
    delivery: Delivery,
    expires: Instant,
}

/// Connection IDs that the peer may send to.
///
/// The peer is kept supplied up to its limit, or [`MAX_ISSUED_CIDS`] if that is less. At most twice
/// as many are held: after a lifetime has passed, replacements are out while the peer has yet to
/// retire what they replace, and nothing further expires until it has.
pub(crate) struct LocalCids {
    generator: Arc<dyn ConnectionIdGenerator>,
    reset_key: Arc<dyn ResetTokens>,
    /// In the order of their sequence numbers.
    issued: Vec<Issued>,
    next_sequence: u64,
    retire_prior_to: u64,
    /// How many may be active: 1 until the peer's transport parameters are known.
    limit: usize,
    /// Entries whose delivery is `Wanted`.
    unsent: usize,
}

impl LocalCids {
    /// `initial` is the connection ID of the handshake, sequence number 0, made by `generator` at
    /// `now`. No others are issued before [`set_peer_limit`](Self::set_peer_limit).
    pub(crate) fn new(
        now: Instant,
        initial: ConnectionId,
        generator: Arc<dyn ConnectionIdGenerator>,
        reset_key: Arc<dyn ResetTokens>,
    ) -> LocalCids {
        let expires = expiry(now, generator.lifetime());
        LocalCids {
            generator,
            reset_key,
            issued: vec![Issued {
                sequence: 0,
                cid: initial,
                token: None,
                delivery: Delivery::Done,
                expires,
            }],
            next_sequence: 1,
            retire_prior_to: 0,
            limit: 1,
            unsent: 0,
        }
    }

    /// Whether the peer's packets carry no connection ID: then none is ever issued (RFC 9000
    /// section 5.1.1).
    pub(crate) fn is_zero_length(&self) -> bool {
        self.generator.is_empty()
    }

    /// Makes the connection ID of a server's preferred_address transport parameter, which has
    /// sequence number 1 (RFC 9000 section 5.1.1). `None` for zero-length connection IDs, and
    /// when others were issued already.
    pub(crate) fn issue_preferred(
        &mut self,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<NewConnectionId> {
        if self.is_zero_length() || self.next_sequence != 1 {
            return None;
        }
        let index = self.make(now, rng, Delivery::Done)?;
        self.frame(index, true)
    }

    /// The peer's active_connection_id_limit (RFC 9000 section 18.2).
    pub(crate) fn set_peer_limit(&mut self, limit: u64) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        self.limit = limit.clamp(1, MAX_ISSUED_CIDS);
        if !self.is_zero_length() {
            self.issued
                .reserve_exact(self.limit.saturating_sub(self.issued.len()));
        }
    }

    /// The sequence number of `cid`, if the peer may use it.
    pub(crate) fn sequence_of(&self, cid: &[u8]) -> Option<u64> {
        let found = self
            .issued
            .iter()
            .find(|issued| issued.cid.as_slice() == cid)?;
        Some(found.sequence)
    }

    /// Whether packets to `cid` belong to this connection.
    pub(crate) fn contains(&self, cid: &[u8]) -> bool {
        self.sequence_of(cid).is_some()
    }

    /// RETIRE_CONNECTION_ID arrived, in a packet to the connection ID numbered `packet_sequence`
    /// (`None` for one that has no number). Returns the connection ID that is valid no more;
    /// `None` when it was retired before.
    ///
    /// # Errors
    /// PROTOCOL_VIOLATION for a sequence number that was never sent, for that of the packet
    /// itself, and when the peer uses zero-length connection IDs (RFC 9000 section 19.16).
    pub(crate) fn on_retire(
        &mut self,
        sequence: u64,
        packet_sequence: Option<u64>,
    ) -> Result<Option<ConnectionId>, TransportError> {
        let violation = |words: &'static str| {
            TransportError::new(code::PROTOCOL_VIOLATION, words).in_frame(RETIRE_CONNECTION_ID)
        };
        if self.is_zero_length() {
            return Err(violation("retired a connection ID of no bytes"));
        }
        if sequence >= self.next_sequence {
            return Err(violation("retired a connection ID that was never issued"));
        }
        if packet_sequence == Some(sequence) {
            return Err(violation("retired the connection ID its packet came to"));
        }
        let Some(index) = self.position(sequence) else {
            return Ok(None);
        };
        let gone = self.issued.remove(index);
        if gone.delivery == Delivery::Wanted {
            self.unsent = self.unsent.saturating_sub(1);
        }
        Ok(Some(gone.cid))
    }

    /// Whether [`poll_issue`](Self::poll_issue) has something.
    pub(crate) fn wants_issue(&self) -> bool {
        self.unsent > 0 || self.lacking()
    }

    /// The next NEW_CONNECTION_ID frame to be sent: lost ones first, then new ones until the peer
    /// holds as many as it takes. `None` when there is nothing to say.
    pub(crate) fn poll_issue(&mut self, now: Instant, rng: &mut Rng) -> Option<NewConnectionId> {
        if self.unsent > 0 {
            let wanted = |issued: &Issued| issued.delivery == Delivery::Wanted;
            let index = self.issued.iter().position(wanted)?;
            self.issued.get_mut(index)?.delivery = Delivery::InFlight;
            self.unsent = self.unsent.saturating_sub(1);
            return self.frame(index, false);
        }
        if !self.lacking() {
            return None;
        }
        let index = self.make(now, rng, Delivery::InFlight)?;
        self.frame(index, true)
    }

    /// The packet with this NEW_CONNECTION_ID frame was acknowledged.
    pub(crate) fn on_acked(&mut self, sequence: u64) {
        if let Some(issued) = self
            .position(sequence)
            .and_then(|at| self.issued.get_mut(at))
        {
            if issued.delivery == Delivery::Wanted {
                self.unsent = self.unsent.saturating_sub(1);
            }
            issued.delivery = Delivery::Done;
        }
    }

    /// The packet with this NEW_CONNECTION_ID frame was lost: it is sent again, unless the peer
    /// showed that it has it.
    pub(crate) fn on_lost(&mut self, sequence: u64) {
        if let Some(issued) = self
            .position(sequence)
            .and_then(|at| self.issued.get_mut(at))
            && issued.delivery == Delivery::InFlight
        {
            issued.delivery = Delivery::Wanted;
            self.unsent = self.unsent.saturating_add(1);
        }
    }

    /// When the next connection ID reaches the end of its lifetime; `None` when the generator
    /// names none, and while the peer has yet to retire what expired before.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        if self.is_zero_length() || self.awaits_retirement() {
            return None;
        }
        let next = self.issued.iter().map(|issued| issued.expires).min()?;
        (next != Instant::MAX).then_some(next)
    }

    /// Expires what is due: replacements go out with a Retire Prior To that covers it (RFC 9000
    /// section 5.1.2). The old ones stay valid until the peer retires them.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if self.timeout().is_none_or(|at| at > now) {
            return;
        }
        let due = self.issued.iter().filter(|issued| issued.expires <= now);
        let Some(last) = due.map(|issued| issued.sequence).max() else {
            return;
        };
        self.retire_prior_to = self.retire_prior_to.max(last.saturating_add(1));
    }

    /// Bytes allocated.
    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.issued.capacity().saturating_mul(size_of::<Issued>())
    }

    /// Whether the peer holds some that it was told to retire. No further ones are named before it
    /// has (RFC 9000 section 5.1.2).
    fn awaits_retirement(&self) -> bool {
        self.issued
            .first()
            .is_some_and(|first| first.sequence < self.retire_prior_to)
    }

    /// Whether the peer holds fewer than it takes, not counting those it was told to retire: the
    /// frame that brings the replacement names them (RFC 9000 section 5.1.1).
    fn lacking(&self) -> bool {
        if self.limit <= 1 || self.is_zero_length() {
            return false;
        }
        let current = |issued: &&Issued| issued.sequence >= self.retire_prior_to;
        self.issued.iter().filter(current).count() < self.limit
    }

    fn position(&self, sequence: u64) -> Option<usize> {
        self.issued
            .binary_search_by_key(&sequence, |issued| issued.sequence)
            .ok()
    }

    /// Draws a connection ID that this connection does not use yet. `None` when the generator gives
    /// none: its connection IDs are so short that all are taken.
    fn make(&mut self, now: Instant, rng: &mut Rng, delivery: Delivery) -> Option<usize> {
        for _ in 0..CID_DRAWS {
            let cid = self.generator.generate(rng);
            if self.contains(&cid) {
                continue;
            }
            let sequence = self.next_sequence;
            self.next_sequence = sequence.saturating_add(1);
            self.issued.push(Issued {
                sequence,
                cid,
                token: Some(self.reset_key.token(&cid)),
                delivery,
                expires: expiry(now, self.generator.lifetime()),
            });
            return self.issued.len().checked_sub(1);
        }
        None
    }

    fn frame(&self, index: usize, fresh: bool) -> Option<NewConnectionId> {
        let issued = self.issued.get(index)?;
        Some(NewConnectionId {
            sequence: issued.sequence,
            retire_prior_to: self.retire_prior_to.min(issued.sequence),
            cid: issued.cid,
            token: issued.token?,
            fresh,
        })
    }
}

#[cfg(test)]
impl LocalCids {
    /// All connection IDs that the peer may use.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ConnectionId> {
        self.issued.iter().map(|issued| &issued.cid)
    }

    /// Frames that wait to be sent again.
    pub(crate) fn next_unsent(&self) -> usize {
        self.unsent
    }

    /// Valid connection IDs with at least this sequence number.
    pub(crate) fn active_from(&self, sequence: u64) -> usize {
        self.issued
            .iter()
            .filter(|issued| issued.sequence >= sequence)
            .count()
    }
}

/// When what is made `now` has to be replaced.
fn expiry(now: Instant, lifetime: Option<Duration>) -> Instant {
    lifetime.map_or(Instant::MAX, |lifetime| now + lifetime)
}
