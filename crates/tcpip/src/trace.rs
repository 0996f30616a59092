//! What the stack reports, put into the words of [`weir_core::trace`] in one place.
//!
//! Every connection of a stack reports to the stack's one [`Tracer`]; its events come wrapped in
//! [`Event::In`] with its two ends. Everything handed in here is a closure or a few numbers that the
//! caller has at hand: where nobody listens the cost is one test of a flag.

use weir_core::time::Instant;
use weir_core::trace::{
    Direction, DroppedEvent, Event, Flow, Level, Metrics, SegmentEvent, SegmentOptions, Tracer,
};

use crate::ip::Ecn;
use crate::tcp::State;
use crate::tcp::interface::Tuple;
use crate::wire::seq;
use crate::wire::tcp::{Flags, Options};

impl Tuple {
    /// The connection as traces name it.
    pub(crate) const fn flow(&self) -> Flow {
        Flow {
            local: self.local,
            remote: self.remote,
        }
    }
}

/// What is told of a segment. `seq`, `ack` are stream offsets.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) direction: Direction,
    pub(crate) flags: Flags,
    pub(crate) seq: u64,
    /// Told where `flags` has ACK.
    pub(crate) ack: u64,
    /// The initial sequence number of the direction that `ack` and SACK blocks count in.
    pub(crate) ack_initial: u32,
    /// In bytes, scaled.
    pub(crate) window: u32,
    /// Bytes of data.
    pub(crate) length: usize,
    /// How many segments it stands for.
    pub(crate) segments: u16,
    pub(crate) options: &'a Options,
    pub(crate) ecn: Ecn,
    /// The state it was sent from, or found when it arrived.
    pub(crate) state: State,
    /// As in [`SegmentEvent::trigger`].
    pub(crate) trigger: Option<&'static str>,
}

/// Tells of a segment sent or received. `told` is only called when somebody listens.
#[inline]
pub(crate) fn segment<'a>(
    tracer: &mut Tracer,
    now: Instant,
    tuple: &Tuple,
    told: impl FnOnce() -> Told<'a>,
) {
    if tracer.enabled(Level::Frame) {
        deliver_segment(tracer, now, tuple, &told());
    }
}

#[cold]
fn deliver_segment(tracer: &mut Tracer, now: Instant, tuple: &Tuple, told: &Told<'_>) {
    let mut blocks = [(0, 0); 4];
    let mut count = 0_usize;
    let offset = |number| seq::widen(told.ack_initial, number, told.ack).unwrap_or(0);
    for (to, (left, right)) in blocks.iter_mut().zip(told.options.sack.as_slice()) {
        *to = (offset(*left), offset(*right));
        count = count.saturating_add(1);
    }
    let options = SegmentOptions {
        mss: told.options.mss,
        window_scale: told.options.window_scale,
        sack_permitted: told.options.sack_permitted,
        timestamps: told
            .options
            .timestamps
            .map(|stamps| (stamps.value, stamps.echo)),
        sack: blocks.get(..count).unwrap_or_default(),
        fast_open: told.options.fast_open.map(|option| option.cookie().len()),
    };
    let event = SegmentEvent {
        direction: told.direction,
        flags: told.flags.names().collect(),
        seq: told.seq,
        ack: told.flags.contains(Flags::ACK).then_some(told.ack),
        window: told.window,
        length: told.length,
        segments: told.segments,
        options,
        ecn: ecn_word(told.ecn),
        state: told.state.as_str(),
        trigger: told.trigger,
    };
    tracer.emit_in(now, Level::Frame, || tuple.flow(), || Event::Segment(event));
}

/// The mark in words, where there is one.
pub(crate) const fn ecn_word(ecn: Ecn) -> Option<&'static str> {
    match ecn {
        Ecn::NotEct => None,
        Ecn::Ect0 => Some("ECT(0)"),
        Ecn::Ect1 => Some("ECT(1)"),
        Ecn::Ce => Some("CE"),
    }
}

/// Tells that a connection changed its state; `trigger` in words ("SYN,ACK received").
#[inline]
pub(crate) fn state(
    tracer: &mut Tracer,
    now: Instant,
    tuple: &Tuple,
    (old, new): (State, State),
    trigger: &'static str,
) {
    tracer.emit_in(
        now,
        Level::Event,
        || tuple.flow(),
        || Event::StreamState {
            family: "tcp",
            stream: 0,
            old: old.as_str(),
            new: new.as_str(),
            trigger,
        },
    );
}

