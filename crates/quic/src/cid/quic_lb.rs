//! Connection IDs that a load balancer can route by (draft-ietf-quic-load-balancers): a server's
//! ID is in each, readable, or only with the key that the balancer shares with its servers.

use std::fmt;
use std::sync::{Mutex, PoisonError, RwLock};

use aws_lc_rs::cipher::{
    AES_128, DecryptingKey, DecryptionContext, EncryptingKey, UnboundCipherKey,
};
use weir_core::rng::{self, Rng};
use weir_core::time::Duration;

use super::generator::random;
use crate::cid::ConnectionIdGenerator;
use crate::wire::ConnectionId;

/// The rotation codepoint of connection IDs that no configuration made.
const UNROUTABLE: u8 = 0b111;
/// Bytes of an AES block: plaintexts of this length take one pass, others four.
const BLOCK: usize = 16;
/// Most bytes behind the first.
const MAX_PLAIN: usize = ConnectionId::MAX_LEN - 1;

/// One configuration of a fleet, as its balancers have it too.
#[derive(Clone)]
pub struct QuicLbConfig {
    /// Which configuration it is, 0 to 6: the three high bits of each connection ID.
    pub rotation: u8,
    /// This server's ID: at least 1 byte, as long for all servers.
    pub server_id: Vec<u8>,
    /// Bytes that tell one server's connection IDs apart: at least 4, and with the server ID at
    /// most 19.
    pub nonce_len: usize,
    /// The key that hides the server ID. Without one, anyone can see which connection IDs lead to
    /// one server.
    pub key: Option<[u8; 16]>,
    /// Whether the low five bits of the first byte say how many follow. Otherwise they are random.
    pub encode_length: bool,
}

impl fmt::Debug for QuicLbConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicLbConfig")
            .field("rotation", &self.rotation)
            .field("server_id", &self.server_id)
            .field("nonce_len", &self.nonce_len)
            .field("encrypted", &self.key.is_some())
            .field("encode_length", &self.encode_length)
            .finish()
    }
}

/// Why a configuration is not taken.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuicLbError {
    /// The codepoint is 7, or does not fit three bits.
    #[error("rotation is {0}; it is 0 to 6")]
    Rotation(u8),
    /// The server ID is empty.
    #[error("server_id is empty; it has at least 1 byte")]
    ServerId,
    /// The nonce is too short.
    #[error("nonce_len is {0}; it is at least 4")]
    Nonce(usize),
    /// Together they do not fit a connection ID.
    #[error("server_id and nonce have {0} bytes; they have at most 19")]
    Length(usize),
    /// An endpoint's connection IDs all have one length.
    #[error("connection IDs would have {new} bytes; this endpoint's have {present}")]
    LengthChanged {
        /// Under the new configuration.
        new: usize,
        /// Under the present one.
        present: usize,
    },
}

/// Makes connection IDs that carry a server ID.
///
/// A server whose fleet has no configuration yet, or whose nonces are used up, makes random ones
/// that say of themselves that they cannot be routed by (section 3.2 of the draft); it should then
/// announce disable_active_migration.
pub struct QuicLb {
    active: RwLock<Option<Active>>,
    len: usize,
    lifetime: Option<Duration>,
}

impl fmt::Debug for QuicLb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicLb").field("len", &self.len).finish()
    }
}

struct Active {
    config: QuicLbConfig,
    cipher: Option<Cipher>,
    nonces: Mutex<Nonces>,
}

impl QuicLb {
    /// By `config`. `rng` draws where the nonces begin.
    pub fn new(config: QuicLbConfig, rng: &mut Rng) -> Result<QuicLb, QuicLbError> {
        let active = Active::new(config, rng)?;
        Ok(QuicLb {
            len: 1 + active.config.plain_len(),
            active: RwLock::new(Some(active)),
            lifetime: None,
        })
    }

    /// Without a configuration: unroutable connection IDs of `len` bytes, 8 to 20, until one is
    /// given to [`set_config`](Self::set_config). `None` for other lengths.
    #[must_use]
    pub fn unroutable(len: usize) -> Option<QuicLb> {
        (8..=ConnectionId::MAX_LEN).contains(&len).then(|| QuicLb {
            active: RwLock::new(None),
            len,
            lifetime: None,
        })
    }

