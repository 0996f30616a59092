//! The control stream: greetings, then notices both ways, so that each side can say why it goes.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::protocol::{Hello, MAX_NOTICES, Notice};
use super::units::{UnitError, UnitStream};
use crate::stream::{RecvStream, SendStream};

/// How long the peer has to take note of a closing notice.
const CLOSING: Duration = Duration::from_secs(1);

/// What this implementation says of itself.
pub(crate) fn hello() -> Hello {
    Hello {
        features: 0,
        agent: concat!("weir/", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

/// What the peer has said so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct PeerSaid {
    /// It takes nothing new: for how long, and why.
    pub(crate) draining: Option<(Duration, String)>,
    /// It closes the connection: why.
    pub(crate) closing: Option<String>,
    /// Its half of the stream has ended.
    pub(crate) ended: bool,
}

/// A handle to the task that keeps one control stream.
#[derive(Debug)]
pub(crate) struct Control {
    notices: mpsc::Sender<Notice>,
    said: watch::Receiver<PeerSaid>,
}

impl Control {
    /// The handle, and the task's work: `recv` stands behind the greeting already.
    pub(crate) fn new(
        send: SendStream,
        recv: UnitStream<RecvStream>,
    ) -> (Self, impl Future<Output = ()> + Send) {
        // Two notices are all that a side ever sends.
        let (notices, outgoing) = mpsc::channel(2);
        let (said, watching) = watch::channel(PeerSaid::default());
        (
            Self {
                notices,
                said: watching,
            },
            keep(send, recv, outgoing, said),
        )
    }

    /// Tells the peer that nothing new is taken.
    pub(crate) async fn draining(&self, grace: Duration, reason: &str) {
        let _ = self
            .notices
            .send(Notice::Draining {
                grace,
                reason: reason.to_owned(),
            })
            .await;
    }

    /// Tells the peer that the connection closes, and waits a moment for it to take note.
    pub(crate) async fn closing(&self, reason: &str) {
        let tell = async {
            let _ = self
                .notices
                .send(Notice::Closing {
                    reason: reason.to_owned(),
                })
                .await;
            let _ = self.said.clone().wait_for(|said| said.ended).await;
        };
        let _ = timeout(CLOSING, tell).await;
    }

    /// What the peer has said so far.
    pub(crate) fn said(&self) -> PeerSaid {
        self.said.borrow().clone()
    }

    /// Waits until the peer says that it takes nothing new.
    pub(crate) async fn peer_drains(&self) -> (Duration, String) {
        let mut said = self.said.clone();
        let wanted = |said: &PeerSaid| said.draining.is_some() || said.closing.is_some();
        let now = said.wait_for(wanted).await.ok().map(|now| now.clone());
        let Some(now) = now else {
            // The task is gone, so it will say nothing more; the connection's end tells the rest.
            return std::future::pending().await;
        };
        match now {
            PeerSaid {
                draining: Some(draining),
                ..
            } => draining,
            PeerSaid { closing, .. } => (Duration::ZERO, closing.unwrap_or_default()),
        }
    }
}

/// Keeps the stream until both halves have ended.
async fn keep(
    mut send: SendStream,
    mut recv: UnitStream<RecvStream>,
    mut outgoing: mpsc::Receiver<Notice>,
    said: watch::Sender<PeerSaid>,
) {
    let mut heard = 0usize;
    let mut finished = false;
    let mut ended = false;
    while !(finished && ended) {
        tokio::select! {
            unit = recv.next(), if !ended => match unit.map(|unit| Notice::read(&unit)) {
                Ok(Ok(notice)) => {
                    heard = heard.saturating_add(1);
                    let closing = note(&said, notice);
                    // Ending our half tells the peer that its notice has arrived.
                    if (closing || heard >= MAX_NOTICES) && !finished {
                        finished = true;
                        let _ = send.finish();
                    }
                    if heard >= MAX_NOTICES {
                        recv.source_mut().stop(0);
                        ended = true;
                    }
                }
                Err(UnitError::Ended) => ended = true,
                _ => {
                    send.reset(0);
                    recv.source_mut().stop(0);
                    (finished, ended) = (true, true);
                }
            },
            notice = outgoing.recv(), if !finished => {
                finished = !say(&mut send, notice).await;
            }
        }
        if ended {
            said.send_modify(|said| said.ended = true);
        }
    }
}

/// Sends a notice; false when it was the last that could be sent.
async fn say(send: &mut SendStream, notice: Option<Notice>) -> bool {
    let mut wire = Vec::new();
    let last = match &notice {
        Some(notice) => {
            notice.write(&mut wire);
            matches!(notice, Notice::Closing { .. })
        }
        // The owner has let go without a word.
        None => true,
    };
    let written = send.write_chunk(&mut Bytes::from(wire)).await;
    if last || written.is_err() {
        let _ = send.finish();
        return false;
    }
    true
}

/// Keeps what the peer said; true when it closes.
fn note(said: &watch::Sender<PeerSaid>, notice: Notice) -> bool {
    match notice {
        Notice::Draining { grace, reason } => {
            said.send_modify(|said| said.draining = Some((grace, reason)));
            false
        }
        Notice::Closing { reason } => {
            said.send_modify(|said| said.closing = Some(reason));
            true
        }
        Notice::Unknown(_) => false,
    }
}
