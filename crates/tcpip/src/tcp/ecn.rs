//! Classic ECN of one connection (RFC 3168 section 6.1).

/// What was agreed, and what is to be said.
#[derive(Clone, Debug, Default)]
pub(super) struct EcnState {
    /// Our SYN asked for it (ECE and CWR).
    pub(super) asked: bool,
    /// Agreed by both.
    pub(super) is_on: bool,
    /// A CE mark arrived: ECE on every ACK until the peer says CWR (T130).
    pub(super) echo: bool,
    /// The window was reduced: CWR on the next new data (T131).
    pub(super) reduced: bool,
}
