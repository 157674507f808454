//! One target of a worker: its settings, its route, and its session.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Target;
use crate::model::{Moment, Mono, TargetId, UnsentReason, Wall};
use crate::observe::Evidence;
use crate::session::{Record, Session, SessionSettings};
use crate::wire::Prober;

use super::event::{Event, Happening};
use super::routes::{Route, Routes};

/// One target.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) target: Arc<Target>,
    pub(super) session: Session,
    /// The moment of its valid entry in the agenda; [`NEVER`] if it has none. Any other entry is
    /// void.
    pub(super) wake: Mono,
    pub(super) route: Option<Route>,
    /// The first heartbeat since the last change of route.
    pub(super) routed_from: u64,
    /// The route before the last change of address: answers may still come from there.
    pub(super) former: Option<Box<Route>>,
    pub(super) resolution: Resolution,
    pub(super) address_changes: u64,
    /// Whether it is among the candidates of `strays`.
    pub(super) is_candidate: bool,
}

/// A moment that never comes.
pub(super) const NEVER: Mono = Mono::from_nanos(u64::MAX);

/// The result of the last lookup of a target's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    Pending,
    Failed,
    Succeeded,
}

impl Watched {
    /// A target without an address, whose heartbeats `prober` encodes, from `first` on. The first has
    /// the number `first_number` on the wire.
    pub(super) fn new(
        target: Arc<Target>,
        prober: Arc<dyn Prober>,
        first_number: u32,
        record: Record,
        first: Mono,
    ) -> Self {
        Self {
            session: Session::new(&settings(&target), prober, record, first)
                .numbered_from(first_number),
            target,
            wake: NEVER,
            route: None,
            routed_from: 0,
            former: None,
            resolution: Resolution::Pending,
            address_changes: 0,
            is_candidate: false,
        }
    }

    /// Its name was looked up. `found` are its addresses in order of preference, without regard to
    /// their ports; none if the lookup failed. The error is the address at which it gets no route,
    /// because too many targets there expect the same replies.
    ///
    /// The address in use stays in use while it is among `found`, and while lookups fail.
    pub(super) fn resolved(
        &mut self,
        id: TargetId,
        found: &[SocketAddr],
        routes: &mut Routes,
    ) -> Result<(), SocketAddr> {
        let current = self.route.map(|route| route.peer.ip());
        let kept = found.iter().find(|address| Some(address.ip()) == current);
        let Some(&(mut peer)) = kept.or(found.first()) else {
            self.resolution = Resolution::Failed;
            return Ok(());
        };
        self.resolution = Resolution::Succeeded;
        peer.set_port(self.target.address.port);
        if self.move_to(id, peer, routes) { Ok(()) } else { Err(peer) }
    }

    /// Heartbeats go to `peer` from now on. False if no more targets can share it.
    pub(super) fn move_to(&mut self, id: TargetId, peer: SocketAddr, routes: &mut Routes) -> bool {
        if self.route.is_some_and(|route| route.peer == peer) {
            return true;
        }
        self.routed_from = self.session.next();
        let former = self.former.take_if(|former| former.peer == peer);
        let resumed = former.filter(|route| routes.resume(id, **route, self.session.prober()));
        self.leave(id, routes);
        if let Some(route) = resumed {
            // Back at its former address, with the same session number.
            self.address_changes += u64::from(self.former.is_some());
            self.route = Some(*route);
            return true;
        }
        self.route = routes.add(id, peer, self.session.prober());
        self.address_changes += u64::from(self.former.is_some() && self.route.is_some());
        self.route.is_some()
    }

    /// Heartbeats have no destination until there is a new address.
    pub(super) fn leave(&mut self, id: TargetId, routes: &mut Routes) {
        let Some(route) = self.route.take() else { return };
        routes.leave(id, route, self.session.prober());
        if let Some(older) = self.former.replace(Box::new(route)) {
            routes.retire(id, *older, self.session.prober(), self.target.timeout);
        }
    }

    /// The event that `what` happened to it at `at`.
    pub(super) fn event(&self, at: Wall, what: Happening) -> Event {
        Event { target: self.target.clone(), at, what, evidence: None }
    }

    /// The change of its verdict that has not been reported yet, with its evidence. The probe is
    /// impaired until `impaired_until`.
    pub(super) fn change(&mut self, now: Moment, impaired_until: Option<Mono>) -> Option<Event> {
        let state = self.session.poll_change()?;
        let misses = self.session.consecutive_misses();
        let impaired = impaired_until.is_some_and(|until| now.mono < until);
        let evidence = Some(self.evidence(now, impaired));
        Some(Event { evidence, ..self.event(now.wall, Happening::Changed { state, misses }) })
    }

    /// The evidence for a diagnosis at `now`; `impaired` says whether the probe is impaired.
    fn evidence(&self, now: Moment, impaired: bool) -> Evidence {
        Evidence {
            at: now.wall,
            symptoms: self.session.symptoms(now.mono),
            endpoint: self.route.map(|route| route.peer),
            resolved: self.resolution == Resolution::Succeeded,
            impaired,
        }
    }

    /// Why a heartbeat without a route is not sent.
    pub(super) fn unsent_without_route(&self) -> UnsentReason {
        match self.resolution {
            Resolution::Succeeded => UnsentReason::Other,
            Resolution::Pending | Resolution::Failed => UnsentReason::Unresolved,
        }
    }
}

/// The settings of a target's session.
pub(super) fn settings(target: &Target) -> SessionSettings {
    SessionSettings {
        interval: target.interval,
        timeout: target.timeout,
        misses: target.misses,
        recoveries: target.recoveries,
        recorder: target.recorder,
    }
}
