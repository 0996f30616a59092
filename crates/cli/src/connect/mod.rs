//! `weir connect`: keeps a tunnel to a peer, and forwards ports through it.

mod status;

use crate::args::{Common, Seen};
use crate::link::{self, Instruments};
#[cfg(target_os = "linux")]
use crate::network;
use crate::out::{Failure, Outcome, json_line};
use crate::shutdown::Ending;
use crate::{key, units};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
#[cfg(target_os = "linux")]
use tracing::info;
use weir::tunnel::{
    ClientConfig, ClientError, ForwardStatus, LocalForward, RemoteForward, SocksForward,
    TunnelClient,
};
use weir::{ConnectError, Identity, Target, Via};

/// `weir connect`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir connect 12D3KooW..@198.51.100.7:4433 -L 8080:127.0.0.1:80 -R 2222:127.0.0.1:22 -D 1080\n  \
    weir connect 12D3KooW..@198.51.100.7:4433 -L udp:5353:10.0.0.1:53   # DNS: dig -p 5353 @127.0.0.1\n  \
    weir connect 12D3KooW..@198.51.100.7:4433 --tun 10.7.0.2/24 --route 192.0.2.0/24     # as root\n  \
    weir connect --status\n\n\
    `weir listen` prints the line to begin with. -L, -R and -D may each be given several times; they\n\
    listen on loopback unless an address says otherwise, and names are looked up on the side that\n\
    connects to them. `udp:` before -L and -R forwards datagrams; -D takes both, TCP and UDP.\n\
    A lost connection is dialled again by itself.\n\
    --tun makes a network interface: TCP and UDP to its network and to every --route leave from the far\n\
    side, names are answered at the network's first address, and ping there by the tunnel's end. The\n\
    default route is left alone; routes are taken back at the end. `weir run` does it for one command,\n\
    without root.\n\
    Ctrl-C lets what runs finish; a second one ends it at once."
)]
pub(crate) struct ConnectArgs {
    /// The peer: PEER@HOST:PORT, as `weir listen` prints it
    #[arg(value_name = "PEER@HOST:PORT", required_unless_present = "status")]
    pub(crate) peer: Option<Target>,

    /// How streams are carried: quic, yamux (TLS on TCP), the faster of both (auto), or yamux-plain
    /// without encryption
    #[arg(long, default_value = "auto", value_name = "VIA")]
    pub(crate) via: Via,

    /// Listen here, connect from there
    #[arg(short = 'L', value_name = "[udp:][BIND:]PORT:HOST:PORT")]
    pub(crate) local: Vec<LocalForward>,

    /// Listen there, connect from here
    #[arg(short = 'R', value_name = "[udp:][BIND:]PORT:HOST:PORT")]
    pub(crate) remote: Vec<RemoteForward>,

    /// A SOCKS5 proxy here whose connections and datagrams go out from there
    #[arg(short = 'D', value_name = "[BIND:]PORT")]
    pub(crate) socks: Vec<SocksForward>,

    /// A network interface with this address here; what is sent into it goes out from there
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "CIDR")]
    pub(crate) tun: Vec<weir::tcpip::Cidr>,

    /// Lead these addresses to the interface of --tun
    #[cfg(target_os = "linux")]
    #[arg(long, value_name = "CIDR", requires = "tun")]
    pub(crate) route: Vec<weir_os::Cidr>,

    /// The interface's name; %d becomes the next free number
    #[cfg(target_os = "linux")]
    #[arg(long, default_value = "weir%d", value_name = "NAME", requires = "tun")]
    pub(crate) tun_name: String,

    /// The interface's largest packet, in bytes
    #[cfg(target_os = "linux")]
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1280..), value_name = "BYTES")]
    pub(crate) mtu: u16,

    /// The key of this machine, instead of ~/.config/weir/key; made when there is none
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,

    /// How long what runs may go on after the first Ctrl-C
    #[arg(long, default_value = "10s", value_parser = units::parse_time, value_name = "TIME")]
    pub(crate) grace: Duration,

    /// How long a UDP client that is silent keeps its port on the far side
    #[arg(long, default_value = "120s", value_parser = units::parse_time, value_name = "TIME")]
    pub(crate) udp_idle: Duration,

    /// Show the tunnels of this user that run, and what holds each stream back
    #[cfg_attr(target_os = "linux", arg(long, conflicts_with_all = ["local", "remote", "socks", "tun"]))]
    #[cfg_attr(not(target_os = "linux"), arg(long, conflicts_with_all = ["local", "remote", "socks"]))]
    pub(crate) status: bool,

    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

#[derive(Serialize)]
struct Connected {
    connected: String,
    via: String,
    /// Why it is carried so, where there was a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    peer_id: Option<String>,
    forwards: Vec<ForwardStatus>,
}

