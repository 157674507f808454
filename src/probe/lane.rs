//! One socket's part of a worker: the heartbeats that are about to leave there, and those whose
//! transmit timestamps are awaited.

use crate::model::{ClockAccuracy, Moment};
use crate::net::{Egress, Notice, Outbox};

use super::awaited::Awaited;
use super::fleet::Fleet;
use super::machine::{Machine, SocketId, SourcePort};
use super::timeline::Timeline;
use super::transmit::{Ticket, Transmit};

/// How much was read or sent in one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) datagrams: usize,
    /// Whether nothing is left to read or send.
    pub(super) all: bool,
}

/// The sending and receiving of a worker on one socket.
#[derive(Debug)]
pub(super) struct Lane {
    socket: SocketId,
    outbox: Outbox,
    /// The heartbeats in the outbox.
    tickets: Vec<Ticket>,
    /// Heartbeats whose transmit timestamps have not come yet.
    awaited: Awaited,
    /// Whether a heartbeat has ever left here.
    used: bool,
    /// The kernel's count of dropped datagrams as last reported, and the sum of its increases.
    reported_drops: u32,
    drops: u64,
}

impl Lane {
    /// A lane on this socket of the machine.
    pub(super) fn new(socket: SocketId) -> Self {
        Self {
            socket,
            outbox: Outbox::new(),
            tickets: Vec::with_capacity(Outbox::CAPACITY),
            awaited: Awaited::default(),
            used: false,
            reported_drops: 0,
            drops: 0,
        }
    }

    /// Its socket.
    pub(super) fn socket(&self) -> SocketId {
        self.socket
    }

    /// The machine has replaced its fresh socket by another.
    pub(super) fn becomes_previous(&mut self) {
        self.socket.port = SourcePort::Previous;
    }

    /// Datagrams that the kernel dropped because they were not read in time.
    pub(super) fn drops(&self) -> u64 {
        self.drops
    }

    /// Adds a heartbeat of `fleet` that leaves as `egress` says, at `leaving`, a time from a clock of
    /// this accuracy. Returns whether the batch is full.
    pub(super) fn push(
        &mut self,
        fleet: &Fleet,
        transmit: &Transmit,
        egress: &Egress,
        leaving: Moment,
        accuracy: ClockAccuracy,
    ) -> bool {
        let encode = |out: &mut _| fleet.encode(transmit, leaving.wall, accuracy, out);
        self.outbox.push_with(transmit.peer, egress, encode);
        self.tickets.push(transmit.ticket);
        self.outbox.is_full()
    }

    /// Sends the batch, whose heartbeats carry `leaving` as t1. Returns the size of the batch.
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
        let Self { socket, outbox, tickets, awaited, .. } = self;
        machine.send(*socket, outbox, |index, sent| match sent {
            Ok(id) => {
                fleet.handle_sent(tickets[index], leaving);
                if socket.port != SourcePort::Usual {
                    fleet.handle_detoured(tickets[index]);
                }
                awaited.push(id, tickets[index]);
            }
            Err(reason) => fleet.handle_unsent(tickets[index], reason, leaving),
        });
        tickets.clear();
        count
    }

    /// Passes transmit timestamps and ICMP errors to the fleet.
    pub(super) fn read_notices(
        &mut self,
        machine: &mut impl Machine,
        fleet: &mut Fleet,
        now: Moment,
    ) {
        let awaited = &mut self.awaited;
        machine.read_notices(self.socket, |notice| match notice {
            Notice::Transmitted { id, at } => {
                if let Some(ticket) = awaited.take(id) {
                    fleet.handle_transmitted(ticket, at);
                }
            }
            Notice::Icmp { peer, kind, quote } => fleet.handle_icmp(peer, &quote, kind, now),
        });
    }

    /// Passes all datagrams that have arrived until `now` to the fleet.
    pub(super) fn receive(
        &mut self,
        machine: &mut impl Machine,
        timeline: &Timeline,
        fleet: &mut Fleet,
        now: Moment,
    ) -> Moved {
        let mut total = 0;
        loop {
            let received = machine.receive(self.socket);
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
                    let dropped = u64::from(reported.wrapping_sub(self.reported_drops));
                    if dropped > 0 {
                        self.drops += dropped;
                        fleet.handle_drops(dropped, now.mono);
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

    /// Whether no heartbeat has ever left here, so that nothing is expected to arrive.
    pub(super) fn is_unused(&self) -> bool {
        !self.used
    }
}
