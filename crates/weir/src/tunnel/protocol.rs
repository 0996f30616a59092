//! The wire of the tunnel's streams: what a stream asks for, and the answer. `docs/tunnel-protocol.md` is its
//! specification; this file is pure and does no I/O.
//!
//! Everything that is not payload travels in *units*: version, kind, length, body. A body is at most [`MAX_BODY`]
//! bytes, so that whoever reads a unit knows beforehand the most that it will hold.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, Bytes};

use super::destination::{
    Destination, DestinationError, Reader, read_destination, read_socket_addr, write_host_port,
};
use super::fields::{
    clean_text, read_text, read_varint, write_socket_addr, write_text, write_varint,
};

/// The version that this implementation speaks.
pub const VERSION: u8 = 1;

/// Bytes before a unit's body: version, kind, and the body's length in two bytes.
pub const UNIT_HEADER: usize = 4;

/// The most bytes in a unit's body. The largest that version 1 defines is a question with its length, which
/// may take all of it; of the others it is 260, and the rest is room for fields that later ones append.
pub const MAX_BODY: usize = 512;

/// The longest text in bytes: its length travels in one byte.
pub const MAX_TEXT: usize = 255;

/// The most notices that one side takes on one control stream. A well-behaved peer sends two.
pub const MAX_NOTICES: usize = 64;

/// Why bytes are not a unit, or a unit is not what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The version byte is another than [`VERSION`].
    #[error(
        "the peer speaks version {0} of the tunnel protocol, this side speaks version {VERSION}"
    )]
    Version(u8),
    /// The announced body is longer than [`MAX_BODY`].
    #[error("a unit of {0} bytes was announced, at most {MAX_BODY} are allowed")]
    TooLong(u16),
    /// The body ends before its fields do.
    #[error("a unit ends before its field `{0}`")]
    Truncated(&'static str),
    /// A destination or an address is malformed.
    #[error("bad address: {0}")]
    Address(#[from] DestinationError),
    /// The request is of a kind that this side does not know.
    #[error("unknown request kind {0}")]
    UnknownRequest(u8),
}

impl ProtocolError {
    /// The status that answers a request with this fault.
    pub fn status(&self) -> Status {
        match self {
            Self::Version(_) => Status::BadVersion,
            Self::UnknownRequest(_) => Status::Unsupported,
            _ => Status::Malformed,
        }
    }
}

/// One unit as it came off the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Request kind, status or notice kind, depending on where the unit stands.
    pub kind: u8,
    /// The body, at most [`MAX_BODY`] bytes.
    pub body: Vec<u8>,
}

impl Unit {
    /// Appends the unit to `out`. A body beyond [`MAX_BODY`] is cut, which no unit of this file reaches.
    fn write(kind: u8, body: &[u8], out: &mut Vec<u8>) {
        let body = body.get(..MAX_BODY).unwrap_or(body);
        let len = u16::try_from(body.len()).unwrap_or(0);
        out.extend_from_slice(&[VERSION, kind]);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(body);
    }
}

/// Reads units from bytes cut anywhere. It holds one unit at most, and takes not a byte beyond it, so what follows a
/// request stays in the caller's hands as payload.
#[derive(Debug, Default)]
pub struct UnitReader {
    header: [u8; UNIT_HEADER],
    have: usize,
    body: Vec<u8>,
}

impl UnitReader {
    /// Takes from the front of `input` what belongs to the current unit; `None` means that more is needed and
    /// `input` is used up. After an error nothing more can be read.
    pub fn push(&mut self, input: &mut Bytes) -> Result<Option<Unit>, ProtocolError> {
        while let Some(slot) = self.header.get_mut(self.have) {
            if !input.has_remaining() {
                return Ok(None);
            }
            *slot = input.get_u8();
            self.have = self.have.saturating_add(1);
            // A foreign protocol shows in its first byte: it is not waited for.
            let [version, ..] = self.header;
            if version != VERSION {
                return Err(ProtocolError::Version(version));
            }
        }
        let [_, kind, high, low] = self.header;
        let announced = u16::from_be_bytes([high, low]);
        let len = usize::from(announced);
        if len > MAX_BODY {
            return Err(ProtocolError::TooLong(announced));
        }
        let missing = len.saturating_sub(self.body.len());
        self.body
            .extend_from_slice(&input.split_to(missing.min(input.len())));
        if self.body.len() < len {
            return Ok(None);
        }
        self.have = 0;
        Ok(Some(Unit {
            kind,
            body: std::mem::take(&mut self.body),
        }))
    }

    /// Whether a unit has begun and is not whole.
    pub fn is_partial(&self) -> bool {
        self.have > 0
    }
}

