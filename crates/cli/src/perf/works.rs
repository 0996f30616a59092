//! The works: what is done, how often, and what counts as one of it.

use super::Work;
use super::client::{Dialer, Found, Line, Plan, WorkError};
use super::protocol::{HEADER, Request, Status, block};
use super::report::{Idle, Times};
use crate::out::Failure;
use crate::pipe::Pipe;
use bytes::Bytes;
use futures_util::future::try_join_all;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Bytes of a request and of its answer.
const EXCHANGE: u32 = 1024;
/// How many round trips tell the median before and beside idle connections: some tenths of a second.
const SAMPLES: u64 = 3000;
/// Connections that come and go before memory is looked at, so that what is allocated once is there.
const WARMING: u64 = 8;
/// How long connections lie idle before memory is looked at: what a handshake leaves is let go by then.
const SETTLE: Duration = Duration::from_secs(1);
/// Streams, requests and the like that the `-100` works keep under way.
const HUNDRED: u64 = 100;

/// Runs one work to its goal.
pub(super) async fn run(work: Work, dialer: &Dialer, plan: &Plan) -> Result<Found, WorkError> {
    match work {
        Work::BulkDown => bulk(dialer, plan, 1, Way::Down).await,
        Work::BulkUp => bulk(dialer, plan, 1, Way::Up).await,
        Work::Streams100 => bulk(dialer, plan, plan.parallel.unwrap_or(HUNDRED), Way::Down).await,
        Work::Rr1 => exchanges(dialer, plan, 1).await,
        Work::Rr100 => exchanges(dialer, plan, plan.parallel.unwrap_or(HUNDRED)).await,
        Work::Handshakes => handshakes(dialer, plan).await,
        Work::IdleConns => idle_connections(dialer, plan).await,
        Work::IdleStreams => idle_streams(dialer, plan).await,
        Work::OpenClose => open_close(dialer, plan, plan.parallel.unwrap_or(HUNDRED)).await,
    }
}

#[derive(Clone, Copy)]
enum Way {
    Down,
    Up,
}

/// Bulk transfer on so many streams at once; the bytes are shared out evenly.
async fn bulk(dialer: &Dialer, plan: &Plan, streams: u64, way: Way) -> Result<Found, WorkError> {
    let line = dialer.line().await?;
    let share = |index: u64| {
        let bytes = plan.goal.bytes?;
        Some(bytes / streams + u64::from(index < bytes % streams))
    };
    let started = Instant::now();
    let all = (0..streams).map(|index| one_bulk(&line, plan, share(index), way));
    try_join_all(all).await?;
    let time = started.elapsed();
    line.close();
    Ok(Found { time, idle: None })
}

async fn one_bulk(
    line: &Line<'_>,
    plan: &Plan,
    bytes: Option<u64>,
    way: Way,
) -> Result<(), WorkError> {
    let mut pipe = line.open().await?;
    let started = Instant::now();
    match way {
        Way::Down => down(&mut pipe, plan, bytes).await?,
        Way::Up => up(&mut pipe, plan, bytes).await?,
    }
    plan.times.record(started.elapsed());
    plan.done.add_unit();
    Ok(())
}

/// Reads to the end of the bytes or of the time, whichever is first.
async fn down(pipe: &mut Pipe, plan: &Plan, bytes: Option<u64>) -> Result<(), WorkError> {
    pipe.send(Request::Down(bytes.unwrap_or(u64::MAX)).encode())
        .await?;
    pipe.finish().await?;
    let mut count = 0;
    let ended = loop {
        let Some(read) = pipe.skip().await? else {
            break true;
        };
        count += read;
        plan.done.add_bytes(read);
        if plan.is_over() {
            break false;
        }
    };
    match bytes {
        Some(wanted) if ended && count != wanted => Err(WorkError::Wrong(format!(
            "{wanted} bytes were asked for, {count} came"
        ))),
        _ => Ok(()),
    }
}

/// Writes to the end of the bytes or of the time, then waits until the server has counted them all.
async fn up(pipe: &mut Pipe, plan: &Plan, bytes: Option<u64>) -> Result<(), WorkError> {
    pipe.send(Request::Up.encode()).await?;
    let block = block();
    let mut sent = 0_u64;
    while !plan.is_over() {
        let left = bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(sent));
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        if now == 0 {
            break;
        }
        pipe.send(block.slice(..now)).await?;
        sent += now as u64;
        plan.done.add_bytes(now as u64);
    }
    pipe.finish().await?;
    let mut answer = [0; 8];
    pipe.receive_exact(&mut answer).await?;
    let counted = u64::from_be_bytes(answer);
    if counted != sent {
        return Err(WorkError::Wrong(format!(
            "{sent} bytes were sent, {counted} arrived"
        )));
    }
    Ok(())
}

