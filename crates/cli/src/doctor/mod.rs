//! `weir doctor`: what this machine and the path to a peer allow, and what to do about the rest.

mod check;
mod handshake;
mod machine;
mod mtu;
mod path;
mod probe;
mod sockets;
mod wire;

use crate::args::{Common, Seen};
use crate::link;
use crate::out::{Failure, Outcome, json_line, show};
use crate::units;
use check::{Check, Verdict};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use weir::Target;

/// `weir doctor`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir doctor\n  weir doctor 12D3KooW..@example.org:4433\n\n\
    A line for each check: ok, limited (it works, but less well), or broken (a connection cannot be\n\
    made), then what was found and what to do. Exit code 0 if nothing is broken. With a peer the path\n\
    to it is checked too: the name, TCP, the handshake, UDP, the greatest packet, and ECN."
)]
pub(crate) struct DoctorArgs {
    /// The peer whose path is checked too: PEER@HOST:PORT, or HOST:PORT
    #[arg(value_name = "PEER@HOST:PORT")]
    peer: Option<Target>,

    /// How long to wait for an answer of the peer, each time
    #[arg(long, default_value = "3s", value_parser = units::parse_time, value_name = "TIME")]
    timeout: Duration,

    /// The key of this machine, instead of ~/.config/weir/key
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    seen: Seen,
}

/// Runs `weir doctor`.
pub(crate) fn run(args: &DoctorArgs) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime did not start: {error}")))?;
    runtime.block_on(examine(args))
}

async fn examine(args: &DoctorArgs) -> Outcome {
    let mut findings = Findings {
        json: args.common.json,
        broken: 0,
    };
    sockets::examine(&mut findings).await;
    machine::examine(&mut findings, args.key.as_deref());
    if let Some(peer) = &args.peer {
        let instruments = link::instruments(&args.seen)?;
        let visit = path::Visit {
            target: peer,
            limit: args.timeout,
            key: args.key.as_deref(),
            instruments: &instruments,
        };
        visit.examine(&mut findings).await;
        instruments.finish();
    }
    match findings.broken {
        0 => Ok(()),
        1 => Err(Failure::failed("one check found something broken")),
        count => Err(Failure::failed(format!(
            "{count} checks found something broken"
        ))),
    }
}

/// Says each finding as it comes.
#[derive(Debug)]
struct Findings {
    json: bool,
    broken: u32,
}

impl Findings {
    fn add(&mut self, check: Check) {
        self.broken += u32::from(check.verdict == Verdict::Broken);
        if self.json {
            json_line(&check);
        } else {
            show(&check);
        }
    }
}
