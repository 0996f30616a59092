#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rcgen::{GeneralSubtree, NameConstraints, date_time_ymd};

use super::*;

/// 2026-01-01, when the certificates below are good.
const NOW: u64 = 1_767_225_600;

/// A root, and a chain of `length` certificates below it, the server's first. `change` may change an
/// authority by its number, the topmost being 1.
fn chain(
    length: usize,
    change: impl Fn(usize, &mut CertificateParams),
) -> (RootCertStore, Vec<CertificateDer<'static>>) {
    let authority = |number: usize| {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, format!("authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        if number > 0 {
            change(number, &mut params);
        }
        (params, KeyPair::generate().unwrap())
    };
    let (params, key) = authority(0);
    let mut roots = RootCertStore::empty();
    roots
        .add(params.self_signed(&key).unwrap().der().clone())
        .unwrap();
    let mut issuer = Issuer::new(params, key);
    let mut made = Vec::new();
    for number in 1..length {
        let (params, key) = authority(number);
        made.insert(0, params.signed_by(&key, &issuer).unwrap().der().clone());
        issuer = Issuer::new(params, key);
    }
    let mut leaf = CertificateParams::new(vec!["server".to_owned()]).unwrap();
    leaf.not_before = date_time_ymd(2025, 1, 1);
    leaf.not_after = date_time_ymd(2027, 1, 1);
    let key = KeyPair::generate().unwrap();
    made.insert(0, leaf.signed_by(&key, &issuer).unwrap().der().clone());
    (roots, made)
}

fn verify_for(
    name: &str,
    (roots, chain): (RootCertStore, Vec<CertificateDer<'static>>),
) -> Result<(), rustls::Error> {
    let verifier = ServerVerifier::new(roots).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(NOW));
    verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], now)
        .map(drop)
}

fn verify(made: (RootCertStore, Vec<CertificateDer<'static>>)) -> Result<(), rustls::Error> {
    verify_for("server", made)
}

#[test]
fn chains_are_followed_however_long_they_are() {
    // RFC 5280 section 6.1
    for length in [1, 2, 7, 8, 9, 17] {
        assert_eq!(
            verify(chain(length, |_, _| {})),
            Ok(()),
            "{length} certificates"
        );
    }
}

#[test]
fn a_chain_has_an_end() {
    assert!(verify(chain(18, |_, _| {})).is_err());
}

#[test]
fn a_long_chain_for_another_name_is_refused() {
    assert!(verify_for("other", chain(9, |_, _| {})).is_err());
}

#[test]
fn a_long_chain_to_another_root_is_refused() {
    let (_, made) = chain(9, |_, _| {});
    let (roots, _) = chain(9, |_, _| {});
    assert!(verify((roots, made)).is_err());
}

#[test]
fn a_long_chain_with_a_gap_is_refused() {
    for gap in 1..9 {
        let (roots, mut made) = chain(10, |_, _| {});
        made.remove(gap);
        assert!(verify((roots, made)).is_err(), "without number {gap}");
    }
}

#[test]
fn every_authority_of_a_long_chain_has_to_be_one() {
    // RFC 5280 section 6.1.4 (k), (m), (n); section 6.1.3 (a) (2)
    let changes: [fn(&mut CertificateParams); 6] = [
        |params| params.is_ca = IsCa::ExplicitNoCa,
        |params| params.is_ca = IsCa::NoCa,
        |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
        |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
        |params| params.not_after = date_time_ymd(2025, 12, 31),
    ];
    for (at, change) in changes.iter().enumerate() {
        // Those that the library does not see.
        for number in [1, 2] {
            let made = chain(9, |other, params| {
                if other == number {
                    change(params);
                }
            });
            assert!(verify(made).is_err(), "change {at} of authority {number}");
        }
    }
}

#[test]
fn an_authority_may_limit_how_many_are_below_it() {
    // RFC 5280 section 4.2.1.9: authority 1 of a chain of 9 has 7 authorities below it.
    for (most, is_right) in [(7, true), (6, false)] {
        let made = chain(9, |number, params| {
            if number == 1 {
                params.is_ca = IsCa::Ca(BasicConstraints::Constrained(most));
            }
        });
        assert_eq!(verify(made).is_ok(), is_right, "at most {most}");
    }
}

#[test]
fn what_an_authority_may_speak_for_is_not_forgotten() {
    let made = chain(9, |number, params| {
        if number == 1 {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![GeneralSubtree::DnsName("elsewhere".to_owned())],
                excluded_subtrees: Vec::new(),
            });
        }
    });
    assert!(verify(made).is_err());
}
