//! The vectors of the specification, and certificates that break one rule each.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use data_encoding::HEXLOWER;
use proptest::prelude::*;
use rcgen::{KeyUsagePurpose, PublicKeyData, date_time_ymd};

use super::super::public_key::KeyType;
use super::*;

// libp2p TLS Handshake, "Test vectors".
const ED25519: &str = "\
    308201ae30820156a0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a1309\
    6c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936\
    303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301\
    313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132\
    721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37\
    e381569ea37c307a3078060a2b0601040183a25a0101046a3068042408011220a77f1d92fedb59dddaea5a1c\
    4abd1ac2fbde7d7b879ed364501809923d7c11b90440d90d2769db992d5e6195dbb08e706b6651e024fda6cf\
    b8846694a435519941cac215a8207792e42849cccc6cd8136c6e4bde92a58c5e08cfd4206eb5fe0bf909300a\
    06082a8648ce3d0403020346003043021f50f6b6c52711a881778718238f650c9fb48943ae6ee6d28427dc60\
    71ae55e702203625f116a7a454db9c56986c82a25682f7248ea1cb764d322ea983ed36a31b77";
const ECDSA: &str = "\
    308201f63082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a1309\
    6c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936\
    303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301\
    313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132\
    721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37\
    e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a\
    8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd3242178fd290f093a551cf75c97315\
    5de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f204473045\
    0220064ea8124774caf8f50e57f436aa62350ce652418c019df5d98a3ac666c9386a022100aa59d704a931b5\
    f72fb9222cb6cc51f954d04a4e2e5450f8805fe8918f71eaae300a06082a8648ce3d04030203470030440220\
    799395b0b6c1e940a7e4484705f610ab51ed376f19ff9d7c16757cfbf61b8d4302206205c03fbb0f95205c77\
    9be86581d3e31c01871ad5d1f3435bcf375cb0e5088a";
const SECP256K1: &str = "\
    308201ba3082015fa0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a1309\
    6c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936\
    303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301\
    313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132\
    721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37\
    e381569ea38184308181307f060a2b0601040183a25a01010471306f0425080212210206dc6968726765b820\
    f050263ececf7f71e4955892776c0970542efd689d2382044630440220145e15a991961f0d08cd15425bb95e\
    c93f6ffa03c5a385eedc34ecf464c7a8ab022026b3109b8a3f40ef833169777eb2aa337cfb6282f188de0666\
    d1bcec2a4690dd300a06082a8648ce3d0403020349003046022100e1a217eeef9ec9204b3f774a08b7084964\
    6b6a1e6b8b27f93dc00ed58545d9fe022100b00dafa549d0f03547878338c7b15e7502888f6d45db387e5ae6\
    b5d46899cef0";
const INVALID: &str = "\
    308201f73082019da0030201020204499602d2300a06082a8648ce3d040302302031123010060355040a1309\
    6c69627032702e696f310a300806035504051301313020170d3735303130313133303030305a180f34303936\
    303130313133303030305a302031123010060355040a13096c69627032702e696f310a300806035504051301\
    313059301306072a8648ce3d020106082a8648ce3d030107034200040c901d423c831ca85e27c73c263ba132\
    721bb9d7a84c4f0380b2a6756fd601331c8870234dec878504c174144fa4b14b66a651691606d8173e55bd37\
    e381569ea381c23081bf3081bc060a2b0601040183a25a01010481ad3081aa045f0803125b3059301306072a\
    8648ce3d020106082a8648ce3d03010703420004bf30511f909414ebdd3242178fd290f093a551cf75c97315\
    5de0bb5a96fedf6cb5d52da7563e794b512f66e60c7f55ba8a3acf3dd72a801980d205e8a1ad29f204473045\
    022100bb6e03577b7cc7a3cd1558df0da2b117dfdcc0399bc2504ebe7de6f65cade72802206de96e2a5be9b6\
    202adba24ee0362e490641ac45c240db71fe955f2c5cf8df6e300a06082a8648ce3d04030203480030450221\
    00e847f267f43717358f850355bdcabbefb2cfbf8a3c043b203a14788a092fe8db022027c1d04a2d41fd6b57\
    a7e8b3989e470325de4406e52e084e34a3fd56eef0d0df";

/// In the year 2026, when all of the vectors are valid.
const NOW: u64 = 1_790_000_000;

fn at(secs: u64) -> UnixTime {
    UnixTime::since_unix_epoch(std::time::Duration::from_secs(secs))
}

