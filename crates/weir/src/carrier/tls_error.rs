//! What ends a TLS connection after its handshake.

use std::io;

use rustls::AlertDescription;
use thiserror::Error;

use crate::security::alert_in_words;

/// Why a TLS connection broke.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    /// The peer ended it with this alert.
    #[error("the peer ended the TLS connection: {}", alert_in_words(*.0))]
    Alert(AlertDescription),
    /// RFC 8446 6.1: without close_notify nobody knows whether all bytes have come.
    #[error("the connection ended without TLS close_notify: bytes may be missing")]
    Truncated,
    /// A record longer than any may be.
    #[error("the peer sent a TLS record longer than allowed")]
    Oversized,
    /// Something that has no place here.
    #[error("the peer sent what TLS does not allow here: {0}")]
    Unexpected(&'static str),
    /// Something that cannot be read.
    #[error("the peer sent a malformed TLS message: {0}")]
    Decode(&'static str),
    /// A value that is not allowed.
    #[error("the peer sent an illegal TLS value: {0}")]
    Illegal(&'static str),
    /// A record that was not sealed with the peer's key: damaged on the way, or forged.
    #[error("a TLS record was damaged or forged on the way")]
    Forged,
    /// Any other error of the TLS library.
    #[error("TLS failed: {0}")]
    Library(#[source] rustls::Error),
}

impl TlsError {
    /// The alert by which the peer learns of it; none answers an alert or an end.
    pub(super) fn alert(&self) -> Option<AlertDescription> {
        match self {
            TlsError::Alert(_) | TlsError::Truncated => None,
            TlsError::Oversized => Some(AlertDescription::RecordOverflow),
            TlsError::Unexpected(_) => Some(AlertDescription::UnexpectedMessage),
            TlsError::Decode(_) => Some(AlertDescription::DecodeError),
            TlsError::Illegal(_) => Some(AlertDescription::IllegalParameter),
            TlsError::Forged => Some(AlertDescription::BadRecordMac),
            TlsError::Library(_) => Some(AlertDescription::InternalError),
        }
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            TlsError::Alert(_) => io::ErrorKind::ConnectionAborted,
            TlsError::Truncated => io::ErrorKind::UnexpectedEof,
            TlsError::Library(_) => io::ErrorKind::Other,
            _ => io::ErrorKind::InvalidData,
        }
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        match error {
            rustls::Error::DecryptError => TlsError::Forged,
            rustls::Error::PeerSentOversizedRecord => TlsError::Oversized,
            rustls::Error::PeerMisbehaved(_) => TlsError::Unexpected("a malformed record"),
            other => TlsError::Library(other),
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        io::Error::new(error.kind(), error)
    }
}
