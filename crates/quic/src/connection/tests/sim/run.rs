//! One run, from its beginning to the empty tables at its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use weir_core::budget::Budget;
use weir_core::close::{CloseReason, Initiator, Layer};
use weir_core::time::{Duration, Instant};
use weir_sim::{Limits, LinkConfig, Sim, World};

use super::audit;
use super::host::{Host, Setup};
use super::net::Net;
use super::plan::{ABRUPT, DONE, Early, Happening, Plan, Shared, Truth, of};
use crate::cid::{ConnectionIdGenerator, RandomCids};
use crate::config::{ClientConfig, ServerConfig};
use crate::connection::tests::pair::{client_tls, server_tls};
use crate::crypto::{ResetKey, TokenKeys};
use crate::endpoint::EndpointConfig;
use crate::wire::Side;

pub(super) fn endpoint_config(cid_len: usize, budget: Budget) -> EndpointConfig {
    let generator: Arc<dyn ConnectionIdGenerator> = Arc::new(RandomCids::new(cid_len).unwrap());
    let tokens = Arc::new(TokenKeys::new(&[1; 32]));
    let reset = Arc::new(ResetKey::new(&[2; 32]));
    let mut config = EndpointConfig::new(generator, tokens, reset, 1_700_000_000);
    config.budget = budget;
    config
}

fn server_config(plan: &Plan, crypto: Arc<rustls::ServerConfig>) -> Arc<ServerConfig> {
    Arc::new(ServerConfig {
        transport: Arc::clone(&plan.transport[1]),
        versions: plan.versions[1].clone(),
        ..ServerConfig::new(crypto)
    })
}

fn setup(plan: &Plan) -> Setup {
    let client = ClientConfig {
        transport: Arc::clone(&plan.transport[0]),
        versions: plan.versions[0].clone(),
        ..ClientConfig::new(Arc::new(client_tls()))
    };
    let server = server_config(plan, Arc::new(server_tls()));
    let other = || server_config(plan, Arc::new(server_tls()));
    Setup {
        client,
        server,
        second: (plan.early == Early::Rejected).then(other),
    }
}

/// A run that is set up.
pub(super) struct Run {
    pub(super) sim: Sim<Host>,
    pub(super) net: Net,
    pub(super) plan: Rc<Plan>,
    pub(super) truth: Shared,
}

impl Run {
    pub(super) fn new(seed: u64, plan: Plan) -> Run {
        Run::with(seed, plan, |_| ())
    }

    /// `change` may look into the TLS settings and put others in.
    pub(super) fn with(seed: u64, plan: Plan, change: impl FnOnce(&mut Setup)) -> Run {
        let mut world = World::new(seed);
        let plan = Rc::new(plan);
        let net = Net::new(&mut world, &plan);
        if plan.early != Early::None {
            // The connection that brings the ticket has an easy path.
            let easy = LinkConfig::with_delay(Duration::from_millis(5));
            net.change_links(&mut world, |_, link| *link = easy.clone());
        }
        let truth: Shared = Rc::new(RefCell::new(Truth::default()));
        let mut setup = setup(&plan);
        change(&mut setup);
        let setup = Rc::new(setup);
        let host = |side| Host::new(side, &world, &net, &plan, &truth, &setup);
        let (client, server) = (host(Side::Client), host(Side::Server));
        let mut sim = Sim::new(world);
        for (host, node) in [(client, net.client), (server, net.server)] {
            let id = sim.add(host);
            sim.own_node(id, node);
        }
        sim.check_each_turn(|turn| {
            let [client, server] = turn.actors else {
                return Ok(());
            };
            if let (Some(client), Some(server)) = (client.main(), server.main())
                && client.connection.is_confirmed()
                && server.connection.is_confirmed()
            {
                audit::credit_is_conserved(&client.connection, &server.connection);
            }
            Ok(())
        });
        Run {
            sim,
            net,
            plan,
            truth,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            until: Instant::ZERO + self.plan.limit,
            ..Limits::default()
        }
    }

