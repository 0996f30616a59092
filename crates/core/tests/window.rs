//! The rules of flow-control credit: it is conserved, announced in worthwhile pieces, tuned to the
//! path, and paid for.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test ends by panicking"
)]

use proptest::prelude::*;
use weir_core::budget::{Budget, Share};
use weir_core::limits::MAX_OFFSET;
use weir_core::time::{Duration, Instant};
use weir_core::window::{RecvWindow, SendWindow, WindowConfig, WindowError};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Clone, Debug)]
enum Op {
    /// The peer sends this share (of 255) of its credit.
    Send(u8),
    /// The reader takes this share (of 255) of what is buffered.
    Read(u8),
    /// Time passes, in milliseconds.
    Wait(u16),
    Poll,
    /// Somebody else uses this share (of 255) of the budget.
    Others(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => any::<u8>().prop_map(Op::Send),
        3 => any::<u8>().prop_map(Op::Read),
        2 => (0..3000u16).prop_map(Op::Wait),
        4 => Just(Op::Poll),
        1 => any::<u8>().prop_map(Op::Others),
    ]
}

fn share_of(amount: u64, share: u8) -> u64 {
    (u128::from(amount) * u128::from(share) / 255) as u64
}

/// One window with the peer's view of it.
struct Pair {
    sender: SendWindow,
    receiver: RecvWindow,
    config: WindowConfig,
    budget: Budget,
    share: Share,
    others: Share,
    now: Instant,
    rtt: Option<Duration>,
    announced: u64,
}

impl Pair {
    fn new(initial: u64, max: u64, limit: u64, rtt: Option<Duration>) -> Pair {
        Pair {
            sender: SendWindow::new(initial),
            receiver: RecvWindow::new(initial),
            config: WindowConfig::new(initial, max),
            budget: Budget::root("session", limit),
            share: Share::default(),
            others: Share::default(),
            now: Instant::from_millis(5),
            rtt,
            announced: 0,
        }
    }

    /// The peer sends; false when the budget had no room for it, and it was thrown away.
    fn send(&mut self, bytes: u64) -> bool {
        self.sender.consume(bytes).unwrap();
        self.receiver.on_received(bytes).unwrap();
        if self.receiver.charge(&self.budget, &mut self.share).is_err() {
            self.receiver.on_consumed(bytes);
            return false;
        }
        true
    }

    fn poll(&mut self) -> Option<u64> {
        let delta = self.receiver.poll_update(
            self.now,
            self.rtt,
            &self.config,
            &self.budget,
            &mut self.share,
        );
        if let Some(delta) = delta {
            self.announced += delta;
            self.sender.grant(delta).unwrap();
        }
        delta
    }

    /// A whole window arrives and is read in `time`, in quarters.
    fn window_in(&mut self, time: Duration) {
        let mut left = self.receiver.size();
        while left > 0 {
            let bytes = self
                .sender
                .available()
                .min(left)
                .min(self.receiver.size().div_ceil(4));
            assert!(bytes > 0, "stalled: {:?}", self.receiver);
            assert!(self.send(bytes));
            self.now += time / 4;
            self.receiver.on_consumed(bytes);
            self.poll();
            left -= bytes;
        }
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Send(share) => {
                self.send(share_of(self.sender.available(), share));
            }
            Op::Read(share) => {
                self.receiver
                    .on_consumed(share_of(self.receiver.buffered(), share));
            }
            Op::Wait(millis) => self.now += ms(u64::from(millis)),
            Op::Poll => {
                let before = self.receiver.limit();
                if let Some(delta) = self.poll() {
                    assert!(
                        delta > 0 && delta * 2 >= self.receiver.size(),
                        "the delta rule"
                    );
                    assert_eq!(self.receiver.limit(), before + delta);
                } else {
                    assert_eq!(self.receiver.limit(), before);
                }
            }
            Op::Others(share) => {
                let wanted = share_of(self.budget.limit(), share);
                let _refused = self.others.resize(&self.budget, wanted);
            }
        }
    }

    fn check(&self, max: u64) {
        let (receiver, sender) = (&self.receiver, &self.sender);
        // Credit is conserved: what the peer has is what it was given less what it used.
        assert_eq!(receiver.limit(), self.config.initial + self.announced);
        assert_eq!(sender.limit(), receiver.limit());
        assert_eq!(sender.available(), receiver.remaining());
        assert_eq!(
            receiver.received(),
            receiver.consumed() + receiver.buffered()
        );
        // The size stays in its bounds, and no more is out than the largest size ever was.
        assert!(
            (self.config.initial..=self.config.max.max(self.config.initial))
                .contains(&receiver.size())
        );
        assert!(receiver.buffered() + receiver.remaining() <= max);
        // What is buffered was paid for, and payments are within the limit.
        assert!(receiver.buffered() <= self.share.held());
        assert_eq!(self.budget.used(), self.share.held() + self.others.held());
        assert!(self.budget.peak() <= self.budget.limit());
    }
}

