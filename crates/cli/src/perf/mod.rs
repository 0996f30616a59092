//! `weir perf`: what a connection can do, measured between two processes.

mod client;
mod progress;
mod protocol;
mod report;
mod server;
mod works;

use crate::args::{Common, Seen};
use crate::out::{Failure, Outcome};
use crate::units;
use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;
use weir::{Config, Target, Via};

/// The two ends of a measurement.
#[derive(Debug, Subcommand)]
pub(crate) enum PerfCommand {
    /// Answer what `weir perf client` asks for
    Server(ServerArgs),
    /// Measure one work against a `weir perf server`
    Client(ClientArgs),
}

impl PerfCommand {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Server(args) => &args.common,
            Self::Client(args) => &args.common,
        }
    }
}

/// `weir perf server`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir perf server --via yamux --addr 127.0.0.1:4433\n\n\
    Any client may connect; stop it with Ctrl-C and it says what it used.\n\
    With --json the first line is {\"listening\":\"IP:PORT\",..}, the last {\"cpu_s\":..,\"max_rss_kib\":..}."
)]
pub(crate) struct ServerArgs {
    /// How streams are carried: quic, yamux, auto, yamux-plain, or the base lines tcp and tls
    #[arg(long, default_value = "yamux", value_name = "VIA")]
    pub(crate) via: Via,

    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    pub(crate) addr: String,

    /// Largest UDP payload, in bytes, instead of what the path carries; for quic
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u16>,

    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

/// `weir perf client`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir perf client --via yamux --addr 127.0.0.1:4433 --work bulk-down --secs 5\n  \
    weir perf client --via tcp --addr 127.0.0.1:4434 --work rr-1 --count 10000 --json\n\n\
    Without --bytes, --secs or --count a work runs for 5 seconds."
)]
pub(crate) struct ClientArgs {
    /// How streams are carried: quic, yamux, auto, yamux-plain, or the base lines tcp and tls
    #[arg(long, default_value = "yamux", value_name = "VIA")]
    pub(crate) via: Via,

    /// The server: IP:PORT, or PEER@HOST:PORT to insist on whose key answers
    #[arg(long, value_name = "ADDR")]
    pub(crate) addr: Target,

    /// What to measure
    #[arg(long, value_enum, default_value = "bulk-down")]
    pub(crate) work: Work,

    /// Stop after so many bytes (64K, 100M, 1G; bulk and streams works)
    #[arg(long, value_parser = units::parse_bytes, value_name = "N")]
    pub(crate) bytes: Option<u64>,

    /// Stop after so many seconds
    #[arg(long, value_parser = units::parse_time, value_name = "S")]
    pub(crate) secs: Option<Duration>,

    /// Stop after so many requests, handshakes or streams; or how many to hold idle
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,

    /// How many are under way at once (streams-100: 100, rr-100: 100, open-close: 100)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) parallel: Option<u64>,

    /// Largest UDP payload, in bytes, instead of what the path carries; for quic
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u16>,

    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// One stream, from the server
    BulkDown,
    /// One stream, to the server
    BulkUp,
    /// 100 streams at once, from the server
    #[value(name = "streams-100")]
    Streams100,
    /// 1 KiB there and 1 KiB back on a new stream, one at a time
    #[value(name = "rr-1")]
    Rr1,
    /// The same, 100 at a time
    #[value(name = "rr-100")]
    Rr100,
    /// Connections set up, used for one small answer, closed; one at a time
    Handshakes,
    /// Memory of connections that do nothing, and what they cost the busy one
    IdleConns,
    /// Memory of streams that do nothing, and what they cost the busy one
    IdleStreams,
    /// Streams opened and ended without a byte, as many as go
    OpenClose,
}

impl Work {
    /// The name on the command line and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::BulkDown => "bulk-down",
            Self::BulkUp => "bulk-up",
            Self::Streams100 => "streams-100",
            Self::Rr1 => "rr-1",
            Self::Rr100 => "rr-100",
            Self::Handshakes => "handshakes",
            Self::IdleConns => "idle-conns",
            Self::IdleStreams => "idle-streams",
            Self::OpenClose => "open-close",
        }
    }
}

/// Runs `weir perf`.
pub(crate) fn run(command: PerfCommand) -> Outcome {
    // One core for a process: the figures are those of one core, and no wake-up crosses to another.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime did not start: {error}")))?;
    // A task of its own: what `block_on` itself runs is looked at only between two rounds of the
    // tasks, which costs a system call for each wake-up.
    runtime.block_on(async {
        let work = match command {
            PerfCommand::Server(args) => tokio::spawn(server::run(args)),
            PerfCommand::Client(args) => tokio::spawn(client::run(args)),
        };
        work.await
            .map_err(|error| Failure::failed(format!("the work broke off: {error}")))?
    })
}

/// The settings that the command line asks for. Says once where `--mtu` has nothing to act on.
fn config(mtu: Option<u16>, via: Via) -> Config {
    let mut config = Config::default();
    config.quic.mtu = mtu;
    if let Some(mtu) = mtu
        && !matches!(via, Via::Quic | Via::Auto)
    {
        crate::out::say(format_args!(
            "note: --mtu {mtu} does not apply to --via {via}: the system's TCP chooses its segments"
        ));
    }
    config
}
