//! TCP on tokio with no frames: the base line of latency and of bulk.

use std::io;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::args::{Args, Work};
use crate::works::{BASE_CHUNK, CHUNK, MESSAGE, Pages};
use bench_common::report::{Latencies, Outcome};

/// Serves one connection; what it asks for is its first byte, as on a stream.
pub async fn serve(mut tcp: TcpStream) -> io::Result<()> {
    let mut buffer = Pages::of(0x5a, BASE_CHUNK);
    match tcp.read_u8().await? {
        b'R' => loop {
            tcp.read_exact(&mut buffer[..MESSAGE]).await?;
            tcp.write_all(&buffer[..MESSAGE]).await?;
        },
        b'D' => loop {
            tcp.write_all(&buffer).await?;
        },
        _ => {
            let mut total = 0u64;
            loop {
                match tcp.read(&mut buffer[..CHUNK]).await? {
                    0 => break,
                    got => total += got as u64,
                }
            }
            tcp.write_all(&total.to_be_bytes()).await
        }
    }
}

/// The client's side.
pub async fn measure(mut tcp: TcpStream, args: &Args) -> io::Result<Outcome> {
    let mut buffer = Pages::of(0x5a, BASE_CHUNK);
    let limit = args.bytes.unwrap_or(u64::MAX);
    let mut bytes = 0u64;
    let start = Instant::now();
    match args.work {
        Work::BulkDown => {
            tcp.write_all(b"D").await?;
            while bytes < limit && start.elapsed() < args.secs {
                bytes += tcp.read(&mut buffer[..CHUNK]).await? as u64;
            }
        }
        Work::BulkUp => {
            tcp.write_all(b"U").await?;
            while bytes < limit && start.elapsed() < args.secs {
                tcp.write_all(&buffer).await?;
                bytes += BASE_CHUNK as u64;
            }
            tcp.shutdown().await?;
            if tcp.read_u64().await? != bytes {
                return Err(io::Error::other("bytes are missing"));
            }
        }
        Work::RequestResponse(1) => return requests(tcp, args).await,
        _ => {
            return Err(io::Error::other(
                "one TCP connection has no streams: this work needs a multiplexer",
            ));
        }
    }
    Ok(Outcome {
        bytes,
        secs: start.elapsed().as_secs_f64(),
        bulk: true,
        ..Outcome::default()
    })
}

async fn requests(mut tcp: TcpStream, args: &Args) -> io::Result<Outcome> {
    tcp.write_all(b"R").await?;
    let mut latencies = Latencies::new();
    let mut message = [b'R'; MESSAGE];
    let start = Instant::now();
    while start.elapsed() < args.secs {
        let begun = Instant::now();
        tcp.write_all(&message).await?;
        tcp.read_exact(&mut message).await?;
        latencies.record(begun.elapsed());
    }
    let (secs, done) = (start.elapsed().as_secs_f64(), latencies.count());
    Ok(Outcome {
        bytes: done * 2 * MESSAGE as u64,
        secs,
        done,
        latencies: Some(latencies),
        ..Outcome::default()
    })
}
