//! A pool of tasks that take a connection's streams as they come.
//!
//! A task for each stream would cost an allocation and a task switch for each; here a task that is done
//! with a stream takes the next one. When the last idle task takes a stream another is started, so no
//! stream waits behind a slow one.

use crate::pipe::Pipe;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use weir::Connection;

/// Tasks that are kept waiting for streams after a rush is over; more end by themselves.
const KEPT_IDLE: usize = 128;

/// What is done with each stream.
pub(crate) trait Serve: Send + Sync + 'static {
    /// Serves one stream from its first byte to its end. Errors are the stream's own affair.
    fn serve(&self, pipe: Pipe) -> impl Future<Output = ()> + Send;
}

/// Serves the streams of `connection` until it ends. Returns at once; the tasks go on by themselves.
pub(crate) fn serve_streams<S: Serve>(connection: &Connection, service: &Arc<S>) {
    let idle = Arc::new(AtomicUsize::new(0));
    start(connection.clone(), Arc::clone(service), idle);
}

fn start<S: Serve>(connection: Connection, service: Arc<S>, idle: Arc<AtomicUsize>) {
    // Counted before the task runs: otherwise a burst would start one task too many for each stream.
    idle.fetch_add(1, Ordering::Relaxed);
    tokio::spawn(work(connection, service, idle));
}

async fn work<S: Serve>(connection: Connection, service: Arc<S>, idle: Arc<AtomicUsize>) {
    loop {
        let Ok(halves) = connection.accept_bi().await else {
            return;
        };
        if idle.fetch_sub(1, Ordering::Relaxed) == 1 {
            start(connection.clone(), Arc::clone(&service), Arc::clone(&idle));
        }
        service.serve(Pipe::from(halves)).await;
        if idle.fetch_add(1, Ordering::Relaxed) >= KEPT_IDLE {
            idle.fetch_sub(1, Ordering::Relaxed);
            return;
        }
    }
}
