//! Address validation tokens against a model: good for whom they were issued to, in their time,
//! under a key that is still there, and of the two kinds one once only. Nothing else is ever good.

use std::net::SocketAddr;

use weir_core::rng::{Rng, rng_from_seed};
use weir_core::time::Duration;
use weir_quic::{ConnectionId, TokenHolder, TokenKeys, TokenState, Version};

const LIFETIME: u64 = 600;
const RETRY_LIFETIME: u64 = 15;
/// The second and the third are one address, in two forms.
const ADDRESSES: [&str; 6] = [
    "192.0.2.1:1000",
    "192.0.2.2:1000",
    "[::ffff:192.0.2.2]:1000",
    "192.0.2.2:1001",
    "[2001:db8::1]:1000",
    "[2001:db8::2]:1000",
];

/// One that was issued.
struct Issued {
    token: Vec<u8>,
    holder: TokenHolder,
    /// The connection IDs of a Retry.
    retry: Option<[ConnectionId; 2]>,
    key: u8,
    used: bool,
}

struct Run<'a> {
    data: &'a [u8],
    keys: TokenKeys,
    key: u8,
    now: u64,
    rng: Rng,
    issued: Vec<Issued>,
}

/// Runs `data` as operations, a byte each and what they need behind it.
pub fn run(data: &[u8]) {
    let mut run = Run {
        data,
        keys: TokenKeys::new(&[0; 32]).with_new_token_lifetime(Duration::from_secs(LIFETIME)),
        key: 0,
        now: 1_000_000,
        rng: rng_from_seed(1),
        issued: Vec::new(),
    };
    while let Some(operation) = run.byte() {
        match operation % 7 {
            0 => run.issue_retry(),
            1 => run.issue_new_token(),
            2 => run.open_as_it_is(),
            3 => run.open_changed(),
            4 => run.open_foreign(),
            5 => run.rotate(),
            _ => run.now += u64::from(run.byte().unwrap_or(0)),
        }
    }
}

impl Run<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.data.split_first()?;
        self.data = rest;
        Some(byte)
    }

    fn holder(&mut self) -> TokenHolder {
        let byte = self.byte().unwrap_or(0);
        let text = ADDRESSES[usize::from(byte) % ADDRESSES.len()];
        TokenHolder {
            address: text.parse::<SocketAddr>().expect("an address"),
            version: Version::SUPPORTED[usize::from(byte >> 7)],
            wall_clock: self.now,
        }
    }

    fn cid(&mut self) -> ConnectionId {
        let len = usize::from(self.byte().unwrap_or(0)) % 21;
        ConnectionId::new(&[len as u8; 20][..len]).expect("at most 20")
    }

    fn issue_retry(&mut self) {
        let holder = self.holder();
        let cids @ [original, source] = [self.cid(), self.cid()];
        let token = self
            .keys
            .seal_retry(&mut self.rng, &holder, &original, &source);
        self.add(token, holder, Some(cids));
    }

    fn issue_new_token(&mut self) {
        let holder = self.holder();
        let token = self.keys.seal_new_token(&mut self.rng, &holder);
        self.add(token, holder, None);
    }

    fn add(&mut self, token: Vec<u8>, holder: TokenHolder, retry: Option<[ConnectionId; 2]>) {
        assert!((40..=90).contains(&token.len()));
        assert!(self.issued.iter().all(|old| old.token != token));
        let (key, used) = (self.key, false);
        self.issued.push(Issued {
            token,
            holder,
            retry,
            key,
            used,
        });
    }

    fn pick(&mut self) -> Option<usize> {
        let byte = usize::from(self.byte()?);
        byte.checked_rem(self.issued.len())
    }

    fn open_as_it_is(&mut self) {
        let Some(at) = self.pick() else { return };
        let holder = self.holder();
        let key_is_there = self.key - self.issued[at].key < 2;
        let issued = &mut self.issued[at];
        let state = self.keys.open(&issued.token, &holder);
        let age = self.now - issued.holder.wall_clock;
        let ip = |of: &TokenHolder| of.address.ip().to_canonical();
        let same_ip = ip(&holder) == ip(&issued.holder) && holder.version == issued.holder.version;
        let same_port = holder.address.port() == issued.holder.address.port();
        let expected = match issued.retry {
            _ if !key_is_there => TokenState::Ignored,
            Some([original_dcid, retry_scid]) if same_ip && same_port && age <= RETRY_LIFETIME => {
                TokenState::Retry {
                    original_dcid,
                    retry_scid,
                }
            }
            Some(_) => TokenState::InvalidRetry,
            None if same_ip && age <= LIFETIME && !issued.used => TokenState::NewToken,
            None => TokenState::Ignored,
        };
        assert_eq!(state, expected);
        issued.used |= state == TokenState::NewToken;
    }

    fn open_changed(&mut self) {
        let Some(at) = self.pick() else { return };
        let mut token = self.issued[at].token.clone();
        let place = usize::from(self.byte().unwrap_or(0)) % (token.len() + 1);
        match self.byte().unwrap_or(0) {
            0 => token.truncate(place.min(token.len() - 1)),
            change => match token.get_mut(place) {
                Some(byte) => *byte ^= change,
                None => token.push(change),
            },
        }
        self.must_not_be_good(&token);
    }

    fn open_foreign(&mut self) {
        let len = usize::from(self.byte().unwrap_or(0)).min(self.data.len());
        let (token, rest) = self.data.split_at(len);
        self.data = rest;
        self.must_not_be_good(token);
    }

    fn must_not_be_good(&mut self, token: &[u8]) {
        let holder = self.holder();
        let state = self.keys.open(token, &holder);
        assert!(matches!(
            state,
            TokenState::Ignored | TokenState::InvalidRetry
        ));
    }

    fn rotate(&mut self) {
        if let Some(key) = self.key.checked_add(1) {
            self.key = key;
            self.keys.rotate(&[key; 32]);
        }
    }
}
