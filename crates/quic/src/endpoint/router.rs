//! What becomes of one datagram.

use weir_core::rng::{self, Rng};
use weir_core::slab::Key;
use weir_core::time::Instant;

use super::config::{EndpointConfig, RetryPolicy};
use super::early::EarlyPackets;
use super::hash::Keyed;
use super::pending::{Held, Incoming, Pending, PendingSet, Validation};
use super::rate::Limiter;
use super::source::{Source, Sources};
use super::tables::{Route, Tables};
use super::{ConnectionHandle, EndpointStats, Handled};

use crate::crypto::{AeadLimits, Level, OpenError, Protection, TokenState};
use crate::error::{TransportError, code};
use crate::limits::{MAX_HELD_PER_SOURCE, MIN_DATAGRAM};
use crate::transmit::{Ecn, PathAddr, TransmitBuf};
use crate::wire::header::{FIXED_BIT, FORM_LONG, FixedBit, LongInvariant, Packet, PacketType};
use crate::wire::{ConnectionId, Side, Version};

/// Least length of the Destination Connection ID in a client's first Initial (RFC 9000 section 7.2).
const MIN_INITIAL_DCID: usize = 8;

/// All of an endpoint but the making of connections.
pub(super) struct Router {
    pub(super) config: EndpointConfig,
    pub(super) rng: Rng,
    pub(super) tables: Tables,
    pub(super) pending: PendingSet,
    pub(super) sources: Sources,
    pub(super) stats: EndpointStats,
    pub(super) limiter: Limiter,
    early: EarlyPackets,
    /// Where a packet is opened to see whether it is authentic.
    scratch: Vec<u8>,
}

/// A client's first Initial, as far as answers to it need it.
#[derive(Copy, Clone, Debug)]
pub(super) struct First {
    pub(super) version: Version,
    pub(super) dcid: ConnectionId,
    pub(super) scid: ConnectionId,
    /// Bytes of the datagram.
    pub(super) received: usize,
}

/// One datagram, as it came.
#[derive(Copy, Clone)]
pub(super) struct Datagram<'a> {
    pub(super) now: Instant,
    pub(super) path: PathAddr,
    pub(super) ecn: Option<Ecn>,
    pub(super) data: &'a [u8],
}

impl Datagram<'_> {
    fn held(&self) -> Held {
        Held {
            path: self.path,
            ecn: self.ecn,
            data: self.data.into(),
        }
    }

    fn source(&self) -> Source {
        Source::of(self.path.remote.ip())
    }
}

impl Router {
    pub(super) fn new(config: EndpointConfig, mut rng: Rng) -> Router {
        let keyed = Keyed::new(&mut rng);
        Router {
            tables: Tables::new(&mut rng, &keyed),
            sources: Sources::new(&keyed),
            limiter: Limiter::new(&keyed),
            pending: PendingSet::default(),
            early: EarlyPackets::default(),
            stats: EndpointStats::default(),
            scratch: Vec::new(),
            config,
            rng,
        }
    }

    pub(super) fn handle(&mut self, datagram: &Datagram<'_>, out: &mut TransmitBuf) -> Handled {
        self.stats.datagrams += 1;
        let Some(first) = datagram.data.first() else {
            return self.drop_it();
        };
        if first & FORM_LONG == 0 {
            return self.short(datagram, *first, out);
        }
        let Some(head) = LongInvariant::parse(datagram.data) else {
            return self.drop_it();
        };
        let route = ConnectionId::new(head.dcid).and_then(|dcid| self.route_long(datagram, &dcid));
        // A version that is not spoken is of no use to any connection.
        if head.version == Version::NEGOTIATION || head.version.is_supported() {
            match route {
                Some(Route::Connection(key)) => return Handled::Connection(ConnectionHandle(key)),
                Some(Route::Pending(key)) => return self.hold(datagram, key),
                None => {}
            }
        }
        if head.version == Version::NEGOTIATION || route.is_some() {
            return self.drop_it();
        }
        self.unknown_long(datagram, &head, out)
    }

    /// A short header: by connection ID, by address, or by the token that it ends in.
    fn short(&mut self, datagram: &Datagram<'_>, first: u8, out: &mut TransmitBuf) -> Handled {
        let remote = datagram.path.remote;
        let cid_len = self.config.cid_generator.len();
        let dcid = datagram.data.get(1..=cid_len).and_then(ConnectionId::new);
        let key = match dcid {
            Some(cid) if cid.is_empty() => self.tables.by_address(remote),
            Some(cid) => self.tables.issued(&cid),
            None => None,
        };
        if let Some(key) = key {
            return Handled::Connection(ConnectionHandle(key));
        }
        if let Some(key) = self.tables.by_reset(remote, datagram.data) {
            self.stats.resets_received += 1;
            return Handled::StatelessReset(ConnectionHandle(key));
        }
        if first & FIXED_BIT == 0 && !self.config.grease {
            return self.drop_it();
        }
        match self.reset(datagram.now, datagram.path, datagram.data, out) {
            Handled::Nothing => self.drop_it(),
            handled => handled,
        }
    }

