//! `heartbeat-probe ping`: probes one target, prints a line for each heartbeat, then statistics.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::config::{self, Config, Defaults, Interval, ScalarError, Span, Target};
use crate::model::{Label, LookupFailure, State, UnsentReason, Wall};
use crate::observe::document::{CountsDocument, DelaysDocument, DiagnosisDocument, PingDocument};
use crate::observe::{TargetSample, lookup_failure, router_address};
use crate::probe::{Begin, Detail, Event, Happening, Probe, RunOptions};
use crate::session::Answered;
use crate::wire::ROUTER_PORT;

use super::output::{is_closed, println};
use super::packets::PacketArgs;
use super::signal::{self, Signals};

/// How long `ping` waits at most for the answer of UDP port 862.
const ROUTER_PATIENCE: Duration = Duration::from_secs(1);

/// The command line of `ping`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::protocols())]
pub struct Args {
    /// The target.
    #[arg(help = "Target to ping: [PROTOCOL://]HOST[:PORT]")]
    target: String,
    /// Number of heartbeats to send
    #[arg(short = 'c', long, value_name = "N", default_value_t = 10,
        allow_negative_numbers = true, value_parser = super::whole(1..=u64::MAX))]
    count: u64,
    /// Time from one heartbeat to the next; without a unit, seconds
    #[arg(short = 'i', long, value_name = "DURATION", default_value = "1s",
        allow_hyphen_values = true, value_parser = seconds::<Interval>)]
    interval: Interval,
    /// Time to wait for an answer; may exceed the interval; without a unit, seconds
    #[arg(short = 'W', long, value_name = "DURATION", default_value = "1s",
        allow_hyphen_values = true, value_parser = seconds::<Span>)]
    timeout: Span,
    /// File with the key that authenticates STAMP packets
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
    #[command(flatten)]
    packets: PacketArgs,
    /// Stop once the target is down
    #[arg(long)]
    until_down: bool,
    /// Consecutive misses after which the target is down
    #[arg(long, value_name = "N", default_value_t = 3,
        allow_negative_numbers = true, value_parser = super::whole(1..=u32::MAX))]
    misses: u32,
    /// Print one JSON object instead of lines
    #[arg(long)]
    json: bool,
}

/// Reads a duration. A number without a unit is seconds, as in other programs named `ping`.
fn seconds<T: FromStr<Err = ScalarError>>(text: &str) -> Result<T, ScalarError> {
    let is_number = text.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.');
    let read = text.parse().ok().filter(|_| is_number);
    match read.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(span) => format!("{}ns", span.as_nanos()).parse(),
        None => text.parse(),
    }
}

