//! The diagnosis of a target: the part that documents about targets share.

use serde::{Deserialize, Serialize};

use crate::model::Label as _;
use crate::observe::Diagnosis;

use super::Word;

/// Why a target is in trouble, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosisDocument {
    /// The cause, a word of [`Cause`](crate::observe::Cause) or of a newer probe.
    pub cause: Word,
    /// The cause in one short sentence.
    pub summary: String,
    /// The facts behind it, with figures.
    pub evidence: Vec<String>,
    /// What to do.
    pub advice: String,
}

impl From<Diagnosis> for DiagnosisDocument {
    fn from(diagnosis: Diagnosis) -> Self {
        let Diagnosis { cause, summary, evidence, advice } = diagnosis;
        Self { cause: cause.label().into(), summary, evidence, advice }
    }
}
