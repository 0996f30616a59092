//! Interfaces, sockets and connections of one host: what the rest of the crate is assembled into.
//!
//! | file | what it is |
//! |---|---|
//! | `config`, `keys`, `event`, `error`, `counters`, `stats` | the words of the public interface |
//! | `secret`, `demux` | keyed hashes, and the one look-up that finds a segment's connection |

mod config;
mod counters;
pub(crate) mod demux;
mod error;
mod event;
pub(crate) mod host;
mod interfaces;
mod keys;
pub(crate) mod ports;
mod rate;
pub(crate) mod secret;
mod sink;
mod stats;
mod tcp;
mod udp;

pub use config::{Config, ConnectConfig, ListenConfig, SynCookies, UdpConfig};
pub use counters::Counters;
pub use error::{BindError, ConnectError, Gone, Refusal, UdpSendError};
pub use event::{AddressState, Event, Timer};
pub use keys::{IncomingKey, ListenerKey, TcpKey, UdpKey};
pub use stats::StackStats;

use std::collections::VecDeque;

use weir_core::budget::Budget;
use weir_core::buf::Chunks;
use weir_core::limits::OutOfRange;
use weir_core::rng::{self, Rng};
use weir_core::time::Instant;
use weir_core::trace::{Level, Tracer};

use self::host::{Host, Shared};
use self::secret::Spread;
use self::tcp::Tcp;
use crate::device::{InterfaceId, Offload};
use crate::ip::{Arrived, IcmpError, IcmpKind, Ip, IpEvent, LOOPBACK, Undelivered};
use crate::limits::MAX_LOOPBACK_FRAMES;
use crate::transmit::TransmitBuf;
use crate::udp::Sockets;
use crate::wire::protocol;

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
    tcp: Tcp,
    udp: Sockets,
    shared: Shared,
    /// The latest time that it was told.
    now: Instant,
    /// Where packets are put together that came in fragments.
    scratch: Vec<u8>,
    /// A packet that the stack sent to itself.
    looped: Vec<u8>,
    /// UDP fills the next batch before TCP does: they take turns.
    udp_first: bool,
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
        let ample = usize::try_from(config.memory / 4).unwrap_or(usize::MAX);
        Ok(Stack {
            ip: Ip::new(now, rng::fork(&mut rng)),
            tcp: Tcp::new(&mut rng, now),
            udp: Sockets::default(),
            shared: Shared {
                chunks: Chunks::new(ample),
                budget: parent.child_in_blocks("tcpip", config.memory, 64 * 1024),
                spread: Spread::new(&mut rng),
                rng,
                counters: Counters::default(),
                tracer: Tracer::off(),
                events: VecDeque::new(),
                way: None,
            },
            config,
            now,
            scratch: Vec::new(),
            looped: Vec::new(),
            udp_first: false,
        })
    }

    /// Has events reported from here on, for all connections.
    pub fn set_tracer(&mut self, tracer: Tracer) {
        self.ip.notes.listen(&tracer);
        self.shared.tracer = tracer;
    }

    /// Takes one frame from a device. A peer's fault is counted and never an error.
    #[inline]
    pub fn handle_input(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &[u8],
        offload: Offload,
    ) {
        self.now = self.now.max(now);
        self.take(interface, frame, offload);
    }

    fn take(&mut self, interface: InterfaceId, frame: &[u8], offload: Offload) {
        if let Some(packet) = self.ip.take_usual(interface, frame, offload) {
            let (tcp, udp, mut host) = self.parts();
            if packet.protocol == protocol::TCP {
                tcp.handle(&mut host, &packet);
            } else {
                udp.handle(&mut host, &packet);
            }
        } else {
            self.take_any(interface, frame, offload);
        }
    }

    fn take_any(&mut self, interface: InterfaceId, frame: &[u8], offload: Offload) {
        let arrived = self
            .ip
            .handle_frame(self.now, interface, frame, offload, &mut self.scratch);
        let Some(arrived) = arrived else {
            return self.pass_notes();
        };
        let mut host = Host {
            now: self.now,
            config: &self.config,
            ip: &mut self.ip,
            shared: &mut self.shared,
        };
        match arrived {
            Arrived::Packet(packet) => match packet.protocol {
                protocol::TCP => self.tcp.handle(&mut host, &packet),
                protocol::UDP => self.udp.handle(&mut host, &packet),
                _ => {}
            },
            Arrived::Error(error) => match error.protocol {
                protocol::TCP => self.tcp.on_icmp(&mut host, &error),
                protocol::UDP => self.udp.on_icmp(&mut host, &error),
                _ => {}
            },
        }
    }

    /// Does what is due by `now`. A call too many does nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.ip.handle_timeout(self.now);
        self.pass_notes();
        let (tcp, _, mut host) = self.parts();
        tcp.handle_timeout(&mut host);
    }

    /// When [`handle_timeout`](Stack::handle_timeout) is to be called next at the latest, and why. It may
    /// be earlier than anything is due: then the call does nothing and the answer becomes more exact.
    /// To be asked when [`poll_transmit`](Stack::poll_transmit) has nothing more to give.
    #[inline]
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, Timer)> {
        let internet = self.ip.poll_timeout();
        let internet = internet.map(|(at, _)| (at, Timer::Internet));
        let connection = self.tcp.poll_timeout().map(|at| (at, Timer::Connection));
        match (internet, connection) {
            (Some(internet), Some(connection)) if connection.0 < internet.0 => Some(connection),
            (None, connection) => connection,
            (internet, _) => internet,
        }
    }

    /// The next piece of news.
    #[inline]
    pub fn poll_event(&mut self) -> Option<Event> {
        self.settle();
        self.shared.events.pop_front()
    }

    /// Adds frames that are to be sent to `out`. True when there are more than fit: it is to be called
    /// again when those were sent.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut TransmitBuf) -> bool {
        self.now = self.now.max(now);
        self.settle();
        if !self.wants_transmit() && !self.ip.has_looped() {
            return false;
        }
        if self.fill(out) {
            return true;
        }
        self.ip.has_looped() && self.fill_looped(out)
    }

    /// Takes what the stack sent to itself, and fills the batch with what that brings.
    #[cold]
    fn fill_looped(&mut self, out: &mut TransmitBuf) -> bool {
        let mut looped = 0;
        loop {
            let before = looped;
            while looped < MAX_LOOPBACK_FRAMES && self.take_looped() {
                looped = looped.saturating_add(1);
            }
            if looped == before {
                return false;
            }
            self.settle();
            if looped >= MAX_LOOPBACK_FRAMES || self.fill(out) {
                return true;
            }
        }
    }

    /// Fills the batch. True when there is more than fits.
    fn fill(&mut self, out: &mut TransmitBuf) -> bool {
        let mut more = self.ip.poll_transmit(self.now, out);
        self.udp_first = !self.udp_first;
        let udp_first = self.udp_first;
        let (tcp, udp, mut host) = self.parts();
        if udp_first && udp.wants_transmit() {
            more |= udp.poll_transmit(&mut host, out);
        }
        more |= tcp.poll_transmit(&mut host, out);
        if !udp_first && udp.wants_transmit() {
            more |= udp.poll_transmit(&mut host, out);
        }
        self.pass_notes();
        // What was sent may have to ask for its neighbour first.
        more | self.ip.poll_transmit(self.now, out)
    }

    /// Takes one frame that the stack sent to itself (T32). False when there is none.
    fn take_looped(&mut self) -> bool {
        let mut frame = core::mem::take(&mut self.looped);
        let offload = self.ip.next_loopback(&mut frame);
        if let Some(offload) = offload {
            self.take(LOOPBACK, &frame, offload);
        }
        self.looped = frame;
        offload.is_some()
    }

    /// Passes on to the tracer what the internet layer has to tell.
    #[inline]
    fn pass_notes(&mut self) {
        if !self.ip.notes.is_empty() {
            self.tell_notes();
        }
    }

    #[cold]
    fn tell_notes(&mut self) {
        while let Some(event) = self.ip.notes.pop() {
            let tracer = &mut self.shared.tracer;
            match event.level() {
                Level::Event => tracer.emit(self.now, || event),
                Level::Frame => tracer.emit_detail(self.now, || event),
            }
        }
    }

    /// Brings everything up to what has happened.
    #[inline]
    fn settle(&mut self) {
        self.pass_notes();
        // Asked before and after every batch, and by who waits for events.
        if self.tcp.has_touched() || self.ip.has_event() || self.tcp.connections.is_empty() {
            self.settle_now();
        }
    }

    fn settle_now(&mut self) {
        while let Some(event) = self.ip.poll_event() {
            self.on_ip_event(event);
        }
        if self.tcp.has_touched() {
            let (tcp, _, mut host) = self.parts();
            tcp.settle_all(&mut host);
        }
        if self.tcp.connections.is_empty() {
            self.settle_idle();
        }
    }

    /// There is no connection: what was taken in blocks is of more use to others.
    #[cold]
    fn settle_idle(&mut self) {
        if self.tcp.time_waits() == 0 && self.tcp.attempts() == 0 && self.udp.len() == 0 {
            self.shared.budget.trim();
        }
    }

    fn on_ip_event(&mut self, event: IpEvent) {
        let (interface, address, state) = match event {
            IpEvent::AddressReady { interface, address } => {
                (interface, address, AddressState::Ready)
            }
            IpEvent::AddressConflict {
                interface,
                address,
                lost: true,
            } => (interface, address, AddressState::Conflict),
            IpEvent::AddressExpired { interface, address } => {
                (interface, address, AddressState::Gone)
            }
            IpEvent::Undelivered(lost) => return self.on_undelivered(&lost),
            // Connections see a new MTU, and that a neighbour is lost, when they send next: their
            // routes are not current any more.
            IpEvent::PathMtu { .. }
            | IpEvent::NeighborFailed { .. }
            | IpEvent::AddressConflict { .. } => return,
        };
        let (tcp, _, mut host) = self.parts();
        if state != AddressState::Ready {
            tcp.on_address_gone(&mut host, address);
        }
        host.tell(Event::Address {
            interface,
            address,
            state,
        });
    }

    /// A packet is lost, its next hop being silent: whoever sent it is told.
    fn on_undelivered(&mut self, lost: &Undelivered) {
        let (tcp, udp, mut host) = self.parts();
        match lost.protocol {
            protocol::TCP => tcp.on_undelivered(&mut host, lost),
            protocol::UDP => {
                let error = IcmpError {
                    kind: IcmpKind::HostUnreachable,
                    src: lost.src,
                    dst: lost.dst,
                    protocol: lost.protocol,
                    size: 0,
                    quoted: &lost.quoted,
                };
                udp.on_icmp(&mut host, &error);
            }
            _ => {}
        }
    }

    /// TCP, UDP, and the stack around them.
    #[inline]
    fn parts(&mut self) -> (&mut Tcp, &mut Sockets, Host<'_>) {
        let host = Host {
            now: self.now,
            config: &self.config,
            ip: &mut self.ip,
            shared: &mut self.shared,
        };
        (&mut self.tcp, &mut self.udp, host)
    }

    /// True when [`poll_transmit`](Stack::poll_transmit) may have something to add: a driver that
    /// sleeps is woken after a call only then. It may be true in vain, and is never false in vain. O(1).
    #[inline]
    #[must_use]
    pub fn wants_transmit(&self) -> bool {
        self.tcp.wants_transmit() || self.udp.wants_transmit() || self.ip.wants_transmit()
    }

    /// What the stack counted and holds.
    #[must_use]
    pub fn stats(&self) -> StackStats {
        StackStats {
            counters: self.shared.counters.clone(),
            connections: self.tcp.connections.len(),
            half_open: self.tcp.half_open(),
            orphans: self.tcp.orphans(),
            time_waits: self.tcp.time_waits(),
            listeners: self.tcp.listeners.len(),
            incoming: self.tcp.attempts(),
            udp_sockets: self.udp.len(),
            memory: self.shared.budget.used(),
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
