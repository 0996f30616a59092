//! What a run used and what it prints.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;

/// CPU time of this process so far, user and system, in seconds (to a clock tick, 10 ms).
pub fn cpu_secs() -> f64 {
    const TICKS_PER_SEC: f64 = 100.0; // USER_HZ of every Linux there is
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command's name may hold spaces; what follows its closing bracket does not. proc(5): utime and stime are fields 14 and 15.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let tick = |at: usize| {
        fields
            .get(at)
            .and_then(|v| v.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    (tick(11) + tick(12)) / TICKS_PER_SEC
}

fn status_kib(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    line.and_then(|l| l.split_whitespace().nth(1))
        .and_then(|v| v.parse().ok())
        .unwrap_or(0)
}

/// Resident memory now, in bytes.
pub fn rss_bytes() -> u64 {
    status_kib("VmRSS:") * 1024
}

/// The most resident memory this process ever had, in KiB.
pub fn max_rss_kib() -> u64 {
    status_kib("VmHWM:")
}

/// Latencies of the request-and-answer works.
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        Latencies::new()
    }
}

impl Latencies {
    /// Empty; up to a minute each, to three digits.
    pub fn new() -> Latencies {
        Latencies(
            Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds are valid"),
        )
    }

    /// One more.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// All of another's too.
    pub fn add(&mut self, other: &Latencies) {
        let _ = self.0.add(&other.0);
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// This quantile in microseconds.
    pub fn micros(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// What a work measured.
#[derive(Default)]
pub struct Outcome {
    /// Payload bytes moved.
    pub bytes: u64,
    /// How long it took.
    pub secs: f64,
    /// Whether `bytes / secs` is the figure.
    pub bulk: bool,
    /// Requests, or streams opened and closed.
    pub done: u64,
    /// Latencies where they mean something.
    pub latencies: Option<Latencies>,
    /// More fields of the JSON line.
    pub more: Vec<(&'static str, f64)>,
}

/// Prints the client's JSON line: whose code ran, over what, and which work.
pub fn print(name: &str, via: &str, work: &str, outcome: &Outcome) {
    let mut line = format!(
        "{{\"impl\":\"{}\",\"via\":\"{}\",\"work\":\"{}\",\"bytes\":{},\"secs\":{:.4}",
        name, via, work, outcome.bytes, outcome.secs
    );
    if outcome.bulk {
        let _ = write!(
            line,
            ",\"gbps\":{:.3}",
            outcome.bytes as f64 * 8.0 / outcome.secs / 1e9
        );
    }
    if outcome.done > 0 {
        let _ = write!(line, ",\"per_s\":{:.1}", outcome.done as f64 / outcome.secs);
    }
    if let Some(latencies) = &outcome.latencies {
        let (p50, p99) = (latencies.micros(0.5), latencies.micros(0.99));
        let _ = write!(line, ",\"p50_us\":{p50:.2},\"p99_us\":{p99:.2}");
    }
    for (name, value) in &outcome.more {
        let _ = write!(line, ",\"{name}\":{value:.2}");
    }
    println!(
        "{line},\"cpu_s\":{:.2},\"max_rss_kib\":{}}}",
        cpu_secs(),
        max_rss_kib()
    );
}

/// Prints the server's last line.
pub fn print_server() {
    println!(
        "{{\"cpu_s\":{:.2},\"max_rss_kib\":{}}}",
        cpu_secs(),
        max_rss_kib()
    );
}
