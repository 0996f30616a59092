//! What a connection has become: its news, its next wake-up, its end.
//!
//! Once for a batch of segments, not once for each: `touched` says which connections to look at.

use super::entry::Entry;
use super::{Owner, Tcp};
use crate::limits::{REST_AFTER, TIMER_TICK};
use crate::stack::demux::Target;
use crate::stack::host::Host;
use crate::stack::{Event, ListenerKey, TcpKey};
use crate::tcp::State;
use crate::tcp::interface::News;
use weir_core::time::Instant;
use weir_core::timer::Wheel;

impl Entry {
    /// True when nothing more is sent but what TIME-WAIT needs.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state(), State::Closed | State::TimeWait)
    }

    /// Sets its wake-up. One that is too early stays: moving it for each segment would cost more than
    /// the rare wake-up for nothing.
    #[inline(always)]
    pub(super) fn arm(&mut self, wheel: &mut Wheel<Target>, now: Instant, index: u32) {
        let connection = self.connection();
        let floor = connection.wake_floor();
        debug_assert!(floor <= connection.wake_at(), "a floor above its wake-up");
        // Without a wake-up, `timer_at` is later than anything.
        if self.timer_at > floor {
            self.arm_exactly(wheel, now, index);
        }
    }

    #[inline(never)]
    fn arm_exactly(&mut self, wheel: &mut Wheel<Target>, now: Instant, index: u32) {
        let due = self.connection().wake_at();
        if self.timer_at > due || self.timer.is_none() {
            self.move_wake_up(wheel, now, index, due);
        }
    }

    #[cold]
    fn move_wake_up(&mut self, wheel: &mut Wheel<Target>, now: Instant, index: u32, due: Instant) {
        if let Some(timer) = self.timer {
            wheel.reset(timer, due);
            self.timer_at = due;
            return;
        }
        let look = match self.rest_at() {
            Some(at) => at.max(now + TIMER_TICK),
            // Something is under way: it is looked at once when that may be over.
            None if due < Instant::MAX => now + REST_AFTER,
            None => Instant::MAX,
        };
        self.wake_at(wheel, index, due.min(look));
    }

    fn wake_at(&mut self, wheel: &mut Wheel<Target>, index: u32, at: Instant) {
        if at < Instant::MAX {
            self.timer = Some(wheel.insert(at, Target::Connection(index)));
            self.timer_at = at;
        }
    }
}

impl Tcp {
    /// True when something happened to a connection, and nobody has looked.
    #[inline]
    pub(crate) fn has_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Looks at every connection that something happened to.
    pub(crate) fn settle_all(&mut self, host: &mut Host<'_>) {
        // What is touched meanwhile comes behind, and waits for the next time.
        if let [index] = self.touched[..] {
            self.touched.clear();
            return self.settle(host, index);
        }
        let count = self.touched.len();
        for at in 0..count {
            if let Some(index) = self.touched.get(at).copied() {
                self.settle(host, index);
            }
        }
        self.touched.drain(..count.min(self.touched.len()));
    }

    /// Looks at one connection.
    pub(super) fn settle(&mut self, host: &mut Host<'_>, index: u32) {
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        entry.touched = false;
        let connection = entry.body.connection(&entry.tuple);
        let news = connection.take_news();
        let state = connection.state();
        let is_open = !entry.half_open || state == State::SynReceived;
        if is_open && !matches!(state, State::Closed | State::TimeWait) {
            // It is where it was, for the stack: what most are, most of the time.
            if !entry.queued && connection.wants_transmit() {
                entry.queued = true;
                self.ready.push_back(index);
            } else if !entry.queued {
                entry.arm(&mut self.wheel, host.now, index);
            }
            if news.confirmed {
                host.ip.confirm(host.now, &entry.route);
            }
            if !news.told_confirmed().is_empty() {
                self.on_news(host, index, news.told_confirmed());
            }
            return;
        }
        if !news.is_empty() {
            self.on_news(host, index, news);
        }
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        let state = entry.state();
        if entry.half_open && state != State::SynReceived {
            self.clear_half_open(index);
        }
        if matches!(state, State::Closed | State::TimeWait) && self.wind_up(host, index) {
            return;
        }
        self.enqueue_or_arm(host.now, index);
    }

    /// Puts a connection into the list of those that want to send; its wake-up is seen to after its
    /// turn, or here when it has none.
    #[inline]
    fn enqueue_or_arm(&mut self, now: Instant, index: u32) {
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        if entry.queued {
            return;
        }
        if entry.connection().wants_transmit() {
            entry.queued = true;
            self.ready.push_back(index);
        } else {
            entry.arm(&mut self.wheel, now, index);
        }
    }

    /// The same after its turn to send: it is queued again only if it said that it has more.
    pub(super) fn settle_sent(&mut self, host: &mut Host<'_>, index: u32) {
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        let news = entry.connection().take_news();
        let state = entry.state();
        if !news.is_empty() {
            self.on_news(host, index, news);
        }
        if matches!(state, State::Closed | State::TimeWait) && self.wind_up(host, index) {
            return;
        }
        if let Some(entry) = self.connections.get_at_mut(index) {
            entry.arm(&mut self.wheel, host.now, index);
        }
    }

