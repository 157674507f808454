//! The peers that are installed, each of which pings loopback at the sizes that it can handle.
//!
//! All ping every target once a second, as the probe does. Only the CPU time of the pinging
//! processes is measured, within a window that excludes their start and end.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;

use super::clock::Watch;
use super::http;
use super::process::{self, Process};
use super::programs::{Responder, loopback};

/// Time before the window, in which all processes start and each target is pinged.
const WARM: Duration = Duration::from_secs(2);

/// Time after the window, in which the last answers come and the summary is written.
const REST: Duration = Duration::from_secs(2);

/// How much longer than requested a run may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A peer: its name, its description, its numbers of targets, and how to run it.
struct Peer {
    program: &'static str,
    about: &'static str,
    sizes: &'static [usize],
    run: fn(&Run<'_>) -> anyhow::Result<Ping>,
}

const PEERS: [Peer; 4] = [
    Peer { program: "fping", about: "ICMP", sizes: &[10, 1_000, 10_000, 100_000], run: fping },
    Peer { program: "irtt", about: "UDP, a process each", sizes: &[10, 100], run: irtt },
    Peer {
        program: "prometheus-smokeping-prober",
        about: "ICMP, an exporter",
        sizes: &[10, 100, 1_000],
        run: smokeping,
    },
    Peer {
        program: "stamp-suite",
        about: "STAMP, to our responder",
        sizes: &[10, 100],
        run: stamp_suite,
    },
];

/// The result of one peer at one size.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) program: &'static str,
    pub(crate) about: &'static str,
    /// `None` if it is not installed.
    pub(crate) run: Option<(usize, anyhow::Result<Ping>)>,
}

/// The figures that a peer reports, and its cost.
#[derive(Debug)]
pub(crate) struct Ping {
    /// CPU time per ping.
    pub(crate) cpu: Duration,
    /// The share of pings that it counts as answered.
    pub(crate) answered: f64,
    /// The mean round trip that it reports.
    pub(crate) rtt: Duration,
}

/// One run: the number of targets, the window, and a directory for files.
struct Run<'a> {
    targets: usize,
    window: Duration,
    directory: &'a Path,
}

/// Runs every installed peer at each of its sizes, and measures it within `window`.
pub(crate) fn measure(window: Duration) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for Peer { program, about, sizes, run } in PEERS {
        if !process::is_installed(program) {
            rows.push(Row { program, about, run: None });
            continue;
        }
        for &targets in sizes {
            eprintln!("measuring {program} with {targets} targets …");
            let directory = TempDir::new()?;
            let ping = run(&Run { targets, window, directory: directory.path() });
            rows.push(Row { program, about, run: Some((targets, ping)) });
        }
    }
    Ok(rows)
}

fn fping(run: &Run<'_>) -> anyhow::Result<Ping> {
    let hosts: Vec<_> = run.hosts().map(|ip| ip.to_string()).collect();
    let file = run.directory.join("hosts");
    fs::write(&file, hosts.join("\n"))?;
    // fping waits longer between pings than `-i` says, and the pings of all targets must fit into
    // one second.
    let spacing = (125.0 / run.targets as f64).clamp(0.01, 10.0);
    let mut command = Command::new("fping");
    command.args(["-q", "-p", "1000", "-t", "1000", "-i", &format!("{spacing:.2}")]);
    command.args(["-c", &run.seconds().to_string(), "-f"]).arg(&file);
    let process = Process::start(&command, Stdio::null())?;
    let cpu = run.cpu(std::slice::from_ref(&process))?;
    // The status is 1 if a ping was lost.
    let (_, lines) = process.finish(PATIENCE).context("it is too slow")?;

    // 127.1.0.1 : xmt/rcv/%loss = 9/9/0%, min/avg/max = 0.009/0.041/0.104
    let mut tally = Tally::default();
    for line in &lines {
        let Some((_, counts)) = line.split_once("xmt/rcv/%loss = ") else { continue };
        let mut counts = counts.split('/').map_while(|count| count.parse::<f64>().ok());
        let (sent, received) = (counts.next(), counts.next());
        let mean = line.rsplit_once("= ").and_then(|(_, times)| times.split('/').nth(1));
        let mean = mean.and_then(|mean| mean.parse::<f64>().ok()).unwrap_or_default() / 1e3;
        tally.add(sent.context("fping reports no counts")?, received.unwrap_or_default(), mean);
    }
    // If there are more targets than sequence numbers, the last line reports this error.
    tally.ping(cpu).with_context(|| lines.last().cloned().unwrap_or_default())
}

fn irtt(run: &Run<'_>) -> anyhow::Result<Ping> {
    let address = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string();
    let mut server = Command::new("irtt");
    let _server = Process::start(server.args(["server", "-b", &address]), Stdio::null())?;
    thread::sleep(Duration::from_millis(500));
    let file = |number| run.directory.join(format!("{number}.json"));
    let mut clients = Vec::new();
    for number in 0..run.targets {
        let mut command = Command::new("irtt");
        command.args(["client", "-i", "1s", "-q", "--wait=1s", "-d"]);
        command.arg(format!("{}s", run.seconds())).arg("-o").arg(file(number)).arg(&address);
        clients.push(Process::start(&command, Stdio::null())?);
    }
    let cpu = run.cpu(&clients)?;
    clients.iter().try_for_each(|client| client.finish(PATIENCE).map(drop))?;

    let mut tally = Tally::default();
    for number in 0..run.targets {
        let report: Value = serde_json::from_str(&fs::read_to_string(file(number))?)?;
        let stats = &report["stats"];
        let mean = number_in(&stats["rtt"]["mean"])? / 1e9;
        tally.add(number_in(&stats["packets_sent"])?, number_in(&stats["packets_received"])?, mean);
    }
    tally.ping(cpu)
}

