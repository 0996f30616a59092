//! This machine's own key, and the file that keeps it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::{self, PemObject};
use thiserror::Error;
use zeroize::Zeroizing;

use super::peer_id::PeerId;
use super::public_key::PublicKey;

/// A key file has 119 bytes; comments around the PEM block may add to it.
const MAX_KEY_FILE: u64 = 16 * 1024;
/// Bits of a file mode that let others than the owner in.
#[cfg(unix)]
const OTHERS: u32 = 0o077;

/// An Ed25519 key pair: who this side is to its peers.
///
/// The key file is PEM, PKCS #8 (RFC 5958, RFC 8410): what `openssl genpkey -algorithm ed25519`
/// writes and `openssl pkey -in FILE -text` reads, so it can be printed, copied and restored with
/// any tool.
#[derive(Clone)]
pub struct Identity {
    key: Arc<Ed25519KeyPair>,
    public: PublicKey,
    peer_id: PeerId,
}

/// What went wrong with a key, and with which file.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no such file.
    #[error("there is no key file {}: `weir key` makes one", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// [`Identity::save_new`] never overwrites a key.
    #[error("{} exists already and is left as it is", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than the owner may read or write the file, so the key may be known to them.
    #[error(
        "key file {} is open to others (mode {mode:04o}): run `chmod 600 {}`",
        path.display(),
        quoted(path)
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else than one Ed25519 key in PKCS #8 PEM.
    #[error("{} is no key file: {what}", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
        /// What is there instead.
        what: &'static str,
    },
    /// The system refused to read or write.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// `read`, `write`, ...
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Neither `XDG_CONFIG_HOME` nor a home directory is set, so there is no usual place for a key.
    #[error("no home directory is known: say where the key file is")]
    NoHome,
    /// The cryptographic library failed to make or use a key.
    #[error("cannot {0} an Ed25519 key")]
    Crypto(&'static str),
}

impl Identity {
    /// Makes a new key.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the system gives no randomness.
    pub fn generate() -> Result<Identity, KeyError> {
        let key = Ed25519KeyPair::generate().map_err(|_| KeyError::Crypto("generate"))?;
        Identity::from_pair(key)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it is missing, open to others than its owner, or no key.
    pub fn load(path: impl AsRef<Path>) -> Result<Identity, KeyError> {
        let path = path.as_ref();
        let text = read_private(path)?;
        let not = |what| KeyError::NotAKey {
            path: path.to_owned(),
            what,
        };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|e| match e {
            pem::Error::NoItemsFound => not("no `BEGIN PRIVATE KEY` in it"),
            _ => not("its PEM text is damaged"),
        })?;
        let key = Ed25519KeyPair::from_pkcs8(key.secret_pkcs8_der())
            .map_err(|_| not("the key in it is not an Ed25519 key"))?;
        Identity::from_pair(key)
    }

