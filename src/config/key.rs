//! Reads key files, which contain one key as hexadecimal text or as a passphrase.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::wire::{Key, KeyError};

/// The largest size of a key file in octets, more than any key needs.
const MOST: usize = 1024;

/// The mode bit that lets every user read a file.
const OTHERS_MAY_READ: u32 = 0o004;

/// Why a key cannot be read from a file.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read.
    #[error("{file} cannot be read: {error}")]
    Unreadable {
        /// Its path, as it was opened.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// The contents of the file are not a valid key.
    #[error("{file} {error}")]
    NoKey {
        /// Its path, as it was opened.
        file: String,
        /// Why.
        error: KeyError,
    },
}

/// A key and the file that it was read from.
///
/// The file is read once, so it may be a pipe: `--key-file <(…)`.
#[derive(Debug, Clone)]
pub struct KeyFile {
    path: PathBuf,
    key: Key,
    /// Whether every user of this machine may read the file.
    exposed: bool,
}

impl KeyFile {
    /// Reads the key in the file at `path`.
    ///
    /// # Errors
    /// If the file cannot be read or does not contain a valid key.
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        let file = || path.display().to_string();
        let (text, mode) =
            read(path).map_err(|error| KeyFileError::Unreadable { file: file(), error })?;
        let key =
            Key::from_text(&text).map_err(|error| KeyFileError::NoKey { file: file(), error })?;
        Ok(Self { path: path.to_owned(), key, exposed: mode & OTHERS_MAY_READ != 0 })
    }

    /// The key. Logs a warning if every user may read the file, so call it after logging is set up.
    #[must_use]
    pub fn into_key(self) -> Key {
        if self.exposed {
            let file = self.path.display();
            tracing::warn!(%file, "every user of this machine can read this key: run chmod 600 on it");
        }
        self.key
    }
}

/// The contents of the file, at most [`MOST`] octets, and its mode.
fn read(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    // Full capacity at once, since growing would leave a copy of the key in freed memory.
    let mut text = Zeroizing::new(Vec::with_capacity(MOST + 1));
    file.take(MOST as u64 + 1).read_to_end(&mut text)?;
    if text.len() > MOST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too large for a key file"));
    }
    Ok((text, mode))
}

/// The absolute path of a key file, as a configuration can name it. A path that is not UTF-8 stays
/// as it is, with invalid octets replaced.
pub(super) fn absolute(path: &Path) -> String {
    let written = std::path::absolute(path).ok();
    let written = written.and_then(|path| path.into_os_string().into_string().ok());
    written.unwrap_or_else(|| path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_files_are_read_and_errors_do_not_show_their_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let error = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            KeyFile::read(&path).unwrap_err().to_string()
        };
        assert!(error(b"00112233").ends_with("key contains a key of 4 octets: must be 16 to 64"));
        assert!(error(b"secret").ends_with("two per octet"));
        assert!(!error(b"secret").contains("secret"));
        let long = [b"00112233445566778899aabbccddeeff", " ".repeat(MOST).as_bytes()].concat();
        assert!(error(&long).ends_with("key cannot be read: too large for a key file"));
        std::fs::write(&path, "00112233445566778899aabbccddeeff\n").unwrap();
        KeyFile::read(&path).unwrap();
        let error = KeyFile::read(&folder.path().join("none")).unwrap_err().to_string();
        assert!(error.ends_with("none cannot be read: No such file or directory (os error 2)"));
    }
}
