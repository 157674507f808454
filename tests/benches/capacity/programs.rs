//! Runs the two programs.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::clock::Watch;
use super::http;
use super::process::{self, Process};

/// The paths of the programs, built with this benchmark's profile.
pub(crate) const PROBE: &str = env!("CARGO_BIN_EXE_heartbeat-probe");
pub(crate) const RESPONDER: &str = env!("CARGO_BIN_EXE_heartbeat-responder");

/// How long a program may take until it logs its addresses: the probe reads a large file first.
const START: Duration = Duration::from_secs(30);

/// How long the probe may take until every target has been answered.
const READY: Duration = Duration::from_secs(60);

const LOG: [&str; 2] = ["--log.format=json", "--web.listen-address=127.0.0.1:0"];

/// The messages with which the programs log their addresses.
const HTTP: &str = "serving HTTP";
const UDP: &str = "answering heartbeats over UDP";

/// The number of buckets for delays: that of the default, so that memory and scrapes have the
/// default's sizes. Their bounds are from 10 µs to 75 ms, each [`BUCKET_RATIO`] × the one before.
const BUCKETS: i32 = 20;
const FIRST_BUCKET: f64 = 10e-6;
/// The resolution of quantiles of delays.
pub(crate) const BUCKET_RATIO: f64 = 1.6;

/// A running `heartbeat-responder`.
#[derive(Debug)]
pub(crate) struct Responder {
    pub(crate) process: Process,
    pub(crate) listeners: Vec<SocketAddr>,
    http: SocketAddr,
}

impl Responder {
    /// Starts a responder that listens on `port` (0: any) of `addresses` addresses, from 127.0.0.1
    /// on.
    pub(crate) fn start(addresses: usize, port: u16) -> anyhow::Result<Self> {
        let mut command = Command::new(RESPONDER);
        // All heartbeats come from one source.
        command.args(LOG).arg("--rate-limit=0");
        for ip in loopback(0).take(addresses) {
            command.arg(format!("--listen={ip}:{port}"));
        }
        let process = Process::start(&command, Stdio::null())?;
        let mut listeners = Vec::new();
        loop {
            let (message, address) = served(&process)?;
            if message == HTTP {
                return Ok(Self { process, listeners, http: address });
            }
            listeners.push(address);
        }
    }

    /// How many requests it has received and answered so far.
    pub(crate) fn counts(&self) -> anyhow::Result<(u64, u64)> {
        let text = http::get(self.http, "/metrics", false)?.text()?;
        let total = |name: &str| -> u64 {
            let values = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
            values.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
        };
        let counts = (
            total("heartbeat_responder_received_total{"),
            total("heartbeat_responder_replied_total{"),
        );
        Ok(counts)
    }
}

/// A running `heartbeat-probe run`.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) process: Process,
    http: SocketAddr,
    started: Watch,
}

impl Probe {
    /// Starts a probe with the configuration in `file` and this many workers (`None`: the default).
    pub(crate) fn start(file: &Path, workers: Option<usize>) -> anyhow::Result<Self> {
        let mut command = Command::new(PROBE);
        command.arg("run").args(LOG).arg("--config.file").arg(file);
        if let Some(workers) = workers {
            command.arg(format!("--workers={workers}"));
        }
        let started = Watch::start();
        let process = Process::start(&command, Stdio::null())?;
        let (_, http) = served(&process)?;
        Ok(Self { process, http, started })
    }

    /// The time from its start until now.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Waits until the first heartbeat of every target has been settled.
    pub(crate) fn wait_until_ready(&self) -> anyhow::Result<()> {
        while http::get(self.http, "/-/ready", false)?.status != 200 {
            ensure!(self.age() < READY, "the probe does not become ready");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// One scrape.
    pub(crate) fn scrape(&self, gzip: bool) -> anyhow::Result<http::Answer> {
        let answer = http::get(self.http, "/metrics", gzip)?;
        ensure!(answer.status == 200, "the probe answered a scrape with status {}", answer.status);
        Ok(answer)
    }

    /// The warnings and errors that it has logged, each message once with its count.
    pub(crate) fn complaints(&self) -> Vec<(String, usize)> {
        let mut complaints: Vec<(String, usize)> = Vec::new();
        for line in self.process.lines() {
            let Ok(entry) = serde_json::from_str::<Value>(&line) else { continue };
            if !matches!(entry["level"].as_str(), Some("WARN" | "ERROR")) {
                continue;
            }
            let message = entry["fields"]["message"].as_str().unwrap_or(&line).to_owned();
            match complaints.iter_mut().find(|(known, _)| *known == message) {
                Some((_, count)) => *count += 1,
                None => complaints.push((message, 1)),
            }
        }
        complaints
    }
}

/// Whether `heartbeat-probe run` takes `--workers`.
pub(crate) fn takes_workers() -> bool {
    process::output(PROBE, &["run", "--help"]).is_some_and(|help| help.contains("--workers"))
}

/// Writes a configuration of this many STAMP targets, with one heartbeat a second each, spread over
/// `peers`.
pub(crate) fn write_config(
    file: &Path,
    targets: usize,
    peers: &[SocketAddr],
) -> anyhow::Result<()> {
    let buckets = (0..BUCKETS).map(|power| FIRST_BUCKET * BUCKET_RATIO.powi(power));
    let buckets: Vec<_> = buckets.map(|bound| format!("{bound:.7}")).collect();
    let mut text = format!(
        "defaults: {{protocol: stamp, interval: 1s, timeout: 1s}}\nrtt_buckets: [{}]\ntargets:\n",
        buckets.join(", ")
    );
    for (number, peer) in (0..targets).zip(peers.iter().cycle()) {
        writeln!(text, "  - {{name: \"target-{number:06}\", address: \"{peer}\"}}")?;
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Addresses of this machine, in 127.0.0.0/8, from `127.NET.0.1` on.
pub(crate) fn loopback(net: u8) -> impl Iterator<Item = Ipv4Addr> {
    let base = u32::from(Ipv4Addr::new(127, net, 0, 0));
    (1..0xffff).map(move |host| Ipv4Addr::from_bits(base + host))
}

/// The next address that a program logs, with the message.
fn served(process: &Process) -> anyhow::Result<(String, SocketAddr)> {
    loop {
        let line = process.next_line(START)?;
        let entry: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let fields = &entry["fields"];
        let address = fields["address"].as_str().and_then(|address| address.parse().ok());
        if let (Some(message @ (HTTP | UDP)), Some(address)) = (fields["message"].as_str(), address)
        {
            return Ok((message.to_owned(), address));
        }
    }
}
