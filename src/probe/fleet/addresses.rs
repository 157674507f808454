//! Where the heartbeats of a fleet's targets go: addresses of names, changes of address, and
//! targets that wait for a session number at their address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::{Host, Target};
use crate::model::{Found, Moment, TargetId, Wall};
use crate::probe::event::{Happening, Move};
use crate::probe::watched::Resolution;

use super::Fleet;

impl Fleet {
    /// A name was looked up. [`pass_on_addresses`](Self::pass_on_addresses) gives the result to the
    /// targets that have it.
    pub fn handle_resolved(&mut self, name: &str, found: Found) {
        self.named.answer(name, found);
    }

    /// The next name to look up immediately, because an address of the name, which a target uses, has
    /// failed.
    pub fn poll_lookup(&mut self) -> Option<Arc<str>> {
        self.named.next_wanted()
    }

    /// Whether targets wait for [`pass_on_addresses`](Self::pass_on_addresses).
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.named.is_waiting()
    }

    /// Gives the newest addresses of their names to at most `most` targets at `now`, and other
    /// addresses to those whose address has failed; true while more wait.
    pub fn pass_on_addresses(&mut self, most: usize, now: Moment) -> bool {
        for _ in 0..most {
            // A number that a target leaves is retired from now on.
            self.routes.advance(now.mono);
            if let Some((id, found)) = self.named.next() {
                self.assign(id, &found, now.wall);
            } else if let Some(id) = self.named.next_moving() {
                self.try_another(id, now.wall);
            } else {
                break;
            }
        }
        self.named.is_waiting()
    }

    /// Gives a target the result of a lookup of its name at `now`; see
    /// [`handle_resolved`](Self::handle_resolved).
    ///
    /// The address in use stays in use while it is among those found and has not failed, and while
    /// lookups fail. A target for which there is no session number at its address gets one as soon
    /// as another target leaves the address; see [`retry_routes`](Self::retry_routes).
    pub fn handle_addresses(&mut self, id: TargetId, found: &Found, now: Moment) {
        self.routes.advance(now.mono);
        if let Some(watched) = self.targets.get(id)
            && let Some(name) = watched.target.lookup_name()
        {
            self.named.learn(name, found);
        }
        self.assign(id, found, now.wall);
    }

    /// Gives a target the result of a lookup. If it may leave an address, call `Routes::advance`
    /// first.
    fn assign(&mut self, id: TargetId, found: &Found, at: Wall) {
        let Some(watched) = self.targets.get_mut(id) else { return };
        if let Host::Ip(_) = watched.target.address.host {
            // It is for one address of the name, which it keeps.
            watched.note(found);
            return;
        }
        let why = if watched.trial.has_failed() { Move::Failed } else { Move::Changed };
        let former = watched.route.map(|route| route.peer);
        let routed = watched.resolved(id, found, &mut self.routes);
        self.settle(id, routed, former.map(|from| (from, why, at)));
    }

    /// Gives a target whose address has failed the next address of its name, if there is another.
    fn try_another(&mut self, id: TargetId, at: Wall) {
        let Some(watched) = self.targets.get_mut(id) else { return };
        watched.trial.is_queued = false;
        let Host::Name(name) = &watched.target.address.host else { return };
        let Some(Ok(found)) =
            self.named.known(name).map(|found| found.of(watched.target.admitted_version()))
        else {
            return;
        };
        let former = watched.route.map(|route| route.peer);
        if former.is_some() && watched.trial.has_failed() {
            let routed = watched.choose(id, &found, &mut self.routes);
            self.settle(id, routed, former.map(|from| (from, Move::Failed, at)));
        }
    }

    /// Gives a target a literal address. `at` is `None` for a new target.
    pub(super) fn place(&mut self, id: TargetId, ip: IpAddr, at: Option<Wall>) {
        let Some(watched) = self.targets.get_mut(id) else { return };
        let former = watched.route.map(|route| route.peer);
        watched.resolution = Resolution::Succeeded;
        let routed = watched.choose(id, &[SocketAddr::new(ip, 0)], &mut self.routes);
        let before = former.zip(at).map(|(from, at)| (from, Move::Changed, at));
        self.settle(id, routed, before);
    }

    /// After a target got an address: lets it wait if it has no route there, and reports that it
    /// has moved. `before` is the address until then, with the reason and the time of the move.
    fn settle(
        &mut self,
        id: TargetId,
        routed: Result<(), SocketAddr>,
        before: Option<(SocketAddr, Move, Wall)>,
    ) {
        let Some(watched) = self.targets.get_mut(id) else { return };
        let prober = watched.session.prober();
        match routed {
            Ok(()) => self.unrouted.remove(id, prober, &mut self.routes),
            Err(peer) => self.unrouted.insert(id, peer, prober, &mut self.routes),
        }
        let to = watched.route.map(|route| route.peer);
        if let Some((from, why, at)) = before
            && let Some(to) = to.filter(|to| *to != from)
        {
            self.events.push_back(watched.event(at, Happening::Moved { from, to, why }));
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
                    target = watched.target.name.as_str(),
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
        self.settle(id, if is_routed { Ok(()) } else { Err(peer) }, None);
    }

    /// Applies the new address of a target at `at`; `before` has the old one.
    ///
    /// If no address of the new host is known, because its lookup failed or has not ended, a target
    /// keeps its address only if the host is the same, and the address is of its IP version.
    pub(super) fn readdress(
        &mut self,
        id: TargetId,
        before: &Target,
        found: Option<&Found>,
        at: Wall,
    ) {
        let Some(watched) = self.targets.get_mut(id) else { return };
        self.unrouted.remove(id, watched.session.prober(), &mut self.routes);
        let is_same_host = watched.target.address.host == before.address.host;
        if !is_same_host {
            watched.trial.forget();
        }
        let name = watched.target.lookup_name();
        if let Some(former) = before.lookup_name().filter(|former| name != Some(*former)) {
            self.named.remove(former, id);
        }
        if let Some(name) = name {
            self.named.add(name, id);
            if let Some(found) = found {
                self.named.learn(name, found);
            }
        }
        let version = watched.target.admitted_version();
        if let Host::Ip(ip) = watched.target.address.host {
            self.place(id, ip, Some(at));
            if let Some(found) = found {
                self.assign(id, found, at);
            }
            return;
        }
        if let Some(found) = found.filter(|found| found.of(version).is_ok()) {
            return self.assign(id, found, at);
        }
        let is_kept = |ip| is_same_host && version.includes(ip);
        if let Some(route) = watched.route.filter(|route| is_kept(route.peer.ip())) {
            // Only the port has changed, or the other IP version is no longer used.
            self.place(id, route.peer.ip(), Some(at));
        } else {
            watched.leave(id, &mut self.routes);
            watched.resolution = Resolution::Pending;
        }
        if let Some(failed) = found {
            // The last lookup failed.
            self.assign(id, failed, at);
        }
    }
}
