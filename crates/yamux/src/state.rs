//! The states of a stream and the one table that says how they follow each other.
//!
//! The names are the field's. A state is a summary: that a FIN, an ACK or a RST is still to be
//! sent is kept beside it, and the table moves when the frame goes out or comes in.

/// Where a stream stands, seen from this side.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// Made here, its SYN not sent yet.
    Init = 0,
    /// SYN sent, no ACK yet; data may flow both ways (Y14).
    SynSent = 1,
    /// SYN received, not acknowledged yet; data may flow both ways.
    SynReceived = 2,
    /// Acknowledged, open both ways.
    Established = 3,
    /// FIN sent; the peer may go on sending (Y35).
    LocalClose = 4,
    /// FIN received; this side may go on sending (Y35).
    RemoteClose = 5,
    /// FIN sent and received: the id means nothing any more (Y37).
    Closed = 6,
    /// Ended by RST from either side (Y38).
    Reset = 7,
}

/// What moves a stream from one state to another: a frame's flag, sent or received.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Trigger {
    /// Our SYN went out.
    SynSent = 0,
    /// Our ACK went out.
    AckSent = 1,
    /// The peer's ACK came.
    AckReceived = 2,
    /// Our FIN went out.
    FinSent = 3,
    /// The peer's FIN came.
    FinReceived = 4,
    /// Our RST went out, or was decided on.
    RstSent = 5,
    /// The peer's RST came.
    RstReceived = 6,
}

/// Every state, in the order of the table's rows.
pub const STATES: [State; 8] = [
    State::Init,
    State::SynSent,
    State::SynReceived,
    State::Established,
    State::LocalClose,
    State::RemoteClose,
    State::Closed,
    State::Reset,
];

/// Every trigger, in the order of the table's columns.
pub const TRIGGERS: [Trigger; 7] = [
    Trigger::SynSent,
    Trigger::AckSent,
    Trigger::AckReceived,
    Trigger::FinSent,
    Trigger::FinReceived,
    Trigger::RstSent,
    Trigger::RstReceived,
];

impl State {
    /// The state's name in traces.
    pub const fn name(self) -> &'static str {
        match self {
            State::Init => "Init",
            State::SynSent => "SYNSent",
            State::SynReceived => "SYNReceived",
            State::Established => "Established",
            State::LocalClose => "LocalClose",
            State::RemoteClose => "RemoteClose",
            State::Closed => "Closed",
            State::Reset => "Reset",
        }
    }

    /// Whether nothing more may be sent or taken: the id is forgotten.
    #[inline]
    pub const fn is_terminal(self) -> bool {
        matches!(self, State::Closed | State::Reset)
    }

    /// The state that follows, or `None` where the trigger cannot happen or says nothing new
    /// (an ACK after the first, a second FIN, anything after the end).
    ///
    /// A stream that was half-closed before it was acknowledged keeps its half-closed state: the
    /// ACK then changes the backlog only.
    #[inline]
    pub const fn next(self, trigger: Trigger) -> Option<State> {
        use State::{
            Closed, Established, Init, LocalClose, RemoteClose, Reset, SynReceived, SynSent,
        };
        use Trigger as T;
        match (self, trigger) {
            (Init, T::SynSent) => Some(SynSent),
            (SynSent, T::AckReceived) => Some(Established),
            (SynReceived, T::AckSent) => Some(Established),

            (SynSent | SynReceived | Established, T::FinSent) => Some(LocalClose),
            (SynSent | SynReceived | Established, T::FinReceived) => Some(RemoteClose),
            (RemoteClose, T::FinSent) | (LocalClose, T::FinReceived) => Some(Closed),

            (
                Init | SynSent | SynReceived | Established | LocalClose | RemoteClose,
                T::RstSent | T::RstReceived,
            ) => Some(Reset),

            (Init, _) | (SynSent | SynReceived | Established | LocalClose, _) => None,
            (RemoteClose | Closed | Reset, _) => None,
        }
    }
}

impl Trigger {
    /// The trigger's name in traces.
    pub const fn name(self) -> &'static str {
        match self {
            Trigger::SynSent => "SYN sent",
            Trigger::AckSent => "ACK sent",
            Trigger::AckReceived => "ACK received",
            Trigger::FinSent => "FIN sent",
            Trigger::FinReceived => "FIN received",
            Trigger::RstSent => "RST sent",
            Trigger::RstReceived => "RST received",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::State::*;
    use super::*;

    /// The whole table, row by row: state, then what follows each trigger.
    const TABLE: [(State, [Option<State>; 7]); 8] = [
        //             SYN sent, ACK sent, ACK rcvd, FIN sent, FIN rcvd, RST sent, RST rcvd
        (
            Init,
            [
                Some(SynSent),
                None,
                None,
                None,
                None,
                Some(Reset),
                Some(Reset),
            ],
        ),
        (
            SynSent,
            [
                None,
                None,
                Some(Established),
                Some(LocalClose),
                Some(RemoteClose),
                Some(Reset),
                Some(Reset),
            ],
        ),
        (
            SynReceived,
            [
                None,
                Some(Established),
                None,
                Some(LocalClose),
                Some(RemoteClose),
                Some(Reset),
                Some(Reset),
            ],
        ),
        (
            Established,
            [
                None,
                None,
                None,
                Some(LocalClose),
                Some(RemoteClose),
                Some(Reset),
                Some(Reset),
            ],
        ),
        (
            LocalClose,
            [
                None,
                None,
                None,
                None,
                Some(Closed),
                Some(Reset),
                Some(Reset),
            ],
        ),
        (
            RemoteClose,
            [
                None,
                None,
                None,
                Some(Closed),
                None,
                Some(Reset),
                Some(Reset),
            ],
        ),
        (Closed, [None; 7]),
        (Reset, [None; 7]),
    ];

    #[test]
    fn the_table_is_what_it_says() {
        // Y35, Y37, Y38, Y42
        for (row, (state, expected)) in TABLE.into_iter().enumerate() {
            assert_eq!(STATES[row], state);
            for (column, next) in expected.into_iter().enumerate() {
                let trigger = TRIGGERS[column];
                assert_eq!(
                    state.next(trigger),
                    next,
                    "{} + {}",
                    state.name(),
                    trigger.name()
                );
            }
        }
    }

    #[test]
    fn terminal_states_have_no_way_out() {
        for state in STATES {
            let stuck = TRIGGERS.iter().all(|t| state.next(*t).is_none());
            assert_eq!(stuck, state.is_terminal(), "{}", state.name());
        }
    }
}
