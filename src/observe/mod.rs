//! What is known of targets, probe and responder at one moment, as plain data, and what it means.
//!
//! [`ProbeSample`] is what a scrape shows, [`Overview`] what a list shows, [`TargetLook`] what the
//! page of one target shows; [`ProbeSource`] is a running probe that gives them. [`diagnose`] says
//! why a target is in trouble. [`ResponderStatus`] is what a responder shows of itself.
//! [`document`] has the JSON of the HTTP API and of `ping`. The encoders are in `exposition`, the
//! pages in `web`.

mod diagnosis;
pub mod document;
mod responder;
mod sample;
mod source;

#[cfg(test)]
pub(crate) mod fixture;

pub use diagnosis::{Cause, Diagnosis, Evidence, diagnose};
pub use responder::ResponderStatus;
pub use sample::{Overview, ProbeSample, TargetGlance, TargetLook, TargetSample};
pub use source::{Glancing, Looking, ProbeSource, Sampling, Unavailable};
