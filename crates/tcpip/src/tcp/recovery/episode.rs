//! Recoveries: how one begins and ends, and how it is taken back when nothing was lost after all
//! (RFC 6675, 6582, 5682, 3522, 4015, 2883).

use weir_core::buf::SendBuffer;
use weir_core::congestion::{LossSample, TimeoutSample};
use weir_core::time::{Duration, Instant};

use super::prr::{Progress, Prr};
use super::tally::{Losses, Tally};
use super::{Ack, GRANULARITY, Recovery};

/// Where a connection stands.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing is lost as far as is known.
    #[default]
    Open,
    /// Losses were found by acknowledgements (fast recovery).
    Recovery,
    /// The retransmission timer expired.
    Loss,
}

/// What the forward RTO-recovery waits for (RFC 5682 section 2.1).
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Frto {
    /// Nothing: the time-out is taken for a real one.
    #[default]
    Off,
    /// The first acknowledgement after the retransmission of the first segment (step 2).
    First,
    /// That moved the window: new data is to go now instead of more retransmissions (step 2b).
    NewData,
    /// It went: the second acknowledgement tells (step 3).
    Second,
}

/// The last recovery, running or over.
#[derive(Debug)]
pub(super) struct Episode {
    /// When it began.
    pub(super) began: Instant,
    pub(super) prr: Prr,
    /// Whether a time-out began it or fell into it.
    is_timeout: bool,
    /// When the newest transmission was sent whose loss the controller answered.
    lost_sent_at: Instant,
    /// When something was sent again first.
    first_resent: Option<Instant>,
    /// Bytes sent again and not reported as duplicates. It can be undone when all are.
    resent: u64,
    is_undoable: bool,
    pub(super) frto: Frto,
    /// Over, and once this is acknowledged no DSACK can come any more that speaks of it.
    until: u64,
}

impl Episode {
    fn new(began: Instant, prr: Prr, is_timeout: bool) -> Box<Episode> {
        Box::new(Episode {
            began,
            prr,
            is_timeout,
            lost_sent_at: Instant::ZERO,
            first_resent: None,
            resent: 0,
            is_undoable: true,
            frto: Frto::Off,
            until: u64::MAX,
        })
    }
}

/// More than this between the echoed sending and the retransmission proves that the original was
/// meant: both clocks' granularity.
const ECHO_MARGIN: Duration = GRANULARITY;

impl Recovery {
    /// Losses were found: the controller hears of it, and a recovery begins if none runs.
    pub(super) fn on_losses(&mut self, now: Instant, losses: &Losses, tally: &Tally) {
        self.wake_for_losses(now);
        self.counters.lost = self.counters.lost.saturating_add(losses.bytes);
        self.needs_syn |= losses.syn;
        self.needs_fin |= losses.fin;
        if let Some(rates) = &mut self.flight.rates {
            rates.sampler.on_lost(losses.bytes);
        }
        let begins = self.phase == Phase::Open;
        if begins {
            let flight = self.flight.next.saturating_sub(self.flight.una);
            let flight = flight.saturating_add(tally.delivered.saturating_sub(tally.sacked));
            self.controller.limit_to_flight(flight);
            self.phase = Phase::Recovery;
            self.news.began = true;
            self.point = self.flight.next;
            self.tlp.forget();
            self.episode = Some(Episode::new(now, Prr::default(), false));
        }
        let window = self.controller.window();
        // What was sent before the time-out belongs to it, whenever it turns out to be lost.
        let is_answered = self.phase == Phase::Loss
            && self.flight.rates.is_none()
            && self
                .episode
                .as_ref()
                .is_some_and(|episode| losses.sent_at <= episode.began);
        if !is_answered {
            let sample = self.loss_sample(now, losses);
            self.controller.on_loss(&sample);
        }
        let reduced = self.controller.window();
        let flight = self.recovery_flight(tally);
        if let Some(episode) = &mut self.episode {
            episode.lost_sent_at = episode.lost_sent_at.max(losses.sent_at);
            if begins || (self.phase == Phase::Recovery && reduced < window) {
                episode.prr = Prr::new(reduced, flight);
            }
        }
    }

    /// Losses as the controller hears of them.
    pub(super) fn loss_sample(&self, now: Instant, losses: &Losses) -> LossSample {
        let sampler = self.flight.rates.as_ref().map(|rates| &rates.sampler);
        LossSample {
            now,
            bytes_lost: losses.bytes,
            largest_lost_sent_at: losses.sent_at,
            largest_lost_seq: losses.end,
            in_flight: self.in_flight(),
            is_persistent: false,
            lost_rate: losses.rate,
            total_lost: sampler.map_or(self.counters.lost, |sampler| sampler.lost()),
        }
    }

    /// RecoverFS (RFC 9937 section 6.1).
    fn recovery_flight(&self, tally: &Tally) -> u64 {
        let outstanding = self.flight.next.saturating_sub(self.flight.una);
        outstanding
            .saturating_sub(self.flight.sacked())
            .saturating_add(tally.delivered)
    }

    /// RFC 9937 section 6.2, on each acknowledgement of a recovery and on its timer.
    pub(super) fn update_prr(&mut self, delivered: u64, is_safe: bool, is_forced: bool) {
        let progress = Progress {
            delivered,
            in_flight: self.in_flight(),
            is_safe,
            is_forced,
        };
        let (smss, sack) = (u64::from(self.smss), self.sack);
        if self.phase == Phase::Recovery
            && let Some(episode) = &mut self.episode
        {
            episode.prr.update(&progress, smss, sack);
        }
    }

