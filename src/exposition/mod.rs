//! Encoders: text for Prometheus and JSON for the HTTP API.
//!
//! [`catalogue`] lists every name, help text, type and label of the metrics. [`encode_probe`] and
//! [`encode_targets`] write a [`ProbeSample`](crate::observe::ProbeSample), [`encode_heartbeats`]
//! writes a target's flight recorder, and [`ResponderMetrics::encode`] writes the responder's
//! counters. The encoders write to any [`std::io::Write`] and keep only a piece of the text in
//! memory.

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
