//! Two devices joined in memory.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use weir_tcpip::{Capabilities, Frame, Medium};

use super::{Device, ReceiveBuf};

/// Length of an Ethernet II header, which does not count in the MTU.
const ETHERNET: usize = 14;

/// One end of a cable in memory: what one end sends, the other receives, in order and without loss.
///
/// Each direction holds one batch; a sender beyond that waits until the other end has taken it, so
/// no end can fill memory. When one end is dropped the other one sends into the void, as with a
/// cable that was pulled.
///
/// ```
/// use weir::tcpip::{Capabilities, Medium, Memory};
/// let (ours, theirs) = Memory::pair(Capabilities::plain(Medium::Ip, 1500));
/// # let _ = (ours, theirs);
/// ```
#[derive(Debug)]
pub struct Memory {
    name: String,
    capabilities: Capabilities,
    out: Arc<Direction>,
    into: Arc<Direction>,
}

/// One direction of the cable.
#[derive(Debug, Default)]
struct Direction(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    frames: ReceiveBuf,
    /// The receiving end, while it waits for frames.
    receiver: Option<Waker>,
    /// The sending end, while it waits for room.
    sender: Option<Waker>,
    /// One end is gone.
    is_cut: bool,
}

impl Direction {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        let mut queue = self.lock();
        queue.is_cut = true;
        let waiting = queue.sender.take();
        drop(queue);
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

/// Remembers the task behind `cx`.
fn note(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}

impl Memory {
    /// Two ends, both with these capabilities: where they name offloads, checksums are left out and
    /// super-segments pass whole.
    #[must_use]
    pub fn pair(capabilities: Capabilities) -> (Memory, Memory) {
        let (there, back) = <(Arc<Direction>, Arc<Direction>)>::default();
        let end = |name: &str, out: &Arc<Direction>, into: &Arc<Direction>| Memory {
            name: name.to_owned(),
            capabilities,
            out: Arc::clone(out),
            into: Arc::clone(into),
        };
        (end("memory0", &there, &back), end("memory1", &back, &there))
    }

    /// Gives this end another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Memory {
        self.name = name.into();
        self
    }

    /// Whether a frame is one that the other end can take.
    fn check(&self, frame: &Frame<'_>) -> io::Result<()> {
        let link = match self.capabilities.medium {
            Medium::Ip => 0,
            Medium::Ethernet => ETHERNET,
        };
        let rest: usize = frame.rest.iter().map(|slice| slice.len()).sum();
        let len = frame.head.len().saturating_add(rest);
        let most = match frame.offload.segments {
            None => usize::from(self.capabilities.mtu).saturating_add(link),
            Some(_) => self
                .capabilities
                .segmentation
                .max_bytes
                .saturating_add(link),
        };
        if len > most {
            let words = format!("a frame of {len} bytes, where {most} are the most");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words));
        }
        Ok(())
    }
}

impl Device for Memory {
    fn name(&self) -> &str {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>> {
        let mut queue = self.into.lock();
        if queue.frames.is_empty() {
            note(&mut queue.receiver, cx);
            return Poll::Pending;
        }
        // What the sender filled is handed over as it is, and it goes on with the empty one.
        std::mem::swap(&mut queue.frames, batch);
        queue.frames.clear();
        let waiting = queue.sender.take();
        drop(queue);
        if let Some(waker) = waiting {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>> {
        let mut queue = self.out.lock();
        if queue.is_cut {
            return Poll::Ready(Ok(frames.len()));
        }
        let mut taken = 0;
        for frame in frames {
            if queue.frames.is_full() {
                break;
            }
            if let Err(error) = self.check(frame) {
                if taken == 0 {
                    return Poll::Ready(Err(error));
                }
                break;
            }
            queue.frames.put(frame.head, frame.rest, frame.offload);
            taken += 1;
        }
        if taken == 0 && !frames.is_empty() {
            note(&mut queue.sender, cx);
            return Poll::Pending;
        }
        let waiting = queue.receiver.take();
        drop(queue);
        if let Some(waker) = waiting {
            waker.wake();
        }
        Poll::Ready(Ok(taken))
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.out.cut();
        self.into.cut();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use weir_tcpip::{InterfaceId, Offload};

    use super::*;

    fn frame(head: &[u8]) -> Frame<'_> {
        Frame {
            interface: InterfaceId::default(),
            offload: Offload::default(),
            head,
            rest: &[],
        }
    }

    async fn receive(device: &mut Memory, batch: &mut ReceiveBuf) {
        batch.clear();
        poll_fn(|cx| device.poll_recv(cx, batch)).await.unwrap();
    }

    #[tokio::test]
    async fn frames_cross_in_order_and_wake_the_other_end() {
        let (mut ours, mut theirs) = Memory::pair(Capabilities::plain(Medium::Ip, 1500));
        let reading = tokio::spawn(async move {
            let mut batch = ReceiveBuf::new();
            receive(&mut theirs, &mut batch).await;
            batch
                .frames()
                .map(|(frame, _)| frame.to_vec())
                .collect::<Vec<_>>()
        });
        tokio::task::yield_now().await;
        let sent = poll_fn(|cx| ours.poll_send(cx, &[frame(b"one"), frame(b"two")])).await;
        assert_eq!(sent.unwrap(), 2);
        assert_eq!(reading.await.unwrap(), [b"one", b"two"]);
    }

    #[tokio::test]
    async fn a_full_direction_holds_the_sender_until_the_other_end_reads() {
        let (mut ours, mut theirs) = Memory::pair(Capabilities::plain(Medium::Ip, 1500));
        let packet = vec![0; 1500];
        let frames = vec![frame(&packet); 1000];
        let taken = poll_fn(|cx| ours.poll_send(cx, &frames)).await.unwrap();
        assert!((100..1000).contains(&taken), "{taken}");
        let blocked = poll_fn(|cx| Poll::Ready(ours.poll_send(cx, &frames).is_pending()));
        assert!(blocked.await);
        let mut batch = ReceiveBuf::new();
        receive(&mut theirs, &mut batch).await;
        assert_eq!(batch.len(), taken);
        let more = poll_fn(|cx| ours.poll_send(cx, &frames)).await.unwrap();
        assert_eq!(more, taken);
    }

    #[tokio::test]
    async fn frames_beyond_the_mtu_are_refused_one_by_one() {
        let (mut ours, _theirs) = Memory::pair(Capabilities::plain(Medium::Ip, 1280));
        let (short, long) = (vec![0; 1280], vec![0; 1281]);
        let frames = [frame(&short), frame(&long), frame(&short)];
        let sent = poll_fn(|cx| ours.poll_send(cx, &frames)).await.unwrap();
        assert_eq!(sent, 1);
        let error = poll_fn(|cx| ours.poll_send(cx, &frames[1..]))
            .await
            .unwrap_err();
        assert!(
            error.to_string().contains("1281 bytes, where 1280"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_pulled_cable_takes_everything_and_delivers_nothing() {
        let (mut ours, theirs) = Memory::pair(Capabilities::plain(Medium::Ip, 1500));
        drop(theirs);
        let packet = vec![0; 1500];
        let frames = vec![frame(&packet); 1000];
        let sent = poll_fn(|cx| ours.poll_send(cx, &frames)).await.unwrap();
        assert_eq!(sent, 1000);
        let mut batch = ReceiveBuf::new();
        let nothing = poll_fn(|cx| Poll::Ready(ours.poll_recv(cx, &mut batch).is_pending()));
        assert!(nothing.await);
    }
}
