//! The flags of HTTP that both programs have.

use std::path::PathBuf;

use crate::config::Problems;
use crate::web::Access;

/// Who may use HTTP.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct WebArgs {
    /// File with TLS certificates, passwords, headers and a rate limit for HTTP, in the format of
    /// Prometheus's exporter-toolkit; read again when it changes
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
}

impl WebArgs {
    /// What clients must show.
    ///
    /// # Errors
    /// The problems of the file.
    pub(super) fn access(&self) -> Result<Access, Problems> {
        self.web_config_file.as_deref().map_or_else(|| Ok(Access::open()), Access::of_file)
    }
}
