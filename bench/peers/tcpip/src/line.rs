//! No stack at all: canned segments, as fast as the device takes and gives them. What a correct stack may come near to.

use std::collections::HashMap;

use crate::args::MESSAGE;
use crate::tun::{LARGEST, Tun, VNET};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const PSH: u8 = 8;
const ACK: u8 = 16;
/// Where the TCP header begins behind the `virtio_net_hdr`, and where its data does.
const TCP: usize = 20;
const DATA: usize = 40;
/// The window's shift that both sides use.
const SHIFT: u8 = 8;
/// What is under way at most when sending.
const UNDER_WAY: u32 = 512 * 1024;
/// Acknowledged at the latest after so many bytes: half of what the kernel has under way.
const HALF_WINDOW: u32 = 128 * 1024;

#[derive(Default)]
struct Flow {
    what: u8,
    /// Next of ours, next of theirs, acknowledged by them.
    next: u32,
    theirs: u32,
    acked: u32,
    /// Up to where they take bytes, and the shift of their window.
    limit: u32,
    shift: u8,
    told: u32,
    count: u64,
    message: usize,
    ended: bool,
}

struct Line<'a> {
    tun: &'a Tun,
    out: Vec<u8>,
    segment: usize,
    flows: HashMap<u16, Flow>,
    /// Whose segment came last.
    latest: u16,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|w| u32::from(u16::from_be_bytes([w[0], *w.get(1).unwrap_or(&0)])))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

