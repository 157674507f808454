//! The targets of a worker by host name, and which of them have not received the newest addresses
//! of their host name yet.
//!
//! All targets of a worker may have the same host name, so an answer is passed on to some targets
//! at a time. A newer answer replaces one that is still being passed on. Targets that want another
//! address wait here for their turn, too.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crate::model::{Found, IpVersion, TargetId};

/// The host names of one worker's targets.
#[derive(Debug, Default)]
pub(super) struct Named {
    names: HashMap<Arc<str>, Sharers>,
    /// Names whose answers are being passed on, each once; some may have no targets any more.
    waiting: VecDeque<Arc<str>>,
    /// Targets that want another address of their name, each once; some may be gone.
    moving: VecDeque<TargetId>,
    /// Names to look up immediately, each listed once until it is answered.
    wanted: VecDeque<Arc<str>>,
}

/// The targets that have a host name.
#[derive(Debug, Default)]
struct Sharers {
    ids: BTreeSet<TargetId>,
    news: Option<News>,
    /// The result of the newest lookup that found an address.
    known: Option<Found>,
    /// Whether the name is to be looked up at once, and no answer has come since.
    is_wanted: bool,
}

/// An answer that is being passed on.
#[derive(Debug)]
struct News {
    found: Found,
    /// Targets up to this one have received it.
    passed: Option<TargetId>,
}

impl Named {
    /// Target `id` has this host name from now on.
    pub(super) fn add(&mut self, name: &str, id: TargetId) {
        if let Some(sharers) = self.names.get_mut(name) {
            sharers.ids.insert(id);
        } else {
            let sharers = Sharers { ids: BTreeSet::from([id]), ..Sharers::default() };
            self.names.insert(name.into(), sharers);
        }
    }

    /// Target `id` no longer has this host name.
    pub(super) fn remove(&mut self, name: &str, id: TargetId) {
        if let Some(sharers) = self.names.get_mut(name) {
            sharers.ids.remove(&id);
            if sharers.ids.is_empty() {
                self.names.remove(name);
            }
        }
    }

    /// The name was looked up.
    pub(super) fn answer(&mut self, name: &str, found: Found) {
        let Some((name, _)) = self.names.get_key_value(name) else { return };
        let name = name.clone();
        let Some(sharers) = self.names.get_mut(&name) else { return };
        sharers.is_wanted = false;
        let news = News { found, passed: None };
        if sharers.news.replace(news).is_none() {
            self.waiting.push_back(name);
        }
    }

    /// The name has these addresses.
    pub(super) fn learn(&mut self, name: &str, found: &Found) {
        if let Some(sharers) = self.names.get_mut(name) {
            sharers.learn(found);
        }
    }

    /// The result of the newest lookup of a name that found an address.
    pub(super) fn known(&self, name: &str) -> Option<&Found> {
        self.names.get(name)?.known.as_ref()
    }

    /// Target `id` wants another address of its name. `is_queued` says whether it waits already.
    pub(super) fn want(&mut self, name: &str, id: TargetId, is_queued: bool) {
        if !is_queued {
            self.moving.push_back(id);
        }
        let Some((name, _)) = self.names.get_key_value(name) else { return };
        let name = name.clone();
        if let Some(sharers) = self.names.get_mut(&name)
            && !sharers.is_wanted
        {
            sharers.is_wanted = true;
            self.wanted.push_back(name);
        }
    }

    /// The next name that is to be looked up at once.
    pub(super) fn next_wanted(&mut self) -> Option<Arc<str>> {
        self.wanted.pop_front()
    }

    /// The next target that wants another address.
    pub(super) fn next_moving(&mut self) -> Option<TargetId> {
        self.moving.pop_front()
    }

    /// Whether an answer is being passed on, or targets want another address.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.moving.is_empty()
    }

    /// The next target to receive the addresses of its name; `None` if all have.
    pub(super) fn next(&mut self) -> Option<(TargetId, Found)> {
        loop {
            let name = self.waiting.front()?;
            let found = self.names.get_mut(name).and_then(Sharers::next);
            if found.is_some() {
                return found;
            }
            self.waiting.pop_front();
        }
    }
}

