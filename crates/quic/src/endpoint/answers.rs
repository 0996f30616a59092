//! Answers that need no connection: Version Negotiation, Retry, CONNECTION_CLOSE in an Initial
//! packet, stateless reset.
//!
//! Every one is counted against what its source and all sources together are given, and none is
//! longer than three times the datagram that it answers; but for CONNECTION_CLOSE all are shorter.

use weir_core::rng;
use weir_core::time::Instant;

use super::Handled;
use super::rate::Answer;
use super::router::{First, Router};
use super::source::Source;
use crate::cid::ResetTokens as _;

use crate::crypto::{AeadLimits, Holder, Level, Protection, TAG_LEN, retry};
use crate::error::TransportError;
use crate::limits::{AMPLIFICATION_FACTOR, CID_DRAWS, MAX_STATELESS_RESET};
use crate::transmit::{PathAddr, Transmit, TransmitBuf};
use crate::wire::header::{
    self, FIXED_BIT, LengthField, LongHeader, LongInvariant, PacketType, finish_length,
};
use crate::wire::{ConnectionId, Version, frame};

/// Least bytes of a stateless reset: a byte of header, 4 unpredictable ones, the token (RFC 9000
/// section 10.3).
pub(super) const MIN_STATELESS_RESET: usize = 21;
/// A reset of this size could be a packet with a connection ID of any length (RFC 9000 section
/// 10.3: 22 bytes more than a connection ID, whose length is at most 20).
const USUAL_STATELESS_RESET: usize = 42;
/// Bytes of the token that ends a stateless reset.
const RESET_TOKEN_LEN: usize = 16;
/// Length of the Source Connection ID of a Retry where connection IDs have no bytes: the client
/// has to address something that the Initial keys can come from.
const RETRY_CID_LEN: usize = 8;

impl Router {
    /// Version Negotiation (RFC 9000 section 6.1): both IDs swapped, whatever their length.
    pub(super) fn negotiate(
        &mut self,
        now: Instant,
        path: PathAddr,
        head: &LongInvariant<'_>,
        out: &mut TransmitBuf,
    ) -> Handled {
        if !self.may_answer(now, Answer::VersionNegotiation, path) {
            return Handled::Nothing;
        }
        self.stats.version_negotiations += 1;
        let mut versions = self.config.versions().to_vec();
        if self.config.grease {
            let at = rng::below(&mut self.rng, versions.len() as u64 + 1) as usize;
            versions.insert(at, self.reserved_version(head.version));
        }
        let random = rng::next_u64(&mut self.rng) as u8;
        out.clear();
        let out_bytes = &mut out.data;
        header::write_version_negotiation(out_bytes, head.scid, head.dcid, &versions, random);
        Handled::Reply(answer(path, out))
    }

    /// A version 0x?a?a?a?a (RFC 9000 section 15) that the client did not ask for.
    fn reserved_version(&mut self, asked: Version) -> Version {
        let bits = rng::next_u64(&mut self.rng) as u32 & 0xf0f0_f0f0;
        let version = Version(bits | 0x0a0a_0a0a);
        if version == asked {
            return Version(version.0 ^ 0x1000_0000);
        }
        version
    }

    /// Retry (RFC 9000 section 17.2.5.1), which takes nothing but bytes to answer with.
    pub(super) fn ask_for_token(
        &mut self,
        now: Instant,
        path: PathAddr,
        first: &First,
        out: &mut TransmitBuf,
    ) -> Handled {
        if !self.may_answer(now, Answer::Retry, path) {
            return Handled::Nothing;
        }
        match self.write_retry(now, path, first, out) {
            Some(transmit) => {
                self.stats.retries += 1;
                Handled::Reply(transmit)
            }
            None => Handled::Nothing,
        }
    }

    pub(super) fn write_retry(
        &mut self,
        now: Instant,
        path: PathAddr,
        first: &First,
        out: &mut TransmitBuf,
    ) -> Option<Transmit> {
        let scid = self.retry_cid(&first.dcid)?;
        let holder = self.holder(now, path, first.version);
        let keys = &self.config.token_keys;
        let token = keys.seal_retry(&mut self.rng, &holder, &first.dcid, &scid);
        let random = rng::next_u64(&mut self.rng) as u8;
        out.clear();
        let to = &first.scid;
        header::write_retry(&mut out.data, first.version, to, &scid, &token, random);
        let tag = retry::integrity_tag(first.version, &first.dcid, &out.data)?;
        out.data.extend_from_slice(&tag);
        Some(answer(path, out))
    }

    /// What the client is to address next; not what it addressed (RFC 9000 section 17.2.5.1).
    fn retry_cid(&mut self, dcid: &ConnectionId) -> Option<ConnectionId> {
        if self.config.cid_generator.is_empty() {
            let mut bytes = [0; RETRY_CID_LEN];
            rng::fill(&mut self.rng, &mut bytes);
            return ConnectionId::new(&bytes).filter(|cid| cid != dcid);
        }
        let generator = &self.config.cid_generator;
        let rng = &mut self.rng;
        let mut draws = (0..CID_DRAWS).map(|_| generator.generate(rng));
        draws.find(|cid| cid != dcid)
    }

