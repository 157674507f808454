//! The probe: sessions on real sockets.
//!
//! [`Probe::start`] takes a configuration and begins; [`Probe::apply`] changes what is probed;
//! [`Event`]s tell what happens, and [`Probe::sample`] gives the figures of a moment.
//!
//! Identity is not position. Outside, a target is known by its name; inside, by a
//! [`TargetId`](crate::model::TargetId), which is a slot and a generation. Only the `slab` knows
//! where in memory a target lies. Whatever outlives a target (a heartbeat's ticket, a transmit
//! timestamp, an answer about a name, a scrape) carries the identity of a target that is gone, is
//! recognised by it, and touches no other target.
//!
//! The set of targets is data: `plan` compares two sets by name, and everything that changes targets
//! goes this way, the start as well.
//!
//! In the order of a heartbeat's way:
//!
//! - `placement`: which worker has a target, and when in its interval it is probed;
//! - [`Worker`]: the round of one thread, synchronous, on any [`Machine`];
//! - `sockets`: the real machine, and the loop that drives a worker on it;
//! - [`Fleet`]: the targets of one worker and their agenda, pure;
//! - `slab`, `watched`: the targets in memory, found by identity, and one of them;
//! - `transmit`: a heartbeat on its way to the network;
//! - `lane`: what is to leave on a socket, and what has left;
//! - `routes`: from a datagram to the target it is for;
//! - `awaited`: from a transmit timestamp to the heartbeat that it is of;
//! - `timeline`: kernel timestamps on the monotonic clock;
//! - `event`: what is reported of it.
//!
//! In the order in which the targets come to be changed:
//!
//! - [`Probe`], in `coordinator`: the whole of it, with its `options`;
//! - `plan`: from one set of targets to another, by name, pure;
//! - `roster`: which worker has which target, and by which identity;
//! - `names`: name resolution, beside all this;
//! - `crew`, `command`: the workers, and what is asked of them;
//! - `error`: why it cannot start or be changed;
//! - `applying`: changes, carried out some in each round;
//! - `named`: which targets of a worker have which name.
//!
//! In the order in which the probe is asked for figures:
//!
//! - `sampling`: what is asked, and how the workers' answers are put together;
//! - `gathering`: what of that is about all targets, answered little by little.

mod applying;
mod awaited;
mod command;
mod coordinator;
mod crew;
mod error;
mod event;
mod fleet;
mod gathering;
mod lane;
mod machine;
mod named;
mod names;
mod options;
mod placement;
mod plan;
mod roster;
mod routes;
mod sampling;
mod slab;
mod sockets;
mod timeline;
mod transmit;
mod watched;
mod worker;

#[cfg(test)]
mod tests;

pub use command::{Addressed, Command, Order, WorkerGlance, WorkerSample};
pub use coordinator::Probe;
pub use error::{ApplyError, StartError};
pub use event::{Detail, Event, Happening};
pub use fleet::Fleet;
pub use machine::{Family, Machine};
pub use options::{Begin, RunOptions};
pub use roster::{Applied, Roster, Succession};
pub use timeline::Timeline;
pub use transmit::{Ticket, Transmit};
pub use worker::{BUSY, Next, PAUSE, Worker};
