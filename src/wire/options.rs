//! The protocol options of a target, and the interface from which a protocol reads them.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

use super::{Key, Prober};

/// The options of one protocol for one target.
///
/// `Debug` shows no secret. Two are equal if probers built from them behave identically.
pub(super) trait TargetOptions {
    /// Reads the [keys](super::Protocol::keys) of the protocol. A missing or invalid option has its
    /// default value.
    fn read(source: &mut dyn OptionSource) -> Self;

    /// The keys of the protocol with their values in force; reading them gives the same options. A
    /// key without a value and without a default is left out.
    fn written(&self) -> Vec<(&'static str, OptionValue)>;

    /// The size to which the requests of the target are padded, in octets of UDP payload; 0 if they
    /// are not padded.
    fn padded_size(&self) -> u16 {
        0
    }

    /// The sending half of the protocol for one target. `secret` is random, and different for each
    /// target.
    fn prober(&self, secret: u64) -> Arc<dyn Prober>;
}

/// A sending half without options, which is the same for every target.
pub(super) trait WithoutOptions: Prober + Copy + Default {}

impl<P: WithoutOptions> TargetOptions for P {
    fn read(_source: &mut dyn OptionSource) -> Self {
        Self::default()
    }

    fn written(&self) -> Vec<(&'static str, OptionValue)> {
        Vec::new()
    }

    fn prober(&self, _secret: u64) -> Arc<dyn Prober> {
        Arc::new(*self)
    }
}

/// The value of an option, in the form of the configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum OptionValue {
    /// A text.
    Text(String),
    /// A whole number.
    Number(u32),
}

/// A shared key, and the file that it comes from.
#[derive(Debug, Clone)]
pub struct FiledKey {
    /// The absolute path of the file if it is UTF-8, otherwise the path as written.
    pub file: String,
    /// The key in it.
    pub key: Arc<Key>,
}

impl FiledKey {
    /// A key that comes from this file.
    #[must_use]
    pub fn new(file: impl Into<String>, key: Key) -> Self {
        Self { file: file.into(), key: Arc::new(key) }
    }
}

/// Where the options of a target come from: a configuration file or a command line.
///
/// It knows the place of each option, so that problems are reported there.
pub trait OptionSource {
    /// The text of `key`; `None` if it is not set. Reports a value that is not text and returns
    /// `None`.
    fn text(&mut self, key: &'static str) -> Option<String>;

    /// The number, from 1, that is the value of `key`; `None` if it is not set. Reports any other
    /// value and returns `None`. `expected` describes the valid values in the message.
    fn whole(&mut self, key: &'static str, expected: &str) -> Option<u32>;

    /// The shared key in the file that `key` names; `None` if it is not set. Reports an error and
    /// returns `None` if there is no valid key in the file.
    fn key(&mut self, key: &'static str) -> Option<FiledKey>;

    /// Reports that the value of `key` is invalid. The place of the value precedes the message.
    fn report(&mut self, key: &'static str, message: String);
}

impl dyn OptionSource + '_ {
    /// The parsed value of `key`; `None` if it is not set or invalid.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let read = self.text(key)?.parse();
        read.map_err(|error: T::Err| self.report(key, error.to_string())).ok()
    }
}

/// The source of a target that sets no options.
pub(super) struct NothingSet;

impl OptionSource for NothingSet {
    fn text(&mut self, _key: &'static str) -> Option<String> {
        None
    }

    fn whole(&mut self, _key: &'static str, _expected: &str) -> Option<u32> {
        None
    }

    fn key(&mut self, _key: &'static str) -> Option<FiledKey> {
        None
    }

    fn report(&mut self, _key: &'static str, _message: String) {}
}
