//! What this process has used: processor time and memory.

use std::io;
use std::time::Duration;

/// What this process has used since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode, all threads.
    pub user: Duration,
    /// Processor time in the kernel on behalf of this process, all threads.
    pub system: Duration,
    /// The largest resident set so far, in KiB.
    pub max_rss_kib: u64,
}

impl Usage {
    /// Processor time in seconds, user and system together.
    pub fn cpu_secs(&self) -> f64 {
        (self.user + self.system).as_secs_f64()
    }
}

/// What this process has used since it started.
///
/// # Errors
/// Where the system has no `getrusage`: [`io::ErrorKind::Unsupported`].
#[cfg(unix)]
pub fn usage() -> io::Result<Usage> {
    use nix::sys::resource::{UsageWho, getrusage};
    let used = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(Usage {
        user: duration(used.user_time()),
        system: duration(used.system_time()),
        max_rss_kib: peak_of_this_program().unwrap_or_else(|| peak_of_process(used.max_rss())),
    })
}

/// What this process has used since it started.
///
/// # Errors
/// Always [`io::ErrorKind::Unsupported`] on this system.
#[cfg(not(unix))]
pub fn usage() -> io::Result<Usage> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this system has no getrusage",
    ))
}

/// Resident memory of this process now, in KiB; `None` where the system does not say in a file.
#[must_use]
pub fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kib_in_status(&status, "VmRSS:")
}

/// Lifts the number of files this process may have open to the most that the system allows it, and
/// returns that number: each connection is one file.
///
/// # Errors
/// When the system refuses, or has no such limit: [`io::ErrorKind::Unsupported`].
#[cfg(unix)]
pub fn lift_open_files() -> io::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

/// Lifts the number of files this process may have open.
///
/// # Errors
/// Always [`io::ErrorKind::Unsupported`] on this system.
#[cfg(not(unix))]
pub fn lift_open_files() -> io::Result<u64> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this system has no limit to lift",
    ))
}

#[cfg(unix)]
fn duration(time: nix::sys::time::TimeVal) -> Duration {
    let secs = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec()).unwrap_or(0);
    Duration::from_secs(secs) + Duration::from_micros(micros)
}

/// `getrusage` says KiB, except on Apple's systems, where it says bytes.
#[cfg(unix)]
fn peak_of_process(max_rss: impl TryInto<u64>) -> u64 {
    let value = max_rss.try_into().unwrap_or(0);
    if cfg!(target_vendor = "apple") {
        value / 1024
    } else {
        value
    }
}

/// `ru_maxrss` survives `exec`, so a small program started by a large one would report the large
/// one's memory. Linux keeps the peak of the program itself in `/proc/self/status` (`VmHWM`).
#[cfg(unix)]
fn peak_of_this_program() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    kib_in_status(&status, "VmHWM:")
}

fn kib_in_status(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn work_and_memory_show_up() {
        let before = usage().unwrap();
        assert!(before.max_rss_kib > 100, "{before:?}");
        let mut held = vec![0u8; 32 << 20];
        let mut sum = 0u64;
        while usage().unwrap().cpu_secs() < before.cpu_secs() + 0.02 {
            for (i, byte) in held.iter_mut().enumerate() {
                *byte = byte.wrapping_add(i as u8);
                sum = sum.wrapping_add(u64::from(*byte));
            }
        }
        assert!(sum > 0);
        let after = usage().unwrap();
        assert!(after.max_rss_kib >= 32 << 10, "{after:?}");
        assert!(after.user >= before.user && after.system >= before.system);
    }

    #[test]
    fn peak_is_read_from_status_text() {
        let text = "Name:\tweir\nVmPeak:\t  999 kB\nVmHWM:\t    7244 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(kib_in_status(text, "VmHWM:"), Some(7244));
        assert_eq!(kib_in_status(text, "VmRSS:"), Some(1));
        assert_eq!(kib_in_status("Name:\tweir\n", "VmHWM:"), None);
        assert_eq!(kib_in_status("VmHWM:\t many kB\n", "VmHWM:"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn resident_memory_is_known_and_below_its_peak() {
        let now = resident_kib().unwrap();
        assert!(now > 100 && now <= usage().unwrap().max_rss_kib, "{now}");
    }

    #[test]
    fn open_files_are_lifted_to_the_hard_limit() {
        use nix::sys::resource::{Resource, getrlimit};
        let lifted = lift_open_files().unwrap();
        assert_eq!(
            getrlimit(Resource::RLIMIT_NOFILE).unwrap(),
            (lifted, lifted)
        );
    }
}
