//! weir's side of the interop tests; `../README.md` says what the programs do.

mod bulk;
mod cases;
mod service;

use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use weir::{Connection, Endpoint, Via};

/// What went wrong, in words.
pub type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The command line.
struct Args {
    listen: bool,
    addr: String,
    drive: Vec<String>,
    bytes: u64,
}

fn args() -> Result<Args, Fault> {
    let mut words = std::env::args().skip(1);
    let listen = match words.next().as_deref() {
        Some("listen") => true,
        Some("dial") => false,
        _ => return Err("listen or dial?".into()),
    };
    let mut args = Args {
        listen,
        addr: "127.0.0.1:0".into(),
        drive: Vec::new(),
        bytes: 1 << 26,
    };
    while let Some(flag) = words.next() {
        let value = words.next().ok_or("an option without a value")?;
        match flag.as_str() {
            "--addr" => args.addr = value,
            "--drive" => args.drive = value.split(',').map(str::to_owned).collect(),
            "--bytes" => args.bytes = value.parse()?,
            _ => return Err(format!("what is {flag}?").into()),
        }
    }
    Ok(args)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("weir: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Fault> {
    let args = args()?;
    let builder = Endpoint::builder().via(Via::YamuxPlain);
    let endpoint = if args.listen {
        let endpoint = builder.bind(&args.addr).await?;
        println!("{{\"listening\":\"{}\"}}", endpoint.local_addr());
        endpoint
    } else {
        builder.client().await?
    };
    let next = async || -> Result<Connection, Fault> {
        if args.listen {
            return endpoint
                .accept()
                .await
                .ok_or_else(|| "the endpoint is closed".into());
        }
        Ok(endpoint.connect(&args.addr).await?)
    };
    if args.drive.is_empty() {
        return serve_all(&args, next).await;
    }
    for name in &args.drive {
        let connection = next().await?;
        let session = service::Session::start(connection);
        let limit = Duration::from_secs(60);
        let outcome = tokio::time::timeout(limit, cases::run(name, &session, args.bytes)).await;
        report(
            name,
            outcome.unwrap_or_else(|_| Err("no end within 60 s".into())),
        );
        session.connection.close(0, "the case is over");
        // So that what was said reaches the peer before the next case, or the end of the process.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Serves one connection after the other; a dialler is done when nobody listens any more.
async fn serve_all(
    args: &Args,
    next: impl AsyncFn() -> Result<Connection, Fault>,
) -> Result<(), Fault> {
    loop {
        let connection = match next().await {
            Ok(connection) => connection,
            Err(_) if !args.listen => return Ok(()),
            Err(fault) => return Err(fault),
        };
        let session = service::Session::start(connection);
        if args.listen {
            tokio::spawn(watch(session));
        } else {
            watch(session).await;
        }
    }
}

/// Says why a session ended, in words and with its code.
async fn watch(session: Arc<service::Session>) {
    let reason = session.connection.closed().await;
    eprintln!(
        "weir: session over, by {:?}, code {}: {reason}",
        reason.by, reason.code
    );
}

fn report(name: &str, outcome: Result<(), Fault>) {
    match outcome {
        Ok(()) => println!("{{\"case\":\"{name}\",\"ok\":true}}"),
        Err(fault) => {
            println!(
                "{{\"case\":\"{name}\",\"ok\":false,\"detail\":\"{}\"}}",
                quoted(&fault)
            );
        }
    }
}

fn quoted(fault: &dyn Display) -> String {
    fault.to_string().replace('\\', "\\\\").replace('"', "\\\"")
}
