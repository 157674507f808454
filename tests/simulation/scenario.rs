//! Reads and checks the scenarios in `tests/scenarios/*.yml`.
//!
//! Moments are written as the time since the scenario's start. The targets are written as in any
//! configuration file of the probe, and read by the same code.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU64;
use std::ops::Range;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_yaml::Value;
use udp_heartbeat::config::Config;
use udp_heartbeat::impair::{self, Burst, LossyWay, Shape};
use udp_heartbeat::model::{IcmpKind, InvalidReason, Label, Mono, UnmatchedReason, UnsentReason};

use crate::changes::{self, Change};

/// One scenario.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scenario {
    /// What it shows.
    pub(crate) about: String,
    /// When the probe is stopped; answers to heartbeats in flight are still awaited.
    pub(crate) lasts: Span,
    /// The seed of all randomness.
    #[serde(default)]
    pub(crate) seed: u64,
    #[serde(deserialize_with = "configuration")]
    pub(crate) config: Config,
    #[serde(default)]
    pub(crate) probe: Probe,
    #[serde(default)]
    pub(crate) responder: Responder,
    /// The path to each target by its name, and `all` for targets that are not named.
    #[serde(default)]
    pub(crate) paths: BTreeMap<String, Path>,
    /// The lookups of each host name, with their results.
    #[serde(default)]
    pub(crate) names: BTreeMap<String, Vec<Lookup>>,
    /// Addresses at which nothing answers for a while.
    #[serde(default, deserialize_with = "list")]
    pub(crate) dead: Vec<Dead>,
    /// How long a lookup takes that the worker asks for; it finds what the last lookup before would
    /// have found at that time. Without it, there are no other lookups than those of `names`.
    pub(crate) lookup_takes: Option<Span>,
    /// When the probe's own kernel refuses heartbeats, and why.
    #[serde(default, deserialize_with = "list")]
    pub(crate) send_failures: Vec<SendFailure>,
    #[serde(default, deserialize_with = "list")]
    pub(crate) icmp: Vec<Icmp>,
    /// Datagrams that answer nothing.
    #[serde(default, deserialize_with = "list")]
    pub(crate) inject: Vec<Inject>,
    /// How the set of targets changes.
    #[serde(skip)]
    pub(crate) changes: Vec<Change>,
    /// Queries to the probe, in addition to those at the checkpoints.
    #[serde(default)]
    pub(crate) scrapes: Vec<Scrape>,
    /// Final figures that a person can compute.
    #[serde(default)]
    pub(crate) expect: Expect,
}

/// The machine that the probe runs on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, named in the files")]
pub(crate) struct Probe {
    /// From the moment something is to be done until the probe runs.
    pub(crate) wake_latency: Span,
    /// From the moment a heartbeat carries (t1) to the kernel's transmit timestamp.
    pub(crate) send_latency: Span,
    /// Whether the kernel gives transmit timestamps, and receive timestamps.
    pub(crate) transmit_stamps: bool,
    pub(crate) receive_stamps: bool,
    /// The probability that a transmit timestamp never comes; the probability that it comes late,
    /// and by how much.
    pub(crate) stamps_lost: f64,
    pub(crate) stamps_late: f64,
    pub(crate) stamps_late_by: Span,
    /// How many datagrams may wait at each socket; any number unless given.
    pub(crate) receive_queue: Option<usize>,
    /// Address families that the machine does not have.
    pub(crate) no_ipv4: bool,
    pub(crate) no_ipv6: bool,
    /// How long it takes to read the clock: apart from changes, nothing else takes time in a round.
    pub(crate) clock_takes: Span,
    /// How long it takes from one round to the next if the next follows at once.
    pub(crate) again_takes: Span,
    /// How long it takes to carry out a change of a target.
    pub(crate) change_takes: Span,
    /// When the machine does not have the interfaces of the targets.
    pub(crate) no_interfaces: Vec<Window>,
    /// When the sockets cannot be watched.
    pub(crate) watch_fails: Vec<Window>,
    /// When the probe does not run at all.
    pub(crate) stalls: Vec<Window>,
    /// When civil time jumps, and how far.
    pub(crate) clock_steps: Vec<Step>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            wake_latency: Span::default(),
            send_latency: Span::default(),
            transmit_stamps: true,
            receive_stamps: true,
            stamps_lost: 0.0,
            stamps_late: 0.0,
            stamps_late_by: Span::default(),
            receive_queue: None,
            no_ipv4: false,
            no_ipv6: false,
            clock_takes: Span::default(),
            again_takes: Span::default(),
            change_takes: Span::default(),
            no_interfaces: Vec::new(),
            watch_fails: Vec::new(),
            stalls: Vec::new(),
            clock_steps: Vec::new(),
        }
    }
}

