//! Datagrams on their way between a host and the network: what must hold for each.

use weir_core::time::Instant;

use super::audit;
use super::host::Conn;
use super::plan::{Plan, of};
use crate::transmit::{Ecn, Transmit};
use crate::wire::Side;

/// Sizes of datagrams: all but the last of a batch are alike, none larger than the path is known to
/// carry unless it goes alone to find out.
pub(super) fn check_transmit(
    conn: &Conn,
    plan: &Plan,
    transmit: &Transmit,
    known: usize,
    data: &[u8],
) {
    let Transmit {
        segment_size, len, ..
    } = *transmit;
    assert!(len > 0 && segment_size > 0 && segment_size <= len);
    assert_eq!(len, data.len());
    let known = known.max(conn.connection.datagram_size());
    let most = plan.transport[of(conn.connection.side())].max_datagram;
    if len > segment_size {
        assert!(len.div_ceil(segment_size) <= plan.segments);
        assert!(segment_size <= known, "{segment_size} of {known} bytes");
    }
    assert!(segment_size <= most, "{segment_size} of {most} bytes");
    for datagram in data.chunks(segment_size) {
        // RFC 9000 14.1, for version 1: the client's datagrams with Initial packets.
        if conn.connection.side() == Side::Client && datagram[0] & 0xF0 == 0xC0 {
            let v1 = datagram[1..5] == 1u32.to_be_bytes();
            assert!(
                !v1 || datagram.len() >= 1200,
                "an Initial of {}",
                datagram.len()
            );
        }
    }
}

/// RFC 9000 8: no more than three times what came, to an address where nobody was shown to be.
pub(super) fn amplification(conn: &mut Conn, transmit: &Transmit) {
    let remote = transmit.path.remote;
    let count = conn.bytes.entry(remote).or_default();
    count[1] += transmit.len as u64;
    let [received, sent] = *count;
    if !audit::is_unvalidated(&conn.connection, remote) {
        // When it is forgotten and comes again, it begins anew.
        *count = [0; 2];
    } else {
        assert!(
            sent <= 3 * received,
            "Q58: {sent} bytes to {remote} for {received}: {:#?}",
            conn.connection.paths.iter().collect::<Vec<_>>()
        );
    }
}

/// A datagram in a word, for the one who looks for a fault.
pub(super) fn name(datagram: &[u8]) -> String {
    let first = datagram[0];
    let kind = match (first >> 7, first >> 4 & 3) {
        (0, _) => "short".to_owned(),
        (_, kind) => format!("long {kind} v{:x?}", &datagram[1..5]),
    };
    format!("{kind}, {} bytes", datagram.len())
}

/// Prints what a connection drops.
pub(super) struct Printer(pub(super) Side);

impl weir_core::trace::Sink for Printer {
    fn wants(&self, _level: weir_core::trace::Level) -> bool {
        true
    }

    fn event(&mut self, now: Instant, event: &weir_core::trace::Event<'_>) {
        eprintln!("{now:?} {} {event:?}", self.0.as_str());
    }
}

pub(super) fn to_sim(ecn: Option<Ecn>) -> weir_sim::Ecn {
    match ecn {
        None => weir_sim::Ecn::NotEct,
        Some(Ecn::Ect0) => weir_sim::Ecn::Ect0,
        Some(Ecn::Ect1) => weir_sim::Ecn::Ect1,
        Some(Ecn::Ce) => weir_sim::Ecn::Ce,
    }
}

pub(super) fn from_sim(ecn: weir_sim::Ecn) -> Option<Ecn> {
    match ecn {
        weir_sim::Ecn::NotEct => None,
        weir_sim::Ecn::Ect0 => Some(Ecn::Ect0),
        weir_sim::Ecn::Ect1 => Some(Ecn::Ect1),
        weir_sim::Ecn::Ce => Some(Ecn::Ce),
    }
}
