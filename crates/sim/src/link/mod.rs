//! One direction of a link, as a pure model: a packet goes in with the time, and out come the
//! times at which it arrives, or why it does not.
//!
//! The model knows no network and no clock. The simulator feeds it in virtual time, an impairing
//! proxy in real time.

mod config;
mod model;
mod stats;

pub use config::{EcnTreatment, GilbertElliott, LinkConfig, QueueLimit};
pub use model::LinkModel;
pub(crate) use model::transmission_time;
pub use stats::{DropReason, LinkStats};
