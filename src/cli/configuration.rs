//! Where the targets of a probe come from: a file and the command line.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::config::{self, Config, Contents, Problems};

/// The origin of a configuration.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The configuration file, if there is one.
    pub(super) file: Option<PathBuf>,
    /// The additional targets of the command line.
    pub(super) targets: Vec<String>,
}

impl Source {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// If the file or an argument is invalid, or there are no targets.
    pub(super) fn load(&self) -> anyhow::Result<Config> {
        self.check(self.read()?.as_ref())
    }

    /// The contents of the file, if there is one.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub(super) fn read(&self) -> Result<Option<Contents>, Problems> {
        self.file.as_deref().map(Contents::read).transpose()
    }

    /// The configuration in these contents of the file, with the targets of the command line.
    ///
    /// # Errors
    /// If the contents or an argument are invalid, or there are no targets.
    pub(super) fn check(&self, contents: Option<&Contents>) -> anyhow::Result<Config> {
        let config = match contents {
            Some(contents) => contents.check()?,
            None => Config::default(),
        };
        let mut targets = Vec::new();
        for text in &self.targets {
            if [".yml", ".yaml"].iter().any(|extension| text.ends_with(extension)) {
                anyhow::bail!("target {text:?}: is a file: pass it as --config.file={text}");
            }
            let target = config::parse_target(text, &config.defaults);
            targets.push(target.with_context(|| format!("target {text:?}"))?);
        }
        let config = config.with_targets(targets)?;
        match &self.file {
            _ if !config.targets.is_empty() => Ok(config),
            Some(file) => anyhow::bail!(
                "{}: no targets: add targets to the file, or pass a TARGET",
                file.display()
            ),
            None => {
                anyhow::bail!("no targets: pass a TARGET or --config.file FILE")
            }
        }
    }
}
