//! Connections between two endpoints on `weir-sim`'s network: a campaign over many seeds that
//! checks everything after every step, and single cases with numbers of their own.
//!
//! | file | what it is |
//! |---|---|
//! | `plan.rs`, `draw.rs` | what a run does, and how it is drawn from its seed |
//! | `net.rs` | nodes, links and the address translator of a run |
//! | `host.rs` | an endpoint with its connections, driven as a driver drives them |
//! | `app.rs`, `stream.rs` | the application: it acts on events alone, and checks every byte |
//! | `audit.rs` | what must hold inside a connection after every step |
//! | `run.rs` | one run from its beginning to the empty tables at its end |
//! | `datagrams.rs` | what must hold for each datagram |
//! | `campaign.rs`, `cases.rs` | the tests |

mod app;
mod audit;
mod campaign;
mod cases;
mod datagrams;
mod draw;
mod host;
mod net;
mod plan;
mod run;
mod stream;
