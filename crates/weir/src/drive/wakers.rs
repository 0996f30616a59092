//! Who waits for which stream: a table beside the engine's, indexed like it.

use std::collections::HashMap;
use std::task::{Context, Waker};

/// Streams a block of the table; blocks of idle streams that nobody waits on are never made.
const BLOCK: usize = 16;

/// The tasks that wait for one stream.
#[derive(Default)]
struct Waiting {
    read: Option<Waker>,
    write: Option<Waker>,
}

/// The table, by the engine's dense stream index.
#[derive(Default)]
pub(crate) struct Wakers {
    blocks: Vec<Option<Box<[Waiting; BLOCK]>>>,
    /// Those who wait for the end of a sending half: few, so they take no room in the blocks.
    ended: HashMap<u32, Waker>,
}

/// What of a stream a task waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Half {
    /// Bytes, or the end.
    Read,
    /// Room.
    Write,
    /// That nothing more can be sent.
    Ended,
}

impl Wakers {
    /// Remembers the task behind `cx`; the latest one to ask is the one that is woken.
    pub(crate) fn wait(&mut self, index: u32, half: Half, cx: &Context<'_>) {
        if half == Half::Ended {
            self.ended.insert(index, cx.waker().clone());
            return;
        }
        let slot = self.slot_mut(index, half);
        match slot {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *slot = Some(cx.waker().clone()),
        }
    }

    /// The task that waits there, if any; it is forgotten.
    pub(crate) fn take(&mut self, index: u32, half: Half) -> Option<Waker> {
        if half == Half::Ended {
            return if self.ended.is_empty() {
                None
            } else {
                self.ended.remove(&index)
            };
        }
        let block = self
            .blocks
            .get_mut(index as usize / BLOCK)?
            .as_deref_mut()?;
        let waiting = block.get_mut(index as usize % BLOCK)?;
        match half {
            Half::Read => waiting.read.take(),
            Half::Write | Half::Ended => waiting.write.take(),
        }
    }

    /// Every task that waits; all are forgotten.
    pub(crate) fn take_all(&mut self, woken: &mut Vec<Waker>) {
        woken.extend(self.ended.drain().map(|(_, waker)| waker));
        for waiting in self.blocks.drain(..).flatten().flat_map(|block| *block) {
            woken.extend(waiting.read);
            woken.extend(waiting.write);
        }
    }

    fn slot_mut(&mut self, index: u32, half: Half) -> &mut Option<Waker> {
        let (block, place) = (index as usize / BLOCK, index as usize % BLOCK);
        if self.blocks.len() <= block {
            self.blocks.resize_with(block + 1, || None);
        }
        #[expect(
            clippy::indexing_slicing,
            reason = "resized above; place is a remainder of BLOCK"
        )]
        let waiting = &mut self.blocks[block]
            .get_or_insert_with(|| Box::new(std::array::from_fn(|_| Waiting::default())))[place];
        match half {
            Half::Read => &mut waiting.read,
            Half::Write | Half::Ended => &mut waiting.write,
        }
    }
}
