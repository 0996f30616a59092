//! Who may use the tunnel: peer IDs given one by one and in files that are read again when they change.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tracing::{info, warn};

use crate::security::PeerId;

/// The most bytes of a peers file that are read: 10,000 lines with long labels.
const MAX_FILE: u64 = 1 << 20;

/// A file younger than this when it was read may change again without its times showing it, because file systems
/// keep times in steps of up to 2 s (FAT); it is read again next time.
const SETTLED: Duration = Duration::from_secs(2);

/// The peers that may connect. The default lets nobody in.
#[derive(Debug, Default)]
pub struct AllowPeers {
    any: bool,
    peers: HashMap<PeerId, Option<String>>,
    files: Vec<PeersFile>,
}

/// Whether a peer is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is, by its ID; with the label of its line, if it has one.
    Peer(Option<String>),
    /// It is, because anybody is.
    Anybody,
    /// It is not.
    Denied,
}

impl AllowPeers {
    /// Lets nobody in.
    pub fn none() -> Self {
        Self::default()
    }

    /// Lets anybody in, whoever they are: for trying things out.
    pub fn any() -> Self {
        Self {
            any: true,
            ..Self::default()
        }
    }

    /// Lets one more peer in.
    pub fn add(&mut self, peer: PeerId) {
        self.peers.insert(peer, None);
    }

    /// Lets the peers of a file in: one ID a line, then optionally a label; `#` starts a comment. The file is looked
    /// at for each new connection, and read when its size, times or inode have changed. A bad line is skipped with a
    /// warning that gives its number. Connections that run are not touched by a change.
    ///
    /// # Errors
    /// When the file cannot be read now. If it cannot be read later, nobody in it is let in any more when it is gone
    /// or forbidden; after a passing fault (no file descriptor left) the peers read last stay.
    pub fn add_file(&mut self, path: impl Into<PathBuf>) -> io::Result<()> {
        let mut file = PeersFile {
            path: path.into(),
            stamp: None,
            peers: HashMap::new(),
        };
        file.read()?;
        self.files.push(file);
        Ok(())
    }

    /// Takes one value of `--allow-peer`: a peer ID, or else the path of a file.
    ///
    /// # Errors
    /// In words, when it is neither.
    pub fn add_argument(&mut self, text: &str) -> Result<(), String> {
        match text.parse::<PeerId>() {
            Ok(peer) => {
                self.add(peer);
                Ok(())
            }
            Err(not_id) if !Path::new(text).exists() => Err(format!(
                "`{text}` is no peer ID ({not_id}) and there is no file of that name"
            )),
            Err(_) => self
                .add_file(text)
                .map_err(|e| format!("cannot read {text}: {e}")),
        }
    }

    /// Whether anybody is let in.
    pub fn is_any(&self) -> bool {
        self.any
    }

    /// Whether nobody can be let in, now or after a change of a file.
    pub fn is_none(&self) -> bool {
        !self.any && self.peers.is_empty() && self.files.is_empty()
    }

    /// One line for people: who is let in.
    pub fn describe(&self) -> String {
        if self.any {
            return "anybody who can reach this address".to_owned();
        }
        if self.is_none() {
            return "nobody".to_owned();
        }
        let mut parts = Vec::new();
        if !self.peers.is_empty() {
            parts.push(format!("{} peer ID(s)", self.peers.len()));
        }
        for file in &self.files {
            parts.push(format!(
                "the {} peer ID(s) in {}",
                file.peers.len(),
                file.path.display()
            ));
        }
        parts.join(" and ")
    }

    /// Decides on a connection from `peer`; `None` is a peer that has not proved who it is.
    pub fn admit(&mut self, peer: Option<&PeerId>) -> Admission {
        let known = peer.and_then(|peer| {
            let file = |file: &mut PeersFile| {
                file.refresh();
                file.peers.get(peer).cloned()
            };
            self.peers
                .get(peer)
                .cloned()
                .or_else(|| self.files.iter_mut().find_map(file))
        });
        match known {
            Some(label) => Admission::Peer(label),
            None if self.any => Admission::Anybody,
            None => Admission::Denied,
        }
    }
}

