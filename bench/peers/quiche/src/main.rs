//! quiche as a peer of weir's side-by-side benchmark, as server or as client; `bench/run quic` starts it.
//!
//! quiche leaves sockets to its user. Here they are used as well as can be: GSO and GRO by way of quinn-udp, all packets that quiche
//! has for one address in as few calls as possible, everything on one thread.

mod config;
mod endpoint;
mod server;
mod works;

use std::fmt::Debug;
use std::io;
use std::process::ExitCode;

use bench_common::{Flags, report};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "bench-quiche server|client --impl quiche --addr IP:PORT [--work W] [--secs S] [--count N] [--parallel N] \
    [--mtu N] [--streams N]\n\
    work: bulk-down bulk-up streams-100 rr-1 rr-100 handshakes idle-conns\n\
    example: bench-quiche server --impl quiche --addr 127.0.0.1:0";

/// Any fault of quiche's as an I/O error.
fn broken(error: impl Debug) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

fn main() -> ExitCode {
    let flags = match Flags::parse(std::env::args().skip(1)) {
        Ok(flags) => flags,
        Err(fault) => {
            eprintln!("{fault}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| {
            runtime.block_on(async move {
                if flags.server {
                    serve(flags).await
                } else {
                    // A task of its own: what `block_on` itself polls is woken by a slower way.
                    tokio::spawn(measure(flags)).await?
                }
            })
        });
    match done {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("quiche: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(flags: Flags) -> io::Result<()> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut server = tokio::spawn(async move { server::serve(&flags).await });
    tokio::select! {
        ended = &mut server => return ended?,
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    report::print_server();
    Ok(())
}

async fn measure(flags: Flags) -> io::Result<()> {
    let outcome = works::measure(&flags).await?;
    report::print(&flags.name, "quic", &flags.work_name, &outcome);
    Ok(())
}
