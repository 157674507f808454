//! Where in a text the values of its tree stand: places enter, lines and columns leave.
//!
//! `serde_yaml` tells the place of the first error alone, and problems are reported all at once; so
//! the text of a file that has problems is scanned once more, for marks only. What the file says is
//! never taken from here. Should the two parsers ever disagree about a text, a place is found as
//! deep as they agree.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser};

/// A line and a column, both from 1; columns count characters.
pub(super) type At = (usize, usize);

/// A place in the tree of a file: where one value of it is written.
///
/// The path of [`super::Problem`], as a list that lives on the stack of those who walk the tree.
#[derive(Debug, Clone, Copy)]
pub(super) enum Path<'a> {
    /// The whole document.
    Root,
    /// An entry of a mapping.
    Entry {
        /// The mapping.
        parent: &'a Path<'a>,
        /// Which of its entries, from 0.
        index: usize,
        /// The entry's key.
        key: &'a str,
    },
    /// An item of a list.
    Item {
        /// The list.
        parent: &'a Path<'a>,
        /// Which of its items, from 0.
        index: usize,
    },
}

impl Path<'_> {
    /// The entry `index` of the mapping at this place.
    pub(super) fn entry<'a>(&'a self, index: usize, key: &'a str) -> Path<'a> {
        Path::Entry { parent: self, index, key }
    }

    /// The item `index` of the list at this place.
    pub(super) fn item(&self, index: usize) -> Path<'_> {
        Path::Item { parent: self, index }
    }

    /// The indices that lead from the root to the place.
    pub(super) fn steps(&self) -> Vec<usize> {
        match *self {
            Self::Root => Vec::new(),
            Self::Entry { parent, index, .. } | Self::Item { parent, index } => {
                let mut steps = parent.steps();
                steps.push(index);
                steps
            }
        }
    }
}

/// As in messages: `targets[1].labels.site`. Keys that are no plain words are quoted.
impl std::fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Root => f.write_str("file"),
            Self::Item { parent, index } => write!(f, "{parent}[{index}]"),
            Self::Entry { parent, key, .. } => {
                if !matches!(parent, Path::Root) {
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

/// The marks of a document, as a tree.
#[derive(Debug)]
pub(super) struct Outline {
    nodes: Vec<Vec<Child>>,
    root: Option<Child>,
}

/// Where one value of a container is written.
#[derive(Debug, Clone, Copy)]
struct Child {
    /// The entry's key, or the item itself.
    at: At,
    /// The value, as an index into [`Outline::nodes`].
    node: usize,
}

/// A container that has begun and not ended.
struct Open {
    node: usize,
    mapping: bool,
    /// The key whose value comes next.
    key: Option<At>,
}

impl Outline {
    /// Scans the first document of `text`, as far as it is YAML.
    pub(super) fn of(text: &str) -> Self {
        let mut outline = Self { nodes: Vec::new(), root: None };
        let mut anchors = HashMap::new();
        let mut open: Vec<Open> = Vec::new();
        for event in Parser::new_from_str(text) {
            let Ok((event, span)) = event else { break };
            let (anchor, container) = match event {
                Event::Scalar(_, _, anchor, _) => (anchor, None),
                Event::SequenceStart(anchor, _) => (anchor, Some(false)),
                Event::MappingStart(anchor, _) => (anchor, Some(true)),
                Event::Alias(anchor) => {
                    if let Some(&node) = anchors.get(&anchor) {
                        outline.place(&mut open, at(span.start), node);
                        continue;
                    }
                    (0, None)
                }
                Event::SequenceEnd | Event::MappingEnd => {
                    open.pop();
                    continue;
                }
                Event::DocumentEnd => break,
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_) => continue,
            };
            let node = outline.nodes.len();
            outline.nodes.push(Vec::new());
            anchors.insert(anchor, node);
            outline.place(&mut open, at(span.start), node);
            if let Some(mapping) = container {
                open.push(Open { node, mapping, key: None });
            }
        }
        outline
    }

    /// Adds a node to the innermost open container.
    fn place(&mut self, open: &mut [Open], at: At, node: usize) {
        let Some(container) = open.last_mut() else {
            self.root = self.root.or(Some(Child { at, node }));
            return;
        };
        let at = match (container.mapping, container.key.take()) {
            (true, None) => {
                container.key = Some(at);
                return;
            }
            (true, Some(key)) => key,
            (false, _) => at,
        };
        self.nodes[container.node].push(Child { at, node });
    }

    /// Where the last of `steps` is written: the key of an entry, or an item.
    pub(super) fn locate(&self, steps: &[usize]) -> At {
        let Some(mut found) = self.root else {
            return (1, 1);
        };
        for &step in steps {
            let Some(&child) = self.nodes[found.node].get(step) else {
                break;
            };
            found = child;
        }
        found.at
    }
}

/// The lines of a text, as editors count them.
#[derive(Debug)]
pub(super) struct Lines {
    /// The characters in each line; never empty.
    widths: Vec<usize>,
}

impl Lines {
    /// The lines of `text`; there is at least one.
    pub(super) fn of(text: &str) -> Self {
        Self { widths: text.split('\n').map(|line| line.chars().count()).collect() }
    }

    /// The nearest place that exists in the text.
    ///
    /// Parsers place what is absent (an empty value at the end) beyond the text, and YAML 1.1 takes
    /// more characters for line breaks than editors do.
    pub(super) fn clamp(&self, (line, column): At) -> At {
        match self.widths.get(line.saturating_sub(1)) {
            Some(width) => (line.max(1), column.clamp(1, width + 1)),
            None => self.end(),
        }
    }

    /// Just behind the last character.
    pub(super) fn end(&self) -> At {
        (self.widths.len(), self.widths.last().map_or(1, |width| width + 1))
    }
}

/// Where a second document begins, if one does.
pub(super) fn second_document(text: &str) -> Option<At> {
    Parser::new_from_str(text)
        .map_while(Result::ok)
        .filter(|(event, _)| matches!(event, Event::DocumentStart(_)))
        .nth(1)
        .map(|(_, span)| at(span.start))
}

fn at(mark: Marker) -> At {
    (mark.line(), mark.col() + 1)
}
