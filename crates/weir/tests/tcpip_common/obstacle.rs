//! A device behind which a router says of every packet that it cannot go on.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, Waker};

use weir::tcpip::{Capabilities, Device, Frame, Medium, Offload, ReceiveBuf};

/// Who says so.
const ROUTER_V4: [u8; 4] = [10, 9, 0, 2];
const ROUTER_V6: [u8; 16] = [0xfd, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
/// RFC 4443 section 2.4 (c), and enough for IPv4.
const QUOTE: usize = 1280 - 48;

/// Answers every packet by an ICMP error.
pub(crate) struct Obstacle {
    icmp_type: u8,
    code: u8,
    answers: VecDeque<Vec<u8>>,
    reader: Option<Waker>,
}

impl Obstacle {
    pub(crate) fn new(icmp_type: u8, code: u8) -> Obstacle {
        Obstacle {
            icmp_type,
            code,
            answers: VecDeque::new(),
            reader: None,
        }
    }

    fn answer(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let mut icmp = vec![self.icmp_type, self.code, 0, 0, 0, 0, 0, 0];
        icmp.extend_from_slice(&packet[..packet.len().min(QUOTE)]);
        let len = icmp.len() as u16;
        let mut out = Vec::new();
        if packet[0] >> 4 == 4 {
            let all = (20 + len).to_be_bytes();
            out.extend_from_slice(&[0x45, 0, all[0], all[1], 0, 1, 0, 0, 64, 1, 0, 0]);
            out.extend_from_slice(&ROUTER_V4);
            out.extend_from_slice(&packet[12..16]);
            let header = checksum(&[&out]);
            out[10..12].copy_from_slice(&header);
            let sum = checksum(&[&icmp]);
            icmp[2..4].copy_from_slice(&sum);
        } else {
            // RFC 4443 2.4 (e.1): of ICMPv6 itself there are no complaints here.
            if packet[6] != 17 && packet[6] != 6 {
                return None;
            }
            let all = len.to_be_bytes();
            out.extend_from_slice(&[0x60, 0, 0, 0, all[0], all[1], 58, 64]);
            out.extend_from_slice(&ROUTER_V6);
            out.extend_from_slice(&packet[8..24]);
            let sum = checksum(&[&out[8..40], &[0, 0, all[0], all[1], 0, 0, 0, 58], &icmp]);
            icmp[2..4].copy_from_slice(&sum);
        }
        out.extend_from_slice(&icmp);
        Some(out)
    }
}

/// RFC 1071; every part but the last is of even length.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

impl Device for Obstacle {
    fn name(&self) -> &str {
        "obstacle"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::plain(Medium::Ip, 1500)
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBuf) -> Poll<io::Result<()>> {
        while !batch.is_full()
            && let Some(answer) = self.answers.pop_front()
        {
            batch.put(&answer, &[], Offload::default());
        }
        if batch.is_empty() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send(&mut self, _: &mut Context<'_>, frames: &[Frame<'_>]) -> Poll<io::Result<usize>> {
        for frame in frames {
            let mut packet = frame.head.to_vec();
            frame
                .rest
                .iter()
                .for_each(|slice| packet.extend_from_slice(slice));
            self.answers.extend(self.answer(&packet));
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(frames.len()))
    }
}
