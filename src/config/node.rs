//! Reads YAML into a tree of plain values, each with its place in the text.
//!
//! `granit_parser` parses the YAML, and [`super::core_schema`] gives plain scalars their types. The
//! work is linear in the length of any text: the depth, the number of values and the amount of data
//! that aliases repeat are bounded during parsing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use granit_parser::{ErrorKind, Event, Marker, Options, Parser, ScalarStyle, ScanError, Span, Tag};

use super::core_schema::{self, Plain};
use super::place::At;
use super::problem::Finding;
use super::syntax;

/// How deep lists and mappings may be nested. A configuration needs four levels.
const MAX_DEPTH: usize = 32;

/// How many values a file may have, keys included: many times what 100,000 targets need.
const MAX_VALUES: usize = 1 << 23;

/// How much aliases may expand, in values plus octets of text, in addition to the length of the
/// text.
const SLACK: usize = 1 << 20;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node<'t> {
    /// Where the value begins, or the alias that repeats it.
    pub(super) at: At,
    /// The value.
    pub(super) value: Value<'t>,
}

/// A YAML value. Clones of a list or a mapping share its contents.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'t> {
    /// Empty, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number, including infinities and NaN, and its text.
    Float(f64, Rc<str>),
    /// Text.
    Text(Cow<'t, str>),
    /// A sequence.
    List(Rc<[Node<'t>]>),
    /// A mapping; duplicate keys are kept.
    Map(Rc<[(Node<'t>, Node<'t>)]>),
    /// A value whose tag is not of the core schema, such as `!secret`, or does not fit the value.
    Tagged(Rc<str>),
}

/// Reads a text, which must be one document.
pub(super) fn read(text: &str) -> Result<Node<'_>, Finding> {
    read_bounded(text, MAX_VALUES)
}

fn read_bounded(text: &str, max_values: usize) -> Result<Node<'_>, Finding> {
    let mut tree = Tree::new(text, max_values);
    for event in Parser::new_from_str_with_options(text, options()) {
        let (event, span) = event.map_err(|error| invalid(text, &error))?;
        tree.take(event, span)?;
    }
    match tree.root {
        Some(root) if !root.is_null() => Ok(root),
        Some(_) | None => Err(Finding::of_file(At::default(), "is empty")),
    }
}

/// Limits on the work of the parser. It counts flow and block nesting separately, so the tree
/// checks the sum as well.
fn options() -> Options {
    granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_unresolved_aliases: true,
    }
}

/// The message about a text that is not YAML.
fn invalid(text: &str, error: &ScanError) -> Finding {
    let at = at(text, error.marker());
    let kind = error.kind();
    if *kind == ErrorKind::RecursionLimitExceeded {
        return too_deep(at);
    }
    let (octets, message) = syntax::explained(text, at.within(text), kind);
    Finding::of_file(At::new(octets), message)
}

fn too_deep(at: At) -> Finding {
    Finding::of_file(at, format_args!("is nested too deeply: more than {MAX_DEPTH} levels"))
}

/// Converts a place of the parser, which counts octets where it can, and otherwise characters.
fn at(text: &str, mark: &Marker) -> At {
    let octets = mark.byte_offset().or_else(|| {
        let (octets, _) = text.char_indices().nth(mark.index())?;
        Some(octets)
    });
    At::new(octets.unwrap_or(text.len()))
}

/// A tree under construction.
struct Tree<'t> {
    text: &'t str,
    root: Option<Node<'t>>,
    /// The lists and mappings that are not complete, the innermost last.
    open: Vec<Open<'t>>,
    /// The complete values that have an anchor, by the number of the anchor.
    anchors: HashMap<usize, Part<'t>>,
    documents: usize,
    max_values: usize,
    values: usize,
    /// How much aliases may still repeat, in values plus octets of text.
    repeats: usize,
}

/// A complete value.
#[derive(Clone)]
struct Part<'t> {
    node: Node<'t>,
    /// Its number of values plus its octets of text, including those that its aliases repeat.
    weight: usize,
    /// How deep lists and mappings are nested in it.
    height: usize,
}

