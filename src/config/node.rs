//! YAML's text enters; a tree of plain values, in the order of the file, leaves.
//!
//! `serde_yaml` decides what is YAML and what type a scalar has. Its own `Value` is of no use here:
//! it refuses a mapping with a duplicate key at the first one, where [`Node`] keeps both, so that
//! the schema can name them all.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::place::{self, At};

/// How much larger than its text a tree may become through aliases, in octets and nodes.
///
/// A tree without aliases has at most one node an octet, and strings no longer than the text.
const SLACK: usize = 1 << 20;

/// A value as YAML has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number, infinities and NaN among them.
    Float(f64),
    /// Text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping; duplicate keys are kept.
    Map(Vec<(Node, Node)>),
    /// Anything behind a tag that is not YAML's own, such as `!secret`.
    Tagged(String),
}

/// Why a text is no YAML that can be used.
#[derive(Debug)]
pub(super) struct Fault {
    /// What is wrong.
    pub(super) message: String,
    /// Where, if that is known.
    pub(super) at: Option<At>,
}

/// Reads a text that holds one document.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    let budget = Cell::new(text.len().saturating_mul(2).saturating_add(SLACK));
    let error = match Seed(&budget).deserialize(serde_yaml::Deserializer::from_str(text)) {
        Ok(Node::Null) => {
            return Err(Fault { message: "is empty".to_owned(), at: None });
        }
        Ok(node) => return Ok(node),
        Err(error) => error,
    };
    let at = location(&error).or_else(|| place::second_document(text));
    let message = match error.to_string() {
        message if budget.get() == 0 || message.starts_with("repetition limit") => {
            "aliases repeat more than a configuration can hold".to_owned()
        }
        message if message.contains("more than one document") => {
            "holds more than one document".to_owned()
        }
        message if message.starts_with("recursion limit") => "is nested too deeply".to_owned(),
        message => without_place(&message, at),
    };
    Err(Fault { message, at })
}

impl Node {
    /// The items of a list; nothing is an empty one.
    pub(super) fn items(&self) -> Option<&[Self]> {
        if let Self::List(items) = self {
            return Some(items);
        }
        self.is_null().then_some(&[])
    }

    /// The entries of a mapping; nothing is an empty one.
    pub(super) fn entries(&self) -> Option<&[(Self, Self)]> {
        if let Self::Map(entries) = self {
            return Some(entries);
        }
        self.is_null().then_some(&[])
    }

    /// Whether there is nothing.
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Whether it is a number of any kind.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Integer(_) | Self::Float(_))
    }

    /// What it is, for "must be a number, not …".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
            Self::Tagged(_) => "a tagged value",
        }
    }
}

/// As it could stand in the file; what has an inside by its kind.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Text(value) => f.write_str(value),
            Self::Tagged(tag) => write!(f, "!{tag}"),
            Self::Null | Self::List(_) | Self::Map(_) => f.write_str(self.kind()),
        }
    }
}

fn location(error: &serde_yaml::Error) -> Option<At> {
    error.location().map(|at| (at.line(), at.column()))
}

/// `serde_yaml`'s message less the error's own place, which stands before it in ours.
fn without_place(message: &str, at: Option<At>) -> String {
    let (line, column) = at.unwrap_or_default();
    message.replacen(&format!(" at line {line} column {column}"), "", 1)
}

/// Builds nodes for as long as the budget lasts.
#[derive(Clone, Copy)]
struct Seed<'b>(&'b Cell<usize>);

impl Seed<'_> {
    fn spend<E: Error>(self, amount: usize) -> Result<(), E> {
        let left = self.0.get().saturating_sub(amount);
        self.0.set(left);
        if left == 0 { Err(E::custom("budget")) } else { Ok(()) }
    }

    fn leaf<E: Error>(self, node: Node) -> Result<Node, E> {
        self.spend(1)?;
        Ok(node)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        self.leaf(Node::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        self.leaf(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        self.leaf(Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        self.leaf(Node::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        self.leaf(Node::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        self.leaf(Node::Integer(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        self.leaf(i128::try_from(value).map_or(Node::Float(value as f64), Node::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        self.leaf(Node::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Node, E> {
        self.spend(value.len())?;
        self.leaf(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        self.spend(1)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        self.spend(1)?;
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry_seed(self, self)? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Node, A::Error> {
        let (tag, content) = data.variant::<String>()?;
        content.newtype_variant_seed(self)?;
        self.leaf(Node::Tagged(tag))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Node {
        Node::Text(text.to_owned())
    }

    #[test]
    fn values_have_the_types_of_yaml() {
        let node = read("[~, true, yes, 7, -7, 0x10, 1.5, .inf, 1s, '7', {a: b}, !tag x]").unwrap();
        assert_eq!(
            node,
            Node::List(vec![
                Node::Null,
                Node::Bool(true),
                text("yes"),
                Node::Integer(7),
                Node::Integer(-7),
                Node::Integer(16),
                Node::Float(1.5),
                Node::Float(f64::INFINITY),
                text("1s"),
                text("7"),
                Node::Map(vec![(text("a"), text("b"))]),
                Node::Tagged("tag".to_owned()),
            ])
        );
    }

    #[test]
    fn duplicate_keys_are_kept() {
        let entry = |value| (text("a"), Node::Integer(value));
        assert_eq!(read("a: 1\na: 2\n").unwrap(), Node::Map(vec![entry(1), entry(2)]));
    }

    #[test]
    fn aliases_may_repeat_but_not_explode() {
        let repeated = |size: usize| {
            let long = "x".repeat(size);
            read(&format!("- &long {long}\n{}", "- *long\n".repeat(100)))
        };
        let Node::List(items) = repeated(1000).unwrap() else { panic!("a list") };
        assert_eq!((items.len(), items[100].to_string().len()), (101, 1000));

        let fault = repeated(100_000).unwrap_err();
        assert_eq!(fault.message, "aliases repeat more than a configuration can hold");
        assert_eq!(fault.at, Some((1, 3)));
    }

    #[test]
    fn depth_has_a_limit() {
        let fault = read(&"[".repeat(100_000)).unwrap_err();
        assert_eq!((fault.message.as_str(), fault.at), ("is nested too deeply", Some((1, 129))));
    }
}
