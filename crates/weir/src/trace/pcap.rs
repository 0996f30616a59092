//! A capture without a capture device: the bytes of connections as TCP segments in pcapng, with the TLS
//! secrets inside, so that Wireshark decrypts them without another file.
//!
//! The segments are made up: each write and each read of this process becomes one (more when it is
//! long), acknowledged at once. Sizes, order and times are those of the process, not of the wire.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use weir_core::pcapng::{self, Direction, Packet, packet::Side, packet::TcpFlow};

use super::spool::SpoolFile;
use crate::observe::Tap;

/// Packets of a connection are kept back until its secrets are in the file (they serve what comes after
/// them), but no more than so many bytes: a handshake takes a tenth of it.
const HOLD_MAX: usize = 256 * 1024;
/// Where a TLS ClientHello has its random: behind the headers of record (5) and handshake (4) and the
/// version (2), RFC 8446 4.1.2.
const RANDOM_AT: usize = 11;
const RANDOM: usize = 32;
/// Connections whose secrets may be known and not yet used; more than can be in a handshake at once.
const SECRETS_MAX: usize = 65_536;

/// The capture file of a process.
#[derive(Debug)]
pub(super) struct Capture {
    file: SpoolFile,
    /// Client randoms, in hexadecimal, of connections whose traffic secrets are in the file.
    ready: Mutex<HashSet<String>>,
    /// Interfaces described so far: connections and datagrams are on the first.
    interfaces: Mutex<u32>,
}

impl Capture {
    /// Begins the capture.
    pub(super) fn new(file: SpoolFile) -> Self {
        file.append(|out| {
            pcapng::section_header(out, concat!("weir ", env!("CARGO_PKG_VERSION")));
            pcapng::interface(out, pcapng::LINKTYPE_RAW, "weir");
        });
        Self {
            file,
            ready: Mutex::new(HashSet::new()),
            interfaces: Mutex::new(1),
        }
    }

    /// Describes one more interface; its number.
    pub(super) fn interface(&self, linktype: u16, name: &str) -> u32 {
        // Held while the block is written: numbers follow the order of the blocks.
        let mut count = self
            .interfaces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let number = *count;
        if self
            .file
            .append(|out| pcapng::interface(out, linktype, name))
        {
            *count = count.saturating_add(1);
        }
        number
    }

    /// Puts a line of a key log into the capture.
    pub(super) fn secret(&self, line: &str) {
        self.file
            .append(|out| pcapng::tls_key_log(out, format!("{line}\n").as_bytes()));
        // RFC 8446 7.1: the server's traffic secret is derived last of those that Wireshark needs,
        // whichever side this is, together with the client's.
        let mut words = line.split(' ');
        if let (Some("SERVER_TRAFFIC_SECRET_0"), Some(random)) = (words.next(), words.next()) {
            let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
            if ready.len() < SECRETS_MAX {
                ready.insert(random.to_owned());
            }
        }
    }

    /// Puts packets into the capture, behind the secrets that become known soon after them; false when
    /// its buffer is full.
    pub(super) fn later(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.file.append_later(write)
    }

    fn take_ready(&self, random: &str) -> bool {
        self.ready
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(random)
    }
}

/// One connection in the capture.
#[derive(Debug)]
pub(super) struct PcapTap {
    capture: Arc<Capture>,
    flow: TcpFlow,
    /// Which side this process is.
    own: Side,
    hold: Hold,
    /// Packets of the capture that found its buffer full.
    dropped: u64,
    finished: [bool; 2],
}

/// Whether packets are kept back.
#[derive(Debug)]
enum Hold {
    /// Nothing to wait for.
    Off,
    /// The client's first bytes are being gathered for its random.
    Hello { bytes: Vec<u8>, blocks: Vec<u8> },
    /// The secrets for this random are waited for.
    Secrets { random: String, blocks: Vec<u8> },
}

