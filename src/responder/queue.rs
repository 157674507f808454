//! Delayed replies, each of which leaves when it is due.
//!
//! Replies that are due at the same moment leave in the order in which they were queued. A reply
//! that is to be overtaken leaves right after the last reply that overtakes it, if enough of them
//! leave before it is due. The queue is bounded in replies and in octets, so that a flood of
//! requests cannot exhaust the host's memory; a full queue refuses further replies.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};

use crate::model::Mono;
use crate::wire::Protocol;

/// Maximum number of held replies.
pub(super) const MAX_REPLIES: usize = 65_536;

/// Maximum size of the payloads of all held replies, in octets: 16 MiB.
pub(super) const MAX_OCTETS: usize = 16 << 20;

/// Where a reply goes and what it counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyRoute {
    /// The listener it leaves from: an index into the addresses that the reflector was given.
    pub listener: usize,
    /// The sender of the request.
    pub peer: SocketAddr,
    /// The address that was asked, and that the reply leaves from.
    pub source: Option<IpAddr>,
    /// The protocol of the reply.
    pub protocol: Protocol,
    /// The traffic class with which it leaves; 0 is the default.
    pub traffic_class: u8,
    /// Whether it is the second copy of a reply, which is not counted again.
    pub duplicate: bool,
}

/// Replies by the moment they are due.
#[derive(Debug, Default)]
pub(super) struct DelayQueue {
    held: BTreeMap<Place, Held>,
    /// Replies that are to be overtaken, by peer.
    waiting: HashMap<SocketAddr, Vec<Waiting>>,
    /// Size of all payloads, in octets.
    octets: usize,
    /// The number of the next reply.
    pushed: u64,
}

/// The position of a reply: the moment it is due, then its number.
type Place = (Mono, u64);

#[derive(Debug)]
struct Held {
    route: ReplyRoute,
    payload: Box<[u8]>,
    /// Whether it is among the [`DelayQueue::waiting`].
    waits: bool,
}

/// A reply that is to be overtaken by `by` others.
#[derive(Debug)]
struct Waiting {
    by: u32,
    place: Place,
}

impl DelayQueue {
    /// Holds a reply until `due`, or until `overtaken_by` others to its peer have overtaken it, if
    /// that is earlier; 0 means `due` in any case. Returns whether there was room for it.
    #[must_use]
    pub(super) fn push(
        &mut self,
        due: Mono,
        overtaken_by: u32,
        route: ReplyRoute,
        payload: &[u8],
    ) -> bool {
        if self.held.len() >= MAX_REPLIES || self.octets + payload.len() > MAX_OCTETS {
            return false;
        }
        self.octets += payload.len();
        let place = (due, self.pushed);
        self.pushed += 1;
        let waits = overtaken_by > 0;
        if waits {
            let waiting = Waiting { by: overtaken_by, place };
            self.waiting.entry(route.peer).or_default().push(waiting);
        }
        self.held.insert(place, Held { route, payload: payload.into(), waits });
        true
    }

    /// Records that another reply to `peer` leaves at `at`. Held replies that have now been
    /// overtaken often enough leave right after it. Returns whether there is such a reply.
    pub(super) fn overtake(&mut self, peer: SocketAddr, at: Mono) -> bool {
        if self.waiting.is_empty() {
            return false;
        }
        let Some(waiting) = self.waiting.get_mut(&peer) else {
            return false;
        };
        let (held, pushed) = (&mut self.held, &mut self.pushed);
        let before = *pushed;
        waiting.retain_mut(|Waiting { by, place }| {
            *by -= 1;
            if *by > 0 {
                return true;
            }
            if at < place.0
                && let Some(overtaken) = held.remove(place)
            {
                held.insert((at, *pushed), Held { waits: false, ..overtaken });
                *pushed += 1;
            } else if let Some(overtaken) = held.get_mut(place) {
                overtaken.waits = false;
            }
            false
        });
        if waiting.is_empty() {
            self.waiting.remove(&peer);
        }
        self.pushed > before
    }

