//! The command line: the same flags as `weir perf`, and `--impl` for whose code runs.

use std::time::Duration;

/// Whose code carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impl {
    /// The `yamux` crate on tokio.
    YamuxCrate,
    /// The `tokio-yamux` crate.
    TokioYamux,
    /// Frames over one TCP connection without flow control: the most that any correct multiplexer could reach.
    Line,
    /// TCP on tokio, no frames.
    Tcp,
    /// TCP with blocking calls, no frames.
    TcpBlocking,
    /// rustls, its buffered API, blocking.
    Rustls,
    /// rustls, its unbuffered API, blocking: records are opened in place.
    RustlsUnbuffered,
}

const IMPLS: [(&str, Impl); 7] = [
    ("yamux-crate", Impl::YamuxCrate),
    ("tokio-yamux", Impl::TokioYamux),
    ("line", Impl::Line),
    ("tcp", Impl::Tcp),
    ("tcp-blocking", Impl::TcpBlocking),
    ("rustls", Impl::Rustls),
    ("rustls-unbuffered", Impl::RustlsUnbuffered),
];

impl Impl {
    /// The name on the command line and in the JSON line.
    pub fn name(self) -> &'static str {
        IMPLS
            .iter()
            .find(|(_, which)| *which == self)
            .map_or("", |(name, _)| name)
    }

    /// What `weir perf` calls the same way to carry a stream.
    pub fn via(self) -> &'static str {
        match self {
            Impl::YamuxCrate | Impl::TokioYamux | Impl::Line => "yamux-plain",
            Impl::Tcp | Impl::TcpBlocking => "tcp",
            Impl::Rustls | Impl::RustlsUnbuffered => "tls",
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// One stream, server to client.
    BulkDown,
    /// One stream, client to server.
    BulkUp,
    /// This many downloads at once.
    Streams(usize),
    /// 1 KiB request and 1 KiB answer on a new stream, this many at a time.
    RequestResponse(usize),
    /// A stream opened, one byte, both ends closed; this many at a time.
    OpenClose(usize),
    /// Streams that are open and do nothing: what each costs in memory.
    IdleStreams,
}

impl Work {
    fn parse(name: &str) -> Option<Work> {
        Some(match name {
            "bulk-down" => Work::BulkDown,
            "bulk-up" => Work::BulkUp,
            "streams-100" => Work::Streams(100),
            "rr-1" => Work::RequestResponse(1),
            "rr-100" => Work::RequestResponse(100),
            "open-close" => Work::OpenClose(100),
            "idle-streams" => Work::IdleStreams,
            _ => return None,
        })
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Args {
    /// Server or client.
    pub server: bool,
    /// Whose code.
    pub which: Impl,
    /// Where to listen or to connect.
    pub addr: String,
    /// What to measure (client).
    pub work: Work,
    /// Its name.
    pub work_name: String,
    /// Bytes to move in the bulk works, in all; `None`: until `secs` are over.
    pub bytes: Option<u64>,
    /// How long to measure.
    pub secs: Duration,
    /// How many streams in `idle-streams`.
    pub count: usize,
}

/// How to call this program.
pub const USAGE: &str = "bench-peer server|client --impl NAME --addr IP:PORT [--work W] [--bytes N] [--secs S] [--count N]\n\
    impl: yamux-crate tokio-yamux line tcp tcp-blocking rustls rustls-unbuffered\n\
    work: bulk-down bulk-up streams-100 rr-1 rr-100 open-close idle-streams\n\
    example: bench-peer server --impl line --addr 127.0.0.1:0";

/// Reads the command line.
pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
    let server = match words.next().as_deref() {
        Some("server") => true,
        Some("client") => false,
        _ => return Err("server or client?".into()),
    };
    let mut args = Args {
        server,
        which: Impl::Tcp,
        addr: "127.0.0.1:0".into(),
        work: Work::BulkDown,
        work_name: "bulk-down".into(),
        bytes: None,
        secs: Duration::from_secs(2),
        count: 10_000,
    };
    let mut named = false;
    while let Some(flag) = words.next() {
        if flag == "--json" {
            continue; // the only form there is; taken so that scripts can treat all peers alike
        }
        let value = words
            .next()
            .ok_or_else(|| format!("{flag} needs a value"))?;
        let number = || {
            value
                .parse::<f64>()
                .map_err(|_| format!("{flag}: {value} is no number"))
        };
        match flag.as_str() {
            "--impl" => {
                let found = IMPLS.iter().find(|(name, _)| *name == value);
                args.which = found.ok_or_else(|| format!("unknown --impl {value}"))?.1;
                named = true;
            }
            "--addr" => args.addr = value,
            "--work" => {
                args.work = Work::parse(&value).ok_or_else(|| format!("unknown --work {value}"))?;
                args.work_name = value;
            }
            "--bytes" => args.bytes = Some(number()? as u64),
            "--secs" => args.secs = Duration::from_secs_f64(number()?),
            "--count" => args.count = number()? as usize,
            "--via" => {}
            _ => return Err(format!("unknown option {flag}")),
        }
    }
    if named {
        Ok(args)
    } else {
        Err("--impl is missing".into())
    }
}
