//! Running the command as a user does.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What has not come by then hangs: far more than a machine needs that stands still for seconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The command with these arguments, away from the user's own settings.
pub(crate) fn weir(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(args).stdin(Stdio::null());
    for variable in ["RUST_LOG", "QLOGDIR", "SSLKEYLOGFILE", "XDG_CONFIG_HOME"] {
        command.env_remove(variable);
    }
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    finish(weir(args))
}

/// Runs a command to its end, which must come.
pub(crate) fn finish(mut command: Command) -> Output {
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    Running::new(child).output()
}

/// Runs it, insists on success, and returns the JSON lines of its stdout.
pub(crate) fn json(args: &[&str]) -> Vec<Value> {
    let output = run(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        text(&output.stderr)
    );
    lines(&output.stdout)
}

/// The JSON lines of a text.
pub(crate) fn lines(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Output as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A command that goes on; it is killed when the test is over.
pub(crate) struct Running {
    child: Option<Child>,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Running {
    fn new(mut child: Child) -> Self {
        let stdout = child.stdout.take().map(BufReader::new);
        Self {
            child: Some(child),
            stdout,
        }
    }

    /// Starts it.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::spawn(weir(args))
    }

    /// Starts a command that was made ready elsewhere.
    pub(crate) fn spawn(mut command: Command) -> Self {
        Self::new(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    /// The next line of its stdout.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.as_mut().unwrap().read_line(&mut line).unwrap();
        if line.is_empty() {
            let mut child = self.child.take().unwrap();
            let _ = child.kill();
            let _ = child.wait();
            let mut words = String::new();
            child
                .stderr
                .take()
                .unwrap()
                .read_to_string(&mut words)
                .unwrap();
            panic!("it ended without a line: {words}");
        }
        line
    }

    /// The next line of its stdout, which is JSON.
    pub(crate) fn json_line(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Where it says that it listens.
    pub(crate) fn listening(&mut self) -> String {
        self.json_line()["listening"].as_str().unwrap().to_owned()
    }

    /// Sends it a signal by name (`TERM`, `INT`).
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {id}")])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// Asks it to end; its exit status and the rest of what it said.
    pub(crate) fn terminate(self) -> Output {
        self.signal("TERM");
        self.output()
    }

    /// Waits for its end; its exit status and the rest of what it said.
    pub(crate) fn output(mut self) -> Output {
        let mut child = self.child.take().unwrap();
        let mut out = self.stdout.take().unwrap();
        let mut err = child.stderr.take().unwrap();
        let reading = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            out.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let words = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            err.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let status = wait(&mut child);
        Output {
            status,
            stdout: reading.join().unwrap(),
            stderr: words.join().unwrap(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if started.elapsed() > LIMIT {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it did not end within {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An empty directory of this test's own.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("weir-{name}-{}-{number}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}
