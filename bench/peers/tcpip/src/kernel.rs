//! The other end: the kernel's TCP, as lean as it goes, so that the stack is what is measured.
//!
//! A connection begins with one byte that says what it is for: `R` every message is answered by one of the
//! same length, `S` bytes are counted and at the end the count comes back (8 bytes, big endian), `G` bytes come until the
//! client goes away.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bench_common::report::{Latencies, Outcome, rss_bytes};
use mio::{Events, Interest, Poll, Token};

use crate::args::{Args, MESSAGE};

const CHUNK: usize = 256 * 1024;

fn connect(args: &Args, what: u8) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(args.addr)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[what])?;
    Ok(stream)
}

/// The stack receives.
pub fn receive(args: &Args) -> io::Result<Outcome> {
    let mut stream = connect(args, b'S')?;
    let chunk = vec![0_u8; CHUNK];
    let begun = Instant::now();
    let mut bytes = 0;
    while begun.elapsed() < args.secs {
        bytes += stream.write(&chunk)? as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    let secs = begun.elapsed().as_secs_f64();
    let counted = u64::from_be_bytes(count);
    if counted != bytes {
        return Err(io::Error::other(format!(
            "{bytes} bytes sent, {counted} arrived"
        )));
    }
    Ok(Outcome {
        bytes,
        secs,
        bulk: true,
        ..Outcome::default()
    })
}

/// The stack sends.
pub fn send(args: &Args) -> io::Result<Outcome> {
    let mut stream = connect(args, b'G')?;
    let mut chunk = vec![0_u8; CHUNK];
    stream.read_exact(&mut chunk[..1])?;
    let begun = Instant::now();
    let mut bytes = 0;
    while begun.elapsed() < args.secs {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => bytes += count as u64,
        }
    }
    let secs = begun.elapsed().as_secs_f64();
    Ok(Outcome {
        bytes,
        secs,
        bulk: true,
        ..Outcome::default()
    })
}

fn one(stream: &mut TcpStream, message: &mut [u8; MESSAGE]) -> io::Result<()> {
    stream.write_all(&message[..])?;
    stream.read_exact(&mut message[..])
}

/// One request at a time.
pub fn rr_1(args: &Args) -> io::Result<Outcome> {
    let mut stream = connect(args, b'R')?;
    let mut message = [1; MESSAGE];
    let mut latencies = Latencies::new();
    let begun = Instant::now();
    while begun.elapsed() < args.secs {
        let asked = Instant::now();
        one(&mut stream, &mut message)?;
        latencies.record(asked.elapsed());
    }
    Ok(answered(begun, latencies))
}

fn answered(begun: Instant, latencies: Latencies) -> Outcome {
    Outcome {
        bytes: latencies.count() * 2 * MESSAGE as u64,
        secs: begun.elapsed().as_secs_f64(),
        done: latencies.count(),
        latencies: Some(latencies),
        ..Outcome::default()
    }
}

/// So many connections at once, on each one request at a time.
pub fn rr_many(args: &Args, count: usize) -> io::Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut clients = Vec::new();
    for at in 0..count {
        let stream = connect(args, b'R')?;
        stream.set_nonblocking(true)?;
        let mut stream = mio::net::TcpStream::from_std(stream);
        poll.registry()
            .register(&mut stream, Token(at), Interest::READABLE)?;
        clients.push((stream, 0_usize, Instant::now()));
    }
    let message = [1; MESSAGE];
    let mut into = [0; MESSAGE];
    let mut latencies = Latencies::new();
    let begun = Instant::now();
    for (stream, _, asked) in &mut clients {
        *asked = Instant::now();
        stream.write_all(&message)?;
    }
    let mut events = Events::with_capacity(count);
    while begun.elapsed() < args.secs {
        poll.poll(&mut events, Some(Duration::from_secs(10)))?;
        let now = Instant::now();
        for event in &events {
            let (stream, got, asked) = &mut clients[event.token().0];
            match stream.read(&mut into[*got..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => *got += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            }
            if *got == MESSAGE {
                *got = 0;
                latencies.record(now - *asked);
                *asked = now;
                stream.write_all(&message)?;
            }
        }
    }
    Ok(answered(begun, latencies))
}

/// One that opens, asks, reads and closes.
struct Visit {
    stream: mio::net::TcpStream,
    asked: bool,
    got: usize,
    begun: Instant,
}

fn visit(args: &Args, poll: &Poll, at: usize) -> io::Result<Visit> {
    let mut stream = mio::net::TcpStream::connect(args.addr.into())?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, Token(at), interest)?;
    Ok(Visit {
        stream,
        asked: false,
        got: 0,
        begun: Instant::now(),
    })
}

impl Visit {
    /// True when the answer is there.
    fn go_on(&mut self, into: &mut [u8; MESSAGE]) -> io::Result<bool> {
        if !self.asked {
            let mut request = [1; MESSAGE + 1];
            request[0] = b'R';
            match self.stream.write(&request) {
                Ok(count) if count == request.len() => self.asked = true,
                Ok(_) => return Err(io::Error::other("a request was cut")),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            let _ = self.stream.set_nodelay(true);
        }
        match self.stream.read(&mut into[self.got..]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.got += count;
                Ok(self.got == MESSAGE)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Connections opened, used and closed, 16 at a time.
pub fn open_close(args: &Args) -> io::Result<Outcome> {
    let mut poll = Poll::new()?;
    let mut visits = Vec::new();
    for at in 0..16 {
        visits.push(visit(args, &poll, at)?);
    }
    let mut into = [0; MESSAGE];
    let mut latencies = Latencies::new();
    let mut events = Events::with_capacity(64);
    let begun = Instant::now();
    while begun.elapsed() < args.secs {
        poll.poll(&mut events, Some(Duration::from_secs(10)))?;
        for event in &events {
            let at = event.token().0;
            if visits[at].go_on(&mut into)? {
                latencies.record(visits[at].begun.elapsed());
                visits[at] = visit(args, &poll, at)?;
            }
        }
    }
    Ok(answered(begun, latencies))
}

/// Idle connections: what each costs the server, and what they cost the others.
pub fn idle(args: &Args) -> io::Result<Outcome> {
    let before = rr_1(args)?;
    let server = memory_of(args)?;
    let mut idle = Vec::with_capacity(args.count);
    for _ in 0..args.count {
        let mut stream = connect(args, b'R')?;
        let mut message = [1; MESSAGE];
        one(&mut stream, &mut message)?;
        idle.push(stream);
    }
    std::thread::sleep(Duration::from_millis(500));
    let grown = memory_of(args)?.saturating_sub(server);
    let mut outcome = rr_1(args)?;
    let p50 = |outcome: &Outcome| outcome.latencies.as_ref().map_or(0.0, |l| l.micros(0.5));
    outcome.more = vec![
        ("server_bytes_each", grown as f64 / args.count as f64),
        ("p50_before_us", p50(&before)),
        ("own_rss", rss_bytes() as f64),
    ];
    Ok(outcome)
}

/// Resident memory of the server, asked of itself: `M` is answered by 8 bytes.
fn memory_of(args: &Args) -> io::Result<u64> {
    let mut stream = connect(args, b'M')?;
    let mut count = [0; 8];
    stream.read_exact(&mut count)?;
    Ok(u64::from_be_bytes(count))
}
