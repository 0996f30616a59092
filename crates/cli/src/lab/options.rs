//! What the lab is asked for.

use crate::args::Common;
use crate::out::Failure;
use crate::units::{parse_rate, parse_share, parse_time};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use weir::Target;
use weir_core::time::Instant;
use weir_lab::{EcnTreatment, LabConfig, LinkConfig, QueueLimit, Rebind, Schedule};

/// `weir lab`
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir lab --listen 127.0.0.1:7000 --to 127.0.0.1:4433 --delay 25ms --rate 20M --loss 2%\n\n\
    Clients connect to --listen instead of the server, by UDP or TCP. One direction is one link that\n\
    all clients share. UDP is treated packet by packet; TCP stays a stream, to which loss is delay.\n\
    Times count from the first packet. Ctrl-C ends it and prints what was done to the traffic."
)]
pub(crate) struct LabArgs {
    /// Where clients connect to; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    pub(crate) listen: SocketAddr,

    /// The server
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) to: Target,

    /// Where random numbers come from: the same seed, the same luck
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,

    /// End by itself after this time
    #[arg(long = "for", value_parser = parse_time, value_name = "TIME")]
    pub(crate) length: Option<Duration>,

    /// Drop all UDP without a word, as some firewalls do
    #[arg(long, conflicts_with = "no_tcp")]
    pub(crate) no_udp: bool,

    /// Refuse TCP
    #[arg(long)]
    pub(crate) no_tcp: bool,

    /// Record UDP as clients send and get it, into a pcapng file
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap_client: Option<PathBuf>,

    /// Record UDP as the server gets and sends it, into a pcapng file
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap_server: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) common: Common,
    #[command(flatten)]
    pub(crate) link: LinkArgs,
    #[command(flatten)]
    pub(crate) one_way: OneWayArgs,
    #[command(flatten)]
    pub(crate) moments: MomentArgs,
}

/// What both directions are like.
#[derive(Debug, Args)]
#[command(next_help_heading = "Both directions")]
pub(crate) struct LinkArgs {
    /// One-way delay
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    delay: Option<Duration>,

    /// Extra delay of each packet, at most this; order is kept
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    jitter: Option<Duration>,

    /// Bits per second, headers of IP and UDP included
    #[arg(long, value_parser = parse_rate, value_name = "RATE")]
    rate: Option<u64>,

    /// Packets that may wait for --rate; one bandwidth-delay product if not given
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    queue: Option<u32>,

    /// Share of packets that is lost
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    loss: Option<f64>,

    /// At most so many packets in a row are lost, or corrupted
    #[arg(long, value_name = "N")]
    burst: Option<u32>,

    /// Share of packets of which one byte is changed, at an offset of 0 to 50
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    corrupt: Option<f64>,

    /// Share of packets that is held back, so that others overtake it
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    reorder: Option<f64>,

    /// How long it is held back
    #[arg(long, default_value = "10ms", value_parser = parse_time, value_name = "TIME")]
    reorder_by: Duration,

    /// Share of packets that arrives twice
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    duplicate: Option<f64>,

    /// Greater IP packets vanish without a word
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "BYTES")]
    mtu: Option<u32>,

    /// What becomes of ECN bits
    #[arg(long, value_enum, default_value_t = Ecn::Pass, value_name = "WHAT")]
    ecn: Ecn,
}

/// What one direction is like when it is not as the other one.
#[derive(Debug, Args)]
#[command(next_help_heading = "One direction")]
pub(crate) struct OneWayArgs {
    /// Drop these packets by number, counted from 1
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..), value_name = "N,..")]
    drop_to_server: Vec<u64>,
    /// Drop these packets by number, counted from 1
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u64).range(1..), value_name = "N,..")]
    drop_to_client: Vec<u64>,
    /// Instead of --delay
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    delay_to_server: Option<Duration>,
    /// Instead of --delay
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    delay_to_client: Option<Duration>,
    /// Instead of --rate
    #[arg(long, value_parser = parse_rate, value_name = "RATE")]
    rate_to_server: Option<u64>,
    /// Instead of --rate
    #[arg(long, value_parser = parse_rate, value_name = "RATE")]
    rate_to_client: Option<u64>,
    /// Instead of --loss
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    loss_to_server: Option<f64>,
    /// Instead of --loss
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    loss_to_client: Option<f64>,
    /// Instead of --corrupt
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    corrupt_to_server: Option<f64>,
    /// Instead of --corrupt
    #[arg(long, value_parser = parse_share, value_name = "SHARE")]
    corrupt_to_client: Option<f64>,
    /// Instead of --mtu
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "BYTES")]
    mtu_to_server: Option<u32>,
    /// Instead of --mtu
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), value_name = "BYTES")]
    mtu_to_client: Option<u32>,
}

/// What happens at times, counted from the first packet.
#[derive(Debug, Args)]
#[command(next_help_heading = "At times")]
pub(crate) struct MomentArgs {
    /// Give live UDP flows another port towards the server, every so often
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    rebind: Option<Duration>,

