//! Errors of writing to standard output. If the reader has closed it, as in `check FILE | true`, the
//! program succeeds. On any other error, such as a full disk, it fails.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;

/// The exit code for invalid arguments or an invalid configuration, the same as clap's.
pub const USAGE: u8 = 2;

/// Parses the arguments of the program. Prints help, the version and errors.
///
/// # Errors
/// The exit code, if help, the version or an error was printed.
pub fn parse<T: Parser>() -> Result<T, ExitCode> {
    T::try_parse().map_err(|error| {
        let code = u8::try_from(error.exit_code()).unwrap_or(USAGE);
        written(error.print(), ExitCode::from(code))
    })
}

/// Prints an error with its causes, and returns `code` as the exit code.
#[expect(clippy::print_stderr, reason = "this is the command line")]
#[must_use]
pub fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}

/// The exit code of a program that has written its output: `code`, or 1 if that failed.
pub(super) fn written(written: io::Result<()>, code: ExitCode) -> ExitCode {
    match is_closed(written).context("cannot write to standard output") {
        Ok(_) => code,
        Err(error) => failed(&error, 1),
    }
}

/// Whether standard output is closed.
///
/// # Errors
/// Any other reason why it cannot be written to.
pub(super) fn is_closed(written: io::Result<()>) -> io::Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(true),
        written => written.map(|()| false),
    }
}

/// Writes a line at once.
pub(super) fn println(line: std::fmt::Arguments<'_>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
