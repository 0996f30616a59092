//! Base lines with blocking calls: TCP, and rustls over TCP through either of its APIs.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use crate::args::{Args, Work};
use crate::works::{BASE_CHUNK, CHUNK, MESSAGE, Pages};
use bench_common::report::{Latencies, Outcome};

/// An ordered byte pipe, read where the bytes already lie.
pub trait Pipe {
    /// Waits for bytes and hands them over in one or several pieces; false at the end.
    fn receive(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<bool>;
    /// How much to send at a time.
    fn chunk(&self) -> usize {
        CHUNK
    }
    /// Sends all of it.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Ends this direction.
    fn finish(&mut self) -> io::Result<()>;
}

/// TCP with blocking calls.
pub struct Plain {
    tcp: TcpStream,
    buffer: Pages,
}

impl Plain {
    /// Over this connection.
    pub fn new(tcp: TcpStream) -> Plain {
        Plain {
            tcp,
            buffer: Pages::of(0, CHUNK),
        }
    }
}

impl Pipe for Plain {
    fn receive(&mut self, take: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let got = self.tcp.read(&mut self.buffer)?;
        take(&self.buffer[..got]);
        Ok(got > 0)
    }

    fn chunk(&self) -> usize {
        BASE_CHUNK
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tcp.write_all(bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.tcp.shutdown(Shutdown::Write)
    }
}

/// Serves one connection; what it asks for is its first byte.
pub fn serve(pipe: &mut dyn Pipe) -> io::Result<()> {
    let chunk = Pages::of(0x5a, pipe.chunk());
    let (mut asked, mut total, mut pending) = (None, 0u64, 0usize);
    loop {
        let mut got = 0usize;
        let more = pipe.receive(&mut |bytes| {
            got += bytes.len();
            if asked.is_none() && !bytes.is_empty() {
                asked = bytes.first().copied();
                got -= 1;
            }
        })?;
        total += got as u64;
        match asked {
            Some(b'D') => loop {
                pipe.send(&chunk)?;
            },
            Some(b'R') => {
                pending += got;
                while pending >= MESSAGE {
                    pipe.send(&chunk[..MESSAGE])?;
                    pending -= MESSAGE;
                }
            }
            _ => {}
        }
        if !more {
            break;
        }
    }
    pipe.send(&total.to_be_bytes())?;
    pipe.finish()
}

/// The client's side.
pub fn measure(pipe: &mut dyn Pipe, args: &Args) -> io::Result<Outcome> {
    let chunk = Pages::of(0x5a, pipe.chunk());
    let limit = args.bytes.unwrap_or(u64::MAX);
    let mut bytes = 0u64;
    let start = Instant::now();
    match args.work {
        Work::BulkDown => {
            pipe.send(b"D")?;
            while bytes < limit && start.elapsed() < args.secs {
                pipe.receive(&mut |got| bytes += got.len() as u64)?;
            }
        }
        Work::BulkUp => {
            pipe.send(b"U")?;
            while bytes < limit && start.elapsed() < args.secs {
                pipe.send(&chunk)?;
                bytes += chunk.len() as u64;
            }
            pipe.finish()?;
            let mut answer = Vec::new();
            while answer.len() < 8 && pipe.receive(&mut |got| answer.extend_from_slice(got))? {}
            if answer != bytes.to_be_bytes() {
                return Err(io::Error::other("bytes are missing"));
            }
        }
        Work::RequestResponse(1) => return requests(pipe, args),
        _ => {
            return Err(io::Error::other(
                "one connection has no streams: this work needs a multiplexer",
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

fn requests(pipe: &mut dyn Pipe, args: &Args) -> io::Result<Outcome> {
    pipe.send(b"R")?;
    let mut latencies = Latencies::new();
    let message = [b'R'; MESSAGE];
    let start = Instant::now();
    while start.elapsed() < args.secs {
        let begun = Instant::now();
        pipe.send(&message)?;
        let mut got = 0;
        while got < MESSAGE {
            if !pipe.receive(&mut |bytes| got += bytes.len())? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
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
