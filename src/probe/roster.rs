//! The coordinator's list of targets: the worker of each target and its identity there, in the
//! order of the configuration.
//!
//! Outside, targets are identified by name; inside a worker, by [`TargetId`]. A roster is
//! immutable: a change produces a new one.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::config::{DuplicateNames, Target};
use crate::model::TargetId;

use super::command::{Addressed, Order};
use super::placement;
use super::plan::{Change, plan};

/// Every target, with its worker and its identity there.
///
/// Immutable. [`succession`](Self::succession) returns the next roster and the orders for the
/// workers.
#[derive(Debug, Clone)]
pub struct Roster {
    /// In the order of the configuration.
    members: Vec<Member>,
    /// Indices into `members`, sorted by name.
    by_name: Box<[u32]>,
    /// By worker.
    crew: Vec<Slots>,
}

/// A target, its worker, and its identity there.
#[derive(Debug, Clone)]
struct Member {
    target: Arc<Target>,
    worker: u32,
    id: TargetId,
}

/// The slots of one worker.
#[derive(Debug, Clone, Default)]
struct Slots {
    /// By slot: the index in `members` of its last user.
    places: Vec<u32>,
    /// The next identity of each free slot.
    free: Vec<TargetId>,
}

/// How many targets a new configuration has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Applied {
    /// Targets that were added, including those that were removed and added again.
    pub added: usize,
    /// Targets that were removed, including those that were removed and added again.
    pub removed: usize,
    /// Targets with changed settings, which keep their counters.
    pub retuned: usize,
    /// Unchanged targets.
    pub unchanged: usize,
}

/// What a configuration would change, by the names of the targets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preview {
    /// Targets that would be removed.
    pub removed: Vec<String>,
    /// Targets whose settings would change, and which would keep their counters.
    pub retuned: Vec<String>,
    /// Targets that would be added. A target that would be removed and added starts with new counters.
    pub added: Vec<String>,
    /// How many targets would stay as they are.
    pub unchanged: usize,
}

/// The change to another roster.
#[derive(Debug)]
pub struct Succession {
    /// The new roster.
    pub roster: Roster,
    /// The orders for each worker, by its index: removals, then changed settings, then new targets.
    /// The caller fills in the addresses of names.
    pub orders: Vec<Vec<Order>>,
    /// Removed and changed targets with their previous settings, and their workers.
    pub leaving: Vec<(usize, Arc<Target>)>,
    /// The numbers of changed and unchanged targets.
    pub applied: Applied,
}

impl Roster {
    /// A roster without targets, for this number of workers.
    #[must_use]
    pub fn new(workers: NonZeroUsize) -> Self {
        Self {
            members: Vec::new(),
            by_name: Box::default(),
            crew: vec![Slots::default(); workers.get()],
        }
    }

    /// All targets, in the order of the configuration.
    pub fn targets(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.members.iter().map(|member| &member.target)
    }