/// Every responder.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Responder {
    /// From receiving a request to answering it: t3 − t2.
    pub(crate) turnaround: Span,
    /// How much too early its receive timestamps (t2) are.
    pub(crate) early_stamps: Span,
    /// How far its clock is ahead of the probe's at the start.
    pub(crate) clock_offset: Offset,
    /// Its own impairments.
    pub(crate) impairments: Link,
    /// Whether the paths have no impairments, so that the responders' counters must equal the
    /// probe's.
    pub(crate) is_ground_truth: bool,
}

/// The path to a target and back.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Path {
    pub(crate) forward: Link,
    pub(crate) backward: Link,
    /// When replies come from another address.
    pub(crate) elsewhere: Vec<Elsewhere>,
    pub(crate) nat: Option<Nat>,
}

/// Address translation on the path.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nat {
    /// How long an entry is kept without a datagram.
    pub(crate) idle: Span,
    /// When the server moves: entries from before lead nowhere.
    pub(crate) moves: Vec<Span>,
}

/// From `from` up to `to`, exclusive, replies come from the address `source`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Elsewhere {
    from: Span,
    to: Span,
    pub(crate) source: SocketAddr,
}

/// One direction of a path.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Link {
    pub(crate) delay: Span,
    pub(crate) jitter: Span,
    pub(crate) loss: f64,
    /// Gilbert–Elliott: the probabilities of turning bad and of turning good.
    pub(crate) burst_loss: Option<(f64, f64)>,
    pub(crate) duplicate: f64,
    pub(crate) reorder: f64,
    pub(crate) reorder_hold: Span,
    pub(crate) corrupt: f64,
    pub(crate) outage: Option<Outage>,
    /// `in` (the default), `out` or `both`.
    pub(crate) direction: Option<String>,
    /// `uniform` (the default), `normal` or `pareto`.
    pub(crate) jitter_shape: Option<String>,
    /// Only for a responder whose replies are as long as their requests.
    pub(crate) bandwidth: Option<Bandwidth>,
    /// When nothing passes.
    pub(crate) cuts: Vec<Window>,
    /// When everything takes longer.
    pub(crate) surges: Vec<Surge>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outage {
    every: Span,
    lasting: Span,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Bandwidth {
    rate: NonZeroU64,
    queue: Span,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Surge {
    from: Span,
    to: Span,
    pub(crate) by: Span,
}

/// From `from` up to `to`, exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Window {
    pub(crate) from: Span,
    pub(crate) to: Span,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) at: Span,
    pub(crate) by: Offset,
}

/// A lookup, and the addresses that it finds; none if it fails.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Lookup {
    pub(crate) at: Span,
    pub(crate) finds: Vec<IpAddr>,
    /// Whether only the records change at that time, and nobody looks.
    #[serde(default)]
    pub(crate) is_unnoticed: bool,
}

/// When nothing answers at an address.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dead {
    pub(crate) address: IpAddr,
    from: Span,
    to: Span,
}

impl Dead {
    /// When nothing answers there.
    pub(crate) fn window(&self) -> Window {
        Window { from: self.from, to: self.to }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SendFailure {
    pub(crate) target: String,
    from: Span,
    to: Span,
    #[serde(deserialize_with = "label")]
    pub(crate) reason: UnsentReason,
}

/// A query to the probe.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scrape {
    pub(crate) at: Span,
    pub(crate) asks: Question,
    /// How long the client waits for the answer; without a limit if it is not given.
    pub(crate) patience: Option<Span>,
}

/// What a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Question {
    /// The figures of all targets.
    Sample,
    /// All targets at a glance.
    Glance,
    /// Every other target, looked at closely.
    Look,
}