/// A list or a mapping that is not complete.
struct Open<'t> {
    at: At,
    anchor: usize,
    /// Its tag, unless it is the core schema's tag for a list or a mapping.
    tag: Option<Rc<str>>,
    children: Children<'t>,
    weight: usize,
    height: usize,
}

enum Children<'t> {
    List(Vec<Node<'t>>),
    /// The entries, and the key whose value is next.
    Map(Vec<(Node<'t>, Node<'t>)>, Option<Node<'t>>),
}

impl<'t> Tree<'t> {
    fn new(text: &'t str, max_values: usize) -> Self {
        Self {
            text,
            root: None,
            open: Vec::new(),
            anchors: HashMap::new(),
            documents: 0,
            max_values,
            values: 0,
            repeats: text.len().saturating_add(SLACK),
        }
    }

    fn take(&mut self, event: Event<'t>, span: Span) -> Result<(), Finding> {
        // A value begins at its tag, if it has one.
        let begin = at(self.text, &span.tag_start().unwrap_or(span.start));
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Finding::of_file(
                        begin,
                        "must be one document; a second one begins here",
                    ));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let weight = text.len() + 1;
                let value = match tag {
                    None if style == ScalarStyle::Plain => plain(text),
                    None => Value::Text(text),
                    Some(tag) => tagged_scalar(&tag, text),
                };
                let node = Node { at: begin, value };
                self.add(anchor, Part { node, weight, height: 0 })?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(begin, anchor, other_tag(tag, "seq"), Children::List(Vec::new()))?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.begin(begin, anchor, other_tag(tag, "map"), Children::Map(Vec::new(), None))?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end()?,
            Event::Alias(anchor) => self.repeat(begin, anchor)?,
            Event::UnresolvedAlias(name) => {
                return Err(Finding::of_file(begin, format_args!("unknown anchor {name:?}")));
            }
            // The enum is non-exhaustive; its other events belong to options that are not set.
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Anchor(..) | _ => {}
        }
        Ok(())
    }

    fn begin(
        &mut self,
        at: At,
        anchor: usize,
        tag: Option<Rc<str>>,
        children: Children<'t>,
    ) -> Result<(), Finding> {
        self.open.push(Open { at, anchor, tag, children, weight: 1, height: 1 });
        if self.open.len() > MAX_DEPTH { Err(too_deep(at)) } else { Ok(()) }
    }

    fn end(&mut self) -> Result<(), Finding> {
        let Some(Open { at, anchor, tag, children, weight, height }) = self.open.pop() else {
            debug_assert!(false, "the parser ends what it began");
            return Ok(());
        };
        let value = match (tag, children) {
            (Some(tag), _) => Value::Tagged(tag),
            (None, Children::List(items)) => Value::List(items.into()),
            (None, Children::Map(entries, _)) => Value::Map(entries.into()),
        };
        self.add(anchor, Part { node: Node { at, value }, weight, height })
    }

    /// Puts the value of an anchor in the place of an alias.
    fn repeat(&mut self, at: At, anchor: usize) -> Result<(), Finding> {
        let Some(part) = self.anchors.get(&anchor) else {
            return Err(Finding::of_file(at, "alias refers to a value that contains it"));
        };
        let mut part = part.clone();
        part.node.at = at;
        if self.open.len() + part.height > MAX_DEPTH {
            return Err(too_deep(at));
        }
        let Some(repeats) = self.repeats.checked_sub(part.weight) else {
            return Err(Finding::of_file(at, "aliases expand to too much data"));
        };
        self.repeats = repeats;
        self.add(0, part)
    }

    /// Adds a complete value to the innermost list or mapping.
    fn add(&mut self, anchor: usize, part: Part<'t>) -> Result<(), Finding> {
        self.values += 1;
        if self.values > self.max_values {
            let at = part.node.at;
            return Err(Finding::of_file(
                at,
                format_args!("has more than {} values", self.max_values),
            ));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, part.clone());
        }
        let Part { node, weight, height } = part;
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.weight = parent.weight.saturating_add(weight);
        parent.height = parent.height.max(height + 1);
        match &mut parent.children {
            Children::List(items) => items.push(node),
            Children::Map(entries, key) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }
}