/// One file of peers and what it said when it was read last.
#[derive(Debug)]
struct PeersFile {
    path: PathBuf,
    /// What the file looked like then; `None` reads it again.
    stamp: Option<Stamp>,
    peers: HashMap<PeerId, Option<String>>,
}

/// What tells two versions of a file apart without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    /// Inode and time of its last change, which no program can set back.
    #[cfg(unix)]
    inode: (u64, i64, i64),
}

impl Stamp {
    fn of(data: &Metadata) -> Self {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Self {
            modified: data.modified().ok(),
            len: data.len(),
            #[cfg(unix)]
            inode: (data.ino(), data.ctime(), data.ctime_nsec()),
        }
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let age = self
            .modified
            .and_then(|modified| now.duration_since(modified).ok());
        age.is_some_and(|age| age > SETTLED)
    }
}

impl PeersFile {
    /// Reads the file if it may have changed.
    fn refresh(&mut self) {
        let unchanged = match (&self.stamp, std::fs::metadata(&self.path)) {
            (Some(stamp), Ok(data)) => *stamp == Stamp::of(&data),
            _ => false,
        };
        if unchanged {
            return;
        }
        let before = self.peers.len();
        match self.read() {
            Ok(true) => {
                info!(
                    "{}: {} peer(s) allowed, before {before}",
                    self.path.display(),
                    self.peers.len()
                );
            }
            Ok(false) => {}
            Err(error) => self.unreadable(&error),
        }
    }

    fn unreadable(&mut self, error: &io::Error) {
        self.stamp = None;
        let path = self.path.display();
        match error.kind() {
            // Whoever took the file away meant the peers in it.
            io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::InvalidData => {
                if !self.peers.is_empty() {
                    warn!(
                        "{path}: {error}; the {} peer(s) in it are not let in",
                        self.peers.len()
                    );
                }
                self.peers.clear();
            }
            _ => warn!(
                "{path}: {error}; keeping the {} peer(s) read before",
                self.peers.len()
            ),
        }
    }

    /// Reads the file and says whether its peers have changed.
    fn read(&mut self) -> io::Result<bool> {
        let file = File::open(&self.path)?;
        // The stamp is taken from the file that is read, not from whatever has its name by then.
        let stamp = Stamp::of(&file.metadata()?);
        let mut text = String::new();
        file.take(MAX_FILE + 1).read_to_string(&mut text)?;
        if text.len() as u64 > MAX_FILE {
            let problem = format!("a file of peers has at most {MAX_FILE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
        }
        let (peers, bad) = parse_peers(&text);
        let changed = peers != self.peers;
        if changed || self.stamp != Some(stamp) {
            for (line, problem) in bad.iter().take(MAX_WARNINGS) {
                warn!("{}:{line}: skipped: {problem}", self.path.display());
            }
        }
        self.peers = peers;
        self.stamp = stamp.is_settled(SystemTime::now()).then_some(stamp);
        Ok(changed)
    }
}

/// Bad lines that are warned of one by one: a wrong file must not flood the log.
const MAX_WARNINGS: usize = 20;

/// A line's number, from 1, and what is wrong with it.
type BadLine = (usize, String);

/// Reads the lines of a peers file.
fn parse_peers(text: &str) -> (HashMap<PeerId, Option<String>>, Vec<BadLine>) {
    let mut peers = HashMap::new();
    let mut bad = Vec::new();
    // Editors of some systems put a byte-order mark first.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (at, line) in text.lines().enumerate() {
        let line = line
            .split_once('#')
            .map_or(line, |(before, _)| before)
            .trim();
        if line.is_empty() {
            continue;
        }
        let (id, label) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match id.parse::<PeerId>() {
            Ok(peer) => {
                let label = label.trim();
                peers.insert(peer, (!label.is_empty()).then(|| label.to_owned()));
            }
            Err(error) => bad.push((at + 1, error.to_string())),
        }
    }
    (peers, bad)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::Identity;
    use proptest::prelude::*;

    fn peer() -> PeerId {
        Identity::generate().unwrap().peer_id()
    }

