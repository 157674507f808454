//! The mappings of a file and their keys. A new key is one word in its [`Level`].

use std::sync::LazyLock;

use super::instead;
use super::scalars::did_you_mean;
use crate::wire::PROTOCOLS;

/// A mapping whose keys are known.
pub(super) struct Level {
    /// Where the mapping is, for messages about misplaced keys.
    pub(super) place: &'static str,
    pub(super) keys: Vec<&'static str>,
}

impl Level {
    /// What to do about a key that is there twice.
    pub(super) fn duplicate(key: &str) -> &'static str {
        match key {
            "targets" => "put all targets into one list",
            "address" | "name" => "begin another target with \"- \"",
            _ => "keep one",
        }
    }
}

pub(super) static FILE: LazyLock<Level> = LazyLock::new(|| Level {
    place: "at the top of the file",
    keys: vec!["defaults", "rtt_buckets", "targets"],
});

pub(super) static DEFAULTS: LazyLock<Level> = LazyLock::new(|| Level {
    place: "under defaults or on a target",
    keys: vec![
        "protocol",
        "port",
        "ip_version",
        "addresses",
        "interval",
        "timeout",
        "misses",
        "recoveries",
        "recorder",
        "source",
        "interface",
        "dscp",
        "ttl",
        "dont_fragment",
    ],
});

pub(super) static TARGET: LazyLock<Level> = LazyLock::new(|| Level {
    place: "on a target",
    keys: [&["name", "address", "labels"], DEFAULTS.keys.as_slice(), OPTIONS.as_slice()].concat(),
});

/// The options of all protocols, each once.
pub(super) static OPTIONS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let mut keys = Vec::new();
    for &key in PROTOCOLS.iter().flat_map(|protocol| protocol.keys()) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
});

/// The message about a key that `level`, one of the `levels` of the file, does not have.
pub(super) fn unknown_key(word: &str, level: &Level, levels: &[&Level]) -> String {
    if let Some(hint) = levels.iter().find_map(|level| instead::of_key(word, &level.keys)) {
        return format!("unknown key: {hint}");
    }
    if word == "<<" {
        let defaults = levels.iter().any(|level| level.keys.contains(&"defaults"));
        let hint = if defaults { ": put shared settings under defaults" } else { "" };
        return format!("merge keys are not supported{hint}");
    }
    if let Some(other) = levels.iter().find(|other| other.keys.contains(&word)) {
        return format!("misplaced key: it belongs {}", other.place);
    }
    match did_you_mean(word, &level.keys) {
        hint if hint.is_empty() => format!("unknown key (known: {})", level.keys.join(", ")),
        hint => format!("unknown key{hint}"),
    }
}