proptest! {
    #[test]
    fn credit_is_conserved_and_paid_for(
        initial in 1..300_000u64,
        factor in 1..64u64,
        limit in 0..3_000_000u64,
        rtt in prop::option::of(0..500u64),
        ops in prop::collection::vec(op(), 1..300),
    ) {
        let mut pair = Pair::new(initial, initial * factor, limit, rtt.map(ms));
        let mut largest = initial;
        for op in &ops {
            pair.apply(op);
            largest = largest.max(pair.receiver.size());
            pair.check(largest);
        }
        // However it went: once the reader has read all, the peer may send.
        pair.receiver.on_consumed(pair.receiver.buffered());
        pair.poll();
        prop_assert!(pair.sender.available() > 0);
        let paid = pair.receiver.size() - initial;
        prop_assert_eq!(pair.share.held(), paid);
    }

    // A peer that passes its limit is noticed by the first byte, and it changes nothing.
    #[test]
    fn one_byte_too_much_is_refused(
        initial in 0..1_000_000u64,
        sent in 0..1_000_000u64,
        over in 1..u64::MAX,
    ) {
        let mut window = RecvWindow::new(initial);
        let sent = sent.min(initial);
        window.on_received(sent).unwrap();
        let before = window.clone();
        let over = (initial - sent).saturating_add(over);
        let offset = sent.saturating_add(over);
        let exceeded = WindowError::Exceeded { offset, limit: initial };
        prop_assert_eq!(window.on_received(over), Err(exceeded));
        prop_assert_eq!(&window, &before);
        prop_assert_eq!(window.on_received(initial - sent), Ok(()));
    }

    // RFC 9000 4.1: offsets that arrive in any order count to the highest.
    #[test]
    fn offsets_out_of_order_count_once(offsets in prop::collection::vec(0..1000u64, 1..50)) {
        let mut window = RecvWindow::new(1000);
        let farther = offsets.iter().map(|offset| window.on_received_to(*offset).unwrap());
        let farther: u64 = farther.sum();
        prop_assert_eq!(Some(&window.received()), offsets.iter().max());
        prop_assert_eq!(farther, window.received());
    }

    // No announcements of any size make the send side overflow or go backwards.
    #[test]
    fn send_credit_never_overflows(
        grants in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 1..50),
    ) {
        let mut window = SendWindow::new(0);
        for (delta, cap, offset) in grants {
            let (before, room) = (window.limit(), window.available());
            match window.grant_capped(delta, cap) {
                Ok(()) => prop_assert!(window.available() == room + delta && room + delta <= cap),
                Err(WindowError::Overflow { credit, most }) => {
                    prop_assert!(credit > most && window.limit() == before);
                }
                Err(other) => prop_assert!(false, "{}", other),
            }
            let before = window.limit();
            prop_assert_eq!(window.set_limit(offset), offset > before);
            prop_assert!(window.limit() >= before && window.limit() <= MAX_OFFSET.max(before));
            let half = window.available() / 2;
            window.consume(half).unwrap();
            prop_assert!(window.consume(window.available() + 1).is_err());
        }
    }
}