    fn route_long(&self, datagram: &Datagram<'_>, dcid: &ConnectionId) -> Option<Route> {
        if dcid.is_empty() {
            let key = self.tables.by_address(datagram.path.remote)?;
            return Some(Route::Connection(key));
        }
        self.tables.long(dcid)
    }

    /// More of an attempt that waits: kept within its bound, and only from where it began.
    fn hold(&mut self, datagram: &Datagram<'_>, key: Key) -> Handled {
        let size = datagram.data.len();
        let Some(attempt) = self.pending.get(key) else {
            return self.drop_it();
        };
        let (source, is_validated) = (attempt.source, attempt.is_validated);
        let fits = attempt.remote == datagram.path.remote && attempt.has_room(size);
        if !fits || !self.has_held_room(source, is_validated, size) {
            return self.drop_it();
        }
        self.pending.hold(key, datagram.held());
        if !is_validated {
            self.sources.change(source, |counts| counts.held += size);
        }
        Handled::Nothing
    }

    fn has_held_room(&self, source: Source, is_validated: bool, size: usize) -> bool {
        let own = self.sources.get(source).held.saturating_add(size);
        (is_validated || own <= MAX_HELD_PER_SOURCE)
            && self.pending.bytes().saturating_add(size) <= self.config.accept_backlog_bytes
    }

    /// A long header that belongs to nothing: a client may be about to begin.
    fn unknown_long(
        &mut self,
        datagram: &Datagram<'_>,
        head: &LongInvariant<'_>,
        out: &mut TransmitBuf,
    ) -> Handled {
        if self.config.server.is_none() {
            return self.drop_it();
        }
        self.on_timeout(datagram.now);
        if !self.config.versions().contains(&head.version) {
            // RFC 9000 section 6.1: nobody begins with less.
            if datagram.data.len() < MIN_DATAGRAM {
                return self.drop_it();
            }
            return self.negotiate(datagram.now, datagram.path, head, out);
        }
        let fixed_bit = match self.config.grease {
            true => FixedBit::Any,
            false => FixedBit::Required,
        };
        let cid_len = self.config.cid_generator.len();
        match Packet::parse(datagram.data, cid_len, fixed_bit) {
            Ok(packet) if packet.kind == PacketType::Initial => {
                self.initial(datagram, &packet, out)
            }
            Ok(packet) if packet.kind == PacketType::ZeroRtt => {
                self.keep_early(datagram, packet.dcid)
            }
            _ => self.drop_it(),
        }
    }

    /// 0-RTT before its Initial (Q55).
    fn keep_early(&mut self, datagram: &Datagram<'_>, dcid: ConnectionId) -> Handled {
        if dcid.len() >= MIN_INITIAL_DCID {
            let kept = self.early.keep(datagram.now, dcid, datagram.held());
            self.stats.early_kept += u64::from(kept);
        }
        Handled::Nothing
    }

    /// The first Initial of an attempt.
    fn initial(
        &mut self,
        datagram: &Datagram<'_>,
        packet: &Packet,
        out: &mut TransmitBuf,
    ) -> Handled {
        let size = datagram.data.len();
        // RFC 9000 section 14.1.
        if size < MIN_DATAGRAM {
            return self.drop_it();
        }
        let token = datagram.data.get(packet.token.clone()).unwrap_or_default();
        // RFC 9287 section 3.1: without a token from an earlier connection a client does not know
        // that it may clear the fixed bit.
        if packet.first & FIXED_BIT == 0 && token.is_empty() {
            return self.drop_it();
        }
        if packet.dcid.len() < MIN_INITIAL_DCID && token.is_empty() {
            return self.drop_it();
        }
        let first = First {
            version: packet.version,
            dcid: packet.dcid,
            scid: packet.scid,
            received: size,
        };
        let judged = self.judge_token(datagram, token, &first);
        // A Retry is the cheapest answer, and takes no look at what is inside.
        if judged == Ok(Validation::None) && self.wants_retry(datagram.source(), size) {
            return self.ask(datagram, &first, out);
        }
        if !self.is_authentic(datagram.data, packet) {
            return self.drop_it();
        }
        let validation = match judged {
            Ok(validation) => validation,
            Err(error) => return self.close(datagram, &first, &error, out),
        };
        if first.dcid.len() < MIN_INITIAL_DCID && !matches!(validation, Validation::Retry { .. }) {
            return self.drop_it();
        }
        if self.is_full(datagram, validation, size) {
            return self.close(datagram, &first, &refused(), out);
        }
        self.take(datagram, &first, validation)
    }

