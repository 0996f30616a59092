//! What a script's segments have in common: ports, and where counting begins.

/// The two ends of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The script itself: what it injects.
    Peer,
    /// The host that is under test.
    Host,
}

impl From {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Peer => Self::Host,
            Self::Host => Self::Peer,
        }
    }
}

/// A connection, as it shows on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) name: String,
    pub(crate) peer_port: u16,
    /// Not known before the host has shown it, where the host connects.
    pub(crate) host_port: Option<u16>,
    pub(crate) peer_isn: u32,
    /// Known from the host's first SYN on.
    pub(crate) host_isn: Option<u32>,
    /// The host's first timestamp, which counts as 0.
    pub(crate) timestamp_base: Option<u32>,
    /// The shift of the host's window, as its SYN said.
    pub(crate) host_shift: u8,
    /// The peer offered the option, too.
    pub(crate) peer_scales: bool,
    /// The right edge of the host's window, relative, where one was announced.
    pub(crate) edge: Option<i64>,
    /// The host reset the connection: its window no longer means anything.
    pub(crate) over: bool,
}

impl Flow {
    pub(crate) fn new(name: &str, peer_port: u16, host_port: Option<u16>, peer_isn: u32) -> Self {
        Self {
            name: name.to_owned(),
            peer_port,
            host_port,
            peer_isn,
            host_isn: None,
            timestamp_base: None,
            host_shift: 0,
            peer_scales: false,
            edge: None,
            over: false,
        }
    }

    /// Where the sequence numbers of `from` begin; 0 as long as it is not known.
    pub(crate) fn isn(&self, from: From) -> u32 {
        match from {
            From::Peer => self.peer_isn,
            From::Host => self.host_isn.unwrap_or(0),
        }
    }

    /// A sequence number of `from` as a script says it.
    pub(crate) fn relative(&self, from: From, wire: u32) -> i64 {
        let difference = wire.wrapping_sub(self.isn(from));
        i64::from(difference.cast_signed())
    }

    /// And the other way round.
    pub(crate) fn wire(&self, from: From, relative: i64) -> u32 {
        self.isn(from).wrapping_add(super::bytes::low32(relative))
    }

    /// Source and destination port of what `from` sends.
    pub(crate) fn ports(&self, from: From) -> (u16, u16) {
        let host = self.host_port.unwrap_or(0);
        match from {
            From::Peer => (self.peer_port, host),
            From::Host => (host, self.peer_port),
        }
    }
}

/// The byte that `from` has at an offset of its stream; byte 0 is the first behind the SYN. The
/// period is a prime, so that segments of no usual size look alike.
#[must_use]
pub(crate) fn pattern(from: From, offset: i64) -> u8 {
    let salt = match from {
        From::Peer => 3,
        From::Host => 101,
    };
    u8::try_from((offset + salt).rem_euclid(251)).unwrap_or(0)
}
