//! That sending and receiving in bulk allocates nothing for a packet once buffers have their size: two endpoints transfer in memory
//! under an allocator that counts.
//!
//! `cargo bench -p weir-quic --bench allocations` prints a line for each case and fails when packets come with allocations.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod pair;

use bytes::Bytes;
use pair::End;
use weir_core::slab::Key;
use weir_core::time::{Duration, Instant};
use weir_quic::{Dir, ReadError, WriteError};

/// Bytes before allocations are counted: windows, rings and pools grow to their size meanwhile.
const WARM_UP: usize = 256 << 20;
/// Bytes while they are counted.
const COUNTED: usize = 256 << 20;
/// Between two turns; no clock is read, so that a run is the same every time.
const TURN: Duration = Duration::from_micros(100);
/// Batches that arrive before the receiving application has its turn: what a socket's reader takes in one go. An application that
/// falls further behind than what its connection keeps of free memory costs an allocation for every 64 KiB, never for a packet.
const BATCHES: usize = 4;
/// A packet in so many may come with an allocation: rare things, such as a change of windows or a lost packet, are no steady state.
const RARE: u64 = 10_000;
/// With more streams in turn than a connection keeps free chunks for (`FREE_CHUNK_BYTES` in weir-core), streams begin new chunks: one
/// for some 50 packets. This only keeps it from becoming worse.
const OFTEN: u64 = 40;

/// Streams from the client to the server.
struct Transfer {
    client: End,
    server: End,
    now: Instant,
    sending: Vec<Key>,
    receiving: Vec<Key>,
    block: Bytes,
}

impl Transfer {
    fn new(datagram: usize, streams: usize) -> Transfer {
        let mut now = Instant::from_nanos(1);
        let mut clock = || {
            now += TURN;
            now
        };
        let (mut client, server) = pair::connected(datagram, &mut clock);
        let sending = (0..streams).map(|_| client.connection().open(now, Dir::Bi).unwrap());
        Transfer {
            sending: sending.collect(),
            client,
            server,
            now,
            receiving: Vec::with_capacity(streams),
            block: Bytes::from(vec![42; 256 * 1024]),
        }
    }

    /// Moves so many bytes.
    fn run(&mut self, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            self.now += TURN;
            self.write();
            pair::turn(self.now, &mut self.client, &mut self.server, BATCHES);
            let connection = self.server.connection();
            while let Some(key) = connection.accept(self.now, Dir::Bi) {
                self.receiving.push(key);
            }
            left = left.saturating_sub(self.read());
        }
    }

    fn write(&mut self) {
        for &key in &self.sending {
            loop {
                let mut data = self.block.clone();
                match self.client.connection().write(self.now, key, &mut data) {
                    Ok(_) => {}
                    Err(WriteError::Blocked) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn read(&mut self) -> usize {
        let mut count = 0;
        for &key in &self.receiving {
            loop {
                match self.server.connection().read(self.now, key, usize::MAX) {
                    Ok(Some(bytes)) => count += bytes.len(),
                    Ok(None) | Err(ReadError::Blocked) => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        count
    }

    /// Packets of both sides so far, and how many of them were lost.
    fn packets(&mut self) -> (u64, u64) {
        let ends = [&mut self.client, &mut self.server];
        let stats = ends.map(|end| end.connection().stats());
        (
            stats.iter().map(|stats| stats.packets_sent).sum(),
            stats.iter().map(|stats| stats.packets_lost).sum(),
        )
    }
}

fn main() {
    let mut too_many = Vec::new();
    for (datagram, streams, packets_each) in [(1452, 1, RARE), (1452, 100, OFTEN), (9000, 1, RARE)]
    {
        let mut transfer = Transfer::new(datagram, streams);
        transfer.run(WARM_UP);
        let (packets_before, _) = transfer.packets();
        let allocations = allocation_counter::measure(|| transfer.run(COUNTED)).count_total;
        let (packets, lost) = transfer.packets();
        let packets = packets - packets_before;
        let case = format!("{streams} streams, datagrams of {datagram} bytes");
        println!("{case}: {allocations} allocations for {packets} packets, {lost} lost");
        // Else something was measured that is not a transfer.
        assert!(packets > (COUNTED / datagram) as u64, "{case}");
        if allocations > packets / packets_each {
            too_many.push(case);
        }
    }
    assert!(
        too_many.is_empty(),
        "packets come with allocations: {too_many:?}"
    );
}
