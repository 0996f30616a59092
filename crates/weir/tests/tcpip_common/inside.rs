//! Tests in a network of their own.

use std::process::Command;
use std::time::Duration;

/// Set in the process that runs within.
const INSIDE: &str = "WEIR_TEST_INSIDE";

/// Runs `body` as root of a network of its own: starts this program again for the one test, in there. It hangs
/// where it takes longer than `limit`. Where the system forbids it, that is said and nothing is tried.
pub(crate) fn in_namespace<F: Future<Output = ()>>(
    test: &str,
    limit: Duration,
    body: impl FnOnce() -> F,
) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        return runtime.block_on(async { tokio::time::timeout(limit, body()).await.unwrap() });
    }
    if let Err(error) = weir_os::tun::support() {
        return println!("not tried: {error}");
    }
    let check = Command::new("unshare").args(["-Urn", "true"]).output();
    if !check.is_ok_and(|check| check.status.success()) {
        return println!("not tried: `unshare -Urn` does not work here");
    }
    let status = Command::new("unshare")
        .arg("-Urn")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success());
}
