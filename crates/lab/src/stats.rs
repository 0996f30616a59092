//! What a lab did.

use std::fmt;

use weir_sim::{DropReason, LinkStats};

/// Counters of a lab.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LabStats {
    /// From clients to the server.
    pub to_server: DirectionStats,
    /// From the server to clients.
    pub to_client: DirectionStats,
    /// UDP flows that there were.
    pub flows: u64,
    /// TCP connections that there were.
    pub connections: u64,
    /// How often all live flows moved to new sockets.
    pub rebindings: u64,
    /// Flows that moved, each time counted.
    pub rebound_flows: u64,
    /// Packets that a recording should have and could not be written into it.
    pub unrecorded: u64,
}

/// Counters of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectionStats {
    /// UDP packets, as the link model counted them.
    pub link: LinkStats,
    /// UDP packets handed to the receiving socket, copies included.
    pub delivered: u64,
    /// Packets that a cap of the lab itself kept from entering: too many flows, or too many bytes on
    /// their way.
    pub refused: u64,
    /// Packets whose flow had ended when they were to be delivered.
    pub late: u64,
    /// Packets that the system did not take, for instance because they are greater than the
    /// interface's MTU.
    pub unsendable: u64,
    /// Bytes of TCP connections.
    pub tcp_bytes: u64,
}

impl DirectionStats {
    /// Packets that do not arrive, with the cause in a word, without those that did not occur.
    pub fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let own = [
            ("refused", self.refused),
            ("late", self.late),
            ("unsendable", self.unsendable),
        ];
        let link = DropReason::ALL.map(|reason| (reason.as_str(), self.link.dropped_by(reason)));
        link.into_iter().chain(own).filter(|&(_, count)| count > 0)
    }
}

/// One line: `1000 in, 981 delivered, dropped: 19 loss; 3 duplicated, ..`, without what is zero.
impl fmt::Display for DirectionStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets in, {} delivered",
            self.link.offered, self.delivered
        )?;
        for (cause, count) in self.dropped() {
            write!(f, ", {count} dropped by {cause}")?;
        }
        let others = [
            (self.link.duplicated, "duplicated"),
            (self.link.corrupted, "corrupted"),
            (self.link.reordered, "reordered"),
            (self.link.marked, "marked CE"),
            (self.link.bleached, "ECN bits changed"),
        ];
        for (count, what) in others.into_iter().filter(|&(count, _)| count > 0) {
            write!(f, ", {count} {what}")?;
        }
        if self.tcp_bytes > 0 {
            write!(f, "; {} bytes of TCP", self.tcp_bytes)?;
        }
        Ok(())
    }
}