/// Requests and answers, so many at a time: each on a stream of its own, or on as many connections as
/// are under way at once where a stream costs a connection.
async fn exchanges(dialer: &Dialer, plan: &Plan, at_once: u64) -> Result<Found, WorkError> {
    let line = dialer.line().await?;
    let turns = Turns::new(plan.goal.units);
    let started = Instant::now();
    try_join_all((0..at_once).map(|_| exchange_loop(&line, plan, &turns))).await?;
    let time = started.elapsed();
    line.close();
    Ok(Found { time, idle: None })
}

async fn exchange_loop(line: &Line<'_>, plan: &Plan, turns: &Turns) -> Result<(), WorkError> {
    let request = exchange_request();
    let mut kept = if line.is_bare() {
        Some(line.open().await?)
    } else {
        None
    };
    // One look at the clock a turn: the end of one is the beginning of the next.
    let mut began = Instant::now();
    while turns.take() && !plan.is_over_at(began) {
        exchange(line, &mut kept, &request).await?;
        let ended = Instant::now();
        plan.times.record(ended.duration_since(began));
        began = ended;
        plan.done.add_unit();
        plan.done.add_bytes(2 * u64::from(EXCHANGE));
    }
    Ok(())
}

fn exchange_request() -> Bytes {
    Request::Exchange {
        length: EXCHANGE,
        answer: u64::from(EXCHANGE),
    }
    .encode()
}

/// One request and its answer.
async fn exchange(
    line: &Line<'_>,
    kept: &mut Option<Pipe>,
    request: &Bytes,
) -> Result<(), WorkError> {
    if let Some(pipe) = kept {
        pipe.send(request.clone()).await?;
        pipe.skip_exact(u64::from(EXCHANGE)).await?;
        return Ok(());
    }
    let mut pipe = line.open().await?;
    pipe.send(request.clone()).await?;
    pipe.finish().await?;
    let answer = pipe.skip_to_end().await?;
    if answer != u64::from(EXCHANGE) {
        return Err(WorkError::Wrong(format!(
            "an answer of {answer} bytes, not {EXCHANGE}"
        )));
    }
    Ok(())
}

/// Connections one after the other, or so many at a time: dialled, used for one answer so that both
/// sides have surely finished the handshake, closed.
async fn handshakes(dialer: &Dialer, plan: &Plan) -> Result<Found, WorkError> {
    let turns = Turns::new(plan.goal.units);
    // A byte back: what else the answer cost would count as a handshake's cost.
    let request = Request::Exchange {
        length: HEADER as u32,
        answer: 1,
    };
    let request = request.encode();
    let started = Instant::now();
    let one = || async {
        while turns.take() && !plan.is_over() {
            let began = Instant::now();
            let line = dialer.line().await?;
            let mut pipe = line.open().await?;
            pipe.send(request.clone()).await?;
            pipe.skip_exact(1).await?;
            plan.times.record(began.elapsed());
            plan.done.add_unit();
            line.close();
        }
        Ok::<(), WorkError>(())
    };
    try_join_all((0..plan.parallel.unwrap_or(1)).map(|_| one())).await?;
    Ok(Found {
        time: started.elapsed(),
        idle: None,
    })
}

/// Streams opened and ended without a byte; done when the server has ended them too.
async fn open_close(dialer: &Dialer, plan: &Plan, at_once: u64) -> Result<Found, WorkError> {
    let line = dialer.line().await?;
    let turns = Turns::new(plan.goal.units);
    let started = Instant::now();
    let one = || async {
        let mut began = Instant::now();
        while turns.take() && !plan.is_over_at(began) {
            let mut pipe = line.open().await?;
            pipe.finish().await?;
            pipe.skip_to_end().await?;
            let ended = Instant::now();
            plan.times.record(ended.duration_since(began));
            began = ended;
            plan.done.add_unit();
        }
        Ok::<(), WorkError>(())
    };
    try_join_all((0..at_once).map(|_| one())).await?;
    let time = started.elapsed();
    line.close();
    Ok(Found { time, idle: None })
}

/// Opens streams, leaves them alone on both sides, and looks at memory and at a busy one beside them.
async fn idle_streams(dialer: &Dialer, plan: &Plan) -> Result<Found, WorkError> {
    let line = dialer.line().await?;
    let count = plan.goal.units.unwrap_or(1).max(1);
    let before = median(&line).await?;
    let (mut control, server_before) = park(&line, count).await?;
    let mut held = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let rss_before = crate::usage::rss_kib();
    let started = Instant::now();
    for _ in 0..count {
        let began = Instant::now();
        let mut pipe = line.open().await?;
        pipe.send(Bytes::from_static(b"i")).await?;
        pipe.skip_exact(1).await?;
        held.push(pipe);
        plan.times.record(began.elapsed());
        plan.done.add_unit();
    }
    let server_after = Status::receive(&mut control).await?;
    if server_after.parked != count {
        let parked = server_after.parked;
        return Err(WorkError::Wrong(format!(
            "of {count} idle streams the server has {parked}"
        )));
    }
    let time = started.elapsed();
    let rss_after = crate::usage::rss_kib();
    let with = median(&line).await?;
    drop(held);
    control.finish().await?;
    line.close();
    let idle = idle(
        count,
        (rss_before, rss_after),
        (server_before, server_after),
        (before, with),
    );
    Ok(Found {
        time,
        idle: Some(idle),
    })
}

