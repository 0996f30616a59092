//! Address validation tokens (RFC 9000 section 8.1): what a server learned of a client, sealed and
//! given to the client to keep.
//!
//! A token is `id nonce sealed`: 4 bytes that name the key and the kind of token, 12 random bytes,
//! and the content with its tag, sealed by AES-256-GCM-SIV, which takes more random nonces than
//! will ever be drawn. What the token is bound to, the client's address and the version, is
//! authenticated along with it and not in it.

mod filter;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError, RwLock};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{error::Unspecified, hkdf};
use weir_core::rng::{self, Rng};
use weir_core::time::Duration;

use self::filter::Filter;
use super::TAG_LEN;
use crate::wire::{ConnectionId, Version};

const ID_LEN: usize = 4;
const NONCE_LEN: usize = 12;
/// Bytes around the content.
const OVERHEAD: usize = ID_LEN + NONCE_LEN + TAG_LEN;
/// How far another server's clock may be ahead, in seconds.
const CLOCK_SKEW: u64 = 5;
/// How long a Retry token is taken: a client sends it back at once, over a slow path and after a
/// lost packet or two.
pub(crate) const RETRY_LIFETIME: Duration = Duration::from_secs(15);
/// How long a token of NEW_TOKEN is taken by default: a week.
pub(crate) const NEW_TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

/// The keys that address validation tokens are sealed with, and the memory of those that were used.
///
/// Servers that are given the same secrets take each other's tokens, each of them once.
pub struct TokenKeys {
    keys: RwLock<Keys>,
    used: Mutex<Filter>,
    new_token_lifetime: u64,
}

struct Keys {
    current: Key,
    previous: Option<Key>,
}

/// What a token is presented with, or issued for.
#[derive(Copy, Clone, Debug)]
pub struct Holder {
    /// The client's address.
    pub address: SocketAddr,
    /// The version of the client's packet; for NEW_TOKEN that of the connection.
    pub version: Version,
    /// Seconds since the Unix epoch.
    pub wall_clock: u64,
}

/// What a token says.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum TokenState {
    /// From a Retry of ours, a moment ago, to this address: it is validated.
    Retry {
        /// The client's first Destination Connection ID, for the transport parameter.
        original_dcid: ConnectionId,
        /// The Retry's Source Connection ID, likewise: what the client has to address now.
        retry_scid: ConnectionId,
    },
    /// From a Retry of ours, and not good: the connection is refused with INVALID_TOKEN, as the
    /// client takes no second Retry (RFC 9000 section 8.1.2).
    InvalidRetry,
    /// From a NEW_TOKEN of ours, to this IP address, not used before: it is validated.
    NewToken,
    /// Nothing that can be relied on: as if there were no token (RFC 9000 section 8.1.3).
    Ignored,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
enum Kind {
    Retry,
    NewToken,
}

impl TokenKeys {
    /// From a secret: random, kept if tokens are to outlive a restart, shared if other servers are
    /// to take them.
    #[must_use]
    pub fn new(secret: &[u8; 32]) -> TokenKeys {
        TokenKeys {
            keys: RwLock::new(Keys {
                current: Key::new(secret),
                previous: None,
            }),
            used: Mutex::new(Filter::new()),
            new_token_lifetime: NEW_TOKEN_LIFETIME.as_secs(),
        }
    }

    /// Another lifetime for tokens of NEW_TOKEN, in whole seconds.
    #[must_use]
    pub fn with_new_token_lifetime(mut self, lifetime: Duration) -> TokenKeys {
        self.new_token_lifetime = lifetime.as_secs();
        self
    }

    /// Another secret for tokens that are issued from now on. Those of the secret before are still
    /// taken, earlier ones no longer.
    pub fn rotate(&self, secret: &[u8; 32]) {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut keys.current, Key::new(secret));
        keys.previous = Some(old);
    }

    /// A token for a Retry packet with the Source Connection ID `retry_scid`, in answer to an
    /// Initial with the Destination Connection ID `original_dcid`. Empty only if the cipher fails, which it does not.
    pub fn seal_retry(
        &self,
        rng: &mut Rng,
        holder: &Holder,
        original_dcid: &ConnectionId,
        retry_scid: &ConnectionId,
    ) -> Vec<u8> {
        let mut content = holder.wall_clock.to_be_bytes().to_vec();
        for cid in [original_dcid, retry_scid] {
            // At most 20.
            content.push(cid.len() as u8);
            content.extend_from_slice(cid);
        }
        self.seal(rng, Kind::Retry, holder, &content)
    }

    /// A token for a NEW_TOKEN frame. No two are the same.
    pub fn seal_new_token(&self, rng: &mut Rng, holder: &Holder) -> Vec<u8> {
        let content = holder.wall_clock.to_be_bytes();
        self.seal(rng, Kind::NewToken, holder, &content)
    }

    fn seal(&self, rng: &mut Rng, kind: Kind, holder: &Holder, content: &[u8]) -> Vec<u8> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut nonce = [0; NONCE_LEN];
        rng::fill(rng, &mut nonce);
        keys.current
            .seal(kind, nonce, holder, content)
            .unwrap_or_default()
    }

    /// What the token of an Initial packet says. A good one of NEW_TOKEN is used up by that.
    #[must_use]
    pub fn open(&self, token: &[u8], holder: &Holder) -> TokenState {
        match self.decrypt(token, holder) {
            Some((Kind::Retry, content)) => content
                .and_then(|content| self.judge_retry(&content, holder))
                .unwrap_or(TokenState::InvalidRetry),
            Some((Kind::NewToken, Some(content))) => self
                .judge_new_token(&content, token, holder)
                .unwrap_or(TokenState::Ignored),
            Some((Kind::NewToken, None)) | None => TokenState::Ignored,
        }
    }

    /// The kind of `token`, when it names a key that is here, and its content, when it is authentic
    /// and was issued for `holder`.
    fn decrypt(&self, token: &[u8], holder: &Holder) -> Option<(Kind, Option<Vec<u8>>)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let (id, rest) = token.split_first_chunk::<ID_LEN>()?;
        let (key, kind) = [Some(&keys.current), keys.previous.as_ref()]
            .into_iter()
            .flatten()
            .find_map(|key| Some((key, key.kind(id)?)))?;
        Some((kind, key.open(kind, rest, holder)))
    }

    fn judge_retry(&self, content: &[u8], holder: &Holder) -> Option<TokenState> {
        let (issued, cids) = content.split_first_chunk()?;
        if !is_fresh(*issued, RETRY_LIFETIME.as_secs(), holder.wall_clock) {
            return None;
        }
        let (original_dcid, rest) = split_cid(cids)?;
        let (retry_scid, _) = split_cid(rest)?;
        Some(TokenState::Retry {
            original_dcid,
            retry_scid,
        })
    }

    fn judge_new_token(&self, content: &[u8], token: &[u8], holder: &Holder) -> Option<TokenState> {
        let (issued, _) = content.split_first_chunk()?;
        if !is_fresh(*issued, self.new_token_lifetime, holder.wall_clock) {
            return None;
        }
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let tag = u128::from_be_bytes(*token.last_chunk()?);
        used.first_use(
            tag,
            u64::from_be_bytes(*issued),
            holder.wall_clock,
            self.new_token_lifetime,
        )
        .then_some(TokenState::NewToken)
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKeys")
    }
}

