//! What a measurement found, as a JSON line and in words.

use crate::out::Failure;
use crate::units;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The client's result line.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Who measured: `weir`.
    #[serde(rename = "impl")]
    pub(crate) implementation: &'static str,
    /// How streams were carried.
    pub(crate) via: String,
    /// What was done.
    pub(crate) work: &'static str,
    /// Payload bytes, both ways together for requests and answers.
    pub(crate) bytes: u64,
    /// How long it took, in seconds.
    pub(crate) secs: f64,
    /// Payload throughput in Gbit/s (bulk works).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) gbps: Option<f64>,
    /// Units a second (the other works).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) per_s: Option<f64>,
    /// How many units were done: streams, requests, handshakes, connections.
    pub(crate) count: u64,
    /// Median time of a unit, microseconds: a whole stream for bulk works, else one round trip.
    pub(crate) p50_us: f64,
    /// 99th percentile of the same.
    pub(crate) p99_us: f64,
    /// CPU time this process spent on the work, user and system, seconds.
    pub(crate) cpu_s: f64,
    /// The most memory this process held, KiB.
    pub(crate) max_rss_kib: u64,
    /// What idle connections and streams cost.
    #[serde(flatten)]
    pub(crate) idle: Option<Idle>,
}

/// What connections or streams that do nothing cost.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Idle {
    /// Growth of this process's resident memory for each of them, bytes.
    pub(crate) bytes_each: f64,
    /// The same of the server.
    pub(crate) server_bytes_each: f64,
    /// Median round trip of a 1 KiB request before they were opened, microseconds.
    pub(crate) p50_before_us: f64,
    /// The same while they are open.
    pub(crate) p50_with_us: f64,
}

/// Times of many units, from 100 ns to a minute, to two significant digits in small memory.
#[derive(Debug)]
pub(crate) struct Times(Mutex<Histogram<u32>>);

impl Times {
    /// No times yet.
    pub(crate) fn new() -> Result<Self, Failure> {
        Histogram::new_with_bounds(100, 60_000_000_000, 3)
            .map(|histogram| Self(Mutex::new(histogram)))
            .map_err(|error| Failure::failed(format!("no histogram: {error}")))
    }

    /// Adds one.
    pub(crate) fn record(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .saturating_record(nanos);
    }

    /// The time that so many percent of all did not exceed, in microseconds; 0 when there is none.
    pub(crate) fn percentile_us(&self, percent: f64) -> f64 {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        histogram.value_at_percentile(percent) as f64 / 1e3
    }
}

impl Report {
    /// The result in words, for people.
    pub(crate) fn in_words(&self) -> String {
        let mut text = format!("{} via {}: ", self.work, self.via);
        let secs = Duration::from_secs_f64(self.secs.max(0.0));
        if let Some(gbps) = self.gbps {
            let _ = write!(
                text,
                "{} ({}",
                units::rate(gbps * 1e9),
                units::bytes(self.bytes)
            );
        } else {
            let _ = write!(
                text,
                "{} ({}",
                units::per_second(self.per_s.unwrap_or(0.0)),
                self.count
            );
        }
        let _ = write!(text, " in {})", units::time(secs));
        let micros = |us: f64| units::time(Duration::from_nanos((us * 1e3) as u64));
        let _ = write!(
            text,
            ", p50 {}, p99 {}",
            micros(self.p50_us),
            micros(self.p99_us)
        );
        let _ = write!(
            text,
            ", CPU {}, memory at most {}",
            units::time(Duration::from_secs_f64(self.cpu_s.max(0.0))),
            units::bytes(self.max_rss_kib.saturating_mul(1024)),
        );
        if let Some(idle) = &self.idle {
            let _ = write!(
                text,
                "\n  each idle one costs {:.0} B here and {:.0} B at the server; \
                 a round trip beside them takes {} (p50), {} without them",
                idle.bytes_each,
                idle.server_bytes_each,
                micros(idle.p50_with_us),
                micros(idle.p50_before_us),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            implementation: "weir",
            via: "yamux".into(),
            work: "bulk-down",
            bytes: 1 << 30,
            secs: 0.5,
            gbps: Some(17.18),
            per_s: None,
            count: 1,
            p50_us: 500_000.0,
            p99_us: 500_000.0,
            cpu_s: 0.4,
            max_rss_kib: 8192,
            idle: None,
        }
    }

    #[test]
    fn a_line_has_what_scripts_read() {
        let line = serde_json::to_value(report()).unwrap();
        for field in [
            "impl", "via", "work", "bytes", "secs", "gbps", "p50_us", "p99_us", "cpu_s",
        ] {
            assert!(line.get(field).is_some(), "{field} is missing");
        }
        assert_eq!(line["max_rss_kib"], 8192);
        assert!(line.get("per_s").is_none());
    }

    #[test]
    fn people_read_it_with_units() {
        let words = report().in_words();
        assert!(
            words.starts_with("bulk-down via yamux: 17.2 Gbit/s (1 GiB in 500 ms)"),
            "{words}"
        );
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let times = Times::new().unwrap();
        for micros in 1..=100 {
            times.record(Duration::from_micros(micros));
        }
        assert!((times.percentile_us(50.0) - 50.0).abs() < 0.5);
        assert!((times.percentile_us(99.0) - 99.0).abs() < 0.5);
    }
}
