//! All packet keys of one connection (RFC 9001 sections 4.9, 5 and 6).

use std::ops::Range;

use rustls::quic::{DirectionalKeys, HeaderProtectionKey, Keys, PacketKey};
use weir_core::time::Instant;

use super::Level;
use super::initial;
use super::packet;
use super::phases::{KeyUpdateRefused, NextKeys, PhaseError, Phases, Usage, limit_reached};
use super::tls::KeyChange;
use crate::error::{TransportError, code};
use crate::wire::{ConnectionId, Side, Version};

/// Packets that are kept back from a key's limit, to say with them that the connection ends.
pub(super) const CLOSE_RESERVE: u64 = 16;
/// Where the version stands in a long header (RFC 8999 section 5.1).
const VERSION_AT: Range<usize> = 1..5;

/// Other limits than the ciphers', in packets; those are an upper bound (RFC 9001 section 6.6).
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct AeadLimits {
    /// An update is begun when so many were sealed in one phase. Default: half of what the cipher
    /// takes.
    pub(crate) update_after: Option<u64>,
    /// Most to seal with one key.
    pub(crate) confidentiality: Option<u64>,
    /// Most that may fail to authenticate, in the connection's life.
    pub(crate) integrity: Option<u64>,
}

/// An opened packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Its packet number.
    pub(crate) pn: u64,
    /// Where its frames are.
    pub(crate) payload: Range<usize>,
    /// The key phase that it came in, 0 but for 1-RTT: for [`Protection::on_ack`].
    pub(crate) phase: u64,
    /// It is the first of a new key phase. The old keys stay until
    /// [`Protection::hold_until`] says.
    pub(crate) phase_changed: bool,
}

/// Why a packet was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// There are no keys for it, not yet or no longer. It is as it was.
    NoKeys,
    /// It is shorter than any packet can be; dropped. It is as it was.
    TooShort,
    /// Not authentic; dropped, and nothing but a counter has changed (Q30). Its bytes are without
    /// meaning now: `tail` has the 16 that it ended in, which may be a stateless reset's token
    /// when the header was short.
    Authentication {
        /// What it ended in.
        tail: [u8; 16],
    },
    /// Authentic, and the peer is at fault: the connection ends with PROTOCOL_VIOLATION (reserved
    /// bits), KEY_UPDATE_ERROR, or AEAD_LIMIT_REACHED (too many failures).
    Fatal(TransportError),
}

/// One direction's keys but for 1-RTT.
struct Direction {
    header: Box<dyn HeaderProtectionKey>,
    packet: Box<dyn PacketKey>,
}

impl From<DirectionalKeys> for Direction {
    fn from(keys: DirectionalKeys) -> Direction {
        Direction {
            header: keys.header,
            packet: keys.packet,
        }
    }
}

/// Keys of both directions.
struct Pair {
    send: Direction,
    receive: Direction,
}

impl From<Keys> for Pair {
    fn from(keys: Keys) -> Pair {
        Pair {
            send: keys.local.into(),
            receive: keys.remote.into(),
        }
    }
}

/// All packet keys of one connection.
///
/// Packets are sealed and opened in place, and nothing is allocated for one. What arrives is dealt
/// with in one go, header protection, number and payload, whether it is a duplicate or not
/// (RFC 9001 section 9.5): the caller looks at the number only when `open` has succeeded.
///
/// Duties of the caller: write the Key Phase bit from [`send_phase`](Self::send_phase); after each
/// batch [`prepare`](Self::prepare); begin an update when [`update_wanted`](Self::update_wanted);
/// tell of each ACK of a 1-RTT packet by [`on_ack`](Self::on_ack); call
/// [`hold_until`](Self::hold_until) with three probe timeouts from now when a packet had
/// `phase_changed` and when `on_ack` returned true; call [`on_timeout`](Self::on_timeout) at
/// [`timeout`](Self::timeout).
pub(crate) struct Protection {
    side: Side,
    /// Initial keys by version: the present one, and after a switch the one before (RFC 9369
    /// section 4.1), which is only received with.
    initial: Option<(Version, Pair)>,
    initial_before: Option<(Version, Pair)>,
    zero_rtt: Option<Direction>,
    handshake: Option<Pair>,
    one_rtt: Option<Box<Phases>>,
    /// 1-RTT packets may be opened (RFC 9001 section 5.7).
    complete: bool,
    /// Packets that failed to authenticate.
    failed: u64,
    integrity: u64,
    limits: AeadLimits,
}

