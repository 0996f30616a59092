//! The certificate that carries a peer's identity through a TLS handshake: self-signed with a key
//! of its own, and the host key's signature over that key in an extension (libp2p TLS Handshake,
//! r0, "Peer Authentication").

use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use thiserror::Error;
use x509_parser::certificate::{TbsCertificate, X509Certificate};
use x509_parser::extensions::{ParsedExtension, X509Extension};
use x509_parser::prelude::FromDer;

use super::der;
use super::identity::{Identity, KeyError};
use super::limits::MAX_CERTIFICATE;
use super::peer_id::PeerId;
use super::public_key::{PublicKey, PublicKeyError, verify_with_spki};

/// The libp2p Public Key Extension.
const EXTENSION: [u64; 9] = [1, 3, 6, 1, 4, 1, 53594, 1, 1];
/// What the host key signs is this and the certificate's SubjectPublicKeyInfo.
const SIGNED_PREFIX: &[u8] = b"libp2p-tls-handshake:";

/// What is wrong with a peer's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The peer must send exactly one.
    #[error("the peer sent {0} certificates instead of one")]
    Count(usize),
    /// Not an X.509 certificate in DER, or one with fields that the specification forbids.
    #[error("the peer's certificate is malformed: {0}")]
    Malformed(&'static str),
    /// The certificate begins to be valid later than this machine's clock says.
    #[error("the peer's certificate is not valid yet: is the clock right here and there?")]
    NotValidYet,
    /// The certificate's validity is over by this machine's clock.
    #[error("the peer's certificate has expired: is the clock right here and there?")]
    Expired,
    /// The certificate is not signed by its own key.
    #[error("the peer's certificate is not signed by its own key")]
    SelfSignature,
    /// There is no libp2p Public Key Extension, so nothing says who the peer is.
    #[error("the peer's certificate has no libp2p extension: it does not say who the peer is")]
    NoIdentity,
    /// The host key's signature does not match: the peer claims to be somebody else.
    #[error("the peer's certificate is not signed by the identity that it claims")]
    IdentitySignature,
    /// The host key in the extension cannot be read.
    #[error("the peer's public key is not valid: {0}")]
    Key(#[from] PublicKeyError),
    /// A critical extension that this side does not understand.
    #[error("the peer's certificate has an unknown critical extension {0}")]
    CriticalExtension(String),
}

/// A fresh certificate for this identity, and the private key that belongs to it.
///
/// Its dates span 1975 to 4096: the certificate lives as long as the process, revocation is not its
/// business, and a peer with a wrong clock can be reached all the same.
pub(crate) fn generate(
    identity: &Identity,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), KeyError> {
    let failed = |_| KeyError::Crypto("make a certificate with");
    // P-256: small, quick, and known to every TLS library.
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![extension(identity, &key)?];
    let certificate = params.self_signed(&key).map_err(failed)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    Ok((certificate.der().clone(), key.into()))
}

fn extension(identity: &Identity, key: &KeyPair) -> Result<CustomExtension, KeyError> {
    let spki = rcgen::PublicKeyData::subject_public_key_info(key);
    let signature = identity.sign(&[SIGNED_PREFIX, &spki].concat())?;
    let signed_key = der::write_signed_key(&identity.public_key().to_protobuf(), &signature);
    Ok(CustomExtension::from_oid_content(&EXTENSION, signed_key))
}

/// What a certificate says that passed every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verified {
    /// Whose it is.
    pub(super) owner: PeerId,
    validity: Validity,
}

/// The first and the last second in which a certificate is valid, since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity(i64, i64);

impl Verified {
    /// What time does to a certificate.
    pub(super) fn check_validity(&self, now: UnixTime) -> Result<(), CertificateError> {
        self.validity.check(now)
    }
}

/// Checks a certificate by every rule of the specification, and says whose it is.
pub(super) fn verify(certificate: &[u8], now: UnixTime) -> Result<Verified, CertificateError> {
    let parsed = parse(certificate)?;
    let tbs = &parsed.tbs_certificate;
    let validity = Validity::of(tbs);
    validity.check(now)?;
    check_self_signature(certificate, &parsed)?;
    let (key, signature) = identity(tbs)?;
    if !key.verify(&[SIGNED_PREFIX, tbs.subject_pki.raw].concat(), signature) {
        return Err(CertificateError::IdentitySignature);
    }
    Ok(Verified {
        owner: PeerId::from_public_key(&key),
        validity,
    })
}