/// Pings. The exit code is 0 if at least one heartbeat was answered in time, otherwise 1.
///
/// # Errors
/// If the arguments contradict each other, the name does not resolve, or no socket is available.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let target = target(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(ping(args, target))?;
    // Does not wait for a name lookup that hangs.
    runtime.shutdown_background();

    is_closed(write(&report, args.json, io::stdout().lock()))?;
    Ok(if report.counts.received > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn target(args: &Args) -> anyhow::Result<Target> {
    let key_file = args.key_file.as_deref().map(|file| ("key_file", file));
    let size = args.packets.size.as_deref().map(|size| ("size", size));
    let options: Vec<_> = key_file.into_iter().chain(size).collect();
    let mut target = config::parse_target_with(&args.target, &options, &Defaults::default())?;
    target.interval = args.interval.duration();
    target.timeout = args.timeout.duration();
    target.misses = args.misses;
    config::in_flight(target.protocol.protocol(), target.interval, target.timeout)?;
    target.packets = args.packets.options()?;
    Ok(target)
}

async fn ping(args: &Args, mut target: Target) -> anyhow::Result<PingDocument> {
    let mut signals = Signals::listen()?;
    let mut hangup = signal::on(SignalKind::hangup())?;
    let mut quit = signal::on(SignalKind::quit())?;
    let protocol = target.protocol.name();
    args.packets.restrict(&mut target)?;
    config::check_packets(&target.address, target.ip_version, &target.packets)
        .map_err(|conflict| anyhow!("{} {conflict}", conflict.key()))?;
    let config = Config::default().with_targets([target])?;
    let options = RunOptions {
        detail: Detail::Heartbeats,
        begin: Begin::AtOnce,
        limit: Some(args.count),
        workers: NonZeroUsize::MIN,
    };
    let (probe, mut events) = Probe::start(config, options).await?;
    let (_, before) = sample(&probe).await?;
    let Some(address) = before.address else {
        let host = before.target.lookup_name().unwrap_or_default();
        // Before the first lookup has ended, no name server has answered.
        let why = before.lookup_failure.unwrap_or(LookupFailure::Timeout);
        bail!("cannot resolve {host}: {}", lookup_failure(host, why));
    };
    if !args.json {
        is_closed(println(format_args!(
            "HEARTBEAT {} ({address}), protocol {protocol}: {} heartbeats, one every {}",
            args.target, args.count, args.interval
        )))?;
    }

    let mut log = Log { quiet: args.json, until_down: args.until_down, ..Log::default() };
    let is_complete = loop {
        tokio::select! {
            outcome = follow(&mut events, &mut log, &probe) => {
                outcome?;
                break true;
            }
            // Waits for the heartbeats in flight, or for a second signal.
            _ = signals.next() => {
                tokio::select! {
                    () = probe.stop() => {}
                    _ = signals.next() => {}
                }
                break false;
            }
            _ = hangup.recv() => {
                probe.stop().await;
                break false;
            }
            // As other programs named `ping` do.
            _ = quit.recv() => {
                let (at, sample) = sample(&probe).await?;
                let rtts = delays(log.rtts.clone());
                let so_far = PingDocument::new(args.target.clone(), &sample, at, rtts, log.down);
                is_closed(write(&so_far, args.json, io::stdout().lock()))?;
            }
        }
    };
    // Events of heartbeats that were settled while the probe stopped.
    while let Ok(event) = events.try_recv() {
        is_closed(log.take(&event))?;
    }
    let (at, sample) = sample(&probe).await?;
    let mut report =
        PingDocument::new(args.target.clone(), &sample, at, delays(log.rtts), log.down);
    let record = &sample.session.record;
    let is_silent = record.sent > 0 && record.received + record.late == 0;
    if is_complete
        && is_silent
        && let Some(address) = router_address(&sample.target)
    {
        report.router = Some(format!("stamp://{address}"));
        let router = Target { address, ..Target::clone(&sample.target) };
        tokio::select! {
            answers = is_answered(router) => report.router_port_answers = Some(answers?),
            _ = signals.next() => {}
        }
    }
    Ok(report)
}

/// Sends one heartbeat to `target`, and waits at most for [`ROUTER_PATIENCE`]. Returns whether it
/// was answered.
async fn is_answered(target: Target) -> anyhow::Result<bool> {
    let timeout = target.timeout.min(ROUTER_PATIENCE);
    let config = Config::default().with_targets([Target { timeout, ..target }])?;
    let options = RunOptions {
        detail: Detail::Changes,
        begin: Begin::AtOnce,
        limit: Some(1),
        workers: NonZeroUsize::MIN,
    };
    let (probe, _events) = Probe::start(config, options).await?;
    probe.settled().await;
    Ok(sample(&probe).await?.1.session.record.received > 0)
}

/// Prints events until all heartbeats are settled.
async fn follow(
    events: &mut UnboundedReceiver<Event>,
    log: &mut Log,
    probe: &Probe,
) -> anyhow::Result<()> {
    let mut settled = std::pin::pin!(probe.settled());
    loop {
        tokio::select! {
            biased;
            event = events.recv() => {
                let Some(event) = event else { return Ok(()) };
                let closed = is_closed(log.take(&event))?;
                if closed || (log.until_down && log.down) {
                    probe.stop().await;
                    return Ok(());
                }
            }
            () = &mut settled => return Ok(()),
        }
    }
}

/// A sample of the target, and when it was taken.
async fn sample(probe: &Probe) -> anyhow::Result<(Wall, TargetSample)> {
    let sample = probe.sample().await?;
    let target = sample.targets.into_iter().next().context("the probe lost its target")?;
    Ok((sample.at, target))
}

/// The events so far.
#[derive(Debug, Default)]
struct Log {
    quiet: bool,
    /// Whether the run ends once the target is down.
    until_down: bool,
    /// Round-trip delays of the heartbeats that were answered in time, in the order of answers.
    rtts: Vec<Duration>,
    /// Whether the target is down. With `until_down` it stays set: answers to heartbeats in flight
    /// do not reset it.
    down: bool,
}

impl Log {
    fn take(&mut self, event: &Event) -> io::Result<()> {
        match event.what {
            Happening::Answered { what: Answered::InTime { rtt, .. }, .. } => self.rtts.push(rtt),
            Happening::Changed { state, .. } => {
                self.down = state == State::Down || (self.until_down && self.down);
            }
            Happening::Answered { .. }
            | Happening::Lost { .. }
            | Happening::OtherSource { .. }
            | Happening::Unsent { .. }
            | Happening::Icmp(_)
            | Happening::PortChanged(_)
            | Happening::Moved { .. } => {}
        }
        match line(event) {
            Some(line) if !self.quiet => println(format_args!("{line}")),
            _ => Ok(()),
        }
    }
}

/// The line about an event, if it has one.
pub(super) fn line(event: &Event) -> Option<String> {
    let timeout = event.target.timeout;
    Some(match event.what {
        Happening::Answered { what: Answered::InTime { sequence, rtt }, ttl } => {
            let ttl = ttl.map(|ttl| format!(" ttl={ttl}")).unwrap_or_default();
            format!("seq={sequence}{ttl} time={} ms", millis(rtt))
        }
        Happening::Answered { what: Answered::Late { sequence, after }, .. } => {
            format!("seq={sequence} late: answered after {} ms", millis(after))
        }
        Happening::Answered { what: Answered::Duplicate { sequence }, .. } => {
            format!("seq={sequence} duplicate")
        }
        Happening::Answered { what: Answered::Invalid(reason), .. } => {
            format!("invalid reply: {}", words(reason.label()))
        }
        Happening::OtherSource { sequence, from } => {
            format!(
                "seq={sequence} answered from another address: {from} (not counted as an answer)"
            )
        }
        Happening::Lost { sequence } => {
            format!("seq={sequence} lost: no answer within {}", humantime::format_duration(timeout))
        }
        Happening::Unsent { sequence, reason } => {
            format!("seq={sequence} not sent: {}", unsent(reason))
        }
        Happening::Icmp(kind) => format!("ICMP error: {}", words(kind.label())),
        Happening::PortChanged(why) => format!("source port changed: {}", why.reason()),
        Happening::Moved { from, to, why } => {
            format!("address changed from {from} to {to}: {}", why.reason())
        }
        Happening::Changed { state: State::Down, misses, .. } => {
            let why =
                event.diagnosis().map_or_else(String::new, |it| format!("\nwhy: {}", it.summary));
            format!("{} is down: {misses} consecutive misses{why}", event.target.name)
        }
        Happening::Changed { state: State::Up, .. } => return None,
    })
}

fn unsent(reason: UnsentReason) -> &'static str {
    match reason {
        UnsentReason::Unresolved => "the name cannot be resolved",
        UnsentReason::NoRoute => "no route to the host",
        UnsentReason::SourceUnavailable => "this machine does not have the source address",
        UnsentReason::InterfaceUnavailable => "this machine does not have the interface",
        UnsentReason::Broadcast => "the address is a broadcast address",
        UnsentReason::Refused => "refused by this machine (a local firewall?)",
        UnsentReason::TooBig => "larger than the MTU of this machine's interface",
        UnsentReason::Buffer => "the socket's buffer is full",
        UnsentReason::Skipped => "the probe was late",
        UnsentReason::Other => "the system call failed",
    }
}

