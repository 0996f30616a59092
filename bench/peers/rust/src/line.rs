//! The line: yamux's 12-byte headers over one TCP connection and nothing else that costs time. No flow control, no wake-ups, no
//! tasks; one `writev` of all that is ready, all that one read brought handled in place. No correct multiplexer can be faster on
//! the same machine than by the luck of the measurement.

use std::io::{self, IoSlice};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::args::{Args, Work};
use crate::works::{CHUNK, MESSAGE, Pages};
use bench_common::report::{Latencies, Outcome};

const HEADER: usize = 12;
const FRAME: usize = 64 * 1024;
/// Frames in one `writev` of a bulk work: 1 MiB.
const BATCH: usize = 16;
const SYN: u16 = 1;
const FIN: u16 = 4;

fn header(flags: u16, stream: u32, length: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER]; // version 0, type 0 (data)
    bytes[2..4].copy_from_slice(&flags.to_be_bytes());
    bytes[4..8].copy_from_slice(&stream.to_be_bytes());
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// One frame's header or a piece of its payload, where the read put it.
enum Piece<'a> {
    Header {
        flags: u16,
        stream: u32,
        length: u32,
    },
    Payload {
        stream: u32,
        bytes: &'a [u8],
        last: bool,
        flags: u16,
    },
}

/// What is kept of a header between two reads lies before the page that the next read begins on.
const ROOM_FOR_REST: usize = 4096;

/// Reads 256 KiB at a time and walks the frames in place.
struct Frames {
    buffer: Pages,
    kept: usize,
    left: usize,
    stream: u32,
    flags: u16,
}

impl Frames {
    fn new() -> Frames {
        Frames {
            buffer: Pages::of(0, ROOM_FOR_REST + CHUNK),
            kept: 0,
            left: 0,
            stream: 0,
            flags: 0,
        }
    }