/// Whose certificate it is. Only for one that [`verify`] has accepted: nothing is checked here.
pub(super) fn owner(certificate: &[u8]) -> Result<PeerId, CertificateError> {
    let parsed = parse(certificate)?;
    let (key, _) = identity(&parsed.tbs_certificate)?;
    Ok(PeerId::from_public_key(&key))
}

/// The SubjectPublicKeyInfo of a certificate: the key that signs the handshake.
pub(super) fn public_key_info(certificate: &[u8]) -> Result<&[u8], CertificateError> {
    Ok(parse(certificate)?.tbs_certificate.subject_pki.raw)
}

pub(super) fn parse(certificate: &[u8]) -> Result<X509Certificate<'_>, CertificateError> {
    if certificate.len() > MAX_CERTIFICATE {
        return Err(CertificateError::Malformed("it is too long"));
    }
    let malformed = CertificateError::Malformed("it is not X.509");
    match X509Certificate::from_der(certificate) {
        Ok(([], parsed)) => Ok(parsed),
        _ => Err(malformed),
    }
}

impl Validity {
    pub(super) fn of(tbs: &TbsCertificate<'_>) -> Validity {
        let validity = &tbs.validity;
        Validity(
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        )
    }

    pub(super) fn check(self, now: UnixTime) -> Result<(), CertificateError> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match self {
            Validity(from, _) if now < from => Err(CertificateError::NotValidYet),
            Validity(_, to) if now > to => Err(CertificateError::Expired),
            Validity(..) => Ok(()),
        }
    }
}

fn check_self_signature(
    certificate: &[u8],
    parsed: &X509Certificate<'_>,
) -> Result<(), CertificateError> {
    // RFC 5280 4.1.1.2: the algorithm stands twice, and both must be the same.
    if parsed.signature_algorithm != parsed.tbs_certificate.signature {
        return Err(CertificateError::Malformed(
            "it names two signature algorithms",
        ));
    }
    let algorithm = der::signature_algorithm(certificate)
        .ok_or(CertificateError::Malformed("it is not X.509"))?;
    let tbs = parsed.tbs_certificate.as_ref();
    let signature = &parsed.signature_value;
    let spki = parsed.tbs_certificate.subject_pki.raw;
    if signature.unused_bits != 0 || !verify_with_spki(spki, algorithm, tbs, &signature.data) {
        return Err(CertificateError::SelfSignature);
    }
    Ok(())
}

/// The host key and its signature, out of the libp2p extension. Refuses what the specification says
/// must or may be refused among the other extensions and fields.
fn identity<'c>(tbs: &TbsCertificate<'c>) -> Result<(PublicKey, &'c [u8]), CertificateError> {
    if tbs.issuer_uid.is_some() || tbs.subject_uid.is_some() {
        return Err(CertificateError::Malformed("it has unique identifiers"));
    }
    let mut found = None;
    for extension in tbs.extensions() {
        let ours = extension.oid.iter().is_some_and(|oid| oid.eq(EXTENSION));
        if !ours {
            check_other_extension(extension)?;
        } else if found.replace(extension.value).is_some() {
            let twice = "it has the libp2p extension twice";
            return Err(CertificateError::Malformed(twice));
        }
    }
    let signed_key = found.ok_or(CertificateError::NoIdentity)?;
    let (key, signature) = der::read_signed_key(signed_key).ok_or(CertificateError::Malformed(
        "its libp2p extension is damaged",
    ))?;
    Ok((PublicKey::from_protobuf(key)?, signature))
}

fn check_other_extension(extension: &X509Extension<'_>) -> Result<(), CertificateError> {
    match extension.parsed_extension() {
        // RFC 8446 4.4.2.2: a key that signs the handshake must be allowed to.
        ParsedExtension::KeyUsage(usage) if !usage.digital_signature() => Err(
            CertificateError::Malformed("its key may not be used for signatures"),
        ),
        // Understood: they say nothing that matters to a certificate trusted for its identity
        // alone.
        ParsedExtension::KeyUsage(_)
        | ParsedExtension::BasicConstraints(_)
        | ParsedExtension::ExtendedKeyUsage(_) => Ok(()),
        _ if extension.critical => Err(CertificateError::CriticalExtension(
            extension.oid.to_string(),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "certificate_tests.rs"]
mod tests;
