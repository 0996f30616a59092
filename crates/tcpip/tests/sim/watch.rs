//! An onlooker on the wire: it sees every segment that is sent, and every one that arrives.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::plan::byte;
use super::wire::{ACK, FIN, RST, SYN, Segment};

/// One direction of a connection.
#[derive(Debug, Default)]
struct Direction {
    /// Sequence number of the SYN.
    initial: Option<u32>,
    /// Which flow of the plan, and which side of it sends here.
    who: (usize, usize),
    /// The highest offset sent, the SYN being 0.
    sent: u64,
    /// Where the FIN is, once it was sent.
    fin: Option<u64>,
    /// The highest acknowledgement sent of the other direction.
    acked: u64,
    /// The right edge of the window that this side announced, as sent.
    announced: u64,
    /// The right edge that this side knows of: what arrived of the other's announcements.
    allowed: u64,
    /// The shift of the windows that this side announces.
    scale: Option<u8>,
    /// A reset was sent.
    over: bool,
}

/// What a segment is sent for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sending {
    New,
    Again,
    Probe,
}

/// All connections.
#[derive(Debug, Default)]
pub struct Watch {
    directions: BTreeMap<(SocketAddr, SocketAddr), Direction>,
    pub segments: u64,
    pub retransmitted: u64,
    pub zero_windows: u64,
    /// Of closed windows.
    pub probes: u64,
}

fn offset(initial: u32, wire: u32, near: u64) -> u64 {
    let low = initial.wrapping_add(near as u32);
    let delta = i64::from(wire.wrapping_sub(low).cast_signed());
    near.checked_add_signed(delta).unwrap_or(u64::MAX)
}

impl Watch {
    /// A segment that a stack sends, whole or a super-segment.
    ///
    /// # Errors
    /// What no TCP may send.
    pub fn sent(&mut self, segment: &Segment) -> Result<(), String> {
        self.segments += 1;
        let key = (segment.from, segment.to);
        let back = (segment.to, segment.from);
        if segment.has(SYN) {
            self.syn(segment)?;
        }
        let other = self.directions.get(&back);
        let their_initial = other.and_then(|other| other.initial);
        let their_sent = other.map_or(0, |other| other.sent);
        let both_scale = other.is_some_and(|other| other.scale.is_some());
        let Some(direction) = self.directions.get_mut(&key) else {
            // What answers a connection that nobody knows.
            return match segment.has(RST) {
                true => Ok(()),
                false => Err("a segment before the SYN".to_owned()),
            };
        };
        if segment.has(RST) {
            direction.over = true;
            return Ok(());
        }
        let Some(initial) = direction.initial else {
            return Err("a segment before the SYN".to_owned());
        };
        if direction.over {
            // A reset ends what is sent of a connection; old ACKs of TIME-WAIT do not come here.
            return Err("a segment behind the reset".to_owned());
        }
        match direction.data(segment, initial)? {
            Sending::New => {}
            Sending::Again => self.retransmitted += 1,
            Sending::Probe => self.probes += 1,
        }
        if let (true, Some(theirs)) = (segment.has(ACK), their_initial) {
            direction.acknowledges(segment, theirs, their_sent, both_scale)?;
            self.zero_windows += u64::from(segment.window == 0);
        }
        Ok(())
    }

    fn syn(&mut self, segment: &Segment) -> Result<(), String> {
        let port = segment.from.port().min(segment.to.port());
        let side = usize::from(segment.from.port() == port);
        let direction = self
            .directions
            .entry((segment.from, segment.to))
            .or_default();
        match direction.initial {
            Some(initial) if initial != segment.seq => {
                Err(format!("another initial sequence number: {initial}"))
            }
            Some(_) => Ok(()),
            None => {
                direction.initial = Some(segment.seq);
                direction.who = (usize::from(port) - 1_000, side);
                direction.scale = segment.scale;
                direction.sent = 1;
                Ok(())
            }
        }
    }

    /// A segment that reaches `to` whole: its sender's window counts from now on.
    pub fn arrived(&mut self, segment: &Segment) {
        let scaled = |direction: Option<&Direction>| direction.is_some_and(|d| d.scale.is_some());
        let both = scaled(self.directions.get(&(segment.from, segment.to)))
            && scaled(self.directions.get(&(segment.to, segment.from)));
        let shift = self
            .directions
            .get(&(segment.from, segment.to))
            .and_then(|d| d.scale);
        let shift = if both && !segment.has(SYN) {
            shift.unwrap_or(0)
        } else {
            0
        };
        let Some(other) = self.directions.get_mut(&(segment.to, segment.from)) else {
            return;
        };
        let (true, Some(initial)) = (segment.has(ACK) && !segment.has(RST), other.initial) else {
            return;
        };
        let ack = offset(initial, segment.ack, other.sent);
        let edge = ack + (u64::from(segment.window) << shift);
        other.allowed = other.allowed.max(edge);
    }
}

