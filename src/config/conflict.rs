//! Checks the targets of a set against each other: names are unique, and replies identify their
//! targets.
//!
//! A file, a command line and a change of a running probe use the same rules. The time is linear in
//! the number of targets.

use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use super::address::Host;
use super::per_address::possible_template;
use super::target::{Config, Target};
use crate::wire::{Prober, Protocol};

/// Names that two or more targets have or can have. The targets that come from a target with
/// `addresses: all` have names of the form `NAME IP`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("duplicate target names: {}", .0.join(", "))]
pub struct DuplicateNames(pub Vec<String>);

/// A target whose replies cannot be distinguished from those of another target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot be distinguished from {other:?}: same address, and identical {} replies: remove one of \
     the two, or change one of: {}",
    protocol.name(),
    [["address", "port"].as_slice(), protocol.keys()].concat().join(", ")
)]
pub struct Indistinct {
    /// The name of the other target.
    pub other: String,
    /// The protocol of both.
    pub protocol: Protocol,
}

/// Why targets cannot be added to a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConflictError {
    /// Targets have the same name.
    #[error(transparent)]
    Names(#[from] DuplicateNames),
    /// A target has the same replies as another one.
    #[error("target {name:?}: {problem}")]
    Indistinct {
        /// The name of the target.
        name: String,
        /// The other target.
        problem: Indistinct,
    },
}

impl Config {
    /// Adds targets of the command line after those of the file.
    ///
    /// # Errors
    /// If names are not unique, or the replies of two targets cannot be distinguished.
    pub fn with_targets(
        mut self,
        extra: impl IntoIterator<Item = Target>,
    ) -> Result<Self, ConflictError> {
        let before = self.targets.len();
        self.targets.extend(extra.into_iter().map(Arc::new));
        if self.targets.len() == before {
            return Ok(self);
        }
        unique_names(&self.targets)?;
        let targets = self.targets.iter().map(|target| Some(&**target));
        match indistinct(targets).into_iter().next() {
            None => Ok(self),
            Some((index, problem)) => {
                let name = self.targets[index].name.clone();
                Err(ConflictError::Indistinct { name, problem })
            }
        }
    }
}

/// Checks that the names of `targets` are unique, also those that templates can give.
///
/// # Errors
/// The duplicate names, each once, sorted.
pub fn unique_names(targets: &[Arc<Target>]) -> Result<(), DuplicateNames> {
    let names = targets.iter().map(|target| Some(target.name.as_str()));
    let taken = taken_names(targets.iter().map(|target| Some(&**target)));
    let again = duplicate_names(names).into_iter().chain(taken);
    let mut names: Vec<_> = again.map(|(again, _)| targets[again].name.clone()).collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    names.dedup();
    Err(DuplicateNames(names))
}

/// For each name that an earlier target has as well: its position, and the position of the first
/// target with this name.
pub(super) fn duplicate_names<'t>(
    names: impl IntoIterator<Item = Option<&'t str>>,
) -> Vec<(usize, usize)> {
    let mut seen = HashMap::new();
    let mut again = Vec::new();
    for (index, name) in names.into_iter().enumerate() {
        let Some(name) = name else { continue };
        match seen.entry(name) {
            Entry::Vacant(vacant) => {
                vacant.insert(index);
            }
            Entry::Occupied(first) => again.push((index, *first.get())),
        }
    }
    again
}

/// For each target that has a name which a template can give to one of its targets: its position,
/// and the position of the template.
pub(super) fn taken_names<'t>(
    targets: impl Iterator<Item = Option<&'t Target>> + Clone,
) -> Vec<(usize, usize)> {
    let all = targets.enumerate().filter_map(|(index, target)| Some((index, target?)));
    let templates: HashMap<&str, usize> = all
        .clone()
        .filter(|(_, target)| target.template_name().is_some())
        .map(|(index, target)| (target.name.as_str(), index))
        .collect();
    if templates.is_empty() {
        return Vec::new();
    }
    let taken = |(index, target): (usize, &Target)| {
        let template = templates.get(possible_template(&target.name)?)?;
        Some((index, *template))
    };
    all.filter_map(taken).collect()
}

