//! Who waits for a request, longest first: connections enter as they fall idle, and leave as they
//! are asked something or as they must make room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The idle connections of a server.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By the order in which they fell idle: the first has been so for longest.
    doors: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

impl Queue {
    /// Takes the last place; `door` is notified when the connection must close.
    pub(super) fn join(&self, door: Arc<Notify>) -> Ticket {
        let mut waiting = self.lock();
        let ticket = waiting.next;
        waiting.next += 1;
        waiting.doors.insert(ticket, door);
        Ticket(ticket)
    }

    /// Gives a place up; without effect where it is given up already.
    pub(super) fn leave(&self, ticket: Ticket) {
        self.lock().doors.remove(&ticket.0);
    }

    /// Has the connection close that has been idle for longest; false where none is idle.
    pub(super) fn evict(&self) -> bool {
        let Some((_, door)) = self.lock().doors.pop_first() else {
            return false;
        };
        door.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every critical section above leaves the map whole, wherever it is left.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the door has been knocked at.
    async fn told(door: &Notify) -> bool {
        tokio::select! {
            biased;
            () = door.notified() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn the_longest_idle_goes_first_and_who_left_is_spared() {
        let queue = Queue::default();
        let doors: Vec<Arc<Notify>> = (0..3).map(|_| Arc::default()).collect();
        let tickets: Vec<_> = doors.iter().map(|door| queue.join(door.clone())).collect();
        queue.leave(tickets[0]);
        queue.join(doors[0].clone());
        for expected in [1, 2, 0] {
            assert!(queue.evict());
            for (n, door) in doors.iter().enumerate() {
                assert_eq!(told(door).await, n == expected, "door {n}");
            }
        }
        assert!(!queue.evict());
    }
}
