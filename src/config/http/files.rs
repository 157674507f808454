//! Reads the files that a file of `--web.config.file` names.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::file;

/// Reads files relative to a folder, and remembers what they contained.
pub(super) struct Files {
    folder: PathBuf,
    contents: DefaultHasher,
}

impl Files {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), contents: DefaultHasher::new() }
    }

    /// The contents of the file at `path`.
    ///
    /// # Errors
    /// A message that begins with the path, if it cannot be read.
    pub(super) fn read(&mut self, path: &str) -> Result<Zeroizing<Vec<u8>>, String> {
        if path.is_empty() {
            return Err("must not be empty".to_owned());
        }
        let path = self.folder.join(path);
        let read = file::read(&path).map_err(|error| format!("{} {error}", path.display()))?;
        self.contents.write(&read);
        self.contents.write_usize(read.len());
        Ok(Zeroizing::new(read))
    }

    /// A number that depends on the contents of all files that were read.
    pub(super) fn digest(&self) -> u64 {
        self.contents.finish()
    }
}
