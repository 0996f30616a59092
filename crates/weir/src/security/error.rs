//! What can go wrong while two peers make sure of each other, in words for a person.

use std::io;

use rustls::{AlertDescription, CertificateError as TlsCertificateError, Error as TlsError};
use thiserror::Error;

use super::certificate::CertificateError;
use super::identity::KeyError;
use super::key_log::KeyLogError;
use super::tls::PeerMismatch;

/// Why this side's security could not be set up, or a TLS handshake failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SecurityError {
    /// This side's own key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The log of TLS secrets that was asked for.
    #[error(transparent)]
    KeyLog(#[from] KeyLogError),
    /// Somebody else than the expected peer is there.
    #[error(transparent)]
    Mismatch(Box<PeerMismatch>),
    /// The peer's certificate breaks a rule.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The peer did not prove who it is.
    #[error("the peer sent no certificate, so nothing says who it is")]
    NoCertificate,
    /// The two sides have no application protocol in common.
    #[error("the peer speaks another protocol than this side (no common ALPN)")]
    NoCommonProtocol,
    /// The peer ended the handshake; the TLS alert says why.
    #[error("the peer refused the connection: {}", alert_in_words(*.0))]
    Refused(AlertDescription),
    /// What the peer sent is no TLS handshake.
    #[error("the other side does not speak TLS: is it a weir endpoint, and the right port?")]
    NotTls,
    /// The peer has no TLS 1.3, or nothing else in common with this side.
    #[error("the peer's TLS has nothing in common with this side's: {0:?}")]
    Incompatible(rustls::PeerIncompatible),
    /// The connection ended in the middle of the handshake.
    #[error("the peer closed the connection during the TLS handshake")]
    Ended,
    /// The network failed.
    #[error("the connection failed during the TLS handshake: {0}")]
    Io(#[source] io::Error),
    /// This side refused what the peer showed, where the library below tells it in words only.
    #[error("TLS handshake failed: {0}")]
    Fault(String),
    /// Any other error of the TLS library.
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] TlsError),
}

impl From<TlsError> for SecurityError {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::InvalidCertificate(TlsCertificateError::Other(other)) => {
                if let Some(mismatch) = other.0.downcast_ref::<PeerMismatch>() {
                    return SecurityError::Mismatch(Box::new(*mismatch));
                }
                match other.0.downcast_ref::<CertificateError>() {
                    Some(ours) => SecurityError::Certificate(ours.clone()),
                    None => SecurityError::Tls(TlsCertificateError::Other(other).into()),
                }
            }
            TlsError::NoCertificatesPresented => SecurityError::NoCertificate,
            TlsError::NoApplicationProtocol
            | TlsError::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                SecurityError::NoCommonProtocol
            }
            TlsError::AlertReceived(alert) => SecurityError::Refused(alert),
            TlsError::InvalidMessage(_) => SecurityError::NotTls,
            TlsError::PeerIncompatible(why) => SecurityError::Incompatible(why),
            other => SecurityError::Tls(other),
        }
    }
}

impl SecurityError {
    /// A handshake that ended in a TLS alert, of this side's making or of the peer's.
    pub(crate) fn from_alert(ours: bool, alert: u64, words: &str) -> SecurityError {
        let alert = AlertDescription::from(u8::try_from(alert).unwrap_or(u8::MAX));
        match (alert, ours) {
            (AlertDescription::NoApplicationProtocol, _) => SecurityError::NoCommonProtocol,
            (_, true) => SecurityError::Fault(words.to_owned()),
            (alert, false) => SecurityError::Refused(alert),
        }
    }
}

impl From<io::Error> for SecurityError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => SecurityError::Ended,
            _ => SecurityError::Io(error),
        }
    }
}

/// An alert as a sentence, where TLS's own name for it would not help.
pub(crate) fn alert_in_words(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::CertificateUnknown
        | AlertDescription::BadCertificate
        | AlertDescription::AccessDenied
        | AlertDescription::UnknownCA => "it does not accept this side's identity",
        AlertDescription::CertificateRequired => "it wants a certificate",
        AlertDescription::CertificateExpired => "it takes this side's certificate for expired",
        AlertDescription::UnsupportedCertificate => "it cannot read this side's certificate",
        AlertDescription::ProtocolVersion => "it has no TLS 1.3",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "its TLS has nothing in common with this side's"
        }
        AlertDescription::InternalError => "it failed by itself",
        other => return format!("TLS alert {other:?}"),
    };
    words.to_owned()
}
