//! What servers gave a client for its next connection to them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use weir_quic::Remembered;

/// Servers that are remembered; of more, one that was met long ago is forgotten.
const SERVERS: usize = 256;
/// Tokens kept for each: every one is used once.
const TOKENS: usize = 4;

/// Tokens and limits by server.
#[derive(Default)]
pub(crate) struct Memory {
    servers: Mutex<Servers>,
}

#[derive(Default)]
struct Servers {
    known: HashMap<String, Known>,
    /// Counts what was kept: the least recent is the one with the least number.
    count: u64,
}

#[derive(Default)]
struct Known {
    tokens: VecDeque<Bytes>,
    limits: Option<Remembered>,
    last: u64,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep_token(&self, server: &str, token: Bytes) {
        let mut servers = self.lock();
        let known = servers.known(server);
        if known.tokens.len() >= TOKENS {
            known.tokens.pop_front();
        }
        known.tokens.push_back(token);
    }

    pub(super) fn keep_limits(&self, server: &str, limits: Remembered) {
        self.lock().known(server).limits = Some(limits);
    }

    /// A token for one connection, which has it for itself.
    pub(super) fn take_token(&self, server: &str) -> Option<Bytes> {
        self.lock().known.get_mut(server)?.tokens.pop_back()
    }

    pub(super) fn limits(&self, server: &str) -> Option<Remembered> {
        self.lock().known.get(server)?.limits
    }
}

impl Servers {
    fn known(&mut self, server: &str) -> &mut Known {
        self.count += 1;
        if self.known.len() >= SERVERS && !self.known.contains_key(server) {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.last);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                self.known.remove(&name);
            }
        }
        let known = self.known.entry(server.to_owned()).or_default();
        known.last = self.count;
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_given_out_once_and_the_latest_first() {
        let memory = Memory::default();
        for n in 0..6_u8 {
            memory.keep_token("example.org:443", Bytes::copy_from_slice(&[n]));
        }
        let given: Vec<Bytes> =
            std::iter::from_fn(|| memory.take_token("example.org:443")).collect();
        assert_eq!(given, [&[5_u8][..], &[4], &[3], &[2]]);
        assert_eq!(memory.take_token("example.com:443"), None);
    }

    #[test]
    fn the_oldest_server_goes_when_there_are_too_many() {
        let memory = Memory::default();
        for n in 0..=SERVERS {
            memory.keep_token(&n.to_string(), Bytes::from_static(b"token"));
        }
        assert_eq!(memory.lock().known.len(), SERVERS);
        assert_eq!(memory.take_token("0"), None);
        assert!(memory.take_token("1").is_some());
    }
}
