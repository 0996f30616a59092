//! Two peers of this process with a tunnel between them.

use super::visit::Wrong;
use super::{Net, Way};
use crate::link::{self, Instruments};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use weir::tcpip::{Capabilities, Cidr, Interface, Medium, Memory, Segmentation, Stack};
use weir::tunnel::{
    AllowPeers, AllowTo, ClientConfig, LocalForward, ServerConfig, Shutdown, TunnelClient,
    TunnelServer,
};
use weir::{Endpoint, Target};

/// How often a connection is dialled to find out how long that takes.
const DIALS: usize = 5;
/// How long the tunnel may take to come down; nothing runs in it any more by then.
const END: Duration = Duration::from_secs(2);

/// The two peers; the tunnel ends when this is dropped, by [`Pair::stop`] in good order.
pub(super) struct Pair {
    server: Endpoint,
    client: Endpoint,
    target: Target,
    forwarded: SocketAddr,
    /// The dialling side and the listening side, in the order in which they are ended: a listener
    /// that goes first would be dialled again.
    running: [(Shutdown, JoinHandle<()>); 2],
}

impl Pair {
    /// A tunnel with one forward, from a free port of loopback to `origin`.
    pub(super) async fn start(
        way: Way,
        instruments: &Instruments,
        origin: SocketAddr,
    ) -> Result<Self, Wrong> {
        let words = |error: &dyn std::fmt::Display| error.to_string();
        let mut listening = link::builder(way.via, instruments);
        let mut dialling = link::builder(way.via, instruments);
        let mut address = "127.0.0.1:0";
        if way.net == Net::Own {
            let (ours, theirs) = stacks(instruments)?;
            (listening, dialling) = (listening.over(&ours), dialling.over(&theirs));
            address = "10.0.0.1:0";
        }
        let server = listening.bind(address).await.map_err(|e| words(&e))?;
        let client = dialling.client().await.map_err(|e| words(&e))?;
        let mut peers = AllowPeers::none();
        peers.add(client.peer_id());
        let mut allowed = ServerConfig::default();
        allowed.allow_to =
            AllowTo::from_rules([origin.to_string()]).map_err(|error| words(&error))?;
        let stop_serving = Shutdown::new();
        let serving = TunnelServer::new(server.clone(), peers, allowed);
        let serving = tokio::spawn(serving.run(stop_serving.clone()));

        let target = format!("{}@{}", server.peer_id(), server.local_addr());
        let mut wanted = ClientConfig::new(&target);
        let forward: LocalForward = format!("127.0.0.1:0:{origin}")
            .parse()
            .map_err(|error| words(&error))?;
        wanted.local = vec![forward];
        wanted.status_socket = false;
        let tunnel = TunnelClient::start(client.clone(), wanted)
            .await
            .map_err(|error| words(&error))?;
        let forwarded = tunnel
            .local_addrs()
            .first()
            .copied()
            .ok_or("nothing is forwarded")?;
        let stop_dialling = Shutdown::new();
        let dialling = tokio::spawn(tunnel.run(stop_dialling.clone()));
        let target = target.parse().map_err(|error| words(&error))?;
        Ok(Self {
            server,
            client,
            target,
            forwarded,
            running: [(stop_dialling, dialling), (stop_serving, serving)],
        })
    }

    /// The port that leads to the origin.
    pub(super) fn forwarded(&self) -> SocketAddr {
        self.forwarded
    }

    /// How long a connection takes from the dial to the first stream that can be opened: the median
    /// of [`DIALS`].
    pub(super) async fn connect_time(&self) -> Result<Duration, Wrong> {
        let mut times = Vec::with_capacity(DIALS);
        for _ in 0..DIALS {
            let began = Instant::now();
            let connection = self
                .client
                .connect_target(&self.target)
                .await
                .map_err(|error| format!("dialling again failed: {error}"))?;
            times.push(began.elapsed());
            connection.close(0, "only measured");
        }
        times.sort_unstable();
        times
            .get(DIALS / 2)
            .copied()
            .ok_or_else(|| "no time was measured".to_owned())
    }

    /// Ends the tunnel, then both peers.
    pub(super) async fn stop(self) {
        for (stop, running) in self.running {
            stop.drain("tried");
            // A tunnel that does not end by itself is cut by the close below.
            let _ = tokio::time::timeout(END, running).await;
        }
        for endpoint in [&self.client, &self.server] {
            endpoint.close(0, "tried");
            let _ = tokio::time::timeout(END, endpoint.wait_idle()).await;
        }
    }
}

/// Two hosts, 10.0.0.1 and 10.0.0.2, with a cable in memory between them: packets of 1,500 bytes, with
/// the offloads that a TUN device has.
fn stacks(instruments: &Instruments) -> Result<(Stack, Stack), Wrong> {
    let capabilities = Capabilities {
        checksum_offload: true,
        segmentation: Segmentation {
            tcp4: true,
            tcp6: true,
            udp: true,
            max_bytes: 65_535,
        },
        ..Capabilities::plain(Medium::Ip, 1500)
    };
    let (ours, theirs) = Memory::pair(capabilities);
    let start = |device: Memory, name: &str, address: &str| {
        let address: Cidr = address.parse().map_err(|e| format!("{e}"))?;
        let interface = Interface::new().address(address);
        let builder = Stack::builder().device(device, interface).name(name);
        let started = instruments.attach_to_stack(builder).start();
        started.map_err(|error| error.to_string())
    };
    let ours = start(ours, "listening", "10.0.0.1/24")?;
    let theirs = start(theirs, "dialling", "10.0.0.2/24")?;
    Ok((ours, theirs))
}
