//! What the programs tell systemd, which is played by a socket of the test (`sd_notify(3)`).

use std::os::unix::net::UnixDatagram;
use std::process::Command;

use crate::program::{PATIENCE, PROBE, RESPONDER, Running};

/// A socket in the place of systemd's.
struct Manager {
    folder: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { folder, socket }
    }

    /// Starts a service that reports to it.
    fn start(&self, program: &str, arguments: &[&str]) -> Running {
        let mut command = Command::new(program);
        command.args(arguments);
        command.env("NOTIFY_SOCKET", self.folder.path().join("notify"));
        command.env("WATCHDOG_USEC", "200000");
        Running::start(command)
    }

    /// Waits for a message with this line, and returns it.
    fn told(&self, line: &str) -> String {
        let mut octets = [0; 4096];
        loop {
            let count = self.socket.recv(&mut octets).expect(line);
            let message = String::from_utf8(octets[..count].to_vec()).unwrap();
            if message.lines().any(|told| told == line) {
                return message;
            }
        }
    }
}

#[test]
fn systemd_is_told_about_the_probe_and_that_its_workers_work() {
    let (manager, server) = (Manager::new(), Running::responder(&[]));
    let target = format!("stamp://{}", server.udp[0]);
    let probe = manager.start(PROBE, &["run", &target, "127.0.0.1:9", "--workers=2"]);
    // Before there is any verdict: the sockets are open.
    assert_eq!(manager.told("READY=1"), "READY=1\n");
    let status = manager.told("STATUS=2 targets: 1 up, 1 down");
    assert!(status.lines().any(|line| line == "WATCHDOG=1"), "{status}");
    for _ in 0..3 {
        manager.told("WATCHDOG=1");
    }
    probe.signal("TERM");
    manager.told("STOPPING=1");
    assert_eq!(probe.ended().0, Some(0));
}

#[test]
fn systemd_is_told_when_the_responder_is_ready_and_when_it_stops() {
    let manager = Manager::new();
    let responder = manager.start(RESPONDER, &["--listen=127.0.0.1:0"]);
    assert_eq!(manager.told("READY=1"), "READY=1\n");
    responder.signal("TERM");
    manager.told("STOPPING=1");
    assert_eq!(responder.ended().0, Some(0));
}
