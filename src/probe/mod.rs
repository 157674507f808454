//! The probe: sessions on real sockets.
//!
//! [`Probe::start`] starts a probe with a configuration; [`Probe::apply`] changes its targets;
//! [`Event`]s report what happens, and [`Probe::sample`] returns the figures of a moment.
//!
//! Identity is not position. Outside, a target is known by its name; inside, by a
//! [`TargetId`](crate::model::TargetId), which is a slot and a generation. Only the `slab` knows
//! where in memory a target lies. Data that may outlive a target (a heartbeat's ticket, a transmit
//! timestamp, an answer about a name, a scrape) carries its identity. If the target has been
//! removed, that is recognised, and no other target is touched.
//!
//! The set of targets is data: `plan` compares two sets by name, and every change of targets goes
//! this way, including the start.
//!
//! In the order of a heartbeat's life:
//!
//! - `placement`: which worker has a target, and when in its interval it is probed;
//! - [`Worker`]: the round of one thread, synchronous, on any [`Machine`];
//! - `sockets`: the real machine, and the loop that drives a worker on it;
//! - [`Fleet`]: the targets of one worker and their agenda, pure;
//! - `slab`, `watched`: the targets in memory, found by identity, and a single target;
//! - `transmit`: a heartbeat on its way to the network;
//! - `egress`: how a heartbeat leaves, if its target has packet options;
//! - `trial`: which address of its name a target uses, pure;
//! - `lane`: sending and receiving on one socket;
//! - `routes`: from a datagram to the target it is for;
//! - `strays`: answers that come from another address;
//! - `unrouted`: targets that wait for a session number at their address;
//! - `awaited`: from a transmit timestamp to its heartbeat;
//! - `timeline`: kernel timestamps on the monotonic clock;
//! - `event`: the events that are reported.
//!
//! In the order of a change of targets:
//!
//! - [`Probe`], in `running`: the running probe, with its `options`;
//! - `coordinator`: what changes the targets, for a new configuration or new addresses;
//! - `expansion`, `kept`: the targets for the addresses of a name, pure;
//! - `plan`: from one set of targets to another, by name, pure;
//! - `roster`: which worker has which target, and by which identity;
//! - `names`, `pace`: name resolution, which never delays the rest, and when it is repeated;
//! - `crew`, `command`: the workers, and the commands to them;
//! - `error`: why a probe cannot start or be changed;
//! - `applying`: changes, some of which are carried out in each round;
//! - `named`: the targets of a worker by host name.
//!
//! In the order of a query:
//!
//! - `sampling`: the queries, and merging the workers' answers;
//! - `gathering`: queries about all targets, answered for some targets at a time.

mod applying;
mod awaited;
mod command;
mod coordinator;
mod crew;
mod detour;
mod egress;
mod error;
mod event;
mod expansion;
mod fleet;
mod fresh_ports;
mod gathering;
mod health;
mod kept;
mod lane;
mod machine;
mod named;
mod names;
mod options;
mod pace;
mod placement;
mod plan;
mod roster;
mod routes;
mod running;
mod sampling;
mod slab;
mod sockets;
mod strays;
mod timeline;
mod transmit;
mod trial;
mod unrouted;
mod watched;
mod worker;

#[cfg(test)]
mod tests;

pub use command::{Addressed, Command, Order, WorkerGlance, WorkerSample};
pub use error::{ApplyError, StartError};
pub use event::{Detail, Event, Happening, Move, PortChange};
pub use fleet::Fleet;
pub use health::{Health, Incidents};
pub use machine::{Family, Machine, SocketId, SourcePort};
pub use options::{Begin, RunOptions};
pub use roster::{Applied, Preview, Roster, Succession};
pub use running::Probe;
pub use timeline::Timeline;
pub use transmit::{Ticket, Transmit};
pub use worker::{BUSY, Next, PAUSE, Worker};
