//! Frames of a TCP/IP stack's devices in the capture, as they are: each device is an interface of its own.
//!
//! A super-segment is one packet here, as in captures on the machine that sends it, and a checksum that
//! the device was to complete is the pseudo-header's sum.

use std::sync::Arc;
use std::time::SystemTime;

use weir_core::pcapng::{self, Direction, LINKTYPE_ETHERNET, LINKTYPE_RAW, Packet};
use weir_tcpip::{Frame, Medium, Offload};

use super::pcap::{Capture, nanos};
use crate::observe::{DeviceInfo, FrameTap};

/// One device in the capture.
#[derive(Debug)]
pub(super) struct PcapFrameTap {
    capture: Arc<Capture>,
    /// Its number among the capture's interfaces.
    interface: u32,
    /// A frame in pieces is put together here.
    scratch: Vec<u8>,
    /// Frames that found the capture's buffer full.
    dropped: u64,
}

impl PcapFrameTap {
    /// A tap for a device.
    pub(super) fn new(capture: Arc<Capture>, device: &DeviceInfo<'_>) -> Self {
        let linktype = match device.medium {
            Medium::Ip => LINKTYPE_RAW,
            Medium::Ethernet => LINKTYPE_ETHERNET,
        };
        Self {
            interface: capture.interface(linktype, device.name),
            capture,
            scratch: Vec::new(),
            dropped: 0,
        }
    }
}

/// Puts a frame into the capture; false when there was no room.
fn record(capture: &Capture, interface: u32, direction: Direction, data: &[u8]) -> bool {
    let at_nanos = nanos(SystemTime::now());
    capture.later(|out| {
        let packet = Packet {
            interface,
            at_nanos,
            data,
            original_len: 0,
            direction: Some(direction),
            comment: "",
        };
        pcapng::packet(out, &packet);
    })
}

impl FrameTap for PcapFrameTap {
    fn sent(&mut self, frame: &Frame<'_>) {
        let data = if frame.rest.is_empty() {
            frame.head
        } else {
            self.scratch.clear();
            self.scratch.extend_from_slice(frame.head);
            for slice in frame.rest {
                self.scratch.extend_from_slice(slice);
            }
            &self.scratch
        };
        if !record(&self.capture, self.interface, Direction::Outbound, data) {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn received(&mut self, frame: &[u8], _: &Offload) {
        if !record(&self.capture, self.interface, Direction::Inbound, frame) {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

impl Drop for PcapFrameTap {
    fn drop(&mut self) {
        if self.dropped > 0 {
            tracing::warn!(
                "the capture lacks {} frames: the disk did not keep up",
                self.dropped
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use weir_tcpip::InterfaceId;

    use super::super::pcap::tests::{blocks, capture};
    use super::*;

    #[test]
    fn each_device_is_an_interface_of_its_own_with_its_frames() {
        let written = capture("pcap-frames", |capture| {
            let device = |name, medium| DeviceInfo { name, medium };
            let tun = device("tun0", Medium::Ip);
            let tap = device("tap0", Medium::Ethernet);
            let mut tun = PcapFrameTap::new(Arc::clone(&capture), &tun);
            let mut tap = PcapFrameTap::new(capture, &tap);
            tap.sent(&Frame {
                interface: InterfaceId::default(),
                offload: Offload::default(),
                head: b"head",
                rest: &[Bytes::from_static(b" and"), Bytes::from_static(b" rest")],
            });
            tun.received(b"packet", &Offload::default());
        });
        let blocks = blocks(&written);
        let kinds: Vec<u32> = blocks.iter().map(|(kind, _)| *kind).collect();
        // Section; the capture's own interface and the two devices; two packets.
        assert_eq!(kinds, [0x0a0d_0d0a, 1, 1, 1, 6, 6]);
        let linktype = |body: &[u8]| u16::from_le_bytes([body[0], body[1]]);
        assert_eq!(linktype(blocks[2].1), LINKTYPE_RAW);
        assert_eq!(linktype(blocks[3].1), LINKTYPE_ETHERNET);
        let packet = |body: &[u8]| {
            let word = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().unwrap());
            (word(0), body[20..20 + word(12) as usize].to_vec())
        };
        assert_eq!(packet(blocks[4].1), (2, b"head and rest".to_vec()));
        assert_eq!(packet(blocks[5].1), (1, b"packet".to_vec()));
    }
}