    /// Retry, and whatever came early for this attempt will be sent again after it.
    fn ask(&mut self, datagram: &Datagram<'_>, first: &First, out: &mut TransmitBuf) -> Handled {
        drop(self.early.take(datagram.now, &first.dcid));
        self.ask_for_token(datagram.now, datagram.path, first, out)
    }

    fn close(
        &mut self,
        datagram: &Datagram<'_>,
        first: &First,
        error: &TransportError,
        out: &mut TransmitBuf,
    ) -> Handled {
        self.stats.refused += 1;
        drop(self.early.take(datagram.now, &first.dcid));
        match self.close_at_once(datagram.now, datagram.path, first, error, out) {
            Some(transmit) => Handled::Reply(transmit),
            None => Handled::Nothing,
        }
    }

    /// Whether a client of this source has to show first that it is there: by policy, or because
    /// strangers with this address have all that they may.
    fn wants_retry(&self, source: Source, size: usize) -> bool {
        let crowded = |most: usize| {
            let counts = self.sources.get(source);
            self.half_open() >= most.min(self.config.max_half_open)
                || counts.half_open >= self.config.max_half_open_per_source
                || counts.held.saturating_add(size) > MAX_HELD_PER_SOURCE
        };
        match self.config.retry {
            RetryPolicy::Never => false,
            RetryPolicy::Always => true,
            RetryPolicy::Above(most) => crowded(most),
        }
    }

    /// Connections and attempts whose client has not shown to be at its address.
    pub(super) fn half_open(&self) -> usize {
        self.stats.half_open
    }

    /// Opens a copy of the packet: what fails costs no state. Reserved bits that are set are the
    /// connection's to complain of.
    fn is_authentic(&mut self, data: &[u8], packet: &Packet) -> bool {
        let keys = Protection::new(
            Side::Server,
            packet.version,
            &packet.dcid,
            AeadLimits::default(),
        );
        let (Some(mut keys), Some(bytes)) = (keys, data.get(..packet.packet_len)) else {
            return false;
        };
        self.scratch.clear();
        self.scratch.extend_from_slice(bytes);
        let opened = keys.open(Level::Initial, &mut self.scratch, packet.pn_offset, 0);
        matches!(opened, Ok(_) | Err(OpenError::Fatal(_)))
    }

    /// What the token says (RFC 9000 sections 8.1.2 and 8.1.3).
    fn judge_token(
        &self,
        datagram: &Datagram<'_>,
        token: &[u8],
        first: &First,
    ) -> Result<Validation, TransportError> {
        if token.is_empty() {
            return Ok(Validation::None);
        }
        let holder = self.holder(datagram.now, datagram.path, first.version);
        let invalid = Err(TransportError::new(
            code::INVALID_TOKEN,
            "the token of the Retry is not valid",
        ));
        match self.config.token_keys.open(token, &holder) {
            TokenState::Retry {
                original_dcid,
                retry_scid,
            } if retry_scid == first.dcid => Ok(Validation::Retry { original_dcid }),
            TokenState::Retry { .. } | TokenState::InvalidRetry => invalid,
            TokenState::NewToken => Ok(Validation::NewToken),
            TokenState::Ignored => Ok(Validation::None),
        }
    }

    /// Whether there is no place for another attempt, for anybody or for this source.
    fn is_full(&self, datagram: &Datagram<'_>, validation: Validation, size: usize) -> bool {
        let config = &self.config;
        let source = datagram.source();
        let counts = self.sources.get(source);
        let is_validated = validation != Validation::None;
        let crowded = self.half_open() >= config.max_half_open
            || counts.half_open >= config.max_half_open_per_source;
        // Without connection IDs, one connection per address (RFC 9000 section 5.1).
        let taken = config.cid_generator.is_empty()
            && self.tables.by_address(datagram.path.remote).is_some();
        (!is_validated && crowded)
            || taken
            || self.stats.connections >= config.max_connections
            || counts.connections >= config.max_connections_per_source
            || self.pending.len() >= config.accept_backlog
            || !self.has_held_room(source, is_validated, size)
    }

