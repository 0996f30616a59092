//! Stateless reset tokens.

use crate::cid::ResetTokens as _;
use crate::crypto::ResetKey;
use crate::wire::ConnectionId;

fn cid(bytes: &[u8]) -> ConnectionId {
    ConnectionId::new(bytes).unwrap()
}

#[test]
fn the_same_key_gives_the_same_token_after_a_restart() {
    // Q125
    let before = ResetKey::new(&[7; 32]);
    let after = ResetKey::new(&[7; 32]);
    let id = cid(b"connection");
    assert_eq!(before.token(&id), after.token(&id));
    // HMAC-SHA256 of the connection ID, cut to 16 bytes.
    let expected = [
        0xdb, 0x46, 0x91, 0x25, 0x9c, 0xa0, 0x71, 0x40, 0x59, 0xcf, 0x91, 0x7f, 0xff, 0xab, 0x03,
        0xd1,
    ];
    assert_eq!(before.token(&cid(b"Hi There")).as_bytes(), &expected);
}

#[test]
fn each_connection_id_and_each_key_has_its_own() {
    // Q123, Q125
    let key = ResetKey::new(&[7; 32]);
    let other = ResetKey::new(&[8; 32]);
    let mut seen = std::collections::HashSet::new();
    for number in 0..1000u32 {
        let id = cid(&number.to_be_bytes());
        assert!(seen.insert(*key.token(&id).as_bytes()));
        assert!(seen.insert(*other.token(&id).as_bytes()));
    }
    // A longer ID that begins the same is another one.
    assert_ne!(key.token(&cid(b"ab")), key.token(&cid(b"ab\0")));
}

#[test]
fn after_a_change_of_keys_the_one_before_is_still_known() {
    // Q125
    let key = ResetKey::new(&[1; 32]);
    let id = cid(b"connection");
    let old = key.token(&id);
    assert_eq!(key.previous_token(&id), None);
    key.rotate(&[2; 32]);
    assert_ne!(key.token(&id), old);
    assert_eq!(key.previous_token(&id), Some(old));
    key.rotate(&[3; 32]);
    assert_ne!(key.previous_token(&id), Some(old));
}

#[test]
fn the_key_and_its_tokens_do_not_show() {
    let key = ResetKey::new(&[1; 32]);
    assert_eq!(format!("{key:?}"), "ResetKey");
    assert_eq!(format!("{:?}", key.token(&cid(b"a"))), "ResetToken");
}
