//! Word from the network that a peer takes no datagrams (RFC 9000 section 14.2.1).

use weir_core::close::{Initiator, Layer};

use super::closing::handshake_keys;
use super::pair::Pair;

const REFUSED: u64 = 111;

fn tell(pair: &mut Pair, quoted: &[u8]) -> bool {
    let (now, server) = (pair.now, pair.server_addr);
    pair.client
        .handle_unreachable(now, server, quoted, REFUSED, "nobody".to_owned())
}

/// The client's first datagram.
fn first_flight(pair: &mut Pair) -> Vec<u8> {
    pair.run_until(|pair| !pair.flying.is_empty());
    pair.flying[0].data.clone()
}

// RFC 9000 14.2.1: a message that quotes the connection's own packet ends a dial that nobody answered.
#[test]
fn a_dial_that_nobody_answers_ends_with_the_systems_words() {
    for quote in [0, 6, 10, 64] {
        let mut pair = Pair::new(1);
        let sent = first_flight(&mut pair);
        assert!(pair.client.is_unanswered());
        assert!(tell(&mut pair, &sent[..quote]));
        let reason = pair.client.close_reason().unwrap();
        assert_eq!(
            (reason.by, reason.layer),
            (Initiator::Carrier, Layer::Carrier)
        );
        assert_eq!((reason.code, &*reason.reason), (REFUSED, "nobody"));
        assert!(pair.client.is_drained(), "there is nobody to tell");
    }
}

// RFC 9000 14.2.1: addresses, ports and, when possible, connection IDs have to match.
#[test]
fn what_quotes_another_connection_is_ignored() {
    let mut pair = Pair::new(2);
    let mut sent = first_flight(&mut pair);
    sent[6] ^= 1;
    assert!(!tell(&mut pair, &sent[..64]));
    sent[6] ^= 1;
    let (now, mut elsewhere) = (pair.now, pair.server_addr);
    elsewhere.set_port(elsewhere.port() ^ 1);
    let words = "nobody".to_owned();
    assert!(
        !pair
            .client
            .handle_unreachable(now, elsewhere, &sent, REFUSED, words)
    );
    assert!(pair.client.is_open());
    pair.run_until(|pair| pair.client.is_confirmed());
}

// RFC 9000 14.2.1: whoever can forge such a message cannot end a connection that has been answered, nor
// a server's.
#[test]
fn what_was_answered_goes_on() {
    let mut pair = Pair::new(3);
    let sent = first_flight(&mut pair);
    handshake_keys(&mut pair);
    assert!(pair.client.is_handshaking() && !pair.client.is_unanswered());
    assert!(!tell(&mut pair, &sent));
    pair.run_until(|pair| pair.client.is_confirmed());
    assert!(!tell(&mut pair, &sent));
    let (now, client) = (pair.now, pair.client_addr);
    let words = "nobody".to_owned();
    let server = pair.server();
    assert!(!server.handle_unreachable(now, client, &[], REFUSED, words));
    assert!(pair.client.is_open() && pair.server().is_open());
}
