//! From what TLS finds fault with to what CONNECTION_CLOSE says (RFC 9001 section 4.8).

use rustls::{AlertDescription, Error, PeerMisbehaved};

use crate::error::{TransportError, code};

/// The type of CRYPTO frames, which all faults of the handshake arrived in.
const CRYPTO_FRAME: u64 = 0x06;

/// A TLS alert of our own making.
pub(super) fn alert(description: AlertDescription, reason: &'static str) -> TransportError {
    TransportError::new(
        code::CRYPTO_ERROR + u64::from(u8::from(description)),
        reason,
    )
    .in_frame(CRYPTO_FRAME)
}

/// A fault in how the handshake's bytes were carried.
pub(super) fn violation(reason: &'static str) -> TransportError {
    TransportError::new(code::PROTOCOL_VIOLATION, reason).in_frame(CRYPTO_FRAME)
}

/// What rustls refused. `sent` is the alert that it would have sent, if it named one.
pub(super) fn from_tls(error: &Error, sent: Option<AlertDescription>) -> TransportError {
    if let Error::PeerMisbehaved(PeerMisbehaved::InvalidMaxEarlyDataSize) = error {
        // RFC 9001 section 4.6.1 names the transport's own code for this one.
        return violation("a ticket's max_early_data_size is neither absent nor 0xffffffff");
    }
    let description = sent.unwrap_or_else(|| describe(error));
    TransportError::new(
        code::CRYPTO_ERROR + u64::from(u8::from(description)),
        error.to_string(),
    )
    .in_frame(CRYPTO_FRAME)
}

/// The alert for errors that rustls leaves without one: those that end a TCP connection without a
/// word.
fn describe(error: &Error) -> AlertDescription {
    match error {
        Error::InvalidMessage(fault) => AlertDescription::from(*fault),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::PeerMisbehaved(PeerMisbehaved::EarlyDataExtensionWithoutResumption) => {
            AlertDescription::UnsupportedExtension
        }
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        Error::InvalidCertificate(fault) => AlertDescription::from(fault.clone()),
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::DecryptError => AlertDescription::DecryptError,
        _ => AlertDescription::InternalError,
    }
}
