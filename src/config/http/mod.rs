//! The file of `--web.config.file`: what HTTP clients must show, in the format of Prometheus's
//! exporter-toolkit.
//!
//! [`HttpSource::read`] reads the file and the files that it names. The text passes through the same
//! stages as a configuration: `schema` checks the tree, `tls` makes the TLS settings, and `clients`
//! checks the certificates of clients.

mod clients;
mod files;
mod levels;
mod schema;
mod settings;
mod tls;
mod words;

pub use settings::{HttpConfig, RateLimit};

use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::problem::Problems;
use files::Files;

/// The file of `--web.config.file`.
#[derive(Debug, Clone)]
pub struct HttpSource {
    path: PathBuf,
}

/// What the file and the files that it names contained.
#[derive(Debug)]
pub struct HttpReading {
    /// A number that is the same for equal contents of all files and, in one run of a program,
    /// usually different for others.
    pub digest: u64,
    /// The settings, or what is wrong with the files.
    pub config: Result<HttpConfig, Problems>,
}

impl HttpSource {
    /// The file at `path`.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Reads the file and the files that it names. Paths in it are relative to its folder.
    #[must_use]
    pub fn read(&self) -> HttpReading {
        let mut hasher = DefaultHasher::new();
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let mut files = Files::new(folder);
        let config = Contents::read(&self.path).and_then(|contents| {
            hasher.write_u64(contents.digest());
            contents.checked(|root, _| schema::check(root, &mut files))
        });
        hasher.write_u64(files.digest());
        if let Err(problems) = &config {
            hasher.write(problems.to_string().as_bytes());
        }
        HttpReading { digest: hasher.finish(), config }
    }
}
