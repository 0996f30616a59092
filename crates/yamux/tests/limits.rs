//! Every named cap of the engine, walked up to and passed (threat C4). A cap that is added to
//! `limits.rs` fails the first test until it has its walk here.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]

mod proof;
#[path = "proof/walks/mod.rs"]
mod walks;

use proof::frames::{FIN, Frame, SYN};
use proof::{Peer, ReadEnd, quiet};
use walks::{memory, time, wire};
use weir_yamux::{Config, Role};

const WALKS: [(&str, fn()); 24] = [
    ("INITIAL_WINDOW", wire::initial_window),
    ("MAX_SEND_CREDIT", wire::max_send_credit),
    ("MAX_FRAME", wire::max_frame),
    ("COPY_BELOW", wire::copy_below),
    ("COALESCE_BELOW", wire::coalesce_below),
    ("COPY_WHEN_PINNED", wire::pinned),
    ("PINNED_LIMIT", wire::pinned),
    ("MAX_BATCH_BYTES", wire::max_batch_bytes),
    ("MIN_BATCH_BYTES", wire::slow_carrier),
    ("BATCH_MILLIS", wire::slow_carrier),
    ("MAX_BATCH_SLICES", wire::max_batch_slices),
    ("MAX_PENDING_PONGS", wire::max_pending_pongs),
    ("MAX_REFUSAL_RUNS", wire::max_refusal_runs),
    ("REMEMBERED_STRANGERS", wire::remembered_strangers),
    ("MAX_ID_GAPS", wire::max_id_gaps),
    ("STREAM_COST", memory::stream_cost),
    ("MEMORY_BLOCK", memory::memory_block),
    ("MIN_SESSION_MEMORY", memory::min_session_memory),
    ("SHED_SEARCH_BYTES", memory::shed_search),
    ("BUDGET_RETRY_MILLIS", memory::budget_retry),
    ("WINDOW_SWEEP_MILLIS", time::window_sweep),
    ("RTT_MAX_AGE_SECS", time::rtt_age),
    ("RESET_PATIENCE", time::reset_patience),
    ("KEEPALIVE_PATIENCE", time::keepalive_patience),
];

#[test]
fn c4_every_named_cap_holds() {
    // Y45, Y53
    let source = include_str!("../src/limits.rs");
    let names = source
        .lines()
        .filter_map(|line| line.strip_prefix("pub const "));
    let names: Vec<&str> = names.map(|rest| rest.split(':').next().unwrap()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let walk = WALKS.iter().find(|(walked, _)| *walked == name);
        let (_, walk) = walk.unwrap_or_else(|| panic!("{name} has no walk"));
        eprintln!("{name}");
        walk();
    }
}

#[test]
fn c4_writers_that_memory_holds_wait_without_spinning() {
    memory::one_starved_writer();
    memory::many_starved_writers();
}

#[test]
fn c4_ten_thousand_streams_filled_by_a_hostile_peer() {
    // Y30, Y53: whoever opens 10,000 streams and fills each gets no more than the budget.
    let budget = 8 << 20;
    let config = Config {
        accept_backlog: 10_000,
        session_budget: budget,
        ..quiet()
    };
    let mut peer = Peer::of(Role::Server, config);
    for n in 0..10_000 {
        peer.send(&[Frame::update(SYN, 1 + 2 * n, 0)]);
    }
    let payload = vec![9; 16 * 1024];
    for round in 0..4 {
        for n in 0..10_000 {
            peer.send(&[Frame::data(0, 1 + 2 * n, &payload)]);
            let used = peer.budget.used();
            assert!(used <= budget, "{used} bytes in round {round}");
        }
        // Nobody answers for the flood: what waits to be sent is bounded too.
        let replies = peer.recv_bytes().len();
        assert!(replies <= 10_000 * 12 + 1_000, "{replies} bytes of replies");
    }
    peer.assert_alive();
    let stats = peer.session.stats();
    assert!(stats.streams_shed > 5_000, "{stats:?}");
    // Those that are left are whole: each is read in order up to where it was let go of.
    while let Some(key) = peer.accept() {
        let (bytes, end) = peer.read_all(key);
        assert!(bytes.iter().all(|byte| *byte == 9));
        assert!(matches!(end, ReadEnd::Error(_)));
    }
    peer.send(&[Frame::update(FIN, 1, 0)]);
    peer.assert_alive();
}