    /// The worker and the identity of the target of this name; `None` for an unknown name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(usize, TargetId)> {
        let member = self.member(name)?;
        Some((member.worker as usize, member.id))
    }

    /// Sorts the workers' answers about their targets into the order of the configuration, without
    /// targets that have been removed.
    pub(super) fn arrange<T>(&self, answers: impl Iterator<Item = Vec<(TargetId, T)>>) -> Vec<T> {
        let mut arranged: Vec<Option<T>> = Vec::new();
        arranged.resize_with(self.members.len(), || None);
        for (worker, answer) in answers.enumerate() {
            for (id, item) in answer {
                if let Some(place) = self.place(worker, id) {
                    arranged[place] = Some(item);
                }
            }
        }
        arranged.into_iter().flatten().collect()
    }

    /// What [`succession`](Self::succession) would change.
    ///
    /// # Errors
    /// If the names of `wanted` are not unique.
    pub fn preview(&self, wanted: &[Arc<Target>]) -> Result<Preview, DuplicateNames> {
        let current: Vec<_> = self.targets().cloned().collect();
        let mut preview = Preview::default();
        for change in plan(&current, wanted)? {
            match change {
                Change::Remove(target) => preview.removed.push(target.name.clone()),
                Change::Retune(target) => preview.retuned.push(target.name.clone()),
                Change::Add(target) => preview.added.push(target.name.clone()),
            }
        }
        preview.unchanged = wanted.len() - preview.added.len() - preview.retuned.len();
        Ok(preview)
    }

    /// The change to a roster of the targets `wanted`, which are identified by their names.
    ///
    /// Unchanged targets get no order. Targets whose protocol or protocol options change are
    /// removed and added again; targets with other changed settings are retuned.
    ///
    /// # Errors
    /// If their names are not unique.
    pub fn succession(&self, wanted: &[Arc<Target>]) -> Result<Succession, DuplicateNames> {
        let current: Vec<_> = self.targets().cloned().collect();
        let changes = plan(&current, wanted)?;
        let mut crew = self.crew.clone();
        let mut applied = Applied::default();
        let mut leaving = Vec::new();
        let mut orders = vec![Vec::new(); crew.len()];
        let mut additions = vec![Vec::new(); crew.len()];
        let mut news: HashMap<&str, Member> = HashMap::new();
        for change in &changes {
            match change {
                Change::Remove(target) => {
                    let Some((worker, id)) = self.find(&target.name) else { continue };
                    crew[worker].free.push(id.successor());
                    orders[worker].push(Order::Remove(id));
                    leaving.push((worker, target.clone()));
                    applied.removed += 1;
                }
                Change::Retune(target) => {
                    let Some(member) = self.member(&target.name) else { continue };
                    let worker = member.worker as usize;
                    orders[worker].push(Order::Retune(member.id, Addressed::new(target)));
                    leaving.push((worker, member.target.clone()));
                    let member = Member { target: target.clone(), ..member.clone() };
                    news.insert(&target.name, member);
                    applied.retuned += 1;
                }
                Change::Add(target) => {
                    let worker = self.worker(&target.name);
                    additions[worker].push(target);
                    applied.added += 1;
                }
            }
        }
        for (worker, mut added) in additions.into_iter().enumerate() {
            // Targets of the same interval fall due in this order, so they are in memory in this
            // order.
            added.sort_by_cached_key(|target| placement::digest(&target.name));
            for target in added {
                let id = crew[worker].take();
                orders[worker].push(Order::Add(id, Addressed::new(target)));
                let member = Member { target: target.clone(), worker: number(worker), id };
                news.insert(&target.name, member);
            }
        }
        applied.unchanged = wanted.len() - applied.added - applied.retuned;
        let members = wanted.iter().filter_map(|target| {
            news.remove(target.name.as_str()).or_else(|| self.member(&target.name).cloned())
        });
        let roster = Self::of(members.collect(), crew);
        Ok(Succession { roster, orders, leaving, applied })
    }

    fn of(members: Vec<Member>, mut crew: Vec<Slots>) -> Self {
        let mut by_name: Box<[u32]> = (0..).take(members.len()).collect();
        by_name.sort_unstable_by_key(|&place| &members[place as usize].target.name);
        for (place, member) in (0..).zip(&members) {
            crew[member.worker as usize].places[member.id.slot() as usize] = place;
        }
        Self { members, by_name, crew }
    }

    fn member(&self, name: &str) -> Option<&Member> {
        let named = |&place: &u32| self.members[place as usize].target.name.as_str().cmp(name);
        let found = self.by_name.binary_search_by(named).ok()?;
        self.members.get(self.by_name[found] as usize)
    }

    /// The index of a target of this worker in the configuration.
    fn place(&self, worker: usize, id: TargetId) -> Option<usize> {
        let place = *self.crew.get(worker)?.places.get(id.slot() as usize)? as usize;
        let member = self.members.get(place)?;
        (member.id == id && member.worker as usize == worker).then_some(place)
    }

    /// The worker that a target of this name belongs to.
    fn worker(&self, name: &str) -> usize {
        let workers = NonZeroUsize::new(self.crew.len()).unwrap_or(NonZeroUsize::MIN);
        placement::worker(name, workers)
    }
}

impl Slots {
    /// The identity of the next target: in a free slot, or in a new one.
    fn take(&mut self) -> TargetId {
        self.free.pop().unwrap_or_else(|| {
            let id = TargetId::first(number(self.places.len()));
            self.places.push(0);
            id
        })
    }
}

