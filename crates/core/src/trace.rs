//! What engines report, and to whom.
//!
//! One set of typed events for every engine. A [`Sink`] turns them into log lines, qlog, metrics or
//! a page; an engine holds a [`Tracer`] and knows of none of these. Events of [`Level::Frame`] come
//! with every frame: when no sink wants them, reporting one is a branch on a flag.

mod event;
mod packet;
mod segment;
mod value;

use core::fmt;

pub use event::{Direction, Event, FlagList, FrameEvent, HeldBy};
pub use packet::{
    DroppedEvent, FrameInfo, Frames, KeyEvent, LostEvent, Metrics, PacketEvent, PathChange,
    PathEvent, TimerChange, TimerEvent,
};
pub use segment::{AddressEvent, Flow, NeighborEvent, SegmentEvent, SegmentOptions};
pub use value::{Field, Hex, Value};

use crate::time::Instant;

/// How much is reported.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// What happens now and then: opened, closed, tuned, held.
    Event,
    /// Every frame and packet, both ways, and what moves with every packet: losses, timers, metrics.
    Frame,
}

/// Somebody who is told what an engine does.
///
/// Called on the engine's own path: it must not block. What a sink cannot keep up with it drops and
/// counts itself.
pub trait Sink: Send {
    /// Something happened at `now`.
    fn event(&mut self, now: Instant, event: &Event<'_>);

    /// Whether events of this level are of interest. Asked when the sink is put in place and at
    /// [`Tracer::refresh`], not for each event.
    fn wants(&self, level: Level) -> bool;
}

/// The engine's end: an optional sink, and what it wants to hear.
#[derive(Default)]
pub struct Tracer {
    sink: Option<Box<dyn Sink>>,
    events: bool,
    frames: bool,
}

impl Tracer {
    /// Nobody listens.
    #[must_use]
    pub const fn off() -> Tracer {
        Tracer {
            sink: None,
            events: false,
            frames: false,
        }
    }

    /// Reports to `sink`.
    #[must_use]
    pub fn new(sink: Box<dyn Sink>) -> Tracer {
        let mut tracer = Tracer {
            sink: Some(sink),
            events: false,
            frames: false,
        };
        tracer.refresh();
        tracer
    }

    /// Reports to each of `sinks`; nobody listens when there is none.
    #[must_use]
    pub fn to_all(mut sinks: Vec<Box<dyn Sink>>) -> Tracer {
        match (sinks.len(), sinks.pop()) {
            (1, Some(only)) => Tracer::new(only),
            (_, Some(last)) => {
                sinks.push(last);
                Tracer::new(Box::new(Fanout::new(sinks)))
            }
            (_, None) => Tracer::off(),
        }
    }

    /// Asks the sink again what it wants, after that changed.
    pub fn refresh(&mut self) {
        let wants = |level| self.sink.as_ref().is_some_and(|sink| sink.wants(level));
        (self.events, self.frames) = (wants(Level::Event), wants(Level::Frame));
    }

    /// Whether anybody wants events of this level.
    #[inline]
    #[must_use]
    pub fn enabled(&self, level: Level) -> bool {
        match level {
            Level::Event => self.events,
            Level::Frame => self.frames,
        }
    }

    /// Reports an event of [`Level::Event`]; `event` is only called when it is wanted.
    #[inline]
    pub fn emit<'a>(&mut self, now: Instant, event: impl FnOnce() -> Event<'a>) {
        if self.events {
            self.deliver(now, &event());
        }
    }

    /// Reports a frame; `frame` is only called when frames are wanted.
    #[inline]
    pub fn emit_frame(&mut self, now: Instant, frame: impl FnOnce() -> FrameEvent) {
        if self.frames {
            self.deliver(now, &Event::Frame(frame()));
        }
    }

    /// Reports any other event of [`Level::Frame`]; `event` is only called when they are wanted.
    #[inline]
    pub fn emit_detail<'a>(&mut self, now: Instant, event: impl FnOnce() -> Event<'a>) {
        if self.frames {
            self.deliver(now, &event());
        }
    }

    /// Reports an event of `level` that happened to one of the connections behind this tracer;
    /// `flow` and `event` are only called when such events are wanted.
    #[inline]
    pub fn emit_in<'a>(
        &mut self,
        now: Instant,
        level: Level,
        flow: impl FnOnce() -> Flow,
        event: impl FnOnce() -> Event<'a>,
    ) {
        if self.enabled(level) {
            let event = event();
            let flow = flow();
            self.deliver(
                now,
                &Event::In {
                    flow,
                    event: &event,
                },
            );
        }
    }

    // Out of line: the engines' paths keep only the test of a flag.
    #[cold]
    #[inline(never)]
    fn deliver(&mut self, now: Instant, event: &Event<'_>) {
        if !self.enabled(event.level()) {
            return;
        }
        if let Some(sink) = &mut self.sink {
            sink.event(now, event);
        }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tracer")
            .field("events", &self.events)
            .field("frames", &self.frames)
            .finish_non_exhaustive()
    }
}

/// Several sinks behind one.
#[derive(Default)]
pub struct Fanout {
    sinks: Vec<Box<dyn Sink>>,
}

impl Fanout {
    /// Passes every event on to each of `sinks` that wants its level.
    #[must_use]
    pub fn new(sinks: Vec<Box<dyn Sink>>) -> Fanout {
        Fanout { sinks }
    }