fn smokeping(run: &Run<'_>) -> anyhow::Result<Ping> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let file = run.directory.join("empty.yml");
    fs::write(&file, "targets: []\n")?;
    let mut command = Command::new("prometheus-smokeping-prober");
    command.arg(format!("--web.listen-address={address}")).arg("--log.level=error");
    command.arg("--config.file").arg(&file).args(run.hosts().map(|ip| ip.to_string()));
    let process = Process::start(&command, Stdio::null())?;
    // It serves its metrics when it has started to ping every host.
    let watch = Watch::start();
    while smokeping_totals(address).is_err() {
        ensure!(watch.elapsed() < 2 * PATIENCE, "it does not serve its metrics");
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(WARM);
    let (before, cpu_before) = (smokeping_totals(address)?, process.cpu()?);
    thread::sleep(run.window);
    let (after, cpu_after) = (smokeping_totals(address)?, process.cpu()?);
    let [sent, received, seconds] = std::array::from_fn(|index| after[index] - before[index]);
    ensure!(sent > 0.0 && received > 0.0, "it counted no pings");
    Ok(Ping {
        cpu: cpu_after.saturating_sub(cpu_before).div_f64(sent),
        answered: received / sent,
        rtt: Duration::try_from_secs_f64(seconds / received)?,
    })
}

/// Pings, answers, and the sum of the round trips in seconds, over all hosts.
fn smokeping_totals(address: SocketAddr) -> anyhow::Result<[f64; 3]> {
    let text = http::get(address, "/metrics", false)?.text()?;
    let total = |name: &str| -> f64 {
        let values = text.lines().filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
        values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    };
    Ok([
        total("smokeping_requests_total{"),
        total("smokeping_response_duration_seconds_count{"),
        total("smokeping_response_duration_seconds_sum{"),
    ])
}

fn stamp_suite(run: &Run<'_>) -> anyhow::Result<Ping> {
    let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
    let responder = Responder::start(run.targets, port)?;
    let report: PathBuf = run.directory.join("report.json");
    let mut command = Command::new("stamp-suite");
    command.args(["-d", "1000", "-L", "1", "--output-format", "json"]);
    command.args(["-c", &run.seconds().to_string(), "-p", &port.to_string()]);
    for listener in &responder.listeners {
        command.args(["-r", &listener.ip().to_string()]);
    }
    let process = Process::start(&command, File::create(&report)?.into())?;
    let cpu = run.cpu(std::slice::from_ref(&process))?;
    process.finish(PATIENCE).context("it is too slow")?;

    let mut tally = Tally::default();
    for line in fs::read_to_string(&report)?.lines() {
        let summary: Value = serde_json::from_str(line)?;
        if summary["type"] != "summary" {
            continue;
        }
        let measured = &summary["measurements"];
        let mean = measured["reply_rtt"]["avg_ms"].as_f64().unwrap_or_default() / 1e3;
        tally.add(
            number_in(&measured["requested_replies"])?,
            number_in(&measured["answered_probes"])?,
            mean,
        );
    }
    tally.ping(cpu)
}

impl Run<'_> {
    /// How long a peer is set to ping, in seconds.
    fn seconds(&self) -> u64 {
        (WARM + self.window + REST).as_secs()
    }

    /// Addresses at which the kernel answers ICMP.
    fn hosts(&self) -> impl Iterator<Item = Ipv4Addr> {
        // After 65,534 addresses, they continue in the next network.
        (1..).flat_map(loopback).take(self.targets)
    }

    /// CPU time of `processes` per ping, within the window.
    fn cpu(&self, processes: &[Process]) -> anyhow::Result<Duration> {
        let total = || -> anyhow::Result<Duration> {
            processes.iter().map(Process::cpu).sum::<anyhow::Result<Duration>>()
        };
        thread::sleep(WARM);
        let before = total()?;
        thread::sleep(self.window);
        let took = total()?.saturating_sub(before);
        Ok(took.div_f64(self.targets as f64 * self.window.as_secs_f64()))
    }
}

/// Pings over all targets.
#[derive(Debug, Default)]
struct Tally {
    sent: f64,
    received: f64,
    /// Seconds.
    round_trips: f64,
}

impl Tally {
    fn add(&mut self, sent: f64, received: f64, mean: f64) {
        self.sent += sent;
        self.received += received;
        self.round_trips += received * mean;
    }

    fn ping(&self, cpu: Duration) -> anyhow::Result<Ping> {
        ensure!(self.received > 0.0, "no ping was answered");
        let rtt = Duration::try_from_secs_f64(self.round_trips / self.received)?;
        Ok(Ping { cpu, answered: self.received / self.sent, rtt })
    }
}

fn number_in(value: &Value) -> anyhow::Result<f64> {
    value.as_f64().with_context(|| format!("{value} is not a number"))
}
