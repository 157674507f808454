//! The interface of a running probe for the code that shows its figures.

use std::pin::Pin;

use super::{Overview, ProbeSample, TargetLook};

/// A running probe, as a source of figures.
pub trait ProbeSource: Send + Sync + 'static {
    /// Gathers the current figures from the workers.
    ///
    /// The future may be dropped before it completes.
    ///
    /// # Errors
    /// [`Unavailable`] if a worker has ended or does not answer.
    fn sample(&self) -> Sampling<'_>;

    /// Whether a target has this name.
    fn knows(&self, name: &str) -> bool;

    /// Gathers the figures for a list of all targets. They are fewer, and cost less, than those of a
    /// sample.
    ///
    /// The future may be dropped before it completes.
    ///
    /// # Errors
    /// [`Unavailable`] if a worker has ended or does not answer.
    fn glance(&self) -> Glancing<'_>;

    /// Gathers everything known about a few targets, by name.
    ///
    /// The future may be dropped before it completes.
    ///
    /// # Errors
    /// [`Unavailable`] if a worker has ended or does not answer.
    fn look(&self, names: Vec<String>) -> Looking<'_>;

    /// Whether the probe is working: its sockets are open and heartbeats leave.
    fn ready(&self) -> bool;
}

/// A future sample.
pub type Sampling<'a> = Pin<Box<dyn Future<Output = Result<ProbeSample, Unavailable>> + Send + 'a>>;

/// A future overview.
pub type Glancing<'a> = Pin<Box<dyn Future<Output = Result<Overview, Unavailable>> + Send + 'a>>;

/// Future details of targets, in the requested order, without unknown targets.
pub type Looking<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<TargetLook>, Unavailable>> + Send + 'a>>;

/// No figures are available: a worker has ended or does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the probe's workers do not answer")]
pub struct Unavailable;
