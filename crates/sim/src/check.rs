//! Runs a test over many seeds, and says how to run the one again that failed.

use std::cell::{Cell, RefCell};
use std::ops::{Range, RangeInclusive};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Runs this seed alone.
pub const SEED_VARIABLE: &str = "WEIR_SIM_SEED";

/// Runs this many seeds instead of the test's own number, from the test's first seed on.
pub const SEEDS_VARIABLE: &str = "WEIR_SIM_SEEDS";

thread_local! {
    /// The test and the seed that run on this thread.
    static CURRENT: RefCell<Option<String>> = const { RefCell::new(None) };

    /// Worlds that this run has made, or this thread outside of one.
    static WORLDS: Cell<u32> = const { Cell::new(0) };
}

/// Seeds to run: a range, or a number of them from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    first: u64,
    count: u64,
}

impl From<u64> for Seeds {
    fn from(count: u64) -> Self {
        Self { first: 0, count }
    }
}

impl From<Range<u64>> for Seeds {
    fn from(range: Range<u64>) -> Self {
        Self {
            first: range.start,
            count: range.end.saturating_sub(range.start),
        }
    }
}

impl From<RangeInclusive<u64>> for Seeds {
    fn from(range: RangeInclusive<u64>) -> Self {
        let count = range.end().saturating_sub(*range.start()).saturating_add(1);
        Self {
            first: *range.start(),
            count,
        }
    }
}

/// Runs `test` with each of `seeds`, one after the other.
///
/// When it panics, the command that replays the seed is printed and the panic goes on. With the
/// environment variable [`SEED_VARIABLE`] only that seed is run, with [`SEEDS_VARIABLE`] that many:
/// a long campaign is `WEIR_SIM_SEEDS=100000 cargo test -p weir-yamux schedules`.
///
/// The test's name is that of the thread, which the test harness sets; [`check_named`] takes it
/// where the harness does not (with `--test-threads=1`).
///
/// ```
/// weir_sim::check(3, |seed| assert!(seed < 3));
/// ```
///
/// # Panics
/// When `test` does, and when an environment variable is not a number.
pub fn check(seeds: impl Into<Seeds>, test: impl Fn(u64)) {
    let thread = std::thread::current();
    let name = thread
        .name()
        .filter(|&name| name != "main")
        .unwrap_or_default();
    check_named(name, seeds, test);
}

/// Like [`check`], with the name of the test that `cargo test` knows.
///
/// # Panics
/// When `test` does, and when an environment variable is not a number.
pub fn check_named(name: &str, seeds: impl Into<Seeds>, test: impl Fn(u64)) {
    let mut seeds = seeds.into();
    if let Some(seed) = number_from_environment(SEED_VARIABLE) {
        seeds = Seeds {
            first: seed,
            count: 1,
        };
    } else if let Some(count) = number_from_environment(SEEDS_VARIABLE) {
        seeds.count = count;
    }
    run(name, seeds, test);
}

fn run(name: &str, Seeds { first, count }: Seeds, test: impl Fn(u64)) {
    for seed in first..first.saturating_add(count) {
        CURRENT.set(Some(format!("{}-{seed}", file_name(name))));
        WORLDS.set(0);
        let outcome = catch_unwind(AssertUnwindSafe(|| test(seed)));
        CURRENT.set(None);
        if let Err(panic) = outcome {
            eprintln!(
                "seed {seed} failed. To run it again:\n    {}",
                replay_command(name, seed)
            );
            resume_unwind(panic);
        }
    }
}

/// The command that runs `seed` of the test `name` again.
fn replay_command(name: &str, seed: u64) -> String {
    // Cargo sets it for the test's process.
    let package = std::env::var("CARGO_PKG_NAME").map(|name| format!(" -p {name}"));
    let package = package.unwrap_or_default();
    format!("{SEED_VARIABLE}={seed} cargo test{package} {name}")
        .trim_end()
        .to_owned()
}

/// What the file of a new world should be called. The same run gives the same names.
pub(crate) fn world_name(seed: u64) -> String {
    let run = CURRENT
        .with_borrow(|current| current.clone())
        .unwrap_or_else(|| {
            let thread = std::thread::current();
            format!("{}-{seed}", file_name(thread.name().unwrap_or_default()))
        });
    WORLDS.set(WORLDS.get() + 1);
    match WORLDS.get() {
        1 => run,
        number => format!("{run}-world{number}"),
    }
}

/// `name` without what a file's name had better not contain.
fn file_name(name: &str) -> String {
    if name.is_empty() {
        return "sim".to_owned();
    }
    name.replace("::", ".")
        .replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "_")
}

fn number_from_environment(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{variable} is {text:?}, which is not a number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_seed_is_named_with_the_command_that_replays_it() {
        // The command depends on nothing but the two names and the seed.
        let command = replay_command("streams::survive", 42);
        assert_eq!(
            command,
            "WEIR_SIM_SEED=42 cargo test -p weir-sim streams::survive"
        );
        assert_eq!(
            replay_command("", 1),
            "WEIR_SIM_SEED=1 cargo test -p weir-sim"
        );
    }

    #[test]
    fn seeds_run_in_order_until_one_fails_and_the_panic_goes_on() {
        let seen = RefCell::new(Vec::new());
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            run("x", (5..=9).into(), |seed| {
                seen.borrow_mut().push(seed);
                assert_ne!(seed, 7, "the seventh");
            });
        }));
        let panic = outcome.unwrap_err();
        let message = panic.downcast_ref::<String>().unwrap();
        assert!(message.contains("the seventh"), "{message}");
        assert_eq!(*seen.borrow(), [5, 6, 7]);
    }

    #[test]
    fn a_run_has_a_name_for_its_files() {
        run("a::b c", (3..5).into(), |seed| {
            assert_eq!(world_name(seed), format!("a.b_c-{seed}"));
            assert_eq!(world_name(seed), format!("a.b_c-{seed}-world2"));
        });
    }
}
