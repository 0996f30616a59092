//! The works over any QUIC library that runs on tokio and takes and gives `Bytes`, as client and as server.
//!
//! What a stream asks for is its first byte: `D` to be sent bytes without end, `U` to send bytes and be told how many came, `R` for
//! 1 KiB against 1 KiB, `P` for one byte back, `M` for the server's resident memory.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bench_common::report::{self, Latencies, Outcome};
use bench_common::{CHUNK, Flags, MESSAGE, Work};
use bytes::Bytes;

/// How long connections lie idle before memory is looked at: what is to be let go after the handshake is gone by then.
const SETTLE: Duration = Duration::from_secs(1);

/// Makes connections.
pub trait Dial: Clone + Send + Sync + 'static {
    /// What it makes.
    type Link: Link;
    /// Makes one.
    fn dial(&self) -> impl Future<Output = io::Result<Self::Link>> + Send;
}

/// A connection.
pub trait Link: Clone + Send + Sync + 'static {
    /// The half of a stream that sends.
    type Send: SendHalf;
    /// The half of a stream that receives.
    type Recv: RecvHalf;
    /// Opens a bidirectional stream.
    fn open(&self) -> impl Future<Output = io::Result<(Self::Send, Self::Recv)>> + Send;
    /// Ends the connection.
    fn close(&self);
}

/// Sends on a stream.
pub trait SendHalf: Send + 'static {
    /// Hands the bytes over, without a copy where the library can.
    fn write(&mut self, bytes: Bytes) -> impl Future<Output = io::Result<()>> + Send;
    /// No more bytes.
    fn finish(&mut self) -> io::Result<()>;
}

/// Receives on a stream.
pub trait RecvHalf: Send + 'static {
    /// The next bytes, as the library has them; `None` at the end.
    fn read(&mut self) -> impl Future<Output = io::Result<Option<Bytes>>> + Send;
}

/// Serves one stream.
pub async fn serve<S: SendHalf, R: RecvHalf>(mut send: S, mut recv: R) -> io::Result<()> {
    let Some(first) = recv.read().await? else {
        return send.finish();
    };
    match first.first() {
        Some(b'D') => {
            let block = Bytes::from(vec![0x5a; CHUNK]);
            loop {
                send.write(block.clone()).await?;
            }
        }
        Some(b'U') => {
            let count = first.len() as u64 + rest(&mut recv).await?;
            send.write(Bytes::copy_from_slice(&count.to_be_bytes()))
                .await?;
        }
        Some(b'R') => {
            let mut message = first;
            while let Some(more) = recv.read().await? {
                message = [message, more].concat().into();
            }
            if message.len() != MESSAGE {
                return Err(io::Error::other("a request of another size"));
            }
            send.write(message).await?;
        }
        Some(b'P') => {
            rest(&mut recv).await?;
            send.write(first).await?;
        }
        Some(b'M') => {
            rest(&mut recv).await?;
            send.write(Bytes::copy_from_slice(&report::rss_bytes().to_be_bytes()))
                .await?;
        }
        _ => {}
    }
    send.finish()
}

/// Reads to the end; how many bytes came.
async fn rest<R: RecvHalf>(recv: &mut R) -> io::Result<u64> {
    let mut total = 0;
    while let Some(bytes) = recv.read().await? {
        total += bytes.len() as u64;
    }
    Ok(total)
}

/// Runs the client's side of the work.
pub async fn measure<D: Dial>(dialer: D, flags: &Flags) -> io::Result<Outcome> {
    match flags.work {
        Work::Down(streams) => downloads(&dialer.dial().await?, flags, streams).await,
        Work::Up => upload(&dialer.dial().await?, flags).await,
        Work::RequestResponse(at_once) => requests(&dialer.dial().await?, flags, at_once).await,
        Work::Handshakes => handshakes(dialer, flags).await,
        Work::IdleConns => idle_conns(dialer, flags).await,
    }
}

