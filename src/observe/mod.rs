//! What is known of targets, probe and responder at one moment, as plain data.
//!
//! [`ProbeSample`] is what a scrape shows, [`Overview`] what a list shows, [`TargetLook`] what the
//! page of one target shows; [`ProbeSource`] is a running probe that gives them.
//! [`ResponderStatus`] is what a responder shows of itself. The encoders are in `exposition`, the
//! pages in `web`.

mod responder;
mod sample;
mod source;

#[cfg(test)]
pub(crate) mod fixture;

pub use responder::ResponderStatus;
pub use sample::{Overview, ProbeSample, TargetGlance, TargetLook, TargetSample};
pub use source::{Glancing, Looking, ProbeSource, Sampling, Unavailable};
