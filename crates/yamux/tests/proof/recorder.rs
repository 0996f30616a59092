//! A sink that wants everything, writes each event out as text and keeps the last of it, so that
//! tracing runs in every proof as it would for a user.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use weir_core::time::Instant;
use weir_core::trace::{Event, Level, Sink, Tracer};

/// What a recorder heard.
#[derive(Default)]
pub struct Heard {
    pub events: u64,
    pub frames: u64,
    pub last: VecDeque<String>,
    line: String,
}

/// The test's end of a recorder.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Heard>>);

impl Recorder {
    /// A tracer that reports here.
    pub fn tracer(&self) -> Tracer {
        Tracer::new(Box::new(self.clone()))
    }

    /// Looks at what was heard.
    pub fn with<T>(&self, look: impl FnOnce(&Heard) -> T) -> T {
        look(
            &self
                .0
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        )
    }

    /// The last lines, for a failure's message.
    pub fn tail(&self) -> String {
        self.with(|heard| {
            heard
                .last
                .iter()
                .fold(String::new(), |all, line| all + line + "\n")
        })
    }
}

impl Sink for Recorder {
    fn event(&mut self, now: Instant, event: &Event<'_>) {
        let mut heard = self
            .0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let heard = &mut *heard;
        heard.line.clear();
        match event {
            Event::Frame(frame) => {
                heard.frames += 1;
                let _ = write!(heard.line, "{now:?} {frame:?} {}", frame.flags);
            }
            Event::Closed(reason) => {
                heard.events += 1;
                let _ = write!(heard.line, "{now:?} closed: {reason}");
            }
            other => {
                heard.events += 1;
                let _ = write!(heard.line, "{now:?} {other:?}");
            }
        }
        if heard.last.len() == 40 {
            heard.last.pop_front();
        }
        heard.last.push_back(heard.line.clone());
    }

    fn wants(&self, _: Level) -> bool {
        true
    }
}
