//! The secrets of connections in a file, in the NSS key log format that packet analysers read. Only ever when the
//! user asks for it by `SSLKEYLOGFILE` or by name.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

/// The variable by which browsers and curl are asked for the same file.
const VARIABLE: &str = "SSLKEYLOGFILE";

/// A key log that cannot be opened.
#[derive(Debug, Error)]
#[error("cannot write TLS keys to {}: {source}", path.display())]
pub struct KeyLogError {
    path: PathBuf,
    source: io::Error,
}

/// Where the secrets of connections go: lines appended to a file that only its owner can read (mode 0600 when it is
/// new), an observer, or both. The default goes nowhere.
#[derive(Default)]
pub struct TlsKeyLog {
    file: Option<Mutex<File>>,
    observer: Option<KeyObserver>,
}

/// Called with every line of a key log, without its line break.
pub type KeyObserver = Box<dyn Fn(&str) + Send + Sync>;

impl TlsKeyLog {
    /// Opens the file that `SSLKEYLOGFILE` names; `None` when it is not set or empty.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn from_env() -> Result<Option<TlsKeyLog>, KeyLogError> {
        match std::env::var_os(VARIABLE) {
            Some(path) if !path.is_empty() => TlsKeyLog::open(path).map(Some),
            _ => Ok(None),
        }
    }

    /// Opens or creates this file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<TlsKeyLog, KeyLogError> {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let path = path.as_ref();
        let file = options.open(path).map_err(|source| KeyLogError {
            path: path.to_owned(),
            source,
        })?;
        Ok(TlsKeyLog {
            file: Some(Mutex::new(file)),
            observer: None,
        })
    }

    /// Hands every line to `observer` too: a packet capture keeps the keys beside the packets.
    #[must_use]
    pub fn observed_by(mut self, observer: KeyObserver) -> TlsKeyLog {
        self.observer = Some(observer);
        self
    }
}

impl rustls::KeyLog for TlsKeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let mut line = format!("{label} ");
        push_hex(&mut line, client_random);
        line.push(' ');
        push_hex(&mut line, secret);
        if let Some(observer) = &self.observer {
            observer(&line);
        }
        let Some(file) = &self.file else { return };
        line.push('\n');
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        // One write for the line: several processes may share the file. A full disk must not end a connection.
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::warn!(%error, "a TLS key could not be logged");
        }
    }
}

impl std::fmt::Debug for TlsKeyLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsKeyLog")
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
}
