//! `heartbeat-probe check FILE`: every problem of a configuration file, a line each.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config;

/// Check a configuration file: every problem, with its line and column, on stderr.
///
/// Exits with 0 where the file can be used, and with 1 where it cannot.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Checks the file. Problems go to stderr, as of a compiler; what is well, to stdout.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    report(args, &mut io::stdout().lock(), &mut io::stderr().lock())
}

fn report(args: &Args, out: &mut impl Write, err: &mut impl Write) -> ExitCode {
    // Where nobody reads (`check FILE | true`), the exit code tells all the same.
    match config::load(&args.file) {
        Ok(config) => {
            let (file, count) = (args.file.display(), config.targets.len());
            let targets = if count == 1 { "target" } else { "targets" };
            let _ = writeln!(out, "{file}: {count} {targets}, ok");
            ExitCode::SUCCESS
        }
        Err(problems) => {
            let _ = writeln!(err, "{problems}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> (ExitCode, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("probe.yml");
        std::fs::write(&file, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = report(&Args { file }, &mut out, &mut err);
        let shown = |octets: Vec<u8>| {
            let folder = format!("{}/", folder.path().display());
            String::from_utf8(octets).unwrap().replace(&folder, "")
        };
        (code, shown(out), shown(err))
    }

    #[test]
    fn a_good_file_is_one_line_on_stdout() {
        let ok = |line: &str| (ExitCode::SUCCESS, line.to_owned(), String::new());
        assert_eq!(check("targets: [{address: a}]\n"), ok("probe.yml: 1 target, ok\n"));
        assert_eq!(
            check("targets: [{address: a}, {address: b}]\n"),
            ok("probe.yml: 2 targets, ok\n")
        );
        assert_eq!(check("targets: []\n"), ok("probe.yml: 0 targets, ok\n"));
    }

    #[test]
    fn every_problem_is_a_line_on_stderr() {
        let (code, out, err) = check("targets:\n  - interval: 0s\n    address: a b\n");
        assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""));
        assert_eq!(
            err,
            "probe.yml:2:5: targets[0].interval: must be more than zero\n\
             probe.yml:3:5: targets[0].address: ' ' cannot stand in a host name\n"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args = Args { file: "/nowhere/probe.yml".into() };
        assert_eq!(report(&args, &mut out, &mut err), ExitCode::FAILURE);
        assert_eq!(
            String::from_utf8(err).unwrap(),
            "/nowhere/probe.yml:1:1: file: cannot be read: No such file or directory (os error 2)\n"
        );
    }
}
