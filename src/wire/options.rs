//! What a target may set of its protocol, and the interface through which a protocol reads it.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

use super::{Key, Prober};

/// The options of one protocol, as one target has them.
///
/// `Debug` shows no secret; two are equal where probers built from them send the same and
/// understand the same.
pub(super) trait TargetOptions {
    /// Reads the [keys](super::Protocol::keys) of the protocol. An option that is not set or wrong
    /// has its default.
    fn read(source: &mut dyn OptionSource) -> Self;

    /// The keys of the protocol with the values in force, so that what reads them has these
    /// options. A key that is not set and has no default is left out.
    fn written(&self) -> Vec<(&'static str, String)>;

    /// The sending half of the protocol for one target; `secret` is drawn for it alone, and cannot
    /// be guessed by others.
    fn prober(&self, secret: u64) -> Arc<dyn Prober>;
}

/// A sending half that is the same for every target, as its protocol has no options.
pub(super) trait WithoutOptions: Prober + Copy + Default {}

impl<P: WithoutOptions> TargetOptions for P {
    fn read(_source: &mut dyn OptionSource) -> Self {
        Self::default()
    }

    fn written(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn prober(&self, _secret: u64) -> Arc<dyn Prober> {
        Arc::new(*self)
    }
}

/// A shared key, and the file that it comes from.
#[derive(Debug, Clone)]
pub struct FiledKey {
    /// The absolute path of the file, where it is UTF-8, otherwise the path as it is written.
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
    /// The text that is set for `key`; `None` where nothing is. What is not text is reported, and
    /// `None`.
    fn text(&mut self, key: &'static str) -> Option<String>;

    /// The shared key in the file that is set for `key`; `None` where none is. What goes wrong is
    /// reported, and `None`.
    fn key(&mut self, key: &'static str) -> Option<FiledKey>;

    /// Reports that the value of `key` is wrong; the message follows on the place of the value.
    fn report(&mut self, key: &'static str, message: String);
}

impl dyn OptionSource + '_ {
    /// The value that is set for `key`, read from its text; `None` where none is, or it is wrong.
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

    fn key(&mut self, _key: &'static str) -> Option<FiledKey> {
        None
    }

    fn report(&mut self, _key: &'static str, _message: String) {}
}
