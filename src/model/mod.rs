//! The vocabulary: the only types that every layer shares.
//!
//! Nothing here does anything but be a value: moments ([`Mono`], [`Wall`], [`Moment`],
//! [`Arrival`]), identities ([`TargetId`]), and the closed sets of words that become label values on
//! `/metrics` ([`UnsentReason`], [`InvalidReason`], …).

mod identity;
mod labels;
mod outcome;
mod time;

pub use identity::TargetId;
pub use labels::Label;
pub(crate) use labels::labels;
pub use outcome::{
    Direction, DropReason, IcmpKind, ImpairmentKind, InvalidReason, StampSource, State,
    TargetLabel, UnmatchedReason, UnsentReason,
};
pub use time::{Arrival, Moment, Mono, Wall, nanos};
