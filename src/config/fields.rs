//! The entries of a mapping whose keys are known, and the items of a list, with their places.

use super::level::Level;
use super::node::Node;
use super::place::Path;

/// The entries of a [`Level`] in a file.
pub(super) struct Fields<'n> {
    pub(super) level: &'static Level,
    pub(super) entries: &'n [(Node<'n>, Node<'n>)],
    /// The index of the first entry of each of the level's keys.
    pub(super) found: Vec<Option<usize>>,
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
