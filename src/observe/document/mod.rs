//! The JSON documents of the HTTP API and of `ping`, written by this program and read by clients.
//!
//! Every type is both serialised and deserialised. Delays and times are in seconds, moments in RFC
//! 3339 (UTC); what is not known is `null`. Keys are promises: they are added, never renamed.
//! Words that are label values on `/metrics` are read as text, so that a client reads the document
//! of a newer probe.

mod counts;
mod faults;
mod heartbeats;
mod ping;
mod targets;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::model::{Label, State, Wall};

pub use counts::CountsDocument;
pub use faults::{FaultsDocument, Setting};
pub use heartbeats::{FrozenDocument, HeartbeatDocument, HeartbeatsDocument};
pub use ping::{DelaysDocument, PingDocument};
pub use targets::{TargetDocument, TargetsDocument};

pub(crate) use heartbeats::outcome;

/// A word of a closed set.
pub type Word = Cow<'static, str>;

/// Counts by a label: every value of the label is a key.
pub type ByLabel = BTreeMap<Word, u64>;

/// `moment` in RFC 3339, to the millisecond; `None` past the year 9999.
pub(crate) fn rfc3339(moment: Wall) -> Option<String> {
    let milliseconds = i64::try_from(moment.as_nanos() / 1_000_000).ok()?;
    let moment = jiff::Timestamp::from_millisecond(milliseconds).ok()?;
    Some(format!("{moment:.3}"))
}

/// `moment` in RFC 3339, to the microsecond; `None` past the year 9999.
pub(crate) fn rfc3339_micros(moment: Wall) -> Option<String> {
    let microseconds = i64::try_from(moment.as_nanos() / 1000).ok()?;
    let moment = jiff::Timestamp::from_microsecond(microseconds).ok()?;
    Some(format!("{moment:.6}"))
}

/// Counts in the order of a label's values, as a document shows them.
fn by_label<L: Label>(counts: &[u64]) -> ByLabel {
    let words = L::ALL.iter().map(|label| Word::Borrowed(label.label()));
    words.zip(counts.iter().copied()).collect()
}

/// `up`, `down`, or `unknown` before the first verdict.
fn state(state: Option<State>) -> Word {
    state.map_or("unknown", Label::label).into()
}