fn vector(hex: &str) -> Vec<u8> {
    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn check(certificate: &[u8]) -> Result<PeerId, CertificateError> {
    Ok(verify(certificate, at(NOW))?.owner)
}

/// A certificate for a new identity, after `change` had its way with the parameters and the signed
/// key.
fn made(change: impl FnOnce(&mut CertificateParams, &Identity, &KeyPair)) -> Vec<u8> {
    let identity = Identity::generate().unwrap();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = CertificateParams::default();
    params.custom_extensions = vec![extension(&identity, &key).unwrap()];
    change(&mut params, &identity, &key);
    params.self_signed(&key).unwrap().der().to_vec()
}

/// The libp2p extension with this content.
fn ours(content: Vec<u8>) -> Vec<CustomExtension> {
    vec![CustomExtension::from_oid_content(&EXTENSION, content)]
}

#[test]
fn the_vectors_say_who_they_are() {
    // Y60, Y62
    for (hex, id, key_type) in [
        (
            ED25519,
            "12D3KooWM6CgA9iBFZmcYAHA6A2qvbAxqfkmrYiRQuz3XEsk4Ksv",
            Some(KeyType::Ed25519),
        ),
        (
            ECDSA,
            "QmfXbAwNjJLXfesgztEHe8HwgVDCMMpZ9Eax1HYq6hn9uE",
            None,
        ),
        (
            SECP256K1,
            "16Uiu2HAkutTMoTzDw1tCvSRtu6YoixJwS46S1ZFxW8hSx9fWHiPs",
            Some(KeyType::Secp256k1),
        ),
    ] {
        let certificate = vector(hex);
        let found = check(&certificate).unwrap();
        assert_eq!(found.to_string(), id);
        assert_eq!(owner(&certificate), Ok(found));
        assert_eq!(found.public_key().map(|k| k.key_type()), key_type);
    }
    let forged = check(&vector(INVALID));
    assert_eq!(forged, Err(CertificateError::IdentitySignature));
}

#[test]
fn our_own_are_accepted_and_fresh() {
    let identity = Identity::generate().unwrap();
    let (first, _) = generate(&identity).unwrap();
    let (second, _) = generate(&identity).unwrap();
    assert_eq!(check(&first), Ok(identity.peer_id()));
    assert_eq!(check(&second), Ok(identity.peer_id()));
    assert_ne!(public_key_info(&first), public_key_info(&second));
    // Small enough that both sides' flights stay within the first segments of a connection.
    assert!(first.len() < 500, "{} bytes", first.len());
}

#[test]
fn validity_is_checked_to_the_second() {
    let (from, until) = (date_time_ymd(2026, 1, 1), date_time_ymd(2027, 1, 1));
    let certificate = made(|params, _, _| {
        params.not_before = from;
        params.not_after = until;
    });
    let (from, until) = (1_767_225_600, 1_798_761_600);
    let result = |secs| verify(&certificate, at(secs)).err();
    assert_eq!(result(from - 1), Some(CertificateError::NotValidYet));
    assert_eq!(result(from), None);
    assert_eq!(result(until), None);
    assert_eq!(result(until + 1), Some(CertificateError::Expired));
    assert_eq!(result(u64::MAX), Some(CertificateError::Expired));
}

#[test]
fn the_extension_must_be_there_once_and_whole() {
    let without = made(|params, _, _| params.custom_extensions.clear());
    assert_eq!(check(&without), Err(CertificateError::NoIdentity));

    let twice = made(|params, _, _| {
        let one = params.custom_extensions[0].clone();
        params.custom_extensions.push(one);
    });
    let refused = check(&twice).unwrap_err();
    assert!(
        matches!(refused, CertificateError::Malformed(_)),
        "{refused}"
    );

    let damaged = made(|params, _, _| params.custom_extensions = ours(vec![0x30, 0x01, 0x04]));
    let refused = check(&damaged).unwrap_err();
    assert!(
        matches!(refused, CertificateError::Malformed(_)),
        "{refused}"
    );

    let no_key = made(|params, _, _| {
        params.custom_extensions = ours(der::write_signed_key(b"key", b"signature"));
    });
    let refused = check(&no_key).unwrap_err();
    assert_eq!(refused, CertificateError::Key(PublicKeyError::Encoding));
}

#[test]
fn the_identity_must_have_signed_this_very_key() {
    // Y59, Y60
    // The extension of another certificate of the same identity: a replay.
    let replayed = made(|params, identity, _| {
        let other = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        params.custom_extensions = vec![extension(identity, &other).unwrap()];
    });
    assert_eq!(check(&replayed), Err(CertificateError::IdentitySignature));

    // Signed by another identity than the one that is claimed.
    let claimed = made(|params, _, key| {
        let (liar, victim) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let message = [SIGNED_PREFIX, &key.subject_public_key_info()].concat();
        let signature = liar.sign(&message).unwrap();
        let victim = victim.public_key().to_protobuf();
        params.custom_extensions = ours(der::write_signed_key(&victim, &signature));
    });
    assert_eq!(check(&claimed), Err(CertificateError::IdentitySignature));

    // Signed without the prefix, as another protocol might have it signed.
    let unprefixed = made(|params, identity, key| {
        let signature = identity.sign(&key.subject_public_key_info()).unwrap();
        let public = identity.public_key().to_protobuf();
        params.custom_extensions = ours(der::write_signed_key(&public, &signature));
    });
    assert_eq!(check(&unprefixed), Err(CertificateError::IdentitySignature));
}

#[test]
fn unknown_extensions_are_ignored_unless_critical() {
    let with = |critical| {
        made(|params, _, _| {
            let mut unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            unknown.set_criticality(critical);
            params.custom_extensions.push(unknown);
        })
    };
    assert!(check(&with(false)).is_ok());
    let refused = CertificateError::CriticalExtension("1.2.3.4".into());
    assert_eq!(check(&with(true)), Err(refused));

    let critical = made(|params, _, _| params.custom_extensions[0].set_criticality(true));
    assert!(check(&critical).is_ok());
}

#[test]
fn a_key_that_may_not_sign_is_refused() {
    let with = |usage| made(|params, _, _| params.key_usages = vec![usage]);
    assert!(check(&with(KeyUsagePurpose::DigitalSignature)).is_ok());
    let refused = check(&with(KeyUsagePurpose::KeyAgreement)).unwrap_err();
    assert!(
        matches!(refused, CertificateError::Malformed(_)),
        "{refused}"
    );
}

#[test]
fn the_certificate_must_be_signed_by_its_own_key() {
    let mut broken = made(|_, _, _| {});
    let last = broken.len() - 1;
    broken[last] ^= 1;
    assert_eq!(check(&broken), Err(CertificateError::SelfSignature));

    // Issued by somebody else's key, though the identity signed the right one.
    let identity = Identity::generate().unwrap();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let issuer_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let issuer = rcgen::Issuer::new(CertificateParams::default(), issuer_key);
    let mut params = CertificateParams::default();
    params.custom_extensions = vec![extension(&identity, &key).unwrap()];
    let issued = params.signed_by(&key, &issuer).unwrap();
    assert_eq!(check(issued.der()), Err(CertificateError::SelfSignature));
}

#[test]
fn trailing_or_missing_bytes_are_refused() {
    let good = vector(ED25519);
    let malformed = Err(CertificateError::Malformed("it is not X.509"));
    assert_eq!(check(&[&good[..], &[0]].concat()), malformed);
    for cut in 0..good.len() {
        assert_eq!(check(&good[..cut]), malformed);
    }
    let long = vec![0x30; MAX_CERTIFICATE + 1];
    assert_eq!(
        check(&long),
        Err(CertificateError::Malformed("it is too long"))
    );
}

/// Every ECDSA signature has a twin that is as valid, so changed bytes may make another valid
/// signature by luck; that two independent ones do is out of the question.
#[test]
fn a_certificate_of_one_key_is_not_accepted_with_another() {
    let certificate = vector(ECDSA);
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
    let other = KeyPair::try_from(document.unwrap().as_ref()).unwrap();
    let (ours, theirs) = (
        other.public_key_raw(),
        public_key_info(&certificate).unwrap(),
    );
    let key = &theirs[theirs.len() - ours.len()..];
    let at = certificate
        .windows(key.len())
        .position(|w| w == key)
        .unwrap();
    let mut swapped = certificate;
    swapped[at..at + ours.len()].copy_from_slice(ours);
    assert_eq!(check(&swapped), Err(CertificateError::SelfSignature));
}

fn any_valid() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(ED25519), Just(ECDSA), Just(SECP256K1)].prop_map(vector)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    // C1: hostile DER never panics, and no changed certificate is taken for somebody else's.
    #[test]
    fn changed_bytes_are_never_accepted(
        good in any_valid(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..8),
    ) {
        let mut bad = good.clone();
        for (at, xor) in changes {
            let at = at.index(bad.len());
            bad[at] ^= xor;
        }
        prop_assume!(bad != good);
        prop_assert!(check(&bad).is_err());
        let _ = (owner(&bad), public_key_info(&bad));
    }

    #[test]
    fn cut_grown_and_spliced_certificates_are_never_accepted(
        good in any_valid(),
        other in any_valid(),
        from in any::<prop::sample::Index>(),
        len in 0..64usize,
        insert in prop::collection::vec(any::<u8>(), 0..64),
        splice in any::<bool>(),
    ) {
        let from = from.index(good.len());
        let until = (from + len).min(good.len());
        let mut bad = good.clone();
        if splice {
            let part = other.get(from..until).unwrap_or_default().to_vec();
            bad.splice(from..until, part);
        } else {
            bad.splice(from..until, insert);
        }
        prop_assume!(bad != good);
        prop_assert!(check(&bad).is_err());
        let _ = (owner(&bad), public_key_info(&bad));
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(check(&bytes).is_err());
    }
}
