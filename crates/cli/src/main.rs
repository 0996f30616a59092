//! The `weir` command.

mod args;
mod echo;
mod key;
mod link;
mod log;
mod out;
mod perf;
mod pipe;
mod shutdown;
mod units;
mod usage;
mod workers;

use args::{Cli, Command};
use clap::Parser;
use log::Base;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Wrong usage ends here: clap says what is wrong on stderr and exits with code 2.
    let cli = Cli::parse();
    let common = cli.command.common().clone();
    log::start(common.verbose, Base::Warnings);
    let outcome = match cli.command {
        Command::Key(args) => key::run(&args),
        Command::Echo(command) => echo::run(command),
        Command::Perf(command) => perf::run(command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(common.json),
    }
}
