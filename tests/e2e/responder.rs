//! `heartbeat-responder` as its users meet it: arguments, addresses, signals and exit codes.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_heartbeat-responder");

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A responder that runs, on ports of its own.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
    udp: SocketAddr,
    http: SocketAddr,
    /// What it logged up to the last of its listeners, and the warning after it if it is impaired.
    lines: Vec<String>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["--listen=127.0.0.1:0", "--web.listen-address=127.0.0.1:0", "--log.format=json"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = vec![line(&mut log), line(&mut log)];
        let udp = address(&lines[0], "answering heartbeats over UDP");
        let http = address(&lines[1], "serving HTTP");
        if !arguments.is_empty() {
            lines.push(line(&mut log));
        }
        Self { child, log, udp, http, lines }
    }

    fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.udp).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Sends the signal; the exit code and the rest of the log.
    fn end(mut self, signal: &str) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        let mut rest = String::new();
        self.log.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Does nothing to one that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(log: &mut impl BufRead) -> String {
    let mut line = String::new();
    log.read_line(&mut line).unwrap();
    line
}

/// The address in a line of the log that says `message`.
fn address(line: &str, message: &str) -> SocketAddr {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["fields"]["message"], message);
    line["fields"]["address"].as_str().unwrap().parse().unwrap()
}

fn receive(client: &UdpSocket) -> String {
    let mut buffer = [0; 2048];
    let length = client.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

fn fail(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new(PROGRAM).args(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn it_answers_shows_its_figures_and_ends_well_on_sigterm() {
    let running = Running::start(&[]);
    let client = running.client();
    client.send(b"Ping 5 Fri Sep 20 13:12:19 2024").unwrap();
    assert_eq!(receive(&client), "PING 5 FRI SEP 20 13:12:19 2024");

    for path in ["/", "/-/healthy", "/-/ready"] {
        assert!(running.get(path).starts_with("HTTP/1.1 200 OK\r\n"), "{path}");
    }
    let metrics = running.get("/metrics");
    for sample in [
        "heartbeat_responder_received_total{protocol=\"ping\"} 1\n",
        "heartbeat_responder_received_total{protocol=\"stamp\"} 0\n",
        "heartbeat_responder_dropped_total{reason=\"outage\"} 0\n",
        "heartbeat_responder_impaired_total{kind=\"corrupt\"} 0\n",
        "heartbeat_responder_send_errors_total 0\n",
    ] {
        assert!(metrics.contains(sample), "{sample}{metrics}");
    }

    let (code, log) = running.end("TERM");
    assert_eq!(code, Some(0));
    assert!(log.contains("\"signal\":\"SIGTERM\"") && log.contains("stopped"), "{log}");
}

#[test]
fn an_interrupt_ends_it_as_well() {
    let (code, log) = Running::start(&[]).end("INT");
    assert_eq!(code, Some(0));
    assert!(log.contains("\"signal\":\"SIGINT\""), "{log}");
}

#[test]
fn who_asks_for_a_bad_network_is_told_and_gets_the_same_one_for_the_same_seed() {
    let arguments = ["--loss=30%", "--seed=7"];
    for _ in 0..2 {
        let running = Running::start(&arguments);
        let warning: serde_json::Value = serde_json::from_str(&running.lines[2]).unwrap();
        assert_eq!(warning["level"], "WARN");
        assert_eq!(
            warning["fields"]["message"],
            "this responder behaves badly on purpose: loss 30%"
        );
        assert_eq!(warning["fields"]["seed"], 7);

        let client = running.client();
        for n in 0..40 {
            client.send(format!("Ping {n} x").as_bytes()).unwrap();
        }
        // Which ones a seed of 7 loses is the same for ever.
        let fates = "..x....x.xx...x..xxx..x...x.xxx.x.x...x.";
        for (n, _) in fates.chars().enumerate().filter(|&(_, fate)| fate == '.') {
            assert_eq!(receive(&client), format!("PING {n} X"));
        }
        let lost = fates.matches('x').count();
        let metrics = running.get("/metrics");
        let sample = format!("heartbeat_responder_dropped_total{{reason=\"loss\"}} {lost}\n");
        assert!(metrics.contains(&sample), "{metrics}");
    }
}

#[test]
fn wrong_flags_end_it_with_2_before_any_socket_opens() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    // Had it come to opening this one, that would be the error.
    let taken = format!("--listen={}", holder.local_addr().unwrap());
    for (argument, message) in [
        ("--loss=130%", "must be from 0% to 100%"),
        ("--outage=20s", "every=60s,for=20s"),
        ("--web.listen-address=9863", ":PORT"),
        ("--listen=12000", "ADDR:PORT"),
        ("--no-such-flag", "--no-such-flag"),
    ] {
        let (code, message_given) = fail(&[&taken, argument]);
        assert_eq!(code, Some(2), "{message_given}");
        assert!(message_given.contains(message), "{message_given}");
    }
}

#[test]
fn an_address_that_is_taken_ends_it_with_1_and_is_named() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let (code, message) = fail(&[&format!("--listen={taken}")]);
    assert_eq!(code, Some(1));
    assert!(message.contains(&format!("cannot bind {taken}: ")), "{message}");
}
