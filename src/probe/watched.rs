//! One target of a worker: its settings, its route, and its session.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Target;
use crate::model::{
    Found, Label as _, LookupFailure, Moment, Mono, PacketOptions, State, TargetId, UnsentReason,
    Wall,
};
use crate::observe::Evidence;
use crate::session::{Answered, Rare, Record, Session, SessionSettings};
use crate::wire::Prober;

use super::detour::{Detour, LONGEST_TIMEOUT, Wanted, is_stuck};
use super::event::{Event, Happening, PortChange};
use super::named::Named;
use super::routes::{Route, Routes};
use super::trial::Trial;

/// One target.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) target: Arc<Target>,
    /// Whether its packet options are other than the default ones. Here, because every heartbeat
    /// needs it, and few targets have such options.
    pub(super) has_packet_options: bool,
    pub(super) session: Session,
    /// The moment of its valid entry in the agenda; [`NEVER`] if it has none. Any other entry is
    /// void.
    pub(super) wake: Mono,
    pub(super) route: Option<Route>,
    /// The first heartbeat since the last change of route.
    pub(super) routed_from: u64,
    /// The route before the last change of address: answers may still come from there.
    pub(super) former: Option<Box<Route>>,
    pub(super) trial: Trial,
    /// The source ports of its heartbeats, once it has been stuck or answered while it was down;
    /// `None` while it needs only the usual one.
    pub(super) detour: Option<Box<Detour>>,
    pub(super) resolution: Resolution,
    /// Lookups that gave it no address.
    pub(super) lookup_failures: Rare<{ LookupFailure::COUNT }>,
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
    Failed(LookupFailure),
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
            has_packet_options: target.packets != PacketOptions::default(),
            target,
            wake: NEVER,
            route: None,
            routed_from: 0,
            former: None,
            trial: Trial::default(),
            detour: None,
            resolution: Resolution::Pending,
            lookup_failures: Rare::default(),
            address_changes: 0,
            is_candidate: false,
        }
    }

    /// Its name was looked up. The error is the address at which it gets no route, because too many
    /// targets there expect the same replies.
    ///
    /// The address in use stays in use while it is among those found and has not failed, and while
    /// lookups fail. A target that takes the place of a template gets none.
    pub(super) fn resolved(
        &mut self,
        id: TargetId,
        found: &Found,
        routes: &mut Routes,
    ) -> Result<(), SocketAddr> {
        let Some(addresses) = self.note(found) else { return Ok(()) };
        if self.target.template_name().is_some() {
            // Other targets soon take its place.
            self.resolution = Resolution::Pending;
            return Ok(());
        }
        self.choose(id, &addresses, routes)
    }

    /// Notes whether a lookup of its name succeeded, and returns the addresses that it can use.
    pub(super) fn note(&mut self, found: &Found) -> Option<Vec<SocketAddr>> {
        match found.of(self.target.admitted_version()) {
            Ok(addresses) => {
                self.resolution = Resolution::Succeeded;
                Some(addresses)
            }
            Err(why) => {
                self.resolution = Resolution::Failed(why);
                self.lookup_failures[why.index()] += 1;
                None
            }
        }
    }

    /// Uses one of these addresses, which are in order of preference and without regard to their
    /// ports; nothing changes if there is none. The error is that of [`resolved`](Self::resolved).
    pub(super) fn choose(
        &mut self,
        id: TargetId,
        found: &[SocketAddr],
        routes: &mut Routes,
    ) -> Result<(), SocketAddr> {
        let current = self.route.map(|route| route.peer.ip());
        let Some(mut peer) = self.trial.choose(found, current) else { return Ok(()) };
        peer.set_port(self.target.address.port);
        if self.move_to(id, peer, routes) { Ok(()) } else { Err(peer) }
    }

    /// A datagram came from `peer`, and the session classified it as `what`. Before it, the session had
    /// counted `lost` heartbeats as lost.
    pub(super) fn heard(
        &mut self,
        id: TargetId,
        what: Answered,
        peer: SocketAddr,
        lost: u64,
        named: &mut Named,
    ) {
        match what {
            Answered::InTime { sequence, .. } => {
                if self.route.is_some_and(|route| route.peer == peer) {
                    self.trial.answered(sequence);
                }
            }
            // It may have come before the timeout was noticed.
            Answered::Late { sequence, .. } if self.session.lost() > lost => {
                if self.trial.missed(sequence, false, self.target.misses) {
                    self.want_another(id, named);
                }
            }
            Answered::Late { .. } | Answered::Duplicate { .. } | Answered::Invalid(_) => {}
        }
    }

    /// The source port that heartbeat `sequence` is to leave from at `now`.
    pub(super) fn port(&mut self, sequence: u64, now: Mono) -> Wanted {
        let down_since = self.session.down_since();
        if self.detour.is_none() && !is_stuck(down_since, now)
            || self.target.timeout > LONGEST_TIMEOUT
        {
            return Wanted::Usual;
        }
        let detour = self.detour.get_or_insert_with(|| Box::new(Detour::new()));
        detour.depart(sequence, down_since, now)
    }

    /// A heartbeat was answered in time at `now`. Returns a change of its source port that is to be
    /// reported.
    pub(super) fn answered(&mut self, sequence: u64, now: Mono) -> Option<PortChange> {
        let is_up = self.session.state() == Some(State::Up);
        if self.detour.is_none() && is_up {
            return None;
        }
        let detour = self.detour.get_or_insert_with(|| Box::new(Detour::new()));
        let change = detour.answered(sequence, now);
        if detour.is_over() && is_up {
            self.detour = None;
        }
        change
    }

    /// Its address has failed: if it has a name, or is for one address of a name, the name is looked
    /// up at once. With a name, another address is wanted.
    pub(super) fn want_another(&mut self, id: TargetId, named: &mut Named) {
        if let Some(name) = self.target.lookup_name()
            && self.route.is_some()
        {
            let is_queued = std::mem::replace(&mut self.trial.is_queued, true);
            named.want(name, id, is_queued);
        }
    }

    /// Heartbeats go to `peer` from now on. False if no more targets can share it.
    pub(super) fn move_to(&mut self, id: TargetId, peer: SocketAddr, routes: &mut Routes) -> bool {
        if self.route.is_some_and(|route| route.peer == peer) {
            return true;
        }
        self.trial.moved(self.session.next());
        self.detour = None;
        self.session.break_numbers();
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
        let is_first = self.session.verdicts() == 1;
        let what = Happening::Changed { state, misses, is_first };
        Some(Event { evidence, ..self.event(now.wall, what) })
    }

    /// The evidence for a diagnosis at `now`; `impaired` says whether the probe is impaired.
    fn evidence(&self, now: Moment, impaired: bool) -> Evidence {
        Evidence {
            at: now.wall,
            symptoms: self.session.symptoms(now.mono),
            endpoint: self.route.map(|route| route.peer),
            resolved: self.resolution == Resolution::Succeeded,
            lookup_failure: self.resolution.failure(),
            impaired,
        }
    }

    /// Why a heartbeat without a route is not sent.
    pub(super) fn unsent_without_route(&self) -> UnsentReason {
        match self.resolution {
            Resolution::Succeeded => UnsentReason::Other,
            Resolution::Pending | Resolution::Failed(_) => UnsentReason::Unresolved,
        }
    }
}

impl Resolution {
    /// Why the last lookup failed; `None` if it did not.
    pub(super) fn failure(self) -> Option<LookupFailure> {
        if let Self::Failed(why) = self { Some(why) } else { None }
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
