//! Draws a run from its seed.

use std::sync::Arc;

use weir_core::congestion::Algorithm;
use weir_core::rng::{Rng, between, chance};
use weir_core::sched::Priority;
use weir_core::time::Duration;
use weir_sim::{EcnTreatment, LinkConfig, split};

use super::plan::{Early, Happening, Plan, StreamPlan, of};
use crate::config::TransportConfig;
use crate::wire::{Dir, Side, StreamId, Version};

/// What a campaign is about.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Mix {
    /// Anything.
    All,
    /// Bad links, much data, nothing else.
    Transfer,
    /// Moving about.
    Paths,
    /// Short connections that end at any moment.
    Ends,
}

pub(super) fn plan(seed: u64, mix: Mix) -> Plan {
    let rng = &mut split(seed, "plan");
    let links = links(rng, mix);
    let mut plan = Plan::quiet(links);
    plan.transport = [Arc::new(transport(rng)), Arc::new(transport(rng))];
    plan.versions = [versions(rng), versions(rng)];
    plan.cid_len = [pick(rng, &[0, 4, 8, 8, 20]), pick(rng, &[4, 8, 8, 16, 20])];
    plan.segments = pick(rng, &[1, 4, 64]);
    plan.retry = chance(rng, 1, 6);
    plan.nat = pick(rng, &[0, 0, 1, 2]);
    plan.knows_local = chance(rng, 1, 2);
    plan.early = pick(
        rng,
        &[Early::None, Early::None, Early::Taken, Early::Rejected],
    );
    if plan.early != Early::None {
        // Without connection IDs, one connection to an address ends before the next begins.
        plan.cid_len[0] = plan.cid_len[0].max(4);
    }
    plan.streams = streams(rng, mix);
    plan.datagrams = match chance(rng, 1, 3) {
        true => [between(rng, 0, 30) as u32, between(rng, 0, 30) as u32],
        false => [0; 2],
    };
    for side in 0..2 {
        plan.slow[side] = chance(rng, 1, 6).then(|| between(rng, 500, 10_000) as usize);
    }
    plan.closer = side(rng);
    plan.happenings = happenings(rng, mix, &plan);
    if plan.nat > 0 {
        // A client that only waits learns nothing of a translator that has forgotten it.
        let client = Arc::make_mut(&mut plan.transport[0]);
        client.keep_alive = Some(Duration::from_secs(between(rng, 1, 20)));
    }
    plan.limit = Duration::from_secs(6 * 3600);
    plan
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[between(rng, 0, from.len() as u64 - 1) as usize]
}

fn side(rng: &mut Rng) -> Side {
    pick(rng, &[Side::Client, Side::Server])
}

fn links(rng: &mut Rng, mix: Mix) -> [LinkConfig; 2] {
    let clean = mix != Mix::Transfer && chance(rng, 1, 5);
    let mut one = || {
        if clean {
            return LinkConfig::with_delay(Duration::from_micros(between(rng, 0, 100_000)));
        }
        let mut link = LinkConfig::rough(rng);
        if chance(rng, 1, 8) {
            link.loss = 0.3;
            link.burst = None;
        }
        if chance(rng, 1, 8) {
            link.corrupt = 0.3;
            link.loss = 0.0;
            link.burst = None;
        }
        link.ecn = pick(
            rng,
            &[
                EcnTreatment::Pass,
                EcnTreatment::Pass,
                EcnTreatment::Pass,
                EcnTreatment::Bleach,
                EcnTreatment::Ect0ToEct1,
                EcnTreatment::MarkAll,
            ],
        );
        link
    };
    [one(), one()]
}

