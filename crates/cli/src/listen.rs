//! `weir listen`: lets peers in, and says what to type on their side.

use crate::args::{Common, Seen};
use crate::link;
use crate::out::{Failure, Outcome, json_line, say, show};
use crate::shutdown::Ending;
use crate::{key, units};
use clap::Args;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;
use weir::tunnel::{AllowListen, AllowPeers, AllowTo, Destination, ServerConfig, TunnelServer};
use weir::{Endpoint, EndpointError, Identity, Via};

/// The port when none is named.
const PORT: u16 = 4433;

/// `weir listen`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir listen --allow-peer 12D3KooW.. --allow-to 127.0.0.1:80\n\n\
    `weir key` on the other machine shows the ID to allow. Nobody else is let in; an allowed peer\n\
    reaches what listens on this machine's loopback, or what --allow-to names instead.\n\
    Ctrl-C lets what runs finish; a second one ends it at once."
)]
pub(crate) struct ListenArgs {
    /// Where to listen, instead of port 4433 of all addresses
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) addr: Option<SocketAddr>,

    /// How streams are carried: quic, yamux (TLS on TCP), both at one port number (auto), or
    /// yamux-plain without encryption
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "auto",
        value_name = "VIA,.."
    )]
    pub(crate) via: Vec<Via>,

    /// Let this peer in: an ID, or a file with an ID a line that is read again when it changes
    #[arg(long, value_name = "ID|FILE")]
    pub(crate) allow_peer: Vec<String>,

    /// Let anybody in who can reach this address: only for trying it out
    #[arg(long)]
    pub(crate) allow_any_peer: bool,

    /// What peers may reach, by TCP and UDP: HOST:PORT, a network (10.0.0.0/8, 10.0.0.0/8:22), any or none
    #[arg(long, value_name = "RULE")]
    pub(crate) allow_to: Vec<String>,

    /// Where peers may listen on this machine with -R: loopback, IP:PORTS, any or none
    #[arg(long, value_name = "RULE")]
    pub(crate) allow_remote_listen: Vec<String>,

    /// The key of this machine, instead of ~/.config/weir/key; made when there is none
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,

    /// How long what runs may go on after the first Ctrl-C
    #[arg(long, default_value = "10s", value_parser = units::parse_time, value_name = "TIME")]
    pub(crate) grace: Duration,

    /// How long a UDP client that is silent keeps its port on this side
    #[arg(long, default_value = "120s", value_parser = units::parse_time, value_name = "TIME")]
    pub(crate) udp_idle: Duration,

    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) seen: Seen,
}

#[derive(Serialize)]
struct Listening {
    listening: String,
    via: String,
    peer_id: String,
    /// The line for the other machine.
    connect: String,
}

/// Runs `weir listen`.
pub(crate) fn run(args: ListenArgs) -> Outcome {
    let via = one_via(&args.via)?;
    let peers = peers(&args, via)?;
    let config = config(&args)?;
    let identity = key::load(&key::path(args.key.as_deref())?)?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("the runtime did not start: {error}")))?;
    let outcome = runtime.block_on(serve(&args, via, identity, peers, config));
    runtime.shutdown_timeout(Duration::from_millis(100));
    outcome
}

/// The way that was asked for: an address takes one.
fn one_via(vias: &[Via]) -> Result<Via, Failure> {
    if let [Via::Quic, Via::Yamux] | [Via::Yamux, Via::Quic] = vias {
        return Ok(Via::Auto);
    }
    let [via] = vias else {
        return Err(
            Failure::usage("--via: one address takes one way, or quic and yamux")
                .hint("run `weir listen` once for each, with another --addr"),
        );
    };
    if !via.is_multiplexed() {
        return Err(Failure::usage(format!("--via {via} carries no tunnel"))
            .hint("it is a base line for `weir perf` and `weir echo`; use auto"));
    }
    Ok(*via)
}

fn peers(args: &ListenArgs, via: Via) -> Result<AllowPeers, Failure> {
    if !via.is_secure() && !args.allow_any_peer {
        return Err(
            Failure::usage(format!("--via {via} cannot tell one peer from another")).hint(
                "add --allow-any-peer where only peers of yours can connect, or use --via auto",
            ),
        );
    }
    if args.allow_any_peer {
        return Ok(AllowPeers::any());
    }
    let mut peers = AllowPeers::none();
    for allowed in &args.allow_peer {
        let added = peers.add_argument(allowed);
        added.map_err(|error| Failure::usage(format!("--allow-peer {allowed}: {error}")))?;
    }
    Ok(peers)
}

fn config(args: &ListenArgs) -> Result<ServerConfig, Failure> {
    let mut config = ServerConfig::default();
    config.grace = args.grace;
    config.udp_idle = args.udp_idle;
    if !args.allow_to.is_empty() {
        config.allow_to = AllowTo::from_rules(&args.allow_to)
            .map_err(|error| Failure::usage(format!("--allow-to {error}")))?;
    }
    if !args.allow_remote_listen.is_empty() {
        config.allow_listen = AllowListen::from_rules(&args.allow_remote_listen)
            .map_err(|error| Failure::usage(format!("--allow-remote-listen {error}")))?;
    }
    Ok(config)
}

