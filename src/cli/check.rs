//! `heartbeat-probe check FILE`: reports every problem of a configuration file, or prints the
//! configuration in force.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::Target;

use super::configuration::Source;
use super::output::written;

/// Check a configuration file and print every problem with its line and column to stderr.
///
/// Exits with 0 if `run` would start with the same file and targets, and with 1 if it would not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Targets in addition to those of the file, as for `run`.
    #[arg(
        value_name = "TARGET",
        help = "Targets in addition to the file: [PROTOCOL://]HOST[:PORT]"
    )]
    targets: Vec<String>,
    /// Print the resulting configuration, with all defaults, as a configuration file
    #[arg(long)]
    print: bool,
}

/// Checks the file. Problems go to stderr, like those of a compiler; all other output goes to
/// stdout.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    report(args, &mut io::stdout().lock(), &mut io::stderr().lock())
}

fn report(args: &Args, out: &mut impl Write, err: &mut impl Write) -> ExitCode {
    let source = Source { file: Some(args.file.clone()), targets: args.targets.clone() };
    match source.load() {
        Ok(config) if args.print => written(config.to_yaml(out), ExitCode::SUCCESS),
        Ok(config) => {
            let (file, count) = (args.file.display(), config.targets.len());
            let targets = if count == 1 { "target" } else { "targets" };
            let is_template = |target: &&Arc<Target>| target.template_name().is_some();
            let templates = match config.targets.iter().filter(is_template).count() {
                0 => String::new(),
                templates => format!(", {templates} of them with addresses: all"),
            };
            written(writeln!(out, "{file}: {count} {targets}{templates}, ok"), ExitCode::SUCCESS)
        }
        Err(problems) => {
            let _ = writeln!(err, "{problems:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> (ExitCode, String, String) {
        check_with(text, &[], false)
    }

    fn check_with(text: &str, targets: &[&str], print: bool) -> (ExitCode, String, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("probe.yml");
        std::fs::write(&file, text).unwrap();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = report(&args(file, targets, print), &mut out, &mut err);
        let shown = |octets: Vec<u8>| {
            let folder = format!("{}/", folder.path().display());
            String::from_utf8(octets).unwrap().replace(&folder, "")
        };
        (code, shown(out), shown(err))
    }

    fn args(file: PathBuf, targets: &[&str], print: bool) -> Args {
        let targets = targets.iter().map(|&target| target.to_owned()).collect();
        Args { file, targets, print }
    }

    #[test]
    fn a_valid_file_is_one_line_on_stdout() {
        let ok = |line: &str| (ExitCode::SUCCESS, line.to_owned(), String::new());
        assert_eq!(check("targets: [{address: a}]\n"), ok("probe.yml: 1 target, ok\n"));
        assert_eq!(
            check("targets: [{address: a}, {address: b}]\n"),
            ok("probe.yml: 2 targets, ok\n")
        );
        assert_eq!(
            check("targets: [{address: a, addresses: all}, {address: b}]\n"),
            ok("probe.yml: 2 targets, 1 of them with addresses: all, ok\n")
        );
        assert_eq!(check_with("targets: []\n", &["a"], false), ok("probe.yml: 1 target, ok\n"));
    }

    #[test]
    fn a_file_without_targets_is_refused_unless_the_command_line_has_some() {
        for text in ["targets:\n", "targets: []\n", "defaults: {interval: 2s}\n", "{}\n"] {
            let (code, out, err) = check(text);
            assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""), "{text:?}");
            assert_eq!(err, "probe.yml: no targets: add targets to the file, or pass a TARGET\n");
        }
        let (code, out, err) = check_with("{}\n", &["a", "b:0"], false);
        assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""));
        assert_eq!(err, "target \"b:0\": invalid port \"0\": must be from 1 to 65535\n");
    }

    #[test]
    fn targets_of_the_command_line_are_checked_against_each_other_and_the_file() {
        let ok = "targets: [{address: a}]\n";
        let asking = "targets: [{address: 192.0.2.1, protocol: dns}]\n";
        for (text, targets) in [
            (ok, ["dns://192.0.2.1", "dns://192.0.2.1:53"].as_slice()),
            (asking, &["dns://192.0.2.1:53"]),
        ] {
            let (code, out, err) = check_with(text, targets, false);
            assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""));
            let first = if text == ok { "dns://192.0.2.1" } else { "192.0.2.1" };
            assert_eq!(
                err,
                format!(
                    "target \"dns://192.0.2.1:53\": cannot be distinguished from {first:?}: same \
                     address, and identical dns replies: remove one of the two, or change one of: \
                     address, port, query, query_type\n"
                )
            );
        }
    }

    #[test]
    fn the_configuration_in_force_is_printed() {
        let text = "defaults: {interval: 2s}\nrtt_buckets: [1]\ntargets: [{address: a, labels: {x: '1'}}]\n";
        let (code, out, err) = check_with(text, &["stamp://[::1]:862"], true);
        assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
        let settings = "interval: 2s\n  timeout: 1s\n  misses: 3\n  recoveries: 1\n  recorder: 16\n  \
             dscp: CS0\n  dont_fragment: false\n";
        assert_eq!(
            out,
            format!(
                "defaults:\n  protocol: heartbeat\n  ip_version: auto\n  addresses: first\n  {settings}\
                 rtt_buckets:\n- 1.0\n\
                 targets:\n\
                 - name: a\n  address: a:12000\n  ip_version: auto\n  addresses: first\n  labels:\n    x: '1'\n  protocol: heartbeat\n  {settings}\
                 - name: stamp://[::1]:862\n  address: '[::1]:862'\n  protocol: stamp\n  zero_ssid: accept\n  {settings}"
            )
        );
    }

    #[test]
    fn every_problem_is_a_line_on_stderr() {
        let (code, out, err) = check("targets:\n  - interval: 0s\n    address: a b\n");
        assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""));
        assert_eq!(
            err,
            "probe.yml:2:5: targets[0].interval: must be more than zero\n\
             probe.yml:3:5: targets[0].address: invalid character ' ' in a host name\n"
        );
    }

    #[test]
    fn a_file_that_cannot_be_read_is_a_problem() {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args = args("/nowhere/probe.yml".into(), &[], false);
        assert_eq!(report(&args, &mut out, &mut err), ExitCode::FAILURE);
        assert_eq!(
            String::from_utf8(err).unwrap(),
            "/nowhere/probe.yml: cannot be read: No such file or directory (os error 2)\n"
        );
    }
}
