//! How a running command is asked to stop: the first Ctrl-C or SIGTERM asks it to finish what is under
//! way, the second ends it at once.

use crate::out::{Failure, Outcome, say};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;
use weir::tunnel::Shutdown;

/// The signals that ask this process to stop, caught from the moment this is made.
#[derive(Debug)]
pub(crate) struct Signals {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes over Ctrl-C and SIGTERM. Must be called within a tokio runtime.
    #[cfg(unix)]
    pub(crate) fn catch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self {
            interrupt,
            terminate,
        })
    }

    /// Takes over Ctrl-C. Must be called within a tokio runtime.
    #[cfg(not(unix))]
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {})
    }

    /// Waits for the next request to stop, and says which it was. Cancel-safe.
    #[cfg(unix)]
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Waits for the next request to stop, and says which it was. Cancel-safe.
    #[cfg(not(unix))]
    pub(crate) async fn next(&mut self) -> &'static str {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    }
}

/// How a tunnel is asked to end: the first signal drains it, the second cuts it off.
#[derive(Debug)]
pub(crate) struct Ending {
    switch: Shutdown,
    cut: Arc<AtomicBool>,
    listening: JoinHandle<()>,
}

impl Ending {
    /// Takes over Ctrl-C and SIGTERM. Must be called within a tokio runtime.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let mut signals = Signals::catch()
            .map_err(|error| Failure::failed(format!("signals cannot be caught: {error}")))?;
        let (switch, cut) = (Shutdown::new(), Arc::new(AtomicBool::new(false)));
        let listening = tokio::spawn({
            let (switch, cut) = (switch.clone(), Arc::clone(&cut));
            async move {
                let name = signals.next().await;
                say(format_args!(
                    "{name}: finishing what runs; once more ends it at once"
                ));
                switch.drain(name);
                let name = signals.next().await;
                cut.store(true, Ordering::Relaxed);
                switch.now(name);
            }
        });
        Ok(Self {
            switch,
            cut,
            listening,
        })
    }

    /// The switch that the tunnel listens to.
    pub(crate) fn switch(&self) -> Shutdown {
        self.switch.clone()
    }

    /// How the command ended, once the tunnel has.
    pub(crate) fn outcome(&self) -> Outcome {
        if self.cut.load(Ordering::Relaxed) {
            return Err(Failure::failed(
                "ended at once, as asked: what still ran was cut off",
            ));
        }
        Ok(())
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.listening.abort();
    }
}
