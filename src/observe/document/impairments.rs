//! `/api/v1/impairments`: the impairments of a responder, in reports and requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Number;

/// Impairments for all sources and for single networks. The keys are the responder's flags with
/// underscores, the values are those of the flags. The responder checks both.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImpairmentsDocument {
    /// For all sources that are not in `sources`.
    #[serde(default)]
    pub all: BTreeMap<String, Setting>,
    /// By the source's network in CIDR notation; the longest matching prefix wins.
    #[serde(default)]
    pub sources: BTreeMap<String, BTreeMap<String, Setting>>,
}

/// The value of one flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// Such as `7`.
    Number(Number),
    /// Such as `"30%"`.
    Text(String),
}

impl From<String> for Setting {
    /// A whole number becomes a JSON number.
    fn from(text: String) -> Self {
        match text.parse::<u64>() {
            Ok(number) => Self::Number(number.into()),
            Err(_) => Self::Text(text),
        }
    }
}
