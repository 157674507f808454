//! The interface of a running probe to whatever shows its figures.

use std::pin::Pin;

use super::{Overview, ProbeSample, TargetLook};

/// A running probe, as a scrape sees it.
pub trait ProbeSource: Send + Sync + 'static {
    /// Gathers the figures of this moment from the workers.
    ///
    /// The future may be dropped before it is done.
    ///
    /// # Errors
    /// [`Unavailable`] where a worker has ended or does not answer.
    fn sample(&self) -> Sampling<'_>;

    /// Whether a target has this name.
    fn knows(&self, name: &str) -> bool;

    /// Gathers what a list tells of all targets: less than a sample, and cheaper.
    ///
    /// The future may be dropped before it is done.
    ///
    /// # Errors
    /// [`Unavailable`] where a worker has ended or does not answer.
    fn glance(&self) -> Glancing<'_>;

    /// Looks closely at the targets of these names, which are few.
    ///
    /// The future may be dropped before it is done.
    ///
    /// # Errors
    /// [`Unavailable`] where a worker has ended or does not answer.
    fn look(&self, names: Vec<String>) -> Looking<'_>;

    /// Whether the probe does what it is there for: its sockets are open and heartbeats leave.
    fn ready(&self) -> bool;
}

/// A sample on its way.
pub type Sampling<'a> = Pin<Box<dyn Future<Output = Result<ProbeSample, Unavailable>> + Send + 'a>>;

/// An overview on its way.
pub type Glancing<'a> = Pin<Box<dyn Future<Output = Result<Overview, Unavailable>> + Send + 'a>>;

/// Targets being looked at, in the order in which they were asked for; without those that are
/// not there.
pub type Looking<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<TargetLook>, Unavailable>> + Send + 'a>>;

/// No figures can be had: a worker has ended, or does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the probe does not answer")]
pub struct Unavailable;
