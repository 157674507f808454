//! What is exposed: figures of one moment enter, text for Prometheus and JSON for people leave.
//!
//! [`catalogue`] holds every name, help, type and label in one place. [`encode_probe`] and
//! [`encode_targets`] write a [`ProbeSample`](crate::observe::ProbeSample), [`encode_heartbeats`]
//! writes a target's flight recorder. [`ResponderMetrics`] are the responder's counters and write
//! themselves. The encoders write as they go, to any [`std::io::Write`], and
//! hold no more than a piece of the text in memory.

pub mod catalogue;
mod family;
mod heartbeats;
mod probe;
mod responder;
mod targets;

#[cfg(test)]
mod tests;

pub use heartbeats::encode_heartbeats;
pub use probe::encode_probe;
pub use responder::ResponderMetrics;
pub use targets::encode_targets;

pub(crate) use crate::observe::document::{outcome, rfc3339, rfc3339_micros};
