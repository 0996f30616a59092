//! Recordings of what was delivered, as pcapng files.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use weir_core::pcapng::packet::{Side as FlowSide, TcpFlow, set_ecn, udp};
use weir_core::pcapng::{self, LINKTYPE_RAW, Packet};
use weir_core::time::Instant;

use crate::check::world_name;
use crate::datagram::Datagram;
use crate::flow::Segment;
use crate::world::{PipeEnd, Side};

/// The directory into which every world's recording is written.
const DIRECTORY_VARIABLE: &str = "WEIR_SIM_PCAP";

/// A recording in the making.
pub(crate) struct Capture {
    bytes: Vec<u8>,
    /// Where it goes in the end, if anywhere.
    file: Option<PathBuf>,
    flows: HashMap<usize, TcpFlow>,
    scratch: Vec<u8>,
}

impl Capture {
    /// A recording for a file, if the environment asks for one.
    pub(crate) fn from_environment(seed: u64) -> Option<Self> {
        let directory = PathBuf::from(std::env::var_os(DIRECTORY_VARIABLE)?);
        Some(Self::to_file(
            directory.join(format!("{}.pcapng", world_name(seed))),
        ))
    }

    fn to_file(file: PathBuf) -> Self {
        let mut capture = Self::in_memory();
        capture.file = Some(file);
        capture
    }

    /// A recording that is only kept.
    pub(crate) fn in_memory() -> Self {
        let mut bytes = Vec::new();
        pcapng::section_header(&mut bytes, "weir-sim");
        pcapng::interface(&mut bytes, LINKTYPE_RAW, "sim");
        Self {
            bytes,
            file: None,
            flows: HashMap::new(),
            scratch: Vec::new(),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A datagram that arrives.
    pub(crate) fn datagram(&mut self, at: Instant, datagram: &Datagram) {
        self.scratch.clear();
        udp(
            &mut self.scratch,
            datagram.from,
            datagram.to,
            &datagram.payload,
        );
        set_ecn(&mut self.scratch, datagram.ecn as u8);
        record(&mut self.bytes, at, &self.scratch);
    }

    /// What arrives of that which was written at `writer`, in a pipe whose ends have these
    /// addresses (A, then B). The first is preceded by a handshake.
    pub(crate) fn segment(
        &mut self,
        at: Instant,
        writer: PipeEnd,
        (client, server): (SocketAddr, SocketAddr),
        segment: &Segment,
    ) {
        let bytes = &mut self.bytes;
        let mut record = |packet: &[u8]| record(bytes, at, packet);
        let flow = self.flows.entry(writer.pipe()).or_insert_with(|| {
            let mut flow = TcpFlow::new(client, server);
            flow.open(&mut record);
            flow
        });
        let from = match writer.side() {
            Side::A => FlowSide::Client,
            Side::B => FlowSide::Server,
        };
        match segment {
            Segment::Data(data) => flow.data(from, data, record),
            Segment::Fin => flow.finish(from, record),
            Segment::Reset => flow.reset(from, record),
        }
    }
}

impl Drop for Capture {
    /// Writes the file, if there is to be one: at the end of a run, and when a run panics.
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        let directory = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        if let Err(error) = directory.and_then(|()| std::fs::write(file, &self.bytes)) {
            eprintln!("no recording: {}: {error}", file.display());
        }
    }
}

fn record(bytes: &mut Vec<u8>, at: Instant, packet: &[u8]) {
    let packet = Packet {
        interface: 0,
        at_nanos: at.as_nanos(),
        data: packet,
        original_len: u32::try_from(packet.len()).unwrap_or(u32::MAX),
        direction: None,
        comment: "",
    };
    pcapng::packet(bytes, &packet);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datagram::Ecn;

    // RFC 1624: the checksum stays right.
    #[test]
    fn ecn_bits_land_in_the_header() {
        let (v4, v6) = (
            "10.0.0.1:1".parse().unwrap(),
            "[2001:db8::1]:1".parse().unwrap(),
        );
        for bits in [Ecn::NotEct, Ecn::Ect1, Ecn::Ect0, Ecn::Ce] {
            let mut packet = Vec::new();
            udp(&mut packet, v4, v4, b"payload");
            set_ecn(&mut packet, bits as u8);
            assert_eq!(packet[1], bits as u8);
            let words = packet[..20].chunks(2);
            let sum: u32 = words
                .map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])))
                .sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
            packet.clear();
            udp(&mut packet, v6, v6, b"payload");
            set_ecn(&mut packet, bits as u8);
            assert_eq!((packet[0], packet[1]), (0x60, (bits as u8) << 4));
        }
    }

    #[test]
    fn a_recording_is_written_when_its_world_ends() {
        let directory = std::env::temp_dir().join(format!("weir-sim-{}", std::process::id()));
        let file = directory.join("run-1.pcapng");
        let capture = Capture::to_file(file.clone());
        let expected = capture.bytes().to_vec();
        drop(capture);
        assert_eq!(std::fs::read(file).unwrap(), expected);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