    /// One more sink. A [`Tracer`] that already holds this fanout must be refreshed.
    pub fn add(&mut self, sink: Box<dyn Sink>) {
        self.sinks.push(sink);
    }
}

impl Sink for Fanout {
    fn event(&mut self, now: Instant, event: &Event<'_>) {
        let level = event.level();
        for sink in self.sinks.iter_mut().filter(|sink| sink.wants(level)) {
            sink.event(now, event);
        }
    }

    fn wants(&self, level: Level) -> bool {
        self.sinks.iter().any(|sink| sink.wants(level))
    }
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fanout")
            .field("sinks", &self.sinks.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

    struct Recorder {
        level: Level,
        to: Sender<String>,
    }

    impl Sink for Recorder {
        fn event(&mut self, now: Instant, event: &Event<'_>) {
            self.to.send(format!("{now:?} {event:?}")).unwrap();
        }

        fn wants(&self, level: Level) -> bool {
            level <= self.level
        }
    }

    fn frame() -> FrameEvent {
        FrameEvent {
            direction: Direction::Sent,
            family: "test",
            stream: 1,
            kind: "Data",
            flags: FlagList::new(&["SYN"]),
            length: 5,
            send_window: Some(7),
            recv_window: None,
        }
    }

    #[test]
    fn nobody_listening_builds_no_event() {
        let mut tracer = Tracer::off();
        assert!(!tracer.enabled(Level::Event) && !tracer.enabled(Level::Frame));
        tracer.emit(Instant::ZERO, || unreachable!("built for nobody"));
        tracer.emit_frame(Instant::ZERO, || unreachable!("built for nobody"));
        tracer.emit_detail(Instant::ZERO, || unreachable!("built for nobody"));
    }

    #[test]
    fn packets_are_read_anew_by_each_sink() {
        let (to, received) = channel();
        let level = Level::Frame;
        let two = vec![
            Box::new(Recorder {
                level,
                to: to.clone(),
            }) as Box<dyn Sink>,
            Box::new(Recorder { level, to }),
        ];
        let mut tracer = Tracer::to_all(two);
        let frames = vec![FrameInfo {
            kind: "ping",
            words: &"PING",
            fields: &[],
        }];
        tracer.emit_detail(Instant::ZERO, || {
            Event::Packet(PacketEvent {
                direction: Direction::Sent,
                family: "test",
                kind: "1RTT",
                number: Some(5),
                length: 40,
                path: 0,
                ecn: None,
                trigger: None,
                is_mtu_probe: false,
                header: &[],
                frames: &frames,
            })
        });
        drop(tracer);
        let heard: Vec<String> = received.iter().collect();
        assert_eq!(heard.len(), 2);
        assert!(heard.iter().all(|line| line.contains("PING")), "{heard:?}");
    }

    #[test]
    fn frames_are_not_built_for_a_sink_of_events() {
        let (to, received) = channel();
        let level = Level::Event;
        let mut tracer = Tracer::new(Box::new(Recorder { level, to }));
        tracer.emit_frame(Instant::ZERO, || unreachable!("built for nobody"));
        tracer.emit(Instant::ZERO, || Event::Frame(frame()));
        tracer.emit(Instant::ZERO, || Event::RateLimited {
            what: "resets",
            count: 3,
        });
        drop(tracer);
        let received: Vec<String> = received.iter().collect();
        assert_eq!(received.len(), 1);
        assert!(received[0].contains("resets"), "{received:?}");
    }

    #[test]
    fn what_happens_in_a_flow_has_the_level_of_what_happens() {
        let (to, received) = channel();
        let level = Level::Event;
        let mut tracer = Tracer::new(Box::new(Recorder { level, to }));
        let flow = || Flow {
            local: ([192, 0, 2, 1], 80).into(),
            remote: ([192, 0, 2, 2], 4000).into(),
        };
        tracer.emit_in(Instant::ZERO, Level::Frame, flow, || {
            unreachable!("built for nobody")
        });
        tracer.emit_in(Instant::ZERO, Level::Event, flow, || {
            Event::Metrics(Metrics::default())
        });
        tracer.emit_in(Instant::ZERO, Level::Event, flow, || Event::Held {
            stream: 0,
            by: HeldBy::Congestion,
        });
        drop(tracer);
        let received: Vec<String> = received.iter().collect();
        assert_eq!(received.len(), 1);
        assert!(received[0].contains("192.0.2.2:4000") && received[0].contains("Congestion"));
    }

    #[test]
    fn each_of_several_sinks_hears_what_it_wants() {
        let (events, heard_events) = channel();
        let (frames, heard_frames) = channel();
        let mut tracer = Tracer::to_all(vec![
            Box::new(Recorder {
                level: Level::Event,
                to: events,
            }),
            Box::new(Recorder {
                level: Level::Frame,
                to: frames,
            }),
        ]);
        assert!(tracer.enabled(Level::Frame));
        tracer.emit_frame(Instant::ZERO, frame);
        tracer.emit(Instant::ZERO, || Event::Discarded {
            stream: 1,
            bytes: 2,
            why: "closed",
        });
        drop(tracer);
        assert_eq!(heard_events.iter().count(), 1);
        assert_eq!(heard_frames.iter().count(), 2);
    }
}
