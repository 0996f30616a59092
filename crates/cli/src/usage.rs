//! What this process has used so far, as figures that reports can print: what a system does not tell
//! counts as nothing.

use std::time::Duration;

/// CPU time of the whole process, user and system, all threads.
pub(crate) fn cpu() -> Duration {
    weir_os::usage()
        .map(|used| used.user + used.system)
        .unwrap_or_default()
}

/// Resident memory now, in KiB.
pub(crate) fn rss_kib() -> u64 {
    weir_os::resident_kib().unwrap_or_default()
}

/// The most resident memory there ever was in this process, in KiB.
pub(crate) fn max_rss_kib() -> u64 {
    weir_os::usage()
        .map(|used| used.max_rss_kib)
        .unwrap_or_default()
}
