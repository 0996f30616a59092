//! What a link did.

use std::fmt;

use weir_core::time::Duration;

/// Why a link did not carry a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The link was down.
    Outage,
    /// The packet was greater than the MTU.
    Mtu,
    /// Its number was on the list, or an n-th one.
    Numbered,
    /// The queue was full.
    Queue,
    /// Random loss.
    Loss,
    /// Loss in a burst.
    Burst,
    /// A test's own filter took it.
    Filter,
}

impl DropReason {
    /// All of them, in the order of [`LinkStats::dropped`].
    pub const ALL: [Self; 7] = [
        Self::Outage,
        Self::Mtu,
        Self::Numbered,
        Self::Queue,
        Self::Loss,
        Self::Burst,
        Self::Filter,
    ];

    /// In a word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outage => "outage",
            Self::Mtu => "mtu",
            Self::Numbered => "numbered",
            Self::Queue => "queue",
            Self::Loss => "loss",
            Self::Burst => "burst",
            Self::Filter => "filter",
        }
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Counters of one direction of a link. Packets are counted when they are offered: one that was
/// forwarded may still be on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Packets offered.
    pub offered: u64,
    /// Their bytes, headers included.
    pub offered_bytes: u64,
    /// Packets sent on their way, copies included.
    pub forwarded: u64,
    /// Their bytes, headers included.
    pub forwarded_bytes: u64,
    /// Copies made.
    pub duplicated: u64,
    /// Packets with a flipped bit.
    pub corrupted: u64,
    /// Packets held back.
    pub reordered: u64,
    /// Packets whose ECN bits were set to CE.
    pub marked: u64,
    /// Packets whose ECN bits were changed otherwise.
    pub bleached: u64,
    /// Most bytes that waited at a time.
    pub peak_queue_bytes: usize,
    /// Most packets that waited at a time.
    pub peak_queue_packets: usize,
    /// Longest wait before transmission.
    pub longest_wait: Duration,
    drops: [u64; DropReason::ALL.len()],
}

impl LinkStats {
    /// Packets dropped for `reason`.
    #[must_use]
    pub fn dropped_by(&self, reason: DropReason) -> u64 {
        DropReason::ALL
            .iter()
            .zip(self.drops)
            .find_map(|(&each, count)| (each == reason).then_some(count))
            .unwrap_or(0)
    }

    /// Packets dropped, for each reason.
    pub fn dropped(&self) -> impl Iterator<Item = (DropReason, u64)> {
        DropReason::ALL.into_iter().zip(self.drops)
    }

    /// Packets dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.drops.iter().sum()
    }

    pub(crate) fn count_drop(&mut self, reason: DropReason) {
        for (each, count) in DropReason::ALL.iter().zip(&mut self.drops) {
            if *each == reason {
                *count += 1;
            }
        }
    }
}

/// One line: `1000 in, 981 out (1500000 B), lost: 19 loss; 3 duplicated, ...`, without what is zero.
impl fmt::Display for LinkStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} in, {} out ({} B)",
            self.offered, self.forwarded, self.forwarded_bytes
        )?;
        for (reason, count) in self.dropped().filter(|&(_, count)| count > 0) {
            write!(f, ", {count} dropped by {reason}")?;
        }
        let others = [
            (self.duplicated, "duplicated"),
            (self.corrupted, "corrupted"),
            (self.reordered, "held back"),
            (self.marked, "marked CE"),
            (self.bleached, "ECN bits changed"),
        ];
        for (count, what) in others.into_iter().filter(|&(count, _)| count > 0) {
            write!(f, ", {count} {what}")?;
        }
        if self.peak_queue_packets > 0 {
            write!(
                f,
                ", queue up to {} B in {} packets, {:?}",
                self.peak_queue_bytes, self.peak_queue_packets, self.longest_wait
            )?;
        }
        Ok(())
    }
}
