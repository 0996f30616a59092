//! `weir perf server`: answers what [`super::protocol`] lets a client ask.

use super::ServerArgs;
use super::protocol::{HEADER, Request, Status, block};
use crate::link::Server;
use crate::out::{Outcome, json_line, say};
use crate::pipe::{Pipe, PipeError};
use crate::workers::{Serve, serve_streams};
use crate::{units, usage};
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use weir::Endpoint;

/// The code a stream is reset with when its request cannot be read.
const REFUSED: u64 = 1;

#[derive(Serialize)]
struct Used {
    cpu_s: f64,
    max_rss_kib: u64,
}

/// Runs until SIGTERM or Ctrl-C.
pub(super) async fn run(args: ServerArgs) -> Outcome {
    let config = super::config(args.mtu, args.via);
    let (seen, json) = (&args.seen, args.common.json);
    let server = Server::bind("perf server", &args.addr, args.via, config, seen, json).await?;
    let endpoint = server.endpoint.clone();
    server
        .run(accept(&endpoint, args.via.is_multiplexed()))
        .await;
    let used = Used {
        cpu_s: usage::cpu().as_secs_f64(),
        max_rss_kib: usage::max_rss_kib(),
    };
    if args.common.json {
        json_line(&used);
    } else {
        say(format_args!(
            "used {} of CPU time and at most {} of memory",
            units::time(usage::cpu()),
            units::bytes(used.max_rss_kib.saturating_mul(1024)),
        ));
    }
    Ok(())
}

/// Serves every connection until the endpoint closes.
async fn accept(endpoint: &Endpoint, multiplexed: bool) {
    if multiplexed {
        while let Some(connection) = endpoint.accept().await {
            serve_streams(&connection, &Arc::new(Service::default()));
        }
    } else {
        // Every connection is a stream, so all of them share what a connection's streams share.
        let service = Arc::new(Service::default());
        while let Some(stream) = endpoint.accept_bare().await {
            let service = Arc::clone(&service);
            tokio::spawn(async move { service.serve(Pipe::from(stream)).await });
        }
    }
}

/// What the streams of one connection share.
#[derive(Debug, Default)]
struct Service {
    lot: Lot,
}

/// Where streams are parked.
#[derive(Default)]
struct Lot {
    state: Mutex<Parked>,
    full: Notify,
}

#[derive(Default)]
struct Parked {
    /// Streams that are to be parked and have not come yet.
    expected: u64,
    /// Streams that came and have not been parked yet.
    coming: u64,
    pipes: Vec<Pipe>,
}

impl std::fmt::Debug for Lot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lot")
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}

impl Lot {
    fn open(&self, wanted: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expected = wanted;
        // Reserved now, so that what each stream costs is not blurred by the vector's doubling.
        state.pipes.reserve(usize::try_from(wanted).unwrap_or(0));
    }

    /// Whether the stream that has just come is to be parked.
    fn claims(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let claims = state.expected > 0;
        if claims {
            state.expected -= 1;
            state.coming += 1;
        }
        claims
    }

    /// Sends the stream's first byte back and keeps it.
    async fn park(&self, mut pipe: Pipe) -> Result<(), PipeError> {
        let greeted = greet(&mut pipe).await;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.coming -= 1;
        if greeted.is_ok() {
            state.pipes.push(pipe);
        }
        if state.expected == 0 && state.coming == 0 {
            self.full.notify_one();
        }
        greeted
    }

    fn held(&self) -> u64 {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pipes
            .len() as u64
    }

    fn empty(&self) {
        let state = std::mem::take(&mut *self.state.lock().unwrap_or_else(PoisonError::into_inner));
        // Dropped outside the lock: every stream tells its peer that it is gone.
        drop(state);
    }
}

impl Serve for Service {
    async fn serve(&self, mut pipe: Pipe) {
        if self.lot.claims() {
            // A stream that fails before it is idle is missing in the second status.
            drop(self.lot.park(pipe).await);
            return;
        }
        // What goes wrong on a stream is the client's to report: it sees the reset.
        if self.answer(&mut pipe).await.is_err() {
            pipe.reset(REFUSED);
        }
    }
}

impl Service {
    /// Serves the requests of one stream: one, or as many as come where the stream is a connection.
    async fn answer(&self, pipe: &mut Pipe) -> Result<(), PipeError> {
        let answer = block();
        loop {
            let mut header = [0; HEADER];
            let Some(more) = pipe.receive_head(&mut header).await? else {
                return pipe.finish().await;
            };
            let Some(request) = Request::decode(&header) else {
                pipe.reset(REFUSED);
                return Ok(());
            };
            match request {
                Request::Exchange {
                    length,
                    answer: wanted,
                } => {
                    let came = (HEADER as u64).saturating_add(more);
                    pipe.skip_exact(u64::from(length).saturating_sub(came))
                        .await?;
                    let wanted = usize::try_from(wanted)
                        .unwrap_or(usize::MAX)
                        .min(answer.len());
                    pipe.send(answer.slice(..wanted)).await?;
                    if pipe.is_bare() {
                        continue;
                    }
                    pipe.finish().await?;
                    // The end has usually come with the request: taking it leaves a clean stream.
                    pipe.skip_to_end().await?;
                    return Ok(());
                }
                Request::Down(bytes) => return down(pipe, bytes).await,
                Request::Up => return up(pipe, more).await,
                Request::Park(streams) => return self.park(pipe, streams).await,
                Request::Status => {
                    pipe.send(Status::now(self.lot.held()).encode()).await?;
                    pipe.finish().await?;
                    pipe.skip_to_end().await?;
                    return Ok(());
                }
            }
        }
    }

    async fn park(&self, pipe: &mut Pipe, streams: u64) -> Result<(), PipeError> {
        self.lot.open(streams);
        pipe.send(Status::now(self.lot.held()).encode()).await?;
        if streams > 0 {
            self.lot.full.notified().await;
        }
        pipe.send(Status::now(self.lot.held()).encode()).await?;
        let ended = pipe.skip_to_end().await;
        self.lot.empty();
        ended?;
        pipe.finish().await
    }
}

/// The byte each way that a parked stream has carried: an idle stream is one that was used before.
async fn greet(pipe: &mut Pipe) -> Result<(), PipeError> {
    let Some(byte) = pipe.receive(1).await? else {
        return Err(PipeError::Short { missing: 1 });
    };
    pipe.send(byte).await?;
    Ok(())
}

async fn down(pipe: &mut Pipe, bytes: u64) -> Result<(), PipeError> {
    let block = block();
    let mut missing = bytes;
    while missing > 0 {
        let now = usize::try_from(missing)
            .unwrap_or(usize::MAX)
            .min(block.len());
        pipe.send(block.slice(..now)).await?;
        missing = missing.saturating_sub(now as u64);
    }
    pipe.finish().await?;
    pipe.skip_to_end().await?;
    Ok(())
}

/// Counts what comes, of which `came` bytes have been taken with the request.
async fn up(pipe: &mut Pipe, came: u64) -> Result<(), PipeError> {
    let count = came.saturating_add(pipe.skip_to_end().await?);
    pipe.send(bytes::Bytes::copy_from_slice(&count.to_be_bytes()))
        .await?;
    pipe.finish().await
}
