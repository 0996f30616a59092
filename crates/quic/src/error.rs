//! Errors of the transport, as they travel in CONNECTION_CLOSE.

use std::borrow::Cow;
use std::fmt;

/// Error codes of RFC 9000 section 20.1 and of the extensions.
pub mod code {
    /// No error.
    pub const NO_ERROR: u64 = 0x00;
    /// The endpoint cannot go on.
    pub const INTERNAL_ERROR: u64 = 0x01;
    /// The server takes no more connections.
    pub const CONNECTION_REFUSED: u64 = 0x02;
    /// More data than was allowed.
    pub const FLOW_CONTROL_ERROR: u64 = 0x03;
    /// More streams than were allowed.
    pub const STREAM_LIMIT_ERROR: u64 = 0x04;
    /// A frame for a stream in a state that does not permit it.
    pub const STREAM_STATE_ERROR: u64 = 0x05;
    /// The final size changed, or data lies beyond it.
    pub const FINAL_SIZE_ERROR: u64 = 0x06;
    /// A frame that cannot be read.
    pub const FRAME_ENCODING_ERROR: u64 = 0x07;
    /// Transport parameters that cannot be read, or are not permitted.
    pub const TRANSPORT_PARAMETER_ERROR: u64 = 0x08;
    /// More connection IDs than were allowed.
    pub const CONNECTION_ID_LIMIT_ERROR: u64 = 0x09;
    /// What no other code says.
    pub const PROTOCOL_VIOLATION: u64 = 0x0a;
    /// A token in a client's Initial is not valid.
    pub const INVALID_TOKEN: u64 = 0x0b;
    /// The application closed during the handshake; its code is not told.
    pub const APPLICATION_ERROR: u64 = 0x0c;
    /// More CRYPTO data than can be buffered.
    pub const CRYPTO_BUFFER_EXCEEDED: u64 = 0x0d;
    /// A key update that is not permitted.
    pub const KEY_UPDATE_ERROR: u64 = 0x0e;
    /// The limit on forged or sealed packets of the cipher is reached.
    pub const AEAD_LIMIT_REACHED: u64 = 0x0f;
    /// No path is left.
    pub const NO_VIABLE_PATH: u64 = 0x10;
    /// Version negotiation went wrong (RFC 9368 section 10.2).
    pub const VERSION_NEGOTIATION_ERROR: u64 = 0x11;
    /// TLS alerts are 0x100 plus the alert (RFC 9001 section 4.8).
    pub const CRYPTO_ERROR: u64 = 0x100;

    /// The code's name in RFC 9000, "CRYPTO_ERROR" for all alerts, `None` when it has none.
    #[must_use]
    pub const fn name(code: u64) -> Option<&'static str> {
        Some(match code {
            NO_ERROR => "NO_ERROR",
            INTERNAL_ERROR => "INTERNAL_ERROR",
            CONNECTION_REFUSED => "CONNECTION_REFUSED",
            FLOW_CONTROL_ERROR => "FLOW_CONTROL_ERROR",
            STREAM_LIMIT_ERROR => "STREAM_LIMIT_ERROR",
            STREAM_STATE_ERROR => "STREAM_STATE_ERROR",
            FINAL_SIZE_ERROR => "FINAL_SIZE_ERROR",
            FRAME_ENCODING_ERROR => "FRAME_ENCODING_ERROR",
            TRANSPORT_PARAMETER_ERROR => "TRANSPORT_PARAMETER_ERROR",
            CONNECTION_ID_LIMIT_ERROR => "CONNECTION_ID_LIMIT_ERROR",
            PROTOCOL_VIOLATION => "PROTOCOL_VIOLATION",
            INVALID_TOKEN => "INVALID_TOKEN",
            APPLICATION_ERROR => "APPLICATION_ERROR",
            CRYPTO_BUFFER_EXCEEDED => "CRYPTO_BUFFER_EXCEEDED",
            KEY_UPDATE_ERROR => "KEY_UPDATE_ERROR",
            AEAD_LIMIT_REACHED => "AEAD_LIMIT_REACHED",
            NO_VIABLE_PATH => "NO_VIABLE_PATH",
            VERSION_NEGOTIATION_ERROR => "VERSION_NEGOTIATION_ERROR",
            CRYPTO_ERROR..=0x1ff => "CRYPTO_ERROR",
            _ => return None,
        })
    }
}

/// Why a connection has to end: what goes into a CONNECTION_CLOSE of type 0x1c (RFC 9000 19.19).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportError {
    /// One of [`code`].
    pub code: u64,
    /// The type of the frame at fault, 0 when none is.
    pub frame: u64,
    /// In words, for the person who reads the peer's log.
    pub reason: Cow<'static, str>,
}

impl TransportError {
    /// An error that no frame is named for.
    #[must_use]
    pub fn new(code: u64, reason: impl Into<Cow<'static, str>>) -> TransportError {
        TransportError {
            code,
            frame: 0,
            reason: reason.into(),
        }
    }

    /// Names the frame at fault by its type.
    #[must_use]
    pub fn in_frame(mut self, frame: u64) -> TransportError {
        self.frame = frame;
        self
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match code::name(self.code) {
            Some(name) => write!(f, "{name}: {}", self.reason),
            None => write!(f, "error {:#x}: {}", self.code, self.reason),
        }
    }
}

impl std::error::Error for TransportError {}