    /// Writes the key to a new file that only its owner can read (mode 0600). Missing folders are
    /// made, for their owner only (mode 0700).
    ///
    /// # Errors
    /// [`KeyError::Exists`] rather than overwriting anything.
    pub fn save_new(&self, path: impl AsRef<Path>) -> Result<(), KeyError> {
        let path = path.as_ref();
        if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            create_folder(folder).map_err(failed("create folder", folder))?;
        }
        let text = self.to_pem()?;
        let mut file = create_private(path).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => KeyError::Exists {
                path: path.to_owned(),
            },
            _ => failed("create", path)(e),
        })?;
        file.write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|e| {
                // Half a key is of no use, and would be in the way of the next try.
                let _ = fs::remove_file(path);
                failed("write", path)(e)
            })
    }

    /// Reads the key file, or makes a key and the file when there is none.
    ///
    /// # Errors
    /// As [`load`](Identity::load) and [`save_new`](Identity::save_new).
    pub fn load_or_create(path: impl AsRef<Path>) -> Result<Identity, KeyError> {
        let path = path.as_ref();
        match Identity::load(path) {
            Err(KeyError::NotFound { .. }) => {}
            other => return other,
        }
        let identity = Identity::generate()?;
        match identity.save_new(path) {
            Ok(()) => Ok(identity),
            // Another process was faster.
            Err(KeyError::Exists { .. }) => Identity::load(path),
            Err(e) => Err(e),
        }
    }

    /// Where the key is unless told otherwise: `$XDG_CONFIG_HOME/weir/key`, else
    /// `~/.config/weir/key`.
    ///
    /// # Errors
    /// [`KeyError::NoHome`].
    pub fn default_path() -> Result<PathBuf, KeyError> {
        let xdg = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        default_path_in(xdg, std::env::home_dir()).ok_or(KeyError::NoHome)
    }

    /// The name of this side, as its peers call it.
    pub fn peer_id(&self) -> PeerId {
        self.peer_id
    }

    /// The public half of the key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let signature = self.key.try_sign(message);
        Ok(signature
            .map_err(|_| KeyError::Crypto("sign with"))?
            .as_ref()
            .to_vec())
    }

    /// A secret that follows from the key and `purpose`, always the same: what survives a restart
    /// without being written anywhere. Nobody can tell the key from it.
    pub(crate) fn derive(&self, purpose: &str) -> Result<[u8; 32], KeyError> {
        // Ed25519 signatures are deterministic (RFC 8032 section 5.1.6), and this one is not shown to
        // anybody; what TLS signs begins with 64 spaces (RFC 8446 section 4.4.3), so it never signs
        // the same.
        let signature = self.sign(format!("weir secret: {purpose}").as_bytes())?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &signature);
        <[u8; 32]>::try_from(digest.as_ref()).map_err(|_| KeyError::Crypto("derive from"))
    }

    fn from_pair(key: Ed25519KeyPair) -> Result<Identity, KeyError> {
        let bytes = key.public_key().as_ref();
        let public = PublicKey::ed25519(bytes.try_into().map_err(|_| KeyError::Crypto("use"))?);
        Ok(Identity {
            key: Arc::new(key),
            peer_id: PeerId::from_public_key(&public),
            public,
        })
    }

    /// PKCS #8 version 1, which every version of openssl reads; its 48 bytes are one line of
    /// base64.
    fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let der = self
            .key
            .to_pkcs8v1()
            .map_err(|_| KeyError::Crypto("write"))?;
        let line = Zeroizing::new(BASE64.encode(der.as_ref()));
        Ok(Zeroizing::new(format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            *line
        )))
    }
}

/// Shows who, never the private key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.peer_id)
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    move |source| KeyError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// Reads a small file after making sure that nobody else could. The mode is that of the opened
/// file, so it cannot be swapped in between.
fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let file = File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => KeyError::NotFound {
            path: path.to_owned(),
        },
        _ => failed("read", path)(e),
    })?;
    let metadata = file.metadata().map_err(failed("read", path))?;
    let not = |what| KeyError::NotAKey {
        path: path.to_owned(),
        what,
    };
    if !metadata.is_file() {
        return Err(not("it is not an ordinary file"));
    }
    refuse_exposed(path, &metadata)?;
    if metadata.len() > MAX_KEY_FILE {
        return Err(not("it is too long for a key"));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_KEY_FILE as usize));
    file.take(MAX_KEY_FILE)
        .read_to_end(&mut text)
        .map_err(failed("read", path))?;
    Ok(text)
}

#[cfg(unix)]
fn refuse_exposed(path: &Path, metadata: &fs::Metadata) -> Result<(), KeyError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(KeyError::Exposed {
        path: path.to_owned(),
        mode,
    })
}

#[cfg(not(unix))]
fn refuse_exposed(_path: &Path, _metadata: &fs::Metadata) -> Result<(), KeyError> {
    Ok(())
}

fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// The XDG base directory specification: a relative `XDG_CONFIG_HOME` is to be ignored.
fn default_path_in(xdg: Option<PathBuf>, home: Option<PathBuf>) -> Option<PathBuf> {
    let config = xdg
        .filter(|p| p.is_absolute())
        .or_else(|| home.filter(|p| p.is_absolute()).map(|h| h.join(".config")))?;
    Some(config.join("weir").join("key"))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
#[cfg(unix)]
#[path = "identity_tests.rs"]
mod tests;