/// Runs `weir connect`.
pub(crate) fn run(args: ConnectArgs) -> Outcome {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("the runtime did not start: {error}")))?;
    let outcome = match &args.peer {
        _ if args.status => runtime.block_on(status::run(args.peer.as_ref(), args.common.json)),
        Some(peer) => {
            check(&args, peer)?;
            let identity = key::load(&key::path(args.key.as_deref())?)?;
            runtime.block_on(tunnel(&args, peer, identity))
        }
        None => Err(Failure::usage(
            "whom to connect to is missing: PEER@HOST:PORT",
        )),
    };
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// Refuses what could not work, or not safely.
fn check(args: &ConnectArgs, peer: &Target) -> Outcome {
    check_peer(args.via, peer)?;
    let nothing = args.local.is_empty() && args.remote.is_empty() && args.socks.is_empty();
    #[cfg(target_os = "linux")]
    let nothing = nothing && args.tun.is_empty();
    if nothing {
        return Err(Failure::usage("there is nothing to forward")
            .hint("add -L PORT:HOST:PORT, -R PORT:HOST:PORT, -D PORT or --tun CIDR"));
    }
    Ok(())
}

/// Refuses ways that carry no tunnel, and peers that nobody could be sure of.
pub(crate) fn check_peer(via: Via, peer: &Target) -> Outcome {
    if !via.is_multiplexed() {
        return Err(Failure::usage(format!("--via {via} carries no tunnel"))
            .hint("it is a base line for `weir perf` and `weir echo`; use auto"));
    }
    if via.is_secure() && peer.peer.is_none() {
        return Err(
            Failure::usage(format!("{peer} does not say whose key must answer"))
                .hint("write PEER@HOST:PORT, as `weir listen` prints it on the other machine"),
        );
    }
    Ok(())
}

async fn tunnel(args: &ConnectArgs, peer: &Target, identity: Identity) -> Outcome {
    // A limit that stays where it is only bounds how many connections can be held.
    let _ = weir_os::lift_open_files();
    let ending = Ending::catch()?;
    let instruments = link::instruments(&args.seen)?;
    let own = identity.peer_id().to_string();
    let endpoint = link::builder(args.via, &instruments)
        .identity(identity)
        .client()
        .await?;
    let mut config = ClientConfig::new(peer.to_string());
    config.local = args.local.clone();
    config.remote = args.remote.clone();
    config.socks = args.socks.clone();
    config.grace = args.grace;
    config.udp_idle = args.udp_idle;
    let outcome = tokio::select! {
        client = TunnelClient::start(endpoint.clone(), config) => match client {
            Ok(client) => forward(args, peer, client, &ending, &instruments).await,
            Err(error) => Err(start_failed(error, &own)),
        },
        reason = async { ending.switch().requested().await } => {
            Err(Failure::failed(format!("{reason}: {peer} was not reached yet")))
        }
    };
    link::close(&endpoint, "the tunnel was stopped", &instruments).await;
    outcome
}

/// Forwards until it is asked to end.
async fn forward(
    args: &ConnectArgs,
    peer: &Target,
    #[allow(unused_mut, reason = "only some systems have --tun")] mut client: TunnelClient,
    ending: &Ending,
    #[allow(unused_variables, reason = "only some systems have --tun")] instruments: &Instruments,
) -> Outcome {
    #[cfg(target_os = "linux")]
    let _routes = interface(args, &mut client, instruments)?;
    announce(args, peer, &client);
    client.run(ending.switch()).await;
    ending.outcome()
}

/// Makes the interface of `--tun` and leads its routes there. They last as long as what is returned.
#[cfg(target_os = "linux")]
fn interface(
    args: &ConnectArgs,
    client: &mut TunnelClient,
    instruments: &Instruments,
) -> Result<Option<network::Routes>, Failure> {
    if args.tun.is_empty() {
        return Ok(None);
    }
    let made = network::on_this_machine(&args.tun_name, &args.tun, args.mtu, instruments)?;
    client.carry(made.forward).map_err(Failure::failed)?;
    let routes = network::Routes::set(&made.device, &args.route, client.remote_addr().ip())?;
    if !args.route.is_empty() {
        client.keep_ways(routes.follow());
    }
    let device = &made.device;
    for server in &made.names {
        info!(
            "--tun: names are answered at {server}: put `nameserver {server}` into /etc/resolv.conf, or \
             `resolvectl dns {device} {server}`"
        );
    }
    Ok(Some(routes))
}

/// Tells scripts what stands; people read it in the log, which also tells what changes later.
fn announce(args: &ConnectArgs, peer: &Target, client: &TunnelClient) {
    if args.common.json {
        let (via, why) = client.carried();
        json_line(&Connected {
            connected: peer.to_string(),
            via: via.to_string(),
            why: why.map(str::to_owned),
            peer_id: client.peer_id().map(|id| id.to_string()),
            forwards: client.forwards(),
        });
    }
}

pub(crate) fn start_failed(error: ClientError, own: &str) -> Failure {
    let unreachable = "does `weir listen` run there, and does a firewall let its port through?";
    let hint = match &error {
        ClientError::Bind { .. } => {
            Some("another program may listen there: choose another port".to_owned())
        }
        ClientError::NotLetIn { .. } => Some(format!(
            "on the other machine: weir listen --allow-peer {own}"
        )),
        ClientError::Listen { .. } => {
            Some("on the other machine: weir listen --allow-remote-listen RULE".to_owned())
        }
        ClientError::DialTimedOut { .. } => Some(unreachable.to_owned()),
        ClientError::Connect(error) => {
            matches!(**error, ConnectError::Dial { .. }).then(|| unreachable.to_owned())
        }
        _ => None,
    };
    let failure = Failure::failed(error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
