//! The network of a run.

use std::net::{IpAddr, SocketAddr};

use weir_sim::{LinkConfig, LinkId, NatConfig, NatId, NodeId, World};

use super::plan::Plan;

/// Nodes, links, addresses.
#[derive(Clone, Debug)]
pub(super) struct Net {
    pub(super) client: NodeId,
    pub(super) server: NodeId,
    pub(super) links: [LinkId; 2],
    pub(super) nat: Option<NatId>,
    /// The client's addresses; the second is where it goes when it moves.
    pub(super) client_addrs: [SocketAddr; 2],
    pub(super) server_addr: SocketAddr,
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl Net {
    pub(super) fn new(world: &mut World, plan: &Plan) -> Net {
        let first = ip("10.0.0.2");
        let second = ip("10.1.0.2");
        let server_ip = ip("192.0.2.9");
        let client = world.node("client", &[first, second]);
        let server = world.node("server", &[server_ip]);
        let there = world.link("there", plan.links[0].clone());
        let back = world.link("back", plan.links[1].clone());
        world.route_nodes(client, server, &[there]);
        world.route_nodes(server, client, &[back]);
        let nat = (plan.nat > 0).then(|| {
            let mut config = NatConfig::new(ip("198.51.100.1"));
            for more in 1..plan.nat {
                config
                    .addresses
                    .push(ip(&format!("198.51.100.{}", more + 1)));
            }
            let nat = world.nat(config);
            world.behind(client, nat);
            nat
        });
        Net {
            client,
            server,
            links: [there, back],
            nat,
            client_addrs: [SocketAddr::new(first, 5000), SocketAddr::new(second, 5000)],
            server_addr: SocketAddr::new(server_ip, 4433),
        }
    }

    pub(super) fn change_links(&self, world: &mut World, change: impl Fn(usize, &mut LinkConfig)) {
        for (index, link) in self.links.iter().enumerate() {
            let link = world.link_mut(*link);
            let mut config = link.config().clone();
            change(index, &mut config);
            link.reconfigure(config).unwrap();
        }
    }
}
