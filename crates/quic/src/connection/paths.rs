//! Where packets go: what the paths report, sizes, keys that change on the way (RFC 9000 sections 8,
//! 9 and 14).

use weir_core::close::CloseReason;
use weir_core::time::Instant;

use super::begin::stream_limits;
use super::receive::Arrival;
use super::{Connection, EndpointEvent, Event};
use crate::cid::ResetToken;
use crate::error::TransportError;
use crate::path::{PathError, PathEvent, PeerPathLimits};
use crate::recovery::{Outcome, PathLookup};
use crate::transmit::PathAddr;
use crate::wire::frame::Frame;
use crate::wire::transport_parameters::TransportParameters;
use crate::wire::{Side, Space};

impl Connection {
    pub(super) fn handle_path_frame(
        &mut self,
        arrival: &Arrival,
        frame: Frame<'_>,
    ) -> Result<(), TransportError> {
        match frame {
            Frame::PathChallenge { data } => self.paths.on_challenge(arrival.path, data),
            Frame::PathResponse { data } => {
                self.paths.on_response(arrival.now, data);
                self.take_path_events(arrival.now);
            }
            Frame::NewConnectionId(new) => self.paths.remote_cids.on_new(
                new.sequence,
                new.retire_prior_to,
                new.id,
                ResetToken::new(new.reset_token),
            )?,
            Frame::RetireConnectionId { sequence } => {
                let retired = self.local_cids.on_retire(sequence, arrival.local_cid)?;
                if let Some(cid) = retired {
                    self.endpoint_events
                        .push_back(EndpointEvent::RetiredCid(cid));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What the peer announced takes effect.
    pub(super) fn apply_peer_parameters(
        &mut self,
        now: Instant,
        params: TransportParameters,
    ) -> Result<(), TransportError> {
        self.check_zero_rtt_limits(&params)?;
        self.streams.set_peer_limits(stream_limits(&params));
        self.datagrams
            .set_peer_max_frame_size(params.max_datagram_frame_size);
        self.local_cids
            .set_peer_limit(params.active_connection_id_limit);
        self.paths.set_peer_limits(
            now,
            PeerPathLimits {
                max_udp_payload_size: params.max_udp_payload_size,
                max_ack_delay: params.max_ack_delay,
                disable_active_migration: params.disable_active_migration,
            },
        );
        self.recovery.set_peer_max_ack_delay(params.max_ack_delay);
        if let Some(delay) = params.min_ack_delay.filter(|_| self.config.ack_frequency) {
            self.recovery.ack_frequency().set_peer_min_ack_delay(delay);
        }
        if self.side == Side::Client {
            self.apply_server_parameters(&params)?;
        }
        *self.peer = params;
        Ok(())
    }

    fn apply_server_parameters(
        &mut self,
        params: &TransportParameters,
    ) -> Result<(), TransportError> {
        let cids = &mut self.paths.remote_cids;
        if let Some(token) = params.stateless_reset_token {
            cids.set_initial_token(ResetToken::new(token));
        }
        if let Some(preferred) = &params.preferred_address {
            cids.on_preferred(preferred.id, ResetToken::new(preferred.reset_token))?;
            if self.config.migration {
                let v4 = preferred.ipv4.map(Into::into);
                let v6 = preferred.ipv6.map(Into::into);
                self.paths.set_preferred(v4, v6);
            }
        }
        let remembered = Box::new(params.remember());
        self.events.push_back(Event::Remember(remembered));
        Ok(())
    }

    /// RFC 9000 7.4.1: a server that takes early data allows at least what it allowed before.
    fn check_zero_rtt_limits(&self, params: &TransportParameters) -> Result<(), TransportError> {
        match &self.handshake.zero_rtt {
            super::handshake::ZeroRtt::Sent(remembered) if self.early_data_accepted() => {
                remembered.check_accepted(params)
            }
            _ => Ok(()),
        }
    }

    /// What the paths have to tell, after every call that may have changed one.
    pub(super) fn take_path_events(&mut self, now: Instant) {
        while let Some(event) = self.paths.poll_event() {
            self.trace_path(now, &event);
            match event {
                PathEvent::Migrated { old, new } => {
                    self.stats.migrations = self.stats.migrations.saturating_add(1);
                    // RFC 9000 17.4: nothing of the old path can be seen in the new one's bits.
                    self.spin.value = false;
                    if self.is_open() {
                        self.events.push_back(Event::PathChanged {
                            old: old.remote,
                            new: new.remote,
                        });
                    }
                }
                PathEvent::Ended(path) => {
                    self.recovery
                        .on_path_gone(now, path, &mut self.paths, &mut self.outcome);
                    self.settle(now, Space::Data);
                }
                PathEvent::NoViablePath => {
                    // RFC 9000 9.3.2: an attacker may have caused it; no packet says so.
                    let reason = CloseReason::carrier("no path to the peer is left");
                    return self.end_silently(now, reason);
                }
                PathEvent::Validated { .. }
                | PathEvent::ValidationFailed { .. }
                | PathEvent::MtuChanged { .. } => {}
            }
        }
    }

    pub(super) fn on_path_timeout(&mut self, now: Instant) {
        self.paths.on_timeout(now);
        self.take_path_events(now);
    }

    /// What acknowledgements and losses say about the sizes that a path carries (RFC 8899).
    pub(super) fn note_sizes(&mut self, now: Instant, outcome: &Outcome) {
        if let Some((path, size)) = outcome.largest_acked_size
            && let Some(pn) = outcome.largest_newly_acked
        {
            self.paths.on_size_acked(path, pn, size);
        }
        let largest_sent = self.recovery.end(Space::Data).saturating_sub(1);
        for lost in outcome
            .lost_packets
            .iter()
            .filter(|lost| !lost.is_mtu_probe)
        {
            self.paths
                .on_size_lost(now, lost.path, lost.pn, lost.size, largest_sent);
        }
    }

    /// Client: opens a path to the server from or to other addresses and asks the server on it,
    /// without moving there yet (RFC 9000 9.1).
    ///
    /// # Errors
    /// [`PathError`] says why it cannot be.
    pub fn probe_path(&mut self, now: Instant, addr: PathAddr) -> Result<(), PathError> {
        self.paths.probe_new(now, addr).map(drop)
    }

    /// Client: moves to another path, probed before or not. The packets go there under a connection
    /// ID that was not used before; when nothing is heard there, the connection goes back.
    ///
    /// # Errors
    /// [`PathError`] says why it cannot be.
    pub fn migrate(&mut self, now: Instant, addr: PathAddr) -> Result<(), PathError> {
        let path = self.paths.probe_new(now, addr)?;
        self.paths.migrate_to(now, path)?;
        self.outbox.ping = true;
        self.take_path_events(now);
        Ok(())
    }

    /// Client: the socket below has another address now, as after a change of networks, and the old
    /// one is gone. The connection goes on from the new one.
    ///
    /// # Errors
    /// [`PathError`] says why it cannot be; the connection stays where it was.
    pub fn local_address_changed(
        &mut self,
        now: Instant,
        local: Option<std::net::IpAddr>,
    ) -> Result<(), PathError> {
        let here = self.path().ok_or(PathError::UnknownPath)?;
        let addr = PathAddr { local, ..here };
        self.paths.local_address_changed(now, addr)?;
        self.outbox.ping = true;
        self.take_path_events(now);
        Ok(())
    }

    /// Largest UDP payload that is probed for from now on, in bytes: what the interface carries.
    pub fn set_mtu_bound(&mut self, now: Instant, bytes: usize) {
        let bound = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.paths.set_mtu_bound(now, bound);
        self.take_path_events(now);
    }

    /// An ICMP message said that the path to `addr` takes UDP payloads of `bytes` only. The caller
    /// has made sure that it quotes a datagram of this connection (RFC 9000 14.2.1).
    pub fn on_verified_too_big(&mut self, now: Instant, addr: PathAddr, bytes: usize) {
        let size = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.paths.on_verified_too_big(now, addr, size);
        self.take_path_events(now);
    }

    /// The size of the datagrams that the active path is known to carry, in bytes.
    #[must_use]
    pub fn datagram_size(&self) -> usize {
        usize::from(self.paths.max_datagram(self.paths.active()))
    }

    /// Where packets go now.
    #[must_use]
    pub fn path(&self) -> Option<PathAddr> {
        self.paths.addr(self.paths.active())
    }

    /// The keys of both directions are replaced (RFC 9001 section 6); false while that is not
    /// permitted: before confirmation, or before the last update was acknowledged.
    pub fn initiate_key_update(&mut self, now: Instant) -> bool {
        let started = self.protection.initiate_key_update(now).is_ok();
        if started {
            self.stats.key_updates = self.stats.key_updates.saturating_add(1);
            self.outbox.ping = true;
        }
        started
    }

    /// RFC 9001 6.5: packets under the old keys may still be on their way for a while.
    pub(super) fn hold_old_keys(&mut self, now: Instant) {
        self.protection
            .hold_until(now + self.pto().saturating_mul(3));
    }

    /// Tells the endpoint which reset tokens are in use now, and from where each would come.
    pub(super) fn collect_endpoint_events(&mut self) {
        if !self.paths.remote_cids.take_tokens_changed() {
            return;
        }
        let mut tokens = Vec::with_capacity(1);
        for used in self.paths.tokens() {
            if !tokens.contains(&used) {
                tokens.push(used);
            }
        }
        let told = std::mem::take(&mut self.told_tokens);
        for (remote, token) in told.iter().filter(|old| !tokens.contains(old)).copied() {
            let event = EndpointEvent::ResetTokenRemoved { remote, token };
            self.endpoint_events.push_back(event);
        }
        for (remote, token) in tokens.iter().filter(|new| !told.contains(new)).copied() {
            let event = EndpointEvent::ResetTokenAdded { remote, token };
            self.endpoint_events.push_back(event);
        }
        self.told_tokens = tokens;
    }
}
