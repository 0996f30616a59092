//! quiche as either side of the interop cases, with the options of the other peers here.

mod client;
mod http;
mod options;
mod server;
mod socket;

use options::Options;
use std::process::ExitCode;

/// What goes wrong is only told.
type Fault = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let done =
        Options::parse(std::env::args().skip(1)).and_then(|options| match options.is_server {
            true => server::run(&options),
            false => client::run(&options),
        });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("{fault}");
            ExitCode::FAILURE
        }
    }
}
