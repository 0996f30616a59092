//! Stateless reset tokens from a static key (RFC 9000 section 10.3.2): an endpoint that lost its
//! state, or another of the same fleet, can make them again.

use std::fmt;
use std::sync::{PoisonError, RwLock};

use aws_lc_rs::hmac;

use crate::cid::{ResetToken, ResetTokens};
use crate::wire::ConnectionId;

/// The key that stateless reset tokens are made with.
///
/// Endpoints that are given the same secrets make the same tokens. Whoever has a secret can end
/// any connection of these endpoints.
pub struct ResetKey {
    keys: RwLock<Keys>,
}

struct Keys {
    current: hmac::Key,
    previous: Option<hmac::Key>,
}

impl ResetKey {
    /// From a secret, random and kept.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> ResetKey {
        ResetKey {
            keys: RwLock::new(Keys {
                current: key(secret),
                previous: None,
            }),
        }
    }

    /// Another secret for connection IDs that are issued from now on. Packets of those that were
    /// issued under the one before are still answered with a reset that their peers know; those of
    /// earlier ones no longer.
    pub fn rotate(&self, secret: &[u8; 32]) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut keys.current, key(secret));
        keys.previous = Some(old);
    }

    /// The token for `cid` under the secret before the present one, if there was one: whether a
    /// connection ID of unknown age was issued before or after the change is not to be seen.
    pub(crate) fn previous_token(&self, cid: &ConnectionId) -> Option<ResetToken> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.previous.as_ref().map(|key| token(key, cid))
    }
}

impl ResetTokens for ResetKey {
    fn token(&self, cid: &ConnectionId) -> ResetToken {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        token(&keys.current, cid)
    }
}

impl fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResetKey")
    }
}

fn key(secret: &[u8; 32]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret)
}

fn token(key: &hmac::Key, cid: &ConnectionId) -> ResetToken {
    let tag = hmac::sign(key, cid);
    // HMAC-SHA256 has 32 bytes.
    ResetToken::new(tag.as_ref().first_chunk().copied().unwrap_or_default())
}
