//! Every script is a test of its own name, played over IPv4 and IPv6. `docs/simulation.md` says how
//! they read; `WEIR_SCRIPT=FILE cargo test -p weir-tcpip --test scripts one` plays one that is being
//! written.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod harness;

use std::path::{Path, PathBuf};

use harness::Harness;
use weir_core::time::Instant;
use weir_sim::script::{Connection, Host, Script};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

#[track_caller]
fn play(path: &Path) {
    let text = std::fs::read_to_string(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let script = Script::parse(name, &text).unwrap_or_else(|failure| panic!("{failure}"));
    for version in script.versions() {
        if let Err(failure) = script.run(version, Harness::new) {
            panic!("{failure}");
        }
    }
}

macro_rules! scripts {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                play(&folder().join(concat!(stringify!($name), ".script")));
            }
        )*
    };
}

include!("scripts/list.rs");

#[test]
fn every_script_is_in_the_list() {
    let entries = std::fs::read_dir(folder()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_script = |path: &PathBuf| path.extension().is_some_and(|end| end == "script");
    let mut found: Vec<String> = paths
        .filter(is_script)
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    found.sort();
    let mut listed: Vec<String> = NAMES.iter().map(|&name| name.to_owned()).collect();
    listed.sort();
    assert_eq!(listed, found);
}

#[test]
fn every_script_names_its_rows() {
    for name in NAMES {
        let path = folder().join(name).with_extension("script");
        let text = std::fs::read_to_string(&path).unwrap();
        let script = Script::parse(name, &text).unwrap_or_else(|failure| panic!("{failure}"));
        let rows = script.rows();
        assert!(
            rows.starts_with('T') && rows.contains(": "),
            "{name}: {rows}"
        );
    }
}

/// A host whose every frame is kept.
struct Recorded<'a> {
    host: Harness,
    frames: &'a mut Vec<(Instant, Vec<u8>)>,
}

impl Host for Recorded<'_> {
    fn handle_input(&mut self, now: Instant, frame: &[u8]) {
        self.host.handle_input(now, frame);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.host.handle_timeout(now);
    }

    fn poll_transmit(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        let before = out.len();
        self.host.poll_transmit(now, out);
        let sent = out.iter().skip(before);
        self.frames.extend(sent.map(|frame| (now, frame.clone())));
    }

    fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        self.host.poll_timeout()
    }

    fn call(
        &mut self,
        now: Instant,
        connection: &Connection<'_>,
        words: &[&str],
    ) -> Result<String, String> {
        self.host.call(now, connection, words)
    }
}

// T160: the clock is the script's, and the same input gives the same output, to the last bit of
// ports, initial sequence numbers and identifications.
#[test]
fn the_same_script_is_the_same_run() {
    let mut most = 0;
    for name in NAMES {
        let path = folder().join(name).with_extension("script");
        let text = std::fs::read_to_string(&path).unwrap();
        let script = Script::parse(name, &text).unwrap();
        let version = script.versions().remove(0);
        let run = || {
            let mut frames = Vec::new();
            // Whether it comes true is the scripts' own tests' to say.
            let _ = script.run(version, |setup| Recorded {
                host: Harness::new(setup),
                frames: &mut frames,
            });
            frames
        };
        let first = run();
        assert!(first == run(), "{name}");
        most = most.max(first.len());
    }
    assert!(most > 20, "scripts that send nothing");
}

#[test]
fn one() {
    if let Some(path) = std::env::var_os("WEIR_SCRIPT") {
        play(Path::new(&path));
    }
}
