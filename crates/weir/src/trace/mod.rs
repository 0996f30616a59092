//! Looking inside: connections as qlog files, as lines of `tracing`, as a capture for Wireshark.
//!
//! [`Instruments`] is an [`Observer`] that puts the instruments asked for on every connection of the
//! endpoints it is given to. Without any of them a connection pays one branch for an event.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use weir::trace::{Instruments, TraceOptions};
//!
//! let options = TraceOptions { qlog: Some("traces".into()), ..TraceOptions::default() };
//! let instruments = Instruments::new(&options)?;
//! let endpoint = instruments.attach(weir::Endpoint::builder()).bind("127.0.0.1:0").await?;
//! // ..
//! instruments.finish();
//! # Ok(()) }
//! ```

mod clock;
mod datagrams;
mod frames;
mod log;
mod pcap;
mod qlog;
#[cfg(test)]
mod quic_tests;
mod spool;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use weir_core::trace::{Level, Sink};

use crate::builder::Builder;
use crate::observe::{ConnectionInfo, DatagramTap, DeviceInfo, FrameTap, Observer, StackInfo, Tap};
use crate::tcpip::StackBuilder;
use datagrams::PcapDatagramTap;
use frames::PcapFrameTap;
use log::LogSink;
pub use log::{EVENTS, FRAMES};
use pcap::{Capture, PcapTap};
use qlog::{Head, QlogSink};
use spool::{PAYLOAD_CAP, Spool};

/// What to look at, and where it goes.
#[derive(Clone, Debug, Default)]
pub struct TraceOptions {
    /// A directory for qlog files, one for each connection; made when it is missing.
    pub qlog: Option<PathBuf>,
    /// A pcapng file with the bytes of all connections and the TLS secrets for them.
    pub pcap: Option<PathBuf>,
    /// A file that the TLS secrets are appended to.
    pub key_log: Option<PathBuf>,
    /// Lines of `tracing`, at level DEBUG with the target [`EVENTS`] and at level TRACE with [`FRAMES`].
    pub log: bool,
}

/// A file or directory that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TraceError {
    /// The directory for qlog files.
    #[error("cannot write qlog files to {}: {source}", path.display())]
    Qlog {
        /// What was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The capture.
    #[error("cannot write a capture to {}: {source}", path.display())]
    Pcap {
        /// What was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that writes.
    #[error("no thread to write traces with: {0}")]
    Thread(io::Error),
}

/// The instruments of a process. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Instruments {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` when nothing is written to files.
    spool: Option<Spool>,
    qlog: Option<PathBuf>,
    capture: Option<Arc<Capture>>,
    key_log: Option<PathBuf>,
    log: bool,
    began: SystemTime,
    /// Connections seen so far, over all endpoints.
    numbers: AtomicU64,
}

