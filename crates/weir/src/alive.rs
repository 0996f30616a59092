//! How many connections still have something to say to their peers.

use std::sync::Arc;

use tokio::sync::watch;

/// Counts running tasks; clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alive(Arc<watch::Sender<usize>>);

/// One running task, for as long as it is held.
#[derive(Debug)]
pub(crate) struct Guard(Alive);

impl Alive {
    /// One more.
    pub(crate) fn enter(&self) -> Guard {
        self.0.send_modify(|count| *count = count.saturating_add(1));
        Guard(self.clone())
    }

    /// Waits until there is none.
    pub(crate) async fn none(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0
            .0
            .send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_wait_ends_with_the_last_one() {
        let alive = Alive::default();
        alive.none().await;
        let (first, second) = (alive.enter(), alive.enter());
        let waiting = tokio::spawn({
            let alive = alive.clone();
            async move { alive.none().await }
        });
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(second);
        waiting.await.unwrap();
    }
}