/// An ICMP error about what was sent to an address, which quotes the last heartbeat of a target, or
/// nothing.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Icmp {
    pub(crate) at: Span,
    pub(crate) about: SocketAddr,
    pub(crate) quotes: Option<String>,
    #[serde(deserialize_with = "label")]
    pub(crate) kind: IcmpKind,
}

/// A datagram that nobody asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inject {
    pub(crate) at: Span,
    pub(crate) from: SocketAddr,
    /// The target that it is counted for; `None` if it must be unmatched.
    pub(crate) target: Option<String>,
    #[serde(default)]
    text: String,
    /// In hexadecimal, with spaces where they help to read it; used if `text` is empty.
    #[serde(default)]
    octets: String,
    /// What it must be counted as.
    #[serde(rename = "is", deserialize_with = "foreign")]
    pub(crate) counts_as: Foreign,
}

/// Why a datagram answers nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    Invalid(InvalidReason),
    Unmatched(UnmatchedReason),
}

/// Final figures; those that are not given are not checked, except `unmatched`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Expect {
    pub(crate) targets: BTreeMap<String, ExpectedTarget>,
    pub(crate) unmatched: BTreeMap<String, u64>,
    /// Instead of `unmatched`: exactly the reasons with a count above 0.
    pub(crate) some_unmatched: Vec<String>,
    /// When the probe is impaired.
    pub(crate) impaired: Option<Vec<Window>>,
    /// Datagrams that the probe's own kernel dropped.
    pub(crate) receive_drops: Option<u64>,
    /// How many fresh source ports the probe has opened.
    pub(crate) fresh_ports: Option<u64>,
    /// Whether the worker was so busy for a while that it ended the watch of its sockets.
    pub(crate) ends_watch: Option<bool>,
    /// Names of targets that have been removed.
    pub(crate) absent: Vec<String>,
    /// For each set of targets, the number of rounds in which its changes are carried out; the
    /// first set is that of the start.
    pub(crate) rounds_of_changes: Option<Vec<usize>>,
    /// No heartbeat leaves later than this after it is due.
    pub(crate) latest: Option<Span>,
}

/// The figures of a target.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExpectedTarget {
    pub(crate) sent: Option<u64>,
    pub(crate) received: Option<u64>,
    pub(crate) lost: Option<u64>,
    pub(crate) late: Option<u64>,
    pub(crate) duplicates: Option<u64>,
    pub(crate) reordered: Option<u64>,
    /// Answers that came from another address.
    pub(crate) other_source: Option<u64>,
    /// By reason; those that are not named must be 0.
    pub(crate) unsent: Option<BTreeMap<String, u64>>,
    pub(crate) invalid: Option<BTreeMap<String, u64>>,
    pub(crate) icmp: Option<BTreeMap<String, u64>>,
    /// Lengths of the completed loss periods, in their order.
    pub(crate) loss_bursts: Option<Vec<u64>>,
    /// By direction; also compared with what really happened.
    pub(crate) one_way_lost: Option<BTreeMap<String, u64>>,
    /// Changes of state, each with the time since the target's first heartbeat was due.
    pub(crate) changes: Option<Vec<BTreeMap<String, Span>>>,
    pub(crate) down: Option<Span>,
    /// The delay of every round trip.
    pub(crate) every_rtt: Option<Span>,
    pub(crate) time_difference: Option<Offset>,
    /// How many round trips were not measured by the kernel's stamps.
    pub(crate) user_stamps: Option<u64>,
    pub(crate) address_changes: Option<u64>,
    /// How many reported turnarounds could not be true.
    pub(crate) turnaround_invalid: Option<u64>,
    /// What must have happened at least once, so that the scenario tests what it is meant to test.
    pub(crate) some: Vec<String>,
}

impl Scenario {
    /// Reads the text of a scenario.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_yaml::Error> {
        let mut value: Value = serde_yaml::from_str(text)?;
        let changes = value.as_mapping_mut().and_then(|keys| keys.remove("changes"));
        let config = value.get("config").cloned().unwrap_or_default();
        let scenario: Self = serde_yaml::from_value(value)?;
        Ok(Self { changes: changes::read(changes.unwrap_or_default(), config)?, ..scenario })
    }

    /// The way to the target of this name.
    pub(crate) fn path(&self, target: &str) -> Path {
        self.paths.get(target).or(self.paths.get("all")).cloned().unwrap_or_default()
    }
}