/// What a side says of itself when the control stream opens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hello {
    /// Bits for what this side can do beyond version 1; none is defined yet, unknown ones are ignored.
    pub features: u32,
    /// Name and version of the implementation, for logs.
    pub agent: String,
}

/// What a stream asks for: the first unit from the side that opened it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// The control stream: greetings, then [`Notice`]s both ways. At most one a connection, from the side that dialled.
    Control(Hello),
    /// Connect to a destination and pass bytes.
    Connect(Destination),
    /// Listen for TCP connections at an address as long as this stream is open.
    Listen {
        /// Chosen by the asking side, unique among its listens on this connection.
        id: u32,
        /// Where to listen; port 0 lets the system choose.
        bind: SocketAddr,
    },
    /// From the listening side: a connection arrived at the listen `id`.
    Accepted {
        /// The listen's id.
        id: u32,
        /// Who connected.
        from: SocketAddr,
    },
    /// Pass UDP datagrams to and from a destination: a flow.
    Datagrams {
        /// The flow's number in the connection's datagrams, chosen by the asking side.
        flow: u64,
        /// Where the flow leads.
        to: Destination,
    },
    /// Listen for UDP datagrams at an address as long as this stream is open.
    ListenDatagrams {
        /// As in [`Request::Listen`]; both kinds of listens share the numbers.
        id: u32,
        /// Where to listen; port 0 lets the system choose.
        bind: SocketAddr,
    },
    /// From the listening side: somebody sent datagrams to the listen `id`, which are a flow of their own.
    DatagramsFrom {
        /// The listen's id.
        id: u32,
        /// The flow's number in the connection's datagrams, chosen by the asking side.
        flow: u64,
        /// Who sent them.
        from: SocketAddr,
    },
    /// Answer a question to the domain name system as the answering side sees the world; its answer is the payload.
    Resolve {
        /// The question as a message of RFC 1035 section 4.1, at most [`MAX_QUERY`] bytes.
        query: Vec<u8>,
    },
}

/// The longest question of a [`Request::Resolve`] in bytes: what a unit holds beside its length. A question is a name of
/// at most 255 bytes and few options.
pub const MAX_QUERY: usize = MAX_BODY - 2;

const CONTROL: u8 = 1;
const CONNECT: u8 = 2;
const LISTEN: u8 = 3;
const ACCEPTED: u8 = 4;
const DATAGRAMS: u8 = 5;
const LISTEN_DATAGRAMS: u8 = 6;
const DATAGRAMS_FROM: u8 = 7;
const RESOLVE: u8 = 8;

impl Request {
    /// Appends the request to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(32);
        let kind = match self {
            Self::Control(hello) => {
                hello.write(&mut body);
                CONTROL
            }
            Self::Connect(to) => {
                write_host_port(&mut body, &to.host, to.port);
                CONNECT
            }
            Self::Listen { id, bind } => {
                body.extend_from_slice(&id.to_be_bytes());
                write_socket_addr(&mut body, *bind);
                LISTEN
            }
            Self::Accepted { id, from } => {
                body.extend_from_slice(&id.to_be_bytes());
                write_socket_addr(&mut body, *from);
                ACCEPTED
            }
            Self::Datagrams { flow, to } => {
                write_varint(&mut body, *flow);
                write_host_port(&mut body, &to.host, to.port);
                DATAGRAMS
            }
            Self::ListenDatagrams { id, bind } => {
                body.extend_from_slice(&id.to_be_bytes());
                write_socket_addr(&mut body, *bind);
                LISTEN_DATAGRAMS
            }
            Self::DatagramsFrom { id, flow, from } => {
                body.extend_from_slice(&id.to_be_bytes());
                write_varint(&mut body, *flow);
                write_socket_addr(&mut body, *from);
                DATAGRAMS_FROM
            }
            Self::Resolve { query } => {
                let query = query.get(..MAX_QUERY).unwrap_or(query);
                let len = u16::try_from(query.len()).unwrap_or(0);
                body.extend_from_slice(&len.to_be_bytes());
                body.extend_from_slice(query);
                RESOLVE
            }
        };
        Unit::write(kind, &body, out);
    }

    /// Reads a request; bytes after the last known field are ignored (a later minor addition).
    pub fn read(unit: &Unit) -> Result<Self, ProtocolError> {
        let mut body = Reader(&unit.body);
        match unit.kind {
            CONTROL => Hello::read(&mut body).map(Self::Control),
            CONNECT => Ok(Self::Connect(read_destination(&mut body)?)),
            LISTEN => Ok(Self::Listen {
                id: read_id(&mut body)?,
                bind: read_socket_addr(&mut body)?,
            }),
            ACCEPTED => Ok(Self::Accepted {
                id: read_id(&mut body)?,
                from: read_socket_addr(&mut body)?,
            }),
            DATAGRAMS => Ok(Self::Datagrams {
                flow: read_flow(&mut body)?,
                to: read_destination(&mut body)?,
            }),
            LISTEN_DATAGRAMS => Ok(Self::ListenDatagrams {
                id: read_id(&mut body)?,
                bind: read_socket_addr(&mut body)?,
            }),
            DATAGRAMS_FROM => Ok(Self::DatagramsFrom {
                id: read_id(&mut body)?,
                flow: read_flow(&mut body)?,
                from: read_socket_addr(&mut body)?,
            }),
            RESOLVE => {
                let cut = ProtocolError::Truncated("query");
                let len = body.u16().ok_or(cut)?;
                let query = body.take(usize::from(len)).ok_or(cut)?.to_vec();
                Ok(Self::Resolve { query })
            }
            other => Err(ProtocolError::UnknownRequest(other)),
        }
    }
}

