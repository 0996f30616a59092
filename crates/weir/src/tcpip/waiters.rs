//! Tasks that wait for something that many may wait for.

use std::task::{Context, Waker};

/// Tasks remembered for one thing; the oldest is woken in vain to make room for one more.
const MOST: usize = 64;

/// Tasks that wait for one thing. All are woken when it happens, and look again.
#[derive(Debug, Default)]
pub(super) struct Waiters(Vec<Waker>);

impl Waiters {
    /// Remembers the task behind `cx`, once.
    pub(super) fn wait(&mut self, cx: &Context<'_>) {
        if self.0.iter().any(|waker| waker.will_wake(cx.waker())) {
            return;
        }
        if self.0.len() >= MOST {
            self.0.remove(0).wake();
        }
        self.0.push(cx.waker().clone());
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every task that waits; all are forgotten, and their memory goes with the last.
    pub(super) fn take(&mut self, woken: &mut Vec<Waker>) {
        woken.append(&mut self.0);
    }
}