impl Protection {
    /// With Initial keys from the client's first Destination Connection ID. `None` for a version
    /// that is not spoken here.
    pub(crate) fn new(
        side: Side,
        version: Version,
        initial_dcid: &ConnectionId,
        limits: AeadLimits,
    ) -> Option<Protection> {
        let keys = initial::keys(side, version, initial_dcid)?;
        let mut protection = Protection {
            side,
            initial: None,
            initial_before: None,
            zero_rtt: None,
            handshake: None,
            one_rtt: None,
            complete: false,
            failed: 0,
            integrity: u64::MAX,
            limits,
        };
        protection.set_integrity(&keys);
        protection.initial = Some((version, keys.into()));
        Some(protection)
    }

    fn set_integrity(&mut self, keys: &Keys) {
        let cipher = keys.remote.packet.integrity_limit();
        self.integrity = self.limits.integrity.unwrap_or(cipher).min(cipher);
    }

    /// Initial keys anew from another connection ID: that of a Retry (RFC 9001 section 5.2), or
    /// for another version after Version Negotiation. False when the version is not spoken here.
    #[must_use]
    pub(crate) fn reset_initial(&mut self, version: Version, dcid: &ConnectionId) -> bool {
        let keys = initial::keys(self.side, version, dcid);
        self.initial_before = None;
        self.initial = keys.map(|keys| (version, keys.into()));
        self.initial.is_some()
    }

    /// A compatible version was agreed on (RFC 9369 section 4.1): Initial packets are sent in it
    /// from now on, and received in both. False when the version is not spoken here.
    #[must_use]
    pub(crate) fn switch_version(&mut self, version: Version, dcid: &ConnectionId) -> bool {
        let Some(keys) = initial::keys(self.side, version, dcid) else {
            return false;
        };
        self.initial_before = self.initial.replace((version, keys.into()));
        true
    }

    /// 0-RTT keys: the client's to send with, the server's to receive with.
    pub(crate) fn install_zero_rtt(&mut self, keys: DirectionalKeys) {
        self.zero_rtt = Some(keys.into());
    }

    /// What TLS came up with.
    pub(crate) fn install(&mut self, change: KeyChange) {
        match change {
            KeyChange::Handshake { keys } => self.install_handshake(keys),
            KeyChange::OneRtt { keys, next } => self.install_one_rtt(keys, next),
        }
    }

    /// Handshake keys.
    pub(crate) fn install_handshake(&mut self, keys: Keys) {
        self.set_integrity(&keys);
        self.handshake = Some(keys.into());
    }

    /// 1-RTT keys. Nothing is received with them before
    /// [`on_handshake_complete`](Self::on_handshake_complete). A client's 0-RTT keys go
    /// (RFC 9001 section 4.9.3).
    pub(crate) fn install_one_rtt(&mut self, keys: Keys, next: NextKeys) {
        self.set_integrity(&keys);
        let cipher = keys.local.packet.confidentiality_limit();
        let limit = self.limits.confidentiality.unwrap_or(cipher).min(cipher);
        let usage = Usage {
            update_at: self.limits.update_after.unwrap_or(limit / 2).min(limit / 2),
            urgent_at: limit - limit / 4,
            limit,
        };
        self.one_rtt = Some(Box::new(Phases::new(keys, next, usage)));
        if self.side.is_client() {
            self.zero_rtt = None;
        }
    }

    /// The handshake is complete (RFC 9001 section 4.1.1): 1-RTT packets may be opened.
    pub(crate) fn on_handshake_complete(&mut self) {
        self.complete = true;
    }

    /// The handshake is confirmed (RFC 9001 section 4.1.2): key updates may be begun.
    pub(crate) fn on_handshake_confirmed(&mut self) {
        if let Some(phases) = &mut self.one_rtt {
            phases.confirm();
        }
    }

    /// Forgets the keys of a level (RFC 9001 section 4.9).
    pub(crate) fn discard(&mut self, level: Level) {
        match level {
            Level::Initial => {
                self.initial = None;
                self.initial_before = None;
            }
            Level::ZeroRtt => self.zero_rtt = None,
            Level::Handshake => self.handshake = None,
            Level::OneRtt => self.one_rtt = None,
        }
    }

    /// Whether packets of this level can be sealed.
    pub(crate) fn has_send(&self, level: Level) -> bool {
        match level {
            Level::Initial => self.initial.is_some(),
            Level::ZeroRtt => self.side.is_client() && self.zero_rtt.is_some(),
            Level::Handshake => self.handshake.is_some(),
            Level::OneRtt => self.one_rtt.is_some(),
        }
    }

