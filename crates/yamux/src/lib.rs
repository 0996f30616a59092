//! The yamux stream multiplexer as a sans-IO engine.
//!
//! Many streams over one ordered, reliable pipe of bytes, wire-compatible with the field's other
//! implementations of yamux. A [`Session`] is one end of the pipe: a state machine without sockets,
//! threads, a clock or randomness of its own, so every run of it can be replayed.
//!
//! ```
//! use bytes::Bytes;
//! use weir_core::{budget::Budget, rng::rng_from_seed, time::Instant};
//! use weir_yamux::{Config, Event, Input, Role, Session, TransmitBuf};
//!
//! let memory = Budget::root("process", 64 << 20);
//! let now = Instant::ZERO;
//! let session = |role| Session::new(role, Config::default(), &memory, rng_from_seed(1), now);
//! let (mut client, mut server) = (session(Role::Client)?, session(Role::Server)?);
//!
//! // A request with its end: one frame, no round trip before it.
//! let key = client.open(now)?;
//! client.write(now, key, &mut Bytes::from_static(b"ping?"))?;
//! client.finish(now, key);
//! let mut batch = TransmitBuf::new();
//! client.poll_transmit(now, &mut batch);
//! let mut slices = [std::io::IoSlice::new(&[]); 1];
//! assert_eq!(batch.fill_slices(&mut slices), 1);
//!
//! server.handle_input(now, Input::Data(Bytes::copy_from_slice(&slices[0])));
//! assert_eq!(server.poll_event(), Some(Event::Acceptable));
//! let inbound = server.accept(now).ok_or("no stream")?;
//! assert_eq!(server.read(now, inbound, usize::MAX)?.as_deref(), Some(&b"ping?"[..]));
//! assert_eq!(server.read(now, inbound, usize::MAX)?, None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Where the specification leaves a choice, the documentation of the item names the one made; the
//! rows `Y1`..`Y54` in comments are the behaviours that tests show.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]
#![cfg_attr(
    test,
    allow(clippy::arithmetic_side_effects, clippy::panic, reason = "tests")
)]

mod config;
mod deadlines;
mod error;
mod event;
mod ids;
pub mod limits;
mod outbox;
mod queue;
mod session;
mod state;
mod stream;
mod transmit;
pub mod wire;

pub use config::{Config, ConfigError, Role};
pub use error::{OpenError, ReadError, Violation, WriteError, code};
pub use event::{Event, Timer};
pub use session::{CarrierState, Half, Holds, Input, Session, SessionStats, StreamStats};
pub use state::{STATES, State, TRIGGERS, Trigger};
pub use transmit::TransmitBuf;
pub use weir_core::rtt::Rtt;
pub use weir_core::slab::Key;
