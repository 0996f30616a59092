//! Frames that wait for one device of several, so that the others go on without it.

use std::collections::VecDeque;
use std::task::Context;

use bytes::Bytes;
use weir_tcpip::{Frame, Offload};

use super::shard::{FRAMES_PER_CALL, Port, send_run};

/// Frames that wait for a device that takes none: as many as Linux lets wait for an Ethernet card
/// (`txqueuelen`).
const MOST_FRAMES: usize = 1000;
/// Their bytes, where frames are super-segments: what 10 Gbit/s carries in a millisecond, and enough for
/// the window of a connection across the world on an ordinary line.
const MOST_BYTES: usize = 1 << 20;

/// Frames in the order in which they are to be sent. Bounded: what finds no room is lost, the newest
/// first, as at a network card whose queue is full. Losing it is what tells senders to slow down;
/// holding them back instead would hold back those who send through other devices.
#[derive(Default)]
pub(super) struct Backlog {
    frames: VecDeque<Waiting>,
    bytes: usize,
}

/// A frame that outlives the batch that it was in.
struct Waiting {
    offload: Offload,
    head: Vec<u8>,
    rest: Vec<Bytes>,
}

impl Waiting {
    fn len(&self) -> usize {
        let rest: usize = self.rest.iter().map(Bytes::len).sum();
        self.head.len().saturating_add(rest)
    }
}

impl Backlog {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Keeps frames, as far as there is room; how many were lost.
    #[cold]
    pub(super) fn keep(&mut self, frames: &[Frame<'_>]) -> usize {
        let mut lost: usize = 0;
        for frame in frames {
            let waiting = Waiting {
                offload: frame.offload,
                head: frame.head.to_vec(),
                rest: frame.rest.to_vec(),
            };
            let bytes = self.bytes.saturating_add(waiting.len());
            if bytes > MOST_BYTES || self.frames.len() >= MOST_FRAMES {
                lost = lost.saturating_add(1);
                continue;
            }
            self.bytes = bytes;
            self.frames.push_back(waiting);
        }
        lost
    }
}

/// Gives a device what waits for it, as far as it takes that.
#[cold]
pub(super) fn flush(port: &mut Port, cx: &mut Context<'_>) {
    // Nothing is added to it meanwhile.
    let mut backlog = std::mem::take(&mut port.backlog);
    let interface = port.interface;
    while !backlog.is_empty() {
        let frames = backlog.frames.iter().take(FRAMES_PER_CALL);
        let run: Vec<Frame<'_>> = frames
            .map(|waiting| Frame {
                interface,
                offload: waiting.offload,
                head: &waiting.head,
                rest: &waiting.rest,
            })
            .collect();
        let (offered, taken) = (run.len(), send_run(port, &run, cx));
        for sent in backlog.frames.drain(..taken.min(offered)) {
            backlog.bytes = backlog.bytes.saturating_sub(sent.len());
        }
        if taken < offered {
            break;
        }
    }
    port.backlog = backlog;
}

#[cfg(test)]
mod tests {
    use weir_tcpip::InterfaceId;

    use super::*;

    fn frame<'a>(head: &'a [u8], rest: &'a [Bytes]) -> Frame<'a> {
        Frame {
            interface: InterfaceId::default(),
            offload: Offload::default(),
            head,
            rest,
        }
    }

    #[test]
    fn what_waits_is_bounded_in_frames_and_in_bytes() {
        let mut backlog = Backlog::default();
        let small = vec![frame(b"x", &[]); MOST_FRAMES + 5];
        assert_eq!(backlog.keep(&small), 5);
        let mut backlog = Backlog::default();
        let rest = [Bytes::from(vec![0; 60_000])];
        let large = vec![frame(&[0; 40], &rest); 20];
        assert_eq!(backlog.keep(&large), 20 - MOST_BYTES / 60_040);
        assert!(backlog.bytes <= MOST_BYTES);
    }
}
