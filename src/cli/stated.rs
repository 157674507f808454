//! The faults of a responder as JSON: a document enters, checked values leave, and the other way
//! round.
//!
//! The document is `{"all": {…}, "sources": {"192.0.2.0/24": {…}}}`; each part may be missing. The
//! keys within are the flags with underscores, the values those of the flags.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value};
use tracing::warn;

use super::impairments::ImpairmentArgs;
use crate::config::Prefix;
use crate::net;
use crate::observe::document::{FaultsDocument, Setting};
use crate::responder::{FaultSwitch, Faults};
use crate::web::FaultControl;

/// Sources that may have faults of their own: for each datagram, they are gone through one by one.
/// With all that may be said of each, they fit into a request.
const MAX_SOURCES: usize = 1000;

/// Faults that are longer as a document, in octets, are not logged.
const LOGGED: usize = 8 << 10;

/// What was asked for, of all and of some sources.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Stated {
    pub(super) all: ImpairmentArgs,
    pub(super) sources: BTreeMap<Prefix, ImpairmentArgs>,
}

impl Stated {
    /// Reads the document.
    ///
    /// # Errors
    /// The first key that is wrong, with its path, or where the text is no JSON.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let document: Value =
            serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
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
                            return Err(format!("sources: there are more than {MAX_SOURCES}"));
                        }
                        if stated.sources.insert(prefix, read(&path, value)?).is_some() {
                            return Err(format!("{path}: {prefix} stands there twice"));
                        }
                    }
                }
                _ => return Err(format!("{key}: no such key (there are all, sources)")),
            }
        }
        Ok(stated)
    }

    /// Writes the document.
    pub(super) fn to_json(&self) -> Value {
        serde_json::json!(self.document())
    }

    /// The document.
    fn document(&self) -> FaultsDocument {
        let settings = |args: &ImpairmentArgs| {
            let stated = args.stated().into_iter();
            stated.map(|(key, text)| (key.to_owned(), Setting::from(text))).collect()
        };
        let sources = self.sources.iter();
        FaultsDocument {
            all: settings(&self.all),
            sources: sources.map(|(prefix, args)| (prefix.to_string(), settings(args))).collect(),
        }
    }

    /// The same, with `seed` where none is stated.
    fn with_seed(mut self, seed: u64) -> Self {
        for args in [&mut self.all].into_iter().chain(self.sources.values_mut()) {
            args.seed.get_or_insert(seed);
        }
        self
    }

    /// What the responder does of it.
    pub(super) fn faults(&self, seed: u64) -> Faults {
        let sources = self.sources.iter().map(|(&prefix, args)| (prefix, args.settings(seed)));
        Faults { all: self.all.settings(seed), sources: sources.collect() }
    }

    /// Each as a person would say it; empty where all is well.
    pub(super) fn in_words(&self) -> Vec<String> {
        let mut words = self.all.settings(0).in_words();
        for (prefix, args) in &self.sources {
            let settings = args.settings(0);
            let said = if settings.is_off() { "nothing".to_owned() } else { settings.to_string() };
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
        args.set(key, &text).map_err(|problem| format!("{path}.{key}: {problem}"))?;
    }
    Ok(args)
}

/// The faults of the responder in this process.
pub(super) struct Control {
    stated: Mutex<Stated>,
    /// Of settings that state none.
    seed: u64,
    switch: Arc<FaultSwitch>,
}

impl Control {
    pub(super) fn new(stated: Stated, seed: u64, switch: Arc<FaultSwitch>) -> Self {
        Self { stated: Mutex::new(stated), seed, switch }
    }