fn read_id(body: &mut Reader<'_>) -> Result<u32, ProtocolError> {
    body.u32().ok_or(ProtocolError::Truncated("id"))
}

fn read_flow(body: &mut Reader<'_>) -> Result<u64, ProtocolError> {
    read_varint(body).ok_or(ProtocolError::Truncated("flow"))
}

impl Hello {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.features.to_be_bytes());
        write_text(out, &self.agent);
    }

    fn read(body: &mut Reader<'_>) -> Result<Self, ProtocolError> {
        let features = body.u32().ok_or(ProtocolError::Truncated("features"))?;
        Ok(Self {
            features,
            agent: read_text(body, "agent")?,
        })
    }
}

/// How a request ended, in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Status {
    /// Granted; payload follows.
    Ok,
    /// A failure that has no number of its own, or one that this version does not know.
    Failed,
    /// The answering side's rules forbid it.
    NotAllowed,
    /// No route to the network.
    NetworkUnreachable,
    /// The network is there, the host is not.
    HostUnreachable,
    /// The destination refused the connection.
    Refused,
    /// The destination did not answer in time.
    TimedOut,
    /// The name leads to no address.
    NameNotFound,
    /// The request is of a kind that this side does not know or does not do.
    Unsupported,
    /// The request's version is unknown.
    BadVersion,
    /// The request breaks the protocol.
    Malformed,
    /// A limit is reached; try again later.
    TooMany,
    /// Somebody listens there already.
    AddressInUse,
    /// The answering side has no such address to listen at.
    AddressNotAvailable,
    /// The answering side is going away and takes nothing new.
    ShuttingDown,
    /// No listen of this id (the answer to [`Request::Accepted`]).
    UnknownListen,
}

/// Status, number on the wire, words.
const STATUSES: [(Status, u8, &str); 16] = [
    (Status::Ok, 0, "granted"),
    (Status::Failed, 1, "failed"),
    (Status::NotAllowed, 2, "not allowed"),
    (Status::NetworkUnreachable, 3, "network unreachable"),
    (Status::HostUnreachable, 4, "host unreachable"),
    (Status::Refused, 5, "connection refused"),
    (Status::TimedOut, 6, "timed out"),
    (Status::NameNotFound, 7, "name not found"),
    (Status::Unsupported, 8, "not supported"),
    (Status::BadVersion, 9, "unknown protocol version"),
    (Status::Malformed, 10, "malformed request"),
    (Status::TooMany, 11, "too many"),
    (Status::AddressInUse, 12, "address in use"),
    (Status::AddressNotAvailable, 13, "address not available"),
    (Status::ShuttingDown, 14, "shutting down"),
    (Status::UnknownListen, 15, "no such listen"),
];

impl Status {
    /// Every status with its number and words, in the order of the numbers.
    pub fn all() -> impl Iterator<Item = (Self, u8, &'static str)> {
        STATUSES.into_iter()
    }

    /// The number on the wire.
    pub fn code(self) -> u8 {
        STATUSES
            .iter()
            .find(|row| row.0 == self)
            .map_or(1, |row| row.1)
    }

    /// The status of a number; one that is unknown means [`Status::Failed`].
    pub fn from_code(code: u8) -> Self {
        STATUSES
            .iter()
            .find(|row| row.1 == code)
            .map_or(Self::Failed, |row| row.0)
    }

    /// What it means, in a few words.
    pub fn as_str(self) -> &'static str {
        STATUSES
            .iter()
            .find(|row| row.0 == self)
            .map_or("failed", |row| row.2)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that was not granted: a status other than [`Status::Ok`], and a reason for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of failure.
    pub status: Status,
    /// One line without control characters, at most [`MAX_TEXT`] bytes; may be empty.
    pub reason: String,
}

