//! The machine that a worker runs on: two clocks, and a UDP socket for each address family.
//!
//! The worker's round is a synchronous function over a [`Machine`]: the real one,
//! [`Sockets`](super::sockets::Sockets), or in tests/simulation one whose time and network are
//! simulated. The choice is made at compile time, so that the abstraction costs nothing.

use std::net::SocketAddr;

use crate::model::{ClockAccuracy, InterfaceName, Moment, Mono, UnsentReason};
use crate::net::{Datagram, Notice, Outbox};

/// An address family. A machine has one socket for each that it supports.
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

/// The machine that a worker runs on. No call waits.
///
/// A worker never uses the socket of a family for which [`has`](Self::has) is false.
pub trait Machine {
    /// Both clocks, now.
    fn now(&mut self) -> Moment;

    /// How far the wall clock may be off at `now`, or a few seconds before.
    fn clock_accuracy(&mut self, now: Mono) -> ClockAccuracy;

    /// Whether there is a socket of this family; the answer never changes.
    fn has(&self, family: Family) -> bool;

    /// The number of the network interface `name` at `now`; `None` if there is no such interface.
    fn interface(&mut self, name: InterfaceName, now: Mono) -> Option<u32>;

    /// Sends the datagrams in `outbox` from the socket of `family`, and empties `outbox`.
    ///
    /// `done` is called once for each datagram, in the order in which they were pushed, with its
    /// index and either the id that [`Notice::Transmitted`] will carry or the reason why it could
    /// not leave. The ids of a socket count upwards, modulo 2³².
    fn send(
        &mut self,
        family: Family,
        outbox: &mut Outbox,
        done: impl FnMut(usize, Result<u32, UnsentReason>),
    );

    /// Reads datagrams that have arrived on the socket of `family`, in the order of their arrival,
    /// and returns how many; 0 if none waits. [`received`](Self::received) gives them.
    fn receive(&mut self, family: Family) -> usize;

    /// The datagrams that the last [`receive`](Self::receive) read.
    fn received(&self) -> impl Iterator<Item = Datagram<'_>>;

    /// Passes every notice that waits on the error queue of the socket of `family` to `each`.
    fn read_notices(&mut self, family: Family, each: impl FnMut(Notice<'_>));

    /// Watches the sockets: from now on, a datagram that arrives or is already waiting ends a
    /// sleep. Notices do not end a sleep.
    ///
    /// A datagram ends only one sleep, so everything must be read before the next sleep. False if
    /// the system has no descriptor or no watch left; then nothing ends a sleep.
    fn watch(&mut self) -> bool;

    /// Ends the watch, because it costs kernel time for every datagram.
    fn stop_watching(&mut self);
}
