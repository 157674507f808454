//! The configuration that is read again while the probe runs: by SIGHUP, and over HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;

use crate::program::{PATIENCE, Running, message, until};
use crate::server::Server;

/// The status and the body of the answer to a request without a body.
fn asked(probe: &Running, method: &str, headers: &str) -> (u16, String) {
    asked_at(probe, method, "/-/reload", headers)
}

/// The same at another path.
pub(crate) fn asked_at(probe: &Running, method: &str, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(probe.http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = probe.http;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
         Content-Length: 0\r\n{headers}\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// The state of the configuration in the metrics.
fn is_newest(probe: &Running) -> u64 {
    probe.metrics().count("heartbeat_config_last_reload_successful", &[])
}

#[test]
fn a_reload_changes_the_targets_and_leaves_the_others_alone() {
    let responder = Running::responder(&[]);
    let (address, silent) = (responder.udp[0], Server::silent());
    let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    let write = |targets: &str| {
        let text = format!("defaults: {{interval: 50ms, timeout: 10s}}\ntargets:\n{targets}");
        std::fs::write(file.path(), text).unwrap();
    };
    let target =
        |name: &str, more: &str| format!("  - {{name: {name}, address: \"{address}\"{more}}}\n");
    write(&(target("kept", "") + &target("changed", "") + &target("removed", "")));
    let flags = ["--web.enable-lifecycle", "--config.file", file.path().to_str().unwrap()];
    let mut probe = Running::probe(&flags);
    let before = until("all are answered", || {
        let metrics = probe.metrics();
        let names = ["kept", "changed", "removed"];
        names.iter().all(|name| metrics.of(name, "received_total") >= 3).then_some(metrics)
    });
    assert_eq!(is_newest(&probe), 1);

    let added = format!("  - {{name: added, address: \"{}\"}}\n", silent.address);
    write(&(target("kept", "") + &target("changed", ", interval: 100ms") + &added));
    probe.signal("HUP");
    let line = probe.logged("configuration reloaded");
    for (what, count) in [("added", 1), ("removed", 1), ("changed", 1), ("unchanged", 1)] {
        assert_eq!(line["fields"][what], count, "{line}");
    }
    let after = probe.metrics();
    assert!(after.find("heartbeat_sent_total", &[("target", "removed")]).is_none());
    assert!(after.find("heartbeat_sent_total", &[("target", "added")]).is_some());
    for name in ["kept", "changed"] {
        assert!(after.of(name, "received_total") >= before.of(name, "received_total"), "{name}");
        assert_eq!(after.of(name, "lost_total"), 0, "{name}");
    }

    // The same over HTTP, in both methods that Prometheus has.
    for method in ["POST", "PUT"] {
        let (status, body) = asked(&probe, method, "");
        assert_eq!((status, &*body), (200, "0 added, 0 removed, 0 changed, 3 unchanged\n"));
    }
    assert_eq!(asked(&probe, "GET", "").0, 405);

    // A file with errors changes nothing; all of them are reported.
    write("  - {name: kept, addres: x}\n");
    let (status, body) = asked(&probe, "POST", "");
    assert_eq!(status, 500);
    assert!(body.starts_with("failed to reload config: "), "{body}");
    assert!(body.contains("unknown key, did you mean address?"), "{body}");
    assert!(body.contains("targets[0]: has no address"), "{body}");
    let failed = "cannot reload the configuration, keeping the current one";
    assert_eq!(probe.logged(failed)["level"], "ERROR");
    assert_eq!(is_newest(&probe), 0);
    let sent = probe.metrics().of("kept", "sent_total");
    until("the target goes on", || (probe.metrics().of("kept", "sent_total") > sent).then_some(()));

    // It is repaired.
    write(&target("kept", ""));
    assert_eq!(
        asked(&probe, "POST", ""),
        (200, "0 added, 2 removed, 0 changed, 1 unchanged\n".to_owned())
    );
    assert_eq!(is_newest(&probe), 1);
    assert_eq!(probe.end("TERM").0, Some(0));
}

#[test]
fn a_reload_over_http_needs_the_option_and_a_page_of_ours() {
    let silent = Server::silent();
    let address = silent.address.to_string();
    let probe = Running::probe(&[&address]);
    for method in ["POST", "PUT", "GET"] {
        let (status, body) = asked(&probe, method, "");
        assert_eq!(status, 403, "{method}");
        assert!(body.contains("--web.enable-lifecycle"), "{body}");
    }
    let probe = Running::probe(&["--web.enable-lifecycle", &address]);
    let own = format!("Origin: http://{}\r\n", probe.http);
    assert_eq!(asked(&probe, "POST", &own).0, 200);
    for foreign in ["http://evil.example", "null", "http://127.0.0.1", "x"] {
        let (status, _) = asked(&probe, "POST", &format!("Origin: {foreign}\r\n"));
        assert_eq!(status, 403, "{foreign}");
    }
    // A site whose name resolves to this machine, and pages of this machine.
    let from = |host: &str| {
        let mut stream = TcpStream::connect(probe.http).unwrap();
        write!(
            stream,
            "POST /-/reload HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n\
             Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer[9..12].to_owned()
    };
    let port = probe.http.port();
    assert_eq!(from(&format!("evil.example:{port}")), "403");
    for own in ["localhost", "[::1]", "127.0.0.1"] {
        assert_eq!(from(&format!("{own}:{port}")), "200", "{own}");
    }
    let (_, log) = probe.end("TERM");
    let reloads = log.iter().filter(|line| message(line) == "configuration reloaded").count();
    assert_eq!(reloads, 4);
}

#[test]
fn buckets_stay_as_they_are_until_a_restart_and_the_log_says_so() {
    let silent = Server::silent();
    let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    let targets = format!("targets: [{{name: a, address: \"{}\"}}]\n", silent.address);
    std::fs::write(file.path(), &targets).unwrap();
    let mut probe = Running::probe(&["--config.file", file.path().to_str().unwrap()]);
    std::fs::write(file.path(), format!("rtt_buckets: [1]\n{targets}")).unwrap();
    probe.signal("HUP");
    let line = probe.logged("rtt_buckets has changed: restart the probe to use the new buckets");
    assert_eq!(line["level"], "WARN");
    assert!(probe.metrics().text.contains("le=\"0.001\""));
}

#[test]
fn a_dry_run_names_the_changes_and_makes_none() {
    let silent = Server::silent();
    let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    let write = |names: &[&str]| {
        let target = |name| format!("  - {{name: {name}, address: \"{}\"}}\n", silent.address);
        let targets: String = names.iter().map(target).collect();
        std::fs::write(file.path(), format!("targets:\n{targets}")).unwrap();
    };
    write(&["a", "b"]);
    let flags = ["--web.enable-lifecycle", "--config.file", file.path().to_str().unwrap()];
    let probe = Running::probe(&flags);
    write(&["b", "c"]);
    let dry = "/-/reload?dry_run=1";
    let expected = "remove a\nadd c\n1 added, 1 removed, 0 changed, 1 unchanged\n";
    assert_eq!(asked_at(&probe, "POST", dry, ""), (200, expected.to_owned()));
    assert!(probe.metrics().find("heartbeat_sent_total", &[("target", "c")]).is_none());
    std::fs::write(file.path(), "targets: 1\n").unwrap();
    assert_eq!(asked_at(&probe, "POST", dry, "").0, 500);
    assert_eq!(is_newest(&probe), 1, "nothing was attempted");
    assert_eq!(asked_at(&probe, "POST", "/-/reload?dryrun=1", "").0, 400);
}

#[test]
fn a_file_whose_contents_change_is_reloaded_by_itself() {
    let silent = Server::silent();
    let folder = tempfile::tempdir().unwrap();
    let write = |file: &str, names: &[&str]| {
        let target = |name| format!("  - {{name: {name}, address: \"{}\"}}\n", silent.address);
        let targets: String = names.iter().map(target).collect();
        std::fs::write(folder.path().join(file), format!("targets:\n{targets}")).unwrap();
    };
    // A link that is replaced, as Kubernetes does it.
    let link = folder.path().join("probe.yml");
    let point_to = |file: &str| {
        let new = folder.path().join("new");
        std::os::unix::fs::symlink(folder.path().join(file), &new).unwrap();
        std::fs::rename(&new, &link).unwrap();
    };
    write("1.yml", &["a"]);
    point_to("1.yml");
    let every = "--config.auto-reload-interval=20ms";
    let flags = ["--config.auto-reload", every, "--config.file", link.to_str().unwrap()];
    let mut probe = Running::probe(&flags);
    // The same contents under another name change nothing.
    write("2.yml", &["a"]);
    point_to("2.yml");
    write("3.yml", &["a", "b"]);
    point_to("3.yml");
    let logged = probe.logged("configuration reloaded");
    assert_eq!(
        (&logged["fields"]["added"], &logged["fields"]["unchanged"]),
        (&1.into(), &1.into())
    );
    // A file that is missing for a while changes nothing, and an invalid one is reported once.
    std::fs::remove_file(&link).unwrap();
    std::fs::write(folder.path().join("4.yml"), "targets: 1\n").unwrap();
    point_to("4.yml");
    probe.logged("cannot reload the configuration, keeping the current one");
    write("5.yml", &["a"]);
    point_to("5.yml");
    let logged = probe.logged("configuration reloaded");
    assert_eq!(logged["fields"]["removed"], 1);
    let (_, log) = probe.end("TERM");
    let reloads = log.iter().filter(|line| message(line).contains("reload")).count();
    assert_eq!(reloads, 3, "{log:?}");
}

#[test]
fn a_configuration_from_a_pipe_is_read_once_and_cannot_be_reloaded() {
    let silent = Server::silent();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let config = format!("targets: [{{name: piped, address: \"{}\"}}]\n", silent.address);
    writer.write_all(config.as_bytes()).unwrap();
    drop(writer);
    let path = format!("/proc/{}/fd/{}", std::process::id(), reader.as_raw_fd());
    let flags =
        ["--config.auto-reload", "--config.auto-reload-interval=10ms", "--config.file", &path];
    let mut probe = Running::probe(&flags);
    probe.signal("HUP");
    let line = probe.logged("cannot reload the configuration, keeping the current one");
    assert!(
        line["fields"]["problem"].as_str().unwrap().ends_with("is a FIFO without a writer"),
        "{line}"
    );
    assert!(probe.metrics().find("heartbeat_sent_total", &[("target", "piped")]).is_some());
    let (_, log) = probe.end("TERM");
    let problems = log.iter().filter(|line| message(line).contains("cannot reload")).count();
    assert_eq!(problems, 1, "{log:?}");
}
