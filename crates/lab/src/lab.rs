//! A running lab.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use weir_sim::LinkConfig;

use crate::config::LabConfig;
use crate::error::LabError;
use crate::state::{Direction, Shared};
use crate::stats::LabStats;
use crate::udp::{self, Socket};
use crate::{limits, tcp};

/// A running lab. It ends when this is dropped, with all of its flows and connections.
pub struct Lab {
    listening: SocketAddr,
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
    thread: Option<JoinHandle<()>>,
}

impl Lab {
    /// Starts a lab. Must be called within a tokio runtime with its drivers enabled.
    ///
    /// # Errors
    /// When the address cannot be bound, or a value of the configuration is out of its range.
    pub async fn start(config: LabConfig) -> Result<Self, LabError> {
        config.validate()?;
        let (outside, listener) = bind(&config).await?;
        let address = config.listen;
        let wrong = |source| LabError::Bind { address, source };
        let listening = outside.local_addr().map_err(wrong)?;
        let shared = Arc::new(Shared::new(config, outside)?);
        let thread = std::thread::Builder::new().name("weir-lab".to_owned());
        let delivering = Arc::clone(&shared);
        let thread = thread
            .spawn(move || delivering.deliver_until_stopped())
            .map_err(LabError::Thread)?;
        let mut tasks = vec![
            tokio::spawn(udp::serve_clients(Arc::clone(&shared))).abort_handle(),
            tokio::spawn(udp::end_idle_flows(Arc::clone(&shared))).abort_handle(),
        ];
        if let Some(listener) = listener {
            let serving = tcp::serve(Arc::clone(&shared), listener);
            tasks.push(tokio::spawn(serving).abort_handle());
        }
        Ok(Self {
            listening,
            shared,
            tasks,
            thread: Some(thread),
        })
    }

    /// Where clients connect to, UDP and TCP alike.
    #[must_use]
    pub fn listening(&self) -> SocketAddr {
        self.listening
    }

    /// What it did so far.
    #[must_use]
    pub fn stats(&self) -> LabStats {
        self.shared.lock().stats()
    }

    /// Gives all live UDP flows another port towards the server now, and with `address` another
    /// address of 127.0.0.0/8 too, which needs a server there.
    pub fn rebind(&self, address: bool) {
        udp::rebind_all(&self.shared, address);
    }

    /// Lets UDP vanish without a word from now on, or pass again. TCP is not touched.
    pub fn set_udp(&self, passes: bool) {
        let mut core = self.shared.lock();
        for direction in [Direction::ToServer, Direction::ToClient] {
            core.way(direction).link.set_down(!passes);
        }
    }

    /// Makes the two directions other links from now on, for UDP; connections of TCP keep what they
    /// have. What is on its way arrives as it would have.
    ///
    /// # Errors
    /// When a value is out of its range; a direction in order before it has changed then.
    pub fn reconfigure(
        &self,
        to_server: LinkConfig,
        to_client: LinkConfig,
    ) -> Result<(), LabError> {
        let mut core = self.shared.lock();
        for (name, direction, config) in [
            ("to server", Direction::ToServer, to_server),
            ("to client", Direction::ToClient, to_client),
        ] {
            let changed = core.way(direction).link.reconfigure(config);
            changed.map_err(|source| LabError::Direction {
                direction: name,
                source,
            })?;
        }
        Ok(())
    }

    /// Puts on disk what the recordings have so far; ending does so too.
    pub fn flush(&self) {
        self.shared.lock().flush();
    }

    /// Ends it, and says what it did.
    #[must_use]
    pub fn stop(self) -> LabStats {
        self.shared.stop();
        self.stats()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            // It has nothing left but to see that it was stopped.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lab")
            .field("listening", &self.listening)
            .field("to", &self.shared.config.to)
            .finish_non_exhaustive()
    }
}

/// One port for UDP and TCP.
async fn bind(config: &LabConfig) -> Result<(Socket, Option<TcpListener>), LabError> {
    let address = config.listen;
    let mut tries = 0;
    loop {
        tries += 1;
        let wrong = |source| LabError::Bind { address, source };
        let socket = Socket::bind(address).map_err(wrong)?;
        if !config.tcp {
            return Ok((socket, None));
        }
        let chosen = socket.local_addr().map_err(wrong)?;
        match TcpListener::bind(chosen).await {
            Ok(listener) => return Ok((socket, Some(listener))),
            // A port that the system chose for UDP may be taken for TCP.
            Err(_) if address.port() == 0 && tries < limits::PORTS => {}
            Err(source) => return Err(wrong(source)),
        }
    }
}
