//! Recordings of what passes on either side of the bad network.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir_core::pcapng::packet::{set_ecn, udp};
use weir_core::pcapng::{self, LINKTYPE_RAW, Packet};
use weir_sim::Ecn;

use crate::error::LabError;

/// A pcapng file of IP packets.
#[derive(Debug)]
pub(crate) struct Recording {
    file: BufWriter<File>,
    packet: Vec<u8>,
    block: Vec<u8>,
    /// Packets that could not be written.
    pub(crate) lost: u64,
}

impl Recording {
    /// Begins one in a new file, whose interface has this name; `None` without a path.
    pub(crate) fn begin(path: Option<&Path>, name: &str) -> Result<Option<Self>, LabError> {
        let Some(path) = path else { return Ok(None) };
        Self::create(path, name)
            .map(Some)
            .map_err(|source| LabError::Record {
                path: path.to_owned(),
                source,
            })
    }

    fn create(path: &Path, name: &str) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        let mut block = Vec::new();
        pcapng::section_header(&mut block, "weir lab");
        pcapng::interface(&mut block, LINKTYPE_RAW, name);
        file.write_all(&block)?;
        // Whoever looks early finds a file that is whole.
        file.flush()?;
        Ok(Self {
            file,
            packet: Vec::new(),
            block,
            lost: 0,
        })
    }

    /// Records a datagram that is there now.
    pub(crate) fn add(&mut self, from: SocketAddr, to: SocketAddr, ecn: Ecn, payload: &[u8]) {
        self.packet.clear();
        self.block.clear();
        udp(&mut self.packet, plain(from), plain(to), payload);
        set_ecn(&mut self.packet, ecn as u8);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let packet = Packet {
            interface: 0,
            at_nanos: weir_core::time::nanos(since.unwrap_or(Duration::ZERO)),
            data: &self.packet,
            original_len: u32::try_from(self.packet.len()).unwrap_or(u32::MAX),
            direction: None,
            comment: "",
        };
        pcapng::packet(&mut self.block, &packet);
        self.lost += u64::from(self.file.write_all(&self.block).is_err());
    }

    /// Puts on disk what was recorded so far.
    pub(crate) fn flush(&mut self) {
        self.lost += u64::from(self.file.flush().is_err());
    }
}

/// An IPv4 address that a socket of both families shows as one of IPv6 is one of IPv4 on the wire.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
