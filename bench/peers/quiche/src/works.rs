//! The client's side of the works.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use bench_common::report::{self, Latencies, Outcome};
use bench_common::udp::Incoming;
use bench_common::{CHUNK, Flags, MESSAGE, Work};
use quiche::{Connection, Error};

use crate::broken;
use crate::endpoint::{App, Endpoint};

/// How long connections lie idle before memory is looked at, as with the other peers.
const SETTLE: Duration = Duration::from_secs(1);

/// Runs the work.
pub async fn measure(flags: &Flags) -> io::Result<Outcome> {
    let mut client = Client {
        endpoint: Endpoint::new(flags)?,
        incoming: Incoming::new(),
        app: Requests::new(),
        flags: flags.clone(),
    };
    match flags.work {
        Work::Down(streams) => client.downloads(streams).await,
        Work::Up => client.upload().await,
        Work::RequestResponse(at_once) => client.requests(at_once).await,
        Work::Handshakes => client.handshakes().await,
        Work::IdleConns => client.idle_conns().await,
    }
}

/// A stream that was opened.
struct Request {
    begun: Instant,
    /// What is not sent yet.
    rest: Vec<u8>,
    answer: Vec<u8>,
}

/// Streams of all connections.
struct Requests {
    open: HashMap<(usize, u64), Request>,
    /// Connections and their streams that are over, with their answers, and since when they were under way.
    done: Vec<(usize, Vec<u8>, Instant)>,
    next: HashMap<usize, u64>,
    /// Bytes of downloads; their streams do not keep what comes.
    downloaded: Option<u64>,
    /// Bytes of the upload that were taken, and its stream, until it ends.
    upload: Option<(u64, u64)>,
    upload_over: bool,
    /// More to send, on any connection that has credit: how many, of what.
    wanted: (usize, Vec<u8>),
    block: Vec<u8>,
    buffer: Vec<u8>,
}

impl Requests {
    fn new() -> Requests {
        Requests {
            open: HashMap::new(),
            done: Vec::new(),
            next: HashMap::new(),
            downloaded: None,
            upload: None,
            upload_over: false,
            wanted: (0, Vec::new()),
            block: vec![0x5a; CHUNK],
            buffer: vec![0; CHUNK],
        }
    }

    fn open(
        &mut self,
        index: usize,
        connection: &mut Connection,
        bytes: Vec<u8>,
    ) -> io::Result<()> {
        let next = self.next.entry(index).or_default();
        let id = *next;
        *next += 4;
        let request = Request {
            begun: Instant::now(),
            rest: bytes,
            answer: Vec::new(),
        };
        self.open.insert((index, id), request);
        self.send(index, connection, id)
    }

    fn send(&mut self, index: usize, connection: &mut Connection, id: u64) -> io::Result<()> {
        let Some(request) = self.open.get_mut(&(index, id)) else {
            return Ok(());
        };
        if request.rest.is_empty() {
            return Ok(());
        }
        match connection.stream_send(id, &request.rest, true) {
            Ok(written) => request.rest.drain(..written),
            Err(Error::Done) => return Ok(()),
            Err(error) => return Err(broken(error)),
        };
        Ok(())
    }

    fn receive(&mut self, index: usize, connection: &mut Connection, id: u64) -> io::Result<()> {
        loop {
            let (length, ended) = match connection.stream_recv(id, &mut self.buffer) {
                Ok(read) => read,
                Err(Error::Done) => return Ok(()),
                Err(error) => return Err(broken(error)),
            };
            if let Some(bytes) = &mut self.downloaded {
                *bytes += length as u64;
                continue;
            }
            let Some(request) = self.open.get_mut(&(index, id)) else {
                return Err(io::Error::other("bytes on a stream that is over"));
            };
            request.answer.extend_from_slice(&self.buffer[..length]);
            if ended {
                if let Some(request) = self.open.remove(&(index, id)) {
                    self.done.push((index, request.answer, request.begun));
                }
                return Ok(());
            }
        }
    }