impl Line<'_> {
    /// A segment with `length` zeros: they are nothing in the checksum.
    fn send(&mut self, port: u16, flags: u8, seq: u32, ack: u32, length: usize, last: &[u8]) {
        let front = if self.tun.offload { VNET } else { 0 };
        let options: &[u8] = match flags & SYN != 0 {
            true => &[2, 4, 5, 0xb4, 1, 3, 3, SHIFT],
            false => &[],
        };
        let header = DATA + options.len();
        let total = header + length + last.len();
        let window = if flags & SYN != 0 {
            65_535_u16
        } else {
            (1 << 20 >> SHIFT) as u16
        };
        let packet = &mut self.out[front..front + total];
        packet[..DATA].copy_from_slice(&[
            0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 2, 10, 77, 0, 1, 0x1b, 0x58, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags, 0, 0, 0, 0, 0, 0,
        ]);
        packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        packet[TCP + 2..TCP + 4].copy_from_slice(&port.to_be_bytes());
        packet[TCP + 4..TCP + 8].copy_from_slice(&seq.to_be_bytes());
        packet[TCP + 8..TCP + 12].copy_from_slice(&ack.to_be_bytes());
        packet[TCP + 12] = ((header - TCP) as u8 / 4) << 4;
        packet[TCP + 14..TCP + 16].copy_from_slice(&window.to_be_bytes());
        packet[DATA..header].copy_from_slice(options);
        packet[header + length..].copy_from_slice(last);
        let checksum = !fold(sum(&packet[..TCP]));
        packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        let pseudo = sum(&packet[12..20]) + 6 + (total - TCP) as u32;
        let rest = sum(&packet[TCP..header]) + sum(last);
        let partial = self.tun.offload;
        let checksum = if partial {
            fold(pseudo)
        } else {
            !fold(pseudo + rest)
        };
        packet[TCP + 16..TCP + 18].copy_from_slice(&checksum.to_be_bytes());
        if partial {
            let size = self.segment as u16;
            let gso = u8::from(total > 1500);
            self.out[..2].copy_from_slice(&[1, gso]);
            self.out[2..4].copy_from_slice(&(header as u16).to_ne_bytes());
            self.out[4..6].copy_from_slice(&(size * u16::from(gso)).to_ne_bytes());
            self.out[6..8].copy_from_slice(&(TCP as u16).to_ne_bytes());
            self.out[8..10].copy_from_slice(&16_u16.to_ne_bytes());
        }
        self.tun.write(&self.out[..front + total]);
        // What is sent next is zeros again.
        self.out[front + DATA..front + header].fill(0);
        self.out[front + header + length..front + total].fill(0);
    }

    fn fill(&mut self, port: u16, flow: &mut Flow) {
        let most = if self.tun.offload {
            44 * self.segment
        } else {
            self.segment
        };
        loop {
            let under_way = flow.next.wrapping_sub(flow.acked);
            let room = flow.limit.wrapping_sub(flow.next) as i32;
            // Whole segments, unless nothing else is under way.
            let length = most.min(room.max(0) as usize / self.segment * self.segment);
            if length == 0 || length < most && under_way > 0 || under_way > UNDER_WAY {
                return;
            }
            self.send(port, ACK, flow.next, flow.theirs, length, &[]);
            flow.next = flow.next.wrapping_add(length as u32);
        }
    }

    fn arrived(&mut self, packet: &[u8]) {
        if packet.len() < DATA || packet[9] != 6 {
            return;
        }
        let port = u16::from_be_bytes([packet[TCP], packet[TCP + 1]]);
        self.latest = port;
        let flags = packet[TCP + 13];
        let (seq, ack) = (word(packet, TCP + 4), word(packet, TCP + 8));
        let data = &packet[TCP + usize::from(packet[TCP + 12] >> 4) * 4..];
        if flags & RST != 0 {
            self.flows.remove(&port);
            return;
        }
        if flags & SYN != 0 {
            let theirs = seq.wrapping_add(1);
            self.send(port, SYN | ACK, 0, theirs, 0, &[]);
            let options = &packet[DATA..];
            let shift = options
                .windows(3)
                .find(|o| o[..2] == [3, 3])
                .map_or(0, |o| o[2]);
            self.flows.insert(
                port,
                Flow {
                    next: 1,
                    theirs,
                    acked: 1,
                    told: theirs,
                    shift,
                    ..Flow::default()
                },
            );
            return;
        }
        let Some(mut flow) = self.flows.remove(&port) else {
            return;
        };
        flow.acked = ack;
        let window = u16::from_be_bytes([packet[TCP + 14], packet[TCP + 15]]);
        flow.limit = ack.wrapping_add(u32::from(window) << flow.shift);
        flow.theirs = seq.wrapping_add(data.len() as u32);
        let is_over = self.serve(port, &mut flow, data, flags);
        if !is_over {
            self.flows.insert(port, flow);
        }
    }

    /// True when the connection is over.
    fn serve(&mut self, port: u16, flow: &mut Flow, mut data: &[u8], flags: u8) -> bool {
        if flow.what == 0 && !data.is_empty() {
            flow.what = data[0];
            data = &data[1..];
        }
        flow.count += data.len() as u64;
        if flags & FIN != 0 {
            flow.theirs = flow.theirs.wrapping_add(1);
            let count = flow.count.to_be_bytes();
            let last: &[u8] = if flow.what == b'S' { &count } else { &[] };
            self.send(port, FIN | ACK | PSH, flow.next, flow.theirs, 0, last);
            flow.next = flow.next.wrapping_add(last.len() as u32 + 1);
            flow.ended = true;
            return false;
        }
        if flow.ended {
            return flow.acked == flow.next;
        }
        match flow.what {
            b'R' => {
                flow.message += data.len();
                while flow.message >= MESSAGE {
                    flow.message -= MESSAGE;
                    self.send(port, ACK | PSH, flow.next, flow.theirs, MESSAGE, &[]);
                    flow.next = flow.next.wrapping_add(MESSAGE as u32);
                    flow.told = flow.theirs;
                }
            }
            b'S' => {
                if flow.theirs.wrapping_sub(flow.told) >= HALF_WINDOW {
                    flow.told = flow.theirs;
                    self.send(port, ACK, flow.next, flow.theirs, 0, &[]);
                }
            }
            b'G' => self.fill(port, flow),
            _ => {}
        }
        false
    }

    /// Nothing more to read now: what was not acknowledged is.
    fn rest(&mut self) {
        let Some(flow) = self.flows.get_mut(&self.latest) else {
            return;
        };
        if flow.what == b'S' && flow.told != flow.theirs {
            flow.told = flow.theirs;
            let (next, theirs) = (flow.next, flow.theirs);
            self.send(self.latest, ACK, next, theirs, 0, &[]);
        }
    }
}

pub fn serve(tun: &Tun, stopped: impl Fn() -> bool) {
    let mut line = Line {
        tun,
        out: vec![0; LARGEST],
        segment: 1460,
        flows: HashMap::new(),
        latest: 0,
    };
    let mut inward = vec![0; LARGEST];
    let front = if tun.offload { VNET } else { 0 };
    while !stopped() {
        let mut any = false;
        while let Some(count) = tun.read(&mut inward) {
            any = true;
            line.arrived(&inward[front..count]);
        }
        if any {
            line.rest();
        }
        tun.wait(100);
    }
}
