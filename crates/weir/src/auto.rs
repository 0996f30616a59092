//! QUIC where it passes, else yamux: a race like that of RFC 8305 among addresses.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::dial::ATTEMPT_DELAY;
use crate::error::ConnectError;
use crate::via::Via;

/// QUIC's head start to a peer that only TCP reached when it was dialled last: enough to win where
/// UDP passes again, and no great loss where it does not.
const HEAD_START_AGAIN: Duration = Duration::from_millis(50);
/// How long what worked for a peer is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Peers that are remembered.
const PEERS: usize = 1024;
/// What QUIC has at least once TCP has failed: a peer that listens for QUIC alone answers in time.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// What a race came to.
pub(crate) struct Won<T> {
    pub(crate) via: Via,
    pub(crate) connection: T,
    /// Why this one, for people.
    pub(crate) why: String,
}

/// Runs both ways, QUIC `head_start` ahead; the one that is not taken is dropped where it stands.
pub(crate) async fn race<T>(
    head_start: Duration,
    quic: impl Future<Output = Result<T, ConnectError>>,
    yamux: impl Future<Output = Result<T, ConnectError>>,
) -> Result<Won<T>, ConnectError> {
    let began = Instant::now();
    let mut quic = pin!(quic);
    let mut yamux = pin!(yamux);
    let alone = tokio::select! {
        biased;
        ended = &mut quic => Some(ended),
        () = sleep(head_start) => None,
    };
    let quic_failed = match alone {
        Some(Ok(connection)) => return Ok(quic_won(connection, began, "")),
        Some(Err(error)) => error,
        None => tokio::select! {
            biased;
            ended = &mut quic => match ended {
                Ok(connection) => return Ok(quic_won(connection, began, " before yamux")),
                Err(error) => error,
            },
            ended = &mut yamux => match ended {
                Ok(connection) => return Ok(yamux_won(connection, began)),
                Err(error) => {
                    let left = LAST_CHANCE.max(began.elapsed());
                    return match timeout(left, quic).await {
                        Ok(Ok(connection)) => Ok(quic_won(connection, began, "; yamux failed")),
                        Ok(Err(other)) => Err(telling(other, error)),
                        Err(_) => Err(error),
                    };
                }
            },
        },
    };
    match yamux.await {
        Ok(connection) => Ok(Won {
            via: Via::Yamux,
            connection,
            why: format!("QUIC failed: {quic_failed}"),
        }),
        Err(error) => Err(telling(quic_failed, error)),
    }
}

fn quic_won<T>(connection: T, began: Instant, more: &str) -> Won<T> {
    let took = began.elapsed().as_millis();
    Won {
        via: Via::Quic,
        connection,
        why: format!("QUIC was ready after {took} ms{more}"),
    }
}

fn yamux_won<T>(connection: T, began: Instant) -> Won<T> {
    let took = began.elapsed().as_millis();
    Won {
        via: Via::Yamux,
        connection,
        why: format!("no QUIC within {took} ms: UDP may be blocked on the way"),
    }
}

/// Of two failures the one that says more: who answered wrongly is more than who did not answer.
fn telling(quic: ConnectError, yamux: ConnectError) -> ConnectError {
    match (&quic, &yamux) {
        (ConnectError::Handshake { .. } | ConnectError::Refused { .. }, other)
            if !matches!(other, ConnectError::Handshake { .. }) =>
        {
            quic
        }
        _ => yamux,
    }
}

/// What worked for whom.
#[derive(Default)]
pub(crate) struct Worked(Mutex<HashMap<String, (Via, Instant)>>);

impl Worked {
    /// How far QUIC goes ahead for this peer.
    pub(crate) fn head_start(&self, peer: &str) -> Duration {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(peer) {
            Some((Via::Yamux, at)) if at.elapsed() < REMEMBERED => HEAD_START_AGAIN,
            _ => ATTEMPT_DELAY,
        }
    }

    /// Notes what worked.
    pub(crate) fn note(&self, peer: &str, via: Via) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= PEERS && !known.contains_key(peer) {
            let oldest = known.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                known.remove(&name);
            }
        }
        known.insert(peer.to_owned(), (via, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    fn dead() -> ConnectError {
        ConnectError::Via("dead".to_owned())
    }

    async fn after<T>(millis: u64, result: T) -> T {
        sleep(Duration::from_millis(millis)).await;
        result
    }

    #[tokio::test(start_paused = true)]
    async fn quic_is_taken_where_it_answers_even_when_yamux_would_be_faster() {
        let won = race(ATTEMPT_DELAY, after(200, Ok(1)), after(10, Ok(2))).await;
        assert_eq!(won.unwrap().via, Via::Quic);
    }

    #[tokio::test(start_paused = true)]
    async fn yamux_is_begun_after_the_head_start_and_taken_when_quic_is_silent() {
        let began = Instant::now();
        let won = race(ATTEMPT_DELAY, pending(), after(40, Ok(2)))
            .await
            .unwrap();
        assert_eq!((won.via, won.connection), (Via::Yamux, 2));
        assert_eq!(began.elapsed(), ATTEMPT_DELAY + Duration::from_millis(40));
    }

    #[tokio::test(start_paused = true)]
    async fn yamux_is_begun_at_once_when_quic_fails() {
        let began = Instant::now();
        let won = race(ATTEMPT_DELAY, after(5, Err(dead())), after(40, Ok(2)));
        let won = won.await.unwrap();
        assert_eq!(won.via, Via::Yamux);
        assert!(won.why.contains("dead"), "{}", won.why);
        assert_eq!(began.elapsed(), Duration::from_millis(45));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dead_port_is_not_waited_for_as_long_as_a_handshake_may_take() {
        let quic = after(10_000, Err::<i32, _>(dead()));
        let began = Instant::now();
        assert!(race(ATTEMPT_DELAY, quic, ready(Err(dead()))).await.is_err());
        assert_eq!(began.elapsed(), ATTEMPT_DELAY + LAST_CHANCE);
    }

    #[tokio::test(start_paused = true)]
    async fn what_worked_is_remembered_for_a_while() {
        let worked = Worked::default();
        assert_eq!(worked.head_start("peer"), ATTEMPT_DELAY);
        worked.note("peer", Via::Yamux);
        assert_eq!(worked.head_start("peer"), HEAD_START_AGAIN);
        sleep(REMEMBERED).await;
        assert_eq!(worked.head_start("peer"), ATTEMPT_DELAY);
        worked.note("peer", Via::Yamux);
        worked.note("peer", Via::Quic);
        assert_eq!(worked.head_start("peer"), ATTEMPT_DELAY);
        for n in 0..2 * PEERS {
            worked.note(&n.to_string(), Via::Yamux);
        }
        assert_eq!(worked.0.lock().unwrap().len(), PEERS);
    }
}
