//! Files that are written in the background: whoever appends never waits for a disk.
//!
//! Each file has a buffer in memory that its owner appends to and that one thread empties every
//! [`PERIOD`]. When the disk does not keep up, what is appended beyond the caps is refused and the
//! owner counts it: a record may go missing, the connection that is recorded never stands still.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often buffers are written out: what a crash may lose, and what `tail -f` lags behind.
const PERIOD: Duration = Duration::from_millis(100);
/// A buffer of this size is written out at once, so that buffers stay small while the disk keeps up.
const EAGER: usize = 256 * 1024;
/// The most that a file of events may have waiting: some seconds of a busy connection's frames.
pub(super) const EVENTS_CAP: usize = 8 * 1024 * 1024;
/// The most that a file of payload may have waiting: some tens of milliseconds at 10 Gbit/s, so that a
/// disk may pause for a moment.
pub(super) const PAYLOAD_CAP: usize = 64 * 1024 * 1024;
/// The most all files together may have waiting.
const TOTAL_CAP: usize = 96 * 1024 * 1024;

/// What is put off by [`SpoolFile::append_later`] waits for a period, or until so much has come behind
/// it.
const PUT_OFF_MAX: usize = 8 * 1024 * 1024;

/// The background thread and what it writes. Dropping it writes out what is left.
#[derive(Debug)]
pub(super) struct Spool {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A file being written. Dropping it closes the file once its buffer is written out.
#[derive(Debug)]
pub(super) struct SpoolFile {
    shared: Arc<Shared>,
    pending: Arc<Pending>,
}

#[derive(Debug, Default)]
struct Shared {
    files: Mutex<Vec<Arc<Pending>>>,
    waiting: AtomicUsize,
    /// Set when a buffer has grown large or the end has come.
    urgent: Mutex<Urgency>,
    wake: Condvar,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    #[default]
    None,
    Now,
    Stop,
}

#[derive(Debug)]
struct Pending {
    path: PathBuf,
    cap: usize,
    buffer: Mutex<Vec<u8>>,
    put_off: Mutex<PutOff>,
    closed: AtomicBool,
}

/// Bytes that go into the buffer later, in the order in which they came.
#[derive(Debug, Default)]
struct PutOff {
    /// They have waited for less than a period.
    young: Vec<u8>,
    /// They go with the next period.
    old: Vec<u8>,
    /// When those that are old became it.
    turned: Option<Instant>,
}

impl Spool {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Writer {
            shared: Arc::clone(&shared),
            open: Vec::new(),
            spare: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("weir-trace".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// A new file at `path`, made by the thread when the first bytes are written out; an existing
    /// file is replaced. At most `cap` bytes (and one record) wait to be written out.
    pub(super) fn file(&self, path: &Path, cap: usize) -> SpoolFile {
        let pending = Arc::new(Pending {
            path: path.to_owned(),
            cap,
            buffer: Mutex::new(Vec::new()),
            put_off: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        lock(&self.shared.files).push(Arc::clone(&pending));
        SpoolFile {
            shared: Arc::clone(&self.shared),
            pending,
        }
    }

    /// Writes out everything and ends the thread. What is appended afterwards is not written.
    pub(super) fn finish(&self) {
        let Some(thread) = lock(&self.thread).take() else {
            return;
        };
        *lock(&self.shared.urgent) = Urgency::Stop;
        self.shared.wake.notify_one();
        // A thread that panicked has said so on stderr already.
        let _ = thread.join();
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        self.finish();
    }
}

impl SpoolFile {
    /// As [`SpoolFile::append`], for what is to stand behind that which is appended within the next
    /// period: it is written out a period later than it would be, at the end at the latest.
    pub(super) fn append_later(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut put_off = lock(&self.pending.put_off);
        let before = put_off.young.len();
        let held = before.saturating_add(put_off.old.len());
        let waiting = self.shared.waiting.load(Ordering::Relaxed);
        if held >= self.pending.cap || waiting >= TOTAL_CAP {
            return false;
        }
        write(&mut put_off.young);
        let after = put_off.young.len();
        self.shared
            .waiting
            .fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        drop(put_off);
        if before < PUT_OFF_MAX && after >= PUT_OFF_MAX {
            self.shared.hurry();
        }
        true
    }

    /// Lets `write` append to the buffer; `false` when it is full, and `write` was not called.
    pub(super) fn append(&self, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut buffer = lock(&self.pending.buffer);
        let before = buffer.len();
        let waiting = self.shared.waiting.load(Ordering::Relaxed);
        if before >= self.pending.cap || waiting >= TOTAL_CAP {
            return false;
        }
        write(&mut buffer);
        let after = buffer.len();
        // Counted under the lock, so that the thread never takes off what was not yet added.
        self.shared
            .waiting
            .fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        drop(buffer);
        if before < EAGER && after >= EAGER {
            self.shared.hurry();
        }
        true
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        self.pending.closed.store(true, Ordering::Release);
    }
}

impl Shared {
    fn hurry(&self) {
        let mut urgent = lock(&self.urgent);
        if *urgent == Urgency::None {
            *urgent = Urgency::Now;
        }
        drop(urgent);
        self.wake.notify_one();
    }

    /// Sleeps for a period, less when there is a hurry; says whether this is the end.
    fn rest(&self) -> bool {
        let mut urgent = lock(&self.urgent);
        if *urgent == Urgency::None {
            let waited = self.wake.wait_timeout(urgent, PERIOD);
            urgent = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if *urgent == Urgency::Now {
            *urgent = Urgency::None;
        }
        *urgent == Urgency::Stop
    }
}

/// The thread's own part.
struct Writer {
    shared: Arc<Shared>,
    open: Vec<Open>,
    /// An empty buffer to change for a full one, so that both keep their memory.
    spare: Vec<u8>,
}

struct Open {
    pending: Arc<Pending>,
    file: Option<File>,
    /// The disk refused: said once, the rest is thrown away.
    broken: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let stop = self.shared.rest();
            let new = std::mem::take(&mut *lock(&self.shared.files));
            self.open.extend(new.into_iter().map(Open::new));
            let (shared, spare) = (&self.shared, &mut self.spare);
            self.open.retain_mut(|open| {
                // Read before the buffer: what came before the close is still written.
                let closed = open.pending.closed.load(Ordering::Acquire);
                let mut written = open.write_out(spare);
                written = written.saturating_add(open.write_put_off(spare, closed || stop));
                shared.waiting.fetch_sub(written, Ordering::Relaxed);
                !closed
            });
            if stop {
                return;
            }
        }
    }
}

impl Open {
    fn new(pending: Arc<Pending>) -> Self {
        Self {
            pending,
            file: None,
            broken: false,
        }
    }

    /// Empties the buffer into the file; returns how many bytes it held.
    fn write_out(&mut self, spare: &mut Vec<u8>) -> usize {
        std::mem::swap(&mut *lock(&self.pending.buffer), spare);
        self.write_and_clear(spare)
    }

    /// What was put off for long enough; all of it at the end.
    fn write_put_off(&mut self, spare: &mut Vec<u8>, is_end: bool) -> usize {
        let mut put_off = lock(&self.pending.put_off);
        let is_due = put_off.turned.is_none_or(|at| at.elapsed() >= PERIOD);
        if !is_end && !is_due && put_off.young.len() < PUT_OFF_MAX {
            return 0;
        }
        let PutOff { young, old, turned } = &mut *put_off;
        std::mem::swap(old, spare);
        std::mem::swap(young, old);
        *turned = Some(Instant::now());
        drop(put_off);
        let mut count = self.write_and_clear(spare);
        if is_end {
            std::mem::swap(&mut lock(&self.pending.put_off).old, spare);
            count = count.saturating_add(self.write_and_clear(spare));
        }
        count
    }

    fn write_and_clear(&mut self, spare: &mut Vec<u8>) -> usize {
        let count = spare.len();
        let written = if count == 0 || self.broken {
            Ok(())
        } else {
            self.write(spare)
        };
        if let Err(error) = written {
            self.broken = true;
            let path = self.pending.path.display();
            tracing::warn!("{path} is not written any further: {error}");
        }
        spare.clear();
        // A buffer that a rush has made large goes back to the system.
        spare.shrink_to(EAGER.saturating_mul(2));
        count
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.pending.path)?),
        };
        file.write_all(bytes)
    }
}

/// A new file that only its owner can read: it tells what went over a connection.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here leaves a half-made value behind a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("weir-spool-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir.join(name)
    }

    #[test]
    fn what_was_appended_is_in_the_file_in_order() {
        let path = scratch("order");
        let spool = Spool::start().unwrap();
        let file = spool.file(&path, EVENTS_CAP);
        for n in 0..10_000_u32 {
            assert!(file.append(|buffer| buffer.extend_from_slice(&n.to_be_bytes())));
        }
        drop(file);
        spool.finish();
        let written = std::fs::read(&path).unwrap();
        let expected: Vec<u8> = (0..10_000_u32).flat_map(u32::to_be_bytes).collect();
        assert_eq!(written, expected);
        assert_eq!(spool.shared.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_put_off_stands_behind_what_came_meanwhile() {
        let path = scratch("later");
        let spool = Spool::start().unwrap();
        let file = spool.file(&path, EVENTS_CAP);
        for n in [b'a', b'b', b'c'] {
            assert!(file.append_later(|buffer| buffer.push(n)));
        }
        assert!(file.append(|buffer| buffer.push(b'1')));
        drop(file);
        spool.finish();
        assert_eq!(std::fs::read(&path).unwrap(), b"1abc");
        assert_eq!(spool.shared.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_put_off_is_bounded() {
        let spool = Spool::start().unwrap();
        spool.finish();
        let file = spool.file(&scratch("never-later"), EVENTS_CAP);
        let record = vec![0; 1 << 20];
        let mut taken = 0;
        while file.append_later(|buffer| buffer.extend_from_slice(&record)) {
            taken += 1;
        }
        assert_eq!(taken, EVENTS_CAP / record.len());
    }

    #[test]
    fn a_full_buffer_refuses_instead_of_growing() {
        let spool = Spool::start().unwrap();
        spool.finish();
        let file = spool.file(&scratch("never"), EVENTS_CAP);
        let record = vec![0; 1 << 20];
        let mut taken = 0;
        while file.append(|buffer| buffer.extend_from_slice(&record)) {
            taken += 1;
        }
        assert_eq!(taken, EVENTS_CAP / record.len());
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let path = scratch("mode");
        let spool = Spool::start().unwrap();
        spool
            .file(&path, EVENTS_CAP)
            .append(|buffer| buffer.push(1));
        spool.finish();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