    /// With another connection ID in place of each that was in use for `lifetime`, by which
    /// connections move to a new configuration.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> QuicLb {
        self.lifetime = Some(lifetime);
        self
    }

    /// Another configuration from now on; with the same key and server ID as before, its nonces
    /// must not have been used.
    pub fn set_config(&self, config: QuicLbConfig, rng: &mut Rng) -> Result<(), QuicLbError> {
        let active = Active::new(config, rng)?;
        let new = 1 + active.config.plain_len();
        if new != self.len {
            let present = self.len;
            return Err(QuicLbError::LengthChanged { new, present });
        }
        *self.active.write().unwrap_or_else(PoisonError::into_inner) = Some(active);
        Ok(())
    }

    /// What a balancer reads from `cid`: the ID of the server that made it. `None` when it was not
    /// made by the present configuration.
    #[must_use]
    pub fn server_id(&self, cid: &ConnectionId) -> Option<Vec<u8>> {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active.as_ref()?.server_id(cid)
    }
}

impl ConnectionIdGenerator for QuicLb {
    fn generate(&self, rng: &mut Rng) -> ConnectionId {
        let active = self.active.read().unwrap_or_else(PoisonError::into_inner);
        active
            .as_ref()
            .and_then(|active| active.generate(rng))
            .unwrap_or_else(|| unroutable(rng, self.len))
    }

    fn len(&self) -> usize {
        self.len
    }

    fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }
}

/// A connection ID that says that it is not to be routed by, and its length.
fn unroutable(rng: &mut Rng, len: usize) -> ConnectionId {
    let mut bytes = [0; ConnectionId::MAX_LEN];
    let random = random(rng, len);
    let bytes = bytes.get_mut(..random.len()).unwrap_or_default();
    bytes.copy_from_slice(&random);
    if let Some((first, rest)) = bytes.split_first_mut() {
        *first = UNROUTABLE << 5 | rest.len() as u8;
    }
    ConnectionId::new(bytes).unwrap_or(random)
}

impl QuicLbConfig {
    fn plain_len(&self) -> usize {
        self.server_id.len() + self.nonce_len
    }

    fn validate(&self) -> Result<(), QuicLbError> {
        if self.rotation >= UNROUTABLE {
            return Err(QuicLbError::Rotation(self.rotation));
        }
        if self.server_id.is_empty() {
            return Err(QuicLbError::ServerId);
        }
        if self.nonce_len < 4 {
            return Err(QuicLbError::Nonce(self.nonce_len));
        }
        let len = self.server_id.len().saturating_add(self.nonce_len);
        if len > MAX_PLAIN {
            return Err(QuicLbError::Length(len));
        }
        Ok(())
    }

    /// The first byte; `random` gives the bits that say nothing.
    fn first(&self, random: u8) -> u8 {
        let low = if self.encode_length {
            self.plain_len() as u8
        } else {
            random & 0x1f
        };
        self.rotation << 5 | low
    }
}

impl Active {
    fn new(config: QuicLbConfig, rng: &mut Rng) -> Result<Active, QuicLbError> {
        config.validate()?;
        let nonces = Nonces::new(config.nonce_len, rng);
        Ok(Active {
            cipher: config.key.as_ref().and_then(Cipher::new),
            config,
            nonces: Mutex::new(nonces),
        })
    }

    /// `None` when no nonce is left.
    fn generate(&self, rng: &mut Rng) -> Option<ConnectionId> {
        let mut nonce = [0; MAX_PLAIN];
        let nonce = nonce.get_mut(..self.config.nonce_len)?;
        if self.config.key.is_some() {
            let mut nonces = self.nonces.lock().unwrap_or_else(PoisonError::into_inner);
            nonces.next(nonce)?;
        } else {
            rng::fill(rng, nonce);
        }
        let mut random = [0];
        rng::fill(rng, &mut random);
        let [random] = random;
        self.encode(self.config.first(random), nonce)
    }

    fn encode(&self, first: u8, nonce: &[u8]) -> Option<ConnectionId> {
        let mut cid = [0; ConnectionId::MAX_LEN];
        let cid = cid.get_mut(..1 + self.config.plain_len())?;
        let (to, plain) = cid.split_first_mut()?;
        *to = first;
        let parts = self.config.server_id.iter().chain(nonce);
        for (to, from) in plain.iter_mut().zip(parts) {
            *to = *from;
        }
        if self.config.key.is_some() {
            // Without a cipher nothing is made, rather than something that can be read.
            self.cipher.as_ref()?.encrypt(plain)?;
        }
        ConnectionId::new(cid)
    }

    fn server_id(&self, cid: &ConnectionId) -> Option<Vec<u8>> {
        let (first, sealed) = cid.split_first()?;
        if first >> 5 != self.config.rotation {
            return None;
        }
        let mut plain = sealed.get(..self.config.plain_len())?.to_vec();
        if self.config.key.is_some() {
            self.cipher.as_ref()?.decrypt(&mut plain)?;
        }
        plain.truncate(self.config.server_id.len());
        Some(plain)
    }
}