fn transport(rng: &mut Rng) -> TransportConfig {
    let window = |rng: &mut Rng| match between(rng, 0, 2) {
        0 => between(rng, 1024, 8 * 1024),
        1 => between(rng, 8 * 1024, 128 * 1024),
        _ => 512 * 1024,
    };
    let stream_window = window(rng);
    let connection_window = window(rng);
    let grow = between(rng, 1, 8);
    TransportConfig {
        stream_window,
        max_stream_window: stream_window * grow,
        connection_window,
        max_connection_window: connection_window * grow,
        send_buffer: 4096 << between(rng, 0, 9),
        max_bidi_streams: between(rng, 1, 20),
        max_uni_streams: between(rng, 1, 20),
        max_datagram_frame: pick(rng, &[0, 1200, 65_535]),
        congestion: pick(rng, &[Algorithm::NewReno, Algorithm::Cubic, Algorithm::Bbr]),
        max_ack_delay: Duration::from_millis(between(rng, 1, 100)),
        // No path is silent for so long by chance.
        idle_timeout: Duration::from_secs(pick(rng, &[1800, 3600])),
        keep_alive: chance(rng, 1, 4).then(|| Duration::from_secs(between(rng, 1, 60))),
        handshake_timeout: Duration::from_secs(1800),
        max_datagram: pick(rng, &[1200, 1350, 1452, 1472, 8952]),
        discover_mtu: chance(rng, 3, 4),
        ecn: chance(rng, 3, 4),
        pacing: chance(rng, 3, 4),
        ack_frequency: chance(rng, 1, 2),
        grease: chance(rng, 1, 2),
        spin: chance(rng, 1, 2),
        key_update_after: chance(rng, 1, 4).then(|| between(rng, 10, 200)),
        ..TransportConfig::default()
    }
}

fn versions(rng: &mut Rng) -> Vec<Version> {
    match between(rng, 0, 3) {
        0 => vec![Version::V2, Version::V1],
        _ => vec![Version::V1, Version::V2],
    }
}

fn streams(rng: &mut Rng, mix: Mix) -> Vec<StreamPlan> {
    let (most, large) = match mix {
        Mix::Transfer => (4, 400_000),
        Mix::Ends => (6, 30_000),
        _ => (12, 60_000),
    };
    let mut numbers = [[0u64; 2]; 2];
    let mut starts = [[Duration::ZERO; 2]; 2];
    let count = between(rng, 1, most);
    let mut all = Vec::new();
    for _ in 0..count {
        let (opener, dir) = (side(rng), pick(rng, &[Dir::Bi, Dir::Bi, Dir::Uni]));
        let number = &mut numbers[of(opener)][dir.index()];
        let id = StreamId::new(opener, dir, *number);
        *number += 1;
        let mut size = || match between(rng, 0, 3) {
            0 => between(rng, 0, 100),
            1 => between(rng, 0, 5_000),
            _ => between(rng, 0, large),
        };
        let mut stream = StreamPlan::new(id, size(), size());
        let start = &mut starts[of(opener)][dir.index()];
        if chance(rng, 1, 3) {
            *start += Duration::from_millis(between(rng, 0, 3_000));
        }
        stream.start = *start;
        stream.piece = between(rng, 1, 20_000) as usize;
        if chance(rng, 1, 4) {
            stream.priority = Some(Priority {
                urgency: between(rng, 0, 7) as u8,
                incremental: chance(rng, 1, 2),
            });
        }
        for half in [Side::Client, Side::Server] {
            let size = stream.size[of(half)];
            if stream.sends(half) && mix != Mix::Transfer && chance(rng, 1, 10) {
                stream.reset[of(half)] = Some(between(rng, 0, size));
            }
            if stream.sends(half) && mix != Mix::Transfer && chance(rng, 1, 10) {
                stream.stop[of(half.peer())] = Some(between(rng, 0, size));
            }
        }
        all.push(stream);
    }
    all
}

fn happenings(rng: &mut Rng, mix: Mix, plan: &Plan) -> Vec<(Duration, Happening)> {
    let mut all = Vec::new();
    let count = match mix {
        Mix::Transfer => between(rng, 0, 1),
        _ => between(rng, 0, 5),
    };
    // Without a connection ID on the client's side the server cannot be told of a move by one.
    let may_move = plan.nat == 0 && plan.knows_local;
    for _ in 0..count {
        let at = Duration::from_millis(between(rng, 0, 5_000));
        let what = match between(rng, 0, 9) {
            0..=2 if plan.nat > 0 => Happening::Rebind,
            0 | 1 if may_move => Happening::Migrate,
            2 if may_move => Happening::AddressChanged,
            3 | 4 => Happening::KeyUpdate(side(rng)),
            5 => Happening::BlackHole(between(rng, 1_280, 1_480) as usize),
            6 => Happening::Blackout(Duration::from_millis(between(rng, 100, 2_000))),
            _ => Happening::Ping(side(rng)),
        };
        all.push((at, what));
    }
    let ends = mix == Mix::Ends || mix != Mix::Transfer && chance(rng, 1, 8);
    if ends {
        let at = Duration::from_micros(between(rng, 0, 3_000_000));
        all.push((at, Happening::Close(side(rng))));
    }
    all
}
