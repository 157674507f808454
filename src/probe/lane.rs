//! One socket of a worker: heartbeats of one address family leave and answers arrive.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use crate::model::Stamp;
use crate::net::{self, BindError, Inbox, Notice, Options, Outbox, Readiness, Socket};
use crate::wire;

use super::awaited::Awaited;
use super::fleet::Fleet;
use super::timeline::Timeline;
use super::transmit::{Ticket, Transmit};

/// What a heartbeat takes of a receive buffer, in octets of `SO_RCVBUF`: its reply and its
/// transmit timestamp are charged 768 octets each, of twice what was asked for (socket(7)).
const CHARGE: f64 = 768.0;

/// The buffer that every system grants (sysctl `net.core.rmem_default`), in octets.
const USUAL_BUFFER: usize = 212_992;

/// A datagram longer than any protocol's is known by being cut off.
const _: () = assert!(Inbox::ROOM == wire::MAX_DATAGRAM);

/// Which addresses a lane carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    fn wildcard(self) -> SocketAddr {
        let ip = match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        SocketAddr::new(ip, 0)
    }
}

/// What was read or sent in one round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    pub(super) datagrams: usize,
    /// Whether nothing was left.
    pub(super) all: bool,
}

/// A socket, what is about to leave on it, and what is known of what has left.
#[derive(Debug)]
pub(super) struct Lane {
    family: Family,
    socket: Socket,
    /// None while nobody waits for it.
    readiness: Option<Readiness>,
    outbox: Outbox,
    /// Whose the datagrams in the outbox are.
    tickets: Vec<Ticket>,
    /// Whose transmit timestamps are still to come.
    awaited: Awaited,
    /// Whether a heartbeat has ever left here.
    used: bool,
    /// The kernel's count of dropped datagrams as last told, and what it has come to in all.
    told_drops: u32,
    drops: u64,
}

impl Lane {
    /// Opens a socket for `rate` heartbeats a second; to be called within the runtime that will
    /// drive it.
    pub(super) fn open(family: Family, rate: f64) -> Result<Self, LaneError> {
        let buffer = buffer(rate);
        let options = Options {
            receive_buffer: buffer,
            send_buffer: buffer,
            transmit_stamps: true,
            icmp_errors: true,
            ..Options::default()
        };
        let socket = Socket::bind(family.wildcard(), &options)?;
        advise(&socket, buffer);
        Ok(Self {
            family,
            readiness: Some(Readiness::of(&socket)?),
            socket,
            outbox: Outbox::new(),
            tickets: Vec::with_capacity(Outbox::CAPACITY),
            awaited: Awaited::default(),
            used: false,
            told_drops: 0,
            drops: 0,
        })
    }

    /// Whether heartbeats to `peer` leave here.
    pub(super) fn carries(&self, peer: SocketAddr) -> bool {
        peer.is_ipv4() == (self.family == Family::V4)
    }

    /// Datagrams that the kernel dropped because nobody read them in time.
    pub(super) fn drops(&self) -> u64 {
        self.drops
    }

    /// Adds a heartbeat that leaves at `leaving`, and says whether the batch is full.
    pub(super) fn push(&mut self, transmit: &Transmit, leaving: Stamp) -> bool {
        let request = transmit.request(leaving.wall);
        self.outbox.push(transmit.peer, None, |out| transmit.protocol.encode(&request, out));
        self.tickets.push(transmit.ticket);
        self.outbox.is_full()
    }

    /// Sends the batch, whose heartbeats carry `leaving` as t1, and says how many there were.
    pub(super) fn send(&mut self, fleet: &mut Fleet, leaving: Stamp) -> usize {
        let count = self.tickets.len();
        if count == 0 {
            return 0;
        }
        self.used = true;
        let Self { socket, outbox, tickets, awaited, .. } = self;
        socket.send(outbox, |index, sent| match sent {
            Ok(id) => {
                fleet.handle_sent(tickets[index], leaving);
                awaited.push(id, tickets[index]);
            }
            Err(error) => fleet.handle_unsent(tickets[index], error.reason(), leaving),
        });
        tickets.clear();
        count
    }

