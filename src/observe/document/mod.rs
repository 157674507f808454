//! The JSON documents of the HTTP API and of `ping`.
//!
//! Every type can be serialised and deserialised. Durations are in seconds, moments in RFC 3339
//! (UTC); unknown values are `null`. Keys are stable: new ones may be added, none is renamed. Label
//! values of `/metrics` and causes are read as text, so that an older client can read the document
//! of a newer probe.

mod counts;
mod diagnosis;
mod heartbeats;
mod impairments;
mod ping;
mod targets;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::model::{Label, State, Wall};

pub use counts::{CountsDocument, OtherSourceDocument};
pub use diagnosis::DiagnosisDocument;
pub use heartbeats::{FrozenDocument, HeartbeatDocument, HeartbeatsDocument};
pub use impairments::{ImpairmentsDocument, Setting};
pub use ping::{DelaysDocument, PingDocument};
pub use targets::{TargetDocument, TargetsDocument};

pub(crate) use heartbeats::outcome;

/// A word of a closed set.
pub type Word = Cow<'static, str>;

/// Counts by label value. Every value of the label is a key.
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

/// The JSON form of counts that are in the order of a label's values.
fn by_label<L: Label>(counts: &[u64]) -> ByLabel {
    let words = L::ALL.iter().map(|label| Word::Borrowed(label.label()));
    words.zip(counts.iter().copied()).collect()
}

/// `up`, `down`, or `unknown` before the first verdict.
fn state(state: Option<State>) -> Word {
    state.map_or("unknown", Label::label).into()
}
