//! The idle connections in the order in which they became idle: the longest idle one is evicted
//! when a new connection needs room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::seats::Client;

/// The idle connections of a server.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    /// By the order in which they became idle: the first has been idle for longest.
    evictions: BTreeMap<u64, (Client, Arc<Notify>)>,
}

/// A connection's place in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u64);

impl Queue {
    /// Takes the last place; `evicted` is notified when the connection must close.
    pub(super) fn join(&self, client: Client, evicted: Arc<Notify>) -> Place {
        let mut waiting = self.lock();
        let place = waiting.next;
        waiting.next += 1;
        waiting.evictions.insert(place, (client, evicted));
        Place(place)
    }

    /// Gives up a place; has no effect if it was given up before.
    pub(super) fn leave(&self, place: Place) {
        self.lock().evictions.remove(&place.0);
    }

    /// Closes the connection that has been idle for longest, of `client` if there is one; false if
    /// none is idle.
    pub(super) fn evict(&self, client: Option<Client>) -> bool {
        let mut waiting = self.lock();
        let is_its = |of: &Client| client.is_none_or(|client| client == *of);
        let found = waiting.evictions.iter().find(|(_, (of, _))| is_its(of));
        let Some((&place, _)) = found else { return false };
        let evicted = waiting.evictions.remove(&place);
        evicted.inspect(|(_, evicted)| evicted.notify_one()).is_some()
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

    fn client(last: u8) -> Client {
        Client::from(std::net::SocketAddr::from(([192, 0, 2, last], 1)))
    }

    #[tokio::test]
    async fn the_longest_idle_connection_is_evicted_first() {
        let queue = Queue::default();
        let connections: Vec<Arc<Notify>> = (0..4).map(|_| Arc::default()).collect();
        let join = |n: usize, of: u8| queue.join(client(of), connections[n].clone());
        let first = join(0, 1);
        join(1, 1);
        join(2, 2);
        queue.leave(first);
        join(0, 1);
        join(3, 2);
        for (of, expected) in [(None, 1), (Some(2), 2), (Some(2), 3), (None, 0)] {
            assert!(queue.evict(of.map(client)));
            for (n, evicted) in connections.iter().enumerate() {
                assert_eq!(was_notified(evicted).await, n == expected, "connection {n}");
            }
            assert!(!queue.evict(Some(client(9))));
        }
        assert!(!queue.evict(None));
    }
}
