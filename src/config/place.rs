//! Places of values in a configuration: a [`Path`] in its tree, an [`At`] in its text, and a line
//! and column for messages.

/// A place in the text, as the number of octets before it.
///
/// 32 bits suffice, since a text has at most 64 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct At(u32);

impl At {
    /// The place after `octets` octets.
    pub(super) fn new(octets: usize) -> Self {
        Self(u32::try_from(octets).unwrap_or(u32::MAX))
    }

    /// The last place in `text`, at or before this one, that is not inside a character.
    pub(super) fn within(self, text: &str) -> usize {
        let mut octets = text.len().min(self.0 as usize);
        while !text.is_char_boundary(octets) {
            octets -= 1;
        }
        octets
    }
}

/// The path of a value in the tree of a file, and the place of its last step: the key of an entry,
/// or an item.
///
/// It becomes the path of a [`super::Problem`]. As a linked list on the stack, it costs no
/// allocation while the tree is walked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'a> {
    /// The whole document.
    Root {
        /// Where it begins.
        at: At,
    },
    /// An entry of a mapping.
    Entry {
        /// The mapping.
        parent: &'a Path<'a>,
        /// The entry's key.
        key: &'a str,
        /// Where the key is written.
        at: At,
    },
    /// An item of a list.
    Item {
        /// The list.
        parent: &'a Path<'a>,
        /// The index of the item, from 0.
        index: usize,
        /// Where the item is written.
        at: At,
    },
}

impl Path<'_> {
    /// The entry of the mapping at this path whose key is written at `at`.
    pub(super) fn entry<'a>(&'a self, key: &'a str, at: At) -> Path<'a> {
        Path::Entry { parent: self, key, at }
    }

    /// The item `index` of the list at this path.
    pub(super) fn item(&self, index: usize, at: At) -> Path<'_> {
        Path::Item { parent: self, index, at }
    }

    /// The place of the last step.
    pub(super) fn at(&self) -> At {
        match *self {
            Self::Root { at } | Self::Entry { at, .. } | Self::Item { at, .. } => at,
        }
    }
}

/// Shows a path as `targets[1].labels.site`. Keys that contain characters other than letters,
/// digits, `_` and `-` are quoted.
impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Root { .. } => f.write_str("file"),
            Self::Item { parent, index, .. } => write!(f, "{parent}[{index}]"),
            Self::Entry { parent, key, .. } => {
                if !matches!(parent, Path::Root { .. }) {
                    write!(f, "{parent}.")?;
                }
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
                if !key.is_empty() && key.chars().all(plain) {
                    f.write_str(key)
                } else {
                    write!(f, "{key:?}")
                }
            }
        }
    }
}

/// The lines and columns of some places of a text.
#[derive(Debug)]
pub(super) struct Places {
    /// In the order of the text.
    found: Vec<(At, LineColumn)>,
}

/// A line and a column as editors count them: from 1, lines by `\n`, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineColumn {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Places {
    /// Finds all of `wanted` in one pass over the text.
    pub(super) fn of(text: &str, wanted: impl Iterator<Item = At>) -> Self {
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_unstable();
        wanted.dedup();
        let (mut line, mut column, mut read) = (1, 1, 0);
        let find = |at: At| {
            let end = at.within(text);
            let piece = &text[read..end];
            read = end;
            line += piece.bytes().filter(|&octet| octet == b'\n').count();
            let (last, continued) = match piece.rsplit_once('\n') {
                Some((_, last)) => (last, 1),
                None => (piece, column),
            };
            column = continued + last.chars().count();
            (at, LineColumn { line, column })
        };
        Self { found: wanted.into_iter().map(find).collect() }
    }

    /// The line and column of a place, one of those given to [`Self::of`].
    pub(super) fn get(&self, at: At) -> LineColumn {
        let index = self.found.binary_search_by_key(&at, |&(at, _)| at);
        debug_assert!(index.is_ok(), "{at:?} was wanted");
        index.map_or(LineColumn { line: 1, column: 1 }, |index| self.found[index].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_are_those_of_an_editor() {
        let text = "a\r\né: ü\n\n  b";
        let place = |octets: usize| {
            let places = Places::of(text, [At::new(octets), At::new(0)].into_iter());
            let LineColumn { line, column } = places.get(At::new(octets));
            (line, column)
        };
        for (found, expected) in [
            ("a", (1, 1)),
            ("\r", (1, 2)),
            ("é", (2, 1)),
            ("ü", (2, 4)),
            ("\n\n", (2, 5)),
            ("\n  b", (3, 1)),
            ("b", (4, 3)),
        ] {
            assert_eq!(place(text.find(found).unwrap()), expected, "{found:?}");
        }
        assert_eq!(place(text.len()), (4, 4));
        assert_eq!(place(text.len() + 9), (4, 4));
        assert_eq!(place(text.find('é').unwrap() + 1), (2, 1));
    }

    #[test]
    fn paths_are_written_as_in_a_program() {
        let at = At::default();
        let root = Path::Root { at };
        let (targets, odd) = (root.entry("targets", at), root.entry("a b", at));
        let item = targets.item(1, at);
        assert_eq!(item.entry("key_file", at).to_string(), "targets[1].key_file");
        assert_eq!(odd.entry("", at).to_string(), r#""a b"."""#);
        assert_eq!(root.to_string(), "file");
    }
}
