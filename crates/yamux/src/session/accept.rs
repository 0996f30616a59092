//! Streams that the peer opens.

use super::Session;
use crate::config::Config;
use crate::error::Violation;
use crate::limits::{RESET_PATIENCE, STREAM_COST};
use crate::state::State;
use crate::stream::{Stream, bit};
use crate::wire::{Flags, Header};
use weir_core::slab::Key;
use weir_core::time::{Instant, nanos};
use weir_core::trace::{Event as Trace, HeldBy};

/// Entries of streams gone that the accept queue may have before it is swept.
const SWEEP_ABOVE: usize = 64;

impl Session {
    /// The next stream that the peer opened, in the order they came. It is acknowledged with the
    /// first frame that goes out on it, at the next flush at the latest (Y13, Y18).
    ///
    /// `None`: [`Event::Acceptable`](crate::Event::Acceptable) follows when there is one.
    pub fn accept(&mut self, _now: Instant) -> Option<Key> {
        while let Some(key) = self.accept_queue.pop_front() {
            let Some(stream) = self.streams.get_mut(key) else {
                continue;
            };
            if !stream.bits.take(bit::UNACCEPTED) {
                continue;
            }
            self.unaccepted = self.unaccepted.saturating_sub(1);
            stream.bits.set(bit::ACK_DUE);
            self.queue_control(key);
            return Some(key);
        }
        self.news.wants_accept = true;
        None
    }

    /// A SYN came (Y12). `None`: the stream is refused.
    #[inline]
    pub(super) fn handle_syn(
        &mut self,
        now: Instant,
        header: Header,
    ) -> Result<Option<Key>, Violation> {
        let id = header.stream_id;
        self.peer_ids.admit(id)?;
        if self.resets.is_exhausted(now) {
            return self.refuse_after_resets(now, header);
        }
        let refusal = if self.going.is_some() {
            Some("this side is going away")
        } else if self.unaccepted >= self.config.accept_backlog {
            Some("too many streams wait to be accepted")
        } else if self.inbound >= self.config.max_streams {
            Some("too many streams are open")
        } else if self.memory.try_reserve(STREAM_COST).is_err() {
            Some("memory is short")
        } else {
            None
        };
        if let Some(why) = refusal {
            self.refuse(now, header, why)?;
            return Ok(None);
        }
        Ok(Some(self.admit(now, id)))
    }

    #[inline]
    fn admit(&mut self, now: Instant, id: u32) -> Key {
        let bits = bit::INBOUND | bit::UNACCEPTED;
        let key = self
            .streams
            .insert(Stream::new(id, State::SynReceived, bits));
        self.by_id.insert(id, key);
        self.inbound = self.inbound.saturating_add(1);
        self.unaccepted = self.unaccepted.saturating_add(1);
        self.stats.streams_accepted = self.stats.streams_accepted.saturating_add(1);
        let most = (self.unaccepted as usize)
            .saturating_mul(2)
            .saturating_add(SWEEP_ABOVE);
        if self.accept_queue.len() > most {
            let streams = &self.streams;
            self.accept_queue.retain(|key| streams.contains(*key));
        }
        self.accept_queue.push_back(key);
        self.news.acceptable();
        self.tracer.emit(now, || Trace::StreamState {
            family: super::FAMILY,
            stream: id.into(),
            old: State::Init.name(),
            new: State::SynReceived.name(),
            trigger: "SYN received",
        });
        self.widen(now, key);
        key
    }

    /// Answers a SYN with RST; the session lives (Y20).
    #[cold]
    fn refuse(
        &mut self,
        now: Instant,
        header: Header,
        what: &'static str,
    ) -> Result<(), Violation> {
        self.stats.streams_refused = self.stats.streams_refused.saturating_add(1);
        let count = self.stats.streams_refused;
        // A line for each would let a peer fill logs.
        if count.is_power_of_two() {
            self.tracer.emit(now, || Trace::RateLimited { what, count });
        }
        if !header.flags.contains(Flags::RST) && !self.out.refusals.push(header.stream_id) {
            return Err(Violation::RefusalFlood);
        }
        Ok(())
    }

