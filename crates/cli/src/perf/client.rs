//! `weir perf client`: runs one work and reports what it found.

use super::progress::{Bar, Done, Goal};
use super::report::{Idle, Report, Times};
use super::{ClientArgs, Work, works};
use crate::link;
use crate::out::{Failure, Outcome, json_line, show};
use crate::pipe::{Pipe, PipeError};
use crate::usage;
use std::time::{Duration, Instant};
use weir::{Connection, Endpoint, Target, Via};

/// How long a work runs that nothing else bounds.
const DEFAULT_TIME: Duration = Duration::from_secs(5);

/// Runs `weir perf client`.
pub(super) async fn run(args: ClientArgs) -> Outcome {
    let config = super::config(args.mtu, args.via);
    // A limit that stays where it is only bounds how many connections can be held.
    let _ = weir_os::lift_open_files();
    let instruments = link::instruments(&args.seen)?;
    let endpoint = link::builder(args.via, &instruments)
        .config(config)
        .client()
        .await?;
    let dialer = Dialer {
        endpoint,
        target: args.addr.clone(),
        via: args.via,
    };
    let goal = goal(&args);
    let done = Done::default();
    let bar = Bar::start(args.common.json, args.work.name(), &done, goal);
    let plan = Plan {
        goal,
        parallel: args.parallel,
        started: Instant::now(),
        done,
        times: Times::new()?,
    };
    let cpu_before = usage::cpu();
    let found = works::run(args.work, &dialer, &plan).await;
    let cpu = usage::cpu().saturating_sub(cpu_before);
    drop(bar);
    let found = found.map_err(|error| error.about(args.work, &args.addr))?;
    let report = report(&args, &plan, &found, cpu);
    if args.common.json {
        json_line(&report);
    } else {
        show(report.in_words());
    }
    link::close(&dialer.endpoint, "done", &instruments).await;
    Ok(())
}

/// What bounds the work: what the command line says, else a time, and for idle works a number.
fn goal(args: &ClientArgs) -> Goal {
    let count = match args.work {
        Work::IdleStreams => Some(args.count.unwrap_or(10_000)),
        Work::IdleConns => Some(args.count.unwrap_or(500)),
        _ => args.count,
    };
    let unbounded = args.bytes.is_none() && args.secs.is_none() && count.is_none();
    let time = if unbounded {
        Some(DEFAULT_TIME)
    } else {
        args.secs
    };
    Goal {
        bytes: args.bytes,
        units: count,
        time,
    }
}

fn report(args: &ClientArgs, plan: &Plan, found: &Found, cpu: Duration) -> Report {
    let secs = found.time.as_secs_f64().max(1e-9);
    let bulk = matches!(args.work, Work::BulkDown | Work::BulkUp | Work::Streams100);
    let (bytes, count) = (plan.done.bytes(), plan.done.units());
    Report {
        implementation: "weir",
        via: args.via.to_string(),
        work: args.work.name(),
        bytes,
        secs: found.time.as_secs_f64(),
        gbps: bulk.then_some(bytes as f64 * 8.0 / secs / 1e9),
        per_s: (!bulk).then_some(count as f64 / secs),
        count,
        p50_us: plan.times.percentile_us(50.0),
        p99_us: plan.times.percentile_us(99.0),
        cpu_s: cpu.as_secs_f64(),
        max_rss_kib: usage::max_rss_kib(),
        idle: found.idle.clone(),
    }
}

/// How long the measured part took, and what only some works find.
#[derive(Debug)]
pub(super) struct Found {
    /// Time of the measured part: what is set up before it and taken down after it is left out.
    pub(super) time: Duration,
    /// What the idle ones cost.
    pub(super) idle: Option<Idle>,
}

/// What a work goes by and counts into.
#[derive(Debug)]
pub(super) struct Plan {
    /// What ends it.
    pub(super) goal: Goal,
    /// How many at once, where the command line says so.
    pub(super) parallel: Option<u64>,
    /// When the command began its work.
    pub(super) started: Instant,
    /// What was done.
    pub(super) done: Done,
    /// How long each unit took.
    pub(super) times: Times,
}

impl Plan {
    /// Whether the time is over.
    pub(super) fn is_over(&self) -> bool {
        self.is_over_at(Instant::now())
    }

    /// Whether the time is over at a moment that was looked at already.
    pub(super) fn is_over_at(&self, now: Instant) -> bool {
        self.goal
            .time
            .is_some_and(|time| now.duration_since(self.started) >= time)
    }
}

/// Why a work could not be done.
#[derive(Debug)]
pub(super) enum WorkError {
    /// No connection.
    Connect(weir::ConnectError),
    /// No stream on it.
    Open(weir::ConnectionError),
    /// A stream failed.
    Pipe(PipeError),
    /// The server did something else than was asked.
    Wrong(String),
}

impl From<weir::ConnectError> for WorkError {
    fn from(error: weir::ConnectError) -> Self {
        Self::Connect(error)
    }
}

impl From<weir::ConnectionError> for WorkError {
    fn from(error: weir::ConnectionError) -> Self {
        Self::Open(error)
    }
}

impl From<PipeError> for WorkError {
    fn from(error: PipeError) -> Self {
        Self::Pipe(error)
    }
}

impl WorkError {
    fn about(self, work: Work, server: &Target) -> Failure {
        let name = work.name();
        match self {
            Self::Connect(error) => Failure::failed(error)
                .hint("is `weir perf server` running there, with the same --via?"),
            Self::Open(error) => Failure::failed(format!("{name} at {server}: {error}")),
            Self::Pipe(error) => Failure::failed(format!("{name} at {server}: {error}"))
                .hint("is that a `weir perf server`, with the same --via?"),
            Self::Wrong(what) => Failure::failed(format!("{name} at {server}: {what}")),
        }
    }
}

/// Makes connections, and streams on them.
#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) endpoint: Endpoint,
    pub(super) target: Target,
    pub(super) via: Via,
}

/// Where streams come from: a connection that carries many, or a new connection for each.
pub(super) enum Line<'a> {
    /// Streams of one connection.
    Streams(Connection),
    /// Each stream is a connection.
    Conns(&'a Dialer),
}

impl Dialer {
    /// A line to the server.
    pub(super) async fn line(&self) -> Result<Line<'_>, WorkError> {
        if self.via.is_multiplexed() {
            Ok(Line::Streams(
                self.endpoint.connect_target(&self.target).await?,
            ))
        } else {
            Ok(Line::Conns(self))
        }
    }
}

impl Line<'_> {
    /// A new stream.
    pub(super) async fn open(&self) -> Result<Pipe, WorkError> {
        match self {
            Self::Streams(connection) => Ok(Pipe::from(connection.open_bi().await?)),
            Self::Conns(dialer) => Ok(Pipe::from(
                dialer.endpoint.connect_bare_target(&dialer.target).await?,
            )),
        }
    }

    /// Whether a stream costs a handshake, so that requests had better share one.
    pub(super) fn is_bare(&self) -> bool {
        matches!(self, Self::Conns(_))
    }

    /// Ends the connection, where there is one for all.
    pub(super) fn close(&self) {
        if let Self::Streams(connection) = self {
            connection.close(0, "done");
        }
    }
}
