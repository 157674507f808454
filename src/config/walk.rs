//! Walks a tree of values and collects problems.
//!
//! A problem does not stop the walk: an invalid value is reported and then treated as absent.

use std::collections::hash_map::{Entry, HashMap};
use std::fmt::Display;
use std::hash::Hash;

use super::instead;
use super::level::{Level, unknown_key};
use super::node::Node;
use super::place::{At, Path};
use super::problem::{Finding, Findings};
use super::values;

/// The problems that a walk has found so far.
pub(super) struct Walk {
    findings: Findings,
    /// All levels of the file, for hints about misplaced keys; the first that has a key is named.
    levels: Vec<&'static Level>,
}

/// The entries of a [`Level`] in a file.
pub(super) struct Fields<'n> {
    level: &'static Level,
    entries: &'n [(Node<'n>, Node<'n>)],
    /// The index of the first entry of each of the level's keys.
    found: Vec<Option<usize>>,
}

impl Walk {
    /// A walk through a file with these levels.
    pub(super) fn new(levels: Vec<&'static Level>) -> Self {
        Self { findings: Findings::default(), levels }
    }

    /// `checked`, or the problems if there are any.
    pub(super) fn finish<T>(self, checked: T) -> Result<T, Findings> {
        if self.findings.is_empty() { Ok(checked) } else { Err(self.findings) }
    }

    /// Reports `word` if it is a duplicate. `seen` has the place of each word's first occurrence.
    pub(super) fn check_new<W: Hash + Eq>(
        &mut self,
        seen: &mut HashMap<W, At>,
        word: W,
        path: &Path<'_>,
        message: impl FnOnce(&W) -> String,
    ) {
        match seen.entry(word) {
            Entry::Vacant(vacant) => {
                vacant.insert(path.at());
            }
            Entry::Occupied(first) => {
                self.duplicate(path, *first.get(), || message(first.key()));
            }
        }
    }

    /// Reads the value of a key; `None` if it is absent, or invalid and thus reported.
    pub(super) fn value<T>(
        &mut self,
        path: &Path<'_>,
        fields: &Fields<'_>,
        key: &'static str,
        read: impl FnOnce(&Node<'_>) -> Result<T, String>,
    ) -> Option<T> {
        let (path, node) = fields.entry(path, key)?;
        read(node).map_err(|message| self.report(&path, || message)).ok()
    }

    /// The items of a list. Null is an empty list. `keys` are those of items that are mappings.
    pub(super) fn list<'n>(
        &mut self,
        path: &Path<'_>,
        node: &'n Node<'n>,
        of: &str,
        keys: &[&str],
    ) -> Option<&'n [Node<'n>]> {
        let items = node.items();
        if items.is_none() {
            let mismatch = || values::mismatch(&format!("a list of {of}"), node);
            self.report(path, || mismatch() + &instead::of_list(node, keys));
        }
        items
    }

    /// The entries of a mapping. Null is an empty mapping.
    pub(super) fn entries<'n>(
        &mut self,
        path: &Path<'_>,
        node: &'n Node<'n>,
        message: impl FnOnce() -> String,
    ) -> Option<&'n [(Node<'n>, Node<'n>)]> {
        let entries = node.entries();
        if entries.is_none() {
            self.report(path, message);
        }
        entries
    }

    /// The entries of a mapping by their keys.
    pub(super) fn fields<'n>(
        &mut self,
        path: &Path<'_>,
        node: &'n Node<'n>,
        level: &'static Level,
    ) -> Option<Fields<'n>> {
        let message =
            || values::mismatch("a mapping", node) + &instead::of_mapping(node, &level.keys);
        let entries = self.entries(path, node, message)?;
        let mut found = vec![None; level.keys.len()];
        for (index, (key, _)) in entries.iter().enumerate() {
            let word = key.word();
            let place = path.entry(&word, key.at);
            let Some(known) = level.keys.iter().position(|known| *known == word) else {
                let message = unknown_key(&word, level, &self.levels);
                self.report(&place, || message);
                continue;
            };
            match found[known] {
                None => found[known] = Some(index),
                Some(first) => {
                    let message = || format!("duplicate key: {}", Level::duplicate(&word));
                    self.duplicate(&place, entries[first].0.at, message);
                }
            }
        }
        Some(Fields { level, entries, found })
    }

    /// Adds a problem. `message` is called only if the problem may be reported.
    pub(super) fn report<M: Display>(&mut self, path: &Path<'_>, message: impl FnOnce() -> M) {
        self.findings.push(path.at(), || Finding::new(path, message()));
    }

    pub(super) fn duplicate(
        &mut self,
        path: &Path<'_>,
        first: At,
        message: impl FnOnce() -> String,
    ) {
        self.findings.push(path.at(), || Finding::new(path, message()).with_first(first));
    }
}

impl<'n> Fields<'n> {
    /// The index of the entry of `key`, a key of the level.
    pub(super) fn index(&self, key: &str) -> Option<usize> {
        let known = self.level.keys.iter().position(|known| *known == key);
        debug_assert!(known.is_some(), "{key} is a key of the level");
        self.found[known?]
    }

    /// The place and the value of `key`, a key of the level.
    pub(super) fn entry<'p>(
        &self,
        parent: &'p Path<'p>,
        key: &'static str,
    ) -> Option<(Path<'p>, &'n Node<'n>)> {
        let (word, node) = &self.entries[self.index(key)?];
        Some((parent.entry(key, word.at), node))
    }
}

/// The items of a list with their places.
pub(super) fn enumerate<'p, 'n>(
    parent: &'p Path<'p>,
    items: &'n [Node<'n>],
) -> impl Iterator<Item = (Path<'p>, &'n Node<'n>)> {
    items.iter().enumerate().map(move |(index, node)| (parent.item(index, node.at), node))
}