/// Nonces that are never the same: the low 8 bytes (or as many as there are) count up from a random
/// number, what is above them is random once and for all. Encrypted, the order is not to be seen.
struct Nonces {
    high: [u8; MAX_PLAIN],
    next: u64,
    /// How many are left.
    left: u64,
}

impl Nonces {
    fn new(len: usize, rng: &mut Rng) -> Nonces {
        let mut high = [0; MAX_PLAIN];
        rng::fill(rng, &mut high);
        Nonces {
            high,
            next: rng::next_u64(rng),
            left: match len {
                0..8 => 1 << (8 * len),
                _ => u64::MAX,
            },
        }
    }

    fn next(&mut self, nonce: &mut [u8]) -> Option<()> {
        self.left = self.left.checked_sub(1)?;
        let low = self.next.to_le_bytes().into_iter();
        self.next = self.next.wrapping_add(1);
        for (to, from) in nonce.iter_mut().rev().zip(low.chain(self.high)) {
            *to = from;
        }
        Some(())
    }
}

/// AES-128 as section 5.4 of the draft uses it.
struct Cipher {
    encrypt: EncryptingKey,
    decrypt: DecryptingKey,
}

impl Cipher {
    fn new(key: &[u8; 16]) -> Option<Cipher> {
        let key = || UnboundCipherKey::new(&AES_128, key).ok();
        Some(Cipher {
            encrypt: EncryptingKey::ecb(key()?).ok()?,
            decrypt: DecryptingKey::ecb(key()?).ok()?,
        })
    }

    fn encrypt(&self, plain: &mut [u8]) -> Option<()> {
        if plain.len() == BLOCK {
            return self.encrypt.encrypt(plain).ok().map(|_| ());
        }
        let mut halves = Halves::split(plain)?;
        for pass in 1..=4 {
            self.pass(&mut halves, pass)?;
        }
        halves.join(plain);
        Some(())
    }

    fn decrypt(&self, sealed: &mut [u8]) -> Option<()> {
        if sealed.len() == BLOCK {
            let context = DecryptionContext::None;
            return self.decrypt.decrypt(sealed, context).ok().map(|_| ());
        }
        let mut halves = Halves::split(sealed)?;
        for pass in (1..=4).rev() {
            self.pass(&mut halves, pass)?;
        }
        halves.join(sealed);
        Some(())
    }

    /// One round of the Feistel network: its own inverse.
    fn pass(&self, halves: &mut Halves, pass: u8) -> Option<()> {
        let mut block = [0; BLOCK];
        let input = halves.get(pass.is_multiple_of(2));
        for (to, from) in block.iter_mut().zip(input) {
            *to = *from;
        }
        let [.., length, number] = &mut block;
        *length = halves.plain_len;
        *number = pass;
        self.encrypt.encrypt(&mut block).ok()?;
        halves.xor(pass % 2 == 1, &block);
        Some(())
    }
}

/// A plaintext in two halves. Of an odd number of bytes, the one in the middle is shared: the left
/// half has its high four bits, the right half its low four.
struct Halves {
    left: Vec<u8>,
    right: Vec<u8>,
    plain_len: u8,
}

impl Halves {
    fn split(plain: &[u8]) -> Option<Halves> {
        let half = plain.len().div_ceil(2);
        let mut halves = Halves {
            left: plain.get(..half)?.to_vec(),
            right: plain.get(plain.len() - half..)?.to_vec(),
            plain_len: plain.len() as u8,
        };
        halves.clear_shared();
        Some(halves)
    }

    fn get(&self, right: bool) -> &[u8] {
        if right { &self.right } else { &self.left }
    }

    fn xor(&mut self, right: bool, block: &[u8; BLOCK]) {
        let half = if right {
            &mut self.right
        } else {
            &mut self.left
        };
        for (to, from) in half.iter_mut().zip(block) {
            *to ^= from;
        }
        self.clear_shared();
    }

    fn clear_shared(&mut self) {
        if self.plain_len.is_multiple_of(2) {
            return;
        }
        if let (Some(left), Some(right)) = (self.left.last_mut(), self.right.first_mut()) {
            *left &= 0xf0;
            *right &= 0x0f;
        }
    }

    fn join(&self, out: &mut [u8]) {
        out.fill(0);
        for (to, from) in out.iter_mut().zip(&self.left) {
            *to |= from;
        }
        for (to, from) in out.iter_mut().rev().zip(self.right.iter().rev()) {
            *to |= from;
        }
    }
}

#[cfg(test)]
#[path = "quic_lb_tests.rs"]
mod tests;
