//! `weir try`: proves the install. For each way to carry streams: two peers with fresh keys on this
//! machine, a tunnel between them, a web server behind it, and real HTTP through it.

mod body;
mod origin;
mod pair;
mod visit;

use crate::args::{Common, Seen};
use crate::link;
use crate::out::{Failure, Outcome, Table, json_line, say, show};
use crate::units;
use bytes::Bytes;
use clap::Args;
use pair::Pair;
use serde::Serialize;
use std::fmt;
use std::time::Duration;
use visit::{Visit, Wrong};
use weir::Via;

/// The ways that are tried, a row of the table for each.
const ROWS: &[Way] = &[
    Way::new(Via::Quic, Net::System),
    Way::new(Via::Yamux, Net::System),
    Way::new(Via::Quic, Net::Own),
    Way::new(Via::Yamux, Net::Own),
];
/// Bytes of the object that is downloaded and of the one that is uploaded.
const OBJECT: usize = 64 << 20;
/// A row that takes longer than this has failed.
const ROW_LIMIT: Duration = Duration::from_secs(30);

/// A way to carry streams, and what carries that.
#[derive(Clone, Copy, Debug)]
struct Way {
    via: Via,
    net: Net,
}

/// Whose sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Net {
    /// The system's, on loopback.
    System,
    /// Those of two stacks of our own, with a cable in memory between them.
    Own,
}

impl Way {
    const fn new(via: Via, net: Net) -> Self {
        Self { via, net }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.net {
            Net::System => write!(f, "{}", self.via),
            Net::Own => write!(f, "{} over weir-tcpip", self.via),
        }
    }
}

/// `weir try`
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  weir try\n\n\
    Takes a few seconds. Exit code 0 only if every byte came out right.\n\
    CPU is that of all parts together: both peers, the web server and the HTTP client.")]
pub(crate) struct TryArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

/// What one way could do.
#[derive(Debug, Serialize)]
struct Row {
    via: String,
    ok: bool,
    /// From the dial to a connection that carries streams, milliseconds, median of some.
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_ms: Option<f64>,
    /// Small HTTP requests through the tunnel, microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_p99_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    down_gbps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    up_gbps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_s_per_gib: Option<f64>,
    /// Bytes that were transferred and found right.
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Runs `weir try`.
pub(crate) fn run(args: &TryArgs) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime did not start: {error}")))?;
    let outcome = runtime.block_on(try_all(args));
    // What is still being taken down in the background is of no use to anybody any more.
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn try_all(args: &TryArgs) -> Outcome {
    let instruments = link::instruments(&args.seen)?;
    let objects = (body::object(1, OBJECT), body::object(2, OBJECT));
    let mut table = Table::new(&[
        "via",
        "",
        "connect",
        "rtt p50",
        "rtt p99",
        "down",
        "up",
        "CPU per GiB",
    ]);
    let mut failed = Vec::new();
    for way in ROWS {
        let trying = try_one(*way, &instruments, &objects);
        let row = match tokio::time::timeout(ROW_LIMIT, trying).await {
            Ok(Ok(row)) => row,
            Ok(Err(wrong)) => Row::failed(*way, wrong),
            Err(_) => Row::failed(*way, format!("not done within {}", units::time(ROW_LIMIT))),
        };
        if let Some(error) = &row.error {
            failed.push(format!("via {way}: {error}"));
        }
        if args.common.json {
            json_line(&row);
        } else {
            table.row(row.cells());
        }
    }
    instruments.finish();
    if !args.common.json {
        show(&table);
    }
    if failed.is_empty() {
        say("every byte came out right");
        return Ok(());
    }
    Err(Failure::failed(failed.join("\n      "))
        .hint("weir try -v shows what happened on the way; please report what it says"))
}

async fn try_one(
    way: Way,
    instruments: &link::Instruments,
    (object, upload): &(Bytes, Bytes),
) -> Result<Row, Wrong> {
    let origin = origin::Origin::start(object.clone())
        .await
        .map_err(|error| format!("no web server on loopback: {error}"))?;
    let pair = Pair::start(way, instruments, origin.addr()).await?;
    let connect = pair.connect_time().await?;
    let mut visit = Visit::connect(pair.forwarded(), upload.clone()).await?;
    let trips = visit.round_trips().await?;
    let down = visit.downloads().await?;
    let up = visit.uploads().await?;
    // The HTTP connection ends first: a tunnel waits for what runs in it.
    drop(visit);
    pair.stop().await;
    let bytes = down.bytes + up.bytes;
    let cpu = (down.cpu + up.cpu).as_secs_f64();
    Ok(Row {
        via: way.to_string(),
        ok: true,
        connect_ms: Some(connect.as_secs_f64() * 1e3),
        rtt_p50_us: percentile(&trips, 50),
        rtt_p99_us: percentile(&trips, 99),
        down_gbps: Some(down.rate() / 1e9),
        up_gbps: Some(up.rate() / 1e9),
        cpu_s_per_gib: Some(cpu / (bytes as f64 / f64::from(1 << 30)).max(1e-9)),
        bytes,
        error: None,
    })
}

/// Of sorted times, the one that so many percent do not exceed, in microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).map(|time| time.as_nanos() as f64 / 1e3)
}

impl Row {
    fn failed(way: Way, error: Wrong) -> Self {
        Self {
            via: way.to_string(),
            ok: false,
            connect_ms: None,
            rtt_p50_us: None,
            rtt_p99_us: None,
            down_gbps: None,
            up_gbps: None,
            cpu_s_per_gib: None,
            bytes: 0,
            error: Some(error),
        }
    }

    fn cells(&self) -> Vec<String> {
        let dash = || "-".to_owned();
        let time = |us: f64| units::time(Duration::from_secs_f64(us.max(0.0) / 1e6));
        let show = |value: Option<f64>, show: &dyn Fn(f64) -> String| value.map_or_else(dash, show);
        vec![
            self.via.clone(),
            if self.ok {
                "ok".to_owned()
            } else {
                "FAILED".to_owned()
            },
            show(self.connect_ms, &|ms| time(ms * 1e3)),
            show(self.rtt_p50_us, &time),
            show(self.rtt_p99_us, &time),
            show(self.down_gbps, &|gbps| units::rate(gbps * 1e9)),
            show(self.up_gbps, &|gbps| units::rate(gbps * 1e9)),
            show(self.cpu_s_per_gib, &|secs| {
                units::time(Duration::from_secs_f64(secs))
            }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_by_nearest_rank() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!(percentile(&times, 50), Some(100.0));
        assert_eq!(percentile(&times, 99), Some(198.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
