//! The command line: error messages and exit codes.

use std::fs::File;
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Stdio};

use crate::program::{Ended, Killed, PROBE, RESPONDER, UNRESOLVABLE, run};

/// The exit code, and the first line of stderr.
fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let Ended { code, out, err } = run(PROBE, arguments);
    assert_eq!(out, "", "{arguments:?}");
    (code, err.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn output_that_cannot_be_written_is_a_failure_unless_nobody_reads_it() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/full.yml");
    for (program, arguments) in [
        (PROBE, &["--help"][..]),
        (PROBE, &["--version"]),
        (PROBE, &["check", file]),
        (PROBE, &["check", "--print", file]),
        (PROBE, &["odds", "--loss", "30%"]),
        (RESPONDER, &["--help"]),
    ] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let ended = Command::new(program).args(arguments).stdout(full).output().unwrap();
        let err = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {err}");
        assert_eq!(
            err,
            "error: cannot write to standard output: No space left on device (os error 28)\n"
        );
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = Command::new(program).args(arguments).stdout(writer).output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn invalid_arguments_exit_with_2_before_a_socket_is_opened() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    // Opening this address would fail with another error.
    let taken = format!("--web.listen-address={}", holder.local_addr().unwrap());
    for (arguments, message) in [
        (vec!["run", &taken], "no targets: pass a TARGET or --config.file FILE"),
        (vec!["run", &taken, "a:0"], "target \"a:0\": invalid port \"0\": must be from 1 to 65535"),
        (vec!["run", &taken, "a", "a"], "duplicate target names: a"),
        (
            vec!["run", &taken, "udp://a"],
            "target \"udp://a\": \"udp://a\" is a URL: write HOST:PORT or PROTOCOL://HOST:PORT (known protocols: heartbeat, ping, stamp, dns)",
        ),
        (
            vec!["run", &taken, "probe.yml"],
            "target \"probe.yml\": is a file: pass it as --config.file=probe.yml",
        ),
        (
            vec!["run", "--web.listen-address=http://a:80", "a"],
            "invalid value 'http://a:80' for '--web.listen-address <[HOST]:PORT>': is a URL: must be :PORT or HOST:PORT, such as :8080, 127.0.0.1:8080 or [::1]:8080",
        ),
        (
            vec!["run", &taken, "a", "--config.auto-reload"],
            "the following required arguments were not provided:",
        ),
        (
            vec!["run", &taken, "a", "--web.nonsense=x"],
            "unexpected argument '--web.nonsense' found",
        ),
        (
            vec!["run", "--web.listen-address=9862", "a"],
            "invalid value '9862' for '--web.listen-address <[HOST]:PORT>': must be :PORT or HOST:PORT: did you mean :9862?",
        ),
        (
            vec!["run", "--config.file=/nowhere.yml"],
            "/nowhere.yml: cannot be read: No such file or directory (os error 2)",
        ),
        (
            vec!["run", "--workers=0", "a"],
            "invalid value '0' for '--workers <N>': must be a number from 1 to 64",
        ),
        (
            vec!["run", "--web.max-requests=0", "a"],
            "invalid value '0' for '--web.max-requests <N>': must be a number from 1 to 1000",
        ),
        (vec!["run", "--log.format=xml", "a"], "invalid value 'xml' for '--log.format <FORMAT>'"),
        (vec!["run", "--log.level=loud", "a"], "invalid value 'loud' for '--log.level <LEVEL>'"),
        (vec!["ping"], "the following required arguments were not provided:"),
        (vec!["ping", "a:0"], "invalid port \"0\": must be from 1 to 65535"),
        (
            vec!["ping", "224.0.0.1"],
            "224.0.0.1 is a multicast or broadcast address: use the address of one host",
        ),
        (
            vec!["ping", "a", "-i", "0s"],
            "invalid value '0s' for '--interval <DURATION>': must be more than zero",
        ),
        (
            vec!["ping", "a", "-i", "5x"],
            "invalid value '5x' for '--interval <DURATION>': must be a duration, such as 200ms, 1s or 1m30s, not \"5x\"",
        ),
        (
            vec!["ping", "a", "-W", "x"],
            "invalid value 'x' for '--timeout <DURATION>': must be a duration, such as 200ms, 1s or 1m30s, not \"x\"",
        ),
        (
            vec!["ping", "a", "-i", "1ms", "-W", "100s"],
            "a timeout of 1m40s at an interval of 1ms keeps 100000 heartbeats in flight: the limit is 65536",
        ),
        (
            vec!["ping", "a", "--misses", "-1"],
            "invalid value '-1' for '--misses <N>': must be a whole number from 1 to 4294967295",
        ),
        (
            vec!["ping", "a", "-i", "-1s"],
            "invalid value '-1s' for '--interval <DURATION>': must be more than zero",
        ),
        (
            vec!["ping", UNRESOLVABLE],
            "cannot resolve fe80::1%nowhere: its interface does not exist; check the names of interfaces with `ip link`",
        ),
        (vec!["odds"], "the following required arguments were not provided:"),
        (
            vec!["odds", "--loss=30"],
            "invalid value '30' for '--loss <RATIO>': must be from 0% to 100%, or from 0 to 1, not \"30\": did you mean 30%?",
        ),
        (
            vec!["odds", "--loss=0.3", "--misses=0"],
            "invalid value '0' for '--misses <K,...>': must be a whole number from 1 to 100",
        ),
        (vec!["check"], "the following required arguments were not provided:"),
        (vec!["watch"], "unrecognized subcommand 'watch'"),
    ] {
        assert_eq!(failure(&arguments), (Some(2), format!("error: {message}")), "{arguments:?}");
    }
}

