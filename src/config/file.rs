//! Reads a configuration file, regular or not, up to [`MAX_OCTETS`].

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The most octets a configuration file may have: 64 MiB, several times what 100,000 targets with
/// labels need.
pub(super) const MAX_OCTETS: usize = 64 << 20;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    /// A system call failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A directory.
    #[error("is a directory, not a file")]
    Directory,
    /// A FIFO that no process has open for writing.
    #[error("is a FIFO without a writer")]
    NoWriter,
    /// The file is too long, or endless.
    #[error("is larger than {} MiB, the limit for a configuration file", MAX_OCTETS >> 20)]
    TooLarge,
}

/// Reads the file at `path`. Pipes are read to their end, so `<(…)` and `/dev/stdin` work.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    // Without NONBLOCK, opening a FIFO waits for a writer that may never come.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
    rustix::fs::fcntl_setfl(&file, OFlags::empty()).map_err(io::Error::from)?;
    let file = File::from(file);
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(FileError::Directory);
    }
    if metadata.len() > MAX_OCTETS as u64 {
        return Err(FileError::TooLarge);
    }
    let mut octets = Vec::new();
    // One octet more than the limit shows that the file is too large.
    file.take(MAX_OCTETS as u64 + 1).read_to_end(&mut octets)?;
    if octets.len() > MAX_OCTETS {
        return Err(FileError::TooLarge);
    }
    if octets.is_empty() && metadata.file_type().is_fifo() {
        return Err(FileError::NoWriter);
    }
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(path: &Path) -> String {
        read(path).unwrap_err().to_string()
    }

    #[test]
    fn files_that_cannot_be_read_are_explained() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(error(folder.path()), "is a directory, not a file");
        let missing = folder.path().join("missing");
        assert_eq!(error(&missing), "cannot be read: No such file or directory (os error 2)");
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR | Mode::WUSR).unwrap();
        assert_eq!(error(&fifo), "is a FIFO without a writer");
        assert_eq!(
            error(Path::new("/dev/zero")),
            "is larger than 64 MiB, the limit for a configuration file"
        );
        // The size of a regular file is checked before it is read: this one is a terabyte.
        let large = folder.path().join("large");
        File::create(&large).unwrap().set_len(1 << 40).unwrap();
        assert!(matches!(read(&large), Err(FileError::TooLarge)));
        assert_eq!(read(Path::new("/dev/null")).unwrap(), b"");
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let writing = std::thread::spawn(move || {
            for _ in 0..100 {
                io::Write::write_all(&mut writer, &[b'x'; 4096]).unwrap();
            }
        });
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let octets = read(Path::new(&path)).unwrap();
        assert_eq!(octets.len(), 100 * 4096);
        writing.join().unwrap();
    }
}
