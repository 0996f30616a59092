//! How a tunnel is told to end: first by and by, then at once.

use std::sync::Arc;

use tokio::sync::watch;

/// What a tunnel is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Phase {
    #[default]
    Run,
    Drain(String),
    Now(String),
}

/// A switch that ends a client or a server; clones are the same switch.
///
/// [`Shutdown::drain`] takes nothing new and lets what runs finish within the grace of the configuration;
/// [`Shutdown::now`] ends everything. Both are heard once and cannot be taken back.
#[derive(Debug, Clone, Default)]
pub struct Shutdown(Arc<watch::Sender<Phase>>);

impl Shutdown {
    /// A switch in its first position: run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Take nothing new and finish what runs. `reason` is told to the peers and logged on both sides.
    pub fn drain(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.send_if_modified(|phase| match phase {
            Phase::Run => {
                *phase = Phase::Drain(reason);
                true
            }
            _ => false,
        });
    }

    /// End everything at once, telling the peers why.
    pub fn now(&self, reason: impl Into<String>) {
        let reason = reason.into();
        self.0.send_if_modified(|phase| match phase {
            Phase::Now(_) => false,
            _ => {
                *phase = Phase::Now(reason);
                true
            }
        });
    }

    /// The reason once the end has been asked for, in either way.
    pub fn reason(&self) -> Option<String> {
        match &*self.0.borrow() {
            Phase::Run => None,
            Phase::Drain(reason) | Phase::Now(reason) => Some(reason.clone()),
        }
    }

    /// Waits for the end to be asked for, in either way.
    pub async fn requested(&self) -> String {
        self.wait(|phase| *phase != Phase::Run).await
    }

    /// Waits for the end to be asked for at once.
    pub async fn requested_now(&self) -> String {
        self.wait(|phase| matches!(phase, Phase::Now(_))).await
    }

    async fn wait(&self, wanted: impl FnMut(&Phase) -> bool) -> String {
        let mut phases = self.0.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        let _ = phases.wait_for(wanted).await;
        self.reason().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_of_each_step_is_kept() {
        let switch = Shutdown::new();
        assert_eq!(switch.reason(), None);
        switch.clone().drain("first");
        switch.drain("second");
        assert_eq!(switch.requested().await, "first");
        switch.now("third");
        switch.drain("fourth");
        switch.now("fifth");
        assert_eq!(switch.requested_now().await, "third");
        assert_eq!(switch.requested().await, "third");
    }
}
