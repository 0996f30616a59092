//! What was fetched, and where it goes.

use super::files::destination;
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

/// A file that came whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    /// Its length.
    pub(super) bytes: u64,
}

/// A file that is being fetched. What did not come whole is not left behind under its name.
pub(super) struct Sink {
    file: File,
    part: PathBuf,
    place: PathBuf,
    bytes: u64,
    is_whole: bool,
}

impl Sink {
    /// A file in `dir` for what `path` names.
    pub(super) async fn new(dir: &Path, path: &str) -> Result<Sink, String> {
        let place = destination(dir, path);
        let part = place.with_file_name(format!(".part-{:x}", short_hash(&place)));
        let file = File::create(&part)
            .await
            .map_err(|error| format!("{} cannot be written: {error}", part.display()))?;
        Ok(Sink {
            file,
            part,
            place,
            bytes: 0,
            is_whole: false,
        })
    }

    /// Takes the next bytes.
    pub(super) async fn write(&mut self, data: &[u8]) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        let written = self.file.write_all(data).await;
        written.map_err(|error| format!("{} cannot be written: {error}", self.part.display()))
    }

    /// That was all of it: gives the file its name.
    pub(super) async fn finish(mut self) -> Result<Fetched, String> {
        let wrong = |error| format!("{} cannot be written: {error}", self.place.display());
        self.file.flush().await.map_err(wrong)?;
        tokio::fs::rename(&self.part, &self.place)
            .await
            .map_err(wrong)?;
        self.is_whole = true;
        Ok(Fetched { bytes: self.bytes })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.is_whole {
            // Nobody hears of a file that stays behind.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Tells the parts of several files apart; names may be as long as the system permits, so that
/// nothing can be added to them.
fn short_hash(place: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    place.hash(&mut hasher);
    std::process::id().hash(&mut hasher);
    hasher.finish()
}
