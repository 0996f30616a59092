//! The certificates that servers show for their names. The WebPKI library of rustls follows six
//! authorities from a server's certificate up to a trusted one; private hierarchies, and the test
//! suites of QUIC, have more. The topmost of such a chain are checked here, until the library can go
//! the rest of the way.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::{DigitallySignedStruct, RootCertStore, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use super::certificate::{Validity, parse};
use super::der;
use super::error::SecurityError;
use super::public_key::verify_with_spki;
use super::tls::provider;

/// Authorities between a server and a trusted one that the library follows.
const FOLLOWED: usize = 6;
/// And that are followed with what is here.
const MOST: usize = 16;

/// Checks a server's certificate for its name (RFC 5280 section 6).
#[derive(Debug)]
pub(super) struct ServerVerifier {
    roots: Arc<RootCertStore>,
    webpki: Arc<WebPkiServerVerifier>,
}

impl ServerVerifier {
    /// # Errors
    /// There is no root.
    pub(super) fn new(roots: RootCertStore) -> Result<ServerVerifier, SecurityError> {
        let roots = Arc::new(roots);
        let webpki = webpki(Arc::clone(&roots))?;
        Ok(ServerVerifier { roots, webpki })
    }

    /// Checks those of `chain` that are too many for the library, from the trusted one down. What is
    /// found is the lowest of them, to be trusted in place of the roots, and those below it.
    fn shorten<'c, 'd>(
        &self,
        chain: &'c [CertificateDer<'d>],
        now: UnixTime,
    ) -> Option<(&'c CertificateDer<'d>, &'c [CertificateDer<'d>])> {
        let (below, above) = chain.split_at_checked(FOLLOWED)?;
        if above.is_empty() || chain.len() > MOST {
            return None;
        }
        let mut issuer: Option<X509Certificate<'_>> = None;
        for (depth, certificate) in chain.iter().enumerate().skip(FOLLOWED).rev() {
            let parsed = parse(certificate).ok()?;
            let signed = match &issuer {
                Some(issuer) => {
                    issuer.subject().as_raw() == parsed.issuer().as_raw()
                        && is_signed(certificate, &parsed, issuer.public_key().raw)
                }
                None => self
                    .roots
                    .roots
                    .iter()
                    .any(|root| vouches(root, certificate, &parsed)),
            };
            if !signed || !is_authority(&parsed, depth, now) {
                return None;
            }
            issuer = Some(parsed);
        }
        Some((above.first()?, below))
    }

    fn verify_long(
        &self,
        end_entity: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Option<ServerCertVerified> {
        let (lowest, below) = self.shorten(chain, now)?;
        let mut roots = RootCertStore::empty();
        roots.add(lowest.clone().into_owned()).ok()?;
        let verifier = webpki(Arc::new(roots)).ok()?;
        verifier
            .verify_server_cert(end_entity, below, name, &[], now)
            .ok()
    }
}

fn webpki(roots: Arc<RootCertStore>) -> Result<Arc<WebPkiServerVerifier>, SecurityError> {
    let builder = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider()));
    builder
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()).into())
}

/// Whether a root is the issuer. One that only speaks for some names is left to the library.
fn vouches(root: &TrustAnchor<'_>, certificate: &[u8], parsed: &X509Certificate<'_>) -> bool {
    root.name_constraints.is_none()
        && der::sequence(parsed.issuer().as_raw()) == Some(root.subject.as_ref())
        && is_signed(
            certificate,
            parsed,
            &der::to_sequence(&root.subject_public_key_info),
        )
}

fn is_signed(certificate: &[u8], parsed: &X509Certificate<'_>, issuer_spki: &[u8]) -> bool {
    // RFC 5280 4.1.1.2: the algorithm stands twice, and both must be the same.
    let is_one = parsed.signature_algorithm == parsed.tbs_certificate.signature;
    let signature = &parsed.signature_value;
    let algorithm =
        der::signature_algorithm(certificate).filter(|_| is_one && signature.unused_bits == 0);
    algorithm.is_some_and(|algorithm| {
        verify_with_spki(
            issuer_spki,
            algorithm,
            parsed.tbs_certificate.as_ref(),
            &signature.data,
        )
    })
}

/// Whether this may issue certificates with `depth` authorities below it (RFC 5280 section 6.1.4).
fn is_authority(parsed: &X509Certificate<'_>, depth: usize, now: UnixTime) -> bool {
    let tbs = &parsed.tbs_certificate;
    let mut may_issue = false;
    for extension in tbs.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(basic) => {
                let deep_enough = |most: u32| usize::try_from(most).is_ok_and(|most| depth <= most);
                may_issue = basic.ca && basic.path_len_constraint.is_none_or(deep_enough);
            }
            ParsedExtension::KeyUsage(usage) if !usage.key_cert_sign() => return false,
            ParsedExtension::ExtendedKeyUsage(usage) if !usage.any && !usage.server_auth => {
                return false;
            }
            ParsedExtension::KeyUsage(_) | ParsedExtension::ExtendedKeyUsage(_) => {}
            // Names that it may speak for would have to be kept for those below: not here.
            ParsedExtension::NameConstraints(_) => return false,
            _ if extension.critical => return false,
            _ => {}
        }
    }
    may_issue && Validity::of(tbs).check(now).is_ok()
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verifier: &dyn ServerCertVerifier = self.webpki.as_ref();
        let verified =
            verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.or_else(|error| {
            self.verify_long(end_entity, intermediates, server_name, now)
                .ok_or(error)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki
            .verify_tls12_signature(message, certificate, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki
            .verify_tls13_signature(message, certificate, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

#[cfg(test)]
#[path = "chain_tests.rs"]
mod tests;
