//! `weir echo`: the smallest example of each way to carry streams.

mod client;
mod server;

use crate::args::{Common, Seen};
use crate::out::{Failure, Outcome};
use crate::units;
use clap::{Args, Subcommand};
use std::time::Duration;
use weir::{Target, Via};

/// The two ends of an echo.
#[derive(Debug, Subcommand)]
pub(crate) enum EchoCommand {
    /// Send every stream's bytes back on it
    Server(ServerArgs),
    /// Open streams to an echo server and check what comes back
    Client(ClientArgs),
}

impl EchoCommand {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Server(args) => &args.common,
            Self::Client(args) => &args.common,
        }
    }
}

/// `weir echo server`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir echo server --via yamux-plain --addr 127.0.0.1:4433 --json\n\n\
    Any client may connect. Via yamux-plain any yamux client can: each stream comes back byte for\n\
    byte, and its end when the client has ended it. The first line with --json is\n\
    {\"listening\":\"IP:PORT\",..}."
)]
pub(crate) struct ServerArgs {
    /// How streams are carried: quic, yamux, auto, yamux-plain, or one stream a connection: tcp, tls
    #[arg(long, default_value = "yamux", value_name = "VIA")]
    pub(crate) via: Via,

    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    pub(crate) addr: String,

    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

/// `weir echo client`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir echo client --via yamux-plain --connect 127.0.0.1:4433 --count 3\n\n\
    Sends `hello 0`, `hello 1`, .. each on a stream of its own, ends it, and reads it back to its end.\n\
    Exit code 0 only if all came back."
)]
pub(crate) struct ClientArgs {
    /// How streams are carried: quic, yamux, auto, yamux-plain, or one stream a connection: tcp, tls
    #[arg(long, default_value = "yamux", value_name = "VIA")]
    pub(crate) via: Via,

    /// The server: HOST:PORT, or PEER@HOST:PORT to insist on whose key answers
    #[arg(long, value_name = "ADDR")]
    pub(crate) connect: Target,

    /// How many streams
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub(crate) count: u32,

    /// How long to wait for all of them
    #[arg(long, default_value = "30s", value_parser = units::parse_time, value_name = "TIME")]
    pub(crate) timeout: Duration,

    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

/// Runs `weir echo`.
pub(crate) fn run(command: EchoCommand) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime did not start: {error}")))?;
    match command {
        EchoCommand::Server(args) => runtime.block_on(server::run(args)),
        EchoCommand::Client(args) => runtime.block_on(client::run(args)),
    }
}
