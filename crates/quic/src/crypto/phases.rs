//! 1-RTT keys through their updates (RFC 9001 section 6).
//!
//! A *phase* is counted from 0; its lowest bit is the Key Phase bit of packets. Sending is in the
//! phase that receiving is in, or one ahead of it after an update that the peer has not answered.
//! For receiving, the keys of the present phase, of the next, and for a while of the previous one
//! are at hand, so that no key is made while a packet is being opened: the time that takes says
//! nothing of the Key Phase bit (sections 6.3 and 9.5).

use std::ops::Range;

use rustls::quic::{HeaderProtectionKey, Keys, PacketKey, PacketKeySet};
use weir_core::time::Instant;

use super::packet::{self, Header, KEY_PHASE};
use super::secrets::Secrets;
use crate::error::{TransportError, code};

/// What the keys of later phases are made from.
pub(crate) enum NextKeys {
    /// By rustls, in the version that it was started with.
    Tls(rustls::quic::Secrets),
    /// By ourselves, in a version that was agreed on later.
    Own(Secrets),
}

impl NextKeys {
    /// The keys of the next phase; from then on, those of the one after it. `None` only if the
    /// cipher fails, which it does not.
    fn advance(&mut self) -> Option<PacketKeySet> {
        match self {
            NextKeys::Tls(secrets) => Some(secrets.next_packet_keys()),
            NextKeys::Own(secrets) => {
                let keys = secrets.packet_keys();
                *secrets = secrets.next()?;
                keys
            }
        }
    }

    /// The keys of the next phase, once more.
    fn peek(&self) -> Option<PacketKeySet> {
        match self {
            NextKeys::Tls(secrets) => Some(secrets.clone().next_packet_keys()),
            NextKeys::Own(secrets) => secrets.packet_keys(),
        }
    }
}

/// Why no key update can be begun now (RFC 9001 sections 6.1 and 6.5).
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyUpdateRefused {
    /// There are no 1-RTT keys, or the handshake is not confirmed.
    #[error("the handshake is not confirmed")]
    NotConfirmed,
    /// Nothing that was sent in the present phase is acknowledged.
    #[error("no packet of the present key phase is acknowledged")]
    NotAcknowledged,
    /// The last update is less than three probe timeouts ago.
    #[error("the last key update was a moment ago")]
    TooSoon,
}

/// How often one key may be used.
#[derive(Copy, Clone, Debug)]
pub(super) struct Usage {
    /// An update is wanted from this many sealed packets on.
    pub(super) update_at: u64,
    /// And at any price from this many on.
    pub(super) urgent_at: u64,
    /// No more than this.
    pub(super) limit: u64,
}

/// Which key a packet is to be opened with.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Choice {
    Current,
    Previous,
    Next,
    /// No key fits. One is tried all the same, as that takes as long as with a key that does.
    StandIn,
}

/// Why a packet was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PhaseError {
    /// Not authentic.
    Authentication,
    /// Authentic, and the key may not be used for it.
    KeyUpdate(TransportError),
    /// Authentic, with a reserved bit set.
    Reserved,
}

/// An opened packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OpenedPhase {
    pub(super) payload: Range<usize>,
    pub(super) phase: u64,
    /// It is the first of its phase.
    pub(super) phase_changed: bool,
}

/// The 1-RTT keys of one connection.
pub(super) struct Phases {
    send_header: Box<dyn HeaderProtectionKey>,
    send: Box<dyn PacketKey>,
    /// The phase that is sent in; `send` lags behind it until [`Phases::prepare`].
    send_phase: u64,
    /// The phase that `send` belongs to.
    send_key_phase: u64,
    /// Packets sealed in this phase.
    sealed: u64,
    /// The first of them.
    first_sent: Option<u64>,
    /// One of them is acknowledged.
    acknowledged: bool,
    /// Something was sealed since the first packet of this phase was received.
    answered: bool,

    receive_header: Box<dyn HeaderProtectionKey>,
    receive: Box<dyn PacketKey>,
    receive_phase: u64,
    /// Lowest and highest packet number received in this phase.
    received: Option<(u64, u64)>,
    /// The previous phase's key, for packets that were overtaken.
    previous: Option<Box<dyn PacketKey>>,
    /// The next phase's key. Missing only from an update until [`Phases::prepare`].
    next: Option<Box<dyn PacketKey>>,
    /// What later keys are made from: stands at the phase behind `send_key_phase`.
    secrets: NextKeys,

    confirmed: bool,
    /// Until then old keys stay and no update is begun.
    hold: Option<Instant>,
    usage: Usage,
}

