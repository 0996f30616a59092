//! Versions and Retry (RFC 9000 sections 6 and 17.2.5, RFC 9368, RFC 9369).

use bytes::Bytes;
use weir_core::close::CloseReason;
use weir_core::time::Instant;

use super::handshake::TlsState;
use super::{Connection, State};
use crate::crypto::retry;
use crate::error::{TransportError, code};
use crate::wire::header::PacketType;
use crate::wire::transport_parameters::TransportParameters;
use crate::wire::{ConnectionId, Side, Space, Version};

impl Connection {
    /// Server: a version that the client offers and this side prefers, or the client when it is
    /// followed, takes the place of the one that the client began with (RFC 9368 2.3). All versions
    /// spoken here are compatible. Nobody is moved to version 1: who begins with a newer one has its
    /// reason to.
    pub(super) fn choose_version(&mut self, params: Option<&[u8]>, follows_client: bool) {
        let Some(params) = params else { return };
        let Ok(params) = TransportParameters::decode(Side::Client, params) else {
            return;
        };
        let Some(information) = params.version_information else {
            return;
        };
        let (own, offered) = (&self.handshake.versions, &information.available);
        let (preferred, other) = match follows_client {
            true => (offered, own),
            false => (own, offered),
        };
        let chosen = preferred
            .iter()
            .copied()
            .find(|version| version.is_supported() && other.contains(version));
        if let Some(version) = chosen
            && version != self.version
            && version != Version::V1
        {
            self.switch_version(version);
        }
    }

    /// Both sides: Initial packets from now on are of another version, under its keys.
    pub(super) fn switch_version(&mut self, version: Version) {
        self.version = version;
        let dcid = match self.handshake.retry_scid {
            Some(retry_scid) => retry_scid,
            None => self.handshake.original_dcid,
        };
        let _known = self.protection.switch_version(version, &dcid);
    }

    /// Client: an Initial came in another version than was sent. True when the server may do that:
    /// to a version that was offered, once, and before anything of its ClientHello's answer came. It
    /// may have acknowledged a part of the ClientHello in the first version before (RFC 9369
    /// section 4.1).
    pub(super) fn follow_version(&mut self, version: Version) -> bool {
        let may = matches!(self.state, State::Handshaking)
            && !self.handshake.is_version_settled
            && self.handshake.versions.contains(&version);
        if may {
            self.switch_version(version);
        }
        may
    }

    /// Client: the packet of the other version is the server's: TLS makes its keys for it from now on.
    pub(super) fn settle_version(&mut self) -> bool {
        let version = self.version;
        self.handshake.is_version_settled = version != self.handshake.first_version;
        match &mut self.handshake.tls {
            TlsState::Running(tls) => tls.switch_version(version),
            _ => false,
        }
    }

    /// RFC 9368 section 4: what the peer says of versions fits what happened.
    pub(super) fn check_versions(
        &self,
        params: &TransportParameters,
    ) -> Result<(), TransportError> {
        let wrong =
            |what: &'static str| Err(TransportError::new(code::VERSION_NEGOTIATION_ERROR, what));
        let Some(information) = &params.version_information else {
            // A peer that knows of one version only. It cannot have switched.
            if self.version == self.handshake.first_version {
                return Ok(());
            }
            return wrong("the version changed, but version_information is missing");
        };
        if self.side == Side::Server {
            if information.chosen != self.handshake.first_version {
                return wrong("the chosen version is not the one of the first packet");
            }
            if !information.available.contains(&information.chosen) {
                return wrong("the chosen version is not among the available ones");
            }
            return Ok(());
        }
        if information.chosen != self.version {
            return wrong("the chosen version is not the one of the packets");
        }
        Ok(())
    }

    /// Client: the server speaks none of what was tried (RFC 9000 6.2). A list that names the version
    /// that was tried, or that comes after the server was heard, is not the server's, and ignored:
    /// false.
    pub(super) fn on_version_negotiation(
        &mut self,
        now: Instant,
        versions: &[Version],
        size: usize,
    ) -> bool {
        let is_stale = self.side == Side::Server
            || self.handshake.heard
            || self.handshake.retry_scid.is_some()
            || !matches!(self.state, State::Handshaking);
        if is_stale || versions.contains(&self.handshake.first_version) {
            return false;
        }
        self.trace_answer(now, PacketType::VersionNegotiation, size);
        self.trace_versions(now, versions);
        let list: Vec<String> = versions.iter().map(ToString::to_string).collect();
        let reason = format!(
            "the server does not speak QUIC {}; it speaks {}",
            self.handshake.first_version,
            list.join(", ")
        );
        let reason = CloseReason::transport(
            weir_core::close::Initiator::Peer,
            code::VERSION_NEGOTIATION_ERROR,
            reason,
        );
        self.end_silently(now, reason);
        true
    }

    /// Client: the server wants a token before it does any work (RFC 9000 17.2.5). False when it is
    /// ignored: another was taken, it comes too late, or it is not the server's.
    pub(super) fn on_retry(
        &mut self,
        now: Instant,
        version: Version,
        scid: ConnectionId,
        token: &[u8],
        packet: &[u8],
    ) -> bool {
        let may = self.side == Side::Client
            && matches!(self.state, State::Handshaking)
            && !self.handshake.heard
            && self.handshake.retry_scid.is_none()
            && version == self.version
            && !token.is_empty()
            && scid != self.handshake.original_dcid;
        if !may || !retry::is_intact(version, &self.handshake.original_dcid, packet) {
            return false;
        }
        self.trace_answer(now, PacketType::Retry, packet.len());
        self.handshake.retry_scid = Some(scid);
        self.handshake.token = Bytes::copy_from_slice(token);
        self.paths.remote_cids.replace_initial(scid);
        let _known = self.protection.reset_initial(version, &scid);
        // The same ClientHello goes again, under numbers that go on (17.2.5.3).
        self.recovery
            .on_retry(now, &mut self.paths, &mut self.outcome);
        self.settle(now, Space::Initial);
        self.stats.retries = self.stats.retries.saturating_add(1);
        true
    }
}
