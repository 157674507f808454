//! Datagrams in batches. What is to be sent enters an [`Outbox`]; what was received leaves an
//! [`Inbox`] as [`Datagram`]s. All memory is taken once, when they are made.

pub(super) mod mmsg;

use std::net::{IpAddr, SocketAddr};

use self::mmsg::{Head, Packet};
use super::cmsg::{self, Control};
use super::name::KernelAddress;
use crate::model::Wall;

/// How many datagrams a system call takes at most. Beyond this, its fixed cost no longer shows.
pub(super) const BATCH: usize = 64;

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
    /// How many datagrams it holds at most.
    pub const CAPACITY: usize = BATCH;

    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let empty = || Outgoing {
            name: KernelAddress::EMPTY,
            control: Control::EMPTY,
            payload: Vec::with_capacity(Inbox::ROOM),
        };
        Self { slots: std::iter::repeat_with(empty).take(Self::CAPACITY).collect(), len: 0 }
    }

    /// How many it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it holds as many as it can.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len == Self::CAPACITY
    }

    /// Adds a datagram to `peer`, whose octets `write` appends to an empty buffer with room for
    /// [`Inbox::ROOM`] octets.
    ///
    /// It leaves from `source`, one of our addresses, of the family of `peer`; with `None`, from
    /// the one that routing chooses.
    ///
    /// # Panics
    /// In debug builds when it is full; in release builds the datagram is not added.
    pub fn push(
        &mut self,
        peer: SocketAddr,
        source: Option<IpAddr>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        debug_assert!(!self.is_full(), "the outbox is full");
        debug_assert!(source.is_none_or(|source| source.is_ipv4() == peer.is_ipv4()));
        let Some(slot) = self.slots.get_mut(self.len) else {
            return;
        };
        slot.name = KernelAddress::new(peer);
        slot.control.set_source(source);
        slot.payload.clear();
        write(&mut slot.payload);
        self.len += 1;
    }

    /// The datagrams in it, each with its destination, in the order in which they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        let slots = self.slots[..self.len].iter();
        slots.filter_map(|slot| Some((slot.name.address()?, slot.payload.as_slice())))
    }

    /// Removes all datagrams.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Numbers the datagrams from the one at `index` on, beginning with `id`.
    pub(super) fn number(&mut self, index: usize, id: u32) {
        for (id, slot) in
            (0..).map(|step| id.wrapping_add(step)).zip(&mut self.slots[index..self.len])
        {
            slot.control.set_id(id);
        }
    }

    /// The datagrams from the one at `index` on.
    pub(super) fn packets(&self, index: usize) -> impl Iterator<Item = Packet<'_>> {
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

/// Room for datagrams received in one system call.
#[derive(Debug)]
pub struct Inbox {
    heads: Box<[Head]>,
    payloads: Box<[u8]>,
    len: usize,
}

impl Inbox {
    /// How many datagrams it holds at most.
    pub const CAPACITY: usize = BATCH;

    /// How many octets of each datagram it holds at most.
    pub const ROOM: usize = 1024;

    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            heads: vec![Head::EMPTY; Self::CAPACITY].into(),
            payloads: vec![0; Self::CAPACITY * Self::ROOM].into(),
            len: 0,
        }
    }

    /// What the last `receive` brought, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        let payloads = self.payloads.chunks_exact(Self::ROOM);
        self.heads[..self.len].iter().zip(payloads).filter_map(|(head, payload)| {
            let facts = cmsg::read(head.control());
            Some(Datagram {
                peer: head.name.address()?,
                local: facts.local,
                to_group: facts.to_group,
                payload: payload.get(..head.len)?,
                truncated: head.truncated,
                received: facts.stamp,
                ttl: facts.ttl,
                drops: facts.drops,
            })
        })
    }

    /// Where the kernel shall write what it tells of the datagrams, and where their octets.
    pub(super) fn room(&mut self) -> (&mut [Head], impl Iterator<Item = &mut [u8]>) {
        (&mut self.heads, self.payloads.chunks_exact_mut(Self::ROOM))
    }

    /// Takes note of how many the kernel wrote.
    pub(super) fn filled(&mut self, len: usize) {
        self.len = len;
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

/// One received datagram and what the kernel tells of it.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Where it came from.
    pub peer: SocketAddr,
    /// Which of our addresses it was sent to (with [`SocketOptions::local_address`]).
    ///
    /// [`SocketOptions::local_address`]: super::SocketOptions::local_address
    pub local: Option<IpAddr>,
    /// It was sent to many: to the broadcast address of a network of ours, to that of all, or to
    /// an IPv4 multicast group (with [`SocketOptions::local_address`], and with IPv4 alone; an IPv6
    /// group stands in `local`).
    ///
    /// [`SocketOptions::local_address`]: super::SocketOptions::local_address
    pub to_group: bool,
    /// Its octets, at most [`Inbox::ROOM`].
    pub payload: &'a [u8],
    /// It was longer than [`Inbox::ROOM`]; `payload` is its beginning.
    pub truncated: bool,
    /// When the kernel received it (`SO_TIMESTAMPING`, software).
    pub received: Option<Wall>,
    /// The hop limit it arrived with.
    pub ttl: Option<u8>,
    /// How many datagrams the kernel had dropped on this socket when it queued this one, modulo
    /// 2³² (`SO_RXQ_OVFL`); `None` as long as there were none.
    pub drops: Option<u32>,
}
