//! Datagrams that wait to be sent together.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::super::cmsg::Control;
use super::super::egress::Egress;
use super::super::name::KernelAddress;
use super::mmsg::{BATCH, Packet};

/// Datagrams to be sent in one system call.
#[derive(Debug)]
pub struct Outbox {
    slots: Box<[Outgoing]>,
    len: usize,
    /// How many of the datagrams must not be fragmented.
    unfragmented: usize,
}

/// One datagram to be sent.
#[derive(Debug, Clone)]
struct Outgoing {
    name: KernelAddress,
    egress: Egress,
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
            egress: Egress::default(),
            control: Control::EMPTY,
            payload: Vec::with_capacity(Self::ROOM),
        };
        let slots = std::iter::repeat_with(empty).take(Self::CAPACITY).collect();
        Self { slots, len: 0, unfragmented: 0 }
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
        self.push_with(peer, &Egress { source, ..Egress::default() }, write);
    }

    /// Like [`push`](Self::push), with everything that says how the datagram leaves.
    ///
    /// # Panics
    /// As [`push`](Self::push).
    pub fn push_with(
        &mut self,
        peer: SocketAddr,
        egress: &Egress,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        debug_assert!(!self.is_full(), "the outbox is full");
        debug_assert!(egress.source.is_none_or(|source| source.is_ipv4() == peer.is_ipv4()));
        let Some(slot) = self.slots.get_mut(self.len) else {
            return;
        };
        slot.name = KernelAddress::new(peer);
        slot.egress = *egress;
        slot.control.set(peer.is_ipv4(), egress);
        self.unfragmented += usize::from(egress.dont_fragment);
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
        self.unfragmented = 0;
    }

    /// How the datagram at `index` leaves.
    pub(in crate::net) fn egress(&self, index: usize) -> &Egress {
        &self.slots[index].egress
    }

    /// The address `source` of the datagram at `index`, with its zone if it is link-local: the
    /// interface, or the zone of the destination.
    pub(in crate::net) fn source(
        &self,
        index: usize,
        source: IpAddr,
        interface: Option<u32>,
    ) -> SocketAddr {
        let mut address = SocketAddr::new(source, 0);
        if let SocketAddr::V6(address) = &mut address
            && address.ip().is_unicast_link_local()
        {
            let zone = match self.slots[index].name.address() {
                Some(SocketAddr::V6(peer)) => peer.scope_id(),
                Some(SocketAddr::V4(_)) | None => 0,
            };
            address.set_scope_id(interface.unwrap_or(zone));
        }
        address
    }

    /// The datagrams from `index` on that one call can send: all with the same `dont_fragment`,
    /// which is an option of the socket.
    pub(in crate::net) fn run(&self, index: usize) -> Range<usize> {
        if self.unfragmented == 0 || self.unfragmented == self.len {
            return index..self.len;
        }
        let rest = &self.slots[index..self.len];
        let is_same = |slot: &&Outgoing| slot.egress.dont_fragment == rest[0].egress.dont_fragment;
        index..index + rest.iter().take_while(is_same).count()
    }

    /// Numbers the datagrams of a run, starting with `id`.
    pub(in crate::net) fn number(&mut self, run: Range<usize>, id: u32) {
        for (id, slot) in (0..).map(|step| id.wrapping_add(step)).zip(&mut self.slots[run]) {
            slot.control.set_id(id);
        }
    }

    /// The datagrams of a run.
    pub(in crate::net) fn packets(&self, run: Range<usize>) -> impl Iterator<Item = Packet<'_>> {
        self.slots[run].iter().map(|slot| Packet {
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
