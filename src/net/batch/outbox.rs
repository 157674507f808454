//! Datagrams that wait to be sent together.

use std::net::{IpAddr, SocketAddr};

use super::super::cmsg::Control;
use super::super::name::KernelAddress;
use super::mmsg::{BATCH, Packet};

/// Datagrams to be sent in one system call.
#[derive(Debug)]
pub struct Outbox {
    slots: Box<[Outgoing]>,
    len: usize,
}

/// One datagram to be sent.
#[derive(Debug, Clone)]
struct Outgoing {
    name: KernelAddress,
    control: Control,
    payload: Vec<u8>,
}

impl Outbox {
    /// The maximum number of datagrams.
    pub const CAPACITY: usize = BATCH;

    /// How many octets of each datagram there is room for at the start. A place grows with the
    /// first longer datagram in it and keeps its memory: at most 64 KiB for each of
    /// [`CAPACITY`](Self::CAPACITY) places, 4 MiB.
    pub const ROOM: usize = 1024;

    /// An empty outbox.
    #[must_use]
    pub fn new() -> Self {
        let empty = || Outgoing {
            name: KernelAddress::EMPTY,
            control: Control::EMPTY,
            payload: Vec::with_capacity(Self::ROOM),
        };
        Self { slots: std::iter::repeat_with(empty).take(Self::CAPACITY).collect(), len: 0 }
    }

    /// The number of datagrams.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == Self::CAPACITY
    }

    /// Adds a datagram to `peer`. `write` appends its octets to an empty buffer with room for at
    /// least [`ROOM`](Self::ROOM) octets.
    ///
    /// `source` is the local address from which it leaves, of the same family as `peer`; with
    /// `None`, routing chooses the address.
    ///
    /// # Panics
    /// In debug builds if the outbox is full; in release builds the datagram is dropped.
    pub fn push(
        &mut self,
        peer: SocketAddr,
        source: Option<IpAddr>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.push_marked(peer, source, 0, write);
    }

    /// Like [`push`](Self::push), with a traffic class (DSCP and ECN); 0 is the socket's own.
    ///
    /// # Panics
    /// As [`push`](Self::push).
    pub fn push_marked(
        &mut self,
        peer: SocketAddr,
        source: Option<IpAddr>,
        traffic_class: u8,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        debug_assert!(!self.is_full(), "the outbox is full");
        debug_assert!(source.is_none_or(|source| source.is_ipv4() == peer.is_ipv4()));
        let Some(slot) = self.slots.get_mut(self.len) else {
            return;
        };
        slot.name = KernelAddress::new(peer);
        slot.control.set_source(source);
        if traffic_class != 0 {
            slot.control.set_traffic_class(peer.is_ipv4(), traffic_class);
        }
        slot.payload.clear();
        write(&mut slot.payload);
        self.len += 1;
    }

    /// The datagrams with their destinations, in the order in which they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let slots = self.slots[..self.len].iter();
        slots.filter_map(|slot| Some((slot.name.address()?, slot.payload.as_slice())))
    }

    /// Removes all datagrams.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Numbers the datagrams from `index` on, starting with `id`.
    pub(in crate::net) fn number(&mut self, index: usize, id: u32) {
        for (id, slot) in
            (0..).map(|step| id.wrapping_add(step)).zip(&mut self.slots[index..self.len])
        {
            slot.control.set_id(id);
        }
    }

    /// The datagrams from `index` on.
    pub(in crate::net) fn packets(&self, index: usize) -> impl Iterator<Item = Packet<'_>> {
        self.slots[index..self.len].iter().map(|slot| Packet {
            name: slot.name.octets(),
            control: slot.control.octets(),
            payload: &slot.payload,
        })
    }
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}
