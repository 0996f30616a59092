//! RFC 9001 section 9.5: what opening does is the same for either Key Phase bit.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rustls::quic::Tag;
use rustls::{CipherSuite, Error};

use super::*;
use crate::crypto::secrets::{Secret, Secrets};
use crate::wire::Version;

/// A key that opens what ends in its name, and counts.
struct Counting {
    name: u8,
    opened: Arc<AtomicUsize>,
}

impl PacketKey for Counting {
    fn encrypt_in_place(&self, _: u64, _: &[u8], _: &mut [u8]) -> Result<Tag, Error> {
        Ok(Tag::from(&[self.name; 16][..]))
    }

    fn decrypt_in_place<'a>(
        &self,
        _: u64,
        _: &[u8],
        payload: &'a mut [u8],
    ) -> Result<&'a [u8], Error> {
        self.opened.fetch_add(1, Relaxed);
        match payload.split_last_chunk::<16>() {
            Some((plain, tag)) if *tag == [self.name; 16] => Ok(plain),
            _ => Err(Error::DecryptError),
        }
    }

    fn tag_len(&self) -> usize {
        16
    }

    fn confidentiality_limit(&self) -> u64 {
        1 << 23
    }

    fn integrity_limit(&self) -> u64 {
        1 << 52
    }
}

/// Keys of which those to receive with count; the names are the phases'.
fn phases(opened: &Arc<AtomicUsize>) -> Phases {
    let secret = Secret::new(&[1; 32]);
    let suite = CipherSuite::TLS13_AES_128_GCM_SHA256;
    let secrets = Secrets::new(Version::V1, suite, secret.clone(), secret).unwrap();
    let mut keys = secrets.keys().unwrap();
    keys.remote.packet = counting(0, opened);
    let usage = Usage {
        update_at: 1 << 22,
        urgent_at: 1 << 22,
        limit: 1 << 23,
    };
    let mut phases = Phases::new(keys, NextKeys::Own(secrets.next().unwrap()), usage);
    phases.next = Some(counting(1, opened));
    phases
}

fn counting(name: u8, opened: &Arc<AtomicUsize>) -> Box<dyn PacketKey> {
    let opened = Arc::clone(opened);
    Box::new(Counting { name, opened })
}

fn open(phases: &mut Phases, phase: u8, pn: u64, name: u8) -> Result<OpenedPhase, PhaseError> {
    let first = 0x40 | (phase & 1) << 2;
    let mut packet = [&[first, 0, 0][..], b"payload", &[name; 16]].concat();
    let header = Header { first, pn, len: 3 };
    phases.open(&mut packet, &header)
}

#[test]
fn each_packet_is_tried_with_one_key() {
    // Q40
    let opened = Arc::new(AtomicUsize::new(0));
    let mut phases = phases(&opened);
    let mut expected = 0;
    let mut forge = |phases: &mut Phases| {
        for bit in [0, 1] {
            for pn in [0, 4, 5, 6, 100] {
                let result = open(phases, bit, pn, 99);
                assert_eq!(result.unwrap_err(), PhaseError::Authentication);
                expected += 1;
                assert_eq!(opened.load(Relaxed), expected, "bit {bit}, packet {pn}");
            }
        }
    };
    // Before any packet; with one received; behind an update, with old keys and without the next
    // ones, then with those, answered, and without old keys.
    forge(&mut phases);
    open(&mut phases, 0, 3, 0).unwrap();
    opened.fetch_sub(1, Relaxed);
    forge(&mut phases);
    assert!(open(&mut phases, 1, 5, 1).unwrap().phase_changed);
    opened.fetch_sub(1, Relaxed);
    forge(&mut phases);
    phases.prepare();
    phases.next = Some(counting(2, &opened));
    forge(&mut phases);
    phases.answered = true;
    forge(&mut phases);
    phases.hold_until(Instant::ZERO);
    phases.on_timeout(Instant::ZERO);
    forge(&mut phases);
}

#[test]
fn no_key_is_made_while_a_packet_is_opened() {
    // Q40
    let opened = Arc::new(AtomicUsize::new(0));
    let mut phases = phases(&opened);
    assert!(phases.next.is_some());
    assert!(open(&mut phases, 1, 5, 1).unwrap().phase_changed);
    assert!(phases.next.is_none() && phases.send_key_phase == 0);
    phases.prepare();
    assert!(phases.next.is_some() && phases.send_key_phase == 1);
}

#[test]
fn without_the_next_keys_nothing_passes_for_the_next_phase() {
    // Q40, RFC 9001 6.3: the key that stands in for one that is not there opens nothing.
    let opened = Arc::new(AtomicUsize::new(0));
    let mut phases = phases(&opened);
    phases.next = None;
    assert_eq!(phases.choose(true, 9), Choice::StandIn);
    let result = open(&mut phases, 1, 9, 0);
    assert_eq!(result.unwrap_err(), PhaseError::Authentication);
    assert_eq!(opened.load(Relaxed), 1);
}
