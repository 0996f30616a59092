//! TCP/IP stacks in user space as servers over a TUN device; the client is the kernel's TCP on another core. Some works
//! have both ends in one process, joined in memory.

mod args;
mod kernel;
mod line;
mod memory;
mod service;
mod smol;
mod tun;
mod weir_stack;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use args::{Args, PORT, STACK};
use bench_common::report::{self, Outcome};

fn main() -> ExitCode {
    let done = Args::parse(std::env::args().skip(1)).and_then(|args| run(&args));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), String> {
    if args.server {
        return serve(args);
    }
    let outcome = client(args)?;
    report::print(&args.name, "tun", &args.work, &outcome);
    Ok(())
}

fn client(args: &Args) -> Result<Outcome, String> {
    if !args.work.starts_with("memory-") {
        tun::same_for_all();
    }
    let done = match args.work.as_str() {
        "receive" => kernel::receive(args),
        "send" => kernel::send(args),
        "rr-1" => kernel::rr_1(args),
        "rr-100" => kernel::rr_many(args, 100),
        "open-close" => kernel::open_close(args),
        "idle-conns" => kernel::idle(args),
        work => return memory::run(args, work),
    };
    done.map_err(|error| format!("{}: {error}", args.work))
}

fn serve(args: &Args) -> Result<(), String> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|error| error.to_string())?;
    }
    let listening = || println!("{{\"listening\":\"{STACK}:{PORT}\"}}");
    let stopped = || stop.load(Ordering::Relaxed);
    let tun = || {
        let tun = tun::Tun::open(args.offload).map_err(|error| format!("TUN device: {error}"))?;
        listening();
        Ok::<_, String>(tun)
    };
    match args.name.as_str() {
        "smoltcp" => smol::serve(args, tun()?, stopped),
        "line" => line::serve(&tun()?, stopped),
        "weir" => weir_stack::serve(args, listening, stopped)?,
        name => return Err(format!("no server is called {name}")),
    }
    report::print_server();
    Ok(())
}
