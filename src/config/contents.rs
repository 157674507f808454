//! The contents of a file, from its octets to a checked value.

use std::hash::{DefaultHasher, Hasher as _};
use std::path::Path;

use super::file::{self, FileError, MAX_OCTETS};
use super::node::{self, Node};
use super::place::At;
use super::problem::{Finding, Findings, Problems};
use super::schema;
use super::target::Config;

/// The contents of a configuration file.
#[derive(Debug)]
pub struct Contents {
    /// The path of the file, for problems.
    file: String,
    octets: Vec<u8>,
}

impl Contents {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// One problem, without a place, if it cannot be read or is larger than 64 MiB.
    pub fn read(path: &Path) -> Result<Self, Problems> {
        let file = path.display().to_string();
        match file::read(path) {
            Ok(octets) => Ok(Self { file, octets }),
            Err(error) => Err(Problems::of_file(&file, error.to_string())),
        }
    }

    /// A number that is the same for equal contents and, in one run of a program, usually different
    /// for others.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(&self.octets);
        hasher.finish()
    }

    /// Checks them as [`parse`](super::parse) does.
    ///
    /// # Errors
    /// The problems of the file.
    pub fn check(&self) -> Result<Config, Problems> {
        self.checked(schema::check)
    }

    /// Reads them into a tree, and checks it with `check`, which also gets the folder of the file.
    pub(super) fn checked<T>(
        &self,
        check: impl FnOnce(&Node<'_>, &Path) -> Result<T, Findings>,
    ) -> Result<T, Problems> {
        let Self { file, octets } = self;
        match str::from_utf8(octets) {
            Ok(text) => parse_with(file, text, check),
            Err(error) => {
                let (valid, rest) = octets.split_at(error.valid_up_to());
                let message = format!("is not UTF-8: octet 0x{:02x}", rest[0]);
                let finding = Finding::of_file(At::new(valid.len()), message);
                Err(Problems::locate(file, &String::from_utf8_lossy(valid), finding.into()))
            }
        }
    }
}

/// Reads `text` into a tree, and checks it with `check`, which also gets the folder of the file.
pub(super) fn parse_with<T>(
    file: &str,
    text: &str,
    check: impl FnOnce(&Node<'_>, &Path) -> Result<T, Findings>,
) -> Result<T, Problems> {
    if text.len() > MAX_OCTETS {
        return Err(Problems::of_file(file, FileError::TooLarge.to_string()));
    }
    // Editors neither show a byte order mark nor count it as a column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    let checked = match node::read(text) {
        Ok(root) => check(&root, folder),
        Err(finding) => Err(finding.into()),
    };
    checked.map_err(|findings| Problems::locate(file, text, findings))
}
