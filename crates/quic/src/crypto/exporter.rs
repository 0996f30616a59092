//! Key material for the application (RFC 8446 section 7.5), when rustls' own state is gone.

use aws_lc_rs::{digest, hkdf};
use rustls::CipherSuite;
use zeroize::Zeroizing;

use super::secrets::{Secret, expand_label};

/// The exporter secret of a connection.
pub(super) struct Exporter {
    hash: &'static digest::Algorithm,
    hkdf: hkdf::Algorithm,
    secret: Secret,
}

impl Exporter {
    /// `None` for cipher suites that QUIC has no rules for.
    pub(super) fn new(suite: CipherSuite, secret: Secret) -> Option<Exporter> {
        let (hash, hkdf) = match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256 | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => {
                (&digest::SHA256, hkdf::HKDF_SHA256)
            }
            CipherSuite::TLS13_AES_256_GCM_SHA384 => (&digest::SHA384, hkdf::HKDF_SHA384),
            _ => return None,
        };
        Some(Exporter { hash, hkdf, secret })
    }

    /// Fills `out`. `None` when it is longer than 255 hashes, or the label than 249 bytes.
    pub(super) fn export(&self, out: &mut [u8], label: &[u8], context: &[u8]) -> Option<()> {
        let hash = |bytes| digest::digest(self.hash, bytes);
        let mut derived = Zeroizing::new(vec![0; self.hash.output_len()]);
        let of_nothing = hash(&[]);
        let of_nothing = of_nothing.as_ref();
        expand_label(self.hkdf, &self.secret, label, of_nothing, &mut derived)?;
        let derived = Secret::new(&derived);
        let of_context = hash(context);
        expand_label(self.hkdf, &derived, b"exporter", of_context.as_ref(), out)
    }
}
