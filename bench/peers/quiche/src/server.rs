//! The server: what a stream asks for is its first byte, as in the other peers' `works.rs`.

use std::collections::HashMap;
use std::io;

use bench_common::udp::Incoming;
use bench_common::{CHUNK, Flags, MESSAGE, report};
use quiche::{Connection, Error};

use crate::broken;
use crate::endpoint::{App, Endpoint};

/// Serves until it is ended from outside.
pub async fn serve(flags: &Flags) -> io::Result<()> {
    let mut endpoint = Endpoint::new(flags)?;
    println!(
        "{{\"listening\":\"{}\",\"impl\":\"quiche\",\"via\":\"quic\"}}",
        endpoint.addr()
    );
    let (mut incoming, mut streams) = (Incoming::new(), Streams::new());
    loop {
        endpoint.turn(&mut streams, &mut incoming, None).await?;
    }
}

enum Stream {
    /// The first bytes of a request.
    Asking(Vec<u8>),
    /// Bytes of an upload that came so far.
    Counting(u64),
    /// A download without end.
    Sending,
    /// The rest of an answer.
    Answering(Vec<u8>),
}

struct Streams {
    /// By connection and stream.
    all: HashMap<usize, HashMap<u64, Stream>>,
    block: Vec<u8>,
    buffer: Vec<u8>,
}

impl Streams {
    fn new() -> Streams {
        Streams {
            all: HashMap::new(),
            block: vec![0x5a; CHUNK],
            buffer: vec![0; CHUNK],
        }
    }
}

impl App for Streams {
    fn progress(&mut self, index: usize, connection: &mut Connection) -> io::Result<()> {
        if connection.is_closed() {
            self.all.remove(&index);
            return Ok(());
        }
        let streams = self.all.entry(index).or_default();
        while let Some(id) = connection.stream_readable_next() {
            let stream = streams.remove(&id).unwrap_or(Stream::Asking(Vec::new()));
            let next = read(connection, id, stream, &mut self.buffer)?;
            streams.insert(id, next);
            write(connection, id, streams, &self.block)?;
        }
        while let Some(id) = connection.stream_writable_next() {
            write(connection, id, streams, &self.block)?;
        }
        Ok(())
    }
}

/// Takes all that a stream has; what it is now.
fn read(
    connection: &mut Connection,
    id: u64,
    mut stream: Stream,
    buffer: &mut [u8],
) -> io::Result<Stream> {
    loop {
        let (length, ended) = match connection.stream_recv(id, buffer) {
            Ok(read) => read,
            Err(Error::Done | Error::InvalidStreamState(_)) => return Ok(stream),
            Err(error) => return Err(broken(error)),
        };
        match &mut stream {
            Stream::Counting(count) => *count += length as u64,
            Stream::Asking(bytes) => {
                bytes.extend_from_slice(&buffer[..length]);
                if bytes.first() == Some(&b'U') {
                    stream = Stream::Counting(bytes.len() as u64);
                }
            }
            Stream::Sending | Stream::Answering(_) => {}
        }
        if ended {
            return Ok(answer(stream));
        }
    }
}

/// The whole request is there.
fn answer(stream: Stream) -> Stream {
    match stream {
        Stream::Counting(count) => Stream::Answering(count.to_be_bytes().to_vec()),
        Stream::Asking(bytes) => match bytes.first() {
            Some(b'D') => Stream::Sending,
            Some(b'M') => Stream::Answering(report::rss_bytes().to_be_bytes().to_vec()),
            Some(b'R') if bytes.len() != MESSAGE => Stream::Answering(Vec::new()),
            _ => Stream::Answering(bytes),
        },
        other => other,
    }
}

/// Hands over as much as fits.
fn write(
    connection: &mut Connection,
    id: u64,
    streams: &mut HashMap<u64, Stream>,
    block: &[u8],
) -> io::Result<()> {
    loop {
        let (bytes, end) = match streams.get(&id) {
            Some(Stream::Sending) => (block, false),
            Some(Stream::Answering(rest)) => (rest.as_slice(), true),
            _ => return Ok(()),
        };
        let written = match connection.stream_send(id, bytes, end) {
            Ok(written) => written,
            Err(Error::Done) => return Ok(()),
            // The client has what it wanted.
            Err(Error::StreamStopped(_) | Error::InvalidStreamState(_)) => {
                streams.remove(&id);
                return Ok(());
            }
            Err(error) => return Err(broken(error)),
        };
        let all = written == bytes.len();
        match streams.get_mut(&id) {
            Some(Stream::Answering(_)) if all => {
                streams.remove(&id);
                return Ok(());
            }
            Some(Stream::Answering(rest)) => {
                rest.drain(..written);
            }
            _ => {}
        }
        if !all {
            return Ok(());
        }
    }
}
