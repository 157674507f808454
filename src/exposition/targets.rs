//! `/api/v1/targets`: writes the [`TargetsDocument`](crate::observe::document::TargetsDocument) of
//! all targets.

use std::io;

use serde::{Serialize, Serializer};

use crate::observe::ProbeSample;
use crate::observe::document::TargetDocument;

/// Writes the state and figures of every target.
///
/// # Errors
/// Those of `out`.
pub fn encode_targets(sample: &ProbeSample, out: impl io::Write) -> io::Result<()> {
    serde_json::to_writer(out, &Document { targets: Targets(sample) }).map_err(io::Error::from)
}

/// The whole document.
#[derive(Serialize)]
struct Document<'a> {
    targets: Targets<'a>,
}

/// The targets. Each document is created when it is written, so that only one is in memory.
struct Targets<'a>(&'a ProbeSample);

impl Serialize for Targets<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(sample) = self;
        let targets = sample.targets.iter();
        serializer.collect_seq(targets.map(|target| TargetDocument::new(target, sample.at)))
    }
}
