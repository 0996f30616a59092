//! Certificates whose signatures were verified before. Peers dial again and again with the one
//! certificate of their process: its two signatures, which are most of what a handshake between
//! peers costs, need to be looked at once only. That the peer has the certificate's key is proven
//! in every handshake anew, and the dates are compared each time.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::UnixTime;

use super::certificate::{self, CertificateError, Verified};
use super::limits::MAX_KNOWN;

/// SHA-256 of a certificate: two with the same one are the same certificate.
type Fingerprint = [u8; 32];

/// A table without chains: a newcomer takes the place that its fingerprint names, so strangers with
/// any number of certificates cost others a verification and never memory.
pub(super) struct Known(Mutex<Box<[Place]>>);

type Place = Option<(Fingerprint, Verified)>;

impl Default for Known {
    fn default() -> Self {
        let empty = std::iter::repeat_with(|| None).take(MAX_KNOWN);
        Known(Mutex::new(empty.collect()))
    }
}

impl Known {
    /// As [`certificate::verify`], without the signatures of a certificate that passed before.
    pub(super) fn verify(
        &self,
        certificate: &[u8],
        now: UnixTime,
    ) -> Result<Verified, CertificateError> {
        let hash = digest(&SHA256, certificate);
        let Ok(fingerprint) = Fingerprint::try_from(hash.as_ref()) else {
            return certificate::verify(certificate, now);
        };
        let [first, second, ..] = fingerprint;
        let place = usize::from(u16::from_be_bytes([first, second])) % MAX_KNOWN;
        if let Some(known) = self.at(place, &fingerprint) {
            known.check_validity(now)?;
            return Ok(known);
        }
        let verified = certificate::verify(certificate, now)?;
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = table.get_mut(place) {
            *entry = Some((fingerprint, verified));
        }
        Ok(verified)
    }

    fn at(&self, place: usize, fingerprint: &Fingerprint) -> Option<Verified> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, verified) = table.get(place)?.as_ref()?;
        (known == fingerprint).then_some(*verified)
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::Identity;
    use super::*;
    use std::time::Duration;

    fn at(secs: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(secs))
    }

    fn held(known: &Known) -> usize {
        known.0.lock().unwrap().iter().flatten().count()
    }

    #[test]
    fn a_certificate_is_known_by_all_of_its_bytes() {
        let known = Known::default();
        let identity = Identity::generate().unwrap();
        let (certificate, _) = certificate::generate(&identity).unwrap();
        let now = at(1_790_000_000);
        for _ in 0..2 {
            let verified = known.verify(&certificate, now).unwrap();
            assert_eq!(verified.owner, identity.peer_id());
            assert_eq!(held(&known), 1);
        }
        // The signature's last byte: nothing else tells the two apart.
        let mut forged = certificate.to_vec();
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(
            known.verify(&forged, now),
            Err(CertificateError::SelfSignature)
        );
        assert_eq!(held(&known), 1);
    }

    #[test]
    fn a_known_certificate_expires_all_the_same() {
        let known = Known::default();
        let (certificate, _) = certificate::generate(&Identity::generate().unwrap()).unwrap();
        known.verify(&certificate, at(1_790_000_000)).unwrap();
        assert_eq!(
            known.verify(&certificate, at(1 << 40)),
            Err(CertificateError::Expired)
        );
        assert_eq!(
            known.verify(&certificate, at(0)),
            Err(CertificateError::NotValidYet)
        );
    }

    #[test]
    fn strangers_take_each_others_places() {
        // MAX_KNOWN: the table is as long as it was made.
        let known = Known::default();
        let identity = Identity::generate().unwrap();
        for _ in 0..MAX_KNOWN + 50 {
            let (certificate, _) = certificate::generate(&identity).unwrap();
            known.verify(&certificate, at(1_790_000_000)).unwrap();
        }
        assert!((MAX_KNOWN / 3..=MAX_KNOWN).contains(&held(&known)));
        assert_eq!(known.0.lock().unwrap().len(), MAX_KNOWN);
    }
}
