//! What must hold inside a connection after every step.

use crate::connection::Connection;
use crate::path::PathId;
use crate::recovery::PathLookup as _;

/// Panics when a connection's books do not agree with each other.
pub(super) fn audit(connection: &Connection) {
    bytes_in_flight(connection);
    let stats = connection.stats();
    assert!(
        stats.memory_used <= stats.memory_limit,
        "{} bytes of memory of {}",
        stats.memory_used,
        stats.memory_limit
    );
    let credit = connection.streams.credit();
    assert!(credit.sent <= credit.send_limit, "{credit:?}");
    assert!(credit.received <= credit.recv_limit, "{credit:?}");
    assert!(credit.unread <= credit.received, "{credit:?}");
}

/// Bytes in flight are the sizes of the packets that are neither acknowledged nor lost.
fn bytes_in_flight(connection: &Connection) {
    let mut total = 0;
    for path in connection.paths.iter() {
        let expected = connection.recovery.unacknowledged(Some(path.id));
        assert_eq!(
            path.recovery.in_flight, expected,
            "in flight on {:?}, of {:?}",
            path.id, connection
        );
        total += expected;
    }
    let all = connection.recovery.unacknowledged(None);
    assert_eq!(connection.recovery.in_flight_total(), all);
    assert!(total <= all);
}

/// Whether the peer has not shown that it is at this address.
pub(super) fn is_unvalidated(connection: &Connection, remote: std::net::SocketAddr) -> bool {
    let of_path = |id: PathId| connection.paths.get(id).map(|path| path.is_validated());
    let mut paths = connection
        .paths
        .iter()
        .filter(|path| path.addr.remote == remote);
    !paths.any(|path| of_path(path.id) == Some(true))
}

/// Why `wants_transmit` may say yes although nothing came: the path holds what there is, or the peer
/// has given no connection ID for it (RFC 9000 9.5).
pub(super) fn is_held_back(connection: &mut Connection) -> bool {
    let active = connection.paths.active();
    let size = connection.datagram_size() as u64;
    let allowance = connection.paths.send_allowance(active);
    let pacing = connection.clock.pacing.is_some();
    let window = connection.paths.recovery(active).map(|it| it.window_left());
    let is_full = window.is_none_or(|left| left < size);
    pacing || allowance < size || is_full || !connection.paths.can_address(active)
}

/// Both ends of a connection agree about credit: nobody believes to have more than was given.
pub(super) fn credit_is_conserved(one: &Connection, other: &Connection) {
    for (sender, receiver) in [(one, other), (other, one)] {
        let (sender, receiver) = (sender.streams.credit(), receiver.streams.credit());
        assert!(
            sender.send_limit <= receiver.recv_limit,
            "{sender:?} {receiver:?}"
        );
        assert!(receiver.received <= sender.sent, "{sender:?} {receiver:?}");
    }
}
