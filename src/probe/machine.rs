//! The machine that a worker runs on: two clocks, and UDP sockets for each address family.
//!
//! The worker's round is a synchronous function over a [`Machine`]: the real one,
//! [`Sockets`](super::sockets::Sockets), or in tests/simulation one whose time and network are
//! simulated. The choice is made at compile time, so that the abstraction costs nothing.

use std::net::SocketAddr;

use crate::model::{ClockAccuracy, InterfaceName, Moment, Mono, UnsentReason};
use crate::net::{Datagram, Notice, Outbox};

/// An address family. A machine has sockets of those that it supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of `address`.
    #[must_use]
    pub fn of(address: SocketAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Its index in a table with one entry for each family.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Which source port a heartbeat leaves from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourcePort {
    /// The one of all targets that are not [searching](Machine::renew).
    Usual,
    /// The newest additional one.
    Fresh,
    /// The fresh one before that.
    Previous,
}

impl SourcePort {
    /// All source ports.
    pub const ALL: [Self; 3] = [Self::Usual, Self::Fresh, Self::Previous];

    /// Its index in a table with one entry for each source port.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A socket of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId {
    /// The family of its addresses.
    pub family: Family,
    /// Its port.
    pub port: SourcePort,
}

impl SocketId {
    /// The usual socket of `family`.
    #[must_use]
    pub const fn usual(family: Family) -> Self {
        Self { family, port: SourcePort::Usual }
    }
}

/// The machine that a worker runs on. No call waits.
///
/// A worker never uses a socket of a family for which [`has`](Self::has) is false, nor an additional
/// socket that is not open.
pub trait Machine {
    /// Both clocks, now.
    fn now(&mut self) -> Moment;

    /// How far the wall clock may be off at `now`, or a few seconds before.
    fn clock_accuracy(&mut self, now: Mono) -> ClockAccuracy;

    /// Whether there is a usual socket of this family; the answer never changes.
    fn has(&self, family: Family) -> bool;

    /// Opens a socket of `family` at another port, which is the fresh one from now on. If there was
    /// a fresh one, it becomes the previous one; there must be no previous one then. False if no
    /// socket can be opened; nothing has changed then.
    fn renew(&mut self, family: Family) -> bool;

    /// Closes an additional socket.
    fn close(&mut self, socket: SocketId);

    /// The number of the network interface `name` at `now`; `None` if there is no such interface.
    fn interface(&mut self, name: InterfaceName, now: Mono) -> Option<u32>;

    /// Sends the datagrams in `outbox` from `socket`, and empties `outbox`.
    ///
    /// `done` is called once for each datagram, in the order in which they were pushed, with its
    /// index and either the id that [`Notice::Transmitted`] will carry or the reason why it could
    /// not leave. The ids of a socket count upwards, modulo 2³².
    fn send(
        &mut self,
        socket: SocketId,
        outbox: &mut Outbox,
        done: impl FnMut(usize, Result<u32, UnsentReason>),
    );

    /// Reads datagrams that have arrived on `socket`, in the order of their arrival, and returns how
    /// many; 0 if none waits. [`received`](Self::received) gives them.
    fn receive(&mut self, socket: SocketId) -> usize;

    /// The datagrams that the last [`receive`](Self::receive) read.
    fn received(&self) -> impl Iterator<Item = Datagram<'_>>;

    /// Passes every notice that waits on the error queue of `socket` to `each`.
    fn read_notices(&mut self, socket: SocketId, each: impl FnMut(Notice<'_>));

    /// Watches the sockets: from now on, a datagram that arrives or is already waiting ends a
    /// sleep. Notices do not end a sleep.
    ///
    /// A datagram ends only one sleep, so everything must be read before the next sleep. False if
    /// the system has no descriptor or no watch left; then nothing ends a sleep.
    fn watch(&mut self) -> bool;

    /// Ends the watch, because it costs kernel time for every datagram.
    fn stop_watching(&mut self);
}
