//! The sockets of the probe's kernel: datagrams and notices wait here until the worker reads them.

use std::collections::{BTreeMap, VecDeque};

use udp_heartbeat::model::{Mono, Wall};

use crate::truth::{Delivered, Returned};

/// The id of a socket's first datagram, so that ids wrap early.
const FIRST_ID: u32 = u32::MAX - 20;

/// How many datagrams one call reads at most.
const BATCH: usize = 64;

/// A socket.
#[derive(Debug)]
pub(crate) struct Port {
    /// The number of the port.
    pub(crate) number: u16,
    /// When the last heartbeat that left from here times out.
    pub(crate) awaited: Mono,
    arrivals: VecDeque<Delivered>,
    /// How many datagrams may wait.
    room: usize,
    /// How many datagrams arrived when there was no room.
    drops: u32,
    /// The messages of the error queue, by the moment at which they arrive there.
    notices: BTreeMap<(Mono, u64), Pending>,
    noticed: u64,
    next_id: u32,
    /// Whether the socket is watched, and the arrival that ends the next sleep, if there is one.
    is_watched: bool,
    edge: Option<Mono>,
}

/// A message on its way to the error queue.
#[derive(Debug, Clone)]
pub(crate) enum Pending {
    Transmitted { id: u32, at: Wall, target: usize, sequence: u64 },
    Icmp(Returned),
}

impl Port {
    pub(crate) fn new(number: u16, room: usize) -> Self {
        Self {
            number,
            awaited: Mono::default(),
            arrivals: VecDeque::new(),
            room,
            drops: 0,
            notices: BTreeMap::new(),
            noticed: 0,
            next_id: FIRST_ID,
            is_watched: true,
            edge: None,
        }
    }

    /// A datagram arrives.
    pub(crate) fn arrive(&mut self, mut delivered: Delivered) {
        if self.arrivals.len() >= self.room {
            self.drops += 1;
            return;
        }
        delivered.drops = (self.drops > 0).then_some(self.drops);
        if self.is_watched {
            self.edge = self.edge.or(Some(delivered.at));
        }
        self.arrivals.push_back(delivered);
    }

    /// Removes the oldest datagrams that wait, at most [`BATCH`].
    pub(crate) fn read(&mut self) -> Vec<Delivered> {
        let count = self.arrivals.len().min(BATCH);
        self.arrivals.drain(..count).collect()
    }

    /// The id of the next datagram that is sent.
    pub(crate) fn take_id(&mut self) -> u32 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }

    /// A message comes to the error queue at `at`.
    pub(crate) fn notice(&mut self, at: Mono, pending: Pending) {
        self.notices.insert((at, self.noticed), pending);
        self.noticed += 1;
    }

    /// Removes the messages that have arrived at the error queue until `now`.
    pub(crate) fn read_notices(&mut self, now: Mono) -> Vec<Pending> {
        let later = self.notices.split_off(&(now, u64::MAX));
        std::mem::replace(&mut self.notices, later).into_values().collect()
    }

    /// Begins a watch at `now`, unless there is one.
    pub(crate) fn watch(&mut self, now: Mono) {
        if !self.is_watched {
            self.is_watched = true;
            self.edge = (!self.arrivals.is_empty()).then_some(now);
        }
    }

    pub(crate) fn stop_watching(&mut self) {
        self.is_watched = false;
        self.edge = None;
    }

    /// When the datagram arrived that ends the next sleep; `None` if there is none.
    pub(crate) fn edge(&self) -> Option<Mono> {
        self.edge
    }

    /// A sleep has ended: the datagram that ended it ends no other sleep.
    pub(crate) fn woken(&mut self) {
        self.edge = None;
    }
}