    pub(super) fn holder(&self, now: Instant, path: PathAddr, version: Version) -> Holder {
        let running = now.as_nanos() / 1_000_000_000;
        Holder {
            address: path.remote,
            version,
            wall_clock: self.config.epoch.saturating_add(running),
        }
    }

    /// CONNECTION_CLOSE in an Initial packet (RFC 9000 section 5.2.2): the client learns at once why
    /// there is no connection, and nothing is kept.
    pub(super) fn close_at_once(
        &mut self,
        now: Instant,
        path: PathAddr,
        first: &First,
        error: &TransportError,
        out: &mut TransmitBuf,
    ) -> Option<Transmit> {
        if !self.may_answer(now, Answer::Close, path) {
            return None;
        }
        let mut keys = Protection::new(
            crate::wire::Side::Server,
            first.version,
            &first.dcid,
            AeadLimits::default(),
        )?;
        let scid = self.config.cid_generator.generate(&mut self.rng);
        let header = LongHeader {
            kind: PacketType::Initial,
            version: first.version,
            dcid: &first.scid,
            scid: &scid,
            token: &[],
            pn: 0,
            pn_len: 1,
            fixed_bit: true,
            length: LengthField::Two,
        };
        out.clear();
        let written = header.write(&mut out.data);
        let reason = error.reason.as_bytes();
        frame::encode::connection_close(&mut out.data, error.code, error.frame, reason);
        out.data.resize(out.data.len() + TAG_LEN, 0);
        finish_length(&mut out.data, &written, 0);
        let fits = out.data.len() as u64 <= AMPLIFICATION_FACTOR * first.received as u64;
        let sealed = keys.seal(Level::Initial, &mut out.data, written.pn_offset, 1, 0);
        if !fits || sealed.is_err() {
            out.clear();
            return None;
        }
        self.stats.closes += 1;
        Some(answer(path, out))
    }

    /// Stateless reset (RFC 9000 section 10.3) in answer to a packet that belongs to nothing here.
    /// Each is shorter than what it answers, so that two endpoints that have both forgotten fall
    /// silent.
    pub(super) fn reset(
        &mut self,
        now: Instant,
        path: PathAddr,
        datagram: &[u8],
        out: &mut TransmitBuf,
    ) -> Handled {
        let cid_len = self.config.cid_generator.len();
        let Some(dcid) = datagram
            .get(1..=cid_len)
            .filter(|bytes| !bytes.is_empty())
            .and_then(ConnectionId::new)
        else {
            return Handled::Nothing;
        };
        let Some(longest) = datagram
            .len()
            .checked_sub(1)
            .filter(|longest| *longest >= MIN_STATELESS_RESET)
        else {
            return Handled::Nothing;
        };
        if !self.may_answer(now, Answer::Reset, path) {
            return Handled::Nothing;
        }
        self.stats.resets_sent += 1;
        let longest = longest.min(MAX_STATELESS_RESET);
        // Up to 43 bytes: one less (RFC 9000 section 10.3). Above: any length that could be a packet.
        let shortest = longest.min(USUAL_STATELESS_RESET);
        let len = rng::between(&mut self.rng, shortest as u64, longest as u64) as usize;
        let token = self.reset_token(&dcid);
        out.clear();
        out.data.resize(len - RESET_TOKEN_LEN, 0);
        rng::fill(&mut self.rng, &mut out.data);
        if let Some(first) = out.data.first_mut() {
            *first = *first & !header::FORM_LONG | FIXED_BIT;
        }
        out.data.extend_from_slice(&token);
        Handled::Reply(answer(path, out))
    }

    /// After a change of keys it is not known under which one the connection ID was issued: one time
    /// in two the former is tried, and the peer's next packet gets the other.
    fn reset_token(&mut self, dcid: &ConnectionId) -> [u8; RESET_TOKEN_LEN] {
        let previous = self.config.reset_key.previous_token(dcid);
        match previous {
            Some(token) if rng::chance(&mut self.rng, 1, 2) => *token.as_bytes(),
            _ => *self.config.reset_key.token(dcid).as_bytes(),
        }
    }

    fn may_answer(&mut self, now: Instant, answer: Answer, path: PathAddr) -> bool {
        let allowed = self
            .limiter
            .allow(now, answer, Source::of(path.remote.ip()));
        if !allowed {
            self.stats.rate_limited += 1;
        }
        allowed
    }
}

/// All that `out` holds, as one datagram back to where the question came from.
fn answer(path: PathAddr, out: &TransmitBuf) -> Transmit {
    let len = out.data.len();
    Transmit {
        path,
        ecn: None,
        segment_size: len,
        len,
        release_at: None,
    }
}
