//! The configuration of a probe, from a file and from the command line.

use std::path::Path;

use anyhow::Context as _;

use crate::config::{self, Config};

/// The configuration in `file`, if given, with the additional targets in `arguments`.
///
/// # Errors
/// If the file or an argument is invalid, or there are no targets.
pub(super) fn configuration(file: Option<&Path>, arguments: &[String]) -> anyhow::Result<Config> {
    let config = match file {
        Some(path) => config::load(path)?,
        None => Config::default(),
    };
    let mut targets = Vec::new();
    for text in arguments {
        if [".yml", ".yaml"].iter().any(|extension| text.ends_with(extension)) {
            anyhow::bail!("target {text:?}: is a file: pass it as --config.file={text}");
        }
        let target = config::parse_target(text, &config.defaults);
        targets.push(target.with_context(|| format!("target {text:?}"))?);
    }
    let config = config.with_targets(targets)?;
    match file {
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