async fn serve(
    args: &ListenArgs,
    via: Via,
    identity: Identity,
    peers: AllowPeers,
    config: ServerConfig,
) -> Outcome {
    // A limit that stays where it is only bounds how many connections can be held.
    let _ = weir_os::lift_open_files();
    let ending = Ending::catch()?;
    let instruments = link::instruments(&args.seen)?;
    let bind = |addr: SocketAddr| {
        let builder = link::builder(via, &instruments).identity(identity.clone());
        async move { builder.bind(&addr.to_string()).await }
    };
    let endpoint = match args.addr {
        Some(addr) => bind(addr).await,
        None => match bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT))).await {
            // A machine without IPv6; where the port is taken this fails alike and says so.
            Err(EndpointError::Bind { .. }) => {
                bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT))).await
            }
            bound => bound,
        },
    };
    let endpoint = endpoint.map_err(bind_failed)?;
    announce(args, via, &endpoint);
    let server = TunnelServer::new(endpoint.clone(), peers, config);
    server.run(ending.switch()).await;
    link::close(&endpoint, "the listener was stopped", &instruments).await;
    ending.outcome()
}

fn bind_failed(error: EndpointError) -> Failure {
    match &error {
        EndpointError::Bind { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse => {
            Failure::failed(error).hint("another program listens there: name another with --addr")
        }
        EndpointError::Bind { .. } => {
            Failure::failed(error).hint("name an address of this machine and a port with --addr")
        }
        _ => Failure::failed(error),
    }
}

/// Says where this listens, and what to type on the other machine.
fn announce(args: &ListenArgs, via: Via, endpoint: &Endpoint) {
    let local = endpoint.local_addr();
    let seen_at = SocketAddr::new(reachable(local.ip()), local.port());
    let connect = connect_line(args, via, &endpoint.peer_id().to_string(), seen_at);
    if args.common.json {
        json_line(&Listening {
            listening: local.to_string(),
            via: via.to_string(),
            peer_id: endpoint.peer_id().to_string(),
            connect,
        });
    } else {
        say(format_args!(
            "listening on {local} via {via}; on the other machine type:"
        ));
        show(&connect);
    }
    if seen_at.ip().is_loopback() {
        say("only this machine can connect: that is a loopback address");
    } else if !via.is_secure() {
        say(format_args!(
            "warning: --via {via} does not encrypt, and {seen_at} is no loopback address: \
             everybody on the way reads along"
        ));
    }
}

fn connect_line(args: &ListenArgs, via: Via, peer: &str, seen_at: SocketAddr) -> String {
    let forward = args
        .allow_to
        .iter()
        .find_map(|rule| rule.parse::<Destination>().ok());
    let forward = match forward {
        Some(to) => format!("{}:{to}", friendly_port(to.port)),
        None => "8080:127.0.0.1:80".to_owned(),
    };
    if via == Via::Auto {
        format!("weir connect {peer}@{seen_at} -L {forward}")
    } else if via.is_secure() {
        format!("weir connect {peer}@{seen_at} --via {via} -L {forward}")
    } else {
        format!("weir connect {seen_at} --via {via} -L {forward}")
    }
}

/// A port that anybody may listen at and that recalls the one it stands for: 8080 for 80.
fn friendly_port(port: u16) -> u16 {
    match port {
        80 => 8080,
        0..=1023 => 2000 + port,
        port => port,
    }
}

/// An address of this machine that others can use, for one that may stand for all of them.
fn reachable(bound: IpAddr) -> IpAddr {
    if !bound.is_unspecified() {
        return bound;
    }
    // Connecting a UDP socket sends nothing: it only lets the system choose the source address. The
    // destinations are those of documentation (RFC 5737, RFC 3849).
    let towards = |from: IpAddr, to: IpAddr| {
        let socket = UdpSocket::bind((from, 0)).ok()?;
        socket.connect((to, 9)).ok()?;
        let chosen = socket.local_addr().ok()?.ip();
        (!chosen.is_unspecified() && !chosen.is_loopback()).then_some(chosen)
    };
    let four = || {
        towards(
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 0, 2, 1).into(),
        )
    };
    let six = || {
        let to = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        towards(Ipv6Addr::UNSPECIFIED.into(), to.into())
    };
    let found = if bound.is_ipv6() {
        four().or_else(six)
    } else {
        four()
    };
    found.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_address_is_shown_as_it_is() {
        let bound: IpAddr = "127.0.0.1".parse().unwrap();
        assert_eq!(reachable(bound), bound);
    }

    #[test]
    fn all_addresses_are_shown_as_one_that_can_be_dialled() {
        assert!(!reachable(Ipv4Addr::UNSPECIFIED.into()).is_unspecified());
        assert!(!reachable(Ipv6Addr::UNSPECIFIED.into()).is_unspecified());
    }

    #[test]
    fn privileged_ports_get_one_that_anybody_may_use() {
        assert_eq!(
            (friendly_port(80), friendly_port(22), friendly_port(5432)),
            (8080, 2022, 5432)
        );
    }
}
