//! Reads and writes the impairments of a responder as JSON.
//!
//! The document is `{"all": {…}, "sources": {"192.0.2.0/24": {…}}}`. Each part may be missing. The
//! inner keys are the names of the flags with underscores, with the same values.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tracing::warn;

use super::impairment_args::{ImpairmentArgs, SeedArg};
use crate::config::Prefix;
use crate::net;
use crate::observe::document::{ImpairmentsDocument, Setting};
use crate::responder::{ImpairmentSwitch, Impairments};
use crate::web::ImpairmentControl;

/// How many networks may have impairments of their own. With all keys set, they fit into a request.
const MAX_SOURCES: usize = 1000;

/// The most octets of a document that is logged.
const LOGGED: usize = 8 << 10;

/// The impairments as given: for all sources, and for some networks instead.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stated {
    pub(super) all: ImpairmentArgs,
    pub(super) sources: BTreeMap<Prefix, ImpairmentArgs>,
}

impl Stated {
    /// Reads the document.
    ///
    /// # Errors
    /// The first invalid key with its path, or why the text is not JSON.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Unique(document) = serde_json::from_str(text).map_err(|error| {
            // An error about data is a duplicate key; any other means that the text is not JSON.
            if error.is_data() { error.to_string() } else { format!("not JSON: {error}") }
        })?;
        let mut stated = Self::default();
        for (key, value) in object("the document", &document)? {
            match key.as_str() {
                "all" => stated.all = read("all", value)?,
                "sources" => {
                    for (network, value) in object("sources", value)? {
                        let path = format!("sources.{network:?}");
                        let prefix: Prefix =
                            network.parse().map_err(|error| format!("{path}: {error}"))?;
                        if stated.sources.len() == MAX_SOURCES {
                            return Err(format!("sources: more than {MAX_SOURCES} networks"));
                        }
                        if stated.sources.insert(prefix, read(&path, value)?).is_some() {
                            return Err(format!("{path}: duplicate network {prefix}"));
                        }
                    }
                }
                _ => return Err(format!("{key}: unknown key (known: all, sources)")),
            }
        }
        Ok(stated)
    }

    /// Writes the document.
    pub(super) fn to_json(&self) -> Value {
        serde_json::json!(self.document())
    }

    /// The document.
    fn document(&self) -> ImpairmentsDocument {
        let settings = |args: &ImpairmentArgs| {
            let stated = args.stated().into_iter();
            stated.map(|(key, text)| (key.to_owned(), Setting::from(text))).collect()
        };
        let sources = self.sources.iter();
        ImpairmentsDocument {
            all: settings(&self.all),
            sources: sources.map(|(prefix, args)| (prefix.to_string(), settings(args))).collect(),
        }
    }

    /// The same impairments, with `seed` where no seed is given.
    fn with_seed(mut self, seed: u64) -> Self {
        for args in [&mut self.all].into_iter().chain(self.sources.values_mut()) {
            args.seed.get_or_insert(SeedArg(seed));
        }
        self
    }

    /// The settings of the responder. `seed` is used where none is given.
    pub(super) fn impairments(&self, seed: u64) -> Impairments {
        let sources = self.sources.iter().map(|(&prefix, args)| (prefix, args.settings(seed)));
        Impairments { all: self.all.settings(seed), sources: sources.collect() }
    }

    /// One text for each impairment and each network; empty without impairments.
    pub(super) fn in_words(&self) -> Vec<String> {
        let mut words = self.all.settings(0).in_words();
        for (prefix, args) in &self.sources {
            let settings = args.settings(0);
            let said = if settings.is_off() { "none".to_owned() } else { settings.to_string() };
            words.push(format!("for {prefix}: {said}"));
        }
        words
    }
}

fn object<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{path}: must be an object"))
}

fn read(path: &str, value: &Value) -> Result<ImpairmentArgs, String> {
    let mut args = ImpairmentArgs::default();
    for (key, value) in object(path, value)? {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(format!("{path}.{key}: must be a string or a number"));
            }
        };
        let in_json = |problem: String| match problem.rsplit_once("did you mean ") {
            Some((_, meant)) if value.is_number() => {
                format!("{problem} (in JSON, \"{}\")", meant.trim_end_matches('?'))
            }
            _ => problem,
        };
        args.set(key, &text).map_err(|problem| format!("{path}.{key}: {}", in_json(problem)))?;
    }
    match args.without_effect() {
        None => Ok(args),
        Some((key, needed)) => Err(format!("{path}.{key}: has no effect without {needed}")),
    }
}

/// A JSON value without duplicate keys. [`Value`] alone would keep the last duplicate without an
/// error.
struct Unique(Value);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueVisitor).map(Self)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Unique(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) {
                return Err(A::Error::custom(format_args!("duplicate key {key:?}")));
            }
            let Unique(value) = entries.next_value()?;
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

/// Shows and changes the impairments of the responder in this process.
pub(super) struct Control {
    stated: Mutex<Stated>,
    /// The seed of settings without one.
    seed: u64,
    switch: Arc<ImpairmentSwitch>,
}

impl Control {
    pub(super) fn new(stated: Stated, seed: u64, switch: Arc<ImpairmentSwitch>) -> Self {
        Self { stated: Mutex::new(stated), seed, switch }
    }

