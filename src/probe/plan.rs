//! Computes the changes from one set of targets to another. A pure function.
//!
//! Targets are identified by their names. Every change of targets is planned here, including the
//! start.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::{DuplicateNames, Target, unique_names};

/// A change of one target.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Change {
    /// Remove this target and its counters.
    Remove(Arc<Target>),
    /// Apply these settings to the target of this name, which keeps its counters.
    Retune(Arc<Target>),
    /// Add this target, with new counters.
    Add(Arc<Target>),
}

/// The changes from `current`, whose names are unique, to `wanted`: first removals, then changes of
/// settings, then additions, each in order.
///
/// A target whose protocol or protocol options change is removed and added again, because its
/// counters would change their meaning. So is a target that begins
/// or ceases to be a template without an address, because such a target sends nothing.
///
/// # Errors
/// If the names of `wanted` are not unique.
pub(super) fn plan(
    current: &[Arc<Target>],
    wanted: &[Arc<Target>],
) -> Result<Vec<Change>, DuplicateNames> {
    unique_names(wanted)?;
    let mut left: HashMap<&str, &Arc<Target>> =
        current.iter().map(|target| (target.name.as_str(), target)).collect();
    let mut changes = Vec::new();
    let mut additions = Vec::new();
    for target in wanted {
        match left.get(target.name.as_str()).copied() {
            Some(same) if Arc::ptr_eq(same, target) || same == target => {}
            Some(other)
                if (&other.protocol, other.addresses) == (&target.protocol, target.addresses) =>
            {
                changes.push(Change::Retune(target.clone()));
            }
            Some(_) | None => {
                // Targets that remain in `left` are removed.
                additions.push(Change::Add(target.clone()));
                continue;
            }
        }
        left.remove(target.name.as_str());
    }
    let gone = current.iter().filter(|target| left.contains_key(target.name.as_str()));
    let gone = gone.map(|target| Change::Remove(target.clone()));
    Ok(gone.chain(changes).chain(additions).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::config::{Defaults, parse_target, parse_target_with};
    use crate::model::{Addresses, Dscp};

    fn target(name: &str, text: &str) -> Target {
        let target = parse_target(text, &Defaults::default()).unwrap();
        Target { name: name.to_owned(), ..target }
    }

    /// Few names and few settings, so that every kind of change occurs.
    fn targets() -> impl Strategy<Value = Vec<Arc<Target>>> {
        let one =
            (0..12_u8, 0..3_u8, 0..2_u8, 1..3_u64).prop_map(|(name, protocol, host, seconds)| {
                let protocol = ["heartbeat", "ping", "stamp"][usize::from(protocol)];
                let mut target =
                    target(&name.to_string(), &format!("{protocol}://192.0.2.{host}:862"));
                target.interval = Duration::from_secs(seconds);
                (name, Arc::new(target))
            });
        vec(one, 0..24)
            .prop_map(|all| all.into_iter().collect::<BTreeMap<_, _>>().into_values().collect())
    }

    /// The result of changes, by name.
    fn applied(
        current: &[Arc<Target>],
        changes: &[Change],
    ) -> Result<BTreeMap<String, Arc<Target>>, TestCaseError> {
        let named = |target: &Arc<Target>| (target.name.clone(), target.clone());
        let mut targets: BTreeMap<_, _> = current.iter().map(named).collect();
        for change in changes {
            match change {
                Change::Remove(target) => {
                    prop_assert_eq!(targets.remove(&target.name), Some(target.clone()));
                }
                Change::Retune(target) => {
                    let before = targets.insert(target.name.clone(), target.clone());
                    prop_assert!(before.is_some_and(|before| before != *target
                        && before.protocol.name() == target.protocol.name()));
                }
                Change::Add(target) => {
                    prop_assert!(targets.insert(target.name.clone(), target.clone()).is_none());
                }
            }
        }
        Ok(targets)
    }

    proptest! {
        #[test]
        fn changes_lead_from_one_set_to_the_other(current in targets(), wanted in targets()) {
            let changes = plan(&current, &wanted).unwrap();
            let expected: BTreeMap<_, _> =
                wanted.iter().map(|target| (target.name.clone(), target.clone())).collect();
            prop_assert_eq!(applied(&current, &changes)?, expected);
            // No unchanged target has a change.
            let unchanged: BTreeSet<_> = current
                .iter()
                .filter(|target| wanted.contains(target))
                .map(|target| target.name.as_str())
                .collect();
            for change in &changes {
                let (Change::Remove(target) | Change::Retune(target) | Change::Add(target)) = change;
                prop_assert!(!unchanged.contains(target.name.as_str()), "{change:?}");
            }
        }

        #[test]
        fn nothing_is_to_be_done_for_the_same_targets_in_whatever_order(current in targets()) {
            let mut wanted: Vec<_> = current.iter().map(|target| Arc::new((**target).clone())).collect();
            wanted.reverse();
            prop_assert_eq!(plan(&current, &wanted).unwrap(), []);
        }
    }

    #[test]
    fn only_a_changed_protocol_begins_anew() {
        let current = [Arc::new(target("a", "heartbeat://192.0.2.1"))];
        let mut labelled = target("a", "heartbeat://192.0.2.1");
        labelled.labels.insert("site".to_owned(), "fra".to_owned());
        let mut dscp = target("a", "heartbeat://192.0.2.1");
        dscp.packets.dscp = Dscp::named("EF").unwrap();
        for changed in [
            target("a", "heartbeat://192.0.2.2"),
            target("a", "heartbeat://192.0.2.1:1"),
            target("a", "heartbeat://fra.example"),
            Target { misses: 9, ..target("a", "heartbeat://192.0.2.1") },
            Target { recoveries: 9, ..target("a", "heartbeat://192.0.2.1") },
            Target { recorder: 9, ..target("a", "heartbeat://192.0.2.1") },
            Target { timeout: Duration::from_secs(9), ..target("a", "heartbeat://192.0.2.1") },
            dscp,
            labelled,
        ] {
            let wanted = [Arc::new(changed)];
            let [target] = wanted.clone();
            assert_eq!(plan(&current, &wanted).unwrap(), [Change::Retune(target)]);
        }
        let other = Arc::new(target("a", "ping://192.0.2.1"));
        let changes = plan(&current, std::slice::from_ref(&other)).unwrap();
        assert_eq!(changes, [Change::Remove(current[0].clone()), Change::Add(other)]);
    }

    #[test]
    fn a_target_that_becomes_a_template_begins_anew() {
        let first = Arc::new(target("a", "fra.example"));
        let all = Arc::new(Target { addresses: Addresses::All, ..target("a", "fra.example") });
        for (before, after) in [(&first, &all), (&all, &first)] {
            let changes = plan(std::slice::from_ref(before), std::slice::from_ref(after)).unwrap();
            assert_eq!(changes, [Change::Remove(before.clone()), Change::Add(after.clone())]);
        }
        let ip = "192.0.2.1".parse().unwrap();
        let slow = Target { interval: Duration::from_secs(9), ..Target::clone(&all) };
        let (one, slow) = (Arc::new(all.at(ip)), Arc::new(slow.at(ip)));
        assert_eq!(plan(&[one], std::slice::from_ref(&slow)).unwrap(), [Change::Retune(slow)]);
    }

    #[test]
    fn a_changed_option_of_the_protocol_begins_anew() {
        let asking = |query| {
            let options = [("query", query)];
            let asking = parse_target_with("dns://192.0.2.53", &options, &Defaults::default());
            Arc::new(Target { name: "a".to_owned(), ..asking.unwrap() })
        };
        let (current, same, other) =
            (asking("a.example"), asking("a.example."), asking("b.example"));
        let changes = |wanted| plan(std::slice::from_ref(&current), &[wanted]).unwrap();
        assert_eq!(changes(same), []);
        assert_eq!(changes(other.clone()), [Change::Remove(current.clone()), Change::Add(other)]);
    }

    #[test]
    fn names_are_unique() {
        let wanted = ["b", "a", "b", "c", "a"].map(|name| Arc::new(target(name, "192.0.2.1")));
        let error = plan(&[], &wanted).unwrap_err();
        assert_eq!(error, DuplicateNames(vec!["a".to_owned(), "b".to_owned()]));
    }
}