// Doubling: a window consumed in less than two round trips was the limit.
#[test]
fn grows_when_a_window_is_read_in_under_two_round_trips() {
    let mut pair = Pair::new(256 * KIB, 16 * MIB, 64 * MIB, Some(ms(100)));
    pair.poll();
    let mut sizes = Vec::new();
    for _ in 0..10 {
        pair.window_in(ms(120));
        sizes.push(pair.receiver.size() / KIB);
    }
    assert_eq!(&sizes[..6], &[512, 1024, 2048, 4096, 8192, 16384]);
    assert_eq!(pair.receiver.size(), 16 * MIB, "not above the maximum");
    assert_eq!(
        pair.budget.used(),
        16 * MIB - 256 * KIB,
        "growth is paid for"
    );
}

#[test]
fn stays_when_the_reader_takes_longer() {
    let mut pair = Pair::new(256 * KIB, 16 * MIB, 64 * MIB, Some(ms(100)));
    pair.poll();
    for _ in 0..10 {
        pair.window_in(ms(200));
    }
    assert_eq!(pair.receiver.size(), 256 * KIB);
}

#[test]
fn stays_while_the_round_trip_is_unknown() {
    let mut pair = Pair::new(256 * KIB, 16 * MIB, 64 * MIB, None);
    pair.poll();
    for _ in 0..10 {
        pair.window_in(Duration::ZERO);
    }
    assert_eq!(pair.receiver.size(), 256 * KIB);
}

// Bandwidth x delay: over a path of 1 Gbit/s and 80 ms, the window settles between one and four
// times what the path holds, and then no longer limits it.
#[test]
fn settles_near_bandwidth_times_delay() {
    const BYTES_PER_MS: u64 = 125_000;
    let path = BYTES_PER_MS * 80;
    let mut pair = Pair::new(256 * KIB, 256 * MIB, 1024 * MIB, Some(ms(80)));
    // Credit travels half a round trip back, data half a round trip forth: 40 ms each.
    let mut arriving = std::collections::VecDeque::from(vec![0u64; 40]);
    let mut credit = std::collections::VecDeque::from(vec![0u64; 40]);
    let mut peer = SendWindow::new(256 * KIB);
    let mut last_second = 0;
    for tick in 0..5000 {
        pair.now += ms(1);
        peer.grant(credit.pop_front().unwrap()).unwrap();
        let sent = peer.available().min(BYTES_PER_MS);
        peer.consume(sent).unwrap();
        arriving.push_back(sent);
        let arrived = arriving.pop_front().unwrap();
        pair.receiver.on_received(arrived).unwrap();
        pair.receiver.charge(&pair.budget, &mut pair.share).unwrap();
        pair.receiver.on_consumed(arrived);
        let (rtt, config) = (pair.rtt, pair.config.clone());
        let delta =
            pair.receiver
                .poll_update(pair.now, rtt, &config, &pair.budget, &mut pair.share);
        credit.push_back(delta.unwrap_or(0));
        if tick >= 4000 {
            last_second += arrived;
        }
    }
    let size = pair.receiver.size();
    assert!(
        (path..=4 * path).contains(&size),
        "{} KiB for {} KiB",
        size / KIB,
        path / KIB
    );
    assert!(last_second >= BYTES_PER_MS * 999, "{last_second}");
}

// The dynamic threshold: one stream may not grow into what others need.
#[test]
fn growth_leaves_as_much_free_as_it_takes() {
    let mut pair = Pair::new(256 * KIB, 64 * MIB, 8 * MIB, Some(ms(100)));
    pair.poll();
    for _ in 0..20 {
        pair.window_in(ms(50));
    }
    let held = pair.share.held();
    assert!(held > 3 * MIB && held <= pair.budget.available(), "{held}");
    assert_eq!(held, pair.receiver.size() - 256 * KIB);
}

#[test]
fn does_not_grow_when_the_budget_is_used_up() {
    let mut pair = Pair::new(256 * KIB, 16 * MIB, 8 * MIB, Some(ms(100)));
    pair.poll();
    pair.others.resize(&pair.budget, 15 * MIB / 2).unwrap();
    for _ in 0..10 {
        pair.window_in(ms(50));
    }
    assert_eq!(pair.receiver.size(), 256 * KIB);
}

/// A pair grown to 4 MiB.
fn grown() -> Pair {
    let mut pair = Pair::new(256 * KIB, 4 * MIB, 64 * MIB, Some(ms(100)));
    pair.poll();
    for _ in 0..8 {
        pair.window_in(ms(100));
    }
    assert_eq!(pair.receiver.size(), 4 * MIB);
    pair
}