    /// The first time; as often as --rebind if not given, once if only this is given
    #[arg(long, value_parser = parse_time, value_name = "TIME")]
    rebind_first: Option<Duration>,

    /// Another address of 127.0.0.0/8 too, not only a port
    #[arg(long)]
    rebind_address: bool,

    /// Pass everything for this long, then drop everything for --blackhole-off
    #[arg(long, value_parser = parse_time, value_name = "TIME", requires = "blackhole_off")]
    blackhole_on: Option<Duration>,

    /// How long everything is dropped
    #[arg(long, value_parser = parse_time, value_name = "TIME", requires = "blackhole_on")]
    blackhole_off: Option<Duration>,
}

/// What becomes of ECN bits on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ecn {
    /// They pass
    Pass,
    /// They are cleared
    Bleach,
    /// ECT(0) becomes ECT(1)
    Ect1,
    /// Each ECN-capable packet is marked CE
    Mark,
}

impl LabArgs {
    /// What no single option can know of itself.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.to.peer.is_some() {
            return Err(Failure::usage("--to takes HOST:PORT, without a peer ID")
                .hint("the lab relays: the client's target names the peer, at the lab's address"));
        }
        if self.moments.rebind_address && self.moments.rebind().is_none() {
            return Err(Failure::usage("--rebind-address says how, not when")
                .hint("add --rebind or --rebind-first"));
        }
        Ok(())
    }

    /// The lab that was asked for, towards `to`.
    pub(crate) fn config(&self, to: SocketAddr) -> LabConfig {
        let (both, one) = (&self.link, &self.one_way);
        let to_server = Way {
            delay: one.delay_to_server,
            rate: one.rate_to_server,
            loss: one.loss_to_server,
            corrupt: one.corrupt_to_server,
            mtu: one.mtu_to_server,
            drop_numbers: &one.drop_to_server,
        };
        let to_client = Way {
            delay: one.delay_to_client,
            rate: one.rate_to_client,
            loss: one.loss_to_client,
            corrupt: one.corrupt_to_client,
            mtu: one.mtu_to_client,
            drop_numbers: &one.drop_to_client,
        };
        let outages = self.moments.outages();
        let mut config = LabConfig::new(to);
        config.listen = self.listen;
        config.to_server = link(both, &to_server, &outages);
        config.to_client = link(both, &to_client, &outages);
        config.rebind = self.moments.rebind();
        config.seed = self.seed;
        config.pcap_client.clone_from(&self.pcap_client);
        config.pcap_server.clone_from(&self.pcap_server);
        config.udp = !self.no_udp;
        config.tcp = !self.no_tcp;
        config
    }
}

/// One direction's own values.
struct Way<'a> {
    delay: Option<Duration>,
    rate: Option<u64>,
    loss: Option<f64>,
    corrupt: Option<f64>,
    mtu: Option<u32>,
    drop_numbers: &'a [u64],
}

fn link(both: &LinkArgs, own: &Way<'_>, outages: &Schedule) -> LinkConfig {
    let delay = own.delay.or(both.delay).unwrap_or_default();
    let mut link = match own.rate.or(both.rate) {
        Some(rate) => LinkConfig::bottleneck(rate, delay),
        None => LinkConfig::with_delay(delay),
    };
    if let Some(packets) = both.queue {
        link.queue = QueueLimit {
            bytes: usize::MAX,
            packets: packets as usize,
        };
    }
    link.jitter = both.jitter.unwrap_or_default();
    link.loss = own.loss.or(both.loss).unwrap_or_default();
    link.run_limit = both.burst;
    link.corrupt = own.corrupt.or(both.corrupt).unwrap_or_default();
    link.reorder = both.reorder.unwrap_or_default();
    link.reorder_by = both.reorder_by;
    link.duplicate = both.duplicate.unwrap_or_default();
    if let Some(mtu) = own.mtu.or(both.mtu) {
        link.mtu = mtu as usize;
    }
    link.drop_numbers = own.drop_numbers.to_vec();
    link.ecn = match both.ecn {
        Ecn::Pass => EcnTreatment::Pass,
        Ecn::Bleach => EcnTreatment::Bleach,
        Ecn::Ect1 => EcnTreatment::Ect0ToEct1,
        Ecn::Mark => EcnTreatment::MarkAll,
    };
    link.outages = outages.clone();
    link
}

impl MomentArgs {
    fn rebind(&self) -> Option<Rebind> {
        let first = self.rebind_first.or(self.rebind)?;
        let mut rebind = Rebind::every(first);
        rebind.every = self.rebind;
        rebind.address = self.rebind_address;
        Some(rebind)
    }

    fn outages(&self) -> Schedule {
        match (self.blackhole_on, self.blackhole_off) {
            (Some(on), Some(off)) => Schedule::once(Instant::ZERO + on, off),
            _ => Schedule::never(),
        }
    }
}
