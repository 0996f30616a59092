//! The files: certificates to read, what is served, what was fetched.

use crate::out::Failure;
use bytes::{Bytes, BytesMut};
use std::fmt::Display;
use std::io;
use std::path::{Component, Path, PathBuf};
use tokio::fs::File;
use tokio::io::AsyncReadExt;
use weir::rustls::RootCertStore;
use weir::rustls::pki_types::pem::PemObject;
use weir::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Bytes that are read from a file at once: several packets' worth, little enough for a thousand
/// streams.
const PIECE: usize = 64 * 1024;

/// A certificate and those that lead to an authority.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let wrong = |problem: &dyn Display| unreadable(path, problem);
    let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
    let chain: Vec<_> = found
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&error))?;
    match chain.is_empty() {
        true => Err(wrong(&"there is no certificate in it")),
        false => Ok(chain),
    }
}

/// A private key.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Failure> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| unreadable(path, &error))
}

/// The authorities whose word is taken.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|error| unreadable(path, &error))?;
    }
    Ok(roots)
}

fn unreadable(path: &Path, problem: &dyn Display) -> Failure {
    Failure::failed(format!("{} cannot be used: {problem}", path.display()))
}

/// A directory whose files are served.
#[derive(Debug)]
pub(super) struct Www {
    root: PathBuf,
}

impl Www {
    pub(super) fn open(dir: &Path) -> Result<Www, Failure> {
        let root = dir.canonicalize();
        let root = root.map_err(|error| unreadable(dir, &error))?;
        match root.is_dir() {
            true => Ok(Www { root }),
            false => Err(unreadable(dir, &"it is no directory")),
        }
    }

    /// The file that `path` (`/name`) asks for, and its length. Nothing outside of the directory is
    /// found, whatever the path or a link in the directory says.
    pub(super) async fn file(&self, path: &str) -> io::Result<(Reader, u64)> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        let inside = Path::new(path.trim_start_matches('/'));
        let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if inside.as_os_str().is_empty() || !inside.components().all(is_plain) {
            return Err(missing());
        }
        let found = tokio::fs::canonicalize(self.root.join(inside)).await?;
        if !found.starts_with(&self.root) {
            return Err(missing());
        }
        let file = File::open(&found).await?;
        let about = file.metadata().await?;
        match about.is_file() {
            true => Ok((Reader { file }, about.len())),
            false => Err(missing()),
        }
    }
}

/// A file that is being sent.
pub(super) struct Reader {
    file: File,
}

impl Reader {
    /// The next piece, and whether it is the last, so that a stream's end goes out with its last bytes.
    pub(super) async fn next(&mut self) -> io::Result<(Bytes, bool)> {
        let mut piece = BytesMut::with_capacity(PIECE);
        while piece.len() < PIECE {
            if self.file.read_buf(&mut piece).await? == 0 {
                return Ok((piece.freeze(), true));
            }
        }
        Ok((piece.freeze(), false))
    }
}

/// Where what `path` names goes: into `dir`, under the path with underscores for slashes.
pub(super) fn destination(dir: &Path, path: &str) -> PathBuf {
    let name = path.trim_start_matches('/').replace('/', "_");
    match name.as_str() {
        "" | "." | ".." => dir.join("_"),
        name => dir.join(name),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use super::*;

    #[test]
    fn what_was_fetched_stays_in_its_directory() {
        let dir = Path::new("got");
        let names = ["/a", "a/b", "../../etc/passwd", "..", "/", ""];
        let places = names.map(|name| destination(dir, name));
        let expected = [
            "got/a",
            "got/a_b",
            "got/.._.._etc_passwd",
            "got/_",
            "got/_",
            "got/_",
        ];
        assert_eq!(places, expected.map(PathBuf::from));
    }

    #[tokio::test]
    async fn nothing_outside_of_the_directory_is_served() {
        let dir = std::env::temp_dir().join(format!("weir-www-{}", std::process::id()));
        let www = dir.join("www");
        std::fs::create_dir_all(www.join("sub")).unwrap();
        std::fs::write(dir.join("secret"), b"no").unwrap();
        std::fs::write(www.join("sub/file"), b"yes").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.join("secret"), www.join("link")).unwrap();
        let www = Www::open(&www).unwrap();
        let (mut file, length) = www.file("/sub/file").await.unwrap();
        let (piece, is_last) = file.next().await.unwrap();
        assert_eq!((piece.as_ref(), is_last, length), (&b"yes"[..], true, 3));
        for path in [
            "/../secret",
            "/sub/../../secret",
            "/link",
            "/",
            "/sub",
            "/none",
            "//../secret",
        ] {
            assert!(www.file(path).await.is_err(), "{path}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
