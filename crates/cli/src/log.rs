//! `-v`, `-vv` and `RUST_LOG`: what goes to stderr while a command runs.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

/// How much a command says when nobody asked for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// Only what is wrong: for commands whose result is a figure.
    Warnings,
    /// Also what a running tunnel has to tell: connected, lost, dialling again.
    News,
}

/// Sends log lines to stderr. `RUST_LOG` is the base when it is set; `-v` and `-vv` on the command line
/// widen weir's own part of it to events and frames.
pub(crate) fn start(verbose: u8, base: Base) {
    let fallback = match base {
        Base::Warnings => "warn",
        Base::News => "warn,weir=info",
    };
    let wanted = std::env::var("RUST_LOG").unwrap_or_default();
    let mut directives = if wanted.is_empty() {
        fallback.to_owned()
    } else {
        wanted
    };
    match verbose {
        0 => {}
        1 => directives.push_str(",weir=debug"),
        _ => directives.push_str(",weir=trace"),
    }
    let filter = EnvFilter::builder().parse_lossy(directives);
    let built = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_timer(SystemTime)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .try_init();
    // A second initialisation in one process (tests) keeps the first.
    let _ = built;
}
