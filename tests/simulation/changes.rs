//! Changes of the set of targets in a scenario. Each change edits the scenario's configuration as
//! text, as a person would, and the probe's own code reads the result.
//!
//! ```yaml
//! changes:
//!   - at: 90s
//!     remove: [a, b]                               # targets by their names
//!     change: [{name: c, interval: 2s}]            # other values of some keys
//!     add: [{name: d, address: 192.0.2.4}]
//!     defaults: {timeout: 2s}                      # other defaults
//!     crowd: {count: 300, interval: 1s}            # replaces the crowd
//!     every: 2s                                    # repeats the change:
//!     times: 10                                    # ten times in all
//! ```

use std::sync::Arc;

use serde::Deserialize;
use serde::de::Error as _;
use serde_yaml::{Error, Mapping, Value};
use udp_heartbeat::config::{self, Config, Target};

use crate::scenario::Span;

/// A change of the set of targets.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) at: Span,
    /// All targets from then on.
    pub(crate) targets: Vec<Arc<Target>>,
}

/// A change as written in the file. Removals come before additions, so that a name can be used
/// again.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    at: Span,
    #[serde(default)]
    remove: Vec<String>,
    #[serde(default)]
    change: Vec<Mapping>,
    #[serde(default)]
    add: Vec<Mapping>,
    #[serde(default)]
    defaults: Mapping,
    crowd: Option<Value>,
    #[serde(default)]
    every: Span,
    times: Option<u32>,
}

/// Reads the changes of a scenario; `config` is its configuration at the start.
pub(crate) fn read(changes: Value, mut config: Value) -> Result<Vec<Change>, Error> {
    let edits: Option<Vec<Edit>> = serde_yaml::from_value(changes)?;
    let repeated = |edit: Edit| {
        let times = 0..edit.times.unwrap_or(1);
        times.map(move |n| Edit { at: Span(edit.at.0 + edit.every.0 * n), ..edit.clone() })
    };
    let mut edits: Vec<_> = edits.unwrap_or_default().into_iter().flat_map(repeated).collect();
    edits.sort_by_key(|edit| edit.at);
    let mut changes = Vec::new();
    for edit in edits {
        let at = edit.at;
        edit.carry_out(&mut config)?;
        changes.push(Change { at, targets: configuration(config.clone())?.targets });
    }
    Ok(changes)
}

impl Edit {
    fn carry_out(self, config: &mut Value) -> Result<(), Error> {
        let keys = config.as_mapping_mut().ok_or_else(|| Error::custom("no configuration"))?;
        if let Some(crowd) = self.crowd {
            keys.insert("crowd".into(), crowd);
        }
        if !self.defaults.is_empty() {
            let defaults = keys.entry("defaults".into()).or_insert(Mapping::new().into());
            overlay(defaults, self.defaults)?;
        }
        let targets = keys.get_mut("targets").and_then(Value::as_sequence_mut);
        let targets = targets.ok_or_else(|| Error::custom("no targets"))?;
        for name in self.remove {
            let place = place(targets, Some(&name.into()))?;
            targets.remove(place);
        }
        for changed in self.change {
            let place = place(targets, changed.get("name"))?;
            overlay(&mut targets[place], changed)?;
        }
        targets.extend(self.add.into_iter().map(Value::Mapping));
        Ok(())
    }
}

/// The index of the target of this name.
fn place(targets: &[Value], name: Option<&Value>) -> Result<usize, Error> {
    let found = targets.iter().position(|target| target.get("name") == name && name.is_some());
    found.ok_or_else(|| Error::custom(format_args!("{name:?} is no target")))
}

/// Sets keys; a key without a value is removed.
fn overlay(keys: &mut Value, changed: Mapping) -> Result<(), Error> {
    let keys = keys.as_mapping_mut().ok_or_else(|| Error::custom("no keys"))?;
    keys.extend(changed);
    keys.retain(|_, value| !value.is_null());
    Ok(())
}

/// Reads a configuration, and adds the targets of its `crowd`, if it has one.
pub(crate) fn configuration(mut value: Value) -> Result<Config, Error> {
    if let Some(crowd) = value.as_mapping_mut().and_then(|all| all.remove("crowd")) {
        let crowd: Crowd = serde_yaml::from_value(crowd)?;
        let targets = value.get_mut("targets").and_then(Value::as_sequence_mut);
        let targets = targets.ok_or_else(|| Error::custom("a crowd needs targets beside it"))?;
        targets.extend((0..crowd.count).map(|n| crowd.target(n)));
    }
    let text = serde_yaml::to_string(&value)?;
    config::parse("config", &text).map_err(Error::custom)
}

/// Many similar targets, which are not listed one by one.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Crowd {
    count: u16,
    interval: String,
}

impl Crowd {
    fn target(&self, n: u16) -> Value {
        let [high, low] = n.to_be_bytes();
        let protocol = ["heartbeat", "ping", "stamp"][usize::from(n % 3)];
        let address = match n % 4 {
            0 => format!("2001:db8:1::{n:x}"),
            _ => format!("10.0.{high}.{low}"),
        };
        let fields = [
            ("name", format!("crowd-{n}")),
            ("address", address),
            ("protocol", protocol.to_owned()),
            ("interval", self.interval.clone()),
        ];
        let fields = fields.into_iter().map(|(key, value)| (key.into(), value.into()));
        Value::Mapping(fields.collect())
    }
}
