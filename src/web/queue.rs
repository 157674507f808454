//! The idle connections in the order in which they became idle: the longest idle one is evicted
//! when a new connection needs room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The idle connections of a server.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By the order in which they became idle: the first has been idle for longest.
    evictions: BTreeMap<u64, Arc<Notify>>,
}

/// A connection's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Queue {
    /// Takes the last place; `evicted` is notified when the connection must close.
    pub(super) fn join(&self, evicted: Arc<Notify>) -> Place {
        let mut waiting = self.lock();
        let place = waiting.next;
        waiting.next += 1;
        waiting.evictions.insert(place, evicted);
        Place(place)
    }

    /// Gives up a place; has no effect if it was given up before.
    pub(super) fn leave(&self, place: Place) {
        self.lock().evictions.remove(&place.0);
    }

    /// Closes the connection that has been idle for longest; false if none is idle.
    pub(super) fn evict(&self) -> bool {
        let Some((_, evicted)) = self.lock().evictions.pop_first() else {
            return false;
        };
        evicted.notify_one();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No critical section above can leave the map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn was_notified(evicted: &Notify) -> bool {
        tokio::select! {
            biased;
            () = evicted.notified() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn the_longest_idle_connection_is_evicted_first() {
        let queue = Queue::default();
        let connections: Vec<Arc<Notify>> = (0..3).map(|_| Arc::default()).collect();
        let places: Vec<_> =
            connections.iter().map(|evicted| queue.join(evicted.clone())).collect();
        queue.leave(places[0]);
        queue.join(connections[0].clone());
        for expected in [1, 2, 0] {
            assert!(queue.evict());
            for (n, evicted) in connections.iter().enumerate() {
                assert_eq!(was_notified(evicted).await, n == expected, "connection {n}");
            }
        }
        assert!(!queue.evict());
    }
}
