//! TCP: each connection is a pair of streams that take their time.

use std::io;
use std::sync::Arc;
use std::time::Instant as Clock;

use bytes::{Bytes, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use weir_core::time::{Duration, Instant};
use weir_sim::{Flow, LinkConfig, PipeConfig, Read, split};

use crate::limits;
use crate::state::{Direction, Shared};

/// Bytes of a segment: what a packet of 1,500 bytes carries, with time stamps.
const SEGMENT: usize = 1_448;

/// The least by which a lost segment is late: timers of the sender are no finer.
const LEAST_RECOVERY: Duration = Duration::from_millis(10);

/// After the listener could not accept, for want of files as a rule.
const PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections, without end.
pub(crate) async fn serve(shared: Arc<Shared>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(limits::FLOWS));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            reset(&client);
            continue;
        };
        let number = {
            let mut core = shared.lock();
            shared.begin(&mut core);
            core.connections += 1;
            core.connections
        };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            connect(&shared, client, number).await;
            drop(permit);
        });
    }
}

/// Carries one connection to its end. An end by force of one side becomes one of the other.
async fn connect(shared: &Arc<Shared>, mut client: TcpStream, number: u64) {
    let Ok(mut server) = TcpStream::connect(shared.config.to).await else {
        return reset(&client);
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let outcome = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let up = pump(shared, Direction::ToServer, number, from_client, to_server);
        let down = pump(shared, Direction::ToClient, number, from_server, to_client);
        tokio::try_join!(up, down)
    };
    if outcome.is_err() {
        reset(&client);
        reset(&server);
    }
}

/// Makes the coming close a reset.
fn reset(stream: &TcpStream) {
    // Where the system refuses, it is an ordinary close.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// One direction, to its end.
async fn pump(
    shared: &Arc<Shared>,
    direction: Direction,
    number: u64,
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
) -> io::Result<()> {
    let mut flow = flow(shared, direction, number)?;
    let epoch = Clock::now();
    let start = shared.lock().now();
    let now = || start + epoch.elapsed();
    let mut read = BytesMut::new();
    // What was read and has no room in the flow yet, and what left it and is not written yet.
    let (mut waiting, mut leaving) = (Bytes::new(), Bytes::new());
    let mut open = true;
    loop {
        flow.advance(now(), |_, _| {});
        if !waiting.is_empty() {
            flow.write(now(), &mut waiting).map_err(|_| broken())?;
        }
        if leaving.is_empty() {
            match flow.read(now(), limits::READ) {
                Read::Data(data) => leaving = data,
                Read::End => return to.shutdown().await,
                Read::Reset => return Err(broken()),
                Read::Blocked => {}
            }
        }
        let next = flow.next_event().unwrap_or(Instant::MAX);
        let pause = next.saturating_duration_since(now());
        read.reserve(limits::READ);
        tokio::select! {
            count = from.read_buf(&mut read), if open && waiting.is_empty() => match count {
                Ok(0) => {
                    open = false;
                    flow.finish(now());
                }
                Ok(count) => {
                    shared.lock().way(direction).stats.tcp_bytes += count as u64;
                    waiting = read.split().freeze();
                }
                Err(_) => {
                    // What was sent before the reset arrives before it.
                    open = false;
                    flow.reset(now());
                }
            },
            written = to.write(&leaving), if !leaving.is_empty() => {
                let count = written?;
                let _ = leaving.split_to(count.min(leaving.len()));
            }
            () = tokio::time::sleep(pause), if next != Instant::MAX => {}
            else => return Err(broken()),
        }
    }
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

fn flow(shared: &Shared, direction: Direction, number: u64) -> io::Result<Flow> {
    let (there, back) = (&shared.config.to_server, &shared.config.to_client);
    let (this, back) = match direction {
        Direction::ToServer => (there, back),
        Direction::ToClient => (back, there),
    };
    let label = format!("tcp {number} {direction:?}");
    let config = pipe(this, back);
    Flow::new(config, split(shared.config.seed, &label))
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// The stream that a link makes of a connection.
fn pipe(link: &LinkConfig, back: &LinkConfig) -> PipeConfig {
    let round_trip = link.delay + back.delay;
    // Two bandwidth-delay products keep the pipe full; without a rate, the cap.
    let product = link.rate.map_or(u128::MAX, |rate| {
        u128::from(rate / 8).saturating_mul(2 * round_trip.as_millis()) / 1_000
    });
    let buffer = usize::try_from(product).unwrap_or(limits::STREAM);
    PipeConfig {
        rate: link.rate,
        delay: link.delay,
        jitter: link.jitter,
        loss: link.loss,
        recovery: round_trip.max(LEAST_RECOVERY),
        buffer: buffer.clamp(256 << 10, limits::STREAM),
        segment: SEGMENT,
        stalls: link.outages.clone(),
        ..PipeConfig::default()
    }
}
