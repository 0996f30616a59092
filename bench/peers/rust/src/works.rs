//! The works over anything that opens asynchronous streams, as client and as server.
//!
//! What a stream asks for is its first byte: `D` and a count to be sent that many bytes, `U` to send bytes and be told how many
//! came, `R` for 1 KiB against 1 KiB, `C` to be closed, `I` and a count to keep
//! that many further streams open, `M` for the server's resident memory.

use std::future::Future;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::args::{Args, Work};
use bench_common::report::{self, Latencies, Outcome};

/// Request and answer of the `rr` works.
pub const MESSAGE: usize = 1024;
/// What a bulk writer hands over and a bulk reader offers at a time.
pub const CHUNK: usize = 256 * 1024;

/// What a base line without a multiplexer hands to the socket at a time.
pub const BASE_CHUNK: usize = 1 << 20;

const PAGE: usize = 4096;

/// Bytes that begin on a page: the kernel copies between pages faster than across them, and a base line must not be slow by
/// the accident of an address.
pub struct Pages {
    whole: Vec<u8>,
    start: usize,
    length: usize,
}

impl Pages {
    /// So many bytes of one value.
    pub fn of(value: u8, length: usize) -> Pages {
        let whole = vec![value; length + PAGE];
        let start = whole.as_ptr().align_offset(PAGE);
        Pages {
            whole,
            start,
            length,
        }
    }
}

impl Deref for Pages {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.whole[self.start..self.start + self.length]
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.whole[self.start..self.start + self.length]
    }
}

/// A stream of the multiplexer under test.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Duplex for T {}

/// Opens streams to the other side.
pub trait Opener: Clone + Send + 'static {
    /// What it opens.
    type Stream: Duplex;
    /// Opens one.
    fn open(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Where streams of `idle-streams` are kept: by one task for all. A task for each would be memory that is not the multiplexer's,
/// and its coming and going would tear holes into the heap.
pub struct Kept<S> {
    left: Arc<AtomicU64>,
    keeper: mpsc::UnboundedSender<S>,
}

impl<S: Duplex> Kept<S> {
    /// None yet.
    pub fn new() -> Kept<S> {
        let (keeper, streams) = mpsc::unbounded_channel();
        tokio::spawn(keep(streams));
        Kept {
            left: Arc::default(),
            keeper,
        }
    }

    /// Serves a stream that the other side opened, or keeps it when it is one of those announced.
    pub fn take(&self, stream: S) {
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            self.left.store(left - 1, Ordering::Relaxed);
            let _ = self.keeper.send(stream);
        } else {
            tokio::spawn(serve(stream, self.left.clone()));
        }
    }
}

async fn keep<S: Duplex>(mut streams: mpsc::UnboundedReceiver<S>) -> io::Result<()> {
    let mut kept = Vec::new();
    while let Some(mut stream) = streams.recv().await {
        let byte = stream.read_u8().await?;
        stream.write_u8(byte).await?;
        stream.flush().await?;
        kept.push(stream);
    }
    Ok(())
}

/// Serves one stream.
async fn serve<S: Duplex>(mut stream: S, to_keep: Arc<AtomicU64>) -> io::Result<()> {
    let mut head = [0u8; MESSAGE];
    let mut got = stream.read(&mut head).await?;
    match head[0] {
        b'R' if got > 0 => {
            stream.read_exact(&mut head[got..]).await?;
            stream.write_all(&head).await?;
            stream.shutdown().await?;
            drain(&mut stream).await?;
        }
        b'C' if got > 0 => {
            drain(&mut stream).await?;
            stream.shutdown().await?;
        }
        b'M' if got > 0 => {
            stream.write_all(&report::rss_bytes().to_be_bytes()).await?;
            stream.shutdown().await?;
        }
        b'D' | b'U' | b'I' if got > 0 => {
            while got < 9 {
                got += stream.read(&mut head[got..]).await?;
            }
            let mut count = [0u8; 8];
            count.copy_from_slice(&head[1..9]);
            if head[0] == b'I' {
                to_keep.store(u64::from_be_bytes(count), Ordering::Relaxed);
                stream.write_all(b"I").await?;
            } else if head[0] == b'D' {
                send(&mut stream, u64::from_be_bytes(count), None).await?;
            } else {
                let more = (got - 9) as u64 + drain(&mut stream).await?;
                stream.write_all(&more.to_be_bytes()).await?;
            }
            stream.shutdown().await?;
        }
        _ => {}
    }
    Ok(())
}

