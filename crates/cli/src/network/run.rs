//! `weir run`: one command whose network is the tunnel, without root and without a trace on the machine.

use super::signals::{is_for, is_the_end, next};
use super::stack;
use crate::args::{Common, Seen};
use crate::connect::start_failed;
use crate::link::{self, Instruments};
use crate::out::{Failure, json_line, say};
use crate::{key, units};
use clap::Args;
use serde::Serialize;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing::warn;
use weir::tcpip::{Cidr, Tun};
use weir::tunnel::{ClientConfig, Shutdown, TunnelClient};
use weir::{Identity, Target, Via};
use weir_os::namespace::{DevicePlan, Plan, Prepared, Running, exit_code, prepare};
use weir_os::signals::Signals;
use weir_os::{SystemError, Watched};

/// Addresses of the namespace's interface and of the tunnel's end. They are of blocks that lead nowhere (RFC 2544, RFC
/// 4193), and seen by the command alone.
const ADDRESSES: [(&str, &str); 2] = [
    ("198.18.0.2/30", "198.18.0.1/30"),
    ("fd77:6569:7200::2/126", "fd77:6569:7200::1/126"),
];

/// How long what the command left unsent may take after its end.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// `weir run`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir run 12D3KooW..@198.51.100.7:4433 -- curl https://example.org/\n  \
    weir run 12D3KooW..@198.51.100.7:4433 -- bash      # everything that is typed in there\n\n\
    COMMAND runs as this user in a network of its own, whose only way out is the tunnel: TCP and UDP\n\
    leave from the peer, names are looked up there, ping is answered by the tunnel's end. Nothing of\n\
    this machine's network is changed or reached, its loopback included. It takes no root.\n\
    The peer allows what it is to reach: weir listen --allow-peer ID --allow-to any\n\n\
    The exit code is COMMAND's, or 128 and the number of the signal that ended it; 127 when there is\n\
    no such command, 126 when it cannot be run, 1 when the tunnel could not be had, 2 for wrong usage."
)]
pub(crate) struct RunArgs {
    /// The peer: PEER@HOST:PORT, as `weir listen` prints it
    #[arg(value_name = "PEER@HOST:PORT")]
    pub(crate) peer: Target,

    /// The command and its arguments, after --
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub(crate) command: Vec<OsString>,

    /// How streams are carried: quic, yamux (TLS on TCP), the faster of both (auto), or yamux-plain
    /// without encryption
    #[arg(long, default_value = "auto", value_name = "VIA")]
    pub(crate) via: Via,

    /// The key of this machine, instead of ~/.config/weir/key; made when there is none
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,

    /// The largest packet of the command's network, in bytes
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1280..), value_name = "BYTES")]
    pub(crate) mtu: u16,

    /// How long a UDP socket that is silent keeps its port on the far side
    #[arg(long, default_value = "120s", value_parser = units::parse_time, value_name = "TIME")]
    pub(crate) udp_idle: Duration,

    /// Does without /dev/net/tun even where it may be opened: for tests
    #[arg(long, hide = true)]
    pub(crate) without_tun: bool,

    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

#[derive(Serialize)]
struct Started<'a> {
    running: &'a str,
    pid: u32,
    via: String,
    peer_id: Option<String>,
}

#[derive(Serialize)]
struct Ended {
    exit_code: u8,
}

/// Runs `weir run`.
pub(crate) fn run(args: &RunArgs) -> ExitCode {
    match execute(args) {
        Ok(code) => {
            if args.common.json {
                json_line(&Ended { exit_code: code });
            }
            ExitCode::from(code)
        }
        Err(failure) => failure.report(args.common.json),
    }
}

fn execute(args: &RunArgs) -> Result<u8, Failure> {
    crate::connect::check_peer(args.via, &args.peer)?;
    let identity = key::load(&key::path(args.key.as_deref())?)?;
    // Before there are threads: they inherit that signals are read, not suffered.
    let signals = Signals::take().map_err(Failure::failed)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("the runtime did not start: {error}")))?;
    let outcome = runtime.block_on(through(args, identity, signals));
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