impl PcapTap {
    /// A tap for a connection; `secure` when it begins with a TLS handshake.
    pub(super) fn new(
        capture: Arc<Capture>,
        dialled: bool,
        local: SocketAddr,
        remote: SocketAddr,
        secure: bool,
    ) -> Self {
        let (own, client, server) = if dialled {
            (Side::Client, local, remote)
        } else {
            (Side::Server, remote, local)
        };
        let hold = if secure {
            Hold::Hello {
                bytes: Vec::new(),
                blocks: Vec::new(),
            }
        } else {
            Hold::Off
        };
        let flow = TcpFlow::new(client, server);
        let mut tap = Self {
            capture,
            flow,
            own,
            hold,
            dropped: 0,
            finished: [false; 2],
        };
        tap.record(None, |flow, record| flow.open(record));
        tap
    }

    fn data(&mut self, from: Side, bytes: &[u8]) {
        self.record(Some(from), |flow, record| flow.data(from, bytes, record));
        self.look_for_random(from, bytes);
    }

    /// Makes packets and puts them into the capture, or to those that are kept back.
    fn record(
        &mut self,
        from: Option<Side>,
        make: impl FnOnce(&mut TcpFlow, &mut dyn FnMut(&[u8])),
    ) {
        self.release_if_ready();
        let own = self.own;
        let direction = from.map(|from| {
            if from == own {
                Direction::Outbound
            } else {
                Direction::Inbound
            }
        });
        let at_nanos = nanos(SystemTime::now());
        let flow = &mut self.flow;
        let append = |out: &mut Vec<u8>| {
            make(flow, &mut |data: &[u8]| {
                let original_len = u32::try_from(data.len()).unwrap_or(u32::MAX);
                let comment = "";
                let packet = Packet {
                    interface: 0,
                    at_nanos,
                    data,
                    original_len,
                    direction,
                    comment,
                };
                pcapng::packet(out, &packet);
            });
        };
        match &mut self.hold {
            Hold::Hello { blocks, .. } | Hold::Secrets { blocks, .. } => append(blocks),
            Hold::Off => {
                let mut blocks = Vec::new();
                append(&mut blocks);
                self.write(&blocks);
            }
        }
    }

    fn write(&mut self, blocks: &[u8]) {
        // What does not fit leaves a gap in the sequence numbers, which Wireshark points out.
        if !self
            .capture
            .file
            .append(|out| out.extend_from_slice(blocks))
        {
            self.dropped = self.dropped.saturating_add(1);
        }
    }

    fn look_for_random(&mut self, from: Side, data: &[u8]) {
        let Hold::Hello { bytes, blocks } = &mut self.hold else {
            return;
        };
        if from != Side::Client {
            return;
        }
        bytes.extend_from_slice(
            data.get(..data.len().min(RANDOM_AT + RANDOM))
                .unwrap_or_default(),
        );
        let Some(random) = bytes.get(RANDOM_AT..RANDOM_AT + RANDOM) else {
            return;
        };
        let random = random.iter().map(|byte| format!("{byte:02x}")).collect();
        self.hold = Hold::Secrets {
            random,
            blocks: std::mem::take(blocks),
        };
    }

    fn release_if_ready(&mut self) {
        let (ready, held) = match &self.hold {
            Hold::Off => return,
            Hold::Hello { blocks, .. } => (false, blocks.len()),
            Hold::Secrets { random, blocks } => (self.capture.take_ready(random), blocks.len()),
        };
        if ready || held > HOLD_MAX {
            self.release();
        }
    }

    fn release(&mut self) {
        match std::mem::replace(&mut self.hold, Hold::Off) {
            Hold::Off => {}
            Hold::Hello { blocks, .. } | Hold::Secrets { blocks, .. } => self.write(&blocks),
        }
    }

    fn finish(&mut self, side: Side) {
        let index = usize::from(side == Side::Server);
        if let Some(finished @ false) = self.finished.get_mut(index) {
            *finished = true;
            self.record(Some(side), |flow, record| flow.finish(side, record));
        }
    }