/// Opens connections, leaves them alone, and looks at memory and at a busy one beside them.
async fn idle_connections(dialer: &Dialer, plan: &Plan) -> Result<Found, WorkError> {
    if !dialer.via.is_multiplexed() {
        // Each stream of these is a connection.
        return idle_streams(dialer, plan).await;
    }
    let line = dialer.line().await?;
    let count = plan.goal.units.unwrap_or(1).max(1);
    let before = median(&line).await?;
    for _ in 0..WARMING {
        let passing = dialer.line().await?;
        status(&passing).await?;
        passing.close();
    }
    tokio::time::sleep(SETTLE).await;
    let server_before = status(&line).await?;
    let mut held = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
    let rss_before = crate::usage::rss_kib();
    let started = Instant::now();
    for _ in 0..count {
        let began = Instant::now();
        let idle = dialer.line().await?;
        // An answer shows that the server has finished its half of the handshake too.
        status(&idle).await?;
        held.push(idle);
        plan.times.record(began.elapsed());
        plan.done.add_unit();
    }
    let time = started.elapsed();
    tokio::time::sleep(SETTLE).await;
    let server_after = status(&line).await?;
    let rss_after = crate::usage::rss_kib();
    let with = median(&line).await?;
    held.iter().for_each(Line::close);
    line.close();
    let idle = idle(
        count,
        (rss_before, rss_after),
        (server_before, server_after),
        (before, with),
    );
    Ok(Found {
        time,
        idle: Some(idle),
    })
}

/// Asks the server to hold the next `count` streams; the stream that asked stays open until they are
/// to be let go.
async fn park(line: &Line<'_>, count: u64) -> Result<(Pipe, Status), WorkError> {
    let mut control = line.open().await?;
    control.send(Request::Park(count).encode()).await?;
    let status = Status::receive(&mut control).await?;
    Ok((control, status))
}

async fn status(line: &Line<'_>) -> Result<Status, WorkError> {
    let mut pipe = line.open().await?;
    pipe.send(Request::Status.encode()).await?;
    pipe.finish().await?;
    let status = Status::receive(&mut pipe).await?;
    pipe.skip_to_end().await?;
    Ok(status)
}

/// Median of some round trips, microseconds.
async fn median(line: &Line<'_>) -> Result<f64, WorkError> {
    let times = Times::new().map_err(|error: Failure| WorkError::Wrong(error.to_string()))?;
    let request = exchange_request();
    let mut kept = if line.is_bare() {
        Some(line.open().await?)
    } else {
        None
    };
    for _ in 0..SAMPLES {
        let began = Instant::now();
        exchange(line, &mut kept, &request).await?;
        times.record(began.elapsed());
    }
    Ok(times.percentile_us(50.0))
}

fn idle(
    count: u64,
    (rss_before, rss_after): (u64, u64),
    (server_before, server_after): (Status, Status),
    (before, with): (f64, f64),
) -> Idle {
    let each = |before: u64, after: u64| {
        after.saturating_sub(before) as f64 * 1024.0 / count.max(1) as f64
    };
    Idle {
        bytes_each: each(rss_before, rss_after),
        server_bytes_each: each(server_before.rss_kib, server_after.rss_kib),
        p50_before_us: before,
        p50_with_us: with,
    }
}

/// So many turns for all who take them; without a number there is always one more.
struct Turns(Option<AtomicU64>);

impl Turns {
    fn new(count: Option<u64>) -> Self {
        Self(count.map(AtomicU64::new))
    }

    fn take(&self) -> bool {
        let Some(left) = &self.0 else { return true };
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
        .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_end_when_they_are_numbered() {
        let turns = Turns::new(Some(2));
        assert!(turns.take() && turns.take() && !turns.take() && !turns.take());
        assert!(Turns::new(None).take());
    }

    #[test]
    fn idle_costs_are_shared_out() {
        let status = |rss_kib| Status {
            rss_kib,
            cpu_ns: 0,
            parked: 0,
        };
        let idle = idle(1024, (100, 500), (status(50), status(250)), (1.0, 2.0));
        assert_eq!((idle.bytes_each, idle.server_bytes_each), (400.0, 200.0));
    }
}
