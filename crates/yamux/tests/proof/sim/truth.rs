//! What really happened to each stream, as both applications know it together.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// One direction of a stream.
#[derive(Clone, Debug, Default)]
pub struct Direction {
    /// Bytes that the writer's session took.
    pub written: u64,
    /// The writer finished, or let go of its half.
    pub finished: bool,
    /// Bytes that the reader got.
    pub read: u64,
    /// The reader saw the end.
    pub ended: bool,
}

/// Everything both sides know. The pattern of a direction is told by `key`.
#[derive(Debug, Default)]
pub struct Truth {
    directions: HashMap<(u32, bool), Direction>,
    /// Streams that an application reset, stopped or dropped.
    disturbed: HashSet<u32>,
    /// For each side: streams that its engine ended by itself (refused, shed, timed out).
    pub excuses: [u64; 2],
    /// One side has ended the session, or the pipe is to be cut.
    pub ending: bool,
    /// Each side's application has done all that it planned.
    pub idle: [bool; 2],
    pub bytes_read: u64,
    pub streams_ended_by_fin: u64,
    pub streams_reset: u64,
}

pub type Shared = Rc<RefCell<Truth>>;

/// The name of a direction's pattern.
pub fn pattern_key(id: u32, by_client: bool) -> u64 {
    u64::from(id) * 2 + u64::from(by_client)
}

impl Truth {
    pub fn direction(&mut self, id: u32, by_client: bool) -> &mut Direction {
        self.directions.entry((id, by_client)).or_default()
    }

    /// The stream need not end in good order from now on.
    pub fn disturb(&mut self, id: u32) {
        self.disturbed.insert(id);
    }

    pub fn is_disturbed(&self, id: u32) -> bool {
        self.disturbed.contains(&id)
    }

    /// Fails unless somebody had a reason to reset the stream.
    #[track_caller]
    pub fn assert_may_reset(&self, id: u32) {
        let excused = self.excuses[0] + self.excuses[1] > 0;
        assert!(
            excused || self.ending || self.disturbed.contains(&id),
            "stream {id} was reset and nobody had a reason to"
        );
    }

    /// A reader got `count` bytes, which were checked against the pattern.
    #[track_caller]
    pub fn on_read(&mut self, id: u32, by_client: bool, count: u64) {
        let direction = self.direction(id, by_client);
        direction.read += count;
        let Direction { read, written, .. } = *direction;
        assert!(
            read <= written,
            "stream {id}: {read} bytes read of {written} written"
        );
        self.bytes_read += count;
    }

    /// A reader saw the end.
    #[track_caller]
    pub fn on_end(&mut self, id: u32, by_client: bool) {
        let direction = self.direction(id, by_client);
        direction.ended = true;
        let Direction {
            read,
            written,
            finished,
            ..
        } = *direction;
        assert!(finished, "stream {id} ended and was not finished");
        assert_eq!(
            read, written,
            "stream {id} ended before all its bytes were read"
        );
        self.streams_ended_by_fin += 1;
    }

    /// Directions that were finished in good order and not read to the end.
    pub fn unread(&self) -> Vec<String> {
        let undisturbed = self.directions.iter().filter(|((id, _), direction)| {
            !self.disturbed.contains(id) && direction.finished && !direction.ended
        });
        undisturbed
            .map(|(name, direction)| format!("{name:?}: {direction:?}"))
            .collect()
    }
}