async fn downloads<L: Link>(link: &L, flags: &Flags, streams: usize) -> io::Result<Outcome> {
    let total = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..streams {
        let (link, total, over) = (link.clone(), total.clone(), over.clone());
        tasks.push(tokio::spawn(async move {
            let (mut send, mut recv) = link.open().await?;
            send.write(Bytes::from_static(b"D")).await?;
            send.finish()?;
            while let Some(bytes) = recv.read().await? {
                total.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                if over.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
            Err(io::Error::other("a download ended"))
        }));
    }
    tokio::time::sleep(flags.secs).await;
    let (bytes, secs) = (total.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        if task.is_finished() {
            task.await??;
        }
    }
    link.close();
    Ok(Outcome {
        bytes,
        secs,
        bulk: true,
        ..Outcome::default()
    })
}

async fn upload<L: Link>(link: &L, flags: &Flags) -> io::Result<Outcome> {
    let block = Bytes::from(vec![0x5a; CHUNK]);
    let start = Instant::now();
    let (mut send, mut recv) = link.open().await?;
    send.write(Bytes::from_static(b"U")).await?;
    let mut sent = 1;
    while start.elapsed() < flags.secs {
        send.write(block.clone()).await?;
        sent += block.len() as u64;
    }
    send.finish()?;
    let mut answer = Vec::new();
    while let Some(bytes) = recv.read().await? {
        answer.extend_from_slice(&bytes);
    }
    let secs = start.elapsed().as_secs_f64();
    if answer != sent.to_be_bytes() {
        return Err(io::Error::other("bytes are missing"));
    }
    link.close();
    Ok(Outcome {
        bytes: sent,
        secs,
        bulk: true,
        ..Outcome::default()
    })
}

/// One stream: the request, and how many bytes came back.
async fn request<L: Link>(link: &L, message: Bytes) -> io::Result<u64> {
    let (mut send, mut recv) = link.open().await?;
    send.write(message).await?;
    send.finish()?;
    rest(&mut recv).await
}

async fn requests<L: Link>(link: &L, flags: &Flags, at_once: usize) -> io::Result<Outcome> {
    let message = Bytes::from(vec![b'R'; MESSAGE]);
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let (link, message, secs) = (link.clone(), message.clone(), flags.secs);
        tasks.push(tokio::spawn(async move {
            let mut latencies = Latencies::new();
            let mut begun = Instant::now();
            while begun.duration_since(start) < secs {
                if request(&link, message.clone()).await? != MESSAGE as u64 {
                    return Err(io::Error::other("an answer of another size"));
                }
                let ended = Instant::now();
                latencies.record(ended.duration_since(begun));
                begun = ended;
            }
            io::Result::Ok(latencies)
        }));
    }
    let latencies = gathered(tasks).await?;
    let secs = start.elapsed().as_secs_f64();
    link.close();
    let done = latencies.count();
    Ok(Outcome {
        bytes: done * 2 * MESSAGE as u64,
        secs,
        done,
        latencies: Some(latencies),
        ..Outcome::default()
    })
}

async fn gathered(
    tasks: Vec<tokio::task::JoinHandle<io::Result<Latencies>>>,
) -> io::Result<Latencies> {
    let mut all = Latencies::new();
    for task in tasks {
        all.add(&task.await??);
    }
    Ok(all)
}

/// Dialled, used for one answer so that both sides have surely finished the handshake, closed.
async fn handshakes<D: Dial>(dialer: D, flags: &Flags) -> io::Result<Outcome> {
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..flags.parallel {
        let (dialer, secs) = (dialer.clone(), flags.secs);
        tasks.push(tokio::spawn(async move {
            let mut latencies = Latencies::new();
            while start.elapsed() < secs {
                let begun = Instant::now();
                let link = dialer.dial().await?;
                ping(&link).await?;
                link.close();
                latencies.record(begun.elapsed());
            }
            io::Result::Ok(latencies)
        }));
    }
    let latencies = gathered(tasks).await?;
    Ok(Outcome {
        secs: start.elapsed().as_secs_f64(),
        done: latencies.count(),
        latencies: Some(latencies),
        ..Outcome::default()
    })
}

async fn ping<L: Link>(link: &L) -> io::Result<()> {
    match request(link, Bytes::from_static(b"P")).await? {
        1 => Ok(()),
        _ => Err(io::Error::other("another answer than asked for")),
    }
}

async fn server_rss<L: Link>(link: &L) -> io::Result<f64> {
    let (mut send, mut recv) = link.open().await?;
    send.write(Bytes::from_static(b"M")).await?;
    send.finish()?;
    let mut answer = [0; 8];
    let mut got = 0;
    while let Some(bytes) = recv.read().await? {
        for byte in bytes {
            *answer
                .get_mut(got)
                .ok_or_else(|| io::Error::other("a long answer"))? = byte;
            got += 1;
        }
    }
    Ok(u64::from_be_bytes(answer) as f64)
}

async fn idle_conns<D: Dial>(dialer: D, flags: &Flags) -> io::Result<Outcome> {
    let start = Instant::now();
    let control = dialer.dial().await?;
    // Connections of every kind that come and go: buffers, pages of code and the allocator's first arenas are touched
    // before memory is read.
    for _ in 0..8 {
        let link = dialer.dial().await?;
        ping(&link).await?;
        link.close();
    }
    tokio::time::sleep(SETTLE).await;
    let (server, client) = (server_rss(&control).await?, report::rss_bytes() as f64);
    let mut kept = Vec::with_capacity(flags.count);
    for _ in 0..flags.count {
        let link = dialer.dial().await?;
        ping(&link).await?;
        kept.push(link);
    }
    tokio::time::sleep(SETTLE).await;
    let count = flags.count as f64;
    let more = vec![
        ("connections", count),
        ("bytes_each", (report::rss_bytes() as f64 - client) / count),
        (
            "server_bytes_each",
            (server_rss(&control).await? - server) / count,
        ),
    ];
    drop(kept);
    Ok(Outcome {
        secs: start.elapsed().as_secs_f64(),
        more,
        ..Outcome::default()
    })
}
