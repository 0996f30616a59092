//! Address validation tokens.

use std::net::SocketAddr;

use weir_core::rng::{Rng, rng_from_seed};
use weir_core::time::Duration;

use crate::crypto::{Holder, TokenKeys, TokenState};
use crate::limits::TOKEN_FILTER_USES;
use crate::wire::{ConnectionId, Version};

const NOW: u64 = 1_700_000_000;
const SECRET: [u8; 32] = [5; 32];

fn holder() -> Holder {
    Holder {
        address: "192.0.2.1:4433".parse().unwrap(),
        version: Version::V1,
        wall_clock: NOW,
    }
}

fn at(address: &str) -> Holder {
    Holder {
        address: address.parse::<SocketAddr>().unwrap(),
        ..holder()
    }
}

fn later(seconds: u64) -> Holder {
    Holder {
        wall_clock: NOW + seconds,
        ..holder()
    }
}

fn cids() -> [ConnectionId; 2] {
    [b"original".as_slice(), b"retry-source-id".as_slice()]
        .map(|bytes| ConnectionId::new(bytes).unwrap())
}

struct Issuer {
    keys: TokenKeys,
    rng: Rng,
}

impl Issuer {
    fn new() -> Issuer {
        Issuer {
            keys: TokenKeys::new(&SECRET),
            rng: rng_from_seed(1),
        }
    }

    fn retry(&mut self) -> Vec<u8> {
        let [original, source] = cids();
        self.keys
            .seal_retry(&mut self.rng, &holder(), &original, &source)
    }

    fn new_token(&mut self) -> Vec<u8> {
        self.keys.seal_new_token(&mut self.rng, &holder())
    }
}

#[test]
fn a_retry_token_gives_back_the_connection_ids() {
    // Q65
    let mut issuer = Issuer::new();
    let token = issuer.retry();
    let [original_dcid, retry_scid] = cids();
    assert_eq!(
        issuer.keys.open(&token, &later(3)),
        TokenState::Retry {
            original_dcid,
            retry_scid
        }
    );
}

#[test]
fn a_retry_token_is_bound_to_address_port_and_version() {
    // Q65, Q66
    let mut issuer = Issuer::new();
    let token = issuer.retry();
    for other in [
        at("192.0.2.2:4433"),
        at("192.0.2.1:4434"),
        at("[2001:db8::1]:4433"),
        Holder {
            version: Version::V2,
            ..holder()
        },
    ] {
        assert_eq!(issuer.keys.open(&token, &other), TokenState::InvalidRetry);
    }
    // A socket for both families shows the same address in another form.
    let mapped = at("[::ffff:192.0.2.1]:4433");
    assert!(matches!(
        issuer.keys.open(&token, &mapped),
        TokenState::Retry { .. }
    ));
}

#[test]
fn a_retry_token_lives_for_seconds() {
    // Q65, Q66
    let mut issuer = Issuer::new();
    let token = issuer.retry();
    let open = |holder| issuer.keys.open(&token, &holder);
    assert!(matches!(open(later(15)), TokenState::Retry { .. }));
    assert_eq!(open(later(16)), TokenState::InvalidRetry);
}

#[test]
fn a_token_that_anyone_touched_is_not_good() {
    // Q65, Q66
    let mut issuer = Issuer::new();
    for token in [issuer.retry(), issuer.new_token()] {
        for at in 0..token.len() {
            let mut touched = token.clone();
            touched[at] ^= 1;
            let state = issuer.keys.open(&touched, &holder());
            assert!(
                matches!(state, TokenState::InvalidRetry | TokenState::Ignored),
                "byte {at}: {state:?}"
            );
        }
        for len in 0..token.len() {
            let state = issuer.keys.open(&token[..len], &holder());
            assert!(matches!(
                state,
                TokenState::InvalidRetry | TokenState::Ignored
            ));
        }
    }
}

#[test]
fn one_kind_does_not_pass_for_the_other() {
    // RFC 9000 8.1.1
    let mut issuer = Issuer::new();
    let (retry, new_token) = (issuer.retry(), issuer.new_token());
    let mixed = [&retry[..4], &new_token[4..]].concat();
    assert_eq!(
        issuer.keys.open(&mixed, &holder()),
        TokenState::InvalidRetry
    );
    let mixed = [&new_token[..4], &retry[4..]].concat();
    assert_eq!(issuer.keys.open(&mixed, &holder()), TokenState::Ignored);
}

#[test]
fn a_token_of_strangers_is_as_none() {
    // Q66: it may be an old one of a server that stood here before, and says nothing of a Retry.
    let issuer = Issuer::new();
    for token in [&b"token"[..], &[0; 80], &[0xff; 300], b""] {
        assert_eq!(issuer.keys.open(token, &holder()), TokenState::Ignored);
    }
}

