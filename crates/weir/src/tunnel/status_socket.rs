//! The socket at which a running tunnel answers with its status, for the same user only.
//!
//! It lies in a directory of mode 0700 that belongs to this user: `$XDG_RUNTIME_DIR/weir`, else `~/.cache/weir`,
//! else `weir-UID` in the directory for temporary files. Whoever connects gets one JSON document and the end.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::status::Status;

/// How long one question or answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The most bytes of a document that are read: `MAX_LISTED` streams of under 1 KiB each.
const MAX_DOCUMENT: u64 = 16 << 20;

/// Beginning and end of the sockets' names; between them stand the process ID and a number.
const PREFIX: &str = "connect-";
const SUFFIX: &str = ".sock";

/// Where the sockets may lie, best first.
fn directories(uid: u32) -> Vec<PathBuf> {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let absolute = |path: &PathBuf| path.is_absolute();
    let mut all = Vec::new();
    all.extend(
        variable("XDG_RUNTIME_DIR")
            .filter(absolute)
            .map(|dir| dir.join("weir")),
    );
    all.extend(
        variable("HOME")
            .filter(absolute)
            .map(|dir| dir.join(".cache").join("weir")),
    );
    all.push(std::env::temp_dir().join(format!("weir-{uid}")));
    all
}

/// This process's user: who the system says made this pair of sockets.
fn own_uid() -> io::Result<u32> {
    let (one, _other) = UnixStream::pair()?;
    Ok(one.peer_cred()?.uid())
}

/// Whether a directory is this user's alone. A link is not followed: others could have put it there.
fn check_private(dir: &Path, uid: u32) -> io::Result<()> {
    let data = std::fs::symlink_metadata(dir)?;
    if data.is_dir() && data.uid() == uid && data.mode() & 0o077 == 0 {
        return Ok(());
    }
    let problem = format!(
        "{} is not a directory of this user alone (mode 0700)",
        dir.display()
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, problem))
}

fn make_private(dir: &Path, uid: u32) -> io::Result<()> {
    match std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(false)
        .create(dir)
    {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check_private(dir, uid)
}

/// The bound socket of one tunnel; its file goes when it is dropped.
#[derive(Debug)]
pub(crate) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
    uid: u32,
}

impl StatusSocket {
    /// Binds a socket in the first directory that will have it.
    pub(crate) fn bind() -> io::Result<Self> {
        let uid = own_uid()?;
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for dir in directories(uid) {
            match Self::bind_in(&dir, uid) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Binds a socket in this directory, which is made if need be.
    pub(crate) fn bind_in(dir: &Path, uid: u32) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        make_private(dir, uid)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("{PREFIX}{}-{number}{SUFFIX}", std::process::id()));
        // Under its name only once it answers: whoever finds a socket that does not takes it for left behind.
        let unready = path.with_extension("new");
        let _ = std::fs::remove_file(&unready);
        let listener = UnixListener::bind(&unready)?;
        std::fs::set_permissions(&unready, std::fs::Permissions::from_mode(0o600))?;
        std::fs::rename(&unready, &path)?;
        Ok(Self {
            listener,
            path,
            uid,
        })
    }

    /// Where it is bound.
    #[cfg(test)]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Answers for ever, one after the other.
    pub(crate) async fn serve(self, mut status: impl FnMut() -> Status) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let _ = timeout(LIMIT, self.answer(stream, &mut status)).await;
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    async fn answer(
        &self,
        mut stream: UnixStream,
        status: &mut impl FnMut() -> Status,
    ) -> io::Result<()> {
        let uid = stream.peer_cred()?.uid();
        if uid != self.uid && uid != 0 {
            return Ok(());
        }
        let mut document = status().to_json();
        document.push('\n');
        stream.write_all(document.as_bytes()).await?;
        stream.shutdown().await
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Asks the tunnel behind one socket.
pub(crate) async fn ask(path: &Path) -> io::Result<Status> {
    let question = async {
        let stream = UnixStream::connect(path).await?;
        let mut document = String::new();
        stream
            .take(MAX_DOCUMENT)
            .read_to_string(&mut document)
            .await?;
        Status::from_json(&document).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    };
    match timeout(LIMIT, question).await {
        Ok(result) => result,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Asks every tunnel that this user runs. Sockets that nobody serves any more are removed.
pub(crate) async fn ask_all() -> io::Result<Vec<Status>> {
    let uid = own_uid()?;
    let mut all = Vec::new();
    for dir in directories(uid) {
        if check_private(&dir, uid).is_ok() {
            ask_in(&dir, &mut all).await;
        }
    }
    all.sort_by_key(|status| status.pid);
    Ok(all)
}

async fn ask_in(dir: &Path, all: &mut Vec<Status>) {
    let Ok(files) = std::fs::read_dir(dir) else {
        return;
    };
    for path in files.flatten().map(|file| file.path()) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if !name.starts_with(PREFIX) || !name.ends_with(SUFFIX) {
            continue;
        }
        match ask(&path).await {
            Ok(status) => all.push(status),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                let _ = std::fs::remove_file(&path);
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::status::tests::sample;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("weir-s-{}-{name}", std::process::id()));
            std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
            Self(dir)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_tunnel_is_asked_and_leaves_nothing_behind() {
        let scratch = Scratch::new("ask");
        let dir = scratch.0.join("weir");
        let uid = own_uid().unwrap();
        let socket = StatusSocket::bind_in(&dir, uid).unwrap();
        let path = socket.path().to_owned();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&path)), (0o700, 0o600));
        let server = tokio::spawn(socket.serve(sample));
        assert_eq!(ask(&path).await.unwrap(), sample());
        // A socket of a process that was killed.
        let dead = dir.join("connect-1-1.sock");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let mut all = Vec::new();
        ask_in(&dir, &mut all).await;
        assert_eq!(all, [sample()]);
        assert!(!dead.exists(), "nobody serves it");
        server.abort();
        assert!(server.await.unwrap_err().is_cancelled());
        assert!(!path.exists(), "removed at the end");
    }

    #[test]
    fn a_directory_that_others_may_use_is_refused() {
        let scratch = Scratch::new("open");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let uid = runtime.block_on(async { own_uid() }).unwrap();
        let dir = scratch.0.join("weir");
        std::fs::DirBuilder::new().mode(0o755).create(&dir).unwrap();
        assert_eq!(
            make_private(&dir, uid).unwrap_err().kind(),
            io::ErrorKind::PermissionDenied
        );
        let link = scratch.0.join("link");
        std::os::unix::fs::symlink(&scratch.0, &link).unwrap();
        assert!(make_private(&link, uid).is_err(), "a link is not followed");
        assert!(
            make_private(&scratch.0, uid.wrapping_add(1)).is_err(),
            "another user's"
        );
    }

    #[tokio::test]
    async fn a_client_that_does_not_read_does_not_block_the_next() {
        let scratch = Scratch::new("slow");
        let socket = StatusSocket::bind_in(&scratch.0.join("w"), own_uid().unwrap()).unwrap();
        let path = socket.path().to_owned();
        let _server = tokio::spawn(socket.serve(sample));
        let _idle = UnixStream::connect(&path).await.unwrap();
        assert_eq!(ask(&path).await.unwrap().pid, 42);
    }
}