/// Reads to the end; how many bytes came.
async fn drain<S: Duplex>(stream: &mut S) -> io::Result<u64> {
    let mut buffer = [0u8; 1024];
    let first = stream.read(&mut buffer).await?;
    if first == 0 {
        return Ok(0);
    }
    let mut buffer = vec![0u8; CHUNK];
    let mut total = first as u64;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(total),
            got => total += got as u64,
        }
    }
}

/// Writes `count` bytes, or until `deadline`.
async fn send<S: Duplex>(stream: &mut S, count: u64, deadline: Option<Instant>) -> io::Result<u64> {
    let buffer = vec![0x5au8; CHUNK];
    let mut left = count;
    while left > 0 && deadline.is_none_or(|deadline| Instant::now() < deadline) {
        let now = left.min(CHUNK as u64) as usize;
        stream.write_all(&buffer[..now]).await?;
        left -= now as u64;
    }
    Ok(count - left)
}

/// Runs the client's side of the work.
pub async fn measure<O: Opener>(opener: O, args: &Args) -> io::Result<Outcome> {
    match args.work {
        Work::BulkDown => downloads(opener, args, 1).await,
        Work::Streams(count) => downloads(opener, args, count).await,
        Work::BulkUp => upload(opener, args).await,
        Work::RequestResponse(at_once) => requests(opener, args, at_once).await,
        Work::OpenClose(at_once) => open_close(opener, args, at_once).await,
        Work::IdleStreams => idle_streams(opener, args).await,
    }
}

async fn downloads<O: Opener>(opener: O, args: &Args, count: usize) -> io::Result<Outcome> {
    let each = args.bytes.map_or(u64::MAX, |bytes| bytes / count as u64);
    let total = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..count {
        let (opener, total) = (opener.clone(), total.clone());
        tasks.push(tokio::spawn(async move {
            let mut stream = opener.open().await?;
            let mut head = [b'D'; 9];
            head[1..].copy_from_slice(&each.to_be_bytes());
            stream.write_all(&head).await?;
            stream.flush().await?;
            let mut buffer = vec![0u8; CHUNK.min(8 * CHUNK / count)];
            loop {
                match stream.read(&mut buffer).await? {
                    0 => return io::Result::Ok(()),
                    got => total.fetch_add(got as u64, Ordering::Relaxed),
                };
            }
        }));
    }
    if args.bytes.is_some() {
        for task in tasks {
            task.await??;
        }
        let whole = each * count as u64;
        if total.load(Ordering::Relaxed) != whole {
            return Err(io::Error::other("bytes are missing"));
        }
    } else {
        tokio::time::sleep(args.secs).await;
    }
    let bytes = total.load(Ordering::Relaxed);
    Ok(Outcome {
        bytes,
        secs: start.elapsed().as_secs_f64(),
        bulk: true,
        ..Outcome::default()
    })
}

async fn upload<O: Opener>(opener: O, args: &Args) -> io::Result<Outcome> {
    let start = Instant::now();
    let mut stream = opener.open().await?;
    stream.write_all(&[b'U', 0, 0, 0, 0, 0, 0, 0, 0]).await?;
    let deadline = args.bytes.is_none().then(|| start + args.secs);
    let sent = send(&mut stream, args.bytes.unwrap_or(u64::MAX), deadline).await?;
    stream.shutdown().await?;
    let mut count = [0u8; 8];
    stream.read_exact(&mut count).await?;
    let secs = start.elapsed().as_secs_f64();
    let bytes = u64::from_be_bytes(count);
    if bytes != sent {
        return Err(io::Error::other(format!(
            "sent {sent} bytes, {bytes} arrived"
        )));
    }
    Ok(Outcome {
        bytes,
        secs,
        bulk: true,
        ..Outcome::default()
    })
}

async fn request<O: Opener>(opener: O) -> io::Result<()> {
    let mut stream = opener.open().await?;
    let mut message = [b'R'; MESSAGE];
    stream.write_all(&message).await?;
    stream.shutdown().await?;
    stream.read_exact(&mut message).await?;
    if stream.read(&mut message).await? != 0 {
        return Err(io::Error::other("more than the answer came"));
    }
    Ok(())
}

