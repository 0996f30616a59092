//! UDP datagrams in the capture: those that were sent and received, with headers made up around them.
//!
//! What a datagram is decrypted with is known some time after it arrived, when the handshake has been
//! read; a reader needs it before. So datagrams are written a little later than secrets.

use std::sync::Arc;
use std::time::SystemTime;

use weir_core::pcapng::{self, Direction, Packet, packet};

use super::pcap::{Capture, nanos};
use crate::observe::{DatagramBatch, DatagramTap};

/// One UDP socket in the capture.
#[derive(Debug)]
pub(super) struct PcapDatagramTap {
    capture: Arc<Capture>,
    /// A packet is put together here.
    scratch: Vec<u8>,
    /// Batches that found the capture's buffer full.
    dropped: u64,
}

impl PcapDatagramTap {
    /// A tap that writes to `capture`.
    pub(super) fn new(capture: Arc<Capture>) -> Self {
        Self {
            capture,
            scratch: Vec::new(),
            dropped: 0,
        }
    }

    fn record(&mut self, direction: Direction, batch: &DatagramBatch<'_>) {
        let at_nanos = nanos(SystemTime::now());
        let (from, to) = match direction {
            Direction::Outbound => (batch.local, batch.remote),
            Direction::Inbound => (batch.remote, batch.local),
        };
        let scratch = &mut self.scratch;
        let taken = self.capture.later(|out| {
            for payload in batch.datagrams() {
                scratch.clear();
                packet::udp(scratch, from, to, payload);
                packet::set_ecn(scratch, batch.ecn);
                let packet = Packet {
                    interface: 0,
                    at_nanos,
                    data: scratch,
                    original_len: 0,
                    direction: Some(direction),
                    comment: "",
                };
                pcapng::packet(out, &packet);
            }
        });
        if !taken {
            self.dropped = self.dropped.saturating_add(1);
        }
    }
}

impl DatagramTap for PcapDatagramTap {
    fn sent(&mut self, batch: &DatagramBatch<'_>) {
        self.record(Direction::Outbound, batch);
    }

    fn received(&mut self, batch: &DatagramBatch<'_>) {
        self.record(Direction::Inbound, batch);
    }
}

impl Drop for PcapDatagramTap {
    fn drop(&mut self) {
        if self.dropped > 0 {
            tracing::warn!(
                "the capture lacks {} batches of datagrams: the disk did not keep up",
                self.dropped
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pcap::tests::{blocks, capture};
    use super::*;

    const SECRETS: u32 = 10;
    const PACKET: u32 = 6;

    fn batch(data: &[u8], segment: usize) -> DatagramBatch<'_> {
        DatagramBatch {
            local: "127.0.0.1:40000".parse().unwrap(),
            remote: "127.0.0.1:443".parse().unwrap(),
            ecn: 2,
            segment,
            data,
        }
    }

    // Q178: what decrypts a datagram stands before it, although it was known later.
    #[test]
    fn secrets_stand_before_the_datagrams_that_brought_them() {
        let written = capture("pcap-udp", |capture| {
            let mut tap = PcapDatagramTap::new(Arc::clone(&capture));
            tap.received(&batch(b"server hello", 0));
            capture.secret("SERVER_HANDSHAKE_TRAFFIC_SECRET 00 01");
            capture.secret("SERVER_TRAFFIC_SECRET_0 00 02");
        });
        let kinds: Vec<u32> = blocks(&written).iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0x0a0d_0d0a, 1, SECRETS, SECRETS, PACKET]);
    }

    #[test]
    fn a_batch_becomes_its_datagrams() {
        let written = capture("pcap-batch", |capture| {
            let mut tap = PcapDatagramTap::new(capture);
            tap.sent(&batch(b"aaaabbbbcc", 4));
            tap.received(&batch(b"dddd", 0));
        });
        let packets: Vec<&[u8]> = blocks(&written)
            .iter()
            .filter(|(kind, _)| *kind == PACKET)
            .map(|(_, body)| *body)
            .collect();
        let payload = |body: &[u8]| {
            let length = u32::from_le_bytes(body[12..16].try_into().unwrap()) as usize;
            // IPv4 and UDP headers are 28 bytes.
            body[20 + 28..20 + length].to_vec()
        };
        let payloads: Vec<Vec<u8>> = packets.iter().map(|body| payload(body)).collect();
        assert_eq!(
            payloads,
            [
                b"aaaa".to_vec(),
                b"bbbb".to_vec(),
                b"cc".to_vec(),
                b"dddd".to_vec()
            ]
        );
        // ECT(0) in the IP header; from the local port out, to it in.
        assert!(packets.iter().all(|body| body[21] & 3 == 2));
        let source = |body: &[u8]| u16::from_be_bytes([body[40], body[41]]);
        assert_eq!(
            packets.iter().map(|body| source(body)).collect::<Vec<_>>(),
            [40000, 40000, 40000, 443]
        );
    }
}