    fn on_news(&mut self, host: &mut Host<'_>, index: u32, news: News) {
        if news.connected {
            self.on_connected(host, index);
        }
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        if news.confirmed {
            host.ip.confirm(host.now, &entry.route);
        }
        if news.suspect {
            host.ip.suspect(host.now, &entry.route);
        }
        if entry.owner != Owner::Application || news.told_confirmed().is_empty() {
            return;
        }
        let cause = entry.close_cause().filter(|_| news.closed);
        let Some(key) = self.connections.key_at(index).map(TcpKey) else {
            return;
        };
        if news.readable {
            host.tell(Event::TcpReadable(key));
        }
        if news.urgent {
            host.tell(Event::TcpUrgent(key));
        }
        if news.writable {
            host.tell(Event::TcpWritable(key));
        }
        if let Some(cause) = cause {
            host.tell(Event::TcpClosed(key, cause));
        }
    }

    /// The handshake is done: the one who has it is told.
    fn on_connected(&mut self, host: &mut Host<'_>, index: u32) {
        let Some(key) = self.connections.key_at(index) else {
            return;
        };
        let Some(entry) = self.connections.get_mut(key) else {
            return;
        };
        if let Some(cookie) = entry.connection().take_fast_open_cookie() {
            let remote = entry.tuple.remote.ip();
            self.fast_open_cache.put(remote, cookie);
        }
        match entry.owner {
            Owner::Application => host.tell(Event::TcpConnected(TcpKey(key))),
            Owner::Opening(listener) => {
                let Some(it) = self.listeners.get_mut(listener) else {
                    return;
                };
                entry.owner = Owner::Waiting(listener);
                it.ready.push_back(key);
                if it.ready.len() == 1 {
                    host.tell(Event::TcpAcceptable(ListenerKey(listener)));
                }
            }
            Owner::Waiting(_) | Owner::Nobody => {}
        }
    }

    /// The connection is over, or in TIME-WAIT. True when nothing of it is left.
    fn wind_up(&mut self, host: &mut Host<'_>, index: u32) -> bool {
        self.keep_time_wait(host, index);
        let Some(entry) = self.connections.get_at_mut(index) else {
            return true;
        };
        if !entry.connection().is_finished() {
            return false;
        }
        let is_kept = matches!(entry.owner, Owner::Application | Owner::Waiting(_));
        self.unlink(index);
        if !is_kept {
            self.remove(host, index);
        }
        !is_kept
    }

    /// Puts what TIME-WAIT needs into the connection's place in the table of ends.
    fn keep_time_wait(&mut self, host: &mut Host<'_>, index: u32) {
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        let Some(wait) = entry.connection().take_time_wait(host.now) else {
            return;
        };
        let (tuple, hash) = (entry.tuple, entry.hash);
        let is_linked = entry.linked;
        self.unlink(index);
        let most = host.config.max_time_waits;
        if !is_linked || most == 0 || wait.until <= host.now {
            return;
        }
        while self.waits.len() >= most
            && let Some(oldest) = self.waits.oldest()
        {
            self.end_time_wait(oldest);
        }
        let until = wait.until;
        let at = self.waits.insert(&tuple, hash, wait);
        self.ends.insert(hash, Target::TimeWait(at));
        let timer = self.wheel.insert(until, Target::TimeWait(at));
        if let Some(waiting) = self.waits.get_mut(at) {
            waiting.timer = Some(timer);
        }
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(&mut self, host: &mut Host<'_>) {
        while let Some((_, target)) = self.wheel.pop_expired(host.now) {
            match target {
                Target::Connection(index) => self.on_timer(host, index),
                Target::TimeWait(index) => self.on_time_wait_timer(host, index),
                Target::Incoming(index) => self.give_up(host, index),
                Target::Listener(_) | Target::Socket(_) => {}
            }
        }
        self.settle_all(host);
    }

    fn on_timer(&mut self, host: &mut Host<'_>, index: u32) {
        let Some(entry) = self.connections.get_at_mut(index) else {
            return;
        };
        entry.timer = None;
        entry.timer_at = Instant::MAX;
        let due = entry.connection().wake_at();
        if due <= host.now {
            entry.connection().handle_timeout(&mut host.context());
            self.touch(index);
            return;
        }
        // A wake-up for nothing: all is acknowledged, or what is due was put off. It sleeps if it has
        // been silent for long enough.
        let mut next = due;
        match entry.rest_at() {
            Some(at) if at <= host.now && !entry.touched && !entry.queued => {
                let shared = &mut *host.shared;
                entry.sleep(&mut shared.chunks, &shared.budget);
            }
            Some(at) => next = next.min(at.max(host.now + TIMER_TICK)),
            None => {}
        }
        entry.wake_at(&mut self.wheel, index, next);
    }

    fn on_time_wait_timer(&mut self, host: &Host<'_>, index: u32) {
        let Some(waiting) = self.waits.get_mut(index) else {
            return;
        };
        let until = waiting.wait.until;
        if until > host.now {
            // It began anew with a repeated FIN (T119).
            waiting.timer = Some(self.wheel.insert(until, Target::TimeWait(index)));
        } else {
            waiting.timer = None;
            self.end_time_wait(index);
        }
    }
}
