//! One connection of a client to its peer, from the greeting to the last word.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::control::{Control, hello};
use super::protocol::{Granted, Refusal, Request, Status, read_answer};
use super::remote;
use super::shared::{ClientCore, Current};
use super::shutdown::Shutdown;
use super::streams::{ask, refuse};
use super::tasks::{Tasks, TasksGuard};
use super::udp::{Flows, Parity};
use super::units::{UnitError, UnitStream};
use super::ways;
use crate::connection::Connection;
use crate::error::{ConnectionError, StreamError};

/// How long the close may take to reach the peer.
const CLOSE: Duration = Duration::from_secs(1);

/// Why a connection is of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Answer(#[from] UnitError),
    #[error("{0}")]
    Connection(#[from] ConnectionError),
    #[error("{0}")]
    Stream(#[from] StreamError),
}

/// A connection that stands.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) connection: Connection,
    flows: Arc<Flows>,
    control: Control,
    pub(crate) began: Instant,
    /// The control stream and the streams that come in.
    tasks: Tasks,
    _guard: TasksGuard,
    /// What keeps the far side listening for `-R`.
    listens: Tasks,
    _listens_guard: TasksGuard,
}

/// Why no new streams can go over a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The connection is gone.
    Lost(String),
    /// The peer takes nothing new; what runs has this long.
    Draining(Duration, String),
}

impl Session {
    /// Greets the peer over a new connection and waits for its answer: only then is it known that it lets us in.
    pub(crate) async fn open(
        core: &Arc<ClientCore>,
        connection: Connection,
        number: u64,
    ) -> Result<Self, SessionError> {
        let (mut send, recv) = connection.open_bi().await?;
        let mut recv = UnitStream::new(recv);
        let request = Request::Control(hello());
        ask(&mut send, &request, &[]).await?;
        let unit = recv.next_within(core.config.request_timeout).await?;
        match read_answer(&request, &unit).map_err(UnitError::from)? {
            Ok(Granted::Hello(_)) => {}
            Ok(_) => return Err(UnitError::Ended.into()),
            Err(refusal) => return Err(refusal.into()),
        }
        let (control, work) = Control::new(send, recv);
        let (tasks, listens) = (Tasks::default(), Tasks::default());
        tasks.spawn(work);
        let flows = Flows::new(Parity::Even, &core.udp.budget);
        tasks.spawn(Arc::clone(&flows).serve(connection.clone()));
        let current = Current {
            session: number,
            connection: connection.clone(),
            flows: Arc::clone(&flows),
        };
        tasks.spawn(serve_incoming(Arc::clone(core), current, tasks.clone()));
        Ok(Self {
            number,
            connection,
            flows,
            control,
            began: Instant::now(),
            _guard: tasks.guard(),
            tasks,
            _listens_guard: listens.guard(),
            listens,
        })
    }

    /// Asks the far side to listen for every `-R`. With `strict` the first refusal is the result; otherwise it is
    /// asked for again as long as the session lasts.
    pub(crate) async fn listen(
        &self,
        core: &Arc<ClientCore>,
        strict: bool,
    ) -> Result<(), SessionError> {
        for (index, forward) in core.config.remote.iter().enumerate() {
            let first = remote::relisten(core, &self.connection, index, forward).await;
            let first = match first {
                Err(error) if strict => return Err(error),
                result => result,
            };
            self.listens.spawn(remote::keep(
                Arc::clone(core),
                self.connection.clone(),
                index,
                first,
            ));
        }
        Ok(())
    }

    pub(crate) fn current(&self) -> Current {
        Current {
            session: self.number,
            connection: self.connection.clone(),
            flows: Arc::clone(&self.flows),
        }
    }

    /// Waits until no new streams can go over this session, and says why.
    pub(crate) async fn unusable(&self) -> Unusable {
        tokio::select! {
            biased;
            (grace, reason) = self.control.peer_drains() => Unusable::Draining(grace, reason),
            reason = self.connection.closed() => Unusable::Lost(self.last_words(&reason)),
        }
    }

    /// Why the connection is over: the peer's own words, if it left any.
    fn last_words(&self, reason: &crate::CloseReason) -> String {
        match self.control.said().closing {
            Some(words) if !words.is_empty() => format!("closed by the peer: {words}"),
            _ => reason.to_string(),
        }
    }

    /// Stays with a connection whose peer drains until that is over or the peer's time is up, and longer by a second
    /// so that the peer is the one to close.
    pub(crate) async fn linger(self, core: Arc<ClientCore>, grace: Duration) {
        self.listens.abort_all();
        let over = timeout(grace.saturating_add(CLOSE), self.connection.closed()).await;
        match over {
            Ok(reason) => info!("the old connection is over: {}", self.last_words(&reason)),
            Err(_) => self.connection.close(0, "the time to finish is over"),
        }
        core.life(|life| life.live.remove(&self.number));
        ways::settled(&core, None);
    }

    /// Takes nothing new, waits for what runs, and closes with a reason.
    pub(crate) async fn drain(self, core: &Arc<ClientCore>, reason: &str, stop: &Shutdown) {
        self.listens.abort_all();
        let grace = core.config.grace;
        let left = tokio::select! {
            biased;
            _ = stop.requested_now() => core.registry.len(),
            left = self.finish_running(core, reason, grace) => left,
        };
        if left > 0 {
            warn!("{left} connection(s) had not finished and are cut off");
        }
        let reason = stop.reason().unwrap_or_else(|| reason.to_owned());
        self.control.closing(&reason).await;
        self.connection.close(0, &reason);
        let _ = timeout(CLOSE, self.connection.closed()).await;
        self.tasks.abort_all();
        info!("connection closed: {reason}");
    }

    /// Waits until nothing runs any more, the grace is over or the connection is; how many are left.
    async fn finish_running(&self, core: &ClientCore, reason: &str, grace: Duration) -> usize {
        self.control.draining(grace, reason).await;
        let running = core.registry.len();
        if running > 0 {
            info!(
                "{reason}: waiting up to {} s for {running} connection(s)",
                grace.as_secs()
            );
        }
        let _ = timeout(grace, async {
            tokio::select! {
                () = core.registry.idle() => {}
                _ = self.connection.closed() => {}
            }
        })
        .await;
        core.registry.len()
    }
}

/// Takes the streams that the peer opens, until the connection ends.
async fn serve_incoming(core: Arc<ClientCore>, current: Current, tasks: Tasks) {
    while let Ok((send, recv)) = current.connection.accept_bi().await {
        let Ok(slot) = Arc::clone(&core.slots).try_acquire_owned() else {
            // Too many to give each a task, so only what can be done without waiting.
            let refusal = Refusal::new(Status::TooMany, "too many connections at once");
            let refuse = refuse(send, UnitStream::new(recv), refusal);
            let _ = timeout(Duration::ZERO, refuse).await;
            continue;
        };
        let (core, current) = (Arc::clone(&core), current.clone());
        tasks.spawn(async move {
            remote::serve_stream(&core, &current, send, recv).await;
            drop(slot);
        });
    }
}

impl SessionError {
    /// Whether trying again could not help until somebody changes something.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Refused(Refusal {
                status: Status::NotAllowed | Status::BadVersion,
                ..
            }) | Self::Answer(UnitError::Protocol(_))
        )
    }
}