    /// Whether packets of this level can be opened.
    pub(crate) fn has_receive(&self, level: Level) -> bool {
        match level {
            Level::Initial => self.initial.is_some(),
            Level::ZeroRtt => self.side.is_server() && self.zero_rtt.is_some(),
            Level::Handshake => self.handshake.is_some(),
            Level::OneRtt => self.complete && self.one_rtt.is_some(),
        }
    }

    /// The Key Phase bit of 1-RTT packets that are sealed from now on.
    pub(crate) fn send_phase(&self) -> bool {
        self.one_rtt.as_ref().is_some_and(|keys| keys.send_bit())
    }

    /// Seals one packet in place: `packet` is its header, its payload and
    /// [`TAG_LEN`](super::TAG_LEN) spare bytes;
    /// the packet number `pn` stands in `pn_len` bytes at `pn_offset`. Number and payload together
    /// are at least 4 bytes (RFC 9001 section 5.4.2).
    ///
    /// # Errors
    ///
    /// AEAD_LIMIT_REACHED when the key is used up, which [`check_limits`](Self::check_limits)
    /// tells in time; INTERNAL_ERROR without keys or for a packet too short. The packet is then
    /// not to be sent.
    pub(crate) fn seal(
        &mut self,
        level: Level,
        packet: &mut [u8],
        pn_offset: usize,
        pn_len: usize,
        pn: u64,
    ) -> Result<(), TransportError> {
        let keys = match level {
            Level::OneRtt => {
                let phases = self.one_rtt.as_mut().ok_or_else(no_keys)?;
                return phases.seal(packet, pn_offset, pn_len, pn);
            }
            Level::Initial => self.initial.as_ref().map(|(_, pair)| &pair.send),
            Level::Handshake => self.handshake.as_ref().map(|pair| &pair.send),
            Level::ZeroRtt if self.side.is_client() => self.zero_rtt.as_ref(),
            Level::ZeroRtt => None,
        };
        let keys = keys.ok_or_else(no_keys)?;
        // These keys live for a handshake, 0-RTT for a round trip: far below any limit.
        packet::seal(&*keys.header, &*keys.packet, packet, pn_offset, pn_len, pn)
            .map_err(|_| not_sealed())
    }

    /// Asked once a batch: an error when the present key is all but used up and no update came
    /// about. The connection then closes, for which some packets are kept back.
    pub(crate) fn check_limits(&self) -> Result<(), TransportError> {
        match &self.one_rtt {
            Some(phases) if phases.is_exhausted() => Err(limit_reached()),
            _ => Ok(()),
        }
    }

    /// Opens one packet in place: `packet` is all of it and nothing more, its number begins at
    /// `pn_offset`, and `expected` is one more than the largest number received in its space.
    pub(crate) fn open(
        &mut self,
        level: Level,
        packet: &mut [u8],
        pn_offset: usize,
        expected: u64,
    ) -> Result<Opened, OpenError> {
        if self.failed > self.integrity {
            return Err(OpenError::Fatal(too_many_failures()));
        }
        if level == Level::OneRtt {
            return self.open_one_rtt(packet, pn_offset, expected);
        }
        let keys = self.receive_keys(level, packet).ok_or(OpenError::NoKeys)?;
        let header = packet::unprotect(&*keys.header, packet, pn_offset, expected)
            .ok_or(OpenError::TooShort)?;
        let Some(payload) = packet::open(&*keys.packet, packet, &header) else {
            return Err(self.count_failure([0; 16]));
        };
        // RFC 9000 section 17.2: judged only now, when nobody else can have set them.
        if header.reserved_bits() {
            return Err(OpenError::Fatal(reserved_bits()));
        }
        Ok(Opened {
            pn: header.pn,
            payload,
            phase: 0,
            phase_changed: false,
        })
    }

    fn receive_keys(&self, level: Level, packet: &[u8]) -> Option<&Direction> {
        match level {
            Level::Initial => {
                let version = packet.get(VERSION_AT)?.try_into().ok()?;
                let version = Version(u32::from_be_bytes(version));
                [&self.initial, &self.initial_before]
                    .into_iter()
                    .flatten()
                    .find(|(of, _)| *of == version)
                    .map(|(_, pair)| &pair.receive)
            }
            Level::Handshake => self.handshake.as_ref().map(|pair| &pair.receive),
            Level::ZeroRtt if self.side.is_server() => self.zero_rtt.as_ref(),
            Level::ZeroRtt | Level::OneRtt => None,
        }
    }