    fn go_on_uploading(&mut self, connection: &mut Connection) -> io::Result<()> {
        while let Some((id, sent)) = &mut self.upload {
            let (bytes, end) = if self.upload_over {
                (&[][..], true)
            } else {
                (self.block.as_slice(), false)
            };
            match connection.stream_send(*id, bytes, end) {
                Ok(written) => {
                    *sent += written as u64;
                    if end || written < bytes.len() {
                        return Ok(());
                    }
                }
                Err(Error::Done) => return Ok(()),
                Err(error) => return Err(broken(error)),
            }
        }
        Ok(())
    }
}

impl App for Requests {
    fn progress(&mut self, index: usize, connection: &mut Connection) -> io::Result<()> {
        if !connection.is_established() || connection.is_closed() {
            return Ok(());
        }
        while let Some(id) = connection.stream_readable_next() {
            self.receive(index, connection, id)?;
        }
        while let Some(id) = connection.stream_writable_next() {
            self.send(index, connection, id)?;
        }
        while self.wanted.0 > 0 && connection.peer_streams_left_bidi() > 0 {
            self.wanted.0 -= 1;
            self.open(index, connection, self.wanted.1.clone())?;
        }
        self.go_on_uploading(connection)
    }
}

struct Client {
    endpoint: Endpoint,
    incoming: Incoming,
    app: Requests,
    flags: Flags,
}

impl Client {
    async fn turn(&mut self, over: Option<Instant>) -> io::Result<()> {
        let Client {
            endpoint,
            incoming,
            app,
            ..
        } = self;
        endpoint.turn(app, incoming, over).await
    }

    async fn connect(&mut self) -> io::Result<usize> {
        let index = self.endpoint.connect(self.flags.addr)?;
        self.app.next.insert(index, 0);
        while !self.endpoint.get(index).is_some_and(|c| c.is_established()) {
            if self.endpoint.get(index).is_none() {
                return Err(io::Error::other("no connection"));
            }
            self.turn(None).await?;
        }
        self.endpoint.touch(index);
        Ok(index)
    }

    fn close(&mut self, index: usize) {
        if let Some(connection) = self.endpoint.get(index) {
            let _ = connection.close(true, 0, b"done");
        }
        self.endpoint.touch(index);
    }

    /// One request on a new stream of this connection; its answer.
    async fn ask(&mut self, index: usize, kind: u8) -> io::Result<Vec<u8>> {
        let connection = self.endpoint.get(index);
        let connection = connection.ok_or(io::ErrorKind::NotConnected)?;
        self.app.open(index, connection, vec![kind])?;
        self.endpoint.touch(index);
        loop {
            self.turn(None).await?;
            if let Some((_, answer, _)) = self.app.done.pop() {
                return Ok(answer);
            }
        }
    }

    async fn downloads(&mut self, streams: usize) -> io::Result<Outcome> {
        let index = self.connect().await?;
        let start = Instant::now();
        self.app.downloaded = Some(0);
        self.app.wanted = (streams, vec![b'D']);
        while start.elapsed() < self.flags.secs {
            self.turn(Some(start + self.flags.secs)).await?;
        }
        let (secs, bytes) = (start.elapsed().as_secs_f64(), self.app.downloaded);
        self.close(index);
        self.turn(Some(Instant::now())).await?;
        Ok(Outcome {
            bytes: bytes.unwrap_or_default(),
            secs,
            bulk: true,
            ..Outcome::default()
        })
    }

    async fn upload(&mut self) -> io::Result<Outcome> {
        let index = self.connect().await?;
        let start = Instant::now();
        let request = Request {
            begun: start,
            rest: Vec::new(),
            answer: Vec::new(),
        };
        self.app.open.insert((index, 0), request);
        let connection = self.endpoint.get(index);
        let connection = connection.ok_or(io::ErrorKind::NotConnected)?;
        connection.stream_send(0, b"U", false).map_err(broken)?;
        self.app.upload = Some((0, 1));
        while start.elapsed() < self.flags.secs {
            self.turn(Some(start + self.flags.secs)).await?;
        }
        self.app.upload_over = true;
        self.endpoint.touch(index);
        while self.app.done.is_empty() {
            self.turn(None).await?;
        }
        let secs = start.elapsed().as_secs_f64();
        let sent = self.app.upload.map_or(0, |(_, sent)| sent);
        if self.app.done[0].1 != sent.to_be_bytes() {
            return Err(io::Error::other("bytes are missing"));
        }
        Ok(Outcome {
            bytes: sent,
            secs,
            bulk: true,
            ..Outcome::default()
        })
    }

