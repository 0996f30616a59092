//! Runs engines on tokio: one task owns the carrier, and the engine stands behind a lock that is
//! held for the time of a few state changes and never across a system call. What is here serves every
//! engine ([`engine`], [`shared`], [`handles`]) and yamux ([`yamux`], [`task`]); QUIC's task, which
//! owns a socket and all of its connections, is in [`crate::quic`].
//!
//! The way of a byte down: a handle puts it into the engine ([`handles`]) and, where that made
//! something sendable, wakes the task ([`task`]), which takes all that is ready in one batch and
//! hands it to the carrier in one vectored write. The way up: the task reads a batch, gives the
//! engine slices of it, and only then wakes the readers, each once.

mod clock;
mod engine;
mod handles;
mod shared;
mod task;
mod wakers;
mod yamux;

use std::sync::Arc;

use weir_core::rng::{self, Rng};
use weir_core::time::Instant;
use weir_core::trace::{Sink, Tracer};
use weir_yamux::Session;

pub(crate) use weir_yamux::Role;

use crate::carrier::AnyCarrier;
use crate::endpoint::Inner;
use crate::layer::StreamLayer;
use crate::observe::ConnectionInfo;

use task::Task;
use yamux::{TaskLink, YamuxShared};

pub(crate) use clock::Clock;
pub(crate) use engine::{Engine, Link, News, Refused};
pub(crate) use shared::Shared;
pub(crate) use wakers::{Half, Wakers};

/// Starts the task of a connection whose carrier stands.
///
/// # Errors
/// A setting of the configuration is out of its range, in words.
pub(crate) fn start(
    carrier: AnyCarrier,
    info: ConnectionInfo,
    role: Role,
    endpoint: &Inner,
    sinks: Vec<Box<dyn Sink>>,
) -> Result<Arc<dyn StreamLayer>, String> {
    let random = randomness()?;
    let mut session = Session::new(
        role,
        endpoint.config.yamux(),
        &endpoint.budget,
        random,
        Instant::ZERO,
    )
    .map_err(|error| error.to_string())?;
    if !sinks.is_empty() {
        session.set_tracer(Instant::ZERO, Tracer::to_all(sinks));
    }
    let link = TaskLink::default();
    let shared: Arc<YamuxShared> = Arc::new(Shared::new(session, link, Clock::start(), info));
    let task = Task::new(Arc::clone(&shared), carrier, endpoint.pool.reader());
    let alive = endpoint.alive.enter();
    tokio::spawn(async move {
        task.run().await;
        drop(alive);
    });
    Ok(shared)
}

/// A generator that nobody can foresee.
///
/// # Errors
/// In words, when the system gives no random numbers.
pub(crate) fn randomness() -> Result<Rng, String> {
    let mut entropy = [0; 32];
    aws_lc_rs::rand::fill(&mut entropy)
        .map_err(|_| "the system gives no random numbers".to_owned())?;
    Ok(rng::rng_from_entropy(entropy))
}
