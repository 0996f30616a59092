//! The events themselves.

use core::fmt;
use core::net::IpAddr;

use super::packet::{
    DroppedEvent, KeyEvent, LostEvent, Metrics, PacketEvent, PathEvent, TimerEvent,
};
use super::segment::{AddressEvent, Flow, NeighborEvent, SegmentEvent};
use super::{Field, Level};
use crate::close::{CloseReason, Initiator};
use crate::limits::MAX_TRACED_FLAGS;
use crate::time::Duration;

/// Something an engine did or saw.
#[derive(Debug, Clone)]
pub enum Event<'a> {
    /// A session or connection entered a state.
    Session {
        /// Which end this is, in the protocol's word ("client", "server").
        role: &'static str,
        /// The state it is in now.
        state: &'static str,
    },
    /// A frame was sent or received, by a protocol without packets.
    Frame(FrameEvent),
    /// A packet was sent or received.
    Packet(PacketEvent<'a>),
    /// A packet was received and thrown away.
    PacketDropped(DroppedEvent),
    /// A packet that was sent is taken for lost.
    PacketLost(LostEvent),
    /// Round trip, congestion window and the like have changed.
    Metrics(Metrics),
    /// The congestion controller entered a state.
    CongestionState {
        /// The path, counted from 0.
        path: u64,
        /// The state it left, unless it is the first.
        old: Option<&'static str>,
        /// The state it entered.
        new: &'static str,
    },
    /// A timer was set, was due, or was put off.
    Timer(TimerEvent),
    /// What is known of a path's ECN marks changed.
    EcnState {
        /// The path, counted from 0.
        path: u64,
        /// The state it left, unless it is the first.
        old: Option<&'static str>,
        /// The state it entered ("testing", "unknown", "failed", "capable").
        new: &'static str,
    },
    /// The size of datagrams that a path is known to carry changed.
    MtuUpdated {
        /// The path, counted from 0.
        path: u64,
        /// Bytes before, unless it is the first.
        old: Option<u64>,
        /// Bytes now.
        new: u64,
    },
    /// A key came into use, or was forgotten.
    Key(KeyEvent),
    /// Something happened to a path.
    Path(PathEvent),
    /// What was agreed on or announced: parameters, versions, the application protocol.
    Settings {
        /// Which settings, in qlog's word ("parameters_set", "version_information", ..).
        name: &'static str,
        /// Whose they are, where they are one side's.
        by: Option<Initiator>,
        /// The settings.
        fields: &'a [Field<'a>],
    },
    /// A stream changed its state.
    StreamState {
        /// The protocol ("yamux", "quic", ..).
        family: &'static str,
        /// The stream's id on the wire.
        stream: u64,
        /// The state it left.
        old: &'static str,
        /// The state it entered.
        new: &'static str,
        /// What made it change.
        trigger: &'static str,
    },
    /// A receive window was grown or shrunk.
    WindowTuned {
        /// The stream's id on the wire.
        stream: u64,
        /// The size it had, in bytes.
        old: u64,
        /// The size it has, in bytes.
        new: u64,
        /// The round trip time that it was tuned to, when known.
        rtt: Option<Duration>,
    },
    /// The round trip time was measured.
    Rtt {
        /// This measurement.
        latest: Duration,
        /// The smoothed estimate.
        smoothed: Duration,
        /// The least seen.
        min: Duration,
    },
    /// What holds a stream back changed.
    Held {
        /// The stream's id on the wire.
        stream: u64,
        /// What holds it back now.
        by: HeldBy,
    },
    /// Bytes arrived that nobody will read.
    Discarded {
        /// The stream's id on the wire.
        stream: u64,
        /// How many bytes.
        bytes: u64,
        /// Why nobody reads them.
        why: &'static str,
    },
    /// A peer did something more often than it may; what it did had no effect.
    RateLimited {
        /// What it did.
        what: &'static str,
        /// How often that was refused so far.
        count: u64,
    },
    /// The session or connection ended.
    Closed(&'a CloseReason),
    /// A TCP segment was sent or received.
    Segment(SegmentEvent<'a>),
    /// Something happened to one of several connections that report to the same sink.
    In {
        /// Which.
        flow: Flow,
        /// What.
        event: &'a Event<'a>,
    },
    /// What is known of a neighbour on a link changed.
    Neighbor(NeighborEvent),
    /// An address of our own changed.
    Address(AddressEvent),
    /// The largest packet that is known to reach a host changed (RFC 1191, RFC 8201).
    PathMtu {
        /// The host.
        to: IpAddr,
        /// Bytes before.
        old: u32,
        /// Bytes now.
        new: u32,
    },
}

impl Event<'_> {
    /// The level that a sink must want to see it.
    #[inline]
    #[must_use]
    pub const fn level(&self) -> Level {
        match self {
            Event::Frame(_)
            | Event::Packet(_)
            | Event::PacketDropped(_)
            | Event::PacketLost(_)
            | Event::Metrics(_)
            | Event::CongestionState { .. }
            | Event::Timer(_)
            | Event::Segment(_) => Level::Frame,
            Event::In { event, .. } => event.level(),
            _ => Level::Event,
        }
    }
}