    /// Begins to keep an attempt, with what came early for it.
    fn take(&mut self, datagram: &Datagram<'_>, first: &First, validation: Validation) -> Handled {
        let source = datagram.source();
        let is_validated = validation != Validation::None;
        let mut attempt = Pending {
            source,
            remote: datagram.path.remote,
            dcid: first.dcid,
            is_validated,
            held: vec![datagram.held()],
            bytes: datagram.data.len(),
        };
        for early in self.early.take(datagram.now, &first.dcid) {
            let size = early.data.len();
            let all = attempt.bytes.saturating_add(size);
            if early.path.remote == attempt.remote
                && attempt.has_room(size)
                && self.has_held_room(source, is_validated, all)
            {
                attempt.bytes = all;
                attempt.held.push(early);
            }
        }
        let bytes = attempt.bytes;
        let key = self.pending.insert(datagram.now, attempt);
        self.tables.route_pending(first.dcid, key);
        self.stats.connections += 1;
        self.stats.half_open += usize::from(!is_validated);
        self.sources.change(source, |counts| {
            counts.connections += 1;
            if !is_validated {
                counts.half_open += 1;
                counts.held += bytes;
            }
        });
        self.stats.incoming += 1;
        Handled::Incoming(Incoming {
            key,
            path: datagram.path,
            version: first.version,
            dcid: first.dcid,
            scid: first.scid,
            validation,
        })
    }

    /// Ends an attempt; what it held comes back. What it counts for is no longer counted.
    pub(super) fn end_attempt(&mut self, key: Key) -> Option<Pending> {
        let attempt = self.pending.remove(key)?;
        self.tables.unroute_pending(&attempt.dcid, key);
        self.uncount(attempt.source, !attempt.is_validated);
        if !attempt.is_validated {
            let bytes = attempt.bytes;
            self.sources.change(attempt.source, |counts| {
                counts.held = counts.held.saturating_sub(bytes);
            });
        }
        Some(attempt)
    }

    /// A connection that a client began, or an attempt, is over.
    pub(super) fn uncount(&mut self, source: Source, half_open: bool) {
        self.stats.connections = self.stats.connections.saturating_sub(1);
        self.sources.change(source, |counts| {
            counts.connections = counts.connections.saturating_sub(1);
        });
        if half_open {
            self.uncount_half_open(source);
        }
    }

    /// A client has shown that it is at its address.
    pub(super) fn uncount_half_open(&mut self, source: Source) {
        self.stats.half_open = self.stats.half_open.saturating_sub(1);
        self.sources.change(source, |counts| {
            counts.half_open = counts.half_open.saturating_sub(1);
        });
    }

    /// A connection that a client began.
    pub(super) fn count(&mut self, source: Source, half_open: bool) {
        self.stats.connections += 1;
        self.stats.half_open += usize::from(half_open);
        self.sources.change(source, |counts| {
            counts.connections += 1;
            counts.half_open += usize::from(half_open);
        });
    }

    /// When attempts and early packets are forgotten next.
    pub(super) fn timeout(&self) -> Option<Instant> {
        let both = [self.pending.timeout(), self.early.timeout()];
        both.into_iter().flatten().min()
    }

    pub(super) fn on_timeout(&mut self, now: Instant) {
        self.early.expire(now);
        while let Some(key) = self.pending.pop_expired(now) {
            self.stats.expired += 1;
            self.end_attempt(key);
        }
    }

    /// Bytes of datagrams held for strangers.
    pub(super) fn held_bytes(&self) -> usize {
        self.pending.bytes() + self.early.bytes()
    }

    /// A connection ID of a new connection, that no other has.
    pub(super) fn draw_cid(&mut self) -> Option<ConnectionId> {
        let generator = &self.config.cid_generator;
        for _ in 0..crate::limits::CID_DRAWS {
            let cid = generator.generate(&mut self.rng);
            if cid.is_empty() || self.tables.long(&cid).is_none() {
                return Some(cid);
            }
        }
        None
    }

    /// A Destination Connection ID for a client's first packets.
    pub(super) fn draw_initial_dcid(&mut self) -> ConnectionId {
        let mut bytes = [0; MIN_INITIAL_DCID];
        rng::fill(&mut self.rng, &mut bytes);
        ConnectionId::new(&bytes).unwrap_or(ConnectionId::EMPTY)
    }

    fn drop_it(&mut self) -> Handled {
        self.stats.dropped += 1;
        Handled::Nothing
    }
}

/// The server takes no more connections (RFC 9000 section 5.2.2).
pub(super) fn refused() -> TransportError {
    TransportError::new(code::CONNECTION_REFUSED, "no more connections are taken")
}
