//! The targets of a worker by host name, and which of them have not received the newest addresses
//! of their host name yet.
//!
//! All targets of a worker may have the same host name, so an answer is passed on to some targets
//! at a time. A newer answer replaces one that is still being passed on.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;

use crate::model::TargetId;

/// The host names of one worker's targets.
#[derive(Debug, Default)]
pub(super) struct Named {
    names: HashMap<Arc<str>, Sharers>,
    /// Names whose answers are being passed on, each once; some may have no targets any more.
    waiting: VecDeque<Arc<str>>,
}

/// The targets that have a host name.
#[derive(Debug, Default)]
struct Sharers {
    ids: BTreeSet<TargetId>,
    news: Option<News>,
}

/// An answer that is being passed on.
#[derive(Debug)]
struct News {
    addresses: Arc<[SocketAddr]>,
    /// Targets up to this one have received it.
    passed: Option<TargetId>,
}

impl Named {
    /// Target `id` has this host name from now on.
    pub(super) fn add(&mut self, name: &str, id: TargetId) {
        if let Some(sharers) = self.names.get_mut(name) {
            sharers.ids.insert(id);
        } else {
            let sharers = Sharers { ids: BTreeSet::from([id]), news: None };
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

    /// The name was looked up; `addresses` is empty if that failed.
    pub(super) fn answer(&mut self, name: &str, addresses: Arc<[SocketAddr]>) {
        let Some((name, _)) = self.names.get_key_value(name) else { return };
        let name = name.clone();
        let Some(sharers) = self.names.get_mut(&name) else { return };
        let news = News { addresses, passed: None };
        if sharers.news.replace(news).is_none() {
            self.waiting.push_back(name);
        }
    }

    /// Whether an answer is being passed on.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next target to receive the addresses of its name; `None` if all have.
    pub(super) fn next(&mut self) -> Option<(TargetId, Arc<[SocketAddr]>)> {
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
    fn next(&mut self) -> Option<(TargetId, Arc<[SocketAddr]>)> {
        let news = self.news.as_mut()?;
        let from = news.passed.map_or(Bound::Unbounded, Bound::Excluded);
        if let Some(&id) = self.ids.range((from, Bound::Unbounded)).next() {
            news.passed = Some(id);
            return Some((id, news.addresses.clone()));
        }
        self.news = None;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(slot: u32) -> TargetId {
        TargetId::first(slot)
    }

    fn addresses(text: &str) -> Arc<[SocketAddr]> {
        text.split_whitespace().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect()
    }

    fn named(slots: &[u32]) -> Named {
        let mut named = Named::default();
        for &slot in slots {
            named.add("a", id(slot));
        }
        named
    }

    fn rest(named: &mut Named) -> Vec<(u32, usize)> {
        let next = || named.next().map(|(id, found)| (id.slot(), found.len()));
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
