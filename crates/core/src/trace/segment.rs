//! TCP segments and what is below them, for a stack that speaks IP itself.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::{Direction, FlagList};

/// Which connection of a stack an event belongs to: its two ends. Displays as
/// "192.0.2.1:80-198.51.100.2:49152".
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The end here.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.local, self.remote)
    }
}

/// One TCP segment that was sent, or received for a connection; or several of one flow that were
/// handed over as one. Numbers are stream offsets: 0 is the SYN.
///
/// Displays as `TCP SYN,ACK seq 0 ack 1 win 65535 <mss 1460,sackOK,ts,ws 7> SYN-RECEIVED`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SegmentEvent<'a> {
    /// Which way it went.
    pub direction: Direction,
    /// The control bits.
    pub flags: FlagList,
    /// Stream offset of its first byte.
    pub seq: u64,
    /// Stream offset awaited next, when ACK is set.
    pub ack: Option<u64>,
    /// The window in bytes, scaled.
    pub window: u32,
    /// Bytes of data.
    pub length: usize,
    /// How many segments it is on the wire, at least 1.
    pub segments: u16,
    /// Its options.
    pub options: SegmentOptions<'a>,
    /// Its ECN mark, when it had one ("ECT(0)", "ECT(1)", "CE").
    pub ecn: Option<&'static str>,
    /// The connection's state when it was sent, or when it was received and not yet looked at.
    pub state: &'static str,
    /// What made it be sent, when that is not the usual course: "rack", "tlp", "rto", ... for
    /// retransmissions, "window_probe", "keep_alive", "challenge_ack".
    pub trigger: Option<&'static str>,
}

/// What the options of a segment say.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentOptions<'a> {
    /// Maximum segment size.
    pub mss: Option<u16>,
    /// Window scale shift.
    pub window_scale: Option<u8>,
    /// SACK-permitted.
    pub sack_permitted: bool,
    /// Timestamps: value and echo.
    pub timestamps: Option<(u32, u32)>,
    /// SACK blocks: offsets of the first byte and of the one behind the last.
    pub sack: &'a [(u64, u64)],
    /// Fast Open: bytes of the cookie, 0 for the request. The cookie itself is never told.
    pub fast_open: Option<usize>,
}

impl fmt::Display for SegmentEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TCP ")?;
        for (at, name) in self.flags.names().iter().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            f.write_str(name)?;
        }
        if self.flags.is_empty() {
            f.write_str("-")?;
        }
        write!(f, " seq {}", self.seq)?;
        if let Some(ack) = self.ack {
            write!(f, " ack {ack}")?;
        }
        write!(f, " win {}", self.window)?;
        if self.length > 0 {
            write!(f, " len {}", self.length)?;
        }
        if self.segments > 1 {
            write!(f, " ({} segments)", self.segments)?;
        }
        self.options.fmt(f)?;
        if let Some(ecn) = self.ecn {
            write!(f, " {ecn}")?;
        }
        write!(f, " {}", self.state)?;
        match self.trigger {
            Some(trigger) => write!(f, " ({})", trigger.replace('_', " ")),
            None => Ok(()),
        }
    }
}

/// Nothing when there are none, ` <mss 1460,sackOK,ts,ws 7>` with some, a space in front.
impl fmt::Display for SegmentOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lead = " <";
        let mut next = || core::mem::replace(&mut lead, ",");
        if let Some(mss) = self.mss {
            write!(f, "{}mss {mss}", next())?;
        }
        if self.sack_permitted {
            write!(f, "{}sackOK", next())?;
        }
        if self.timestamps.is_some() {
            write!(f, "{}ts", next())?;
        }
        if let Some(shift) = self.window_scale {
            write!(f, "{}ws {shift}", next())?;
        }
        match self.fast_open {
            Some(0) => write!(f, "{}tfo request", next())?,
            Some(_) => write!(f, "{}tfo cookie", next())?,
            None => {}
        }
        for (at, (left, right)) in self.sack.iter().enumerate() {
            let word = if at == 0 { next() } else { "" };
            write!(
                f,
                "{word}{}{left}-{right}",
                if at == 0 { "sack " } else { " " }
            )?;
        }
        f.write_str(if lead == "," { ">" } else { "" })
    }
}

/// What is known of a neighbour on a link changed (RFC 4861 7.3.2, for ARP the same states).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct NeighborEvent {
    /// The interface, counted from 0.
    pub interface: usize,
    /// The neighbour.
    pub address: IpAddr,
    /// Its hardware address, when it is known.
    pub hardware: Option<[u8; 6]>,
    /// The state it left, unless it is new.
    pub old: Option<&'static str>,
    /// The state it entered ("incomplete", "reachable", "stale", "delay", "probe", "failed", "gone").
    pub new: &'static str,
}

/// An address of our own changed.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct AddressEvent {
    /// The interface, counted from 0.
    pub interface: usize,
    /// The address.
    pub address: IpAddr,
    /// Bits of its prefix.
    pub prefix_len: u8,
    /// What it is now ("tentative", "preferred", "deprecated", "duplicate", "removed").
    pub state: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment<'a>() -> SegmentEvent<'a> {
        SegmentEvent {
            direction: Direction::Sent,
            flags: FlagList::new(&["SYN", "ACK"]),
            seq: 0,
            ack: Some(1),
            window: 65_535,
            length: 0,
            segments: 1,
            options: SegmentOptions {
                mss: Some(1460),
                window_scale: Some(7),
                sack_permitted: true,
                timestamps: Some((1, 0)),
                ..SegmentOptions::default()
            },
            ecn: None,
            state: "SYN-RECEIVED",
            trigger: None,
        }
    }

    #[test]
    fn a_segment_is_told_in_one_line() {
        let line = "TCP SYN,ACK seq 0 ack 1 win 65535 <mss 1460,sackOK,ts,ws 7> SYN-RECEIVED";
        assert_eq!(segment().to_string(), line);
        let data = SegmentEvent {
            flags: FlagList::EMPTY,
            ack: None,
            length: 2896,
            segments: 2,
            options: SegmentOptions::default(),
            ecn: Some("ECT(0)"),
            state: "ESTABLISHED",
            trigger: Some("window_probe"),
            ..segment()
        };
        let line = "TCP - seq 0 win 65535 len 2896 (2 segments) ECT(0) ESTABLISHED (window probe)";
        assert_eq!(data.to_string(), line);
    }

    #[test]
    fn options_are_told_in_their_order() {
        let options = SegmentOptions {
            timestamps: Some((1, 2)),
            sack: &[(10, 20), (30, 40)],
            fast_open: Some(0),
            ..SegmentOptions::default()
        };
        assert_eq!(options.to_string(), " <ts,tfo request,sack 10-20 30-40>");
        let cookie = SegmentOptions {
            fast_open: Some(8),
            ..SegmentOptions::default()
        };
        assert_eq!(cookie.to_string(), " <tfo cookie>");
        assert_eq!(SegmentOptions::default().to_string(), "");
    }
}
