//! Where the heartbeats of a fleet's targets go: addresses of names, changes of address, and
//! targets that wait for a session number at their address.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::{Host, Target};
use crate::model::{Mono, TargetId};
use crate::probe::watched::Resolution;

use super::Fleet;

impl Fleet {
    /// A name was looked up. `found` are its addresses in order of preference, without regard to
    /// their ports; none if the lookup failed. [`pass_on_addresses`](Self::pass_on_addresses) gives
    /// them to the targets.
    pub fn handle_resolved(&mut self, name: &str, found: Arc<[SocketAddr]>) {
        self.named.answer(name, found);
    }

    /// Gives the newest addresses of their names to at most `most` targets at `now`; true while more
    /// wait.
    pub fn pass_on_addresses(&mut self, most: usize, now: Mono) -> bool {
        for _ in 0..most {
            let Some((id, found)) = self.named.next() else { break };
            self.handle_addresses(id, &found, now);
        }
        self.named.is_waiting()
    }

    /// Gives a target the addresses of its name at `now`; see [`handle_resolved`](Self::handle_resolved).
    ///
    /// The address in use stays in use while it is among them, and while lookups fail. A target for
    /// which there is no session number at its address gets one as soon as another target leaves the
    /// address; see [`retry_routes`](Self::retry_routes).
    pub fn handle_addresses(&mut self, id: TargetId, found: &[SocketAddr], now: Mono) {
        // A number that the target leaves is retired from now on.
        self.routes.advance(now);
        self.assign(id, found);
    }

    /// Gives a target its addresses. If it may leave an address, call `Routes::advance` first.
    pub(super) fn assign(&mut self, id: TargetId, found: &[SocketAddr]) {
        let Some(watched) = self.targets.get_mut(id) else { return };
        let routed = watched.resolved(id, found, &mut self.routes);
        let prober = watched.session.prober();
        match routed {
            Ok(()) => self.unrouted.remove(id, prober, &mut self.routes),
            Err(peer) => self.unrouted.insert(id, peer, prober, &mut self.routes),
        }
    }

    /// Routes targets that wait for a session number at an address that other targets have left,
    /// and logs targets that have begun to wait: at most `most` targets in all. Returns true while
    /// there are more. Call it after all address changes are applied.
    pub fn retry_routes(&mut self, most: usize) -> bool {
        for _ in 0..most {
            if let Some((id, peer)) = self.routes.next_waiting() {
                self.route(id, peer);
            } else if let Some(id) = self.unrouted.next_news() {
                let Some(watched) = self.targets.get(id) else { continue };
                tracing::error!(
                    target_name = watched.target.name,
                    "cannot send to a target: too many targets at its address expect the same \
                     replies and cannot be distinguished"
                );
            } else {
                return false;
            }
        }
        self.routes.has_vacancy() || self.unrouted.has_news()
    }

    /// Routes a target to the address that it waits at.
    fn route(&mut self, id: TargetId, peer: SocketAddr) {
        let Some(watched) = self.targets.get_mut(id) else { return };
        let is_routed = watched.move_to(id, peer, &mut self.routes);
        let prober = watched.session.prober();
        if is_routed {
            self.unrouted.remove(id, prober, &mut self.routes);
        } else {
            self.unrouted.insert(id, peer, prober, &mut self.routes);
        }
    }

    /// Applies the new address of a target; `before` has the old one.
    ///
    /// If no address of the new host is known, because its lookup failed or has not ended, a target
    /// keeps its address only if the host is the same.
    pub(super) fn readdress(
        &mut self,
        id: TargetId,
        before: &Target,
        found: Option<&[SocketAddr]>,
    ) {
        let Some(watched) = self.targets.get_mut(id) else { return };
        self.unrouted.remove(id, watched.session.prober(), &mut self.routes);
        if let Host::Name(name) = &before.address.host {
            self.named.remove(name, id);
        }
        match &watched.target.address.host {
            &Host::Ip(ip) => return self.assign(id, &[SocketAddr::new(ip, 0)]),
            Host::Name(name) => self.named.add(name, id),
        }
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            return self.assign(id, found);
        }
        let is_same_host = watched.target.address.host == before.address.host;
        if let Some(route) = watched.route.filter(|_| is_same_host) {
            // Only the port has changed.
            self.assign(id, &[route.peer]);
        } else {
            watched.leave(id, &mut self.routes);
            watched.resolution = Resolution::Pending;
        }
        if found.is_some() {
            // The last lookup failed.
            self.assign(id, &[]);
        }
    }
}
