//! The errors of starting and changing a probe.

use std::io;

use crate::config::DuplicateNames;
use crate::net::BindError;
use crate::observe::Unavailable;

use super::sockets::OpenError;

/// A probe that could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No socket of either address family could be opened.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// A worker's thread or its runtime could not be created.
    #[error("cannot start a worker")]
    Worker(#[from] io::Error),
    /// The targets cannot be probed.
    #[error(transparent)]
    Targets(#[from] ApplyError),
}

impl From<OpenError> for StartError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Bind(error) => error.into(),
            OpenError::Watch(error) => error.into(),
        }
    }
}

/// A configuration that cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The names of the targets are not unique. Nothing has been changed.
    #[error(transparent)]
    Duplicate(#[from] DuplicateNames),
    /// A worker has ended.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}
