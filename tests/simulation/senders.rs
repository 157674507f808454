//! Which target sends with which session number to which address: targets of one protocol at one
//! address are told apart by the lowest number that is free when they come there.

use std::net::SocketAddr;
use std::sync::Arc;

use udp_heartbeat::config::{Host, Target};
use udp_heartbeat::probe::Family;

use crate::conditions::Conditions;
use crate::request::Request;
use crate::scenario::Scenario;

/// Where every target sends to, as a plain list.
#[derive(Debug)]
pub(crate) struct Senders {
    senders: Vec<Sender>,
    /// Session numbers of addresses that targets have left for good, by protocol. None is given
    /// again within a minute, and no scenario gives one later.
    left: Vec<(SocketAddr, &'static str, u32)>,
}

#[derive(Debug)]
struct Sender {
    target: Arc<Target>,
    /// The address before the last change, where there was one, and the present one.
    places: Vec<(SocketAddr, u32)>,
}

impl Senders {
    pub(crate) fn new(scenario: &Scenario, conditions: &Conditions) -> Self {
        let mut senders = Self { senders: Vec::new(), left: Vec::new() };
        for (number, target) in scenario.config.targets.iter().enumerate() {
            senders.senders.push(Sender { target: target.clone(), places: Vec::new() });
            if let Host::Ip(ip) = target.address.host {
                let found = SocketAddr::new(ip, target.address.port);
                senders.look_up(number, &[found], conditions);
            }
        }
        senders
    }

    /// The target's name was found to mean these addresses.
    pub(crate) fn look_up(&mut self, target: usize, found: &[SocketAddr], conditions: &Conditions) {
        let present = self.senders[target].places.last().map(|(address, _)| *address);
        let reachable = |address: &&SocketAddr| conditions.has(Family::of(**address));
        let best = found.iter().find(reachable).or(found.first());
        let Some(&address) = best.filter(|_| !present.is_some_and(|at| found.contains(&at))) else {
            return;
        };
        let Sender { target: config, places, .. } = &mut self.senders[target];
        let protocol = config.protocol.name();
        if places.len() == 2 {
            if places[0].0 == address {
                // Back where it was before, with the same number.
                places.swap(0, 1);
                return;
            }
            let (left, session) = places.remove(0);
            self.left.push((left, protocol, session));
        }
        let is_free = |&session: &u32| {
            self.at(address, protocol, session).is_none()
                && !self.left.contains(&(address, protocol, session))
        };
        let session = (0..u32::MAX).find(is_free);
        self.senders[target].places.push((address, session.expect("a free number")));
    }

    /// The target that sent a request to `peer`.
    pub(crate) fn find(&self, peer: SocketAddr, request: &Request) -> usize {
        let found = self.at(peer, request.protocol, request.session);
        found.unwrap_or_else(|| panic!("nobody sends {request:?} to {peer}"))
    }

    fn at(&self, address: SocketAddr, protocol: &str, session: u32) -> Option<usize> {
        self.senders.iter().position(|sender| {
            let is_here = sender.places.contains(&(address, session));
            is_here && sender.target.protocol.name() == protocol
        })
    }
}
