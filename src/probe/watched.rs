//! One target of a worker: what was configured, where its heartbeats go, and its session.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Target;
use crate::model::{Moment, Mono, TargetId, UnsentReason, Wall};
use crate::observe::Evidence;
use crate::session::{Record, Session, SessionSettings};
use crate::wire::Prober;

use super::event::{Event, Happening};
use super::routes::{Route, Routes};

/// One target, where it is, and its life.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) target: Arc<Target>,
    pub(super) session: Session,
    /// When the agenda has it next; [`NEVER`] where it does not. Any other entry of the agenda is
    /// void.
    pub(super) wake: Mono,
    pub(super) route: Option<Route>,
    /// The route before the last change of address: answers may still come that way.
    pub(super) former: Option<Box<Route>>,
    pub(super) resolution: Resolution,
    pub(super) address_changes: u64,
}

/// A moment that never comes.
pub(super) const NEVER: Mono = Mono::from_nanos(u64::MAX);

/// What is known of a target's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    Pending,
    Failed,
    Succeeded,
}

impl Watched {
    /// A target that has no address yet, sends by `prober`, and whose first heartbeat is due at
    /// `first`.
    pub(super) fn new(
        target: Arc<Target>,
        prober: Arc<dyn Prober>,
        record: Record,
        first: Mono,
    ) -> Self {
        Self {
            session: Session::new(&settings(&target), prober, record, first),
            target,
            wake: NEVER,
            route: None,
            former: None,
            resolution: Resolution::Pending,
            address_changes: 0,
        }
    }

    /// Its name was looked up: its addresses in order of preference, whatever their ports; none
    /// where that failed. False where too many targets there expect the same replies, and it has no
    /// route.
    ///
    /// The address in use stays in use while it is among them, and while lookups fail.
    pub(super) fn resolved(
        &mut self,
        id: TargetId,
        found: &[SocketAddr],
        routes: &mut Routes,
    ) -> bool {
        let current = self.route.map(|route| route.peer.ip());
        let kept = found.iter().find(|address| Some(address.ip()) == current);
        let Some(&(mut peer)) = kept.or(found.first()) else {
            self.resolution = Resolution::Failed;
            return true;
        };
        self.resolution = Resolution::Succeeded;
        peer.set_port(self.target.address.port);
        self.move_to(id, peer, routes)
    }

    /// Heartbeats go to `peer` from now on. False where no more targets can share it.
    pub(super) fn move_to(&mut self, id: TargetId, peer: SocketAddr, routes: &mut Routes) -> bool {
        if self.route.is_some_and(|route| route.peer == peer) {
            return true;
        }
        let former = self.former.take_if(|former| former.peer == peer);
        let resumed = former.filter(|route| routes.resume(id, **route, self.session.prober()));
        self.leave(id, routes);
        if let Some(route) = resumed {
            // Back where it was before, with the same session number.
            self.address_changes += u64::from(self.former.is_some());
            self.route = Some(*route);
            return true;
        }
        self.route = routes.add(id, peer, self.session.prober());
        self.address_changes += u64::from(self.former.is_some() && self.route.is_some());
        self.route.is_some()
    }

    /// Heartbeats go nowhere until there is a new address.
    pub(super) fn leave(&mut self, id: TargetId, routes: &mut Routes) {
        let Some(route) = self.route.take() else { return };
        routes.leave(id, route, self.session.prober());
        if let Some(older) = self.former.replace(Box::new(route)) {
            routes.retire(id, *older, self.session.prober(), self.target.timeout);
        }
    }

    /// Something that happened to it at `at`.
    pub(super) fn event(&self, at: Wall, what: Happening) -> Event {
        Event { target: self.target.clone(), at, what, evidence: None }
    }

    /// The change of its verdict that has not been reported yet, with what explains it; the probe
    /// is impaired until `impaired_until`.
    pub(super) fn change(&mut self, now: Moment, impaired_until: Option<Mono>) -> Option<Event> {
        let state = self.session.poll_change()?;
        let misses = self.session.consecutive_misses();
        let impaired = impaired_until.is_some_and(|until| now.mono < until);
        let evidence = Some(self.evidence(now, impaired));
        Some(Event { evidence, ..self.event(now.wall, Happening::Changed { state, misses }) })
    }

    /// What explains its trouble at `now`; `impaired` is whether the probe is.
    fn evidence(&self, now: Moment, impaired: bool) -> Evidence {
        Evidence {
            at: now.wall,
            symptoms: self.session.symptoms(now.mono),
            endpoint: self.route.map(|route| route.peer),
            resolved: self.resolution == Resolution::Succeeded,
            impaired,
        }
    }

    /// Why a heartbeat that has nowhere to go is not sent.
    pub(super) fn unsent_without_route(&self) -> UnsentReason {
        match self.resolution {
            Resolution::Succeeded => UnsentReason::Other,
            Resolution::Pending | Resolution::Failed => UnsentReason::Unresolved,
        }
    }
}

/// How a target is probed and judged.
pub(super) fn settings(target: &Target) -> SessionSettings {
    SessionSettings {
        interval: target.interval,
        timeout: target.timeout,
        misses: target.misses,
        recoveries: target.recoveries,
        recorder: target.recorder,
    }
}