// An idle window halves once a stretch, gives its memory back, and what was granted stands.
#[test]
fn an_idle_window_shrinks_to_its_initial_size() {
    let mut pair = grown();
    let granted = pair.sender.available();
    let mut sizes = Vec::new();
    for _ in 0..60 {
        pair.now += ms(100);
        assert_eq!(pair.poll(), None);
        sizes.push(pair.receiver.size() / KIB);
    }
    sizes.dedup();
    assert_eq!(sizes, [4096, 2048, 1024, 512, 256]);
    assert_eq!((pair.share.held(), pair.sender.available()), (0, granted));
    // The peer may still use all of it; no update comes before the reader has caught up.
    assert!(pair.send(granted));
    assert_eq!(pair.share.held(), granted);
    pair.now += ms(500);
    pair.receiver.on_consumed(granted - 256 * KIB);
    assert_eq!(pair.poll(), None);
    pair.receiver.on_consumed(256 * KIB);
    assert!(pair.poll().is_some());
    assert!(pair.sender.available() >= 256 * KIB);
}

#[test]
fn a_window_in_use_does_not_shrink() {
    let mut pair = grown();
    // A quarter of it each second, slower than two round trips by far.
    for _ in 0..20 {
        for _ in 0..4 {
            let bytes = MIB / 4;
            assert!(pair.send(bytes));
            pair.now += ms(250);
            pair.receiver.on_consumed(bytes);
            pair.poll();
        }
    }
    assert_eq!(pair.receiver.size(), 4 * MIB);
}

// RTT counts: over a satellite a pause of a few seconds is not idleness.
#[test]
fn the_stretch_follows_the_round_trip() {
    let mut pair = grown();
    pair.rtt = Some(ms(600));
    pair.now += ms(4700);
    pair.poll();
    assert_eq!(pair.receiver.size(), 4 * MIB);
    pair.now += ms(200);
    pair.poll();
    assert_eq!(pair.receiver.size(), 2 * MIB);
}

// Need of others: with less than an eighth of the budget left a busy window shrinks as well.
#[test]
fn a_busy_window_shrinks_when_the_budget_is_short() {
    let mut pair = grown();
    pair.others.resize(&pair.budget, 54 * MIB).unwrap();
    let mut sizes = vec![pair.receiver.size()];
    for _ in 0..6 {
        pair.window_in(ms(50));
        sizes.push(pair.receiver.size());
    }
    sizes.dedup();
    assert_eq!(
        sizes,
        [4 * MIB, 2 * MIB],
        "it gives enough back, and does not go to and fro"
    );
    assert!(!pair.budget.is_short());
    pair.others.resize(&pair.budget, 60 * MIB).unwrap();
    for _ in 0..6 {
        pair.window_in(ms(50));
    }
    assert_eq!((pair.receiver.size(), pair.share.held()), (256 * KIB, 0));
    pair.others.resize(&pair.budget, 0).unwrap();
    for _ in 0..8 {
        pair.window_in(ms(50));
    }
    assert_eq!(
        pair.receiver.size(),
        4 * MIB,
        "and grows again when there is room"
    );
}

// threats C4: a thousand streams whose windows are full never hold more than the budget.
#[test]
fn many_full_windows_stay_inside_the_budget() {
    let budget = Budget::root("session", 8 * MIB);
    let config = WindowConfig::new(256 * KIB, 16 * MIB);
    let mut windows: Vec<(RecvWindow, Share)> = (0..1000)
        .map(|_| (RecvWindow::new(256 * KIB), Share::default()))
        .collect();
    let mut now = Instant::ZERO;
    let mut shed = 0;
    for _ in 0..10 {
        now += ms(10);
        for (at, (window, share)) in windows.iter_mut().enumerate() {
            let bytes = window.remaining().min(100 * KIB);
            window.on_received(bytes).unwrap();
            if window.charge(&budget, share).is_err() {
                // What the engine would throw away is counted as consumed.
                shed += bytes;
                window.on_consumed(bytes);
            }
            // Every third has a reader.
            if at % 3 == 0 {
                window.on_consumed(window.buffered());
            }
            window.poll_update(now, Some(ms(50)), &config, &budget, share);
            assert!(budget.used() <= 8 * MIB);
        }
    }
    assert!(shed > 0);
    let buffered: u64 = windows.iter().map(|(window, _)| window.buffered()).sum();
    assert!(buffered <= budget.used() && budget.peak() <= 8 * MIB);
    for (_, share) in &mut windows {
        share.shrink_to(&budget, 0);
    }
    assert_eq!(budget.used(), 0);
}