#[test]
fn a_new_token_is_good_once() {
    // Q67
    let mut issuer = Issuer::new();
    let token = issuer.new_token();
    // Another port is no other address (RFC 9000 8.1.3).
    let again = Holder {
        wall_clock: NOW + 3600,
        ..at("192.0.2.1:9")
    };
    assert_eq!(issuer.keys.open(&token, &again), TokenState::NewToken);
    assert_eq!(issuer.keys.open(&token, &again), TokenState::Ignored);
    assert_eq!(
        issuer.keys.open(&token, &later(86_400)),
        TokenState::Ignored
    );
}

#[test]
fn a_new_token_is_bound_to_ip_address_and_version() {
    // Q65, Q66, Q25
    let mut issuer = Issuer::new();
    let token = issuer.new_token();
    let other_version = Holder {
        version: Version::V2,
        ..holder()
    };
    for other in [at("192.0.2.2:4433"), other_version] {
        assert_eq!(issuer.keys.open(&token, &other), TokenState::Ignored);
    }
    // And was not used up by those attempts.
    assert_eq!(issuer.keys.open(&token, &holder()), TokenState::NewToken);
}

#[test]
fn a_new_token_has_a_lifetime() {
    // Q65
    let mut issuer = Issuer::new();
    issuer.keys = TokenKeys::new(&SECRET).with_new_token_lifetime(Duration::from_secs(60));
    let (first, second) = (issuer.new_token(), issuer.new_token());
    assert_eq!(issuer.keys.open(&first, &later(61)), TokenState::Ignored);
    assert_eq!(issuer.keys.open(&second, &later(60)), TokenState::NewToken);
}

#[test]
fn no_two_new_tokens_are_alike_and_none_shows_its_address() {
    // RFC 9000 8.1.3
    let mut issuer = Issuer::new();
    let tokens: Vec<_> = (0..100).map(|_| issuer.new_token()).collect();
    let distinct: std::collections::HashSet<_> = tokens.iter().collect();
    assert_eq!(distinct.len(), tokens.len());
    for token in &tokens {
        assert!(!token.windows(4).any(|bytes| bytes == [192, 0, 2, 1]));
    }
}

#[test]
fn a_change_of_keys_leaves_the_tokens_of_the_one_before() {
    // Q65
    let mut issuer = Issuer::new();
    let (retry, new_token) = (issuer.retry(), issuer.new_token());
    issuer.keys.rotate(&[6; 32]);
    let state = issuer.keys.open(&retry, &holder());
    assert!(matches!(state, TokenState::Retry { .. }));
    let newer = issuer.retry();
    issuer.keys.rotate(&[7; 32]);
    assert_eq!(issuer.keys.open(&retry, &holder()), TokenState::Ignored);
    assert_eq!(issuer.keys.open(&new_token, &holder()), TokenState::Ignored);
    let state = issuer.keys.open(&newer, &holder());
    assert!(matches!(state, TokenState::Retry { .. }));
}

#[test]
fn servers_with_one_secret_take_each_others_tokens() {
    // Q65
    let mut issuer = Issuer::new();
    let (retry, new_token) = (issuer.retry(), issuer.new_token());
    let other = TokenKeys::new(&SECRET);
    let state = other.open(&retry, &holder());
    assert!(matches!(state, TokenState::Retry { .. }));
    assert_eq!(other.open(&new_token, &holder()), TokenState::NewToken);
    // A clock that is a little behind does no harm; one that is far behind does.
    let behind = |seconds| Holder {
        wall_clock: NOW - seconds,
        ..holder()
    };
    let state = other.open(&retry, &behind(5));
    assert!(matches!(state, TokenState::Retry { .. }));
    assert_eq!(other.open(&retry, &behind(6)), TokenState::InvalidRetry);
}

#[test]
fn however_many_are_used_none_is_good_twice() {
    // Q67
    let mut issuer = Issuer::new();
    let count = TOKEN_FILTER_USES as usize * 5 / 2;
    let mut used = Vec::new();
    let mut refused = 0;
    for number in 0..count {
        // Ten a second.
        let holder = later(number as u64 / 10);
        let token = issuer.keys.seal_new_token(&mut issuer.rng, &holder);
        match issuer.keys.open(&token, &holder) {
            TokenState::NewToken => used.push((token, holder)),
            _ => refused += 1,
        }
    }
    // One in 400 is taken for another, and for a few seconds after the older half is forgotten
    // clocks are not trusted.
    assert!(refused < count / 100, "{refused} of {count}");
    for (token, holder) in used {
        assert_eq!(issuer.keys.open(&token, &holder), TokenState::Ignored);
    }
}
