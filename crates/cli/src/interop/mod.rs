//! `weir interop`: the endpoints that the test suites of other implementations expect.

mod client;
mod fetch;
mod files;
mod h3;
mod hq;
mod perf;
mod server;
mod siduck;

use crate::args::{Common, Seen};
use crate::out::{Failure, Outcome};
use crate::units;
use clap::{Args, Subcommand, ValueEnum};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use weir::quic::{Cipher, Version};
use weir::{Builder, Config, QuicConfig};

/// The two ends.
#[derive(Debug, Subcommand)]
pub(crate) enum InteropCommand {
    /// Serve files and tests over QUIC to clients of any make
    Server(Box<ServerArgs>),
    /// Fetch from a QUIC server of any make
    Client(Box<ClientArgs>),
}

impl InteropCommand {
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Server(args) => &args.common,
            Self::Client(args) => &args.common,
        }
    }
}

/// What is spoken on a connection (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Alpn {
    /// HTTP/0.9 on streams: `GET /name`, and the file comes back
    HqInterop,
    /// draft-banks-quic-performance: as many bytes as are asked for
    Perf,
    /// A datagram `quack` is answered by `quack-ack`
    Siduck,
    /// HTTP/3
    H3,
}

impl Alpn {
    /// As it stands in the handshake.
    const fn as_str(self) -> &'static str {
        match self {
            Alpn::HqInterop => "hq-interop",
            Alpn::Perf => "perf",
            Alpn::Siduck => "siduck",
            Alpn::H3 => "h3",
        }
    }
}

impl fmt::Display for Alpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The one cipher suite that is offered and taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// TLS_AES_128_GCM_SHA256
    Aes128,
    /// TLS_AES_256_GCM_SHA384
    Aes256,
    /// TLS_CHACHA20_POLY1305_SHA256
    Chacha20,
}

impl From<Suite> for Cipher {
    fn from(suite: Suite) -> Self {
        match suite {
            Suite::Aes128 => Cipher::Aes128Gcm,
            Suite::Aes256 => Cipher::Aes256Gcm,
            Suite::Chacha20 => Cipher::ChaCha20Poly1305,
        }
    }
}

/// A version on the command line: `v1`, `v2`, or its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionArg(Version);

impl FromStr for VersionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "v1" | "1" => Ok(VersionArg(Version::V1)),
            "v2" | "2" => Ok(VersionArg(Version::V2)),
            other => Err(format!("`{other}` is no version of QUIC: write v1 or v2")),
        }
    }
}

/// What both sides can be told of the transport.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Transport")]
pub(crate) struct TransportArgs {
    /// Versions in the order of preference [default: v1,v2, and a server leaves it to its client]
    #[arg(long = "version", value_delimiter = ',', value_name = "V,..")]
    versions: Vec<VersionArg>,

    /// The one cipher suite that is offered and taken
    #[arg(long, value_name = "SUITE")]
    cipher: Option<Suite>,

    /// Bytes that the peer may send on a new stream before any were read
    #[arg(long, default_value = "256K", value_parser = units::parse_bytes, value_name = "BYTES")]
    stream_window: u64,

    /// Streams that the peer may have open at once
    #[arg(long, default_value_t = 100, value_name = "N")]
    max_streams: u32,

    /// Largest UDP payload, in bytes
    #[arg(long, default_value_t = 1452, value_name = "BYTES")]
    mtu: u16,

    /// How long a handshake may take
    #[arg(long, default_value = "60s", value_parser = units::parse_time, value_name = "TIME")]
    handshake_timeout: Duration,

    /// Silence after which a connection is over
    #[arg(long, default_value = "30s", value_parser = units::parse_time, value_name = "TIME")]
    idle_timeout: Duration,
}

impl TransportArgs {
    fn versions(&self) -> Vec<Version> {
        match self.versions.as_slice() {
            [] => vec![Version::V1, Version::V2],
            given => given.iter().map(|version| version.0).collect(),
        }
    }

    fn config(&self) -> Config {
        Config {
            stream_window: self.stream_window,
            max_inbound_streams: self.max_streams,
            handshake_timeout: self.handshake_timeout,
            keep_alive: None,
            quic: QuicConfig {
                versions: self.versions(),
                follows_client_versions: self.versions.is_empty(),
                cipher: self.cipher.map(Cipher::from),
                mtu: Some(self.mtu),
                idle_timeout: Some(self.idle_timeout),
                ..QuicConfig::default()
            },
            ..Config::default()
        }
    }
}