#[test]
fn a_configured_start_is_raised_and_announced() {
    let mut pair = Pair::new(256 * KIB, 2 * MIB, 64 * MIB, None);
    assert!(
        pair.receiver
            .raise(MIB, &pair.config, &pair.budget, &mut pair.share)
    );
    assert_eq!(
        (pair.poll(), pair.share.held()),
        (Some(768 * KIB), 768 * KIB)
    );
    assert!(
        pair.receiver
            .raise(100 * MIB, &pair.config, &pair.budget, &mut pair.share)
    );
    assert_eq!(pair.receiver.size(), 2 * MIB);
    let mut poor = Pair::new(256 * KIB, 2 * MIB, 100, None);
    assert!(
        !poor
            .receiver
            .raise(MIB, &poor.config, &poor.budget, &mut poor.share)
    );
    assert_eq!((poor.receiver.size(), poor.share.held()), (256 * KIB, 0));
}

#[test]
fn a_wrong_configuration_is_told_by_field() {
    assert_eq!(WindowConfig::new(1, 1).validate(), Ok(()));
    let field = |config: WindowConfig| config.validate().unwrap_err().field;
    assert_eq!(field(WindowConfig::new(0, 10)), "initial");
    assert_eq!(field(WindowConfig::new(10, 9)), "max");
    assert_eq!(field(WindowConfig::new(10, u64::MAX)), "max");
    let never = WindowConfig {
        grow_within_rtts: 0,
        ..WindowConfig::new(1, 2)
    };
    assert_eq!(field(never), "grow_within_rtts");
    let both = WindowConfig {
        shrink_after_rtts: 2,
        ..WindowConfig::new(1, 2)
    };
    assert_eq!(field(both), "shrink_after_rtts");
}

// A stream holds two of these; ten thousand idle streams must cost little.
#[test]
fn windows_are_small() {
    assert!(size_of::<SendWindow>() + size_of::<RecvWindow>() + size_of::<Share>() <= 72);
}

// RFC 9000 4.1: a peer that says that it is blocked gets what there is, in one go and once.
#[test]
fn all_credit_can_be_announced_at_once() {
    let mut window = RecvWindow::new(1000);
    assert_eq!(window.announce_all(), None);
    window.on_received(300).unwrap();
    window.on_consumed(100);
    assert_eq!((window.announce_all(), window.limit()), (Some(100), 1100));
    assert_eq!(window.announce_all(), None);
}

// What small pieces leave in a share stays for the next, up to what is said; and goes when it is trimmed.
#[test]
fn a_little_too_much_stays_with_the_share() {
    let budget = Budget::root("test", MIB);
    let (config, mut share) = (WindowConfig::new(64 * KIB, MIB), Share::default());
    let mut window = RecvWindow::new(config.initial);
    let pass = |window: &mut RecvWindow, share: &mut Share, bytes: u64, slack: u64| {
        window.on_received(bytes).unwrap();
        window.charge(&budget, share).unwrap();
        window.on_consumed(bytes);
        window.poll_update_with(Instant::ZERO, || None, &config, &budget, (share, slack));
        share.held()
    };
    assert_eq!(pass(&mut window, &mut share, 1000, KIB), 1000);
    assert_eq!(pass(&mut window, &mut share, 900, KIB), 1000);
    assert_eq!(pass(&mut window, &mut share, 1025, KIB), 0);
    assert_eq!(pass(&mut window, &mut share, 1000, 0), 0);
    assert_eq!(pass(&mut window, &mut share, 1000, KIB), 1000);
    assert_eq!(budget.used(), 1000);
    window.trim(&config, &budget, &mut share);
    assert_eq!((share.held(), budget.used()), (0, 0));
}