    /// Runs to the end and looks whether it is the right one.
    pub(super) fn finish(mut self) -> Outcome {
        let limits = self.limits();
        let over = |sim: &Sim<Host>| sim.actors().iter().all(Host::is_over);
        self.sim.run_until(&limits, over).unwrap();
        let limits = Limits {
            until: Instant::ZERO + 2 * self.plan.limit,
            ..Limits::default()
        };
        self.sim.run_idle(&limits).unwrap();
        let reasons = self.reasons();
        self.check_reasons(&reasons);
        for host in self.sim.actors() {
            let stats = host.endpoint.stats();
            assert_eq!((stats.connections, stats.half_open), (0, 0), "{stats:?}");
            assert_eq!(host.endpoint.held_bytes(), 0);
            assert_eq!(host.endpoint.routes(), 0, "{}", host.side.as_str());
            host.budget.trim();
            assert_eq!(host.budget.used(), 0, "{}", host.side.as_str());
        }
        let truth = self.truth.take();
        Outcome { truth }
    }

    /// Why the main connection ended on each side; `None` where it never began.
    fn reasons(&self) -> [Option<CloseReason>; 2] {
        let reason = |host: &Host| {
            let main = host.gone.iter().find(|(is_main, _)| *is_main)?;
            main.1.closed.clone()
        };
        let [client, server] = self.sim.actors() else {
            panic!("two hosts");
        };
        [reason(client), reason(server)]
    }

    /// The server's Retry was answered after its token had expired (RFC 9000 8.1.3), which takes half
    /// a minute of bad luck, or a connection that the server had forgotten before its client knew of it.
    fn is_too_late(&self, reasons: &[Option<CloseReason>; 2]) -> bool {
        let expired = |reason: &CloseReason| reason.code == crate::error::code::INVALID_TOKEN;
        let client = reasons[0].as_ref().is_some_and(expired);
        let late = self.sim.world().now() > Instant::ZERO + Duration::from_secs(20);
        let forgotten = reasons[1].is_none() || self.plan.is_abrupt();
        self.plan.retry && !self.plan.is_reliable() && late && client && forgotten
    }

    /// A burst of losses took every answer.
    fn heard_nothing(&self) -> bool {
        self.sim.world().node_stats(self.net.client).received == 0 && !self.plan.is_reliable()
    }

    fn check_reasons(&self, reasons: &[Option<CloseReason>; 2]) {
        let plan = &self.plan;
        let all = self.truth.borrow().complete == [true; 2];
        if self.is_too_late(reasons) || self.heard_nothing() {
            return;
        }
        assert!(all || plan.is_abrupt(), "{reasons:?}\n{}", self.sim.dump());
        let mut closers: Vec<(Side, u64)> = Vec::new();
        if all {
            closers.push((plan.closer, DONE));
        }
        for (_, what) in &plan.happenings {
            if let Happening::Close(side) = what {
                closers.push((*side, ABRUPT));
            }
        }
        for side in [Side::Client, Side::Server] {
            let Some(reason) = &reasons[of(side)] else {
                // It closed before the server had taken it.
                let early = closers.contains(&(Side::Client, ABRUPT)) && !all;
                assert!(early && side == Side::Server, "{reasons:?}");
                continue;
            };
            assert!(
                closers
                    .iter()
                    .any(|closer| is_right(side, reason, *closer, plan)),
                "{}: {reason:?}",
                side.as_str()
            );
        }
    }
}

/// Whether `side` may end with `reason` when the `closer` closed with its code.
fn is_right(side: Side, reason: &CloseReason, (closer, code): (Side, u64), plan: &Plan) -> bool {
    let application = reason.layer == Layer::Application && reason.code == code;
    if side == closer {
        return reason.by == Initiator::Local && application;
    }
    // Before the handshake is complete, the application's code is not told (RFC 9000 10.2.3).
    let hidden = code == ABRUPT
        && reason.layer == Layer::Transport
        && reason.code == crate::error::code::APPLICATION_ERROR;
    let told = reason.by == Initiator::Peer && (application || hidden);
    told || !plan.is_reliable() && is_silent(reason)
}

/// An end that the peer's word did not reach: by a time-out, or by a stateless reset.
fn is_silent(reason: &CloseReason) -> bool {
    let reset = reason.by == Initiator::Peer
        && reason.layer == Layer::Transport
        && reason.code == 0
        && reason.reason.contains("stateless reset");
    reset || reason.by == Initiator::Timer
}

/// What a run came to.
pub(super) struct Outcome {
    pub(super) truth: Truth,
}

impl Outcome {
    /// How long it took until both sides had all.
    pub(super) fn time(&self) -> Duration {
        let began = self.truth.began.unwrap();
        let ended = self.truth.completed.iter().flatten().max().unwrap();
        ended.saturating_duration_since(began)
    }
}
