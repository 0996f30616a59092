//! RFC 9001 appendix A and RFC 9369 appendix A, through the functions that real packets take.

use std::collections::HashMap;

use rustls::CipherSuite;

use super::hex;
use crate::crypto::secrets::{Secret, Secrets};
use crate::crypto::{AeadLimits, Level, NextKeys, Protection, packet, retry};
use crate::wire::{ConnectionId, Side, Version};

/// The samples of one version.
struct Samples {
    version: Version,
    values: HashMap<&'static str, &'static str>,
}

impl Samples {
    fn text(&self, name: &str) -> &'static str {
        self.values[name]
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        hex(self.text(name))
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap()
    }

    fn protection(&self, side: Side) -> Protection {
        let dcid = ConnectionId::new(&self.bytes("dcid")).unwrap();
        Protection::new(side, self.version, &dcid, AeadLimits::default()).unwrap()
    }
}

/// The samples of both versions.
fn samples() -> [Samples; 2] {
    let of = |version, prefix| Samples {
        version,
        values: include_str!("../../../tests/vectors/packet-protection.txt")
            .lines()
            .filter_map(|line| line.strip_prefix(prefix)?.split_once(' '))
            .collect(),
    };
    [of(Version::V1, "v1."), of(Version::V2, "v2.")]
}

/// An Initial packet: seals as one side and compares with the sample, then opens the sample as the
/// other.
fn both_ways(samples: &Samples, sender: Side, packet: &str, payload: &str) {
    let of = |field| samples.bytes(&format!("{packet}.{field}"));
    let header = of("header");
    let mut payload = of(payload);
    if packet == "client_initial" {
        payload.resize(samples.number("client_initial.payload_length") as usize, 0);
    }
    let pn = samples.number(&format!("{packet}.packet_number"));
    let pn_len = usize::from(header[0] & 3) + 1;
    let pn_offset = header.len() - pn_len;

    let mut sealed = [&header[..], &payload, &[0; packet::TAG_LEN]].concat();
    samples
        .protection(sender)
        .seal(Level::Initial, &mut sealed, pn_offset, pn_len, pn)
        .unwrap();
    assert_eq!(sealed, of("packet"));

    let opened = samples
        .protection(sender.peer())
        .open(Level::Initial, &mut sealed, pn_offset, 0)
        .unwrap();
    assert_eq!(opened.pn, pn);
    assert_eq!(sealed[..header.len()], header);
    assert_eq!(sealed[opened.payload], payload);
}

#[test]
fn client_initial() {
    // Q26, Q27, Q21
    for samples in samples() {
        both_ways(&samples, Side::Client, "client_initial", "crypto_frame");
    }
}

#[test]
fn server_initial() {
    // Q26, Q27, Q21
    for samples in samples() {
        both_ways(&samples, Side::Server, "server_initial", "payload");
    }
}

#[test]
fn retry_tag() {
    // Q27, Q21, Q63
    for samples in samples() {
        let original = ConnectionId::new(&samples.bytes("retry.original_dcid")).unwrap();
        let packet = samples.bytes("retry.packet");
        let (rest, tag) = packet.split_last_chunk().unwrap();
        let made = retry::integrity_tag(samples.version, &original, rest);
        assert_eq!(made.as_ref(), Some(tag));
        assert!(retry::is_intact(samples.version, &original, &packet));
    }
}

#[test]
fn a_damaged_retry_is_found() {
    // Q63
    let [v1, v2] = samples();
    let original = ConnectionId::new(&v1.bytes("retry.original_dcid")).unwrap();
    let packet = v1.bytes("retry.packet");
    for at in 0..packet.len() {
        let mut damaged = packet.clone();
        damaged[at] ^= 0x20;
        assert!(!retry::is_intact(Version::V1, &original, &damaged), "{at}");
    }
    let other = ConnectionId::new(b"another").unwrap();
    assert!(!retry::is_intact(Version::V1, &other, &packet));
    assert!(!retry::is_intact(v2.version, &original, &packet));
    assert!(!retry::is_intact(Version(5), &original, &packet));
    assert!(!retry::is_intact(Version::V1, &original, &packet[..15]));
}

/// The ChaCha20 sample's keys: for both directions the same, as there is only one secret.
fn chacha20(samples: &Samples) -> Secrets {
    let secret = Secret::new(&samples.bytes("chacha20_short.secret"));
    let suite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    Secrets::new(samples.version, suite, secret.clone(), secret).unwrap()
}

#[test]
fn chacha20_short_header() {
    // Q27, Q21, Q29
    for samples in samples() {
        let secrets = chacha20(&samples);
        let mut protection = samples.protection(Side::Client);
        let next = NextKeys::Own(secrets.next().unwrap());
        protection.install_one_rtt(secrets.keys().unwrap(), next);
        protection.on_handshake_complete();

        let header = samples.bytes("chacha20_short.header");
        let plain = samples.bytes("chacha20_short.plaintext");
        let pn = samples.number("chacha20_short.packet_number");
        let mut packet = [&header[..], &plain, &[0; 16]].concat();
        protection
            .seal(Level::OneRtt, &mut packet, 1, 3, pn)
            .unwrap();
        assert_eq!(packet, samples.bytes("chacha20_short.packet"));

        let opened = protection.open(Level::OneRtt, &mut packet, 1, pn).unwrap();
        assert_eq!(opened.pn, pn);
        assert_eq!(packet[..4], header);
        assert_eq!(packet[opened.payload], plain);
    }
}

#[test]
fn the_secret_of_the_next_phase() {
    // Q27, Q21, RFC 9001 6.1
    for samples in samples() {
        let next = chacha20(&samples).next().unwrap();
        assert_eq!(next.local_bytes(), samples.bytes("chacha20_short.ku"));
    }
}
