//! What all of a stack's parts share, and what a call lends them.

use std::collections::VecDeque;
use std::net::IpAddr;

use weir_core::budget::Budget;
use weir_core::buf::Chunks;
use weir_core::rng::Rng;
use weir_core::time::Instant;
use weir_core::trace::Tracer;

use super::secret::Spread;
use super::{Config, Counters, Event};
use crate::ip::{Ip, NoRoute, Route};
use crate::tcp::interface::Context;
use crate::trace;

/// What connections and sockets are made from, and where they report.
pub(crate) struct Shared {
    pub(crate) chunks: Chunks,
    pub(crate) budget: Budget,
    pub(crate) rng: Rng,
    pub(crate) counters: Counters,
    pub(crate) tracer: Tracer,
    /// Each kind of news once for each key until the application acts on it, so no longer than a
    /// few times the number of keys.
    pub(crate) events: VecDeque<Event>,
    /// The hash of all tables.
    pub(crate) spread: Spread,
    /// What was asked for last, and found.
    pub(crate) way: Option<Found>,
}

/// A way that was found, and what had been asked.
pub(crate) struct Found {
    remote: IpAddr,
    local: Option<IpAddr>,
    route: Route,
}

/// The stack around TCP or UDP, for one call.
pub(crate) struct Host<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a Config,
    pub(crate) ip: &'a mut Ip,
    pub(crate) shared: &'a mut Shared,
}

impl Host<'_> {
    /// What a connection borrows.
    #[inline]
    pub(crate) fn context(&mut self) -> Context<'_> {
        Context {
            now: self.now,
            chunks: &mut self.shared.chunks,
            budget: &self.shared.budget,
            rng: &mut self.shared.rng,
            counters: &mut self.shared.counters,
            tracer: &mut self.shared.tracer,
        }
    }

    /// The way to `remote`, from `local` if that is said. Connections that come one after another go
    /// the same way mostly, and no table has changed in between.
    pub(crate) fn way(&mut self, remote: IpAddr, local: Option<IpAddr>) -> Result<Route, NoRoute> {
        if let Some(found) = &self.shared.way
            && found.remote == remote
            && found.local == local
            && let Some(route) = self.ip.again(&found.route)
        {
            return Ok(route);
        }
        let route = self.ip.route(remote, local)?;
        self.shared.way = Some(Found {
            remote,
            local,
            route,
        });
        Ok(route)
    }

    #[inline]
    pub(crate) fn counters(&mut self) -> &mut Counters {
        &mut self.shared.counters
    }

    /// Tells that a transport's packet was thrown away.
    #[cold]
    pub(crate) fn tell_dropped(
        &mut self,
        (kind, length): (&'static str, usize),
        (trigger, why): (&'static str, &'static str),
        count: u64,
    ) {
        let tracer = &mut self.shared.tracer;
        trace::dropped(tracer, self.now, (kind, length), (trigger, why), count);
    }

    #[inline]
    pub(crate) fn tell(&mut self, event: Event) {
        self.shared.events.push_back(event);
    }
}