/// Tells that a packet was thrown away; `trigger` is a class in one word ("checksum", "malformed",
/// "no_listener", ..), `why` says it in words, `count` is how many of the class there were so far.
#[inline]
pub(crate) fn dropped(
    tracer: &mut Tracer,
    now: Instant,
    (kind, length): (&'static str, usize),
    (trigger, why): (&'static str, &'static str),
    count: u64,
) {
    tracer.emit_detail(now, || {
        Event::PacketDropped(DroppedEvent {
            kind: Some(kind),
            length: Some(length),
            trigger,
            why,
            count,
        })
    });
}

/// What was last told of a connection's round trip, windows and timers, so that only what changed is
/// told. Empty, and without memory, as long as nobody listens.
#[derive(Debug, Default)]
pub(crate) struct SeenMetrics(Option<Box<Metrics>>);

impl SeenMetrics {
    /// Tells what of `metrics` changed. It is only called when somebody listens.
    #[inline]
    pub(crate) fn tell(
        &mut self,
        tracer: &mut Tracer,
        now: Instant,
        tuple: &Tuple,
        metrics: impl FnOnce() -> Metrics,
    ) {
        if tracer.enabled(Level::Frame) {
            self.deliver(tracer, now, tuple, metrics());
        }
    }

    #[cold]
    fn deliver(&mut self, tracer: &mut Tracer, now: Instant, tuple: &Tuple, metrics: Metrics) {
        let seen = self.0.get_or_insert_default();
        if let Some(news) = metrics.since(seen) {
            **seen = metrics;
            tracer.emit_in(now, Level::Frame, || tuple.flow(), || Event::Metrics(news));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::wire::tcp::{SackBlocks, Timestamps};
    use weir_core::trace::Sink;

    struct Lines(Sender<String>);

    impl Sink for Lines {
        fn event(&mut self, _: Instant, event: &Event<'_>) {
            let line = match event {
                Event::In {
                    flow,
                    event: Event::Segment(segment),
                } => format!("{flow} {segment}"),
                Event::In { flow, event } => format!("{flow} {event:?}"),
                other => format!("{other:?}"),
            };
            self.0.send(line).unwrap();
        }

        fn wants(&self, _: Level) -> bool {
            true
        }
    }

    fn listening() -> (Tracer, Receiver<String>) {
        let (to, lines) = channel();
        (Tracer::new(Box::new(Lines(to))), lines)
    }

    fn tuple() -> Tuple {
        Tuple {
            local: ([192, 0, 2, 1], 80).into(),
            remote: ([192, 0, 2, 2], 4000).into(),
        }
    }

    fn told(options: &Options) -> Told<'_> {
        Told {
            direction: Direction::Sent,
            flags: Flags::ACK,
            seq: 1,
            ack: 1_001,
            ack_initial: u32::MAX - 500,
            window: 65_536,
            length: 10,
            segments: 1,
            options,
            ecn: Ecn::Ect0,
            state: State::Established,
            trigger: Some("rack"),
        }
    }

    #[test]
    fn a_segment_is_told_in_offsets() {
        let (mut tracer, lines) = listening();
        let mut sack = SackBlocks::NONE;
        sack.push(2_000, 2_100);
        let timestamps = Some(Timestamps::default());
        let options = Options {
            timestamps,
            sack,
            ..Options::default()
        };
        segment(&mut tracer, Instant::ZERO, &tuple(), || told(&options));
        assert_eq!(
            lines.recv().unwrap(),
            "192.0.2.1:80-192.0.2.2:4000 TCP ACK seq 1 ack 1001 win 65536 len 10 \
             <ts,sack 2501-2601> ECT(0) ESTABLISHED (rack)"
        );
    }

    #[test]
    fn metrics_are_told_when_they_change() {
        let (mut tracer, lines) = listening();
        let mut seen = SeenMetrics::default();
        let metrics = |window| Metrics {
            congestion_window: Some(window),
            ssthresh: Some(7),
            ..Metrics::default()
        };
        for window in [1, 1, 2] {
            seen.tell(&mut tracer, Instant::ZERO, &tuple(), || metrics(window));
        }
        drop(tracer);
        let lines: Vec<String> = lines.iter().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("ssthresh: Some(7)"));
        assert!(
            lines[1].contains("congestion_window: Some(2)") && lines[1].contains("ssthresh: None")
        );
    }

    #[test]
    fn nobody_listening_keeps_and_builds_nothing() {
        let mut seen = SeenMetrics::default();
        let mut tracer = Tracer::off();
        seen.tell(&mut tracer, Instant::ZERO, &tuple(), || unreachable!());
        segment(&mut tracer, Instant::ZERO, &tuple(), || unreachable!());
        assert!(seen.0.is_none());
    }
}
