//! What to write instead of a value of the wrong kind.

use super::argument;
use super::node::{Node, Value};
use super::syntax::{missing_blank, missing_blank_after_hyphen};

/// What to write instead of `node`, where a mapping with `keys` is expected.
pub(super) fn of_mapping(node: &Node<'_>, keys: &[&str]) -> String {
    let hint = match &node.value {
        Value::Text(text) if keys.contains(&"address") => {
            missing_blank(text).or_else(|| target(text))
        }
        Value::Text(text) => {
            missing_blank(text).or_else(|| missing_blank_after_hyphen(text)).or_else(|| {
                let item = target(text).filter(|_| keys.contains(&"targets"))?;
                Some(format!("{item} under \"targets:\""))
            })
        }
        Value::List(_) if keys.contains(&"targets") => {
            Some("write \"targets:\" above the list".to_owned())
        }
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(..)
        | Value::List(_)
        | Value::Map(_)
        | Value::Tagged(_) => None,
    };
    hint.map_or_else(|| format!(" (keys: {})", keys.join(", ")), |hint| format!(": {hint}"))
}

/// What to write instead of `node`, where a list is expected, or nothing. `keys` are those of the
/// items, if they are mappings.
pub(super) fn of_list(node: &Node<'_>, keys: &[&str]) -> String {
    let hint = match &node.value {
        Value::Text(text) => missing_blank_after_hyphen(text)
            .or_else(|| target(text).filter(|_| keys.contains(&"address"))),
        Value::Integer(_) | Value::Float(..) if keys.is_empty() => Some(format!("write [{node}]")),
        Value::Map(entries) => entries.first().and_then(|(key, value)| {
            let key = key.word();
            let scalar = if value.is_null() { String::new() } else { format!(" {value}") };
            match key.strip_prefix('-') {
                Some(bare) if keys.contains(&bare) => {
                    Some(format!("write `- {bare}:{scalar}`, with a space after the hyphen"))
                }
                _ if keys.contains(&&*key) => Some(format!("write `- {key}:{scalar}`")),
                _ => None,
            }
        }),
        Value::Null
        | Value::Bool(_)
        | Value::Integer(_)
        | Value::Float(..)
        | Value::List(_)
        | Value::Tagged(_) => None,
    };
    hint.map_or_else(String::new, |hint| format!(": {hint}"))
}

/// What to write instead of the unknown key `word`, if it is one of `keys` without a blank.
pub(super) fn of_key(word: &str, keys: &[&str]) -> Option<String> {
    let bare = word.strip_prefix('-').unwrap_or(word);
    let key = bare.split(':').next().filter(|key| keys.contains(key))?;
    if word.starts_with('-') {
        return Some(format!("write `- {key}`, with a space after the hyphen"));
    }
    missing_blank(word)
}

/// What to write instead of the address alone.
fn target(text: &str) -> Option<String> {
    argument::endpoint(text).ok()?;
    let quote = if text.starts_with('[') { "\"" } else { "" };
    Some(format!("write `- address: {quote}{text}{quote}`"))
}
