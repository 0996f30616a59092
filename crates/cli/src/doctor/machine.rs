//! What else of this machine matters: its clocks, its limit of open files, its key.

use super::Findings;
use super::check::Check;
use crate::key;
use crate::units;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use weir::Identity;
use weir::security::KeyError;

/// 2026-01-01 00:00 UTC: this program is no older, so no clock that is right shows less.
const NOT_BEFORE: Duration = Duration::from_secs(1_767_225_600);

/// 2100-01-01: a clock that shows more was never set.
const NOT_AFTER: Duration = Duration::from_secs(4_102_444_800);

/// Coarser steps make sending in time (pacing) coarse too.
const FINE: Duration = Duration::from_micros(50);

/// Each connection over TCP is a file, and each stream of a tunnel one more.
const FILES: u64 = 4_096;

/// Checks them all.
pub(super) fn examine(findings: &mut Findings, key: Option<&Path>) {
    findings.add(steps(smallest_step()));
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    findings.add(date(since.unwrap_or_default()));
    findings.add(files(weir_os::lift_open_files()));
    findings.add(key_file(key));
}

/// The smallest difference between two looks at the monotonic clock, within some milliseconds.
fn smallest_step() -> Duration {
    const LOOK_FOR: Duration = Duration::from_millis(20);
    let begun = Instant::now();
    let (mut last, mut smallest) = (begun, LOOK_FOR);
    while last.saturating_duration_since(begun) < LOOK_FOR && smallest > Duration::from_micros(1) {
        let now = Instant::now();
        let step = now.saturating_duration_since(last);
        if !step.is_zero() {
            smallest = smallest.min(step);
            last = now;
        }
    }
    smallest
}

fn steps(smallest: Duration) -> Check {
    let found = format!(
        "the monotonic clock moves in steps of {} or less",
        units::time(smallest)
    );
    let check = if smallest <= FINE {
        Check::ok("clock", found)
    } else {
        Check::limited("clock", found).remedy(
            "a better clock source (Linux: tsc in /sys/devices/system/clocksource/clocksource0)",
        )
    };
    check.figure("step_ns", smallest.as_nanos())
}

fn date(since_1970: Duration) -> Check {
    let check = if (NOT_BEFORE..NOT_AFTER).contains(&since_1970) {
        Check::ok("date", "the date can be right")
    } else {
        let year = 1970 + since_1970.as_secs() / 31_556_952;
        Check::limited(
            "date",
            format!("it is the year {year} here, which cannot be"),
        )
        .remedy("set the clock (NTP): certificates of named servers do not hold at such a date")
    };
    check.figure("unix_seconds", since_1970.as_secs())
}

fn files(lifted: io::Result<u64>) -> Check {
    match lifted {
        Ok(limit) if limit >= FILES => {
            Check::ok("open-files", format!("up to {limit}")).figure("limit", limit)
        }
        Ok(limit) => Check::limited("open-files", format!("no more than {limit}"))
            .remedy("raise the hard limit (ulimit -Hn 65536, LimitNOFILE=65536 for systemd)")
            .figure("limit", limit),
        Err(error) => Check::limited("open-files", format!("the limit cannot be lifted: {error}")),
    }
}

fn key_file(named: Option<&Path>) -> Check {
    let path = match key::path(named) {
        Ok(path) => path,
        Err(failure) => {
            return Check::broken("key", failure.to_string()).remedy("name one with --key FILE");
        }
    };
    match Identity::load(&path) {
        Ok(identity) => Check::ok(
            "key",
            format!("{} in {}", identity.peer_id(), path.display()),
        ),
        Err(KeyError::NotFound { .. }) => {
            Check::ok("key", format!("none yet in {}", path.display()))
                .remedy("`weir key` makes one and shows the peer ID; so does the first connection")
        }
        Err(error) => Check::broken("key", error.to_string())
            .remedy("repair the file, or move it away: `weir key` then makes another peer ID"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_named_by_its_year() {
        let check = date(Duration::from_secs(86_400));
        assert_eq!(check.verdict, Verdict::Limited);
        assert_eq!(check.found, "it is the year 1970 here, which cannot be");
        assert_eq!(date(NOT_BEFORE).verdict, Verdict::Ok);
        assert_eq!(date(NOT_AFTER).verdict, Verdict::Limited);
    }

    #[test]
    fn coarse_steps_are_a_limit() {
        assert_eq!(steps(Duration::from_millis(10)).verdict, Verdict::Limited);
        let fine = steps(Duration::from_nanos(40));
        assert_eq!(fine.verdict, Verdict::Ok);
        assert_eq!(fine.figures.get("step_ns"), Some(&40));
    }

    #[test]
    fn few_files_are_a_limit() {
        assert_eq!(files(Ok(1_024)).verdict, Verdict::Limited);
        assert_eq!(files(Ok(20_000)).verdict, Verdict::Ok);
        assert_eq!(
            files(Err(io::ErrorKind::Unsupported.into())).verdict,
            Verdict::Limited
        );
    }

    #[test]
    fn a_file_that_is_no_key_is_broken_and_a_missing_one_is_not() {
        let dir = std::env::temp_dir().join(format!("weir-doctor-key-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let missing = key_file(Some(&dir.join("missing")));
        assert_eq!(missing.verdict, Verdict::Ok);
        assert!(missing.remedy.unwrap().contains("weir key"));
        let made = dir.join("made");
        let identity = Identity::generate().unwrap();
        identity.save_new(&made).unwrap();
        let check = key_file(Some(&made));
        assert_eq!(check.verdict, Verdict::Ok);
        assert!(check.found.contains(&identity.peer_id().to_string()));
        std::fs::write(&made, "not a key").unwrap();
        assert_eq!(key_file(Some(&made)).verdict, Verdict::Broken);
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
