//! Targets that wait for a session number at their address.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::model::TargetId;
use crate::wire::Prober;

use super::routes::Routes;

/// Targets that have an address but no route: other targets have all session numbers there.
#[derive(Debug, Default)]
pub(super) struct Unrouted {
    /// The address of each target.
    peers: BTreeMap<TargetId, SocketAddr>,
    /// Targets whose waiting has not been logged yet.
    news: BTreeSet<TargetId>,
}

impl Unrouted {
    /// Target `id`, which sends by `prober`, waits for a session number at `peer`, and only there.
    pub(super) fn insert(
        &mut self,
        id: TargetId,
        peer: SocketAddr,
        prober: &Arc<dyn Prober>,
        routes: &mut Routes,
    ) {
        if self.peers.get(&id) != Some(&peer) {
            self.remove(id, prober, routes);
            self.peers.insert(id, peer);
            self.news.insert(id);
        }
        routes.wait(id, peer, prober);
    }

    /// Target `id` no longer waits.
    pub(super) fn remove(&mut self, id: TargetId, prober: &Arc<dyn Prober>, routes: &mut Routes) {
        if let Some(peer) = self.peers.remove(&id) {
            self.news.remove(&id);
            routes.stop_waiting(id, peer, prober);
        }
    }

    /// The next target whose waiting has not been logged yet.
    pub(super) fn next_news(&mut self) -> Option<TargetId> {
        self.news.pop_first()
    }

    /// Whether there are targets whose waiting has not been logged yet.
    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }
}
