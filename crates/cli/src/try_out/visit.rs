//! The HTTP client at the near end of the tunnel: downloads, uploads and small requests, every byte
//! of them checked.

use super::body::{Whole, sha256};
use crate::usage;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

/// The first transfer, which only shows how large the others should be.
const FIRST: usize = 1 << 20;
/// How long the others take together in each direction.
const TRANSFERS: Duration = Duration::from_millis(500);
/// How long one of them is meant to take.
const TRANSFER: Duration = Duration::from_millis(100);
/// How long small requests are sent.
const SMALL: Duration = Duration::from_millis(250);
/// Bytes that a small request brings.
const SMALL_BYTES: usize = 100;

/// What went through, and how fast.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    /// Bytes, all of them right.
    pub(super) bytes: u64,
    /// Time they took; checking them is not in it.
    pub(super) time: Duration,
    /// CPU time of this process meanwhile: both peers, the web server and the client.
    pub(super) cpu: Duration,
}

impl Moved {
    fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.time += other.time;
        self.cpu += other.cpu;
    }

    /// Bits a second.
    pub(super) fn rate(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.time.as_secs_f64().max(1e-9)
    }
}

/// One HTTP connection.
pub(super) struct Visit {
    sender: SendRequest<Whole>,
    /// What uploads send, and what the origin serves: the same length.
    upload: Bytes,
    /// What the origin said of the first so many bytes of its object when it was last asked.
    known: (usize, String),
}

/// What went wrong, in words.
pub(super) type Wrong = String;

impl Visit {
    /// Connects to `addr`, which leads to the origin.
    pub(super) async fn connect(addr: SocketAddr, upload: Bytes) -> Result<Self, Wrong> {
        let stream = TcpStream::connect(addr)
            .await
            .map_err(|error| format!("the forwarded port {addr} does not answer: {error}"))?;
        // Without it the system would only be slower; the bytes are the same.
        let _ = stream.set_nodelay(true);
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| format!("HTTP did not begin: {error}"))?;
        // What ends the connection fails the request that is under way, which tells it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self {
            sender,
            upload,
            known: (0, String::new()),
        })
    }

    /// Small requests one after the other; the time each took.
    pub(super) async fn round_trips(&mut self) -> Result<Vec<Duration>, Wrong> {
        let mut times = Vec::new();
        let started = Instant::now();
        while started.elapsed() < SMALL {
            let began = Instant::now();
            let pieces = self.get(SMALL_BYTES).await?;
            times.push(began.elapsed());
            self.check_object("a small answer", SMALL_BYTES, pieces)
                .await?;
        }
        times.sort_unstable();
        Ok(times)
    }

    /// Downloads for [`TRANSFERS`].
    pub(super) async fn downloads(&mut self) -> Result<Moved, Wrong> {
        let first = self.download(FIRST.min(self.upload.len())).await?;
        let size = self.size_for(first);
        let mut all = Moved::default();
        while all.time < TRANSFERS {
            all.add(self.download(size).await?);
        }
        Ok(all)
    }

    /// Uploads for [`TRANSFERS`].
    pub(super) async fn uploads(&mut self) -> Result<Moved, Wrong> {
        let first = self.upload(FIRST.min(self.upload.len())).await?;
        let size = self.size_for(first);
        let mut all = Moved::default();
        while all.time < TRANSFERS {
            all.add(self.upload(size).await?);
        }
        Ok(all)
    }

    /// How many bytes take about [`TRANSFER`], within what there is.
    fn size_for(&self, first: Moved) -> usize {
        let bytes = first.rate() / 8.0 * TRANSFER.as_secs_f64();
        (bytes as usize).clamp(FIRST, self.upload.len())
    }

    async fn download(&mut self, size: usize) -> Result<Moved, Wrong> {
        let (cpu, started) = (usage::cpu(), Instant::now());
        let pieces = self.get(size).await?;
        let (time, cpu) = (started.elapsed(), usage::cpu().saturating_sub(cpu));
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        if bytes != size {
            return Err(format!("a download of {size} bytes brought {bytes}"));
        }
        self.check_object("a download", size, pieces).await?;
        Ok(Moved {
            bytes: bytes as u64,
            time,
            cpu,
        })
    }

    async fn upload(&mut self, size: usize) -> Result<Moved, Wrong> {
        let body = self.upload.slice(..size);
        let (cpu, started) = (usage::cpu(), Instant::now());
        self.request(Method::PUT, "/object", body.clone()).await?;
        let (time, cpu) = (started.elapsed(), usage::cpu().saturating_sub(cpu));
        let received = self.text("/received").await?;
        check("an upload", &received, &sha256([body]))?;
        Ok(Moved {
            bytes: size as u64,
            time,
            cpu,
        })
    }

    /// The first `size` bytes of the origin's object.
    async fn get(&mut self, size: usize) -> Result<Vec<Bytes>, Wrong> {
        let path = format!("/object/{size}");
        collect(self.request(Method::GET, &path, Bytes::new()).await?).await
    }

    /// Whether these are the first `size` bytes of the origin's object.
    async fn check_object(
        &mut self,
        what: &str,
        size: usize,
        pieces: Vec<Bytes>,
    ) -> Result<(), Wrong> {
        if self.known.0 != size {
            self.known = (size, self.text(&format!("/sha256/{size}")).await?);
        }
        check(what, &sha256(pieces), &self.known.1)
    }

    /// A short answer in words.
    async fn text(&mut self, path: &str) -> Result<String, Wrong> {
        let answer = collect(self.request(Method::GET, path, Bytes::new()).await?).await?;
        Ok(String::from_utf8_lossy(&answer.concat()).into_owned())
    }

    async fn request(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<hyper::body::Incoming>, Wrong> {
        let about = format!("{method} {path}");
        let failed = |error: &dyn std::fmt::Display| format!("{about} failed: {error}");
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(hyper::header::HOST, "origin.test")
            .body(Whole(body))
            .map_err(|error| failed(&error))?;
        self.sender.ready().await.map_err(|error| failed(&error))?;
        let response = self
            .sender
            .send_request(request)
            .await
            .map_err(|error| failed(&error))?;
        if !response.status().is_success() {
            return Err(format!("{about} was answered {}", response.status()));
        }
        Ok(response)
    }
}