fn words(label: &str) -> String {
    label.replace('_', " ")
}

fn millis(span: Duration) -> String {
    format!("{:.3}", span.as_secs_f64() * 1e3)
}

/// Writes the statistics of a whole run, as JSON or as text.
fn write(report: &PingDocument, json: bool, mut out: impl Write) -> io::Result<()> {
    if !json {
        return summarize(report, out);
    }
    serde_json::to_writer_pretty(&mut out, report)?;
    writeln!(out)
}

/// Writes the statistics as text.
pub(super) fn summarize(report: &PingDocument, mut out: impl Write) -> io::Result<()> {
    let loss = report.loss_ratio.map_or(String::new(), |loss| format!(" ({:.1} %)", loss * 100.0));
    let counts = &report.counts;
    let CountsDocument { sent, received, lost, late, duplicates, reordered, .. } = counts;
    writeln!(out, "\n--- {} {} statistics ---", report.target, report.protocol)?;
    writeln!(
        out,
        "{sent} sent, {received} received, {lost} lost{loss}, {late} late, \
         {duplicates} duplicated, {reordered} reordered"
    )?;
    for (what, counts) in [
        ("answered", &counts.results),
        ("lost, direction", &counts.one_way_lost),
        ("not sent", &counts.unsent),
        ("invalid", &counts.invalid),
        ("ICMP errors", &counts.icmp_errors),
    ] {
        for (label, count) in counts.iter().filter(|(_, count)| **count > 0) {
            writeln!(out, "{count} {what}: {}", words(label))?;
        }
    }
    if counts.other_source_replies > 0 {
        writeln!(out, "{} answered from another address", counts.other_source_replies)?;
    }
    if let Some(DelaysDocument { min, avg, p50, p99, max, mdev }) = report.rtt_seconds {
        let millis = [min, avg, p50, p99, max, mdev].map(|s| format!("{:.3}", s * 1e3));
        writeln!(out, "rtt min/avg/p50/p99/max/mdev = {} ms", millis.join("/"))?;
    }
    if let Some(DiagnosisDocument { summary, evidence, advice, .. }) = &report.diagnosis {
        writeln!(out, "\nwhy: {summary}")?;
        for fact in evidence {
            writeln!(out, "  - {fact}")?;
        }
        writeln!(out, "what to do: {advice}")?;
    }
    match (report.router_port_answers, &report.router) {
        (Some(true), Some(router)) => {
            writeln!(out, "port {ROUTER_PORT} answers: use {router}")?;
        }
        (Some(false), _) => writeln!(out, "port {ROUTER_PORT} does not answer either")?,
        _ => {}
    }
    Ok(())
}