    /// When the next reply is due.
    pub(super) fn next_due(&self) -> Option<Mono> {
        self.held.first_key_value().map(|(&(due, _), _)| due)
    }

    /// Removes the next reply that is due at `now`, if there is one.
    pub(super) fn pop(&mut self, now: Mono) -> Option<(ReplyRoute, Box<[u8]>)> {
        self.next_due().filter(|&due| due <= now)?;
        let (place, Held { route, payload, waits }) = self.held.pop_first()?;
        self.octets -= payload.len();
        if waits && let Some(waiting) = self.waiting.get_mut(&route.peer) {
            waiting.retain(|waiting| waiting.place != place);
            if waiting.is_empty() {
                self.waiting.remove(&route.peer);
            }
        }
        Some((route, payload))
    }

    /// How many replies are held.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const ROUTE: ReplyRoute = ReplyRoute {
        listener: 0,
        peer: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7),
        source: None,
        protocol: crate::wire::DEFAULT_PROTOCOL,
        traffic_class: 0,
        duplicate: false,
    };

    proptest! {
        #[test]
        fn replies_leave_when_due_and_in_order(dues in proptest::collection::vec(0..50_u64, 0..40)) {
            let mut queue = DelayQueue::default();
            for (n, &due) in (0_u8..).zip(&dues) {
                prop_assert!(queue.push(Mono::from_nanos(due), 0, ROUTE, &[n]));
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
        assert!((0..MAX_REPLIES).all(|_| queue.push(due, 0, ROUTE, b"")));
        assert!(!queue.push(due, 0, ROUTE, b""));
        assert!(queue.pop(due).is_some());
        assert!(queue.push(due, 0, ROUTE, b""));

        let mut queue = DelayQueue::default();
        let large = [0; 1024];
        let room = MAX_OCTETS / large.len();
        assert!((0..room).all(|_| queue.push(due, 0, ROUTE, &large)));
        assert!(!queue.push(due, 0, ROUTE, b"x"));
        assert!(queue.pop(due).is_some());
        assert!(queue.push(due, 0, ROUTE, b"x"));
    }

    /// Removes all replies, and returns the one octet of each.
    fn rest(queue: &mut DelayQueue) -> Vec<u8> {
        let mut left = Vec::new();
        while let Some((_, payload)) = queue.pop(Mono::from_nanos(u64::MAX)) {
            left.push(payload[0]);
        }
        assert!(queue.waiting.is_empty() && queue.octets == 0);
        left
    }

    #[test]
    fn a_reply_leaves_right_after_the_last_one_that_overtakes_it() {
        let at = Mono::from_nanos;
        let other = ReplyRoute { peer: "192.0.2.1:7".parse().unwrap(), ..ROUTE };
        let mut queue = DelayQueue::default();
        assert!(queue.push(at(1000), 2, ROUTE, b"x"));
        assert!(queue.push(at(900), 3, ROUTE, b"y"));
        assert!(queue.push(at(500), 1, other, b"z"));
        for (due, name) in [(10, b"1"), (20, b"2"), (30, b"3"), (40, b"4")] {
            assert!(queue.push(at(due), 0, ROUTE, name));
            queue.overtake(ROUTE.peer, at(due));
        }
        assert_eq!(queue.next_due(), Some(at(10)));
        assert_eq!(rest(&mut queue), b"12x3y4z");
    }

    #[test]
    fn a_reply_that_too_few_overtake_leaves_when_it_is_due() {
        let at = Mono::from_nanos;
        let mut queue = DelayQueue::default();
        assert!(queue.push(at(100), 2, ROUTE, b"x"));
        queue.overtake(ROUTE.peer, at(10));
        assert!(queue.pop(at(99)).is_none());
        assert_eq!(queue.pop(at(100)).unwrap().1[..], b"x"[..]);
        // A reply that would be overtaken only after it is due leaves when it is due.
        assert!(queue.push(at(200), 1, ROUTE, b"y"));
        queue.overtake(ROUTE.peer, at(300));
        assert_eq!(queue.next_due(), Some(at(200)));
        assert_eq!(rest(&mut queue), b"y");
    }
}