impl Direction {
    /// Data and FIN, at the numbers that are theirs and within the window.
    fn data(&mut self, segment: &Segment, initial: u32) -> Result<Sending, String> {
        let seq = offset(initial, segment.seq, self.sent);
        let first = seq + u64::from(segment.has(SYN));
        let end = first + segment.payload.len() as u64;
        if first > self.sent {
            return Err(format!("{first} follows on {}", self.sent));
        }
        for (&got, at) in segment.payload.iter().zip(first..) {
            if got != byte(self.who.0, self.who.1, at - 1) {
                return Err(format!("byte {at} is not the one that belongs there"));
            }
        }
        self.end(segment, end)?;
        let fin = u64::from(segment.has(FIN));
        let beyond = (end + fin).saturating_sub(self.allowed);
        let is_probe = beyond == 1 && end + fin - first == 1;
        if end + fin > first && beyond > 0 && !is_probe {
            let right = self.allowed;
            return Err(format!(
                "{first} to {}, the window ends at {right}",
                end + fin
            ));
        }
        let again = end + fin > first && end + fin <= self.sent;
        self.sent = self.sent.max(end + fin);
        Ok(match (is_probe, again) {
            (true, _) => Sending::Probe,
            (_, true) => Sending::Again,
            _ => Sending::New,
        })
    }

    /// There is one end, behind all data.
    fn end(&mut self, segment: &Segment, end: u64) -> Result<(), String> {
        match self.fin {
            Some(fin) if !segment.payload.is_empty() && end > fin => {
                Err(format!("data up to {end}, and the FIN was at {fin}"))
            }
            Some(fin) if segment.has(FIN) && end != fin => {
                Err(format!("a FIN at {end}, and one was at {fin}"))
            }
            None if segment.has(FIN) && end < self.sent => {
                Err(format!("a FIN at {end}, data went up to {}", self.sent))
            }
            None if segment.has(FIN) => {
                self.fin = Some(end);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn acknowledges(
        &mut self,
        segment: &Segment,
        initial: u32,
        sent: u64,
        both_scale: bool,
    ) -> Result<(), String> {
        let ack = offset(initial, segment.ack, self.acked.max(1));
        if ack > sent {
            return Err(format!("acknowledges {ack}, only {sent} was sent"));
        }
        if ack < self.acked {
            return Err(format!("acknowledges {ack}, and {} before", self.acked));
        }
        self.acked = ack;
        let shift = match self.scale {
            Some(scale) if both_scale && !segment.has(SYN) => scale,
            _ => 0,
        };
        let edge = ack + (u64::from(segment.window) << shift);
        if edge < self.announced {
            return Err(format!(
                "the right edge moves from {} to {edge}",
                self.announced
            ));
        }
        self.announced = edge;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const CLIENT: u16 = 40_000;

    fn segment(from: u16, flags: u8, seq: u32, payload: Bytes) -> Segment {
        let at = |port| SocketAddr::from(([192, 0, 2, 1], port));
        Segment {
            from: at(from),
            to: at(if from == CLIENT { 1_000 } else { CLIENT }),
            seq,
            ack: if from == CLIENT { 901 } else { 101 },
            flags,
            window: 10,
            scale: None,
            payload,
        }
    }

    fn data(from: u64, to: u64) -> Segment {
        let bytes: Bytes = (from..to).map(|at| byte(0, 0, at - 1)).collect();
        segment(CLIENT, ACK, 100 + from as u32, bytes)
    }

    /// A connection that was opened: the client may send ten bytes.
    fn open() -> Watch {
        let mut watch = Watch::default();
        let syn = segment(CLIENT, SYN, 100, Bytes::new());
        let answer = segment(1_000, SYN | ACK, 900, Bytes::new());
        for segment in [syn, answer] {
            watch.sent(&segment).unwrap();
            watch.arrived(&segment);
        }
        watch
    }

    #[test]
    fn data_within_the_window_and_one_byte_beyond_pass() {
        let mut watch = open();
        watch.sent(&data(1, 11)).unwrap();
        watch.sent(&data(4, 9)).unwrap();
        watch.sent(&data(11, 12)).unwrap();
        assert_eq!((watch.retransmitted, watch.probes), (1, 1));
    }

    #[test]
    fn what_no_tcp_may_send_is_noticed() {
        open().sent(&data(1, 12)).unwrap_err();
        open().sent(&data(2, 5)).unwrap_err();
        let mut other = data(1, 5);
        other.payload = Bytes::from_static(b"....");
        open().sent(&other).unwrap_err();
        let mut fin = data(1, 11);
        fin.flags |= FIN;
        open().sent(&fin).unwrap_err();
        open()
            .sent(&segment(CLIENT, SYN, 101, Bytes::new()))
            .unwrap_err();
    }

    #[test]
    fn an_end_that_moves_is_noticed() {
        let mut watch = open();
        watch.sent(&data(1, 6)).unwrap();
        let mut fin = data(6, 6);
        fin.flags |= FIN;
        watch.sent(&fin).unwrap();
        watch.sent(&fin).unwrap();
        watch.sent(&data(6, 8)).unwrap_err();
        fin.seq -= 1;
        watch.sent(&fin).unwrap_err();
    }

    #[test]
    fn a_window_that_shrinks_and_an_acknowledgement_of_nothing_are_noticed() {
        let mut shrinks = segment(1_000, ACK, 901, Bytes::new());
        shrinks.window = 9;
        open().sent(&shrinks).unwrap_err();
        let mut early = segment(1_000, ACK, 901, Bytes::new());
        early.ack = 102;
        open().sent(&early).unwrap_err();
    }
}
