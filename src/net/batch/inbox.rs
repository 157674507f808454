//! Datagrams that were received together, with what the kernel reports of each.

use std::net::{IpAddr, SocketAddr};

use super::super::cmsg;
use super::mmsg::{BATCH, Head};
use crate::model::Wall;

/// Room for datagrams received in one system call.
#[derive(Debug)]
pub struct Inbox {
    heads: Box<[Head]>,
    payloads: Box<[u8]>,
    len: usize,
}

impl Inbox {
    /// The maximum number of datagrams.
    pub const CAPACITY: usize = BATCH;

    /// The maximum number of octets kept of each datagram.
    pub const ROOM: usize = 1024;

    /// An empty inbox.
    #[must_use]
    pub fn new() -> Self {
        Self {
            heads: vec![Head::EMPTY; Self::CAPACITY].into(),
            payloads: vec![0; Self::CAPACITY * Self::ROOM].into(),
            len: 0,
        }
    }

    /// The datagrams of the last `receive`, in the order of arrival.
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

    /// The buffers for the kernel: one head and one payload per datagram.
    pub(in crate::net) fn room(&mut self) -> (&mut [Head], impl Iterator<Item = &mut [u8]>) {
        (&mut self.heads, self.payloads.chunks_exact_mut(Self::ROOM))
    }

    /// Sets how many datagrams the kernel wrote.
    pub(in crate::net) fn filled(&mut self, len: usize) {
        self.len = len;
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

/// One received datagram and what the kernel reports about it.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    /// Its source.
    pub peer: SocketAddr,
    /// The local address to which it was sent (with [`SocketOptions::local_address`]).
    ///
    /// [`SocketOptions::local_address`]: crate::net::SocketOptions::local_address
    pub local: Option<IpAddr>,
    /// It was sent to a broadcast address or an IPv4 multicast group (with
    /// [`SocketOptions::local_address`], IPv4 only; an IPv6 group is in `local`).
    ///
    /// [`SocketOptions::local_address`]: crate::net::SocketOptions::local_address
    pub to_group: bool,
    /// Its octets, at most [`Inbox::ROOM`].
    pub payload: &'a [u8],
    /// It was longer than [`Inbox::ROOM`], and `payload` is its beginning.
    pub truncated: bool,
    /// When the kernel received it (`SO_TIMESTAMPING`, software).
    pub received: Option<Wall>,
    /// The hop limit with which it arrived.
    pub ttl: Option<u8>,
    /// How many datagrams the kernel had dropped on this socket when it queued this one, modulo 2³²
    /// (`SO_RXQ_OVFL`, socket(7)); `None` before the first drop.
    pub drops: Option<u32>,
}
