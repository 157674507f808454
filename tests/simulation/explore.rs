//! Scenarios that nobody wrote: each is drawn from a seed, small and of everything something.
//!
//! `SIMULATION_SEEDS` is how many seeds are tried, from 0; `SIMULATION_SEED` is the one to replay,
//! which prints its scenario. What is drawn stays within what the model tells exactly: names have
//! addresses of their own, nothing arrives so late that what is remembered of it is not fixed, only
//! a `ping` is damaged, and civil time jumps in one direction.

use std::fmt::{Display, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::scenario::Scenario;
use crate::simulation::Simulation;

/// How many seeds are tried unless `SIMULATION_SEEDS` says otherwise.
const SEEDS: u64 = 2_000;

#[test]
fn explore() {
    if let Some(seed) = number("SIMULATION_SEED") {
        let text = draw(seed);
        println!("{text}");
        run(&text);
        return;
    }
    let seeds = number("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let answers = AtomicU64::new(0);
    let explorer = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.min(failed.load(Ordering::Relaxed)) {
                return;
            }
            match catch_unwind(AssertUnwindSafe(|| run(&draw(seed)))) {
                Ok(count) => {
                    answers.fetch_add(count, Ordering::Relaxed);
                }
                Err(_) => {
                    failed.fetch_min(seed, Ordering::Relaxed);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(explorer);
        }
    });
    let failed = failed.into_inner();
    assert!(
        failed == u64::MAX,
        "seed {failed} fails; to replay it:\n    \
         SIMULATION_SEED={failed} cargo test --test simulation explore"
    );
    assert!(answers.into_inner() >= seeds, "every scenario asks something");
}

#[test]
fn a_seed_draws_the_same_scenario_again() {
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a number")))
}

/// Runs a scenario, and gives how many answers of the probe were checked.
fn run(text: &str) -> u64 {
    let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    let mut simulation = Simulation::new(&scenario);
    simulation.run();
    for host in simulation.world.hosts.values() {
        host.counts();
    }
    simulation.answers as u64
}

/// The text of the scenario that a seed draws.
fn draw(seed: u64) -> String {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let is_crowded = dice.one_in(60);
    let lasts = if is_crowded { dice.among(1_000, 2_500) } else { dice.among(3_000, 15_000) };
    let mut text = format!("about: Seed {seed}.\nlasts: {lasts}ms\nseed: {seed}\n");
    let targets: Vec<Drawn> = (0..dice.among(1, 6)).map(|n| Drawn::draw(n, &mut dice)).collect();
    let has_jumps = !is_crowded && dice.one_in(3);
    let stalls = stalls(lasts, &mut dice);

    line(&mut text, "config:");
    if is_crowded {
        let count = dice.among(200, 800);
        line(
            &mut text,
            format!("  crowd: {{count: {count}, interval: {}ms}}", dice.among(500, 2_000)),
        );
    }
    line(&mut text, "  targets:");
    for target in &targets {
        line(&mut text, target.configuration());
    }
    probe(&mut text, (lasts, &stalls, has_jumps, is_crowded), &mut dice);
    responder(&mut text, &mut dice);
    line(&mut text, "paths:\n  all: {forward: {delay: 10ms}, backward: {delay: 10ms}}");
    for target in &targets {
        let may_damage = stalls.is_empty() && !has_jumps && target.may_be_damaged();
        line(&mut text, target.path(lasts, may_damage, &mut dice));
    }
    names(&mut text, lasts, &mut dice);
    nuisances(&mut text, lasts, &targets, &mut dice);
    line(&mut text, "scrapes:\n  - {at: 1s, asks: sample}");
    for _ in 0..dice.among(0, 8) {
        let at = dice.among(0, lasts + 2_000);
        let asks = dice.of(&["sample", "glance", "look"]);
        let patience = dice.among(0, 2_000);
        let patience =
            if dice.one_in(3) { format!(", patience: {patience}us") } else { String::new() };
        line(&mut text, format!("  - {{at: {at}ms, asks: {asks}{patience}}}"));
    }
    text
}

/// The probe's machine.
fn probe(
    text: &mut String,
    (lasts, stalls, has_jumps, is_crowded): (u64, &[String], bool, bool),
    dice: &mut Dice,
) {
    line(text, "probe:");
    line(text, format!("  wake_latency: {}us", dice.sometimes(1, 200)));
    line(text, format!("  send_latency: {}us", dice.sometimes(1, 60)));
    line(text, format!("  again_takes: {}us", dice.sometimes(1, 100)));
    if !is_crowded {
        line(text, format!("  clock_takes: {}ns", dice.sometimes(30, 5_000)));
    }
    for switch in ["no_ipv4", "no_ipv6"] {
        if dice.one_in(12) {
            line(text, format!("  {switch}: true"));
            break;
        }
    }
    for switch in ["transmit_stamps", "receive_stamps"] {
        if dice.one_in(10) {
            line(text, format!("  {switch}: false"));
        }
    }
    if dice.one_in(3) {
        line(text, format!("  stamps_lost: {}", dice.part()));
        line(text, format!("  stamps_late: {}", dice.part()));
        line(text, format!("  stamps_late_by: {}us", dice.among(1, 300_000)));
    }
    if dice.one_in(6) {
        line(text, format!("  receive_queue: {}", dice.among(1, 70)));
    }
    if dice.one_in(8) {
        let from = dice.among(0, lasts);
        let to = from + dice.among(1, 20);
        line(text, format!("  watch_fails: [{{from: {from}ms, to: {to}ms}}]"));
    }
    line(text, format!("  stalls: [{}]", stalls.join(", ")));
    if has_jumps {
        let sign = dice.of(&["", "-"]);
        let jumps: Vec<_> = (0..dice.among(1, 3))
            .map(|_| {
                let (at, by) = (dice.among(0, lasts * 1_000), dice.among(2, 4_000));
                format!("{{at: {at}us, by: {sign}{by}s}}")
            })
            .collect();
        line(text, format!("  clock_steps: [{}]", jumps.join(", ")));
    }
}

/// Stalls, one after the other.
fn stalls(lasts: u64, dice: &mut Dice) -> Vec<String> {
    let mut stalls = Vec::new();
    let mut at = dice.among(0, 2 * lasts);
    while at < lasts && stalls.len() < 3 {
        let end = at + dice.of(&[1, 30, 400, 1_500, 6_000]) + dice.among(0, 50);
        stalls.push(format!("{{from: {at}ms, to: {end}ms}}"));
        at = end + dice.among(1, lasts);
    }
    stalls
}

fn responder(text: &mut String, dice: &mut Dice) {
    let turnaround = dice.sometimes(1, 900);
    let offset = format!("{}{}ms", dice.of(&["", "-"]), dice.sometimes(1, 90_000));
    let faults = if dice.one_in(4) {
        let (loss, duplicate) = (dice.part(), dice.part());
        let jitter = dice.among(0, 20);
        format!("{{loss: {loss}, duplicate: {duplicate}, jitter: {jitter}ms}}")
    } else {
        "{}".to_owned()
    };
    let responder = format!("turnaround: {turnaround}us, clock_offset: {offset}, faults: {faults}");
    line(text, format!("responder: {{{responder}}}"));
}

/// What becomes of the names' lookups.
fn names(text: &mut String, lasts: u64, dice: &mut Dice) {
    line(text, "names:");
    for (place, name) in NAMES.iter().enumerate() {
        line(text, format!("  {name}:"));
        let mut at = dice.sometimes(1, lasts / 2);
        for _ in 0..dice.among(1, 6) {
            let mut finds: Vec<String> = [format!("203.0.{place}.1"), format!("203.0.{place}.2")]
                .into_iter()
                .chain([format!("\"2001:db8:2::{place}:1\"")])
                .filter(|_| dice.one_in(2))
                .collect();
            if dice.one_in(2) {
                finds.reverse();
            }
            line(text, format!("    - {{at: {at}ms, finds: [{}]}}", finds.join(", ")));
            at += dice.among(1, lasts / 2);
        }
    }
}

/// Refused heartbeats, ICMP errors, and datagrams that answer nothing.
fn nuisances(text: &mut String, lasts: u64, targets: &[Drawn], dice: &mut Dice) {
    line(text, "send_failures:");
    for target in targets.iter().filter(|_| dice.one_in(5)).collect::<Vec<_>>() {
        let from = dice.among(0, lasts);
        let to = from + dice.among(1, 3_000);
        let reason = dice.of(&["no_route", "refused", "buffer", "other"]);
        let name = &target.name;
        let window = format!("from: {from}ms, to: {to}ms");
        line(text, format!("  - {{target: {name}, {window}, reason: {reason}}}"));
    }
    line(text, "icmp:");
    for target in targets.iter().filter(|_| dice.one_in(5)).collect::<Vec<_>>() {
        let Some(about) = target.literal() else { continue };
        let at = dice.among(0, lasts + 1_000);
        let kind = dice.of(&["net_unreachable", "host_unreachable", "port_unreachable"]);
        let quotes = if dice.one_in(2) { &target.name } else { "null" };
        line(
            text,
            format!("  - {{at: {at}ms, about: \"{about}\", quotes: {quotes}, kind: {kind}}}"),
        );
    }
    line(text, "inject:");
    for target in targets.iter().filter(|_| dice.one_in(5)).collect::<Vec<_>>() {
        let at = dice.among(0, lasts + 1_000);
        let who = match target.literal() {
            Some(from) if target.is_alone => {
                format!("from: \"{from}\", target: {}, is: malformed", target.name)
            }
            _ => {
                let from = dice.of(&["198.51.100.77:12000", "[2001:db8:9::9]:12000"]);
                format!("from: \"{from}\", is: unknown_address")
            }
        };
        line(text, format!("  - {{at: {at}ms, {who}, text: \"hello, world\"}}"));
    }
}

/// Names that targets may have.
const NAMES: [&str; 2] = ["lax.example", "sfo.example"];

/// A target.
struct Drawn {
    name: String,
    address: String,
    protocol: &'static str,
    /// In milliseconds.
    interval: u64,
    timeout: u64,
    /// Nobody else is at its address, which is a literal one.
    is_alone: bool,
    limits: String,
}

impl Drawn {
    fn draw(n: u64, dice: &mut Dice) -> Self {
        let (address, is_alone) = match dice.among(0, 5) {
            0 | 1 => (format!("192.0.2.{}", n + 10), true),
            2 => (format!("2001:db8::{:x}", n + 10), true),
            3 => (dice.of(&["192.0.2.1", "2001:db8::1"]).to_owned(), false),
            _ => (dice.of(&NAMES).to_owned(), false),
        };
        let interval = dice.of(&[100, 200, 250, 500, 700, 1_000, 1_000, 2_000]);
        Self {
            name: format!("t{n}"),
            address,
            protocol: dice.of(&["heartbeat", "ping", "stamp"]),
            interval,
            timeout: dice.among(interval / 2, 3_000),
            is_alone,
            limits: format!("misses: {}, recoveries: {}", dice.among(1, 5), dice.among(1, 4)),
        }
    }

    fn configuration(&self) -> String {
        let Self { name, address, protocol, interval, timeout, limits, .. } = self;
        let how = format!("protocol: {protocol}, interval: {interval}ms, timeout: {timeout}ms");
        format!("    - {{name: {name}, address: \"{address}\", {how}, {limits}}}")
    }

    /// The address and port, where they are known.
    fn literal(&self) -> Option<String> {
        let port = if self.protocol == "stamp" { 862 } else { 12_000 };
        if NAMES.contains(&self.address.as_str()) {
            return None;
        }
        let is_v6 = self.address.contains(':');
        let host = if is_v6 { format!("[{}]", self.address) } else { self.address.clone() };
        Some(format!("{host}:{port}"))
    }

    fn may_be_damaged(&self) -> bool {
        self.protocol == "ping" && self.interval >= 1_000 && self.is_alone
    }

    fn path(&self, lasts: u64, may_damage: bool, dice: &mut Dice) -> String {
        let forward = self.link(lasts, may_damage, dice);
        let backward = self.link(lasts, may_damage, dice);
        format!("  {}: {{forward: {forward}, backward: {backward}}}", self.name)
    }

    /// One direction of the way to it. Both together, with the responder, take less than two
    /// timeouts: so much is remembered in any case.
    fn link(&self, lasts: u64, may_damage: bool, dice: &mut Dice) -> String {
        let most = self.timeout * 1_000 / 5;
        let mut parts = vec![format!("delay: {}us", dice.among(0, most))];
        if dice.one_in(2) {
            parts.push(format!("jitter: {}us", dice.among(0, most)));
        }
        if dice.one_in(2) {
            parts.push(format!("loss: {}", dice.part()));
        }
        if dice.one_in(4) {
            parts.push(format!("burst_loss: [{}, {}]", dice.part(), dice.part()));
        }
        if dice.one_in(3) {
            parts.push(format!("duplicate: {}", dice.part()));
        }
        if dice.one_in(4) {
            parts.push(format!("reorder: {}", dice.part()));
            parts.push(format!("reorder_hold: {}us", dice.among(0, most)));
        }
        if may_damage && dice.one_in(2) {
            parts.push(format!("corrupt: {}", dice.part()));
        }
        if dice.one_in(4) {
            let from = dice.among(0, lasts);
            let to = from + dice.among(1, 8_000);
            parts.push(format!("cuts: [{{from: {from}ms, to: {to}ms}}]"));
        }
        if dice.one_in(4) {
            let from = dice.among(0, lasts);
            let to = from + dice.among(1, 4_000);
            let by = dice.among(0, most);
            parts.push(format!("surges: [{{from: {from}ms, to: {to}ms, by: {by}us}}]"));
        }
        format!("{{{}}}", parts.join(", "))
    }
}

/// What a seed draws.
struct Dice(ChaCha8Rng);

impl Dice {
    /// A number from `least` up to, and without, `most`.
    fn among(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..most)
    }

    /// Nothing as often as not, or a number.
    fn sometimes(&mut self, least: u64, most: u64) -> u64 {
        if self.one_in(2) { 0 } else { self.among(least, most) }
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.among(0, of) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.0.random_range(0..all.len())]
    }

    /// A probability, mostly small.
    fn part(&mut self) -> f64 {
        self.of(&[0.01, 0.05, 0.1, 0.3, 0.5, 1.0])
    }
}

fn line(text: &mut String, line: impl Display) {
    let _ = writeln!(text, "{line}");
}