    fn present(&self) -> Stated {
        self.stated.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ImpairmentControl for Control {
    fn show(&self) -> String {
        format!("{}\n", self.present().with_seed(self.seed).to_json())
    }

    fn change(&self, json: &str) -> Result<(), String> {
        let wanted = Stated::parse(json)?;
        // Locked while the switch is set, so that concurrent changes are shown in their real order.
        let mut stated = self.stated.lock().unwrap_or_else(PoisonError::into_inner);
        self.switch.set(&wanted.impairments(self.seed), net::now().mono);
        *stated = wanted;
        match stated.in_words() {
            words if words.is_empty() => warn!("impairments changed: all are off"),
            words => {
                // The whole document with seeds, to repeat the same impairments from a log.
                let impairments = stated.clone().with_seed(self.seed).to_json().to_string();
                if impairments.len() <= LOGGED {
                    warn!(impairments, "impairments changed: {}", words.join(", "));
                } else {
                    let sources = stated.sources.len();
                    warn!(sources, "impairments changed: see /api/v1/impairments");
                }
            }
        }
        Ok(())
    }

    fn in_words(&self) -> Vec<String> {
        self.present().in_words()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_document_reads_back() {
        let text = r#"{"all": {"loss": "30%", "burst_loss": "1%,25%", "direction": "both",
            "delay": "20ms", "jitter": "5ms", "jitter_shape": "pareto", "bandwidth": "64kbit,20ms",
            "duplicate": 0.01, "reorder": "2%,1s", "reorder_extent": 3, "corrupt": "0.1%",
            "outage": "every=1m,for=20s", "seed": 7},
            "sources": {"192.0.2.0/24": {"loss": 1}, "::1": {}}}"#;
        let stated = Stated::parse(text).unwrap();
        let json = stated.clone().with_seed(9).to_json();
        let again = Stated::parse(&json.to_string()).unwrap();
        assert_eq!(again.impairments(1), stated.impairments(9));
        assert_eq!(again.to_json(), json);
        let document: ImpairmentsDocument = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(document, again.document());
        assert_eq!(json["all"].as_object().unwrap().len(), 13);
        assert_eq!(json["all"]["bandwidth"], "64kbit,20ms");
        assert_eq!(json["sources"]["192.0.2.0/24"]["loss"], "100%");
        assert_eq!(json["sources"]["::1/128"], serde_json::json!({"seed": 9}));
        assert_eq!(Stated::default().to_json(), serde_json::json!({"all": {}, "sources": {}}));
    }

    #[test]
    fn an_empty_document_has_no_impairments() {
        for text in ["{}", r#"{"all": {}}"#, r#"{"sources": {}}"#] {
            let stated = Stated::parse(text).unwrap();
            assert_eq!(stated, Stated::default());
            assert!(stated.impairments(3).all.is_off() && stated.in_words().is_empty());
        }
    }

    #[test]
    fn texts_name_the_networks() {
        let text =
            r#"{"all": {"loss": 0.3}, "sources": {"192.0.2.0/24": {}, "::1": {"delay": "1s"}}}"#;
        let words = Stated::parse(text).unwrap().in_words();
        assert_eq!(words, ["loss 30%", "for 192.0.2.0/24: none", "for ::1/128: delay 1s"]);
    }

    #[test]
    fn problems_are_reported_with_their_keys() {
        for (text, message) in [
            ("", "not JSON: EOF"),
            ("{\"all\": {\"loss\": }}", "not JSON: expected value at line 1 column 18"),
            ("[]", "the document: must be an object"),
            (r#"{"al": {}}"#, "al: unknown key (known: all, sources)"),
            (r#"{"all": 3}"#, "all: must be an object"),
            (r#"{"all": {"los": 1}}"#, "all.los: unknown key (known: loss, burst_loss, "),
            (r#"{"all": {"loss": "130%"}}"#, "all.loss: must be from 0% to 100%"),
            (r#"{"all": {"loss": null}}"#, "all.loss: must be a string or a number"),
            (r#"{"all": {"delay": 20}}"#, "all.delay: needs a unit, such as 20s or 20ms"),
            (r#"{"all": {"reorder_extent": 0}}"#, "all.reorder_extent: "),
            (r#"{"all": {"seed": -1}}"#, "all.seed: must be a whole number from 0 to "),
            (r#"{"all": {"loss": 0.3, "loss": 0.9}}"#, "duplicate key \"loss\" at line 1 "),
            (r#"{"all": {}, "all": {}}"#, "duplicate key \"all\" at line 1 "),
            (r#"{"sources": {"::1": {}, "::1": {}}}"#, "duplicate key \"::1\" at line 1 "),
            (r#"{"sources": {"fra": {}}}"#, "sources.\"fra\": must be a network"),
            (r#"{"sources": {"::1": {"loss": 2}}}"#, "sources.\"::1\".loss: must be from 0%"),
            (
                r#"{"sources": {"::1": {}, "::1/128": {}}}"#,
                "sources.\"::1/128\": duplicate network ::1/128",
            ),
            (
                r#"{"sources": {"10.0.0.1/8": {}}}"#,
                "sources.\"10.0.0.1/8\": has host bits set: did you mean 10.0.0.0/8, or the one",
            ),
            (
                r#"{"all": {"loss": 30}}"#,
                "all.loss: must be from 0% to 100%, or from 0 to 1, not \"30\": did you mean 30%? \
                 (in JSON, \"30%\")",
            ),
            (
                r#"{"all": {"direction": "out"}}"#,
                "all.direction: has no effect without loss, burst",
            ),
            (
                r#"{"sources": {"::1": {"jitter_shape": "normal"}}}"#,
                "sources.\"::1\".jitter_shape: has no effect without jitter",
            ),
            (
                r#"{"all": {"reorder_extent": 3}}"#,
                "all.reorder_extent: has no effect without reorder",
            ),
        ] {
            let problem = Stated::parse(text).unwrap_err();
            assert!(problem.starts_with(message), "{text}: {problem}");
        }
    }
}
