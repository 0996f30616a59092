//! The states of a stream's two halves, and the tables that say how they follow each other
//! (RFC 9000 section 3, figures 2 and 3).

/// Where the sending half of a stream stands (RFC 9000 section 3.1).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum SendState {
    /// Nothing was sent yet.
    Ready,
    /// Data is being sent.
    Send,
    /// All was sent, the end too; not all of it is acknowledged.
    DataSent,
    /// RESET_STREAM was sent, or was decided on and goes out next.
    ResetSent,
    /// All was acknowledged. Terminal.
    DataRecvd,
    /// The RESET_STREAM was acknowledged. Terminal.
    ResetRecvd,
}

/// What moves a sending half.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum SendTrigger {
    /// STREAM or STREAM_DATA_BLOCKED went out.
    DataSent,
    /// The STREAM with the end went out.
    FinSent,
    /// RESET_STREAM was decided on.
    Reset,
    /// Everything was acknowledged, the end too.
    AllAcked,
    /// The RESET_STREAM was acknowledged.
    ResetAcked,
}

impl SendTrigger {
    /// The trigger's name in traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SendTrigger::DataSent => "data sent",
            SendTrigger::FinSent => "end sent",
            SendTrigger::Reset => "reset",
            SendTrigger::AllAcked => "all acknowledged",
            SendTrigger::ResetAcked => "reset acknowledged",
        }
    }
}

/// Where the receiving half of a stream stands (RFC 9000 section 3.2).
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecvState {
    /// Data comes in.
    Recv,
    /// The final size is known; some data is missing.
    SizeKnown,
    /// All data is here.
    DataRecvd,
    /// RESET_STREAM came.
    ResetRecvd,
    /// The application has all data, or wants none. Terminal.
    DataRead,
    /// The application knows of the reset. Terminal.
    ResetRead,
}

/// What moves a receiving half.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecvTrigger {
    /// The STREAM with the end came.
    FinReceived,
    /// The last missing data came.
    AllReceived,
    /// RESET_STREAM came.
    ResetReceived,
    /// The application took the last byte, or the reset, or does not want them.
    Read,
}

impl RecvTrigger {
    /// The trigger's name in traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RecvTrigger::FinReceived => "end received",
            RecvTrigger::AllReceived => "all received",
            RecvTrigger::ResetReceived => "reset received",
            RecvTrigger::Read => "read",
        }
    }
}

impl SendState {
    /// The state that follows, or `None` where the trigger says nothing new.
    #[must_use]
    pub const fn next(self, trigger: SendTrigger) -> Option<SendState> {
        use SendState as S;
        use SendTrigger as T;
        match (self, trigger) {
            (S::Ready, T::DataSent) => Some(S::Send),
            (S::Ready | S::Send, T::FinSent) => Some(S::DataSent),
            (S::Ready | S::Send | S::DataSent, T::Reset) => Some(S::ResetSent),
            (S::DataSent, T::AllAcked) => Some(S::DataRecvd),
            (S::ResetSent, T::ResetAcked) => Some(S::ResetRecvd),
            _ => None,
        }
    }

    /// Whether nothing more will be sent, not even again.
    #[inline]
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, SendState::DataRecvd | SendState::ResetRecvd)
    }

    /// Whether it was reset, by either side's wish.
    #[inline]
    #[must_use]
    pub const fn is_reset(self) -> bool {
        matches!(self, SendState::ResetSent | SendState::ResetRecvd)
    }

    /// The state's name in traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            SendState::Ready => "ready",
            SendState::Send => "send",
            SendState::DataSent => "data_sent",
            SendState::ResetSent => "reset_sent",
            SendState::DataRecvd => "data_received",
            SendState::ResetRecvd => "reset_received",
        }
    }
}

impl RecvState {
    /// The state that follows, or `None` where the trigger says nothing new. A reset that comes when
    /// all data is here changes nothing (section 3.2 leaves the choice).
    #[must_use]
    pub const fn next(self, trigger: RecvTrigger) -> Option<RecvState> {
        use RecvState as S;
        use RecvTrigger as T;
        match (self, trigger) {
            (S::Recv, T::FinReceived) => Some(S::SizeKnown),
            (S::SizeKnown, T::AllReceived) => Some(S::DataRecvd),
            (S::Recv | S::SizeKnown, T::ResetReceived) => Some(S::ResetRecvd),
            (S::DataRecvd, T::Read) => Some(S::DataRead),
            (S::ResetRecvd, T::Read) => Some(S::ResetRead),
            _ => None,
        }
    }

    /// Whether data is still to be expected.
    #[inline]
    #[must_use]
    pub const fn is_receiving(self) -> bool {
        matches!(self, RecvState::Recv | RecvState::SizeKnown)
    }

    /// Whether it was reset by the peer.
    #[inline]
    #[must_use]
    pub const fn is_reset(self) -> bool {
        matches!(self, RecvState::ResetRecvd | RecvState::ResetRead)
    }

    /// The state's name in traces.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RecvState::Recv => "receive",
            RecvState::SizeKnown => "size_known",
            RecvState::DataRecvd => "data_received",
            RecvState::ResetRecvd => "reset_received",
            RecvState::DataRead => "data_read",
            RecvState::ResetRead => "reset_read",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{RecvState, RecvTrigger, SendState, SendTrigger};

    // Q77, RFC 9000 3.1: the whole table, row by row.
    #[test]
    fn the_sending_half_moves_as_figure_2_says() {
        use SendState::{DataRecvd, DataSent, Ready, ResetRecvd, ResetSent, Send};
        use SendTrigger as T;
        let triggers = [
            T::DataSent,
            T::FinSent,
            T::Reset,
            T::AllAcked,
            T::ResetAcked,
        ];
        let table = [
            (
                Ready,
                [Some(Send), Some(DataSent), Some(ResetSent), None, None],
            ),
            (Send, [None, Some(DataSent), Some(ResetSent), None, None]),
            (
                DataSent,
                [None, None, Some(ResetSent), Some(DataRecvd), None],
            ),
            (ResetSent, [None, None, None, None, Some(ResetRecvd)]),
            (DataRecvd, [None; 5]),
            (ResetRecvd, [None; 5]),
        ];
        for (state, row) in table {
            for (trigger, next) in triggers.into_iter().zip(row) {
                assert_eq!(state.next(trigger), next, "{state:?} + {trigger:?}");
            }
            assert_eq!(state.is_terminal(), row == [None; 5]);
        }
    }

    // Q77, RFC 9000 3.2
    #[test]
    fn the_receiving_half_moves_as_figure_3_says() {
        use RecvState::{DataRead, DataRecvd, Recv, ResetRead, ResetRecvd, SizeKnown};
        use RecvTrigger as T;
        let triggers = [T::FinReceived, T::AllReceived, T::ResetReceived, T::Read];
        let table = [
            (Recv, [Some(SizeKnown), None, Some(ResetRecvd), None]),
            (SizeKnown, [None, Some(DataRecvd), Some(ResetRecvd), None]),
            (DataRecvd, [None, None, None, Some(DataRead)]),
            (ResetRecvd, [None, None, None, Some(ResetRead)]),
            (DataRead, [None; 4]),
            (ResetRead, [None; 4]),
        ];
        for (state, row) in table {
            for (trigger, next) in triggers.into_iter().zip(row) {
                assert_eq!(state.next(trigger), next, "{state:?} + {trigger:?}");
            }
        }
    }
}
