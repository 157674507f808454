//! The figures of targets, probe and responder at one moment, as plain data, and the diagnosis.
//!
//! [`ProbeSample`] has the figures for a scrape, [`Overview`] those for a list of targets,
//! [`TargetLook`] those for the page of one target. [`ProbeSource`] is a running probe that
//! provides them. [`diagnose`] explains why a target is in trouble. [`ResponderStatus`] describes a
//! responder. [`document`] defines the JSON of the HTTP API and of `ping`. The encoders are in
//! `exposition`, the pages in `web`.

mod diagnosis;
pub mod document;
mod responder;
mod sample;
mod source;

#[cfg(test)]
pub(crate) mod fixture;

pub use diagnosis::{Cause, Diagnosis, Evidence, diagnose, lookup_failure, router_address};
pub use responder::ResponderStatus;
pub use sample::{Overview, ProbeSample, TargetGlance, TargetLook, TargetSample};
pub use source::{Glancing, Looking, ProbeSource, Sampling, Unavailable};
