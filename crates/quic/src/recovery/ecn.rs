//! Explicit congestion notification: whether a path carries it, and what the peer saw
//! (RFC 9000 sections 13.4.2 and A.4).

use crate::wire::frame::EcnCounts;

/// Packets that are marked before the peer has shown that marks arrive (RFC 9000 section 13.4.2).
const TEST_PACKETS: u32 = 10;

/// Why a path is not marked any more.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum EcnFailure {
    /// A marked packet was acknowledged without counts.
    Missing,
    /// A count fell.
    Decreased,
    /// The counts grew by less than the marked packets that were acknowledged.
    TooFew,
    /// More marks arrived than were sent, or marks that were never sent.
    TooMany,
    /// All of the first marked packets were lost.
    BlackHole,
    /// All of the first marked packets arrived marked as congested.
    AllCongested,
}

/// What is known of a path (RFC 9000 section A.4).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum EcnPhase {
    /// Not wanted, or the socket cannot.
    Off,
    /// The first packets are marked.
    Testing,
    /// Nothing is marked until the first packets are answered for.
    Unknown,
    /// Marks arrive and are reported.
    Capable,
    /// Marks do not arrive as they were sent.
    Failed(EcnFailure),
}

/// The state of one path.
#[derive(Clone, Debug)]
pub(crate) struct EcnState {
    phase: EcnPhase,
    sent: u32,
    lost: u32,
    acked: u64,
    congested: u64,
}

impl EcnState {
    /// A new path, to be tested when `wanted`.
    pub(crate) fn new(wanted: bool) -> EcnState {
        EcnState {
            phase: if wanted {
                EcnPhase::Testing
            } else {
                EcnPhase::Off
            },
            sent: 0,
            lost: 0,
            acked: 0,
            congested: 0,
        }
    }

    /// What is known.
    pub(crate) fn phase(&self) -> EcnPhase {
        self.phase
    }

    /// Whether the next packet is to be marked ECT(0).
    #[inline]
    pub(crate) fn marks(&self) -> bool {
        matches!(self.phase, EcnPhase::Testing | EcnPhase::Capable)
    }

    #[inline]
    pub(super) fn on_marked_sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
        if self.phase == EcnPhase::Testing && self.sent >= TEST_PACKETS {
            self.phase = EcnPhase::Unknown;
        }
    }

    /// A marked packet was lost. True when it was the last of the first, and none arrived.
    pub(super) fn on_marked_lost(&mut self) -> bool {
        self.lost = self.lost.saturating_add(1);
        let testing = matches!(self.phase, EcnPhase::Testing | EcnPhase::Unknown);
        // Everything marked is lost: that is what a device that drops marked packets looks like.
        // One lost packet is not evidence; the first probe time-out ends the test (below).
        let all = self.lost >= self.sent && (self.phase == EcnPhase::Unknown || self.lost > 2);
        if testing && self.acked == 0 && all {
            self.phase = EcnPhase::Failed(EcnFailure::BlackHole);
            return true;
        }
        false
    }

    /// A probe time-out, the `count`th in a row: from the second on probes go unmarked while
    /// nothing marked has been acknowledged, so that a device that drops marked packets costs two
    /// time-outs and not a handshake.
    pub(super) fn on_pto(&mut self, count: u32) {
        if self.phase == EcnPhase::Testing && self.acked == 0 && count >= 2 {
            self.phase = EcnPhase::Unknown;
        }
    }

    /// Counts of an acknowledgement were in order: `acked` marked packets, `congested` newly so.
    pub(super) fn on_valid(&mut self, acked: u64, congested: u64) -> bool {
        if acked == 0 {
            return false;
        }
        self.acked = self.acked.saturating_add(acked);
        self.congested = self.congested.saturating_add(congested);
        if !matches!(self.phase, EcnPhase::Testing | EcnPhase::Unknown) {
            return false;
        }
        if self.congested >= self.acked {
            // RFC 9000 section A.4: all marked as congested is a device that writes the field.
            if self.acked >= u64::from(TEST_PACKETS) {
                self.phase = EcnPhase::Failed(EcnFailure::AllCongested);
                return true;
            }
            return false;
        }
        self.phase = EcnPhase::Capable;
        true
    }

    pub(super) fn fail(&mut self, failure: EcnFailure) -> bool {
        if matches!(self.phase, EcnPhase::Off | EcnPhase::Failed(_)) {
            return false;
        }
        self.phase = EcnPhase::Failed(failure);
        true
    }
}

/// What the peer has told of one space, against what was sent in it.
#[derive(Clone, Debug, Default)]
pub(super) struct EcnSpace {
    told: EcnCounts,
    sent: u64,
}

impl EcnSpace {
    #[inline]
    pub(super) fn on_marked_sent(&mut self) {
        self.sent = self.sent.saturating_add(1);
    }

    /// Looks at the counts of an acknowledgement that raised the largest acknowledged number and
    /// newly acknowledged `marked` packets sent as ECT(0) (RFC 9000 section 13.4.2.1). The answer
    /// is how many packets were newly reported as congested.
    #[inline]
    pub(super) fn validate(
        &mut self,
        counts: Option<EcnCounts>,
        marked: u64,
    ) -> Result<u64, EcnFailure> {
        let Some(counts) = counts else {
            return if marked > 0 {
                Err(EcnFailure::Missing)
            } else {
                Ok(0)
            };
        };
        let told = std::mem::replace(&mut self.told, counts);
        let (Some(ect0), Some(_), Some(ce)) = (
            counts.ect0.checked_sub(told.ect0),
            counts.ect1.checked_sub(told.ect1),
            counts.ce.checked_sub(told.ce),
        ) else {
            return Err(EcnFailure::Decreased);
        };
        if ect0.saturating_add(ce) < marked {
            return Err(EcnFailure::TooFew);
        }
        // ECT(1) is never sent from here.
        if counts.ect1 > 0 || counts.ect0 > self.sent || counts.ce > self.sent {
            return Err(EcnFailure::TooMany);
        }
        Ok(ce)
    }
}