    /// One read; false at the end of the connection, or when nothing is there and `wait` is false.
    async fn read(
        &mut self,
        tcp: &mut TcpStream,
        wait: bool,
        mut take: impl FnMut(Piece<'_>),
    ) -> io::Result<bool> {
        let got = if wait {
            tcp.read(&mut self.buffer[ROOM_FOR_REST..]).await?
        } else {
            match tcp.try_read(&mut self.buffer[ROOM_FOR_REST..]) {
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        };
        if got == 0 {
            return if wait {
                Ok(false)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
        let filled = ROOM_FOR_REST + got;
        let mut at = ROOM_FOR_REST - self.kept;
        loop {
            if self.left > 0 {
                let length = self.left.min(filled - at);
                self.left -= length;
                let (stream, flags, last) = (self.stream, self.flags, self.left == 0);
                if length > 0 {
                    take(Piece::Payload {
                        stream,
                        bytes: &self.buffer[at..at + length],
                        last,
                        flags,
                    });
                }
                at += length;
            }
            if filled - at < HEADER {
                break;
            }
            let word =
                |from: usize| u32::from_be_bytes([0, 1, 2, 3].map(|i| self.buffer[at + from + i]));
            let (flags, stream, length) = (word(0) as u16, word(4), word(8));
            (self.flags, self.stream, self.left) = (flags, stream, length as usize);
            take(Piece::Header {
                flags,
                stream,
                length,
            });
            at += HEADER;
        }
        self.kept = filled - at;
        let kept = ROOM_FOR_REST - self.kept;
        self.buffer.copy_within(at..filled, kept);
        Ok(true)
    }
}

/// The table entry of a stream.
#[derive(Clone, Copy, Default)]
struct Entry {
    asked: u8,
    received: u64,
}

/// The table: streams in flight are few and their numbers close together, so the number is the place.
struct Table(Vec<Entry>);

impl Table {
    fn entry(&mut self, stream: u32) -> &mut Entry {
        let places = self.0.len();
        &mut self.0[stream as usize / 2 % places]
    }
}

async fn send_batch(tcp: &mut TcpStream, streams: &[u32], payload: &[u8]) -> io::Result<u64> {
    let frames = BATCH.max(streams.len().min(64));
    let headers: Vec<_> = (0..frames)
        .map(|i| header(0, streams[i % streams.len()], FRAME as u32))
        .collect();
    let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(frames * 2);
    for header in &headers {
        slices.push(IoSlice::new(header));
        slices.push(IoSlice::new(payload));
    }
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let written = tcp.write_vectored(rest).await?;
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok((frames * FRAME) as u64)
}

/// Serves one connection.
pub async fn serve(mut tcp: TcpStream) -> io::Result<()> {
    let payload = Pages::of(0x5a, FRAME);
    let mut frames = Frames::new();
    let mut table = Table(vec![Entry::default(); 65_536]);
    let mut downloads: Vec<u32> = Vec::new();
    let mut out = Vec::with_capacity(CHUNK);
    loop {
        let wait = downloads.is_empty();
        let more = frames
            .read(&mut tcp, wait, |piece| {
                answer(piece, &mut table, &mut downloads, &mut out)
            })
            .await?;
        if wait && !more {
            return Ok(());
        }
        if !out.is_empty() {
            tcp.write_all(&out).await?;
            out.clear();
        }
        if !downloads.is_empty() {
            send_batch(&mut tcp, &downloads, &payload).await?;
        }
    }
}

fn answer(piece: Piece<'_>, table: &mut Table, downloads: &mut Vec<u32>, out: &mut Vec<u8>) {
    match piece {
        Piece::Header {
            flags,
            stream,
            length,
        } => {
            let entry = table.entry(stream);
            if flags & SYN != 0 {
                *entry = Entry::default();
            }
            if length == 0 && flags & FIN != 0 && entry.asked == b'U' {
                out.extend_from_slice(&header(FIN, stream, 8));
                out.extend_from_slice(&(entry.received - 1).to_be_bytes());
            }
        }
        Piece::Payload {
            stream,
            bytes,
            last,
            flags,
        } => {
            let entry = table.entry(stream);
            if entry.asked == 0 {
                entry.asked = bytes[0];
                if entry.asked == b'D' {
                    downloads.push(stream);
                }
            }
            entry.received += bytes.len() as u64;
            if last && flags & FIN != 0 {
                match entry.asked {
                    b'R' => {
                        out.extend_from_slice(&header(FIN, stream, MESSAGE as u32));
                        out.extend_from_slice(&[b'R'; MESSAGE]);
                    }
                    b'C' => out.extend_from_slice(&header(FIN, stream, 0)),
                    _ => {}
                }
            }
        }
    }
}

/// The client's side.
pub async fn measure(tcp: TcpStream, args: &Args) -> io::Result<Outcome> {
    match args.work {
        Work::BulkDown => downloads(tcp, args, 1).await,
        Work::Streams(count) => downloads(tcp, args, count).await,
        Work::BulkUp => upload(tcp, args).await,
        Work::RequestResponse(at_once) => exchanges(tcp, args, at_once, MESSAGE).await,
        Work::OpenClose(at_once) => exchanges(tcp, args, at_once, 1).await,
        Work::IdleStreams => Err(io::Error::other("the line keeps no streams")),
    }
}

async fn downloads(mut tcp: TcpStream, args: &Args, count: usize) -> io::Result<Outcome> {
    let mut asked = Vec::new();
    for stream in 0..count as u32 {
        asked.extend_from_slice(&header(SYN, stream * 2 + 1, 1));
        asked.push(b'D');
    }
    let start = Instant::now();
    tcp.write_all(&asked).await?;
    let mut frames = Frames::new();
    let (mut bytes, limit) = (0u64, args.bytes.unwrap_or(u64::MAX));
    while bytes < limit && start.elapsed() < args.secs {
        let more = frames
            .read(&mut tcp, true, |piece| {
                if let Piece::Payload { bytes: got, .. } = piece {
                    bytes += got.len() as u64;
                }
            })
            .await?;
        if !more {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Outcome {
        bytes,
        secs: start.elapsed().as_secs_f64(),
        bulk: true,
        ..Outcome::default()
    })
}

async fn upload(mut tcp: TcpStream, args: &Args) -> io::Result<Outcome> {
    let payload = Pages::of(0x5a, FRAME);
    let (mut sent, limit) = (0u64, args.bytes.unwrap_or(u64::MAX));
    let start = Instant::now();
    tcp.write_all(&header(SYN, 1, 1)).await?;
    tcp.write_all(b"U").await?;
    while sent < limit && start.elapsed() < args.secs {
        sent += send_batch(&mut tcp, &[1], &payload).await?;
    }
    tcp.write_all(&header(FIN, 1, 0)).await?;
    let mut answer = Vec::new();
    let mut frames = Frames::new();
    while answer.len() < 8 {
        frames
            .read(&mut tcp, true, |piece| {
                if let Piece::Payload { bytes, .. } = piece {
                    answer.extend_from_slice(bytes);
                }
            })
            .await?;
    }
    if answer != sent.to_be_bytes() {
        return Err(io::Error::other("bytes are missing"));
    }
    Ok(Outcome {
        bytes: sent,
        secs: start.elapsed().as_secs_f64(),
        bulk: true,
        ..Outcome::default()
    })
}

/// Requests of `size` bytes, each a frame that opens and ends its stream, `at_once` in flight.
async fn exchanges(
    mut tcp: TcpStream,
    args: &Args,
    at_once: usize,
    size: usize,
) -> io::Result<Outcome> {
    let payload = vec![if size == 1 { b'C' } else { b'R' }; size];
    let mut begun = vec![Instant::now(); 65_536];
    let places = begun.len();
    let mut latencies = Latencies::new();
    let mut frames = Frames::new();
    let mut out = Vec::with_capacity(CHUNK);
    let (mut next, mut wanted) = (1u32, at_once);
    let start = Instant::now();
    while start.elapsed() < args.secs {
        let now = Instant::now();
        for _ in 0..std::mem::take(&mut wanted) {
            begun[next as usize / 2 % places] = now;
            out.extend_from_slice(&header(SYN | FIN, next, size as u32));
            out.extend_from_slice(&payload);
            next = next.wrapping_add(2);
        }
        tcp.write_all(&out).await?;
        out.clear();
        let mut finished = |stream: u32| {
            latencies.record(begun[stream as usize / 2 % places].elapsed());
            wanted += 1;
        };
        let more = frames
            .read(&mut tcp, true, |piece| match piece {
                Piece::Header {
                    flags,
                    stream,
                    length: 0,
                } if flags & FIN != 0 => finished(stream),
                Piece::Payload {
                    stream, last: true, ..
                } => finished(stream),
                _ => {}
            })
            .await?;
        if !more {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    let (secs, done) = (start.elapsed().as_secs_f64(), latencies.count());
    let latencies = (size > 1).then_some(latencies);
    Ok(Outcome {
        bytes: done * 2 * size as u64,
        secs,
        done,
        latencies,
        ..Outcome::default()
    })
}
