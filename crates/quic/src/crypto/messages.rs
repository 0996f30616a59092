//! Which handshake messages may come at which level, and how long they may be.
//!
//! rustls does not know the level that bytes came at, and over TCP records would tell. So the
//! messages' headers are read here before rustls gets the bytes: a message never straddles two
//! levels, one at the wrong level is refused, and none makes TLS keep more than the limits say.

use rustls::AlertDescription;

use super::Level;
use super::alert::{alert, violation};
use crate::error::{TransportError, code};
use crate::limits::{MAX_CLIENT_HELLO, MAX_HANDSHAKE_MESSAGE};
use crate::wire::Side;

/// Handshake message types (RFC 8446 section 4).
mod kind {
    pub(super) const CLIENT_HELLO: u8 = 1;
    pub(super) const SERVER_HELLO: u8 = 2;
    pub(super) const NEW_SESSION_TICKET: u8 = 4;
    pub(super) const ENCRYPTED_EXTENSIONS: u8 = 8;
    pub(super) const CERTIFICATE: u8 = 11;
    pub(super) const CERTIFICATE_REQUEST: u8 = 13;
    pub(super) const CERTIFICATE_VERIFY: u8 = 15;
    pub(super) const FINISHED: u8 = 20;
    pub(super) const COMPRESSED_CERTIFICATE: u8 = 25;
}

/// Bytes of a message's type and length.
const HEADER_LEN: usize = 4;
/// Where the length of legacy_session_id stands in a ClientHello's body: behind the version and
/// the random (RFC 8446 section 4.1.2).
const SESSION_ID_AT: u32 = 34;

/// Reads message headers out of the bytes that one side receives.
#[derive(Debug)]
pub(super) struct Messages {
    side: Side,
    header: [u8; HEADER_LEN],
    /// Bytes of `header` that are there.
    have: usize,
    /// Bytes of the body that are there, of `len`.
    seen: u32,
    len: u32,
}

/// Some bytes of one message.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// How many.
    pub(super) bytes: usize,
    /// They are an EncryptedExtensions message's last.
    pub(super) ends_encrypted_extensions: bool,
}

impl Messages {
    /// Of the messages that `side` receives.
    pub(super) const fn new(side: Side) -> Messages {
        Messages {
            side,
            header: [0; HEADER_LEN],
            have: 0,
            seen: 0,
            len: 0,
        }
    }

    /// How much of `data`, which came at `level`, belongs to the message at its start. `data` is
    /// not empty.
    pub(super) fn next(&mut self, level: Level, data: &[u8]) -> Result<Piece, TransportError> {
        let mut used = 0;
        for &byte in data {
            let Some(slot) = self.header.get_mut(self.have) else {
                break;
            };
            *slot = byte;
            self.have += 1;
            used += 1;
            if self.have == 1 {
                self.check_kind(level)?;
            }
            if self.have == HEADER_LEN {
                self.check_length()?;
            }
        }
        let mut ends_encrypted_extensions = false;
        if self.have == HEADER_LEN {
            used += self.body(data.get(used..).unwrap_or_default())?;
            if self.seen == self.len {
                ends_encrypted_extensions = self.kind() == kind::ENCRYPTED_EXTENSIONS;
                *self = Messages::new(self.side);
            }
        }
        Ok(Piece {
            bytes: used,
            ends_encrypted_extensions,
        })
    }

    const fn kind(&self) -> u8 {
        let [kind, ..] = self.header;
        kind
    }

    /// How much of `data` belongs to the body.
    fn body(&mut self, data: &[u8]) -> Result<usize, TransportError> {
        let missing = usize::try_from(self.len - self.seen).unwrap_or(usize::MAX);
        let used = missing.min(data.len());
        if self.kind() == kind::CLIENT_HELLO && self.seen <= SESSION_ID_AT {
            let at = usize::try_from(SESSION_ID_AT - self.seen).unwrap_or(usize::MAX);
            // RFC 9001 section 8.4: the compatibility mode for middleboxes has no use here.
            if data.get(..used).and_then(|body| body.get(at)) > Some(&0) {
                return Err(violation("the ClientHello has a legacy_session_id"));
            }
        }
        // No more than `missing`, which came from a u32.
        self.seen += u32::try_from(used).unwrap_or(u32::MAX);
        Ok(used)
    }

    fn check_kind(&self, level: Level) -> Result<(), TransportError> {
        let kind = self.kind();
        let permitted = match (self.side, level) {
            (Side::Client, Level::Initial) => kind == kind::SERVER_HELLO,
            (Side::Client, Level::Handshake) => matches!(
                kind,
                kind::ENCRYPTED_EXTENSIONS
                    | kind::CERTIFICATE_REQUEST
                    | kind::CERTIFICATE
                    | kind::COMPRESSED_CERTIFICATE
                    | kind::CERTIFICATE_VERIFY
                    | kind::FINISHED
            ),
            (Side::Client, Level::OneRtt) => kind == kind::NEW_SESSION_TICKET,
            (Side::Server, Level::Initial) => kind == kind::CLIENT_HELLO,
            (Side::Server, Level::Handshake) => matches!(
                kind,
                kind::CERTIFICATE
                    | kind::COMPRESSED_CERTIFICATE
                    | kind::CERTIFICATE_VERIFY
                    | kind::FINISHED
            ),
            (Side::Server, Level::OneRtt) | (_, Level::ZeroRtt) => false,
        };
        if permitted {
            return Ok(());
        }
        if self.side.is_client() && level == Level::OneRtt && kind == kind::CERTIFICATE_REQUEST {
            // RFC 9001 section 4.4.
            return Err(violation(
                "the server asks for a certificate after the handshake",
            ));
        }
        // RFC 9001 section 6 for KeyUpdate; RFC 8446 section 4 for whatever else comes at a time
        // when it may not.
        Err(alert(
            AlertDescription::UnexpectedMessage,
            "a TLS message that may not come at this encryption level",
        ))
    }

    fn check_length(&mut self) -> Result<(), TransportError> {
        let [kind, high, middle, low] = self.header;
        self.len = u32::from_be_bytes([0, high, middle, low]);
        let most = match kind {
            kind::CLIENT_HELLO => MAX_CLIENT_HELLO,
            _ => MAX_HANDSHAKE_MESSAGE,
        };
        if self.len > most {
            return Err(TransportError::new(
                code::CRYPTO_BUFFER_EXCEEDED,
                format!("a TLS message of {} bytes; {most} are taken", self.len),
            )
            .in_frame(0x06));
        }
        Ok(())
    }
}