/// The position of each target whose replies cannot be distinguished from those of an earlier
/// target, and the problem.
///
/// Only targets whose protocol has no session number are concerned: other targets at their address
/// must have replies that differ.
pub(super) fn indistinct<'t>(
    targets: impl IntoIterator<Item = Option<&'t Target>>,
) -> Vec<(usize, Indistinct)> {
    let mut seen: HashMap<_, Vec<(&Target, Arc<dyn Prober>)>> = HashMap::new();
    let mut problems = Vec::new();
    for (index, target) in targets.into_iter().enumerate() {
        let Some(target) = target else { continue };
        let prober = target.protocol.prober(0);
        if prober.max_session() > 0 {
            continue;
        }
        let place = (lookup(&target.address.host), target.address.port, prober.replies_hash());
        let there = seen.entry(place).or_default();
        match there.iter().find(|(_, other)| other.shares_replies_with(&*prober)) {
            Some((first, _)) => {
                let protocol = target.protocol.protocol();
                problems.push((index, Indistinct { other: first.name.clone(), protocol }));
            }
            None => there.push((target, prober)),
        }
    }
    problems
}

/// A text that is the same for two hosts that have the same addresses: host names are compared
/// without case (RFC 4343) and final dot. The zone of a link-local address is kept, since the names
/// of interfaces are case-sensitive.
fn lookup(host: &Host) -> String {
    match host {
        Host::Ip(address) => address.to_string(),
        Host::Name(name) if name.contains('%') => name.clone(),
        Host::Name(name) => name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Defaults, parse_target, parse_target_with};
    use super::*;
    use crate::model::Addresses;

    fn target(text: &str) -> Target {
        parse_target(text, &Defaults::default()).unwrap()
    }

    fn positions(texts: &[&str]) -> Vec<usize> {
        let targets: Vec<_> = texts.iter().map(|text| target(text)).collect();
        indistinct(targets.iter().map(Some)).into_iter().map(|(index, _)| index).collect()
    }

    #[test]
    fn targets_of_the_command_line_come_last_and_need_unique_names() {
        let config = Config::default().with_targets([target("a"), target("stamp://a")]).unwrap();
        let names: Vec<_> = config.targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["a", "stamp://a"]);
        let error = config.with_targets([target("b"), target("a"), target("b")]).unwrap_err();
        assert_eq!(error.to_string(), "duplicate target names: a, b");
    }

    #[test]
    fn a_name_that_a_template_can_give_is_taken() {
        let template = |text: &str| Target { addresses: Addresses::All, ..target(text) };
        let named = |name: &str| Target { name: name.to_owned(), ..target("192.0.2.1") };
        let all = [template("a"), named("a 192.0.2.7"), named("a ::7"), named("a b"), target("b")];
        let all = all.map(Arc::new);
        assert_eq!(taken_names(all.iter().map(|target| Some(&**target))), [(1, 0), (2, 0)]);
        let error = unique_names(&all).unwrap_err();
        assert_eq!(error, DuplicateNames(vec!["a 192.0.2.7".to_owned(), "a ::7".to_owned()]));
        let config = Config::default().with_targets([target("a"), named("a 192.0.2.7")]);
        assert!(config.is_ok(), "without a template");
        // Templates cannot give each other's names.
        let nested = template("a.example");
        let nested = Target { name: "a 192.0.2.7".to_owned(), ..nested };
        assert!(Config::default().with_targets([template("a"), nested]).is_err());
    }

    #[test]
    fn hosts_are_compared_without_case_and_final_dot() {
        let same = ["dns://a.example", "dns://A.example", "dns://a.example.", "dns://a.example:54"];
        assert_eq!(positions(&same), [1, 2]);
        assert_eq!(positions(&["dns://[fe80::1%eth0]", "dns://[fe80::1%ETH0]"]), [0_usize; 0]);
        assert_eq!(positions(&["dns://192.0.2.1", "dns://192.0.2.1:53"]), [1]);
        assert_eq!(positions(&["stamp://192.0.2.1", "stamp://192.0.2.1:12000"]), [0_usize; 0]);
    }

    #[test]
    fn many_questions_to_one_address_take_linear_time() {
        // Quadratic work would take minutes.
        let asking = |index: usize| {
            let query = format!("host-{}.example", index % 30_000);
            let options = [("query", query.as_str())];
            parse_target_with("dns://192.0.2.1", &options, &Defaults::default()).unwrap()
        };
        let targets: Vec<_> = (0..30_001).map(asking).collect();
        let problems = indistinct(targets.iter().map(Some));
        assert_eq!(problems.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [30_000]);
    }
}
