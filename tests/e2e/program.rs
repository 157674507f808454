//! Our programs as child processes. A child is killed when its value is dropped, and every wait has
//! a bound.

use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use udp_heartbeat::net;

pub(crate) const PROBE: &str = env!("CARGO_BIN_EXE_heartbeat-probe");
pub(crate) const RESPONDER: &str = env!("CARGO_BIN_EXE_heartbeat-responder");

/// How long a test waits before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A name that never resolves and causes no DNS query: a link-local address whose zone is an
/// interface that does not exist.
pub(crate) const UNRESOLVABLE: &str = "fe80::1%nowhere";

/// Calls `ask` until it returns a value. Panics after [`PATIENCE`].
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    const PAUSE: Duration = Duration::from_millis(10);
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Some(answer) = ask() {
            return answer;
        }
        thread::sleep(PAUSE);
    }
    panic!("timed out waiting until {what}");
}

/// Whether the kernel has an IPv6 loopback. With `CI=true`, a missing one fails the test.
#[expect(clippy::print_stderr, reason = "reports what is not tested")]
pub(crate) fn has_ipv6() -> bool {
    let has = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no ::1 on this machine");
        eprintln!("this machine has no ::1: IPv6 is not tested");
    }
    has
}

/// A loopback address for this test alone. The kernel gives its port to no other socket, so a
/// server can end and be started there again.
pub(crate) fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = std::process::id().to_be_bytes()[2..] else { unreachable!() };
    let ip = Ipv4Addr::new(127, 100 + (high & 0x7F), low, 1);
    SocketAddr::new(IpAddr::V4(ip), 20_000 + NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A running program. Its log is read only on request.
pub(crate) struct Running {
    child: Killed,
    unread: Lines,
    /// The lines of the log that have been read, as JSON.
    log: Vec<Value>,
    /// The addresses where it answers heartbeats; empty for the probe.
    pub(crate) udp: Vec<SocketAddr>,
    /// The address where it serves HTTP.
    pub(crate) http: SocketAddr,
}

/// The exit code and the output of a program.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A child that is killed on drop.
pub(crate) struct Killed(Child);

/// The lines that a program writes, read one by one on request. The test fails if a line does not
/// come within [`PATIENCE`].
pub(crate) struct Lines(Receiver<String>);

impl Running {
    /// `heartbeat-probe run` with these arguments.
    pub(crate) fn probe(arguments: &[&str]) -> Self {
        let mut command = Command::new(PROBE);
        command.arg("run").args(arguments);
        Self::start(command)
    }

    /// `heartbeat-probe run` with this configuration.
    pub(crate) fn probe_of(config: &str) -> Self {
        let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
        std::fs::write(file.path(), config).unwrap();
        Self::probe(&["--config.file", file.path().to_str().unwrap()])
    }

    /// `heartbeat-responder` with these arguments, on a free port of 127.0.0.1.
    pub(crate) fn responder(arguments: &[&str]) -> Self {
        Self::responder_on(&["127.0.0.1:0".parse().unwrap()], arguments)
    }

    /// `heartbeat-responder` on these addresses.
    pub(crate) fn responder_on(addresses: &[SocketAddr], arguments: &[&str]) -> Self {
        let mut command = Command::new(RESPONDER);
        command.args(addresses.iter().map(|address| format!("--listen={address}")));
        command.args(arguments);
        Self::start(command)
    }

    /// Starts a program with these arguments, and a free port for HTTP.
    pub(crate) fn start(mut command: Command) -> Self {
        command.args(["--web.listen-address=127.0.0.1:0", "--log.format=json"]);
        let (mut child, _) = Killed::spawn(&mut command, Stdio::null());
        let unread = child.stderr();
        let http = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let mut running = Self { child, unread, log: Vec::new(), udp: Vec::new(), http };
        running.http = address(&running.logged("serving HTTP"));
        let listening = |line: &&Value| message(line) == "answering heartbeats over UDP";
        running.udp = running.log.iter().filter(listening).map(address).collect();
        running
    }

    /// Reads the log up to the next line with the message `what`, and returns that line.
    pub(crate) fn logged(&mut self, what: &str) -> Value {
        loop {
            match self.unread.read() {
                Ok(line) => self.log.push(serde_json::from_str(&line).expect(&line)),
                Err(RecvTimeoutError::Timeout) => panic!("{what} is not logged: {:?}", self.log),
                Err(RecvTimeoutError::Disconnected) => panic!("the program ended: {:?}", self.log),
            }
            let newest = self.log.last().unwrap();
            if message(newest) == what {
                return newest.clone();
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        self.child.signal(name);
    }

    /// Waits for the end. Returns the exit code and the whole log.
    pub(crate) fn ended(mut self) -> (Option<i32>, Vec<Value>) {
        loop {
            match self.unread.read() {
                Ok(line) => self.log.push(serde_json::from_str(&line).expect(&line)),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the program does not end: {:?}", self.log)
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        (self.child.wait(), std::mem::take(&mut self.log))
    }

    /// Sends the signal and waits for the end.
    pub(crate) fn end(self, signal: &str) -> (Option<i32>, Vec<Value>) {
        self.signal(signal);
        self.ended()
    }

    /// Kills the program, like a crash.
    pub(crate) fn kill(mut self) {
        self.child.0.kill().unwrap();
        self.child.wait();
    }
}

impl Lines {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        // The channel has no capacity, so at most one line and a buffer are read ahead of the test.
        let (sender, lines) = sync_channel(0);
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(lines)
    }

    fn read(&self) -> Result<String, RecvTimeoutError> {
        self.0.recv_timeout(PATIENCE)
    }

    /// All remaining lines, each ended by a newline.
    pub(crate) fn rest(&mut self) -> String {
        let end = net::now().mono + PATIENCE;
        let mut text = String::new();
        for line in self {
            text.extend([&line, "\n"]);
            assert!(net::now().mono < end, "the program does not stop writing: {text}");
        }
        text
    }
}

impl Iterator for Lines {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        match self.read() {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("the program neither writes nor ends"),
        }
    }
}

impl Killed {
    /// Starts the program with stderr piped.
    pub(crate) fn spawn(command: &mut Command, out: Stdio) -> (Self, Option<ChildStdout>) {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::piped())
            .env_remove("NO_COLOR")
            .spawn()
            .unwrap();
        let out = child.stdout.take();
        (Self(child), out)
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// The lines of stderr; can be called once.
    pub(crate) fn stderr(&mut self) -> Lines {
        Lines::of(self.0.stderr.take().unwrap())
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the end. Returns the exit code and the output on stderr.
    pub(crate) fn finish(mut self) -> (Option<i32>, String) {
        let errors = self.stderr().rest();
        (self.wait(), errors)
    }

    /// Waits for the end. Returns the exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        until("the program ends", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // An error means that the child has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Ended {
    let (child, out) = Killed::spawn(Command::new(program).args(arguments), Stdio::piped());
    let mut out = Lines::of(out.unwrap());
    let reader = thread::spawn(move || out.rest());
    let (code, err) = child.finish();
    Ended { code, out: reader.join().unwrap(), err }
}

pub(crate) fn message(line: &Value) -> &str {
    line["fields"]["message"].as_str().unwrap()
}

fn address(line: &Value) -> SocketAddr {
    line["fields"]["address"].as_str().unwrap().parse().unwrap()
}