    /// Hands in what the kernel has learned about heartbeats that left earlier.
    pub(super) fn read_notices(&mut self, fleet: &mut Fleet, now: Stamp) {
        let Self { socket, awaited, .. } = self;
        socket.notices(|notice| match notice {
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
        inbox: &mut Inbox,
        timeline: &Timeline,
        fleet: &mut Fleet,
        now: Stamp,
    ) -> Moved {
        let mut total = 0;
        loop {
            // Whatever error an open socket has, the heartbeats in flight will be settled by their
            // timeouts.
            let Ok(received) = self.socket.receive(inbox) else {
                return Moved { datagrams: total, all: true };
            };
            total += received;
            let read = net::now();
            let mut newest = now.mono;
            for datagram in inbox.iter() {
                let arrival = timeline.arrival(read, datagram.received, datagram.ttl);
                newest = arrival.at;
                if let Some(told) = datagram.drops {
                    self.drops += u64::from(told.wrapping_sub(self.told_drops));
                    if told != self.told_drops {
                        fleet.handle_drops(now.mono);
                    }
                    self.told_drops = told;
                }
                if datagram.truncated {
                    fleet.handle_oversized(datagram.peer, &arrival);
                } else {
                    fleet.handle_datagram(datagram.peer, datagram.payload, &arrival);
                }
            }
            if received == 0 || newest > now.mono {
                return Moved { datagrams: total, all: received == 0 };
            }
        }
    }

    /// Whether there is something new to read; if not, the task is woken once there is.
    ///
    /// To be asked while the socket is [watched](Self::watch); else never ready.
    pub(super) fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(readiness) = &self.readiness else { return Poll::Pending };
        readiness.poll_readable(context).map(|_| ())
    }

    /// Has the kernel tell of what arrives, what is there already among it (epoll(7)); false where
    /// the system has no descriptor or watch to give at present.
    pub(super) fn watch(&mut self) -> bool {
        if self.readiness.is_none() {
            self.readiness = Readiness::of(&self.socket).ok();
        }
        self.readiness.is_some()
    }

    /// Spares the kernel telling of every datagram and timestamp, until [`watch`](Self::watch).
    pub(super) fn stop_watching(&mut self) {
        self.readiness = None;
    }

    /// Whether nothing is to be expected, as nothing has ever left here.
    pub(super) fn is_unused(&self) -> bool {
        !self.used
    }
}

/// The buffer for what arrives and leaves in half a second, in octets; 0 where the system's default
/// is enough.
///
/// So long a probe may be held up, with everything that is due leaving at once afterwards.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and setsockopt(2) grants what the system allows"
)]
fn buffer(rate: f64) -> usize {
    let wanted = (rate * 0.5 * CHARGE) as usize;
    if wanted <= USUAL_BUFFER { 0 } else { wanted.min(i32::MAX as usize / 2) }
}

/// Says what to do where the system grants less buffer than is wanted.
fn advise(socket: &Socket, wanted: usize) {
    let Ok(granted) = socket.receive_buffer() else { return };
    if granted < wanted {
        tracing::warn!(
            granted,
            wanted,
            "replies may be dropped when the probe is held up: allow larger socket buffers by \
             sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}, or run with \
             CAP_NET_ADMIN"
        );
    }
}

/// A lane that could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum LaneError {
    /// The socket could not be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The runtime did not take it.
    #[error("cannot watch a socket")]
    Watch(#[from] io::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_hold_half_a_second_and_small_fleets_ask_for_nothing() {
        assert_eq!(buffer(500.0), 0);
        assert_eq!(buffer(100_000.0), 38_400_000);
        assert_eq!(buffer(f64::INFINITY), i32::MAX as usize / 2);
    }
}
