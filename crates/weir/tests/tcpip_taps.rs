//! What is seen of a stack from outside: its frames in a capture, its events in qlog.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod tcpip_common;

use std::path::Path;

use tcpip_common::*;
use tokio::io::AsyncWriteExt;
use weir::tcpip::{Memory, Stack, TcpListener, TcpStream};
use weir::trace::{Instruments, TraceOptions};

/// One connection of a host that is watched as `options` say, which carries some bytes and ends.
async fn watched(options: &TraceOptions) {
    let instruments = Instruments::new(options).unwrap();
    let (ours, theirs) = Memory::pair(plain(1500));
    let watched = Stack::builder().device(ours, host(1)).name("watched");
    let one = instruments.attach_to_stack(watched).start().unwrap();
    let two = stack(theirs, 2);
    let listener = TcpListener::bind(&two, v4(2, 80)).unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(&one, v4(2, 80)), listener.accept());
    let (mut client, mut server) = (client.unwrap(), server.unwrap().0);
    client
        .write_all(b"what is said here is in the capture")
        .await
        .unwrap();
    client.shutdown().await.unwrap();
    read_all(&mut server).await.unwrap();
    server.shutdown().await.unwrap();
    read_all(&mut client).await.unwrap();
    drop((client, server));
    instruments.finish();
}

fn scratch(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()))
}

/// The IP packets of a capture in order, each with its number of interface and whether it came in.
fn packets(path: &Path) -> Vec<(u32, Vec<u8>)> {
    let capture = std::fs::read(path).unwrap();
    let word = |at: usize| u32::from_le_bytes(capture[at..at + 4].try_into().unwrap());
    let (mut at, mut packets) = (0, Vec::new());
    while at < capture.len() {
        let (kind, length) = (word(at), word(at + 4) as usize);
        if kind == 6 {
            let captured = word(at + 20) as usize;
            packets.push((word(at + 8), capture[at + 28..at + 28 + captured].to_vec()));
        }
        at += length;
    }
    packets
}

#[tokio::test]
async fn frames_of_a_stack_stand_in_the_capture() {
    let path = scratch("stack.pcapng");
    let options = TraceOptions {
        pcap: Some(path.clone()),
        ..TraceOptions::default()
    };
    watched(&options).await;
    let packets = packets(&path);
    std::fs::remove_file(&path).unwrap();
    // Interface 0 is that of connections; the device came after it.
    assert!(packets.iter().all(|(interface, _)| *interface == 1));
    let flags: Vec<u8> = packets
        .iter()
        .filter(|(_, packet)| packet[9] == 6)
        .map(|(_, packet)| packet[33] & 0x17)
        .collect();
    // SYN, SYN and ACK, then ACKs, and a FIN each way.
    assert_eq!(flags[..2], [0x02, 0x12]);
    assert_eq!(
        flags.iter().filter(|flags| *flags & 1 == 1).count(),
        2,
        "{flags:x?}"
    );
    let said = b"what is said here is in the capture";
    let carries = |packet: &[u8]| packet.windows(said.len()).any(|window| window == said);
    assert!(packets.iter().any(|(_, packet)| carries(packet)));
}

#[tokio::test]
async fn events_of_a_stack_stand_in_its_qlog() {
    let dir = scratch("stack-qlog");
    let options = TraceOptions {
        qlog: Some(dir.clone()),
        ..TraceOptions::default()
    };
    watched(&options).await;
    let files: Vec<_> = std::fs::read_dir(&dir).unwrap().collect();
    assert_eq!(files.len(), 1, "one stack, one file");
    let text = std::fs::read_to_string(files[0].as_ref().unwrap().path()).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(text.contains("TCP/IP stack watched"), "{text}");
    for name in ["tcp:segment_sent", "tcp:segment_received", "ESTABLISHED"] {
        assert!(text.contains(name), "no {name} in {text}");
    }
    for record in text
        .split('\u{1e}')
        .filter(|record| !record.trim().is_empty())
    {
        serde_json::from_str::<serde_json::Value>(record).unwrap();
    }
}