#[test]
fn run_reports_every_problem_of_a_file_like_check() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/invalid-many.yml");
    let expected = std::fs::read_to_string(file.replace(".yml", ".txt")).unwrap();
    assert!(expected.lines().count() > 3);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--web.listen-address={}", holder.local_addr().unwrap());
    let folder = file.strip_suffix("invalid-many.yml").unwrap();

    let Ended { code, out, err } = run(PROBE, &["run", &taken, "--config.file", file]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(err.replace(folder, ""), format!("error: {expected}"));

    let Ended { code, out, err } = run(PROBE, &["check", file]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(err.replace(folder, ""), expected);
}

#[test]
fn check_and_run_refuse_an_empty_file_also_with_a_target() {
    for text in ["", "\n", "# nothing but a comment\n"] {
        let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        for target in [None, Some("127.0.0.1")] {
            let check = failure(&["check", path].into_iter().chain(target).collect::<Vec<_>>());
            let run = ["run", "--config.file", path, "--web.listen-address=127.0.0.1:0"];
            let run = failure(&run.into_iter().chain(target).collect::<Vec<_>>());
            let problem = format!("{path}:1:1: file: is empty");
            assert_eq!(check, (Some(1), problem.clone()), "{text:?} {target:?}");
            assert_eq!(run, (Some(2), format!("error: {problem}")), "{text:?} {target:?}");
        }
    }
}

#[test]
fn an_invalid_file_for_http_exits_with_2_before_a_socket_is_opened() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/web/invalid-unknown-key.yml");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("--web.listen-address={}", holder.local_addr().unwrap());
    let probe = run(PROBE, &["run", "127.0.0.1", &taken, "--web.config.file", file]);
    let responder = run(RESPONDER, &["--listen=127.0.0.1:0", &taken, "--web.config.file", file]);
    let begin = format!("error: {file}:1:");
    let unknown = format!("{file}:2:1: basic_auth: unknown key");
    for Ended { code, out, err } in [probe, responder] {
        assert_eq!((code, out.as_str()), (Some(2), ""));
        assert!(err.starts_with(&begin) && err.contains(&unknown), "{err}");
    }
}

#[test]
fn check_exits_with_0_for_a_valid_file() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/config/full.yml");
    let Ended { code, out, err } = run(PROBE, &["check", file]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(out, format!("{file}: 6 targets, 1 of them with addresses: all, ok\n"));
}

