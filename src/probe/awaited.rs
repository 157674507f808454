//! Finds the heartbeat of a transmit timestamp by the number that the kernel gave the datagram.

use std::collections::VecDeque;

use super::transmit::Ticket;

/// Maximum number of awaited stamps; beyond it, the oldest is given up.
const CAPACITY: usize = 1 << 16;

/// Heartbeats that have left and whose stamps have not come yet, in the order of their numbers.
///
/// Stamps come in that order, except that a few overtake others in the device's queues or never
/// come.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    entries: VecDeque<(u32, Option<Ticket>)>,
}

impl Awaited {
    /// Adds a heartbeat that has left, whose stamp the kernel will report with the number `id`.
    /// Numbers ascend, modulo 2³².
    pub(super) fn push(&mut self, id: u32, ticket: Ticket) {
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back((id, Some(ticket)));
    }

    /// Removes the heartbeat with the number `id`; `None` if it is not awaited.
    pub(super) fn take(&mut self, id: u32) -> Option<Ticket> {
        let &(oldest, _) = self.entries.front()?;
        let age = |entry: u32| entry.wrapping_sub(oldest);
        let index = self.entries.partition_point(|&(entry, _)| age(entry) < age(id));
        let (found, ticket) = self.entries.get_mut(index)?;
        let ticket = if *found == id { ticket.take() } else { None };
        while let Some((_, None)) = self.entries.front() {
            self.entries.pop_front();
        }
        ticket
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mono, TargetId};

    fn ticket(n: u64) -> Ticket {
        Ticket { id: TargetId::first(0), sequence: n, due: Mono::default() }
    }

    #[test]
    fn stamps_find_their_heartbeats_in_any_order_across_the_wrap() {
        let mut awaited = Awaited::default();
        let first = u32::MAX - 2;
        for n in 0..6 {
            awaited.push(first.wrapping_add(n), ticket(n.into()));
        }
        for n in [0, 2, 1, 5, 4] {
            assert_eq!(awaited.take(first.wrapping_add(n)), Some(ticket(n.into())));
            assert_eq!(awaited.take(first.wrapping_add(n)), None, "only once");
        }
        assert_eq!(awaited.take(first.wrapping_add(6)), None);
        assert_eq!(awaited.take(first.wrapping_sub(1)), None);
        assert_eq!(awaited.entries.len(), 3, "the stamp that never came, and all after it");
    }

    #[test]
    fn the_oldest_stamp_is_given_up_beyond_the_maximum() {
        let mut awaited = Awaited::default();
        for n in 0..=u32::try_from(CAPACITY).unwrap() {
            awaited.push(n, ticket(n.into()));
        }
        assert_eq!(awaited.entries.len(), CAPACITY);
        assert_eq!(awaited.take(0), None);
        assert_eq!(awaited.take(1), Some(ticket(1)));
    }
}
