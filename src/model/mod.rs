//! The types that all layers share.
//!
//! All of them are plain values: moments ([`Mono`], [`Wall`], [`Moment`], [`Arrival`]), identities
//! ([`TargetId`]), how datagrams leave ([`PacketOptions`]), the results of name lookups ([`Found`]),
//! and the label values of `/metrics` ([`UnsentReason`], [`InvalidReason`], …).

mod accuracy;
mod identity;
mod labels;
mod names;
mod outcome;
mod packets;
mod time;

pub use accuracy::ClockAccuracy;
pub use identity::TargetId;
pub use labels::Label;
pub(crate) use labels::labels;
pub use names::{Addresses, Found, IpVersion, LookupFailure, NotAHost, ip_version, one_host};
pub use outcome::{
    Direction, DropReason, IcmpKind, ImpairmentKind, InvalidReason, StampSource, State,
    TargetLabel, UnmatchedReason, UnsentReason,
};
pub use packets::{Dscp, InterfaceName, PacketOptions};
pub use time::{Arrival, Moment, Mono, Wall, nanos};
