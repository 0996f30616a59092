//! The `weir` command.

mod args;
mod connect;
mod doctor;
mod echo;
mod http3;
mod interop;
mod key;
mod lab;
mod link;
mod listen;
mod log;
#[cfg(target_os = "linux")]
mod network;
mod out;
mod perf;
mod pipe;
mod shutdown;
mod try_out;
mod units;
mod usage;
mod workers;

use args::{Cli, Command};
use clap::Parser;
use log::Base;
use std::process::ExitCode;

fn main() -> ExitCode {
    // `weir run` starts this program once more, to make a namespace and become the command in it.
    #[cfg(target_os = "linux")]
    if let Some(code) = weir_os::namespace::entry() {
        return code;
    }
    // Wrong usage ends here: clap says what is wrong on stderr and exits with code 2.
    let cli = Cli::parse();
    let common = cli.command.common().clone();
    let base = match cli.command {
        Command::Listen(_) | Command::Connect(_) => Base::News,
        _ => Base::Warnings,
    };
    log::start(common.verbose, base);
    let outcome = match cli.command {
        Command::Try(args) => try_out::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Listen(args) => listen::run(args),
        Command::Connect(args) => connect::run(args),
        #[cfg(target_os = "linux")]
        Command::Run(args) => return network::run::run(&args),
        Command::Echo(command) => echo::run(command),
        Command::Perf(command) => perf::run(command),
        Command::Lab(args) => lab::run(&args),
        Command::Interop(command) => interop::run(command),
        Command::Doctor(args) => doctor::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(common.json),
    }
}