    /// The peer resets streams faster than it may: new ones do not reach the application, and if
    /// that goes on the session ends (threats C9, rapid reset).
    #[cold]
    fn refuse_after_resets(
        &mut self,
        now: Instant,
        header: Header,
    ) -> Result<Option<Key>, Violation> {
        self.resets.refused = self.resets.refused.saturating_add(1);
        let patience = u64::from(self.config.reset_burst).saturating_mul(RESET_PATIENCE);
        if self.resets.refused > patience {
            return Err(Violation::RapidReset {
                rate: self.config.reset_rate,
            });
        }
        self.refuse(now, header, "streams are opened and reset too fast")?;
        Ok(None)
    }

    /// Makes a new stream's window what the configuration says, when memory allows; when that is
    /// twice the 256 KiB that the peer assumes or more, it goes out with SYN or ACK (Y15).
    #[inline]
    pub(super) fn widen(&mut self, now: Instant, key: Key) {
        let wanted = u64::from(self.config.receive_window);
        if wanted <= self.windows.initial {
            return;
        }
        let Some(stream) = self.streams.get_mut(key) else {
            return;
        };
        // Credit given cannot be taken back, so half of the memory is kept for what arrives.
        let rest = self
            .memory
            .available()
            .saturating_sub(wanted.saturating_sub(self.windows.initial));
        let affordable = rest >= self.memory.limit() >> 1;
        if affordable
            && stream
                .recv
                .raise(wanted, &self.windows, &self.memory, &mut stream.share)
        {
            self.update_window(now, key);
        } else {
            let stream = u64::from(stream.id);
            self.tracer.emit(now, || Trace::Held {
                stream,
                by: HeldBy::SessionBudget,
            });
        }
    }
}

/// How many unanswered streams the peer may still reset: a bucket of tokens, one a reset, filled
/// again with time.
#[derive(Debug)]
pub(super) struct ResetBucket {
    /// Billionths of tokens, so that time in nanoseconds fills it without rounding.
    level: u64,
    full: u64,
    rate: u64,
    filled_at: Instant,
    /// SYNs refused since the bucket was last not empty.
    refused: u64,
}

const TOKEN: u64 = 1_000_000_000;

impl ResetBucket {
    pub(super) fn new(config: &Config, now: Instant) -> ResetBucket {
        let full = u64::from(config.reset_burst).saturating_mul(TOKEN);
        let rate = u64::from(config.reset_rate);
        ResetBucket {
            level: full,
            full,
            rate,
            filled_at: now,
            refused: 0,
        }
    }

    /// The peer reset a stream that was not answered yet.
    pub(super) fn count(&mut self, now: Instant) {
        self.fill(now);
        self.level = self.level.saturating_sub(TOKEN);
    }

    /// Whether no token is left. Costs nothing while the bucket is full.
    #[inline]
    fn is_exhausted(&mut self, now: Instant) -> bool {
        if self.level >= TOKEN {
            return false;
        }
        self.fill(now);
        let exhausted = self.level < TOKEN;
        if !exhausted {
            self.refused = 0;
        }
        exhausted
    }

    fn fill(&mut self, now: Instant) {
        let elapsed = nanos(now.saturating_duration_since(self.filled_at));
        self.filled_at = now;
        let tokens = elapsed.saturating_mul(self.rate);
        self.level = self.level.saturating_add(tokens).min(self.full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bucket_empties_by_resets_and_fills_with_time() {
        let config = Config {
            reset_burst: 3,
            reset_rate: 2,
            ..Config::default()
        };
        let mut bucket = ResetBucket::new(&config, Instant::ZERO);
        for _ in 0..3 {
            assert!(!bucket.is_exhausted(Instant::ZERO));
            bucket.count(Instant::ZERO);
        }
        assert!(bucket.is_exhausted(Instant::from_millis(499)));
        assert!(!bucket.is_exhausted(Instant::from_millis(500)));
        bucket.count(Instant::from_millis(500));
        assert!(bucket.is_exhausted(Instant::from_millis(500)));
    }
}
