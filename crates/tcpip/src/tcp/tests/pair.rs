//! Two connections that exchange their segments over a link with delay and loss.

use std::collections::VecDeque;

use weir_core::rng::{below, between, chance};

use super::*;

/// A segment under way.
struct Flying {
    at: Instant,
    to: usize,
    segment: In,
}

/// Two connections and the link between them.
struct Pair {
    hosts: [Host; 2],
    link: VecDeque<Flying>,
    delay: Duration,
    /// Out of 1,000.
    loss: u64,
    /// Up to so much longer, each segment by itself.
    jitter: Duration,
    /// Out of 1,000.
    doubles: u64,
    rng: Rng,
    now: Instant,
    carried: u64,
}

impl Pair {
    fn new(config: &TcpConfig, delay: Duration, loss: u64, seed: u64) -> Pair {
        let mut client = Host::connecting(config.clone(), None);
        client.flush();
        let mut server = Host::new();
        (server.sink.ours, server.sink.theirs) = (THEIRS, OURS);
        Pair {
            now: client.now,
            hosts: [client, server],
            link: VecDeque::new(),
            delay,
            loss,
            jitter: Duration::ZERO,
            doubles: 0,
            rng: rng_from_seed(seed),
            carried: 0,
        }
    }

    /// Cuts what was sent and puts it on the link.
    fn collect(&mut self) {
        for from in 0..2 {
            for out in self.hosts[from].take() {
                self.carry(from, &out);
            }
        }
    }

    fn carry(&mut self, from: usize, out: &Out) {
        let size = usize::from(out.size).max(1);
        let count = out.data.len().div_ceil(size).max(1);
        for index in 0..count {
            let last = index + 1 == count;
            let part = out.data.iter().skip(index * size).take(size);
            let mut flags = out.header.flags;
            if !last {
                flags = flags.without(FIN | PSH);
            }
            if index > 0 {
                flags = flags.without(Flags::CWR);
            }
            let segment = In {
                flags,
                seq: out.header.seq.wrapping_add((index * size) as u32),
                ack: out.header.ack,
                window: out.header.window,
                options: out.header.options,
                data: part.copied().collect(),
                ecn: out.ecn,
                segments: 1,
            };
            self.carried += 1;
            if chance(&mut self.rng, self.doubles, 1000) {
                self.put(1 - from, segment.clone());
            }
            if !chance(&mut self.rng, self.loss, 1000) {
                self.put(1 - from, segment);
            }
        }
    }

    fn put(&mut self, to: usize, segment: In) {
        let later = below(&mut self.rng, weir_core::time::nanos(self.jitter));
        let at = self.now + self.delay + Duration::from_nanos(later);
        let place = self.link.partition_point(|flying| flying.at <= at);
        self.link.insert(place, Flying { at, to, segment });
    }

    /// Goes on to what happens next. False when nothing will.
    fn step(&mut self, server: &TcpConfig) -> bool {
        self.collect();
        let timers = self
            .hosts
            .iter()
            .filter_map(|host| Some(host.connection.as_ref()?.poll_timeout()?.0));
        let arrival = self.link.front().map(|flying| flying.at);
        let Some(at) = timers.chain(arrival).min() else {
            return false;
        };
        self.now = self.now.max(at);
        for host in &mut self.hosts {
            host.now = self.now;
            if host
                .connection
                .as_ref()
                .is_some_and(|c| c.poll_timeout().is_some_and(|(at, _)| at <= self.now))
            {
                with!(*host, |c, cx| c.handle_timeout(cx));
                host.flush();
            }
        }
        let mut touched = [false; 2];
        while let Some(flying) = self.link.pop_front_if(|flying| flying.at <= self.now) {
            let host = &mut self.hosts[flying.to];
            if host.connection.is_none() {
                host.accept_from_pair(server, &flying.segment);
                continue;
            }
            let received = flying.segment.received();
            with!(*host, |c, cx| c.handle_segment(cx, &received));
            touched[flying.to] = true;
        }
        for (host, touched) in self.hosts.iter_mut().zip(touched) {
            if touched {
                host.flush();
            }
        }
        true
    }
}

