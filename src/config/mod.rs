//! Configuration: what the user asked for, checked.
//!
//! The text of a YAML file enters, and either a [`Config`] free of contradictions leaves or
//! [`Problems`]: every problem of the file at once, each with file, line, column and path. Of the
//! command line come single targets ([`parse_target`]) and scalars ([`Interval`], [`Ratio`], …),
//! which read the same text with the same messages.
//!
//! A file passes through three stages:
//!
//! 1. `node`: `serde_yaml` reads the text into a tree of plain values. What YAML itself forbids
//!    ends here.
//! 2. `schema`: the tree is checked against what a configuration may say. Problems are collected,
//!    each with its place in the tree.
//! 3. `place`: only where there are problems, the text is scanned once more for the line and
//!    column of each place.
//!
//! Nothing outside this module knows that the files are YAML.

mod address;
mod argument;
mod key;
mod node;
mod place;
mod prefix;
mod problem;
mod scalars;
mod schema;
mod target;
mod values;

use std::path::Path;

pub use address::{Address, AddressError, Host};
pub use argument::{TargetError, parse_target};
pub use key::{KeyFile, KeyFileError};
pub use prefix::{Prefix, PrefixMap};
pub use problem::{Problem, Problems};
pub(crate) use scalars::format_duration;
pub use scalars::{BitRate, Interval, LabelName, Ratio, ScalarError, Span, UnknownProtocol};
pub use target::{
    Config, Defaults, DuplicateNames, MAX_IN_FLIGHT, MAX_RECORDER, Target, TooManyInFlight,
    default_rtt_buckets, in_flight,
};

use place::Lines;

/// Reads the file at `path` and checks it as [`parse`] does.
///
/// # Errors
/// Every problem of the file; where it cannot be read, that is the one problem, at its beginning.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let file = path.display().to_string();
    let octets = std::fs::read(path)
        .map_err(|error| Problems::of_file(&file, (1, 1), format!("cannot be read: {error}")))?;
    let text = str::from_utf8(&octets).map_err(|error| {
        let valid = String::from_utf8_lossy(&octets[..error.valid_up_to()]);
        Problems::of_file(&file, Lines::of(&valid).end(), "is not UTF-8".to_owned())
    })?;
    parse(&file, text)
}

/// Checks the text of a configuration file called `file`, which is named in problems and not read;
/// the key files that the text names are, relative to its folder.
///
/// A file without targets is no problem: others may come from the command line.
///
/// # Errors
/// Every problem of the text, in the order of their places.
pub fn parse(file: &str, text: &str) -> Result<Config, Problems> {
    let root = node::read(text).map_err(|fault| {
        let at = fault.at.unwrap_or((1, 1));
        Problems::of_file(file, Lines::of(text).clamp(at), fault.message)
    })?;
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    schema::check(&root, folder).map_err(|findings| Problems::locate(file, text, findings))
}