    fn present(&self) -> Stated {
        self.stated.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl FaultControl for Control {
    fn show(&self) -> String {
        format!("{}\n", self.present().with_seed(self.seed).to_json())
    }

    fn change(&self, json: &str) -> Result<(), String> {
        let wanted = Stated::parse(json)?;
        // Held for as long as the switch takes, so that what is shown last is what holds.
        let mut stated = self.stated.lock().unwrap_or_else(PoisonError::into_inner);
        self.switch.set(&wanted.faults(self.seed), net::now().mono);
        *stated = wanted;
        match stated.in_words() {
            words if words.is_empty() => warn!("faults were changed: there are none"),
            words => {
                // What makes them happen again, seeds and all.
                let faults = stated.clone().with_seed(self.seed).to_json().to_string();
                if faults.len() <= LOGGED {
                    warn!(faults, "faults were changed: {}", words.join(", "));
                } else {
                    let sources = stated.sources.len();
                    warn!(sources, "faults were changed: see /api/v1/faults");
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
    fn what_is_written_is_read_back() {
        let text = r#"{"all": {"loss": "30%", "burst_loss": "1%,25%", "direction": "both",
            "delay": "20ms", "jitter": "5ms", "jitter_shape": "pareto", "bandwidth": "64kbit,20ms",
            "duplicate": 0.01, "reorder": "2%,1s", "reorder_extent": 3, "corrupt": "0.1%",
            "outage": "every=1m,for=20s", "seed": 7},
            "sources": {"192.0.2.7/24": {"loss": 1}, "::1": {}}}"#;
        let stated = Stated::parse(text).unwrap();
        let json = stated.clone().with_seed(9).to_json();
        let again = Stated::parse(&json.to_string()).unwrap();
        assert_eq!(again.faults(1), stated.faults(9));
        assert_eq!(again.to_json(), json);
        let document: FaultsDocument = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(document, again.document());
        assert_eq!(json["all"].as_object().unwrap().len(), 13);
        assert_eq!(json["all"]["bandwidth"], "64kbit,20ms");
        assert_eq!(json["sources"]["192.0.2.0/24"]["loss"], "100%");
        assert_eq!(json["sources"]["::1/128"], serde_json::json!({"seed": 9}));
        assert_eq!(Stated::default().to_json(), serde_json::json!({"all": {}, "sources": {}}));
    }

    #[test]
    fn nothing_stated_is_no_fault() {
        for text in ["{}", r#"{"all": {}}"#, r#"{"sources": {}}"#] {
            let stated = Stated::parse(text).unwrap();
            assert_eq!(stated, Stated::default());
            assert!(stated.faults(3).all.is_off() && stated.in_words().is_empty());
        }
    }

    #[test]
    fn words_name_the_sources() {
        let text =
            r#"{"all": {"loss": 0.3}, "sources": {"192.0.2.0/24": {}, "::1": {"delay": "1s"}}}"#;
        let words = Stated::parse(text).unwrap().in_words();
        assert_eq!(words, ["loss 30%", "for 192.0.2.0/24: nothing", "for ::1/128: delay 1s"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        for (text, message) in [
            ("", "not JSON: EOF"),
            ("{\"all\": {\"loss\": }}", "not JSON: expected value at line 1 column 18"),
            ("[]", "the document: must be an object"),
            (r#"{"al": {}}"#, "al: no such key (there are all, sources)"),
            (r#"{"all": 3}"#, "all: must be an object"),
            (r#"{"all": {"los": 1}}"#, "all.los: no such key (there are loss, burst_loss, "),
            (r#"{"all": {"loss": "130%"}}"#, "all.loss: must be from 0% to 100%"),
            (r#"{"all": {"loss": null}}"#, "all.loss: must be a string or a number"),
            (r#"{"all": {"delay": 20}}"#, "all.delay: needs a unit, such as 20s or 20ms"),
            (r#"{"all": {"reorder_extent": 0}}"#, "all.reorder_extent: "),
            (r#"{"all": {"seed": -1}}"#, "all.seed: invalid digit"),
            (r#"{"sources": {"fra": {}}}"#, "sources.\"fra\": must be a network"),
            (r#"{"sources": {"::1": {"loss": 2}}}"#, "sources.\"::1\".loss: must be from 0%"),
            (
                r#"{"sources": {"10.0.0.1/8": {}, "10.0.0.0/8": {}}}"#,
                "sources.\"10.0.0.1/8\": 10.0.0.0/8 stands there twice",
            ),
        ] {
            let problem = Stated::parse(text).unwrap_err();
            assert!(problem.starts_with(message), "{text}: {problem}");
        }
    }
}
