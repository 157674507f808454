//! Whose transmit timestamp is whose: the kernel's numbers enter with a heartbeat's ticket as it
//! leaves, and with a stamp as that comes; the ticket leaves.

use std::collections::VecDeque;

use super::transmit::Ticket;

/// How many stamps are waited for at once; later ones push out the oldest.
const CAPACITY: usize = 1 << 16;

/// Heartbeats that have left and whose stamps are still to come, in the order of their numbers.
///
/// Stamps come in that order but for the odd one that overtakes another on the way through the
/// device's queues, or never comes.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    entries: VecDeque<(u32, Option<Ticket>)>,
}

impl Awaited {
    /// A heartbeat left, and the kernel will tell of it by the number `id`: the last one's
    /// successor or a later one, wrapping.
    pub(super) fn push(&mut self, id: u32, ticket: Ticket) {
        if self.entries.len() == CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back((id, Some(ticket)));
    }

    /// Whose stamp number `id` is; `None` for a number that is not waited for.
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
        assert_eq!(awaited.entries.len(), 3, "from the one that never came");
    }

    #[test]
    fn stamps_that_never_come_are_pushed_out() {
        let mut awaited = Awaited::default();
        for n in 0..=u32::try_from(CAPACITY).unwrap() {
            awaited.push(n, ticket(n.into()));
        }
        assert_eq!(awaited.entries.len(), CAPACITY);
        assert_eq!(awaited.take(0), None);
        assert_eq!(awaited.take(1), Some(ticket(1)));
    }
}