/// A scalar without quotes.
fn plain(text: Cow<'_, str>) -> Value<'_> {
    match core_schema::resolve(&text) {
        Some(Plain::Null) => Value::Null,
        Some(Plain::Bool(value)) => Value::Bool(value),
        Some(Plain::Integer(value)) => Value::Integer(value),
        Some(Plain::Float(value)) => Value::Float(value, text.into()),
        None => Value::Text(text),
    }
}

/// A scalar with a tag: text, or the value in the core schema if that fits the tag.
fn tagged_scalar<'t>(tag: &Tag, text: Cow<'t, str>) -> Value<'t> {
    let core = tag.core_suffix();
    if core == Some("str") || is_non_specific(tag) {
        return Value::Text(text);
    }
    let fits = |value: &Value<'_>| match value {
        Value::Null => core == Some("null"),
        Value::Bool(_) => core == Some("bool"),
        Value::Integer(_) => matches!(core, Some("int" | "float")),
        Value::Float(..) => core == Some("float"),
        Value::Text(_) | Value::List(_) | Value::Map(_) | Value::Tagged(_) => false,
    };
    Some(plain(text)).filter(fits).unwrap_or_else(|| Value::Tagged(as_written(tag)))
}

/// The tag of a list or a mapping, unless it is `own`, the core schema's tag for that kind.
fn other_tag(tag: Option<Cow<'_, Tag>>, own: &str) -> Option<Rc<str>> {
    let tag = tag.filter(|tag| tag.core_suffix() != Some(own) && !is_non_specific(tag))?;
    Some(as_written(&tag))
}

/// Whether the tag is `!` alone. It makes a scalar text and does not change lists and mappings.
fn is_non_specific(tag: &Tag) -> bool {
    tag.original() == "!"
}

fn as_written(tag: &Tag) -> Rc<str> {
    tag.original().into()
}

impl Node<'_> {
    /// The items of a list. Null is an empty list.
    pub(super) fn items(&self) -> Option<&[Self]> {
        if let Value::List(items) = &self.value {
            return Some(items);
        }
        self.is_null().then_some(&[])
    }

    /// The entries of a mapping. Null is an empty mapping.
    pub(super) fn entries(&self) -> Option<&[(Self, Self)]> {
        if let Value::Map(entries) = &self.value {
            return Some(entries);
        }
        self.is_null().then_some(&[])
    }

    /// Whether it is empty, `~` or `null`.
    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Whether it is a number of any kind.
    pub(super) fn is_number(&self) -> bool {
        matches!(self.value, Value::Integer(_) | Value::Float(..))
    }

    /// The text, or any other value as [`fmt::Display`] shows it.
    pub(super) fn word(&self) -> Cow<'_, str> {
        if let Value::Text(text) = &self.value {
            return Cow::Borrowed(text);
        }
        Cow::Owned(self.to_string())
    }

    /// The kind of value, for messages like "must be a number, not …".
    pub(super) fn kind(&self) -> Cow<'static, str> {
        match &self.value {
            Value::Null => "nothing".into(),
            Value::Bool(_) => "a boolean".into(),
            Value::Integer(_) | Value::Float(..) => "a number".into(),
            Value::Text(_) => "text".into(),
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a mapping".into(),
            Value::Tagged(tag) => format!("a value with the tag {tag}").into(),
        }
    }
}

/// Shows a scalar as in a file, and null, a list or a mapping by its kind.
impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Bool(value) => value.fmt(f),
            Value::Integer(value) => value.fmt(f),
            Value::Text(value) => f.write_str(value),
            Value::Float(_, text) | Value::Tagged(text) => f.write_str(text),
            Value::Null | Value::List(_) | Value::Map(_) => f.write_str(&self.kind()),
        }
    }
}

#[cfg(test)]
mod tests;
