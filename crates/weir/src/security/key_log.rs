//! The secrets of connections in a file, in the NSS key log format that packet analysers read. Only
//! ever when the user asks for it by `SSLKEYLOGFILE` or by name.

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

/// Where the secrets of connections go: lines appended to a file that only its owner can read (mode
/// 0600 when it is new), an observer, or both. The default goes nowhere.
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
        // One write for the line: several processes may share the file. A full disk must not end a
        // connection.
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

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    use rustls::KeyLog;

    use super::*;

    #[test]
    fn lines_are_appended_to_a_private_file_and_shown_to_the_observer() {
        let path = std::env::temp_dir().join(format!("weir-keys-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&seen);
        let observer: KeyObserver = Box::new(move |line| to.lock().unwrap().push(line.to_owned()));
        let first = TlsKeyLog::open(&path).unwrap().observed_by(observer);
        first.log("CLIENT_TRAFFIC_SECRET_0", &[0x0a, 0xff], &[1]);
        let second = TlsKeyLog::open(&path).unwrap();
        second.log("EXPORTER_SECRET", &[2], &[0]);
        let text = std::fs::read_to_string(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            text,
            "CLIENT_TRAFFIC_SECRET_0 0aff 01\nEXPORTER_SECRET 02 00\n"
        );
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(*seen.lock().unwrap(), ["CLIENT_TRAFFIC_SECRET_0 0aff 01"]);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let error = TlsKeyLog::open("/no/such/folder/keys")
            .unwrap_err()
            .to_string();
        assert!(error.contains("/no/such/folder/keys"), "{error}");
    }

    #[test]
    fn the_default_goes_nowhere() {
        TlsKeyLog::default().log("EXPORTER_SECRET", &[2], &[0]);
    }
}
