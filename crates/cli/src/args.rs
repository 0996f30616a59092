//! The command line: the subcommands, and the options that several of them share.

#[cfg(target_os = "linux")]
use crate::network;
use crate::{connect, doctor, echo, interop, key, lab, listen, perf, try_out};
use clap::{ArgAction, Args, Parser, Subcommand};
use std::path::PathBuf;

/// Streams over any path: a tunnel for TCP, and the tools to measure and look into it.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(after_help = "Start here:\n  \
    weir try                          prove that it works on this machine\n  \
    weir listen --allow-peer ID       on one machine; prints the line for the other\n  \
    weir COMMAND --help               what a command does, with an example")]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prove the install: embedded peers on this machine, real HTTP through them, every byte checked
    Try(try_out::TryArgs),
    /// Make or show this machine's key and peer ID
    Key(key::KeyArgs),
    /// Accept peers; prints the line to paste on the other machine
    Listen(listen::ListenArgs),
    /// Open a tunnel to a peer and forward ports through it
    Connect(connect::ConnectArgs),
    /// Run a command with all of its traffic through a tunnel, without root
    #[cfg(target_os = "linux")]
    Run(network::run::RunArgs),
    /// The smallest example of each way to carry a stream
    #[command(subcommand)]
    Echo(echo::EchoCommand),
    /// Measure: throughput, round trips, handshakes, memory
    #[command(subcommand)]
    Perf(perf::PerfCommand),
    /// A bad network on purpose: a proxy for UDP and TCP that delays, loses, reorders, corrupts, rebinds
    Lab(Box<lab::LabArgs>),
    /// The endpoints that the test suites of other QUIC implementations expect
    #[command(subcommand)]
    Interop(interop::InteropCommand),
    /// What this machine and the path to a peer allow, and what to do about the rest
    Doctor(doctor::DoctorArgs),
}

impl Command {
    /// The options every subcommand has.
    pub(crate) fn common(&self) -> &Common {
        match self {
            Self::Try(args) => &args.common,
            Self::Key(args) => &args.common,
            Self::Listen(args) => &args.common,
            Self::Connect(args) => &args.common,
            #[cfg(target_os = "linux")]
            Self::Run(args) => &args.common,
            Self::Echo(command) => command.common(),
            Self::Perf(command) => command.common(),
            Self::Lab(args) => &args.common,
            Self::Interop(command) => command.common(),
            Self::Doctor(args) => &args.common,
        }
    }
}

/// What every subcommand takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Print results as JSON, one object a line, on stdout
    #[arg(long)]
    pub(crate) json: bool,

    /// Say more on stderr: -v a line for each event, -vv a line for each frame (RUST_LOG refines it)
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// What every subcommand takes that opens connections: where to write down what happens on them.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Look inside")]
pub(crate) struct Seen {
    /// Write a qlog (JSON-SEQ) for each connection into this directory [or set QLOGDIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) qlog: Option<PathBuf>,

    /// Append the TLS secrets to this file: whoever reads it can decrypt [or set SSLKEYLOGFILE]
    #[arg(long, value_name = "FILE")]
    pub(crate) keylog: Option<PathBuf>,

    /// Write the bytes of each connection as a pcapng that Wireshark decrypts: keep it to yourself
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_has_an_example() {
        fn walk(command: &clap::Command) {
            if command.get_subcommands().next().is_none() {
                let after = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(
                    after.contains("Example"),
                    "`{}` has no example",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }
}