    fn open_one_rtt(
        &mut self,
        packet: &mut [u8],
        pn_offset: usize,
        expected: u64,
    ) -> Result<Opened, OpenError> {
        let phases = match &mut self.one_rtt {
            Some(phases) if self.complete => phases,
            _ => return Err(OpenError::NoKeys),
        };
        let tail = packet.last_chunk().copied().unwrap_or_default();
        let header = packet::unprotect(phases.receive_header(), packet, pn_offset, expected)
            .ok_or(OpenError::TooShort)?;
        match phases.open(packet, &header) {
            Ok(opened) => Ok(Opened {
                pn: header.pn,
                payload: opened.payload,
                phase: opened.phase,
                phase_changed: opened.phase_changed,
            }),
            Err(PhaseError::Authentication) => Err(self.count_failure(tail)),
            Err(PhaseError::Reserved) => Err(OpenError::Fatal(reserved_bits())),
            Err(PhaseError::KeyUpdate(error)) => Err(OpenError::Fatal(error)),
        }
    }

    /// Counts a forgery against the connection's integrity limit (RFC 9001 section 6.6).
    fn count_failure(&mut self, tail: [u8; 16]) -> OpenError {
        self.failed = self.failed.saturating_add(1);
        if self.failed > self.integrity {
            return OpenError::Fatal(too_many_failures());
        }
        OpenError::Authentication { tail }
    }

    /// Packets that failed to authenticate so far.
    #[cfg(test)]
    pub(crate) fn failed(&self) -> u64 {
        self.failed
    }

    /// Packets sealed in the present key phase.
    #[cfg(test)]
    pub(crate) fn sealed(&self) -> u64 {
        self.one_rtt.as_ref().map_or(0, |keys| keys.sealed())
    }

    /// Makes the keys that a key update used up. Called when a batch is done with, so that the
    /// time it takes is not part of any packet's; does nothing most of the time.
    pub(crate) fn prepare(&mut self) {
        if let Some(phases) = &mut self.one_rtt {
            phases.prepare();
        }
    }

    /// A 1-RTT packet of phase `carrier` had an ACK whose largest number is `largest`. True when
    /// it completes a key update.
    ///
    /// # Errors
    ///
    /// KEY_UPDATE_ERROR when it acknowledges a newer phase in an older one (RFC 9001 section 6.2).
    pub(crate) fn on_ack(&mut self, carrier: u64, largest: u64) -> Result<bool, TransportError> {
        match &mut self.one_rtt {
            Some(phases) => phases.on_ack(carrier, largest),
            None => Ok(false),
        }
    }

    /// Old keys stay until `deadline`, and no update is begun before (RFC 9001 section 6.5: three
    /// probe timeouts from the first packet in a new phase, and from its acknowledgement).
    pub(crate) fn hold_until(&mut self, deadline: Instant) {
        if let Some(phases) = &mut self.one_rtt {
            phases.hold_until(deadline);
        }
    }

    /// When [`on_timeout`](Self::on_timeout) is to be called.
    pub(crate) fn timeout(&self) -> Option<Instant> {
        self.one_rtt.as_ref().and_then(|keys| keys.hold())
    }

    /// Lets go of old keys when their time is over.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        if let Some(phases) = &mut self.one_rtt {
            phases.on_timeout(now);
        }
    }

    /// True when so many packets are sealed that a key update is due, and one may be begun.
    pub(crate) fn update_wanted(&self, now: Instant) -> bool {
        match &self.one_rtt {
            Some(phases) => phases.update_wanted(now),
            None => false,
        }
    }

    /// Begins a key update.
    pub(crate) fn initiate_key_update(&mut self, now: Instant) -> Result<(), KeyUpdateRefused> {
        match &mut self.one_rtt {
            Some(phases) => phases.initiate(now),
            None => Err(KeyUpdateRefused::NotConfirmed),
        }
    }
}

fn no_keys() -> TransportError {
    TransportError::new(code::INTERNAL_ERROR, "a packet is sealed without keys")
}

pub(super) fn not_sealed() -> TransportError {
    TransportError::new(code::INTERNAL_ERROR, "a packet has no size to be sealed")
}

fn reserved_bits() -> TransportError {
    TransportError::new(
        code::PROTOCOL_VIOLATION,
        "a reserved bit of the header is set",
    )
}

fn too_many_failures() -> TransportError {
    TransportError::new(
        code::AEAD_LIMIT_REACHED,
        "more packets failed to authenticate than the cipher takes",
    )
}