    /// The retransmission timer expired and `losses` were marked. `was` is where the connection
    /// stood.
    pub(super) fn on_timeout_losses(&mut self, now: Instant, losses: &Losses, was: Phase) {
        self.wake_for_losses(now);
        self.counters.lost = self.counters.lost.saturating_add(losses.bytes);
        self.needs_fin |= losses.fin;
        if let Some(rates) = &mut self.flight.rates {
            rates.sampler.on_lost(losses.bytes);
        }
        let is_first = was != Phase::Loss;
        let reduces = was == Phase::Open;
        if reduces {
            let flight = self.flight.next.saturating_sub(self.flight.una);
            self.controller.limit_to_flight(flight);
        }
        self.controller.on_timeout(&TimeoutSample {
            now,
            bytes_lost: losses.bytes,
            largest_lost_sent_at: losses.sent_at,
            in_flight: self.in_flight(),
            loss_window: u64::from(self.smss),
            is_first,
            reduces,
        });
        self.phase = Phase::Loss;
        self.tlp.forget();
        self.reno_left = 0;
        self.dup_acks = 0;
        if is_first {
            self.point = self.flight.next;
            let mut episode = Episode::new(now, Prr::default(), true);
            // Once something was sent again in this flight, an acknowledgement tells too little.
            if reduces {
                episode.frto = Frto::First;
            }
            episode.lost_sent_at = losses.sent_at;
            self.episode = Some(episode);
        } else if let Some(episode) = &mut self.episode {
            episode.frto = Frto::Off;
        }
    }

    /// `bytes` were sent, in an episode.
    pub(super) fn note_episode_sent(&mut self, now: Instant, bytes: u64, is_again: bool) {
        let Some(episode) = &mut self.episode else {
            return;
        };
        if self.phase == Phase::Recovery {
            episode.prr.on_sent(bytes);
        }
        if is_again && self.phase != Phase::Open {
            episode.first_resent.get_or_insert(now);
            episode.resent = episode.resent.saturating_add(bytes);
            if episode.frto == Frto::NewData {
                episode.frto = Frto::Off;
            }
        } else if episode.frto == Frto::NewData {
            episode.frto = Frto::Second;
        }
    }

    /// Whether the acknowledgement shows that the running recovery, or time-out, was for nothing.
    pub(super) fn is_spurious(&mut self, ack: &Ack<'_>, tally: &Tally, advanced: bool) -> bool {
        if self.phase == Phase::Open {
            return false;
        }
        let point = self.point;
        let una = self.flight.una;
        let Some(episode) = &mut self.episode else {
            return false;
        };
        if !episode.is_undoable {
            return false;
        }
        // Eifel (RFC 3522): what moved the window was sent before anything was sent again. Only the
        // first acknowledgement after that tells.
        if advanced && let Some(resent) = episode.first_resent {
            let echoed = tally.echoed_at;
            if echoed.is_some_and(|echoed| echoed < resent) {
                return true;
            }
            if echoed.is_some() {
                episode.is_undoable = false;
            }
        }
        match episode.frto {
            Frto::First if episode.first_resent.is_some() => {
                // RFC 5682 2.1 step 2, 3.1 step 2.
                episode.frto = if advanced && una < point {
                    Frto::NewData
                } else {
                    Frto::Off
                };
                false
            }
            Frto::Second => {
                // Step 3: it acknowledges what was given up and not sent again.
                episode.frto = Frto::Off;
                tally.late > 0 && (advanced || !ack.sack.is_empty())
            }
            _ => false,
        }
    }

    /// A DSACK of `bytes`: when all that was sent again arrived twice, nothing had been lost
    /// (RFC 3708 section 2).
    pub(super) fn is_all_duplicated(&mut self, bytes: u64) -> bool {
        let Some(episode) = &mut self.episode else {
            return false;
        };
        if episode.resent == 0 {
            return false;
        }
        episode.resent = episode.resent.saturating_sub(bytes);
        episode.resent == 0 && !episode.is_timeout
    }

    /// Takes the last recovery back.
    pub(super) fn undo(&mut self, now: Instant, send: &mut SendBuffer) {
        self.counters.undone = self.counters.undone.saturating_add(1);
        self.news.spurious_timeout |= self.phase == Phase::Loss;
        self.flight.unlose(send);
        self.needs_fin &= self.flight.lost() > 0;
        self.rack.on_undone();
        self.phase = Phase::Open;
        self.reno_left = 0;
        self.dup_acks = 0;
        let Some(episode) = self.episode.take() else {
            return;
        };
        if episode.is_timeout {
            self.timeouts = 0;
            self.backoff = 0;
            self.controller.on_spurious_timeout(now);
        } else {
            let sent_at = episode.lost_sent_at;
            self.controller.on_spurious_loss(now, u64::MAX, sent_at);
        }
    }

    /// The cumulative acknowledgement has passed all that was outstanding when the recovery began.
    pub(super) fn end_recovery(&mut self) {
        if self.phase == Phase::Open {
            let una = self.flight.una;
            self.episode.take_if(|episode| una > episode.until);
            return;
        }
        if self.flight.una < self.point {
            return;
        }
        self.phase = Phase::Open;
        self.reno_left = 0;
        self.dup_acks = 0;
        self.rack.on_recovered();
        if let Some(episode) = &mut self.episode {
            episode.frto = Frto::Off;
            episode.until = self.flight.next;
        }
    }

    /// When the echoed timestamp's segment was sent, at the latest.
    pub(super) fn echoed_at(&self, now: Instant, ack: &Ack<'_>) -> Option<Instant> {
        let echoed = ack.echoed_rtt.filter(|_| self.timestamps)?;
        Some(now - echoed + ECHO_MARGIN)
    }
}
