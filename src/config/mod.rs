//! Configuration: what the user asked for, checked.
//!
//! The input is the text of a YAML file. The output is a [`Config`] free of contradictions, or
//! [`Problems`]: what is wrong with the file, each with file, line, column and path. From the command
//! line come single targets ([`parse_target`]) and scalars ([`Interval`], [`Ratio`], …), which read
//! the same text with the same messages.
//!
//! A file passes through three stages:
//!
//! 1. `file`: the octets are read, up to a bound, and are UTF-8.
//! 2. `node`: the text is read into a tree of plain values, each with its place. What YAML itself
//!    forbids ends here, and what takes more work than a configuration may.
//! 3. `schema`: the tree is checked against what a configuration may say. Problems are collected,
//!    each with its place.
//!
//! [`Config::to_yaml`] prints a configuration that reads back as the same one. Nothing outside this
//! module knows that the files are YAML.

mod address;
mod argument;
mod core_schema;
mod file;
mod key;
mod node;
mod place;
mod prefix;
mod print;
mod problem;
mod scalars;
mod schema;
mod target;
mod values;

use std::path::Path;

pub use address::{Address, AddressError, Host};
pub use argument::{TargetError, parse_target, parse_target_with};
pub use key::{KeyFile, KeyFileError};
pub use prefix::{Prefix, PrefixMap};
pub use problem::{Problem, Problems};
pub(crate) use scalars::format_duration;
pub use scalars::{BitRate, Interval, LabelName, Ratio, ScalarError, Span, UnknownProtocol};
pub use target::{
    Config, Defaults, DuplicateNames, MAX_IN_FLIGHT, MAX_RECORDER, Target, TooManyInFlight,
    default_rtt_buckets, in_flight,
};

use file::{FileError, MAX_OCTETS};
use place::At;
use problem::Finding;

/// Reads the file at `path` and checks it as [`parse`] does.
///
/// # Errors
/// What is wrong with the file; where it cannot be read, that is the one problem, at its beginning.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let file = path.display().to_string();
    let octets = file::read(path).map_err(|error| Problems::of_file(&file, error.to_string()))?;
    match str::from_utf8(&octets) {
        Ok(text) => parse(&file, text),
        Err(error) => {
            let (valid, rest) = octets.split_at(error.valid_up_to());
            let message = format!("is not UTF-8: octet 0x{:02x}", rest[0]);
            let finding = Finding::of_file(At::new(valid.len()), message);
            Err(Problems::locate(&file, &String::from_utf8_lossy(valid), finding.into()))
        }
    }
}

/// Checks the text of a configuration file called `file`, which is named in problems and not read;
/// the key files that the text names are, relative to its folder.
///
/// A file without targets is no problem: others may come from the command line.
///
/// # Errors
/// What is wrong with the text, in the order of its lines.
pub fn parse(file: &str, text: &str) -> Result<Config, Problems> {
    if text.len() > MAX_OCTETS {
        return Err(Problems::of_file(file, FileError::TooLarge.to_string()));
    }
    // Editors do not show a byte order mark, and do not count it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let checked = match node::read(text) {
        Ok(root) => schema::check(&root, folder),
        Err(finding) => Err(finding.into()),
    };
    checked.map_err(|findings| Problems::locate(file, text, findings))
}