impl Host {
    fn accept_from_pair(&mut self, config: &TcpConfig, syn: &In) {
        let received = syn.received();
        let config = Arc::new(config.clone());
        let tuple = Tuple {
            local: tuple().remote,
            remote: tuple().local,
        };
        let reply = FastOpenReply::default();
        let connection = Connection::accept(
            &mut self.cx(),
            making(tuple, config, numbers(THEIRS)),
            &received,
            reply,
        );
        self.connection = Some(*connection);
        self.flush();
    }
}

/// Both ends write `bytes`, read what comes, and close. Returns how long it took.
fn exchange(
    config: &TcpConfig,
    delay: Duration,
    loss: u64,
    seed: u64,
    bytes: u64,
) -> (Pair, Duration) {
    let mut pair = Pair::new(config, delay, loss, seed);
    let begin = pair.now;
    let mut sent = [0_u64; 2];
    let mut got = [0_u64; 2];
    for _ in 0..2_000_000_u64 {
        let more = pair.step(config);
        for side in 0..2 {
            let host = &mut pair.hosts[side];
            if host.connection.is_none() {
                continue;
            }
            while sent[side] < bytes {
                let part = pattern(sent[side]..bytes.min(sent[side] + 20_000));
                match with!(*host, |c, cx| c.write_slice(cx, &part)) {
                    Ok(count) => sent[side] += count as u64,
                    Err(_) => break,
                }
            }
            if sent[side] == bytes {
                with!(*host, |c, cx| c.finish(cx));
            }
            let data = host.read();
            assert_eq!(data, pattern(got[side]..got[side] + data.len() as u64));
            got[side] += data.len() as u64;
        }
        let over = pair.hosts.iter().all(|host| {
            host.connection
                .as_ref()
                .is_some_and(|c| c.close_cause().is_some())
        });
        if over || !more {
            break;
        }
    }
    let states: Vec<_> = pair
        .hosts
        .iter()
        .map(|host| host.connection.as_ref().map(Connection::state))
        .collect();
    assert_eq!(got, [bytes; 2], "seed {seed}: {states:?} at {:?}", pair.now);
    let took = pair.now.saturating_duration_since(begin);
    (pair, took)
}

// T12, T51, T115, T116
#[test]
fn both_ways_at_once_over_a_clean_link() {
    for config in [plain(), TcpConfig::default()] {
        let (pair, took) = exchange(&config, ms(10), 0, 1, 500_000);
        assert!(took < ms(1000), "{took:?}");
        for host in &pair.hosts {
            assert_eq!(host.counters.retrans_segs, 0);
        }
    }
}

// T51, T158: exact bytes in spite of losses, with and without SACK and timestamps.
#[test]
fn both_ways_at_once_with_losses() {
    for seed in 0..20 {
        let config = TcpConfig {
            sack: seed % 2 == 0,
            timestamps: seed % 4 < 2,
            ecn: seed % 3 == 0,
            nodelay: seed % 5 == 0,
            ..TcpConfig::default()
        };
        exchange(&config, ms(10), 20 + seed * 4, seed, 200_000);
    }
}

// T32: connecting to oneself is a simultaneous open with one's own segments.
#[test]
fn connecting_to_oneself_works() {
    let mut host = Host::connecting(TcpConfig::default(), None);
    host.flush();
    for _ in 0..6 {
        for out in host.take() {
            let mut segment = In::new(out.header.flags);
            (segment.seq, segment.ack) = (out.header.seq, out.header.ack);
            (segment.window, segment.options) = (out.header.window, out.header.options);
            segment.data = out.data;
            host.receive(&segment);
        }
    }
    assert_eq!(host.state(), State::Established);
    host.write(b"to myself");
    let out = host.take_one();
    let mut segment = In::new(out.header.flags).data(&out.data);
    (segment.seq, segment.ack) = (out.header.seq, out.header.ack);
    (segment.window, segment.options) = (out.header.window, out.header.options);
    host.receive(&segment);
    assert_eq!(host.read(), b"to myself");
}

// T159: a clean link with delay is filled once the windows have grown.
#[test]
fn windows_grow_to_the_path() {
    let config = TcpConfig {
        ecn: false,
        ..TcpConfig::default()
    };
    // No bandwidth limit: the time is that of slow start and of the windows.
    let (pair, took) = exchange(&config, ms(20), 0, 3, 8_000_000);
    assert!(took < ms(1500), "{took:?}");
    let stats = pair.hosts[1].connection.as_ref().unwrap().stats(pair.now);
    assert!(stats.receive_window_size > 500_000, "{stats:?}");
}

