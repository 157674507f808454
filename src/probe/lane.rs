//! One socket's part of a worker: heartbeats of one address family that are about to leave, and
//! what is known about those that have left.

use crate::model::Moment;
use crate::net::{Notice, Outbox};

use super::awaited::Awaited;
use super::fleet::Fleet;
use super::machine::{Family, Machine};
use super::timeline::Timeline;
use super::transmit::{Ticket, Transmit};

/// What was read or sent in one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) datagrams: usize,
    /// Whether nothing was left.
    pub(super) all: bool,
}

/// What is about to leave on a socket, and what is known of what has left.
#[derive(Debug)]
pub(super) struct Lane {
    family: Family,
    outbox: Outbox,
    /// The heartbeats in the outbox.
    tickets: Vec<Ticket>,
    /// Heartbeats whose transmit timestamps are still to come.
    awaited: Awaited,
    /// Whether a heartbeat has ever left here.
    used: bool,
    /// The kernel's count of dropped datagrams as last reported, and the sum of its increases.
    reported_drops: u32,
    drops: u64,
}

impl Lane {
    /// A lane on the machine's socket of this family.
    pub(super) fn new(family: Family) -> Self {
        Self {
            family,
            outbox: Outbox::new(),
            tickets: Vec::with_capacity(Outbox::CAPACITY),
            awaited: Awaited::default(),
            used: false,
            reported_drops: 0,
            drops: 0,
        }
    }

    /// Which addresses it carries heartbeats to.
    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// Datagrams that the kernel dropped because nobody read them in time.
    pub(super) fn drops(&self) -> u64 {
        self.drops
    }

    /// Adds a heartbeat of `fleet` that leaves at `leaving`, and says whether the batch is full.
    pub(super) fn push(&mut self, fleet: &Fleet, transmit: &Transmit, leaving: Moment) -> bool {
        self.outbox.push(transmit.peer, None, |out| fleet.encode(transmit, leaving.wall, out));
        self.tickets.push(transmit.ticket);
        self.outbox.is_full()
    }

    /// Sends the batch, whose heartbeats carry `leaving` as t1, and says how many there were.
    pub(super) fn send(
        &mut self,
        machine: &mut impl Machine,
        fleet: &mut Fleet,
        leaving: Moment,
    ) -> usize {
        let count = self.tickets.len();
        if count == 0 {
            return 0;
        }
        self.used = true;
        let Self { family, outbox, tickets, awaited, .. } = self;
        machine.send(*family, outbox, |index, sent| match sent {
            Ok(id) => {
                fleet.handle_sent(tickets[index], leaving);
                awaited.push(id, tickets[index]);
            }
            Err(reason) => fleet.handle_unsent(tickets[index], reason, leaving),
        });
        tickets.clear();
        count
    }

    /// Hands in what the kernel has learned about heartbeats that left earlier.
    pub(super) fn read_notices(
        &mut self,
        machine: &mut impl Machine,
        fleet: &mut Fleet,
        now: Moment,
    ) {
        let awaited = &mut self.awaited;
        machine.read_notices(self.family, |notice| match notice {
            Notice::Transmitted { id, at } => {
                if let Some(ticket) = awaited.take(id) {
                    fleet.handle_transmitted(ticket, at);
                }
            }
            Notice::Icmp { peer, kind, quote } => fleet.handle_icmp(peer, &quote, kind, now),
        });
    }

    /// Hands in what has arrived until `now`.
    pub(super) fn receive(
        &mut self,
        machine: &mut impl Machine,
        timeline: &Timeline,
        fleet: &mut Fleet,
        now: Moment,
    ) -> Moved {
        let mut total = 0;
        loop {
            let received = machine.receive(self.family);
            if received == 0 {
                return Moved { datagrams: total, all: true };
            }
            total += received;
            let read = machine.now();
            let mut newest = now.mono;
            for datagram in machine.received() {
                let arrival = timeline.arrival(read, datagram.received, datagram.ttl);
                newest = arrival.at;
                if let Some(reported) = datagram.drops {
                    self.drops += u64::from(reported.wrapping_sub(self.reported_drops));
                    if reported != self.reported_drops {
                        fleet.handle_drops(now.mono);
                    }
                    self.reported_drops = reported;
                }
                if datagram.truncated {
                    fleet.handle_oversized(datagram.peer, &arrival);
                } else {
                    fleet.handle_datagram(datagram.peer, datagram.payload, &arrival);
                }
            }
            if newest > now.mono {
                return Moved { datagrams: total, all: false };
            }
        }
    }

    /// Whether nothing is to be expected, as nothing has ever left here.
    pub(super) fn is_unused(&self) -> bool {
        !self.used
    }
}