    fn peer(&self) -> Side {
        match self.own {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

impl Tap for PcapTap {
    fn sent(&mut self, bytes: &[u8]) {
        self.data(self.own, bytes);
    }

    fn received(&mut self, bytes: &[u8]) {
        self.data(self.peer(), bytes);
    }

    fn ended(&mut self, sent: bool) {
        self.finish(if sent { self.own } else { self.peer() });
    }
}

impl Drop for PcapTap {
    fn drop(&mut self) {
        if self.finished != [true; 2] {
            let own = self.own;
            self.record(Some(own), |flow, record| flow.reset(own, record));
        }
        self.release();
        if self.dropped > 0 {
            tracing::warn!(
                "the capture lacks {} pieces of a connection: the disk did not keep up",
                self.dropped
            );
        }
    }
}

/// Nanoseconds since 1970-01-01 UTC.
pub(super) fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::trace::spool::{PAYLOAD_CAP, Spool};

    /// The blocks of a capture in order: their types and bodies.
    pub(in super::super) fn blocks(mut capture: &[u8]) -> Vec<(u32, &[u8])> {
        let word = |at: &[u8]| u32::from_le_bytes(at[..4].try_into().unwrap());
        let mut blocks = Vec::new();
        while !capture.is_empty() {
            let length = word(&capture[4..]) as usize;
            blocks.push((word(capture), &capture[8..length - 4]));
            capture = &capture[length..];
        }
        blocks
    }

    fn kinds(capture: &[u8]) -> Vec<u32> {
        blocks(capture).iter().map(|(kind, _)| *kind).collect()
    }

    /// What `run` leaves in a capture.
    pub(in super::super) fn capture(name: &str, run: impl FnOnce(Arc<Capture>)) -> Vec<u8> {
        let path = std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()));
        let spool = Spool::start().unwrap();
        run(Arc::new(Capture::new(spool.file(&path, PAYLOAD_CAP))));
        spool.finish();
        let written = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        written
    }

    fn addresses() -> (SocketAddr, SocketAddr) {
        (
            "127.0.0.1:40000".parse().unwrap(),
            "127.0.0.1:443".parse().unwrap(),
        )
    }

    const SECRETS: u32 = 10;
    const PACKET: u32 = 6;

    #[test]
    fn secrets_stand_before_the_packets_they_decrypt() {
        let written = capture("pcap-tls", |capture| {
            let (local, remote) = addresses();
            let mut tap = PcapTap::new(Arc::clone(&capture), true, local, remote, true);
            let mut hello = vec![0; RANDOM_AT];
            hello.extend_from_slice(&[0xab; RANDOM]);
            hello.extend_from_slice(&[0; 100]);
            tap.sent(&hello);
            tap.received(b"server hello and what it encrypts");
            let random = "ab".repeat(RANDOM);
            capture.secret(&format!("SERVER_HANDSHAKE_TRAFFIC_SECRET {random} 01"));
            capture.secret(&format!("SERVER_TRAFFIC_SECRET_0 {random} 02"));
            tap.sent(b"finished");
            tap.ended(true);
            tap.ended(false);
            assert!(matches!(tap.hold, Hold::Off));
        });
        // Section, interface, two secrets, then handshake, hello, answer, finished, two ends.
        let mut expected = vec![0x0a0d_0d0a, 1, SECRETS, SECRETS];
        expected.extend([PACKET; 8]);
        assert_eq!(kinds(&written), expected);
    }

    #[test]
    fn a_handshake_that_fails_is_captured_all_the_same() {
        let written = capture("pcap-fail", |capture| {
            let (local, remote) = addresses();
            let mut tap = PcapTap::new(capture, false, local, remote, true);
            tap.received(b"GET / HTTP/1.1\r\n");
        });
        // The TCP handshake, the request, the reset of a tap that is dropped.
        assert_eq!(
            kinds(&written),
            [0x0a0d_0d0a, 1, PACKET, PACKET, PACKET, PACKET, PACKET]
        );
    }

    #[test]
    fn what_is_kept_back_is_bounded() {
        let written = capture("pcap-bound", |capture| {
            let (local, remote) = addresses();
            let mut tap = PcapTap::new(capture, true, local, remote, true);
            for _ in 0..20 {
                tap.received(&[0; 32 * 1024]);
            }
            assert!(matches!(tap.hold, Hold::Off));
        });
        assert!(written.len() > 20 * 32 * 1024);
    }
}
