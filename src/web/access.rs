//! What clients must show: the file of `--web.config.file`, which is read again when it changes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::config::{HttpConfig, HttpReading, HttpSource, Problems};
use crate::model::Mono;
use crate::net;

/// How long the files are believed to be unchanged.
const FRESH: Duration = Duration::from_secs(1);

/// The settings for clients, as the files have them now.
///
/// If a file is invalid, the last valid settings stay for TLS, so that a client learns what is
/// wrong, but no request is answered: a mistake must not let anybody in.
#[derive(Debug)]
pub struct Access {
    /// `None` for plain HTTP for everyone.
    source: Option<HttpSource>,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    at: Mono,
    digest: u64,
    terms: Terms,
}

/// The settings of this moment.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// The last valid ones.
    pub(super) config: Arc<HttpConfig>,
    /// Whether the files are valid now.
    pub(super) valid: bool,
}

impl Access {
    /// Plain HTTP for everyone.
    #[must_use]
    pub fn open() -> Self {
        Self::with(None, 0, HttpConfig::default())
    }

    /// As the file at `path` says.
    ///
    /// # Errors
    /// The problems of the file.
    pub fn of_file(path: &Path) -> Result<Self, Problems> {
        let source = HttpSource::new(path);
        let HttpReading { digest, config } = source.read();
        Ok(Self::with(Some(source), digest, config?))
    }

    fn with(source: Option<HttpSource>, digest: u64, config: HttpConfig) -> Self {
        let terms = Terms { config: Arc::new(config), valid: true };
        Self { source, last: Last { at: net::now().mono, digest, terms }.into() }
    }

    /// The settings, at most a second old.
    pub(super) async fn terms(&self) -> Terms {
        let mut last = self.last.lock().await;
        let Some(source) = &self.source else { return last.terms.clone() };
        if net::now().mono.since(last.at) < FRESH {
            return last.terms.clone();
        }
        let source = source.clone();
        let at = net::now().mono;
        if let Ok(HttpReading { digest, config }) = spawn_blocking(move || source.read()).await {
            last.at = at;
            if digest != last.digest {
                last.digest = digest;
                last.change(config);
            }
        }
        last.terms.clone()
    }
}

impl Last {
    /// Takes over the settings of changed files, or none if they are invalid. Logs the change once.
    fn change(&mut self, config: Result<HttpConfig, Problems>) {
        match config {
            Ok(config) => {
                self.terms = Terms { config: Arc::new(config), valid: true };
                tracing::info!("read the file of --web.config.file again");
            }
            Err(problems) => {
                self.terms.valid = false;
                for problem in &problems {
                    tracing::error!(%problem, "refusing all HTTP requests: --web.config.file");
                }
            }
        }
    }
}
