//! Interfaces, sockets and connections of one host: what the rest of the crate is assembled into.
//!
//! | file | what it is |
//! |---|---|
//! | `config`, `keys`, `event`, `error`, `counters`, `stats` | the words of the public interface |
//! | `secret`, `demux` | keyed hashes, and the one look-up that finds a segment's connection |

mod config;
mod counters;
#[allow(dead_code, reason = "used with the connections")]
mod demux;
mod error;
mod event;
mod interfaces;
mod keys;
#[allow(dead_code, reason = "used with the connections")]
mod secret;
mod stats;
mod tcp;
mod udp;

pub use config::{Config, ConnectConfig, ListenConfig, SynCookies, UdpConfig};
pub use counters::Counters;
pub use error::{BindError, ConnectError, Gone, UdpSendError};
pub use event::{AddressState, Event, Timer};
pub use keys::{IncomingKey, ListenerKey, TcpKey, UdpKey};
pub use stats::StackStats;

use std::collections::VecDeque;

use weir_core::budget::Budget;
use weir_core::limits::OutOfRange;
use weir_core::rng::{self, Rng};
use weir_core::time::Instant;
use weir_core::trace::Tracer;

use crate::device::{InterfaceId, Offload};
use crate::ip::Ip;
use crate::transmit::TransmitBuf;

/// One host's TCP/IP as a state machine without devices, clock or tasks.
///
/// # How it is driven
/// - [`handle_input`](Stack::handle_input) for every frame that a device gives, a batch of them
///   before the next step: what is to be acknowledged is acknowledged once for all.
/// - [`handle_timeout`](Stack::handle_timeout) when the time of
///   [`poll_timeout`](Stack::poll_timeout) has come; a call too many does nothing.
/// - [`poll_event`](Stack::poll_event) until there is none, after anything else was called.
/// - [`poll_transmit`](Stack::poll_transmit) after anything else was called, again while it says that
///   there is more; each time the frames go to their devices and the buffer is cleared.
///
/// # Time
/// `now` never goes back between calls. One reading of the clock a batch is enough.
///
/// # Keys
/// Keys are plain numbers with a generation. A call with a key that was let go does nothing, or
/// says so where it returns something.
pub struct Stack {
    config: Config,
    ip: Ip,
    budget: Budget,
    counters: Counters,
    tracer: Tracer,
    events: VecDeque<Event>,
    /// Where packets are put together that came in fragments.
    scratch: Vec<u8>,
}

impl Stack {
    /// A stack without interfaces but its own loopback. Its buffers are paid for out of `parent`, and
    /// hold no more than [`Config::memory`].
    ///
    /// # Errors
    /// A setting that is out of its range.
    pub fn new(
        config: Config,
        parent: &Budget,
        mut rng: Rng,
        now: Instant,
    ) -> Result<Stack, OutOfRange> {
        config.validate()?;
        Ok(Stack {
            ip: Ip::new(now, rng::fork(&mut rng)),
            budget: parent.child_in_blocks("tcpip", config.memory, 64 * 1024),
            config,
            counters: Counters::default(),
            tracer: Tracer::off(),
            events: VecDeque::new(),
            scratch: Vec::new(),
        })
    }

    /// Has events reported from here on, for all connections.
    pub fn set_tracer(&mut self, tracer: Tracer) {
        self.tracer = tracer;
    }

    /// Takes one frame from a device. A peer's fault is counted and never an error.
    pub fn handle_input(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &[u8],
        offload: Offload,
    ) {
        self.scratch.clear();
        let _arrived = self
            .ip
            .handle_frame(now, interface, frame, offload, &mut self.scratch);
    }

    /// Does what is due by `now`. A call too many does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.ip.handle_timeout(now);
    }

    /// When [`handle_timeout`](Stack::handle_timeout) is to be called next at the latest, and why. It may
    /// be earlier than anything is due: then the call does nothing and the answer becomes more exact.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let internet = self.ip.poll_timeout();
        internet.map(|(at, _)| (at, Timer::Internet))
    }

    /// The next piece of news.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Adds frames that are to be sent to `out`. True when there are more than fit: it is to be called
    /// again when those were sent.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut TransmitBuf) -> bool {
        self.ip.poll_transmit(now, out)
    }

    /// True when [`poll_transmit`](Stack::poll_transmit) may have something to add: a driver that
    /// sleeps is woken after a call only then. It may be true in vain, and is never false in vain. O(1).
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        // Nothing sends yet: transports that do say so here, and so does the internet layer.
        false
    }

    /// What the stack counted and holds.
    #[must_use]
    pub fn stats(&self) -> StackStats {
        StackStats {
            counters: self.counters.clone(),
            memory: self.budget.used(),
            ..StackStats::default()
        }
    }
}

impl core::fmt::Debug for Stack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stack")
            .field("config", &self.config)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
