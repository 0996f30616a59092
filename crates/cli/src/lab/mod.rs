//! `weir lab`: a bad network on purpose.

mod options;
mod report;

use crate::out::{Failure, Outcome, json_line, say};
use crate::shutdown::Signals;
use report::Report;
use serde::Serialize;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use weir::Target;
use weir_lab::{Lab, LabError};

pub(crate) use options::LabArgs;

#[derive(Serialize)]
struct Listening {
    listening: String,
    to: String,
    seed: u64,
}

/// Runs `weir lab`.
pub(crate) fn run(args: &LabArgs) -> Outcome {
    args.check()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the runtime did not start: {error}")))?;
    runtime.block_on(serve(args))
}

async fn serve(args: &LabArgs) -> Outcome {
    // A limit that stays where it is only bounds how many clients there can be.
    let _ = weir_os::lift_open_files();
    let mut signals = Signals::catch()
        .map_err(|error| Failure::failed(format!("signals cannot be caught: {error}")))?;
    let to = resolve(&args.to).await?;
    let lab = Lab::start(args.config(to)).await.map_err(failure)?;
    let listening = lab.listening().to_string();
    if args.common.json {
        json_line(&Listening {
            listening,
            to: to.to_string(),
            seed: args.seed,
        });
    } else {
        say(format_args!(
            "lab on {listening}, UDP and TCP, to {to}, seed {}; stop it with Ctrl-C",
            args.seed
        ));
    }
    let begun = Instant::now();
    tokio::select! {
        _ = signals.next() => {}
        () = over(args.length) => {}
    }
    let report = Report::new(&lab.stop(), begun.elapsed());
    if args.common.json {
        json_line(&report);
    } else {
        report.show();
    }
    Ok(())
}

/// Ends when the run is to end by itself.
async fn over(length: Option<Duration>) {
    match length {
        Some(length) => tokio::time::sleep(length).await,
        None => std::future::pending().await,
    }
}

async fn resolve(target: &Target) -> Result<SocketAddr, Failure> {
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let nowhere = |why: String| {
        Failure::failed(format!("no address found for {}: {why}", target.host))
            .hint("--to takes HOST:PORT")
    };
    let mut found = found.map_err(|error| nowhere(error.to_string()))?;
    found
        .next()
        .ok_or_else(|| nowhere("the name has no address".to_owned()))
}

fn failure(error: LabError) -> Failure {
    match error {
        LabError::Direction { .. } | LabError::RebindAddress(_) | LabError::RebindPeriod => {
            Failure::usage(error)
        }
        other => Failure::failed(other),
    }
}