/// Converts a count; there are far fewer than 2³² workers and targets.
fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Defaults, parse_target};

    const WORKERS: NonZeroUsize = NonZeroUsize::new(3).unwrap();

    fn targets(names: &[(u8, bool)]) -> Vec<Arc<Target>> {
        let mut seen = BTreeSet::new();
        let unique = names.iter().filter(|(name, _)| seen.insert(*name));
        let target = |&(name, ping): &(u8, bool)| {
            let text = if ping { "ping://192.0.2.1" } else { "192.0.2.1" };
            let target = parse_target(text, &Defaults::default()).unwrap();
            Arc::new(Target { name: format!("target {name}"), ..target })
        };
        unique.map(target).collect()
    }

    fn names<'a>(targets: impl Iterator<Item = &'a Arc<Target>>) -> Vec<&'a str> {
        targets.map(|target| target.name.as_str()).collect()
    }

    proptest! {
        /// After every succession, the workers have the targets of the roster.
        #[test]
        fn workers_and_roster_agree_and_no_identity_is_given_twice(
            configurations in vec(vec((0..30_u8, any::<bool>()), 0..40), 1..12),
        ) {
            let mut roster = Roster::new(WORKERS);
            let mut crew: Vec<BTreeMap<TargetId, Arc<Target>>> = vec![BTreeMap::new(); 3];
            let mut given = BTreeSet::new();
            for configuration in configurations {
                let wanted = targets(&configuration);
                let Succession { roster: next, orders, applied, .. } =
                    roster.succession(&wanted).unwrap();
                for (worker, orders) in orders.into_iter().enumerate() {
                    for order in orders {
                        match order {
                            Order::Add(id, Addressed { target, .. }) => {
                                prop_assert!(given.insert((worker, id)), "{id:?} again");
                                let slot = id.slot();
                                prop_assert!(crew[worker].keys().all(|id| id.slot() != slot));
                                crew[worker].insert(id, target);
                            }
                            Order::Remove(id) => {
                                prop_assert!(crew[worker].remove(&id).is_some());
                            }
                            Order::Retune(id, Addressed { target, .. }) => {
                                prop_assert!(crew[worker].insert(id, target).is_some());
                            }
                        }
                    }
                }
                prop_assert_eq!(applied.added + applied.retuned + applied.unchanged, wanted.len());
                let left = roster.members.len() + applied.added - applied.removed;
                prop_assert_eq!(left, wanted.len());
                roster = next;
                prop_assert_eq!(roster.members.len(), wanted.len());
                prop_assert_eq!(names(roster.targets()), names(wanted.iter()));
                let answers = crew.iter().map(|own| {
                    own.iter().map(|(&id, target)| (id, target.clone())).collect()
                });
                prop_assert_eq!(roster.arrange(answers), wanted.clone());
                for target in &wanted {
                    let (worker, id) = roster.find(&target.name).unwrap();
                    prop_assert_eq!(crew[worker].get(&id), Some(target));
                }
                // Slots are reused before new ones are taken.
                let most: usize = roster.crew.iter().map(|slots| slots.places.len()).sum();
                prop_assert!(most <= 30 * WORKERS.get());
            }
        }
    }

    #[test]
    fn answers_about_removed_targets_are_left_out() {
        let first = Roster::new(WORKERS).succession(&targets(&[(1, false), (2, false)])).unwrap();
        let (worker, stale) = first.roster.find("target 1").unwrap();
        let second = first.roster.succession(&targets(&[(1, true), (2, false)])).unwrap();
        let (same, fresh) = second.roster.find("target 1").unwrap();
        assert_eq!((worker, stale.slot()), (same, fresh.slot()), "the slot is used again");
        assert_ne!(stale, fresh);
        let mut answers = vec![Vec::new(); 3];
        answers[worker] = vec![(stale, "stale"), (fresh, "fresh")];
        assert_eq!(second.roster.arrange(answers.clone().into_iter()), ["fresh"]);
        assert_eq!(first.roster.arrange(answers.into_iter()), ["stale"]);
        assert_eq!(second.roster.find("target 3"), None);
        let Applied { added, removed, retuned, unchanged } = second.applied;
        assert_eq!((added, removed, retuned, unchanged), (1, 1, 0, 1));
    }

    #[test]
    fn each_worker_gets_its_targets_in_the_order_in_which_they_fall_due() {
        let all: Vec<_> = (0..200).map(|name| (name, false)).collect();
        let Succession { orders, .. } = Roster::new(WORKERS).succession(&targets(&all)).unwrap();
        for orders in orders {
            let phases: Vec<_> = orders
                .iter()
                .map(|order| match order {
                    Order::Add(_, Addressed { target, .. }) => {
                        placement::phase(&target.name, target.interval)
                    }
                    Order::Remove(_) | Order::Retune(..) => panic!("{order:?}"),
                })
                .collect();
            assert!(!phases.is_empty() && phases.is_sorted());
        }
    }

    #[test]
    fn a_configuration_that_names_a_target_twice_is_refused() {
        let twice = [targets(&[(1, false)]), targets(&[(1, true)])].concat();
        assert!(Roster::new(WORKERS).succession(&twice).is_err());
    }
}