async fn requests<O: Opener>(opener: O, args: &Args, at_once: usize) -> io::Result<Outcome> {
    let start = Instant::now();
    let latencies = Arc::new(Mutex::new(Latencies::new()));
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let (opener, latencies, secs) = (opener.clone(), latencies.clone(), args.secs);
        tasks.push(tokio::spawn(async move {
            while start.elapsed() < secs {
                let begun = Instant::now();
                request(opener.clone()).await?;
                let took = begun.elapsed();
                if let Ok(mut latencies) = latencies.lock() {
                    latencies.record(took);
                }
            }
            io::Result::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let secs = start.elapsed().as_secs_f64();
    let latencies = std::mem::replace(
        &mut *latencies.lock().map_err(|_| io::Error::other("poisoned"))?,
        Latencies::new(),
    );
    let done = latencies.count();
    let bytes = done * 2 * MESSAGE as u64;
    Ok(Outcome {
        bytes,
        secs,
        done,
        latencies: Some(latencies),
        ..Outcome::default()
    })
}

async fn open_close<O: Opener>(opener: O, args: &Args, at_once: usize) -> io::Result<Outcome> {
    let start = Instant::now();
    let done = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..at_once {
        let (opener, done, secs) = (opener.clone(), done.clone(), args.secs);
        tasks.push(tokio::spawn(async move {
            let mut byte = [b'C'];
            while start.elapsed() < secs {
                let mut stream = opener.open().await?;
                stream.write_all(b"C").await?;
                stream.shutdown().await?;
                if stream.read(&mut byte).await? != 0 {
                    return Err(io::Error::other("a closed stream sent data"));
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
            io::Result::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let (secs, done) = (start.elapsed().as_secs_f64(), done.load(Ordering::Relaxed));
    Ok(Outcome {
        bytes: done,
        secs,
        done,
        ..Outcome::default()
    })
}

async fn server_rss<O: Opener>(opener: O) -> io::Result<f64> {
    let mut stream = opener.open().await?;
    stream.write_all(b"M").await?;
    stream.shutdown().await?;
    let mut rss = [0u8; 8];
    stream.read_exact(&mut rss).await?;
    Ok(u64::from_be_bytes(rss) as f64)
}

async fn idle_streams<O: Opener>(opener: O, args: &Args) -> io::Result<Outcome> {
    let start = Instant::now();
    // The buffers, the pages of code and the allocator's first arenas are touched before memory is read.
    let before = requests(opener.clone(), args, 1).await?;
    let peer_rss = server_rss(opener.clone()).await?;
    let mut head = [b'I'; 9];
    head[1..].copy_from_slice(&(args.count as u64).to_be_bytes());
    let mut stream = opener.open().await?;
    stream.write_all(&head).await?;
    stream.shutdown().await?;
    stream.read_exact(&mut head[..1]).await?;
    let mut kept = Vec::with_capacity(args.count);
    let client_rss = report::rss_bytes() as f64;
    for _ in 0..args.count {
        let mut stream = opener.open().await?;
        stream.write_all(b"I").await?;
        stream.flush().await?;
        stream.read_exact(&mut [0u8; 1]).await?;
        kept.push(stream);
    }
    // The handle counts too: whoever holds a stream pays for it.
    let count = args.count as f64;
    let client = (report::rss_bytes() as f64 - client_rss) / count;
    let server = (server_rss(opener.clone()).await? - peer_rss) / count;
    let after = requests(opener.clone(), args, 1).await?;
    let p50 = |outcome: &Outcome| outcome.latencies.as_ref().map_or(0.0, |l| l.micros(0.5));
    let more = vec![
        ("streams", count),
        ("bytes_each", client),
        ("server_bytes_each", server),
        ("p50_before_us", p50(&before)),
        ("p50_with_us", p50(&after)),
    ];
    drop(kept);
    Ok(Outcome {
        bytes: args.count as u64 * 2,
        secs: start.elapsed().as_secs_f64(),
        latencies: after.latencies,
        more,
        ..Outcome::default()
    })
}