/// Says which protocols an endpoint speaks.
fn speaking(builder: Builder, alpn: &[Alpn]) -> Builder {
    builder.alpn(alpn.iter().map(|alpn| alpn.as_str()))
}

/// `weir interop server`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir interop server --addr 127.0.0.1:4433 --cert cert.pem --key key.pem --www files\n\n\
    The first line with --json is {\"listening\":\"IP:PORT\",..}. It ends with code 0 on Ctrl-C and SIGTERM."
)]
pub(crate) struct ServerArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    pub(crate) addr: String,

    /// The certificate for the server's name, and those that lead to an authority
    #[arg(long, value_name = "PEM")]
    pub(crate) cert: PathBuf,

    /// The certificate's private key
    #[arg(long, value_name = "PEM")]
    pub(crate) key: PathBuf,

    /// The files that are served
    #[arg(long, value_name = "DIR")]
    pub(crate) www: PathBuf,

    /// What is spoken, in the order of preference
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "hq-interop,perf,siduck,h3",
        value_name = "ALPN,.."
    )]
    pub(crate) alpn: Vec<Alpn>,

    /// Have every client prove its address by a Retry first
    #[arg(long)]
    pub(crate) retry: bool,

    /// Take no early data
    #[arg(long)]
    pub(crate) no_early_data: bool,

    /// Ask clients to move to this address of the machine; without --addr's port, it is the same
    #[arg(long, value_name = "IP")]
    pub(crate) preferred_address: Vec<IpAddr>,

    #[command(flatten)]
    pub(crate) transport: TransportArgs,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

/// `weir interop client`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir interop client --connect 127.0.0.1:4433 --name localhost --ca ca.pem --alpn hq-interop --out got /a /b\n\n\
    Fetches every PATH, all at once on one connection, each into a file of DIR whose name has underscores\n\
    in place of slashes. With --alpn perf a PATH is a number of bytes to fetch, or DOWN+UP; with siduck there\n\
    is none. Exit code 0 only if all came whole."
)]
pub(crate) struct ClientArgs {
    /// The server's address
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) connect: SocketAddr,

    /// The name that its certificate has to be for
    #[arg(long, value_name = "SNI")]
    pub(crate) name: String,

    /// The authorities whose word is taken for it
    #[arg(long, value_name = "PEM")]
    pub(crate) ca: PathBuf,

    /// What is spoken
    #[arg(long, default_value = "hq-interop", value_name = "ALPN")]
    pub(crate) alpn: Alpn,

    /// Where the files go
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Fetch the first PATH on one connection, and the rest on a second that resumes its session
    #[arg(long)]
    pub(crate) resume: bool,

    /// As --resume, and ask for the rest before the second handshake is done; such requests can be
    /// replayed by whoever records them
    #[arg(long)]
    pub(crate) early_data: bool,

    /// A connection of its own for each PATH, one after the other
    #[arg(long, conflicts_with_all = ["resume", "early_data"])]
    pub(crate) many: bool,

    /// Replace the packet keys as soon as that is permitted
    #[arg(long)]
    pub(crate) key_update: bool,

    /// The version to begin with, when it is not the preferred one
    #[arg(long, value_name = "V")]
    pub(crate) begin_with: Option<VersionArg>,

    /// Move to another local port after this time, as after a change of networks
    #[arg(long, value_parser = units::parse_time, value_name = "TIME")]
    pub(crate) rebind: Option<Duration>,

    /// How long all of it may take
    #[arg(long, default_value = "60s", value_parser = units::parse_time, value_name = "TIME")]
    pub(crate) timeout: Duration,

    /// What to fetch
    #[arg(value_name = "PATH")]
    pub(crate) paths: Vec<String>,

    #[command(flatten)]
    pub(crate) transport: TransportArgs,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

/// Runs `weir interop`.
pub(crate) fn run(command: InteropCommand) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime did not start: {error}")))?;
    match command {
        InteropCommand::Server(args) => runtime.block_on(server::run(&args)),
        InteropCommand::Client(args) => runtime.block_on(client::run(&args)),
    }
}