    /// A file of its own for each test, removed at its end.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, text: &str) -> Self {
            let path = std::env::temp_dir().join(format!("weir-{}-{name}", std::process::id()));
            std::fs::write(&path, text).unwrap();
            Self(path)
        }

        fn write(&self, text: &str) {
            std::fs::write(&self.0, text).unwrap();
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn the_default_lets_nobody_in() {
        let mut allow = AllowPeers::default();
        assert!(allow.is_none());
        assert_eq!(allow.describe(), "nobody");
        assert_eq!(allow.admit(Some(&peer())), Admission::Denied);
        assert_eq!(allow.admit(None), Admission::Denied);
    }

    #[test]
    fn only_the_named_peer_is_let_in() {
        let (friend, stranger) = (peer(), peer());
        let mut allow = AllowPeers::none();
        allow.add_argument(&friend.to_string()).unwrap();
        assert_eq!(allow.admit(Some(&friend)), Admission::Peer(None));
        assert_eq!(allow.admit(Some(&stranger)), Admission::Denied);
        assert_eq!(allow.admit(None), Admission::Denied, "no proof of identity");
        let error = allow.add_argument("/nonexistent/peers").unwrap_err();
        assert!(
            error.contains("no peer ID") && error.contains("no file"),
            "{error}"
        );
    }

    #[test]
    fn anybody_means_anybody() {
        let mut allow = AllowPeers::any();
        assert_eq!(allow.admit(None), Admission::Anybody);
        assert_eq!(allow.admit(Some(&peer())), Admission::Anybody);
    }

    #[test]
    fn a_file_is_read_again_when_it_changes() {
        let (first, second) = (peer(), peer());
        let file = Scratch::new("reread", &format!("# friends\n{first}  laptop of A\n"));
        let mut allow = AllowPeers::none();
        allow.add_file(&file.0).unwrap();
        assert_eq!(
            allow.admit(Some(&first)),
            Admission::Peer(Some("laptop of A".to_owned()))
        );
        assert_eq!(allow.admit(Some(&second)), Admission::Denied);
        // The same length within the same tick of the clock is noticed too.
        file.write(&format!("# friends\n{second}  laptop of B\n"));
        assert_eq!(
            allow.admit(Some(&second)),
            Admission::Peer(Some("laptop of B".to_owned()))
        );
        assert_eq!(allow.admit(Some(&first)), Admission::Denied);
        std::fs::remove_file(&file.0).unwrap();
        assert_eq!(
            allow.admit(Some(&second)),
            Admission::Denied,
            "the file is gone"
        );
        file.write(&format!("{first}"));
        assert_eq!(allow.admit(Some(&first)), Admission::Peer(None));
    }

    #[test]
    fn an_old_file_is_not_read_for_every_connection() {
        let friend = peer();
        let file = Scratch::new("settled", &friend.to_string());
        let past = SystemTime::now() - Duration::from_secs(60);
        File::options()
            .write(true)
            .open(&file.0)
            .unwrap()
            .set_modified(past)
            .unwrap();
        let mut allow = AllowPeers::none();
        allow.add_file(&file.0).unwrap();
        assert!(allow.files[0].stamp.is_some());
        assert_eq!(allow.admit(Some(&friend)), Admission::Peer(None));
    }

    #[test]
    fn bad_lines_are_skipped_and_numbered() {
        let friend = peer();
        let text =
            format!("\u{feff}nonsense\n\n  # only a comment\n{friend} # trailing\r\nworse line\n");
        let (peers, bad) = parse_peers(&text);
        assert_eq!(peers, HashMap::from([(friend, None)]));
        assert_eq!(bad.iter().map(|bad| bad.0).collect::<Vec<_>>(), [1, 5]);
    }

    #[test]
    fn a_file_beyond_the_limit_is_refused() {
        let file = Scratch::new("huge", &"#".repeat(MAX_FILE as usize + 1));
        let error = AllowPeers::none().add_file(&file.0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    proptest! {
        #[test]
        fn no_file_panics(text in "\\PC{0,20}([\\n\\r#\\t ]\\PC{0,20}){0,10}") {
            let (peers, _) = parse_peers(&text);
            prop_assert!(peers.is_empty());
        }
    }
}