fn is_fresh(issued: [u8; 8], lifetime: u64, now: u64) -> bool {
    let issued = u64::from_be_bytes(issued);
    issued <= now.saturating_add(CLOCK_SKEW) && now.saturating_sub(issued) <= lifetime
}

fn split_cid(bytes: &[u8]) -> Option<(ConnectionId, &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    let (cid, rest) = rest.split_at_checked(usize::from(len))?;
    Some((ConnectionId::new(cid)?, rest))
}

/// One secret's key, and what its tokens begin with.
struct Key {
    cipher: Option<LessSafeKey>,
    retry_id: [u8; ID_LEN],
    new_token_id: [u8; ID_LEN],
}

impl Key {
    fn new(secret: &[u8; 32]) -> Key {
        let root =
            hkdf::Salt::new(hkdf::HKDF_SHA256, b"weir quic address validation").extract(secret);
        let cipher: Option<[u8; 32]> = derive(&root, b"key");
        Key {
            cipher: cipher
                .and_then(|bytes| UnboundKey::new(&AES_256_GCM_SIV, &bytes).ok())
                .map(LessSafeKey::new),
            retry_id: derive(&root, b"retry").unwrap_or_default(),
            new_token_id: derive(&root, b"new token").unwrap_or_default(),
        }
    }

    fn id(&self, kind: Kind) -> [u8; ID_LEN] {
        match kind {
            Kind::Retry => self.retry_id,
            Kind::NewToken => self.new_token_id,
        }
    }

    fn kind(&self, id: &[u8; ID_LEN]) -> Option<Kind> {
        [Kind::Retry, Kind::NewToken]
            .into_iter()
            .find(|kind| self.id(*kind) == *id)
    }

    fn seal(
        &self,
        kind: Kind,
        nonce: [u8; NONCE_LEN],
        holder: &Holder,
        content: &[u8],
    ) -> Option<Vec<u8>> {
        let mut token = Vec::with_capacity(OVERHEAD + content.len());
        token.extend_from_slice(&self.id(kind));
        token.extend_from_slice(&nonce);
        let mut sealed = content.to_vec();
        let tag = self
            .cipher
            .as_ref()?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(binding(self.id(kind), kind, holder)),
                &mut sealed,
            )
            .ok()?;
        token.extend_from_slice(&sealed);
        token.extend_from_slice(tag.as_ref());
        Some(token)
    }

    fn open(&self, kind: Kind, rest: &[u8], holder: &Holder) -> Option<Vec<u8>> {
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let content = self
            .cipher
            .as_ref()?
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(binding(self.id(kind), kind, holder)),
                &mut sealed,
            )
            .ok()?
            .len();
        sealed.truncate(content);
        Some(sealed)
    }
}

/// Length of [`binding`].
const BINDING_LEN: usize = ID_LEN + 4 + 16 + 2;

/// What a token is bound to: version and IP address, and for Retry the port (RFC 9000 section
/// 8.1.3 has no use for it in the other kind).
fn binding(id: [u8; ID_LEN], kind: Kind, holder: &Holder) -> [u8; BINDING_LEN] {
    let ip = match holder.address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let port = match kind {
        Kind::Retry => holder.address.port(),
        Kind::NewToken => 0,
    };
    let mut bytes = [0; BINDING_LEN];
    let parts = id
        .into_iter()
        .chain(holder.version.0.to_be_bytes())
        .chain(ip.octets())
        .chain(port.to_be_bytes());
    for (to, from) in bytes.iter_mut().zip(parts) {
        *to = from;
    }
    bytes
}

/// The length that HKDF is asked for.
struct Len(usize);

impl hkdf::KeyType for Len {
    fn len(&self) -> usize {
        self.0
    }
}

fn derive<const N: usize>(root: &hkdf::Prk, label: &'static [u8]) -> Option<[u8; N]> {
    let mut out = [0; N];
    root.expand(&[label], Len(N))
        .and_then(|okm| okm.fill(&mut out))
        .map_err(|Unspecified| ())
        .ok()?;
    Some(out)
}