impl Link {
    /// The settings for the impairment under test.
    pub(crate) fn settings(&self, seed: u64) -> impair::LinkSettings {
        impair::LinkSettings {
            direction: by_name(LossyWay::ALL, LossyWay::name, self.direction.as_ref()),
            jitter_shape: by_name(Shape::ALL, Shape::name, self.jitter_shape.as_ref()),
            bandwidth: self
                .bandwidth
                .map(|Bandwidth { rate, queue }| impair::Bandwidth { rate, queue: queue.0 }),
            reorder_extent: 0,
            loss: self.loss,
            burst_loss: self.burst_loss.map(|(p, r)| Burst { p, r }),
            delay: self.delay.0,
            jitter: self.jitter.0,
            duplicate: self.duplicate,
            reorder: self.reorder,
            reorder_hold: self.reorder_hold.0,
            corrupt: self.corrupt,
            outage: self
                .outage
                .map(|outage| impair::Outage { every: outage.every.0, lasting: outage.lasting.0 }),
            seed,
        }
    }
}

/// The value with this label, or the default if no label is given.
fn by_name<T: Copy + Default, const N: usize>(
    all: [T; N],
    name_of: fn(T) -> &'static str,
    name: Option<&String>,
) -> T {
    name.map_or_else(T::default, |name| {
        let found = all.into_iter().find(|&one| name_of(one) == name);
        found.unwrap_or_else(|| panic!("there is no {name}"))
    })
}

impl Inject {
    /// The octets of the datagram.
    pub(crate) fn payload(&self) -> Vec<u8> {
        if !self.text.is_empty() {
            return self.text.clone().into_bytes();
        }
        let digits: Vec<u8> = self.octets.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
        digits.chunks(2).filter_map(pair).collect()
    }
}

impl Window {
    pub(crate) fn after(self, start: Mono) -> Range<Mono> {
        start + self.from.0..start + self.to.0
    }
}

impl Surge {
    pub(crate) fn window(self) -> Window {
        Window { from: self.from, to: self.to }
    }
}

impl Elsewhere {
    pub(crate) fn window(&self) -> Window {
        Window { from: self.from, to: self.to }
    }
}

impl SendFailure {
    pub(crate) fn window(&self) -> Window {
        Window { from: self.from, to: self.to }
    }
}

/// A span of time, written as `1m 30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Span(pub(crate) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| invalid(&text, &error))
    }
}

/// A span of time with a sign, written as `-1m 30s`; in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Offset(pub(crate) i64);

impl<'de> Deserialize<'de> for Offset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (sign, span) = text.strip_prefix('-').map_or((1, text.as_str()), |span| (-1, span));
        let span = humantime::parse_duration(span).map_err(|error| invalid(&text, &error))?;
        let nanos = i64::try_from(span.as_nanos()).map_err(|error| invalid(&text, &error))?;
        Ok(Self(sign * nanos))
    }
}

fn configuration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Config, D::Error> {
    changes::configuration(Value::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn label<'de, D: Deserializer<'de>, L: Label>(deserializer: D) -> Result<L, D::Error> {
    let text = String::deserialize(deserializer)?;
    find(&text).ok_or_else(|| invalid(&text, &"no such label"))
}

/// A list, which may be left empty.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn foreign<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Foreign, D::Error> {
    let text = String::deserialize(deserializer)?;
    let invalid_reply = find(&text).map(Foreign::Invalid);
    let foreign = invalid_reply.or_else(|| find(&text).map(Foreign::Unmatched));
    foreign.ok_or_else(|| invalid(&text, &"no such reason"))
}

fn find<L: Label>(text: &str) -> Option<L> {
    L::ALL.iter().copied().find(|label| label.label() == text)
}

fn invalid<E: Error>(text: &str, why: &impl Display) -> E {
    E::custom(format_args!("{text:?}: {why}"))
}