impl Phases {
    pub(super) fn new(keys: Keys, secrets: NextKeys, usage: Usage) -> Phases {
        let next = secrets.peek().map(|keys| keys.remote);
        Phases {
            send_header: keys.local.header,
            send: keys.local.packet,
            send_phase: 0,
            send_key_phase: 0,
            sealed: 0,
            first_sent: None,
            acknowledged: false,
            answered: false,
            receive_header: keys.remote.header,
            receive: keys.remote.packet,
            receive_phase: 0,
            received: None,
            previous: None,
            next,
            secrets,
            confirmed: false,
            hold: None,
            usage,
        }
    }

    /// The Key Phase bit of packets that are sealed from now on.
    pub(super) fn send_bit(&self) -> bool {
        self.send_phase & 1 == 1
    }

    /// See [`super::Protection::seal`].
    pub(super) fn seal(
        &mut self,
        packet: &mut [u8],
        pn_offset: usize,
        pn_len: usize,
        pn: u64,
    ) -> Result<(), TransportError> {
        if self.send_key_phase != self.send_phase || self.next.is_none() {
            self.prepare();
        }
        if self.sealed >= self.usage.limit || self.send_key_phase != self.send_phase {
            return Err(limit_reached());
        }
        debug_assert_eq!(
            packet.first().map(|first| first & KEY_PHASE != 0),
            Some(self.send_bit()),
            "the Key Phase bit is written from send_phase()"
        );
        packet::seal(
            &*self.send_header,
            &*self.send,
            packet,
            pn_offset,
            pn_len,
            pn,
        )
        .map_err(|_| super::protection::not_sealed())?;
        self.sealed += 1;
        self.first_sent.get_or_insert(pn);
        self.answered = true;
        Ok(())
    }

    /// Packets sealed in the present phase.
    #[cfg(test)]
    pub(super) fn sealed(&self) -> u64 {
        self.sealed
    }

    /// The present phase's limit is so near that the connection has to end, unless an update comes
    /// first.
    pub(super) fn is_exhausted(&self) -> bool {
        self.sealed
            >= self
                .usage
                .limit
                .saturating_sub(super::protection::CLOSE_RESERVE)
    }

    pub(super) fn receive_header(&self) -> &dyn HeaderProtectionKey {
        &*self.receive_header
    }

    /// Which key opens a packet with this Key Phase bit and number (RFC 9001 section 6.5).
    fn choose(&self, bit: bool, pn: u64) -> Choice {
        if bit == (self.receive_phase & 1 == 1) {
            return Choice::Current;
        }
        if self.previous.is_some() {
            let overtaken = self.received.is_some_and(|(_, highest)| pn < highest);
            // The peer may go on to the next phase once it has an acknowledgement in this one.
            // As long as none can be on its way, the other bit is that of the previous phase.
            if overtaken || !self.answered {
                return Choice::Previous;
            }
        }
        if self.next.is_some() {
            Choice::Next
        } else {
            Choice::StandIn
        }
    }

    /// Opens `packet`, whose header is plain.
    pub(super) fn open(
        &mut self,
        packet: &mut [u8],
        header: &Header,
    ) -> Result<OpenedPhase, PhaseError> {
        let choice = self.choose(header.first & KEY_PHASE != 0, header.pn);
        let key = match choice {
            Choice::Current | Choice::StandIn => Some(&self.receive),
            Choice::Previous => self.previous.as_ref(),
            Choice::Next => self.next.as_ref(),
        };
        let payload = packet::open(&**key.unwrap_or(&self.receive), packet, header)
            .filter(|_| choice != Choice::StandIn)
            .ok_or(PhaseError::Authentication)?;
        if header.reserved_bits() {
            return Err(PhaseError::Reserved);
        }
        let phase = match choice {
            Choice::Previous => self.check_previous(header.pn)?,
            Choice::Next => self.check_next()?,
            Choice::Current | Choice::StandIn => self.receive_phase,
        };
        let phase_changed = phase > self.receive_phase;
        if phase_changed {
            self.follow();
        }
        if phase == self.receive_phase {
            let (lowest, highest) = self.received.unwrap_or((header.pn, header.pn));
            self.received = Some((lowest.min(header.pn), highest.max(header.pn)));
        }
        Ok(OpenedPhase {
            payload,
            phase,
            phase_changed,
        })
    }

    /// RFC 9001 section 6.4: an older key is for lower numbers only.
    fn check_previous(&self, pn: u64) -> Result<u64, PhaseError> {
        match self.received {
            Some((lowest, _)) if pn >= lowest => Err(PhaseError::KeyUpdate(TransportError::new(
                code::KEY_UPDATE_ERROR,
                "a packet under old keys is younger than one under new keys",
            ))),
            _ => Ok(self.receive_phase.saturating_sub(1)),
        }
    }

