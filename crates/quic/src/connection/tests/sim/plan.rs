//! What a run does.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use weir_core::sched::Priority;
use weir_core::time::{Duration, Instant};
use weir_sim::LinkConfig;

use crate::config::TransportConfig;
use crate::wire::{Dir, Side, StreamId, Version};

/// Index of a side in pairs: the client's first.
pub(super) const fn of(side: Side) -> usize {
    match side {
        Side::Client => 0,
        Side::Server => 1,
    }
}

/// The code that streams are reset with.
pub(super) const RESET: u64 = 77;
/// The code that streams are stopped with.
pub(super) const STOP: u64 = 99;
/// The code of a connection that ends when all is done.
pub(super) const DONE: u64 = 7;
/// The code of a connection that ends at any moment.
pub(super) const ABRUPT: u64 = 13;

/// One stream of the workload.
#[derive(Clone, Debug)]
pub(super) struct StreamPlan {
    pub(super) id: StreamId,
    /// When it is opened, after the connection's start.
    pub(super) start: Duration,
    /// Bytes that the client and the server send.
    pub(super) size: [u64; 2],
    /// The sender resets it after so many bytes.
    pub(super) reset: [Option<u64>; 2],
    /// The receiver stops it after so many bytes.
    pub(super) stop: [Option<u64>; 2],
    pub(super) priority: Option<Priority>,
    /// Bytes that are written at once.
    pub(super) piece: usize,
}

impl StreamPlan {
    pub(super) fn new(id: StreamId, client: u64, server: u64) -> StreamPlan {
        StreamPlan {
            id,
            start: Duration::ZERO,
            size: [client, server],
            reset: [None; 2],
            stop: [None; 2],
            priority: None,
            piece: 16 * 1024,
        }
    }

    pub(super) fn sends(&self, side: Side) -> bool {
        self.id.dir() == Dir::Bi || self.id.initiator() == side
    }

    /// Whether it may be over before the other side hears of it: then it is not given to anybody.
    pub(super) fn may_vanish(&self) -> bool {
        let opener = of(self.id.initiator());
        self.reset[opener].is_some() && (self.id.dir() == Dir::Uni || self.stop[opener].is_some())
    }

    /// The byte at `offset` of what `side` sends.
    pub(super) fn byte(&self, side: Side, offset: u64) -> u8 {
        let x = offset
            .wrapping_add(self.id.0 << 20)
            .wrapping_add((of(side) as u64) << 50);
        (x.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
    }
}

/// What happens in the middle of a run.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// The translator forgets its mappings; the next are of another port, or another address too.
    Rebind,
    KeyUpdate(Side),
    /// The client goes over to its other address on purpose.
    Migrate,
    /// The client's address is another from one moment to the next.
    AddressChanged,
    /// The links carry only packets of so many bytes from now on.
    BlackHole(usize),
    /// Nothing passes for so long.
    Blackout(Duration),
    Ping(Side),
    /// The application closes with [`ABRUPT`].
    Close(Side),
}

/// Early data in the connection.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(super) enum Early {
    None,
    /// A connection before it brings the ticket; the server takes the data.
    Taken,
    /// The server knows nothing of the ticket.
    Rejected,
}

/// One run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) links: [LinkConfig; 2],
    pub(super) transport: [Arc<TransportConfig>; 2],
    pub(super) versions: [Vec<Version>; 2],
    pub(super) cid_len: [usize; 2],
    pub(super) segments: usize,
    pub(super) retry: bool,
    /// The client is behind a translator with so many addresses; 0: there is none.
    pub(super) nat: usize,
    /// The sockets tell at which address datagrams came in.
    pub(super) knows_local: bool,
    pub(super) early: Early,
    pub(super) streams: Vec<StreamPlan>,
    /// Datagrams that each side sends.
    pub(super) datagrams: [u32; 2],
    /// Each side reads only so many bytes every 20 ms.
    pub(super) slow: [Option<usize>; 2],
    pub(super) happenings: Vec<(Duration, Happening)>,
    /// Who closes when all is done.
    pub(super) closer: Side,
    /// Virtual time within which the run has to end.
    pub(super) limit: Duration,
}

impl Plan {
    /// A run on these links with the default settings and nothing to do.
    pub(super) fn quiet(links: [LinkConfig; 2]) -> Plan {
        Plan {
            links,
            transport: [Arc::default(), Arc::default()],
            versions: [
                vec![Version::V1, Version::V2],
                vec![Version::V1, Version::V2],
            ],
            cid_len: [8, 8],
            segments: 16,
            retry: false,
            nat: 0,
            knows_local: true,
            early: Early::None,
            streams: Vec::new(),
            datagrams: [0; 2],
            slow: [None; 2],
            happenings: Vec::new(),
            closer: Side::Client,
            limit: Duration::from_secs(60),
        }
    }

    /// The client fetches one answer of so many bytes.
    pub(super) fn fetch(link: LinkConfig, bytes: u64) -> Plan {
        let mut plan = Plan::quiet([link.clone(), link]);
        let id = StreamId::new(Side::Client, Dir::Bi, 0);
        plan.streams.push(StreamPlan::new(id, 20, bytes));
        plan
    }

    pub(super) fn configure(&mut self, change: impl Fn(&mut TransportConfig)) {
        for transport in &mut self.transport {
            change(Arc::make_mut(transport));
        }
    }

    pub(super) fn stream(&self, id: StreamId) -> Option<&StreamPlan> {
        self.streams.iter().find(|stream| stream.id == id)
    }

    pub(super) fn is_abrupt(&self) -> bool {
        let close = |(_, what): &(Duration, Happening)| matches!(what, Happening::Close(_));
        self.happenings.iter().any(close)
    }
}

/// What the two ends of a run know of each other beyond the network.
#[derive(Debug, Default)]
pub(super) struct Truth {
    /// Each application has done all of its part.
    pub(super) complete: [bool; 2],
    /// Datagrams that each side has received.
    pub(super) datagrams: [u32; 2],
    /// Handshakes that the server has begun.
    pub(super) accepted: u32,
    /// When the client asked for its main connection, and when each side had all.
    pub(super) began: Option<Instant>,
    pub(super) completed: [Option<Instant>; 2],
    pub(super) zero_rtt: Option<bool>,
    pub(super) migrations: u64,
    pub(super) key_updates: u64,
}

pub(super) type Shared = Rc<RefCell<Truth>>;

impl Plan {
    /// Whether every packet arrives.
    pub(super) fn is_reliable(&self) -> bool {
        let calm = |(_, what): &(Duration, Happening)| {
            matches!(
                what,
                Happening::KeyUpdate(_) | Happening::Ping(_) | Happening::Close(_)
            )
        };
        let clean = |link: &LinkConfig| *link == LinkConfig::with_delay(link.delay);
        self.links.iter().all(clean) && self.happenings.iter().all(calm)
    }
}
