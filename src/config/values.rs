//! Reads scalar values of a file, and checks their types and ranges.
//!
//! Values that the command line has as well are parsed by [`super::scalars`], after the type of the
//! node is checked here.

use std::fmt::Display;
use std::str::FromStr;

use super::argument::{self, Endpoint};
use super::node::{Node, Value};
use super::scalars::{self, LabelName, ScalarError};
use super::target::MAX_RECORDER;
use crate::model::{Addresses, IpVersion};
use crate::wire::Protocol;

/// The highest bucket bound, in seconds: a day, the longest timeout.
const MAX_BOUND: f64 = 86_400.0;

/// The most octets of a target's name.
pub(super) const MAX_NAME: usize = 256;

/// A checked value, or the message about it.
type Read<T> = Result<T, String>;

/// The message that a value does not have the `expected` type.
pub(super) fn mismatch(expected: &str, node: &Node<'_>) -> String {
    if node.is_null() {
        return format!("is empty: must be {expected}");
    }
    format!("must be {expected}, not {}", node.kind())
}

/// Any text. Numbers and truth values are refused, since YAML may have changed them (1.10 is 1.1).
pub(super) fn text<'n>(node: &'n Node<'_>) -> Read<&'n str> {
    if let Value::Text(text) = &node.value {
        // YAML 1.1 breaks lines at these characters, so a printed text could read back differently.
        let separator = text.chars().find(|c| matches!(c, '\u{2028}' | '\u{2029}'));
        return match separator {
            Some(c) => Err(format!("must not contain line separators, such as {c:?}")),
            None => Ok(text),
        };
    }
    let quotes = node.is_number() || matches!(node.value, Value::Bool(_));
    let hint = if quotes { ": put it in quotes" } else { "" };
    Err(format!("{}{hint}", mismatch("text", node)))
}

/// Text that people see: all its characters are visible, and in the order in which they are written.
pub(super) fn visible_text<'n>(node: &'n Node<'_>) -> Read<&'n str> {
    let text = text(node)?;
    let hidden = text.chars().find_map(|c| {
        let kind = match c {
            '\u{61c}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => "characters that change the direction of text",
            '\u{ad}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200d}'
            | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}' => "invisible characters",
            _ if c.is_control() => "control characters",
            _ => return None,
        };
        Some((kind, c))
    });
    match hidden {
        Some((kind, c)) => Err(format!("must not contain {kind}, such as {c:?}")),
        None => Ok(text),
    }
}

/// The name of a target.
pub(super) fn name(node: &Node<'_>) -> Read<String> {
    let name = visible_text(node)?;
    if name.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    if matches!(name, "." | "..") {
        let message = "must not be \".\" or \"..\": web browsers remove such names from the URL of \
                       the target's page";
        return Err(message.to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!("has {} octets: must have at most {MAX_NAME}", name.len()));
    }
    Ok(name.to_owned())
}

/// `[PROTOCOL://]HOST[:PORT]`.
pub(super) fn endpoint(node: &Node<'_>) -> Read<Endpoint> {
    if let Value::List(_) = node.value {
        let message =
            "must be text, not a list: put an IPv6 address in quotes, as in \"[::1]:862\"";
        return Err(message.to_owned());
    }
    parsed(argument::endpoint(text(node)?))
}

/// The name of a protocol.
pub(super) fn protocol(node: &Node<'_>) -> Read<Protocol> {
    parsed(scalars::protocol(text(node)?))
}

/// The name of a label.
pub(super) fn label_name(node: &Node<'_>) -> Read<LabelName> {
    parsed(text(node)?.parse())
}

/// An interval or a span. A plain number is parsed as well, so that the message asks for a unit.
pub(super) fn duration<T: FromStr<Err = ScalarError>>(node: &Node<'_>) -> Read<T> {
    if node.is_number() || matches!(node.value, Value::Text(_)) {
        return parsed(node.to_string().parse());
    }
    Err(mismatch("a duration, such as 200ms, 1s or 1m30s", node))
}

/// A UDP port.
pub(super) fn port(node: &Node<'_>) -> Read<u16> {
    whole(node, "a port from 1 to 65535")
}

/// The IP version of addresses: `auto`, 4 or 6.
pub(super) fn ip_version(node: &Node<'_>) -> Read<IpVersion> {
    if !node.is_number() && !matches!(node.value, Value::Text(_)) {
        return Err(mismatch("auto, 4 or 6", node));
    }
    let written = node.to_string();
    let found = IpVersion::ALL.into_iter().find(|version| version.word() == written);
    found.ok_or_else(|| format!("must be auto, 4 or 6, not {node}"))
}

/// Which addresses of a name are probed: `first` or `all`.
pub(super) fn addresses(node: &Node<'_>) -> Read<Addresses> {
    let Value::Text(word) = &node.value else {
        return Err(mismatch("first or all", node));
    };
    let found = Addresses::ALL.into_iter().find(|addresses| addresses.word() == word);
    found.ok_or_else(|| format!("must be first or all, not {node}"))
}

/// A number of heartbeats.
pub(super) fn count(node: &Node<'_>) -> Read<u32> {
    whole(node, "a whole number from 1 to 4294967295")
}

/// How many heartbeats a flight recorder keeps.
pub(super) fn recorder(node: &Node<'_>) -> Read<u32> {
    let expected = format!("a whole number from 1 to {MAX_RECORDER}");
    let depth: u32 = whole(node, &expected)?;
    let fits = depth <= MAX_RECORDER;
    fits.then_some(depth).ok_or_else(|| format!("must be {expected}, not {node}"))
}

/// A whole number that fits `T` and is not zero.
pub(super) fn whole<T: TryFrom<i64> + Default + PartialEq>(
    node: &Node<'_>,
    expected: &str,
) -> Read<T> {
    if !node.is_number() {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let quoted = matches!(&node.value, Value::Text(text) if digits(text));
        let hint = if quoted { ": remove the quotes" } else { "" };
        return Err(mismatch(expected, node) + hint);
    }
    let number =
        if let Value::Integer(number) = node.value { T::try_from(number).ok() } else { None };
    number
        .filter(|number| *number != T::default())
        .ok_or_else(|| format!("must be {expected}, not {node}"))
}

/// The upper bound of a bucket, in seconds.
pub(super) fn bound(node: &Node<'_>) -> Read<f64> {
    let bound = if let Value::Float(seconds, _) = node.value {
        seconds
    } else if let Value::Integer(seconds) = node.value {
        seconds as f64
    } else {
        return Err(mismatch("a number of seconds", node));
    };
    if (1e-9..=MAX_BOUND).contains(&bound) {
        return Ok(bound);
    }
    Err(format!("must be a number of seconds, from 1e-9 to {MAX_BOUND}, not {node}"))
}

/// A bound in whole nanoseconds, the resolution of the histogram.
pub(super) fn nanos(seconds: f64) -> f64 {
    (seconds * 1e9).round()
}

fn parsed<T, E: Display>(result: Result<T, E>) -> Read<T> {
    result.map_err(|error| error.to_string())
}