/// What one side does in `wild`.
#[derive(Default)]
struct Doing {
    sent: u64,
    got: u64,
    ended: bool,
}

/// Loss, reordering, doubling, small windows, readers that pause: every byte arrives, and both ends
/// come to CLOSED (or TIME-WAIT) with nothing left.
fn wild(seed: u64) {
    let mut rng = rng_from_seed(seed);
    let window = between(&mut rng, 2048, 100_000);
    let most = between(&mut rng, window, 400_000);
    let config = TcpConfig {
        sack: chance(&mut rng, 3, 4),
        timestamps: chance(&mut rng, 1, 2),
        window_scale: chance(&mut rng, 1, 2),
        ecn: chance(&mut rng, 1, 2),
        nodelay: chance(&mut rng, 1, 2),
        pacing: chance(&mut rng, 1, 2),
        congestion: weir_core::congestion::Algorithm::ALL[(seed % 3) as usize],
        receive_window: weir_core::window::WindowConfig::new(window, most),
        ..TcpConfig::default()
    };
    let delay = ms(between(&mut rng, 0, 60));
    let mut pair = Pair::new(&config, delay, between(&mut rng, 0, 100), seed);
    pair.jitter = ms(below(&mut rng, 30));
    pair.doubles = below(&mut rng, 100);
    let bytes = between(&mut rng, 0, 150_000);
    let mut doing = [Doing::default(), Doing::default()];
    let begin = pair.now;
    let limit = Duration::from_secs(3600);
    loop {
        let more = pair.step(&config);
        for (host, doing) in pair.hosts.iter_mut().zip(&mut doing) {
            if host.connection.is_some() {
                act(host, doing, bytes, &mut rng);
            }
        }
        let over = |host: &Host| {
            host.connection
                .as_ref()
                .is_some_and(|c| c.close_cause().is_some())
        };
        let quiet = doing.iter().all(|doing| doing.ended) && pair.hosts.iter().all(over);
        let late = pair.now.saturating_duration_since(begin) > limit;
        if quiet || late {
            break;
        }
        if !more {
            // Only the readers pause.
            pair.now += ms(1);
        }
    }
    for (host, doing) in pair.hosts.iter_mut().zip(&doing) {
        let state = host.state();
        let now = host.now;
        let stats = host.conn().stats(now);
        assert!(
            (doing.sent, doing.got, doing.ended) == (bytes, bytes, true),
            "seed {seed}: sent {} got {} of {bytes} {state} {stats:#?}",
            doing.sent,
            doing.got
        );
        assert_eq!(
            host.conn().close_cause(),
            Some(crate::tcp::error::CloseCause::Finished),
            "seed {seed}"
        );
        host.close();
        with!(*host, |c, cx| c.release(cx));
        assert_eq!(
            (host.chunks.in_use(), host.budget.used()),
            (0, 0),
            "seed {seed}"
        );
    }
}

/// Writes a piece, reads a piece or pauses, finishes when all was written.
fn act(host: &mut Host, doing: &mut Doing, bytes: u64, rng: &mut Rng) {
    if doing.sent < bytes {
        let end = bytes.min(doing.sent + between(rng, 1, 9000));
        let part = pattern(doing.sent..end);
        if let Ok(count) = with!(*host, |c, cx| c.write_slice(cx, &part)) {
            doing.sent += count as u64;
        }
    }
    if doing.sent == bytes {
        with!(*host, |c, cx| c.finish(cx));
    }
    if chance(rng, 1, 3) {
        let most = between(rng, 1, 9000) as usize;
        match with!(*host, |c, cx| c.read(cx, most)) {
            Ok(Some(data)) => {
                assert_eq!(data, pattern(doing.got..doing.got + data.len() as u64));
                doing.got += data.len() as u64;
            }
            Ok(None) => doing.ended = true,
            Err(_) => {}
        }
    }
    host.flush();
}

// T51, T52, T158, T160
#[test]
fn wild_links_lose_nothing() {
    for seed in 0..200 {
        wild(seed);
    }
}