/// The pieces of a body as they came: they are checked when the clock stands still.
async fn collect(response: Response<hyper::body::Incoming>) -> Result<Vec<Bytes>, Wrong> {
    let mut body = response.into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("a body was cut off: {error}"))?;
        pieces.extend(frame.into_data());
    }
    Ok(pieces)
}

fn check(what: &str, found: &str, expected: &str) -> Result<(), Wrong> {
    if found == expected {
        return Ok(());
    }
    Err(format!(
        "{what} came out wrong: its SHA-256 is {found}, it should be {expected}"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::body::object;
    use super::super::origin::Origin;
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A way to `to` that changes the n-th byte that comes from there, and the n-th that goes there.
    async fn corrupting(to: SocketAddr, n: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (near, _) = listener.accept().await.unwrap();
            let far = TcpStream::connect(to).await.unwrap();
            let (near, far) = (near.into_split(), far.into_split());
            for (mut from, mut to) in [(near.0, far.1), (far.0, near.1)] {
                tokio::spawn(async move {
                    let mut passed = 0;
                    let mut buffer = vec![0; 64 * 1024];
                    loop {
                        let Ok(read @ 1..) = from.read(&mut buffer).await else {
                            return;
                        };
                        if let Some(at) = n.checked_sub(passed).filter(|at| *at < read) {
                            buffer[at] ^= 1;
                        }
                        passed += read;
                        if to.write_all(&buffer[..read]).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        addr
    }

    #[tokio::test]
    async fn whole_bytes_are_found_right() {
        let origin = Origin::start(object(1, FIRST)).await.unwrap();
        let mut visit = Visit::connect(origin.addr(), object(2, FIRST))
            .await
            .unwrap();
        assert_eq!(visit.download(FIRST).await.unwrap().bytes, FIRST as u64);
        assert_eq!(visit.upload(FIRST).await.unwrap().bytes, FIRST as u64);
    }

    #[tokio::test]
    async fn one_wrong_bit_is_found_in_either_direction() {
        let origin = Origin::start(object(1, FIRST)).await.unwrap();
        for down in [true, false] {
            let addr = corrupting(origin.addr(), FIRST / 2).await;
            let mut visit = Visit::connect(addr, object(2, FIRST)).await.unwrap();
            let wrong = if down {
                visit.download(FIRST).await
            } else {
                visit.upload(FIRST).await
            };
            let wrong = wrong.unwrap_err();
            assert!(wrong.contains("came out wrong"), "{wrong}");
        }
    }
}
