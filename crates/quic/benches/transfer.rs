//! What one packet costs the engine, without any system call: two endpoints hand each other their
//! batches in memory, and one sends the other as much as it can.
//!
//! `cargo bench -p weir-quic --bench transfer [-- MIB [DATAGRAM]]` prints one line: bytes a second,
//! nanoseconds a packet (sealed, opened, acknowledged), packets and acknowledgements.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod pair;

use bytes::Bytes;
use weir_core::time::Instant;
use weir_quic::{Dir, ReadError, WriteError};

fn main() {
    let mut numbers = std::env::args().filter_map(|arg| arg.parse::<usize>().ok());
    let mib = numbers.next().unwrap_or(1024);
    let datagram = numbers.next().unwrap_or(1452);
    let begin = std::time::Instant::now();
    let mut clock = || Instant::from_nanos(begin.elapsed().as_nanos() as u64 + 1);
    let (mut client, mut server) = pair::connected(datagram, &mut clock);
    let key = client.connection().open(clock(), Dir::Bi).unwrap();
    let chunk = Bytes::from(vec![42; 256 * 1024]);
    let total = mib << 20;
    let (mut written, mut read, mut inbound) = (0, 0, None);
    let start = std::time::Instant::now();
    let mut turns = 0u64;
    while read < total {
        turns += 1;
        let now = clock();
        while written < total {
            let mut data = chunk.clone();
            match client.connection().write(now, key, &mut data) {
                Ok(count) => written += count,
                Err(WriteError::Blocked) => break,
                Err(error) => panic!("{error}"),
            }
        }
        pair::turn(now, &mut client, &mut server, usize::MAX);
        let now = clock();
        if inbound.is_none() {
            inbound = server.connection().accept(now, Dir::Bi);
        }
        let Some(inbound) = inbound else { continue };
        loop {
            match server.connection().read(now, inbound, usize::MAX) {
                Ok(Some(bytes)) => read += bytes.len(),
                Ok(None) | Err(ReadError::Blocked) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    let secs = start.elapsed().as_secs_f64();
    let (sender, receiver) = (client.connection().stats(), server.connection().stats());
    println!(
        "{:.2} Gbit/s, {:.0} ns a packet, {} packets of {} bytes, {} back, {} lost, {} turns, cwnd {}",
        total as f64 * 8e-9 / secs,
        secs * 1e9 / sender.packets_sent as f64,
        sender.packets_sent,
        sender.datagram_size,
        receiver.packets_sent,
        sender.packets_lost,
        turns,
        sender.congestion_window,
    );
}
