//! One of the QUIC peers of weir's side-by-side benchmark, or one of its base lines, as server or as client; `bench/run quic`
//! starts it.

mod line;
mod ping;
mod quinn_peer;
mod s2n_peer;
mod tls;
mod tls_line;
mod works;

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;

use bench_common::report::{self, Outcome};
use bench_common::{Flags, Work};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "bench-quic server|client --impl NAME --addr IP:PORT [--work W] [--secs S] [--count N] [--parallel N] [--mtu N] \
    [--streams N] [--threads N]\n\
    impl: quinn quinn-mutual s2n-quic; line (bulk works and rr-100), udp (rr-1), tls and tls-mutual (handshakes)\n\
    work: bulk-down bulk-up streams-100 rr-1 rr-100 handshakes idle-conns\n\
    example: bench-quic server --impl quinn --addr 127.0.0.1:0";

/// Any fault of a peer's as an I/O error.
fn broken(error: impl Debug) -> io::Error {
    io::Error::other(format!("{error:?}"))
}

/// Prints the server's first line.
fn listening(addr: SocketAddr, flags: &Flags) {
    println!(
        "{{\"listening\":\"{addr}\",\"impl\":\"{}\",\"via\":\"quic\"}}",
        flags.name
    );
}

fn main() -> ExitCode {
    let flags = match Flags::parse(std::env::args().skip(1)) {
        Ok(flags) => flags,
        Err(fault) => {
            eprintln!("{fault}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let mut builder = match flags.threads {
        0 => tokio::runtime::Builder::new_current_thread(),
        threads => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(threads);
            builder
        }
    };
    let name = flags.name.clone();
    let done = builder.enable_all().build().and_then(|runtime| {
        let done = runtime.block_on(async move {
            if flags.server {
                serve(flags).await
            } else {
                // A task of its own: what `block_on` itself polls is woken by a slower way.
                tokio::spawn(measure(flags)).await?
            }
        });
        // Threads in blocking calls are not waited for.
        runtime.shutdown_background();
        done
    });
    match done {
        // Connections may be open; there is nothing to wait for.
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(flags: Flags) -> io::Result<()> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut server = tokio::spawn(async move {
        match flags.name.as_str() {
            "quinn" | "quinn-mutual" => quinn_peer::serve(&flags).await,
            "s2n-quic" => s2n_peer::serve(&flags).await,
            "line" => line::serve(&flags).await,
            "udp" => ping::serve(&flags).await,
            "tls" | "tls-mutual" => tls_line::serve(&flags).await,
            name => Err(io::Error::other(format!("unknown --impl {name}"))),
        }
    });
    tokio::select! {
        ended = &mut server => return ended?,
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    report::print_server();
    Ok(())
}

async fn measure(flags: Flags) -> io::Result<()> {
    let outcome: Outcome = match flags.name.as_str() {
        "quinn" | "quinn-mutual" => works::measure(quinn_peer::Dialer::new(&flags)?, &flags).await,
        "s2n-quic" => works::measure(s2n_peer::Dialer::new(&flags)?, &flags).await,
        "line" => line::measure(&flags).await,
        "udp" => ping::measure(&flags),
        "tls" | "tls-mutual" => tls_line::measure(&flags).await,
        name => Err(io::Error::other(format!("unknown --impl {name}"))),
    }?;
    report::print(&flags.name, "quic", &flags.work_name, &outcome);
    Ok(())
}

/// A base line was asked for what it has no line for.
fn no_line(flags: &Flags) -> io::Error {
    let Flags {
        name, work_name, ..
    } = flags;
    io::Error::other(format!("{name} draws no line for {work_name}"))
}

/// Whether both sides show a certificate, or the server alone.
fn is_mutual(flags: &Flags) -> bool {
    flags.name.ends_with("-mutual")
}

/// Whether this is one of the works that the line of sealed datagrams stands for.
fn is_bulk(work: Work) -> bool {
    matches!(work, Work::Down(_) | Work::Up)
}