impl Refusal {
    /// A refusal; the reason is made one clean line and cut to [`MAX_TEXT`] bytes.
    pub fn new(status: Status, reason: impl AsRef<str>) -> Self {
        Self {
            status,
            reason: clean_text(reason.as_ref().as_bytes()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason.as_str() {
            "" => write!(f, "{}", self.status),
            reason => f.write_str(reason),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<ProtocolError> for Refusal {
    fn from(error: ProtocolError) -> Self {
        Self::new(error.status(), error.to_string())
    }
}

/// What a granted request brings back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Granted {
    /// For [`Request::Connect`] and [`Request::Accepted`]: payload follows.
    Open,
    /// For [`Request::Control`].
    Hello(Hello),
    /// For [`Request::Listen`] and [`Request::ListenDatagrams`]: the address that is bound, with its real port.
    Listening(SocketAddr),
    /// For [`Request::Datagrams`] and [`Request::DatagramsFrom`]: datagrams follow, and come from this address.
    Datagrams(SocketAddr),
}

/// The answer to a request: the first unit back.
pub type Answer = Result<Granted, Refusal>;

/// Appends an answer to `out`.
pub fn write_answer(answer: &Answer, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let status = match answer {
        Ok(Granted::Open) => Status::Ok,
        Ok(Granted::Hello(hello)) => {
            hello.write(&mut body);
            Status::Ok
        }
        Ok(Granted::Listening(address) | Granted::Datagrams(address)) => {
            write_socket_addr(&mut body, *address);
            Status::Ok
        }
        Err(refusal) => {
            write_text(&mut body, &refusal.reason);
            // Status 0 with a reason would be read as a grant.
            if refusal.status == Status::Ok {
                Status::Failed
            } else {
                refusal.status
            }
        }
    };
    Unit::write(status.code(), &body, out);
}

/// Reads a unit that can only be a refusal, such as the last one of a listen; `None` when it is none.
pub(super) fn read_refusal(unit: &Unit) -> Option<Refusal> {
    let status = Status::from_code(unit.kind);
    let reason = read_text(&mut Reader(&unit.body), "reason").unwrap_or_default();
    (status != Status::Ok).then_some(Refusal { status, reason })
}

/// Reads the answer to `request`. A grant that lacks its fields is an error; bytes after the last known field are
/// ignored, and so is a missing reason.
pub fn read_answer(request: &Request, unit: &Unit) -> Result<Answer, ProtocolError> {
    if let Some(refusal) = read_refusal(unit) {
        return Ok(Err(refusal));
    }
    let mut body = Reader(&unit.body);
    Ok(Ok(match request {
        Request::Connect(_) | Request::Accepted { .. } | Request::Resolve { .. } => Granted::Open,
        Request::Datagrams { .. } | Request::DatagramsFrom { .. } => {
            Granted::Datagrams(read_socket_addr(&mut body)?)
        }
        Request::Control(_) => Granted::Hello(Hello::read(&mut body)?),
        Request::Listen { .. } | Request::ListenDatagrams { .. } => {
            Granted::Listening(read_socket_addr(&mut body)?)
        }
    }))
}

/// What either side may say on the control stream after the greetings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// This side takes nothing new; what runs has `grace` to finish.
    Draining {
        /// Milliseconds on the wire, so at most 49 days.
        grace: Duration,
        /// Why, for logs.
        reason: String,
    },
    /// This side closes the connection as soon as the peer has ended its half of the control stream, or soon anyway.
    Closing {
        /// Why, for logs.
        reason: String,
    },
    /// A kind that this version does not know; ignored.
    Unknown(u8),
}

const DRAINING: u8 = 1;
const CLOSING: u8 = 2;

impl Notice {
    /// Appends the notice to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let kind = match self {
            Self::Draining { grace, reason } => {
                let millis = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
                body.extend_from_slice(&millis.to_be_bytes());
                write_text(&mut body, reason);
                DRAINING
            }
            Self::Closing { reason } => {
                write_text(&mut body, reason);
                CLOSING
            }
            Self::Unknown(kind) => *kind,
        };
        Unit::write(kind, &body, out);
    }

    /// Reads a notice; unknown kinds are no error.
    pub fn read(unit: &Unit) -> Result<Self, ProtocolError> {
        let mut body = Reader(&unit.body);
        match unit.kind {
            DRAINING => {
                let millis = body.u32().ok_or(ProtocolError::Truncated("grace"))?;
                let grace = Duration::from_millis(u64::from(millis));
                Ok(Self::Draining {
                    grace,
                    reason: read_text(&mut body, "reason")?,
                })
            }
            CLOSING => Ok(Self::Closing {
                reason: read_text(&mut body, "reason")?,
            }),
            other => Ok(Self::Unknown(other)),
        }
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
