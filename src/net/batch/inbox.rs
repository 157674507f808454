//! Datagrams that were received together, with what the kernel reports of each.

use std::net::{IpAddr, SocketAddr};

use super::super::cmsg;
use super::mmsg::{BATCH, Head};
use crate::model::Wall;

/// Room for datagrams received in one system call.
///
/// Almost all datagrams are short, and few are as long as UDP allows. The kernel writes the first
/// 1,024 octets of each into a dense buffer and only the rest, if there is one, into a buffer of 64
/// KiB, whose pages take no memory until they are written to (the allocator gets them from the
/// kernel as zero pages). So short datagrams cost no more memory and no more cache than without the
/// long buffers, and a long one costs a copy of its first octets. The bound is 64 KiB for each of
/// [`CAPACITY`](Self::CAPACITY) datagrams, 4 MiB.
#[derive(Debug)]
pub struct Inbox {
    heads: Box<[Head]>,
    /// [`SHORT`](Self::SHORT) octets for each datagram.
    short: Box<[u8]>,
    /// [`ROOM`](Self::ROOM) octets for each datagram. The first [`SHORT`](Self::SHORT) are copied
    /// from `short` if the datagram is longer than that.
    long: Box<[u8]>,
    len: usize,
}

impl Inbox {
    /// The maximum number of datagrams.
    pub const CAPACITY: usize = BATCH;

    /// The maximum number of octets kept of each datagram: the largest payload of UDP over IPv6
    /// without jumbograms (RFC 8200 section 4.5).
    pub const ROOM: usize = 65_527;

    /// Datagrams up to this number of octets touch no long buffer.
    const SHORT: usize = 1024;

    /// An empty inbox.
    #[must_use]
    pub fn new() -> Self {
        Self {
            heads: vec![Head::EMPTY; Self::CAPACITY].into(),
            short: vec![0; Self::CAPACITY * Self::SHORT].into(),
            long: vec![0; Self::CAPACITY * Self::ROOM].into(),
            len: 0,
        }
    }

    /// The datagrams of the last `receive`, in the order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = Datagram<'_>> {
        let short = self.short.chunks_exact(Self::SHORT);
        let payloads = short.zip(self.long.chunks_exact(Self::ROOM));
        self.heads[..self.len].iter().zip(payloads).filter_map(|(head, (short, long))| {
            let payload = if head.len > Self::SHORT { long } else { short };
            let facts = cmsg::read(head.control());
            Some(Datagram {
                peer: head.name.address()?,
                local: facts.local,
                to_group: facts.to_group,
                payload: payload.get(..head.len)?,
                truncated: head.truncated,
                received: facts.stamp,
                ttl: facts.ttl,
                traffic_class: facts.traffic_class,
                drops: facts.drops,
            })
        })
    }

    /// The buffers for the kernel: for each datagram one head, and one buffer for its first octets
    /// and one for the rest.
    pub(in crate::net) fn room(&mut self) -> (&mut [Head], impl Iterator<Item = [&mut [u8]; 2]>) {
        let short = self.short.chunks_exact_mut(Self::SHORT);
        let rest = self.long.chunks_exact_mut(Self::ROOM).map(|long| &mut long[Self::SHORT..]);
        (&mut self.heads, short.zip(rest).map(|(short, rest)| [short, rest]))
    }

    /// Sets how many datagrams the kernel wrote, and joins the two parts of the long ones.
    pub(in crate::net) fn filled(&mut self, len: usize) {
        self.len = len;
        let parts =
            self.short.chunks_exact(Self::SHORT).zip(self.long.chunks_exact_mut(Self::ROOM));
        for (head, (short, long)) in self.heads[..len].iter().zip(parts) {
            if head.len > Self::SHORT {
                long[..Self::SHORT].copy_from_slice(short);
            }
        }
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
    /// The traffic class, that is DSCP and ECN, with which it arrived (with
    /// [`SocketOptions::traffic_class`]).
    ///
    /// [`SocketOptions::traffic_class`]: crate::net::SocketOptions::traffic_class
    pub traffic_class: Option<u8>,
    /// How many datagrams the kernel had dropped on this socket when it queued this one, modulo 2³²
    /// (`SO_RXQ_OVFL`, socket(7)); `None` before the first drop.
    pub drops: Option<u32>,
}
