//! The states of BBR and how fast each sends (draft-ietf-ccwg-bbr section 5.6.1, the table).

/// What the sender is doing.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Doubles the rate each round until the pipe is full.
    Startup,
    /// Lets the queue that made run off.
    Drain,
    /// Sends a little slower than the path delivers, so that its queue runs off.
    ProbeBwDown,
    /// Sends as the path delivers.
    ProbeBwCruise,
    /// Fills the pipe before probing, so that the probe measures the path and not the refilling.
    ProbeBwRefill,
    /// Sends faster than the path delivered so far.
    ProbeBwUp,
    /// Sends little, to see the round trip without a queue.
    ProbeRtt,
}

impl State {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            State::Startup => "startup",
            State::Drain => "drain",
            State::ProbeBwDown => "probe_bw_down",
            State::ProbeBwCruise => "probe_bw_cruise",
            State::ProbeBwRefill => "probe_bw_refill",
            State::ProbeBwUp => "probe_bw_up",
            State::ProbeRtt => "probe_rtt",
        }
    }

    /// BBR.pacing_gain in percent.
    pub(super) const fn pacing_gain(self) -> u64 {
        match self {
            // 4 ln 2: the least with which the rate can double in a round.
            State::Startup => 277,
            State::Drain => 50,
            State::ProbeBwDown => 90,
            State::ProbeBwCruise | State::ProbeBwRefill | State::ProbeRtt => 100,
            State::ProbeBwUp => 125,
        }
    }

    /// BBR.cwnd_gain in percent.
    pub(super) const fn cwnd_gain(self) -> u64 {
        match self {
            State::ProbeRtt => 50,
            State::ProbeBwUp => 225,
            _ => 200,
        }
    }

    /// IsInAProbeBWState().
    pub(super) const fn is_probe_bw(self) -> bool {
        matches!(
            self,
            State::ProbeBwDown | State::ProbeBwCruise | State::ProbeBwRefill | State::ProbeBwUp
        )
    }

    /// IsProbingBW(): it sends more on purpose, so losses are no news about the path's present.
    pub(super) const fn is_probing_bw(self) -> bool {
        matches!(
            self,
            State::Startup | State::ProbeBwRefill | State::ProbeBwUp
        )
    }
}

/// What the acknowledgements that arrive now are about (BBR.ack_phase).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum AckPhase {
    /// No probe.
    Init,
    /// The refilling before one.
    Refilling,
    /// A probe has begun; its acknowledgements are a round trip away.
    ProbeStarting,
    /// They arrive.
    ProbeFeedback,
    /// The probe has ended; its last acknowledgements arrive.
    ProbeStopping,
}
