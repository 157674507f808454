//! Which target sends with which session number to which address. The numbers distinguish targets
//! of one protocol at one address: each gets the lowest number that is free when it comes there.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use udp_heartbeat::config::{Host, Target};
use udp_heartbeat::model::Mono;

use crate::conditions::Conditions;
use crate::request::Request;
use crate::truth::{Change, Order};
use crate::whereabouts::{Trial, Whereabouts};

/// Minimum time before the number of a target that has left an address is given to another target.
const KEPT_BACK: Duration = Duration::from_secs(60);

/// Where every target sends to, as a plain list.
#[derive(Debug, Default)]
pub(crate) struct Senders {
    /// By target number, without removed targets.
    senders: BTreeMap<usize, Sender>,
    /// Session numbers of addresses that targets have left, by protocol, and until when each is
    /// kept back.
    left: Vec<(SocketAddr, &'static str, u32, Mono)>,
}

#[derive(Debug)]
struct Sender {
    target: Arc<Target>,
    whereabouts: Whereabouts,
    /// The address and session number of each stay from which answers still count.
    sessions: BTreeMap<u64, (SocketAddr, u32)>,
}

impl Senders {
    /// Applies an order that may change where heartbeats go, at `now`. `slot_of` gives the order in
    /// which targets of one name get its addresses.
    pub(crate) fn carry_out(
        &mut self,
        order: &Order,
        now: Mono,
        conditions: &Conditions,
        slot_of: impl Fn(usize) -> u32,
    ) {
        match order {
            Order::Change(Change::Add { number, target, found }) => {
                let whereabouts = Whereabouts::new(target, found.as_deref(), conditions);
                let target = target.clone();
                let sender = Sender { target, whereabouts, sessions: BTreeMap::new() };
                self.senders.insert(*number, sender);
                self.settle(*number, now);
            }
            Order::Change(Change::Remove { number }) => {
                self.sender(*number).whereabouts = Whereabouts::default();
                self.settle(*number, now);
                self.senders.remove(number);
            }
            Order::Change(Change::Retune { number, target, found }) => {
                let sender = self.sender(*number);
                let before = std::mem::replace(&mut sender.target, target.clone());
                sender.whereabouts.retune(&before, target, found.as_deref(), conditions);
                self.settle(*number, now);
            }
            Order::Lookup { name, found, .. } => {
                self.look_up(name, found, now, conditions, slot_of);
            }
            Order::Move(number) => {
                if let Some(sender) = self.senders.get_mut(number) {
                    sender.whereabouts.try_another(&sender.target, conditions);
                    self.settle(*number, now);
                }
            }
            Order::Apply { .. } | Order::Look(..) | Order::Stop => {}
        }
    }

    fn look_up(
        &mut self,
        name: &str,
        found: &[IpAddr],
        now: Mono,
        conditions: &Conditions,
        slot_of: impl Fn(usize) -> u32,
    ) {
        let is_called =
            |sender: &Sender| matches!(&sender.target.address.host, Host::Name(own) if own == name);
        let called = self.senders.iter().filter(|(_, sender)| is_called(sender));
        let mut called: Vec<usize> = called.map(|(number, _)| *number).collect();
        called.sort_by_key(|&number| slot_of(number));
        for number in called {
            let sender = self.sender(number);
            sender.whereabouts.look_up(&sender.target, found, conditions);
            self.settle(number, now);
        }
    }

    /// What is known about the address in use of a target after a round.
    pub(crate) fn learn(&mut self, number: usize, trial: &Trial, beats: u64) {
        if let Some(sender) = self.senders.get_mut(&number) {
            sender.whereabouts.trial = trial.clone();
            sender.whereabouts.beats = beats;
        }
    }

    /// The target that sent a request to `peer`.
    pub(crate) fn find(&self, peer: SocketAddr, request: &Request) -> usize {
        let found = self.at(peer, request.protocol, request.session);
        found.unwrap_or_else(|| panic!("nobody sends {request:?} to {peer}"))
    }

    /// Keeps back the numbers of stays that are over, and gives one to the stay that has begun.
    fn settle(&mut self, number: usize, now: Mono) {
        let sender = &self.senders[&number];
        let protocol = sender.target.protocol.name();
        let until = now + KEPT_BACK.max(sender.target.timeout);
        let is_over = |stay: &u64| !sender.whereabouts.knows(*stay);
        let over: Vec<u64> = sender.sessions.keys().copied().filter(is_over).collect();
        let present = sender.whereabouts.present;
        let begun = present.filter(|place| !sender.sessions.contains_key(&place.stay));
        for stay in over {
            let (address, session) = self.sender(number).sessions.remove(&stay).expect("a stay");
            self.left.push((address, protocol, session, until));
        }
        let Some(place) = begun else { return };
        self.left.retain(|&(.., until)| until > now);
        let is_free = |&session: &u32| {
            let is_left = |&(address, left, number, _): &(_, &str, u32, _)| {
                (address, left, number) == (place.address, protocol, session)
            };
            self.at(place.address, protocol, session).is_none() && !self.left.iter().any(is_left)
        };
        let session = (0..u32::MAX).find(is_free).expect("a free number");
        self.sender(number).sessions.insert(place.stay, (place.address, session));
    }

    fn sender(&mut self, number: usize) -> &mut Sender {
        self.senders.get_mut(&number).expect("a target that is there")
    }

    fn at(&self, address: SocketAddr, protocol: &str, session: u32) -> Option<usize> {
        let is_here = |sender: &Sender| {
            let mut sessions = sender.sessions.values();
            sender.target.protocol.name() == protocol
                && sessions.any(|own| *own == (address, session))
        };
        let found = self.senders.iter().find(|(_, sender)| is_here(sender));
        found.map(|(number, _)| *number)
    }
}