async fn through(args: &RunArgs, identity: Identity, signals: Signals) -> Result<u8, Failure> {
    // A limit that stays where it is only bounds how many connections can be held.
    let _ = weir_os::lift_open_files();
    let signals = weir_os::watch(signals)
        .map_err(|error| Failure::failed(format!("signals cannot be watched: {error}")))?;
    let instruments = link::instruments(&args.seen)?;
    let own_id = identity.peer_id().to_string();
    let endpoint = link::builder(args.via, &instruments)
        .identity(identity)
        .client()
        .await?;
    let mut config = ClientConfig::new(args.peer.to_string());
    config.grace = LAST_WORDS;
    config.udp_idle = args.udp_idle;
    let outcome = tokio::select! {
        client = TunnelClient::start(endpoint.clone(), config) => match client {
            Ok(client) => command(args, client, &signals, &instruments).await,
            Err(error) => Err(start_failed(error, &own_id)),
        },
        code = asked_to_end(&signals) => Ok(code),
    };
    link::close(&endpoint, "the command has ended", &instruments).await;
    outcome
}

/// Ended by a signal before there is a command to pass it on to; the exit code that says so.
async fn asked_to_end(signals: &Watched<Signals>) -> u8 {
    loop {
        let arrived = next(signals).await;
        if is_the_end(&arrived) {
            return u8::try_from(arrived.number.saturating_add(128)).unwrap_or(1);
        }
    }
}

/// Runs the command to its end; its exit code.
async fn command(
    args: &RunArgs,
    mut client: TunnelClient,
    signals: &Watched<Signals>,
    instruments: &Instruments,
) -> Result<u8, Failure> {
    let mut prepared = made(args).await?;
    for warning in prepared.warnings() {
        warn!("{warning}");
    }
    let device = prepared
        .take_tun()
        .ok_or_else(|| Failure::failed("the namespace has no device"))?;
    let device = Tun::from_queue(device, args.mtu).map_err(Failure::failed)?;
    let own = ADDRESSES.iter().filter_map(|(_, own)| own.parse().ok());
    let own: Vec<Cidr> = own.collect();
    let forward = stack(device, &own, "weir run", instruments)?;
    client.carry(forward).map_err(Failure::failed)?;
    let (via, _) = client.carried();
    let (via, peer_id) = (via.to_string(), client.peer_id().map(|id| id.to_string()));
    let stop = Shutdown::new();
    let tunnel = tokio::spawn(client.run(stop.clone()));
    let running = match prepared.start() {
        Ok(running) => running,
        Err(error) => {
            say(format_args!("weir: {error}"));
            return Ok(error.exit_code());
        }
    };
    if args.common.json {
        json_line(&Started {
            running: &args
                .command
                .first()
                .map(|c| c.to_string_lossy())
                .unwrap_or_default(),
            pid: running.pid(),
            via,
            peer_id,
        });
    }
    let code = accompany(running, signals).await;
    // What the command wrote last may still be on its way through the stack.
    stop.drain("the command has ended");
    let _ = tunnel.await;
    code
}

async fn made(args: &RunArgs) -> Result<Prepared, Failure> {
    let plan = plan(args);
    let prepared = tokio::task::spawn_blocking(move || prepare(&plan)).await;
    let prepared = prepared.map_err(|error| Failure::failed(format!("no namespace: {error}")))?;
    prepared.map_err(|error: SystemError| Failure::failed(error))
}

fn plan(args: &RunArgs) -> Plan {
    let mut command = args.command.iter().cloned();
    let mut plan = Plan::new(command.next().unwrap_or_default());
    plan.arguments = command.collect();
    let addresses = ADDRESSES
        .iter()
        .filter_map(|(machine, _)| machine.parse().ok());
    let everything = ["0.0.0.0/0", "::/0"].into_iter();
    plan.device = Some(DevicePlan {
        name: "weir0".to_owned(),
        mtu: args.mtu.into(),
        vnet_header: true,
        multi_queue: false,
        addresses: addresses.collect(),
        routes: everything.filter_map(|all| all.parse().ok()).collect(),
        without_tun: args.without_tun,
    });
    let (_, server) = ADDRESSES[0];
    let server = server
        .split('/')
        .next()
        .and_then(|ip| ip.parse::<IpAddr>().ok());
    plan.nameservers = server.into_iter().collect();
    plan
}

/// Passes signals on until the command has ended; its exit code.
async fn accompany(mut running: Running, signals: &Watched<Signals>) -> Result<u8, Failure> {
    let watch = running.watch();
    let mut ended = tokio::task::spawn_blocking(move || watch.ended());
    loop {
        tokio::select! {
            biased;
            _ = &mut ended => break,
            arrived = next(signals) => {
                if is_for(&arrived, running.pid()) {
                    // It may be gone already, or have become another user: nothing to be done.
                    let _ = running.signal(arrived.number);
                }
            }
        }
    }
    let status = running
        .wait()
        .map_err(|error| Failure::failed(format!("the command's end was not told: {error}")))?;
    Ok(exit_code(status))
}
