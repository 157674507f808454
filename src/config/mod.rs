//! The configuration, from a YAML file and the command line.
//!
//! [`parse`] turns the text of a file into a [`Config`] without contradictions, or into
//! [`Problems`], each with file, line, column and path. The same code, with the same messages,
//! reads targets ([`parse_target`]) and scalars ([`Interval`], [`Ratio`], …) of the command line.
//!
//! A file passes through three stages:
//!
//! 1. `file` reads the octets, up to a bound. They must be UTF-8.
//! 2. `node` reads the text into a tree of plain values, each with its place. It refuses a text
//!    that is not YAML or would take too much work.
//! 3. `schema` checks the tree against the known keys and their ranges, and collects all problems.
//!
//! [`Config::to_yaml`] prints a configuration that reads back as the same one. No other module
//! knows that the files are YAML.

mod address;
mod argument;
mod common_keys;
mod conflict;
mod contents;
mod core_schema;
mod file;
mod http;
mod instead;
mod key;
mod level;
mod node;
mod packet_keys;
mod packets;
mod per_address;
mod place;
mod prefix;
mod print;
mod problem;
mod scalars;
mod schema;
mod syntax;
mod target;
mod values;
mod walk;

use std::path::Path;

pub use address::{Address, AddressError, Host};
pub use argument::{TargetError, parse_target, parse_target_with};
pub use conflict::{ConflictError, DuplicateNames, Indistinct, unique_names};
pub use contents::Contents;
pub use http::{HttpConfig, HttpReading, HttpSource, RateLimit};
pub use key::{KeyFile, KeyFileError};
pub use packets::{PacketConflict, PacketOptionError, SourceAddress, check_packets};
pub use place::LineColumn;
pub use prefix::{Prefix, PrefixMap};
pub use problem::{Problem, Problems};
pub(crate) use scalars::format_duration;
pub use scalars::{BitRate, Interval, LabelName, Ratio, ScalarError, Span, UnknownProtocol};
pub use target::{
    Config, DEFAULT_PORT, Defaults, MAX_IN_FLIGHT, MAX_RECORDER, Target, TooManyInFlight,
    default_rtt_buckets, in_flight,
};

/// Reads the file at `path` and checks it as [`parse`] does.
///
/// # Errors
/// The problems of the file. A file that cannot be read has one problem, without a place.
pub fn load(path: &Path) -> Result<Config, Problems> {
    Contents::read(path)?.check()
}

/// Checks `text`, the contents of the configuration file at `file`. The path appears in problems,
/// and key files are read relative to its folder; the file itself is not read.
///
/// A file without targets is valid, since the command line may name some.
///
/// # Errors
/// The problems of the text, in the order of its lines.
///
/// # Examples
/// ```
/// use udp_heartbeat::config;
///
/// let text = "targets:\n  - {name: fra-edge, address: \"192.0.2.1:862\", protocol: stamp}\n";
/// let config = config::parse("probe.yml", text)?;
/// assert_eq!(config.targets[0].name, "fra-edge");
/// assert_eq!(config.targets[0].interval.as_secs(), 1);
///
/// let problems = config::parse("probe.yml", "targets:\n  - {adress: fra}\n").unwrap_err();
/// assert!(problems.to_string().contains("did you mean address?"));
/// # Ok::<(), config::Problems>(())
/// ```
pub fn parse(file: &str, text: &str) -> Result<Config, Problems> {
    contents::parse_with(file, text, schema::check)
}