    /// RFC 9001 section 6.2: no second update before the first is acknowledged.
    fn check_next(&self) -> Result<u64, PhaseError> {
        let answers_ours = self.send_phase > self.receive_phase;
        if !answers_ours && self.receive_phase > 0 && !self.answered {
            return Err(PhaseError::KeyUpdate(TransportError::new(
                code::KEY_UPDATE_ERROR,
                "two key updates, and the first was not acknowledged",
            )));
        }
        Ok(self.receive_phase + 1)
    }

    /// A packet of the next phase was opened: that phase is the present one now, for sending too
    /// (RFC 9001 section 6.2). Only moves keys; they are made in [`Phases::prepare`].
    fn follow(&mut self) {
        if let Some(next) = self.next.take() {
            self.previous = Some(std::mem::replace(&mut self.receive, next));
        }
        self.receive_phase += 1;
        self.received = None;
        self.answered = false;
        if self.send_phase < self.receive_phase {
            self.enter_send_phase();
        }
    }

    fn enter_send_phase(&mut self) {
        self.send_phase += 1;
        self.sealed = 0;
        self.first_sent = None;
        self.acknowledged = false;
    }

    /// Makes the keys that an update used up.
    pub(super) fn prepare(&mut self) {
        if self.send_key_phase < self.send_phase
            && let Some(keys) = self.secrets.advance()
        {
            self.send = keys.local;
            self.send_key_phase += 1;
        }
        // While an update of ours is unanswered, `secrets` is one phase further than the next
        // phase to receive; that one's key was made before.
        if self.next.is_none() && self.send_phase == self.receive_phase {
            self.next = self.secrets.peek().map(|keys| keys.remote);
        }
    }

    /// The handshake is confirmed: updates may be begun.
    pub(super) fn confirm(&mut self) {
        self.confirmed = true;
    }

    /// An ACK of `largest` came in a packet of phase `carrier`. True when it completes an update: it is
    /// the first for the present phase.
    pub(super) fn on_ack(&mut self, carrier: u64, largest: u64) -> Result<bool, TransportError> {
        if self.acknowledged || self.first_sent.is_none_or(|first| largest < first) {
            return Ok(false);
        }
        if carrier < self.send_phase {
            // RFC 9001 section 6.2: the peer has read the new phase and still writes in the old.
            return Err(TransportError::new(
                code::KEY_UPDATE_ERROR,
                "packets under new keys are acknowledged under old keys",
            ));
        }
        self.acknowledged = true;
        // In phase 0 there was no update to complete.
        Ok(self.send_phase > 0)
    }

    pub(super) fn hold_until(&mut self, deadline: Instant) {
        self.hold = Some(self.hold.map_or(deadline, |held| held.max(deadline)));
    }

    pub(super) fn hold(&self) -> Option<Instant> {
        self.hold
    }

    /// Lets go of old keys when their time is over.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        if self.hold.is_some_and(|deadline| deadline <= now) {
            self.hold = None;
            self.previous = None;
            self.prepare();
        }
    }

    /// Whether an update may be begun.
    pub(super) fn may_update(&self, now: Instant) -> Result<(), KeyUpdateRefused> {
        if !self.confirmed {
            return Err(KeyUpdateRefused::NotConfirmed);
        }
        if self.send_phase > 0 && !self.acknowledged {
            return Err(KeyUpdateRefused::NotAcknowledged);
        }
        // The wait is for the peer's sake (a SHOULD); the cipher's limit is a MUST.
        if self.sealed < self.usage.urgent_at && self.hold.is_some_and(|deadline| now < deadline) {
            return Err(KeyUpdateRefused::TooSoon);
        }
        Ok(())
    }

    pub(super) fn update_wanted(&self, now: Instant) -> bool {
        self.sealed >= self.usage.update_at && self.may_update(now).is_ok()
    }

    /// Begins an update: what is sealed from now on is in the next phase.
    pub(super) fn initiate(&mut self, now: Instant) -> Result<(), KeyUpdateRefused> {
        self.may_update(now)?;
        // The next key to receive with is made from the same secrets: first, as they move on.
        self.prepare();
        self.enter_send_phase();
        self.prepare();
        Ok(())
    }
}

/// The present key is used up (RFC 9001 section 6.6).
pub(super) fn limit_reached() -> TransportError {
    TransportError::new(
        code::AEAD_LIMIT_REACHED,
        "as many packets are sealed with one key as its cipher takes",
    )
}

#[cfg(test)]
#[path = "phases_tests.rs"]
mod tests;
