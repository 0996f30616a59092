//! A bad network between a stack and its device, on weir-sim's models of links.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;
use weir::tcpip::{Capabilities, Device, Frame, InterfaceId, Offload, ReceiveBuf};
use weir_core::rng::{self, Rng};
use weir_core::time::Instant;
use weir_sim::{Ecn, LinkConfig, LinkModel, Packet};

/// An IP packet on the link.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct IpPacket(Vec<u8>);

impl IpPacket {
    fn is_v4(&self) -> bool {
        self.0[0] >> 4 == 4
    }
}

impl Packet for IpPacket {
    fn wire_len(&self) -> usize {
        self.0.len()
    }

    fn ecn(&self) -> Ecn {
        let bits = match self.is_v4() {
            true => self.0[1],
            false => self.0[1] >> 4,
        };
        match bits & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }

    fn set_ecn(&mut self, ecn: Ecn) {
        let (before, ecn) = (u16::from_be_bytes([self.0[0], self.0[1]]), ecn as u8);
        if !self.is_v4() {
            self.0[1] = self.0[1] & 0xcf | ecn << 4;
            return;
        }
        self.0[1] = self.0[1] & 0xfc | ecn;
        // RFC 1624 equation 3.
        let after = u16::from_be_bytes([self.0[0], self.0[1]]);
        let sum = u32::from(!u16::from_be_bytes([self.0[10], self.0[11]]))
            + u32::from(!before)
            + u32::from(after);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
        self.0[10..12].copy_from_slice(&sum.to_be_bytes());
    }

    fn corrupt(&mut self, rng: &mut Rng) {
        let bit = rng::below(rng, self.0.len() as u64 * 8) as usize;
        self.0[bit / 8] ^= 1 << (bit % 8);
    }
}

/// One direction.
struct Way {
    link: LinkModel,
    /// By time of arrival, then in the order of sending.
    under_way: BinaryHeap<Reverse<(Instant, u64, IpPacket)>>,
    count: u64,
}

impl Way {
    fn new(config: LinkConfig, seed: u64) -> Way {
        Way {
            link: LinkModel::new(config, rng::rng_from_seed(seed)).unwrap(),
            under_way: BinaryHeap::new(),
            count: 0,
        }
    }

    fn offer(&mut self, now: Instant, packet: Vec<u8>) {
        let (under_way, count) = (&mut self.under_way, &mut self.count);
        // What the link drops is gone.
        let _ = self.link.offer(now, IpPacket(packet), |at, packet| {
            *count += 1;
            under_way.push(Reverse((at, *count, packet)));
        });
    }

    fn next(&self) -> Option<Instant> {
        self.under_way.peek().map(|Reverse((at, ..))| *at)
    }

    fn pop_due(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next()? > now {
            return None;
        }
        self.under_way.pop().map(|Reverse((_, _, packet))| packet.0)
    }
}

/// A device behind a bad link. It must do without offloads: a bit that flips shows in a checksum.
pub(crate) struct Impaired<D> {
    device: D,
    out: Way,
    into: Way,
    read: ReceiveBuf,
    /// Out of the link, and not taken by the device.
    unsent: Option<Vec<u8>>,
    epoch: tokio::time::Instant,
    sleep: Pin<Box<Sleep>>,
}

impl<D: Device> Impaired<D> {
    /// Both directions alike, with numbers of their own from `seed`.
    pub(crate) fn new(device: D, config: &LinkConfig, seed: u64) -> Impaired<D> {
        assert!(!device.capabilities().checksum_offload);
        Impaired {
            device,
            out: Way::new(config.clone(), seed),
            into: Way::new(config.clone(), seed + 1),
            read: ReceiveBuf::new(),
            unsent: None,
            epoch: tokio::time::Instant::now(),
            sleep: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_nanos(self.epoch.elapsed().as_nanos() as u64)
    }

    /// Hands what has crossed the link to the device.
    fn send_due(&mut self, cx: &mut Context<'_>) {
        let now = self.now();
        while let Some(packet) = self.unsent.take().or_else(|| self.out.pop_due(now)) {
            let frame = Frame {
                interface: InterfaceId::default(),
                offload: Offload::default(),
                head: &packet,
                rest: &[],
            };
            if self.device.poll_send(cx, &[frame]).is_pending() {
                self.unsent = Some(packet);
                return;
            }
        }
    }

    /// Has the task woken when the next packet has crossed.
    fn arm(&mut self, cx: &mut Context<'_>) {
        let next = [self.out.next(), self.into.next()];
        let Some(next) = next.into_iter().flatten().min() else {
            return;
        };
        let at = self.epoch + Duration::from_nanos(next.as_nanos());
        self.sleep.as_mut().reset(at);
        if self.sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

impl<D: Device> Device for Impaired<D> {
    fn name(&self) -> &str {
        self.device.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>> {
        loop {
            self.read.clear();
            match self.device.poll_recv(cx, &mut self.read) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            let now = self.now();
            for (frame, _) in self.read.frames() {
                self.into.offer(now, frame.to_vec());
            }
        }
        self.send_due(cx);
        let now = self.now();
        while !batch.is_full()
            && let Some(packet) = self.into.pop_due(now)
        {
            batch.put(&packet, &[], Offload::default());
        }
        self.arm(cx);
        match batch.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>> {
        let now = self.now();
        for frame in frames {
            let mut packet = frame.head.to_vec();
            for slice in frame.rest {
                packet.extend_from_slice(slice);
            }
            self.out.offer(now, packet);
        }
        self.send_due(cx);
        self.arm(cx);
        Poll::Ready(Ok(frames.len()))
    }
}
