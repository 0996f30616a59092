//! Stateless reset tokens that peers gave: which connection a datagram is the end of (RFC 9000
//! section 10.3.1).
//!
//! A token has to be compared in a time that says nothing about it. It is not looked up itself, but
//! by a keyed hash that nobody else can compute: how long a look-up takes tells at most about that.

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use weir_core::rng::{self, Rng};
use weir_core::slab::Key;

use super::hash::{Keyed, Table};
use crate::cid::ResetToken;

/// A token and the address that it is good for, hashed.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 16]);

/// The tokens of all connections.
pub(super) struct Resets {
    key: hmac::Key,
    connections: Table<Digest, Key>,
}

impl Resets {
    pub(super) fn new(rng: &mut Rng, keyed: &Keyed) -> Resets {
        let mut secret = [0; 32];
        rng::fill(rng, &mut secret);
        Resets {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            connections: Table::new(keyed),
        }
    }

    pub(super) fn digest(&self, remote: SocketAddr, token: &[u8; 16]) -> Digest {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(token);
        match remote.ip().to_canonical() {
            std::net::IpAddr::V4(v4) => context.update(&v4.octets()),
            std::net::IpAddr::V6(v6) => context.update(&v6.octets()),
        }
        context.update(&remote.port().to_be_bytes());
        // HMAC-SHA256 has 32 bytes.
        Digest(
            context
                .sign()
                .as_ref()
                .first_chunk()
                .copied()
                .unwrap_or_default(),
        )
    }

    /// From now on, `token` from `remote` ends `connection`.
    pub(super) fn add(
        &mut self,
        remote: SocketAddr,
        token: &ResetToken,
        connection: Key,
    ) -> Digest {
        let digest = self.digest(remote, token.as_bytes());
        self.connections.insert(digest, connection);
        digest
    }

    /// It no longer does, if it was this connection that it ended.
    pub(super) fn remove(&mut self, digest: Digest, connection: Key) {
        if self.connections.get(&digest) == Some(&connection) {
            self.connections.remove(&digest);
        }
    }

    /// The connection that a datagram from `remote` resets, if it does.
    pub(super) fn find(&self, remote: SocketAddr, datagram: &[u8]) -> Option<Key> {
        if self.connections.len() == 0 {
            return None;
        }
        let token = datagram.last_chunk::<16>()?;
        self.connections.get(&self.digest(remote, token)).copied()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }
}