impl Instruments {
    /// Prepares what `options` ask for.
    ///
    /// # Errors
    /// When a file or directory cannot be written: better said now than when the connection that was
    /// to be looked at is over.
    pub fn new(options: &TraceOptions) -> Result<Self, TraceError> {
        if let Some(path) = &options.qlog {
            writable(path).map_err(|source| TraceError::Qlog {
                path: path.clone(),
                source,
            })?;
        }
        let spool = if options.qlog.is_some() || options.pcap.is_some() {
            Some(Spool::start().map_err(TraceError::Thread)?)
        } else {
            None
        };
        let capture = match (&options.pcap, &spool) {
            (Some(path), Some(spool)) => {
                let wrong = |source| TraceError::Pcap {
                    path: path.clone(),
                    source,
                };
                spool::create(path).map_err(wrong)?;
                Some(Arc::new(Capture::new(spool.file(path, PAYLOAD_CAP))))
            }
            _ => None,
        };
        let inner = Inner {
            spool,
            qlog: options.qlog.clone(),
            capture,
            key_log: options.key_log.clone(),
            log: options.log,
            began: SystemTime::now(),
            numbers: AtomicU64::new(1),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Puts the instruments on the endpoint that `builder` makes.
    #[must_use]
    pub fn attach(&self, builder: Builder) -> Builder {
        let builder = builder.observer(Arc::new(self.clone()));
        match &self.inner.key_log {
            Some(path) => builder.key_log(path),
            None => builder,
        }
    }

    /// Puts the instruments on the stack that `builder` makes.
    #[must_use]
    pub fn attach_to_stack(&self, builder: StackBuilder) -> StackBuilder {
        builder.observer(Arc::new(self.clone()))
    }

    /// Writes out what is still in memory. Connections that go on are not recorded any further.
    pub fn finish(&self) {
        if let Some(spool) = &self.inner.spool {
            spool.finish();
        }
    }
}

impl Observer for Instruments {
    fn sinks(&self, connection: &ConnectionInfo) -> Vec<Box<dyn Sink>> {
        let inner = &*self.inner;
        let number = inner.numbers.fetch_add(1, Ordering::Relaxed);
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        let heard = |level| LogSink::is_heard(level);
        if inner.log && (heard(Level::Event) || heard(Level::Frame)) {
            sinks.push(Box::new(LogSink::new(format!("#{number}"))));
        }
        if let (Some(dir), Some(spool)) = (&inner.qlog, &inner.spool) {
            sinks.push(Box::new(inner.qlog_sink(spool, dir, number, connection)));
        }
        sinks
    }

    fn tap(&self, connection: &ConnectionInfo) -> Option<Box<dyn Tap>> {
        let capture = Arc::clone(self.inner.capture.as_ref()?);
        Some(Box::new(PcapTap::new(
            capture,
            connection.dialled,
            connection.local_addr,
            connection.remote_addr,
            connection.via.is_secure(),
        )))
    }

    fn datagram_tap(&self, _: std::net::SocketAddr) -> Option<Box<dyn DatagramTap>> {
        let capture = Arc::clone(self.inner.capture.as_ref()?);
        Some(Box::new(PcapDatagramTap::new(capture)))
    }

    fn stack_sinks(&self, stack: &StackInfo<'_>) -> Vec<Box<dyn Sink>> {
        let inner = &*self.inner;
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        let heard = |level| LogSink::is_heard(level);
        if inner.log && (heard(Level::Event) || heard(Level::Frame)) {
            sinks.push(Box::new(LogSink::new(stack.name.to_owned())));
        }
        if let (Some(dir), Some(spool)) = (&inner.qlog, &inner.spool) {
            let number = inner.numbers.fetch_add(1, Ordering::Relaxed);
            let title = format!("TCP/IP stack {}", stack.name);
            sinks.push(Box::new(inner.log_file(
                spool,
                dir,
                number,
                "network",
                ("tcp", &title),
            )));
        }
        sinks
    }

    fn frame_tap(&self, device: &DeviceInfo<'_>) -> Option<Box<dyn FrameTap>> {
        let capture = Arc::clone(self.inner.capture.as_ref()?);
        Some(Box::new(PcapFrameTap::new(capture, device)))
    }

    fn wants_secrets(&self) -> bool {
        self.inner.capture.is_some()
    }

    fn secret(&self, line: &str) {
        if let Some(capture) = &self.inner.capture {
            capture.secret(line);
        }
    }
}

impl Inner {
    fn qlog_sink(
        &self,
        spool: &Spool,
        dir: &Path,
        number: u64,
        connection: &ConnectionInfo,
    ) -> QlogSink {
        let role = if connection.dialled {
            "client"
        } else {
            "server"
        };
        let mut title = format!("{} ", connection.local_addr);
        title.push_str(if connection.dialled { "to" } else { "from" });
        title.push_str(&format!(
            " {} via {}",
            connection.remote_addr, connection.via
        ));
        if let Some(peer) = &connection.peer {
            title.push_str(&format!(", peer {peer}"));
        }
        let family = match connection.via.as_str() {
            "quic" => "quic",
            _ => "yamux",
        };
        self.log_file(spool, dir, number, role, (family, &title))
    }

    /// A qlog file of its own; `what` are the family of its events and its title.
    fn log_file(
        &self,
        spool: &Spool,
        dir: &Path,
        number: u64,
        role: &'static str,
        (family, title): (&'static str, &str),
    ) -> QlogSink {
        let now = SystemTime::now();
        let process = std::process::id();
        // No colons: not every file system takes them.
        let time = clock::rfc3339(now).replace(':', "");
        let path = dir.join(format!("{time}_{process}_{number}_{role}.sqlog"));
        let group = format!("{process}-{}", clock::rfc3339(self.began));
        let head = Head {
            vantage_point: role,
            title,
            group: &group,
            family,
        };
        QlogSink::new(spool, &path, &head, now)
    }
}

/// Makes the directory when it is missing, and tries whether a file can be made in it.
fn writable(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let probe = dir.join(format!(".weir-{}", std::process::id()));
    spool::create(&probe)?;
    std::fs::remove_file(&probe)
}