/// Which way a frame went.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From here to the peer.
    Sent,
    /// From the peer to here.
    Received,
}

impl Direction {
    /// "sent" or "received".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Direction::Sent => "sent",
            Direction::Received => "received",
        }
    }
}

/// One frame, as `-vv` and qlog show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameEvent {
    /// Which way it went.
    pub direction: Direction,
    /// The protocol ("yamux", "quic", ..).
    pub family: &'static str,
    /// The stream's id on the wire; what the protocol says for the session itself.
    pub stream: u64,
    /// The frame's type in the protocol's word.
    pub kind: &'static str,
    /// The flags that were set.
    pub flags: FlagList,
    /// The frame's length field: bytes of payload, or what else the type counts.
    pub length: u64,
    /// Credit left to send on the stream after this frame, in bytes.
    pub send_window: Option<u64>,
    /// Credit left to the peer on the stream after this frame, in bytes.
    pub recv_window: Option<u64>,
}

/// The names of the flags that a frame carried, at most [`MAX_TRACED_FLAGS`]. Displays as
/// "SYN|ACK".
#[derive(Copy, Clone, Default, PartialEq, Eq)]
pub struct FlagList {
    names: [&'static str; MAX_TRACED_FLAGS],
    len: u8,
}

impl FlagList {
    /// No flags.
    pub const EMPTY: FlagList = FlagList {
        names: [""; MAX_TRACED_FLAGS],
        len: 0,
    };

    /// The given flags; those past [`MAX_TRACED_FLAGS`] are left out.
    #[must_use]
    pub fn new(names: &[&'static str]) -> FlagList {
        names.iter().copied().collect()
    }

    /// Adds a flag; left out when there are [`MAX_TRACED_FLAGS`] already.
    pub fn push(&mut self, name: &'static str) {
        if let Some(place) = self.names.get_mut(usize::from(self.len)) {
            *place = name;
            self.len += 1;
        }
    }

    /// The names in the order they were given.
    #[must_use]
    pub fn names(&self) -> &[&'static str] {
        self.names.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// True when no flag was set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl FromIterator<&'static str> for FlagList {
    fn from_iter<I: IntoIterator<Item = &'static str>>(names: I) -> FlagList {
        let mut list = FlagList::EMPTY;
        for name in names {
            list.push(name);
        }
        list
    }
}

impl fmt::Display for FlagList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.names().iter().enumerate() {
            if at > 0 {
                f.write_str("|")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

impl fmt::Debug for FlagList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

/// What holds a stream back: the answer to "why does this stream stand still?".
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeldBy {
    /// The peer gave no more credit for this stream.
    PeerWindow,
    /// The peer gave no more credit for the whole connection.
    ConnectionWindow,
    /// The session's memory budget is used up.
    SessionBudget,
    /// The congestion window is full.
    Congestion,
    /// It is not yet time to send the next packet.
    Pacing,
    /// What is below takes no more: a full socket, a link that is down.
    Carrier,
    /// The application here writes nothing, or does not read what is there.
    Application,
    /// The peer's application does not read.
    PeerReading,
    /// Nothing: it moves, or it is done.
    Nothing,
}

impl HeldBy {
    /// In words, as status pages and logs say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            HeldBy::PeerWindow => "peer's window",
            HeldBy::ConnectionWindow => "connection's window",
            HeldBy::SessionBudget => "session budget",
            HeldBy::Congestion => "congestion window",
            HeldBy::Pacing => "pacing",
            HeldBy::Carrier => "carrier",
            HeldBy::Application => "application",
            HeldBy::PeerReading => "peer's reading",
            HeldBy::Nothing => "nothing",
        }
    }
}

impl fmt::Display for HeldBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_as_in_the_field() {
        assert_eq!(FlagList::new(&["SYN", "ACK"]).to_string(), "SYN|ACK");
        assert_eq!(FlagList::EMPTY.to_string(), "");
        let many = FlagList::new(&["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"]);
        assert_eq!(many.names().len(), MAX_TRACED_FLAGS);
    }
}