#[test]
fn an_address_in_use_is_named_with_its_flag_and_exits_with_1() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let listen = format!("--web.listen-address={taken}");
    let advice = "stop the program that uses it, or choose another address or port with";
    let cause = format!(
        "cannot serve HTTP on {taken}: Address already in use (os error 98): {advice} \
         --web.listen-address"
    );
    assert_eq!(failure(&["run", &listen, "127.0.0.1"]), (Some(1), format!("error: {cause}")));
    assert_eq!(failure(&["demo", &listen]), (Some(1), format!("error: {cause}")));
    let ended = run(RESPONDER, &["--listen=127.0.0.1:0", &listen]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), format!("error: {cause}\n").as_str()));

    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let ended = run(RESPONDER, &[&format!("--listen={taken}"), "--web.listen-address=127.0.0.1:0"]);
    let cause =
        format!("cannot bind {taken}: Address already in use (os error 98): {advice} --listen");
    assert_eq!((ended.code, ended.err.as_str()), (Some(1), format!("error: {cause}\n").as_str()));
}

#[test]
fn every_command_has_help_and_version() {
    for command in ["run", "demo", "ping", "check", "odds"] {
        let help = run(PROBE, &[command, "--help"]);
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""), "{command}");
        assert!(help.out.contains(&format!("Usage: heartbeat-probe {command}")), "{}", help.out);
    }
    for action in ["show", "set", "clear"] {
        let help = run(RESPONDER, &["impairments", action, "--help"]);
        assert!(help.out.contains(&format!("Usage: heartbeat-responder impairments {action}")));
    }
    for (program, name) in [(PROBE, "heartbeat-probe"), (RESPONDER, "heartbeat-responder")] {
        let help = run(program, &["--help"]);
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
        assert!(help.out.contains(&format!("Usage: {name}")), "{}", help.out);
        let version = run(program, &["--version"]);
        assert_eq!(version.out, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn odds_are_computed_for_the_course_s_loss() {
    let Ended { code, out, err } = run(PROBE, &["odds", "--loss=30%", "--misses=3,4,5"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.starts_with(
            "misses  expected heartbeats  within 10  within 100  within 1,000
     3                51.48   15.512 %    86.395 %     100.000 %
     4               174.94    4.200 %    43.263 %      99.699 %
     5               586.46    1.093 %    15.256 %      81.931 %\n"
        ),
        "{out}"
    );
}

#[test]
fn logs_are_text_or_json_lines() {
    for (format, is_expected) in [
        (
            "text",
            (|line| line.contains(" INFO serving HTTP address=127.0.0.1:")) as fn(&str) -> bool,
        ),
        ("json", |line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["level"] == "INFO" && line["fields"]["message"] == "serving HTTP"
        }),
    ] {
        for (program, arguments) in
            [(PROBE, ["run", "127.0.0.1"]), (RESPONDER, ["--listen", "127.0.0.1:0"])]
        {
            let mut command = Command::new(program);
            command.args(arguments).arg("--web.listen-address=127.0.0.1:0");
            command.args(["--log.format", format]);
            let (mut child, _) = Killed::spawn(&mut command, Stdio::null());
            assert!(child.stderr().any(|line| is_expected(&line)), "{program} {format}");
        }
    }
}

#[test]
fn messages_below_the_log_level_are_not_logged() {
    let mut command = Command::new(PROBE);
    command.args(["run", "127.0.0.1", "--web.listen-address=127.0.0.1:0", "--log.level=error"]);
    let (child, _) = Killed::spawn(&mut command, Stdio::null());
    let id = child.id().to_string();
    // The probe listens for signals before it sends.
    crate::program::until("it listens for signals", || {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
        let caught = u64::from_str_radix(caught, 16).unwrap();
        (caught & (1 << 14) != 0).then_some(())
    });
    child.signal("TERM");
    assert_eq!(child.finish(), (Some(0), String::new()));
}
