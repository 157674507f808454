//! Replies on their way: one enters with the moment it is due, and leaves at that moment.
//!
//! Replies that are due at the same moment leave in the order they came. The queue is bounded in
//! replies and in octets, so that a flood of requests cannot take the host's memory; what finds it
//! full is refused.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::net::{IpAddr, SocketAddr};

use crate::model::Mono;

/// How many replies are held at most.
pub(super) const MAX_REPLIES: usize = 65_536;

/// How many octets the payloads of all held replies have at most: 16 MiB.
pub(super) const MAX_OCTETS: usize = 16 << 20;

/// Where a reply goes and what it counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The listener it leaves from: an index into the addresses the reflector was made with.
    pub listener: usize,
    /// Who asked.
    pub peer: SocketAddr,
    /// The address that was asked, which the reply must leave from.
    pub source: Option<IpAddr>,
    /// The place of its protocol in [`crate::wire::PROTOCOLS`].
    pub protocol: usize,
    /// It is the second copy of its reply, which answers nothing anew.
    pub duplicate: bool,
}

/// Replies by the moment they are due.
#[derive(Debug, Default)]
pub(super) struct DelayQueue {
    held: BinaryHeap<Reverse<Held>>,
    /// The sum of all payloads' octets.
    octets: usize,
    /// How many replies ever came: the number of the next one.
    pushed: u64,
}

#[derive(Debug)]
struct Held {
    due: Mono,
    number: u64,
    route: Route,
    payload: Box<[u8]>,
}

impl DelayQueue {
    /// Holds a reply until `due`; whether there was room for it.
    #[must_use]
    pub(super) fn push(&mut self, due: Mono, route: Route, payload: &[u8]) -> bool {
        if self.held.len() >= MAX_REPLIES || self.octets + payload.len() > MAX_OCTETS {
            return false;
        }
        self.octets += payload.len();
        self.held.push(Reverse(Held { due, number: self.pushed, route, payload: payload.into() }));
        self.pushed += 1;
        true
    }

    /// When the next reply is due.
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.held.peek().map(|Reverse(held)| held.due)
    }

    /// The next reply that is due at `now`, if there is one.
    pub(super) fn pop(&mut self, now: Mono) -> Option<(Route, Box<[u8]>)> {
        self.next_due().filter(|&due| due <= now)?;
        let Reverse(Held { route, payload, .. }) = self.held.pop()?;
        self.octets -= payload.len();
        Some((route, payload))
    }

    /// How many replies are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Held {}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const ROUTE: Route = Route {
        listener: 0,
        peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7),
        source: None,
        protocol: 0,
        duplicate: false,
    };

    proptest! {
        #[test]
        fn replies_leave_when_due_and_in_order(dues in proptest::collection::vec(0..50_u64, 0..40)) {
            let mut queue = DelayQueue::default();
            for (n, &due) in (0_u8..).zip(&dues) {
                prop_assert!(queue.push(Mono::from_nanos(due), ROUTE, &[n]));
            }
            let mut expected: Vec<(u64, u8)> = dues.iter().copied().zip(0..).collect();
            expected.sort_unstable();
            let mut left = Vec::new();
            for now in 0..50 {
                while let Some((_, payload)) = queue.pop(Mono::from_nanos(now)) {
                    left.push((now, payload[0]));
                }
            }
            prop_assert_eq!(left, expected);
            prop_assert_eq!((queue.len(), queue.octets, queue.next_due()), (0, 0, None));
        }
    }

    #[test]
    fn a_full_queue_refuses_by_number_and_by_octets() {
        let due = Mono::from_nanos(1);
        let mut queue = DelayQueue::default();
        assert!((0..MAX_REPLIES).all(|_| queue.push(due, ROUTE, b"")));
        assert!(!queue.push(due, ROUTE, b""));
        assert!(queue.pop(due).is_some());
        assert!(queue.push(due, ROUTE, b""));

        let mut queue = DelayQueue::default();
        let large = [0; 1024];
        let room = MAX_OCTETS / large.len();
        assert!((0..room).all(|_| queue.push(due, ROUTE, &large)));
        assert!(!queue.push(due, ROUTE, b"x"));
        assert!(queue.pop(due).is_some());
        assert!(queue.push(due, ROUTE, b"x"));
    }
}