impl Sharers {
    fn learn(&mut self, found: &Found) {
        if found.of(IpVersion::Auto).is_ok() {
            self.known = Some(found.clone());
        }
    }

    fn next(&mut self) -> Option<(TargetId, Found)> {
        let news = self.news.as_ref()?;
        if news.passed.is_none() {
            let found = news.found.clone();
            self.learn(&found);
        }
        let news = self.news.as_mut()?;
        let from = news.passed.map_or(Bound::Unbounded, Bound::Excluded);
        if let Some(&id) = self.ids.range((from, Bound::Unbounded)).next() {
            news.passed = Some(id);
            return Some((id, news.found.clone()));
        }
        self.news = None;
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    fn id(slot: u32) -> TargetId {
        TargetId::first(slot)
    }

    fn addresses(text: &str) -> Found {
        let all = text.split_whitespace();
        Found::new(Ok(all.map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect()), Ok(vec![]))
    }

    fn named(slots: &[u32]) -> Named {
        let mut named = Named::default();
        for &slot in slots {
            named.add("a", id(slot));
        }
        named
    }

    fn rest(named: &mut Named) -> Vec<(u32, usize)> {
        let next = || named.next().map(|(id, found)| (id.slot(), found.addresses().len()));
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn an_answer_reaches_every_target_of_the_name_once() {
        let mut named = named(&[3, 1, 2]);
        named.add("b", id(4));
        assert!(!named.is_waiting());
        named.answer("a", addresses("192.0.2.1"));
        named.answer("nobody", addresses("192.0.2.1"));
        assert!(named.is_waiting());
        assert_eq!(rest(&mut named), [(1, 1), (2, 1), (3, 1)]);
        assert!(!named.is_waiting());
        named.answer("b", addresses(""));
        assert_eq!(rest(&mut named), [(4, 0)]);
    }

    #[test]
    fn a_newer_answer_replaces_the_one_that_is_being_passed_on() {
        let mut named = named(&[1, 2, 3]);
        named.answer("a", addresses("192.0.2.1"));
        assert_eq!(named.next().unwrap().0, id(1));
        named.answer("a", addresses("192.0.2.1 192.0.2.2"));
        assert_eq!(rest(&mut named), [(1, 2), (2, 2), (3, 2)]);
    }

    #[test]
    fn a_name_that_many_targets_want_is_looked_up_once_until_it_is_answered() {
        let all: Vec<u32> = (0..10_000).collect();
        let mut named = named(&all);
        assert_eq!(named.next_wanted(), None);
        for &slot in &all {
            named.want("a", id(slot), false);
            named.want("a", id(slot), true);
        }
        assert_eq!((named.next_wanted().as_deref(), named.next_wanted()), (Some("a"), None));
        assert!(named.is_waiting());
        let moving = std::iter::from_fn(|| named.next_moving()).map(TargetId::slot);
        assert!(moving.eq(all));
        assert!(!named.is_waiting());
        named.answer("a", addresses("192.0.2.1"));
        assert!(named.next().is_some());
        named.want("a", id(7), false);
        assert_eq!(named.next_wanted().as_deref(), Some("a"));
        named.answer("a", addresses(""));
        assert!(named.next().is_some());
        assert_eq!(named.known("a"), Some(&addresses("192.0.2.1")), "a failure is no news");
    }

    #[test]
    fn a_target_that_loses_the_name_meanwhile_gets_nothing() {
        let mut named = named(&[1, 2, 3]);
        named.answer("a", addresses("192.0.2.1"));
        assert_eq!(named.next().unwrap().0, id(1));
        named.remove("a", id(1));
        named.remove("a", id(2));
        named.remove("b", id(3));
        assert_eq!(rest(&mut named), [(3, 1)]);
        named.answer("a", addresses("192.0.2.1"));
        named.remove("a", id(3));
        assert!(named.names.is_empty());
        named.add("a", id(3).successor());
        named.answer("a", addresses("192.0.2.1"));
        assert_eq!(rest(&mut named), [(3, 1)]);
        assert!(!named.is_waiting());
    }
}