    async fn requests(&mut self, at_once: usize) -> io::Result<Outcome> {
        self.connect().await?;
        let mut latencies = Latencies::new();
        let start = Instant::now();
        self.app.wanted = (at_once, vec![b'R'; MESSAGE]);
        while start.elapsed() < self.flags.secs {
            self.turn(None).await?;
            for (index, answer, begun) in std::mem::take(&mut self.app.done) {
                if answer.len() != MESSAGE {
                    return Err(io::Error::other("an answer of another size"));
                }
                latencies.record(begun.elapsed());
                self.app.wanted.0 += 1;
                self.endpoint.touch(index);
            }
        }
        let done = latencies.count();
        Ok(Outcome {
            bytes: done * 2 * MESSAGE as u64,
            secs: start.elapsed().as_secs_f64(),
            done,
            latencies: Some(latencies),
            ..Outcome::default()
        })
    }

    async fn handshakes(&mut self) -> io::Result<Outcome> {
        let mut latencies = Latencies::new();
        let start = Instant::now();
        let mut begun = HashMap::new();
        while start.elapsed() < self.flags.secs {
            while begun.len() < self.flags.parallel {
                let index = self.endpoint.connect(self.flags.addr)?;
                self.app.next.insert(index, 0);
                begun.insert(index, (Instant::now(), false));
            }
            self.turn(None).await?;
            for (&index, (_, asked)) in &mut begun {
                if let Some(connection) = self.endpoint.get(index)
                    && !*asked
                    && connection.is_established()
                {
                    self.app.open(index, connection, vec![b'P'])?;
                    self.endpoint.touch(index);
                    *asked = true;
                }
            }
            for (index, answer, _) in std::mem::take(&mut self.app.done) {
                if let (Some((begun, _)), b"P") = (begun.remove(&index), answer.as_slice()) {
                    latencies.record(begun.elapsed());
                }
                self.close(index);
            }
        }
        Ok(Outcome {
            secs: start.elapsed().as_secs_f64(),
            done: latencies.count(),
            latencies: Some(latencies),
            ..Outcome::default()
        })
    }

    async fn idle(&mut self) -> io::Result<()> {
        let over = Instant::now() + SETTLE;
        while Instant::now() < over {
            self.turn(Some(over)).await?;
        }
        Ok(())
    }

    async fn server_rss(&mut self, index: usize) -> io::Result<f64> {
        let answer = self.ask(index, b'M').await?;
        let bytes = answer.try_into().map_err(broken)?;
        Ok(u64::from_be_bytes(bytes) as f64)
    }

    async fn idle_conns(&mut self) -> io::Result<Outcome> {
        let start = Instant::now();
        let control = self.connect().await?;
        for _ in 0..8 {
            let index = self.connect().await?;
            self.ask(index, b'P').await?;
            self.close(index);
        }
        self.idle().await?;
        let (server, client) = (self.server_rss(control).await?, report::rss_bytes() as f64);
        for _ in 0..self.flags.count {
            let index = self.connect().await?;
            self.ask(index, b'P').await?;
        }
        self.idle().await?;
        let count = self.flags.count as f64;
        let more = vec![
            ("connections", count),
            ("bytes_each", (report::rss_bytes() as f64 - client) / count),
            (
                "server_bytes_each",
                (self.server_rss(control).await? - server) / count,
            ),
        ];
        Ok(Outcome {
            secs: start.elapsed().as_secs_f64(),
            more,
            ..Outcome::default()
        })
    }
}