/// Statistics of these round-trip delays; `None` for an empty slice.
fn delays(mut rtts: Vec<Duration>) -> Option<DelaysDocument> {
    rtts.sort_unstable();
    let (min, max) = (rtts.first()?, rtts.last()?);
    let seconds = || rtts.iter().map(Duration::as_secs_f64);
    let count = rtts.len() as f64;
    let avg = seconds().sum::<f64>() / count;
    let variance = seconds().map(|rtt| (rtt - avg).powi(2)).sum::<f64>() / count;
    Some(DelaysDocument {
        min: min.as_secs_f64(),
        avg,
        p50: quantile(&rtts, 50).as_secs_f64(),
        p99: quantile(&rtts, 99).as_secs_f64(),
        max: max.as_secs_f64(),
        mdev: variance.sqrt(),
    })
}

/// The smallest of `values` that at least `percent` of them do not exceed. `values` are ascending
/// and not empty.
fn quantile(values: &[Duration], percent: usize) -> Duration {
    values[(values.len() * percent).div_ceil(100).max(1) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_a_unit_are_seconds() {
        let read = |text| seconds::<Interval>(text).map(Interval::duration);
        assert_eq!(read("0.2"), Ok(Duration::from_millis(200)));
        assert_eq!(read("1"), Ok(Duration::from_secs(1)));
        assert_eq!(read("1m30s"), Ok(Duration::from_secs(90)));
        for text in ["0", "0.0001", ".", "1.2.3", "86401", "9999999999999999999999", "fast", ""] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantiles_are_observed_values() {
        let values: Vec<Duration> = (1..=10).map(Duration::from_secs).collect();
        assert_eq!(quantile(&values, 50), Duration::from_secs(5));
        assert_eq!(quantile(&values, 99), Duration::from_secs(10));
        assert_eq!(quantile(&values[..1], 50), Duration::from_secs(1));
    }

    #[test]
    fn statistics_of_delays_are_those_of_ping() {
        let rtt = delays([3, 1, 2].map(Duration::from_secs).to_vec()).unwrap();
        assert_eq!((rtt.min, rtt.avg, rtt.max), (1.0, 2.0, 3.0));
        assert!((rtt.mdev - (2.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert_eq!(delays(Vec::new()), None);
    }
}
