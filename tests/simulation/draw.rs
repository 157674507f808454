//! Draws a scenario from a seed.
//!
//! Scenarios are limited to what the model can predict exactly. Host names have addresses of their
//! own. No datagram arrives so late that it is undefined whether its heartbeat is remembered. Only
//! `ping` datagrams are damaged, and only if no other target is at the address. Civil time jumps in
//! one direction. In half of the scenarios, targets are added, removed and changed, several at once
//! and in quick succession, and reuse the slots and names of others.

use std::fmt::{Display, Write};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// The text of the scenario that a seed draws.
pub(crate) fn draw(seed: u64) -> String {
    let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
    let is_crowded = dice.one_in(60);
    let lasts = match () {
        () if is_crowded => dice.among(1_000, 2_500),
        // Long enough for targets to search for a port that is answered.
        () if dice.one_in(8) => dice.among(20_000, 60_000),
        () => dice.among(3_000, 15_000),
    };
    let mut text = format!("about: Seed {seed}.\nlasts: {lasts}ms\nseed: {seed}\n");
    let has_changes = dice.one_in(2);
    let count = dice.among(1, 6);
    let targets = (0..count).map(|n| Drawn::draw(format!("t{n}"), has_changes, &mut dice));
    let targets: Vec<Drawn> = targets.collect();
    let has_jumps = !is_crowded && dice.one_in(3);
    let stalls = stalls(lasts, &mut dice);

    line(&mut text, "config:");
    if is_crowded {
        // If targets change, one round must be able to send all heartbeats.
        let count = dice.among(200, if has_changes { 450 } else { 800 });
        line(
            &mut text,
            format!("  crowd: {{count: {count}, interval: {}ms}}", dice.among(500, 2_000)),
        );
    }
    line(&mut text, "  targets:");
    for target in &targets {
        line(&mut text, format!("    - {}", target.configuration()));
    }
    if has_changes {
        changes(&mut text, (lasts, is_crowded), &targets, &mut dice);
    }
    probe(&mut text, (lasts, &stalls, has_jumps, is_crowded), &mut dice);
    responder(&mut text, &mut dice);
    line(&mut text, "paths:\n  all: {forward: {delay: 10ms}, backward: {delay: 10ms}}");
    for target in &targets {
        let may_damage = stalls.is_empty() && !has_jumps && !has_changes && target.may_be_damaged();
        line(&mut text, target.path(lasts, may_damage, &mut dice));
    }
    names(&mut text, lasts, &mut dice);
    if dice.one_in(2) {
        line(&mut text, format!("lookup_takes: {}us", dice.among(0, 90_000)));
    }
    line(&mut text, "dead:");
    for place in 0..NAMES.len() {
        for address in [format!("203.0.{place}.1"), format!("\"2001:db8:2::{place}:1\"")] {
            if dice.one_in(3) {
                let from = dice.among(0, lasts);
                let to = from + dice.among(1, lasts);
                let window = format!("from: {from}ms, to: {to}ms");
                line(&mut text, format!("  - {{address: {address}, {window}}}"));
            }
        }
    }
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

/// Draws additions, removals and changes of targets.
fn changes(
    text: &mut String,
    (lasts, is_crowded): (u64, bool),
    targets: &[Drawn],
    dice: &mut Dice,
) {
    let mut there: Vec<Drawn> = targets.to_vec();
    let mut at = dice.among(0, lasts / 2);
    line(text, "changes:");
    for _ in 0..dice.among(1, 12) {
        line(text, format!("  - at: {at}ms"));
        let (mut removed, mut changed, mut added) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..dice.among(1, 5) {
            // Each name is used once in an edit, except a name that is removed and added again.
            let place = usize::try_from(dice.among(0, 9)).unwrap_or(0);
            let used = |name: &String| {
                let mut all = removed.iter().chain(&changed).chain(&added);
                all.any(|drawn: &Drawn| drawn.name == *name)
            };
            match there.get(place).filter(|drawn| !used(&drawn.name)).cloned() {
                Some(drawn) if dice.one_in(3) => {
                    there.remove(place);
                    if dice.one_in(3) {
                        let other = drawn.changed(dice);
                        there.push(other.clone());
                        added.push(other);
                    }
                    removed.push(drawn);
                }
                Some(drawn) => {
                    let other = drawn.changed(dice);
                    there[place] = other.clone();
                    changed.push(other);
                }
                None => {
                    let name = format!("t{}", dice.among(0, 9));
                    if used(&name) || there.iter().any(|drawn| drawn.name == name) {
                        continue;
                    }
                    let drawn = Drawn::draw(name, true, dice);
                    there.push(drawn.clone());
                    added.push(drawn);
                }
            }
        }
        let names: Vec<_> = removed.iter().map(|drawn| drawn.name.as_str()).collect();
        line(text, format!("    remove: [{}]", names.join(", ")));
        let changed: Vec<_> = changed.iter().map(Drawn::change).collect();
        line(text, format!("    change: [{}]", changed.join(", ")));
        let added: Vec<_> = added.iter().map(Drawn::configuration).collect();
        line(text, format!("    add: [{}]", added.join(", ")));
        if dice.one_in(8) {
            line(text, format!("    defaults: {{misses: {}}}", dice.among(1, 5)));
        }
        if is_crowded && dice.one_in(2) {
            let (count, interval) = (dice.among(0, 450), dice.among(500, 2_000));
            line(text, format!("    crowd: {{count: {count}, interval: {interval}ms}}"));
        }
        at += dice.of(&[0, 0, 1, 30, 200, 900]) + dice.sometimes(1, lasts / 4);
        if at >= lasts {
            return;
        }
    }
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
    line(text, format!("  change_takes: {}us", dice.sometimes(1, 15)));
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
    if dice.one_in(3) {
        let from = dice.among(0, lasts);
        let to = from + dice.among(1, 4_000);
        line(text, format!("  no_interfaces: [{{from: {from}ms, to: {to}ms}}]"));
    }
    line(text, format!("  stalls: [{}]", stalls.join(", ")));
    if has_jumps {
        let sign = dice.of(&["", "-"]);
        // A datagram that arrives between two jumps in one stall cannot be placed in time.
        let most = if stalls.is_empty() { 3 } else { 2 };
        let jumps: Vec<_> = (0..dice.among(1, most))
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
    let impairments = if dice.one_in(4) {
        let (loss, duplicate) = (dice.part(), dice.part());
        let jitter = dice.among(0, 20);
        format!("{{loss: {loss}, duplicate: {duplicate}, jitter: {jitter}ms}}")
    } else {
        "{}".to_owned()
    };
    let responder =
        format!("turnaround: {turnaround}us, clock_offset: {offset}, impairments: {impairments}");
    line(text, format!("responder: {{{responder}}}"));
}

/// Draws the results of lookups.
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
        let reason = dice.of(&["no_route", "source_unavailable", "refused", "buffer", "other"]);
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
#[derive(Clone)]
struct Drawn {
    name: String,
    address: String,
    protocol: &'static str,
    /// In milliseconds.
    interval: u64,
    timeout: u64,
    /// Whether it has a literal address that no other target has.
    is_alone: bool,
    limits: String,
    packets: Packets,
    /// The label `site`.
    site: &'static str,
}

/// The packet options of a target.
#[derive(Debug, Clone, Copy)]
enum Packets {
    Default,
    /// A source address of the family of a literal address, otherwise of this one.
    Source(&'static str),
    Interface,
    Marked,
    /// Only for STAMP.
    Padded,
}

impl Drawn {
    fn draw(name: String, changes: bool, dice: &mut Dice) -> Self {
        let interval = dice.of(&[100, 200, 250, 500, 700, 1_000, 1_000, 2_000]);
        let (address, is_alone) = Self::draw_address(&name, dice);
        Self {
            name,
            address,
            protocol: dice.of(&["heartbeat", "ping", "stamp"]),
            interval,
            timeout: dice.among(interval / 2, 3_000),
            is_alone,
            limits: Self::draw_limits(changes, dice),
            packets: Self::draw_packets(dice),
            site: "fra",
        }
    }

    fn draw_address(name: &str, dice: &mut Dice) -> (String, bool) {
        // The target's own addresses end with its number.
        let own = &name[1..];
        match dice.among(0, 5) {
            0 | 1 => (format!("192.0.2.1{own}"), true),
            2 => (format!("2001:db8::1{own}"), true),
            3 => (dice.of(&["192.0.2.1", "2001:db8::1"]).to_owned(), false),
            _ => (dice.of(&NAMES).to_owned(), false),
        }
    }

    /// If settings change, the recorder is so large that no heartbeat is forgotten.
    fn draw_limits(changes: bool, dice: &mut Dice) -> String {
        let (misses, recoveries) = (dice.among(1, 5), dice.among(1, 4));
        let recorder = if changes { dice.of(&[256, 256, 300, 1_000]) } else { 16 };
        format!("misses: {misses}, recoveries: {recoveries}, recorder: {recorder}")
    }

    fn draw_packets(dice: &mut Dice) -> Packets {
        dice.of(&[
            Packets::Default,
            Packets::Default,
            Packets::Source("192.0.2.100"),
            Packets::Source("2001:db8::100"),
            Packets::Interface,
            Packets::Marked,
            Packets::Padded,
        ])
    }

    /// The same target with settings drawn anew, which may be the same.
    fn changed(&self, dice: &mut Dice) -> Self {
        let mut changed = self.clone();
        if dice.one_in(3) {
            (changed.address, changed.is_alone) = Self::draw_address(&self.name, dice);
        }
        if dice.one_in(6) {
            changed.protocol = dice.of(&["heartbeat", "ping", "stamp"]);
        }
        if dice.one_in(2) {
            changed.interval = dice.of(&[100, 200, 250, 500, 700, 1_000, 2_000]);
        }
        if dice.one_in(2) {
            changed.timeout = dice.among(changed.interval / 2, 3_000);
        }
        if dice.one_in(3) {
            changed.limits = Self::draw_limits(true, dice);
        }
        if dice.one_in(3) {
            changed.packets = Self::draw_packets(dice);
        }
        if dice.one_in(6) {
            changed.site = dice.of(&["fra", "lax"]);
        }
        changed
    }

    /// The target as it is added.
    fn configuration(&self) -> String {
        self.written(|(key, value)| value.map(|value| format!("{key}: {value}")))
    }

    /// The target as it is changed: packet options that it does not set are removed.
    fn change(&self) -> String {
        self.written(|(key, value)| Some(format!("{key}: {}", value.unwrap_or("~".to_owned()))))
    }

    fn written(
        &self,
        packet_option: impl FnMut((&'static str, Option<String>)) -> Option<String>,
    ) -> String {
        let Self { name, address, protocol, interval, timeout, limits, site, .. } = self;
        let mut keys = vec![
            format!("name: {name}, address: \"{address}\""),
            format!("protocol: {protocol}, interval: {interval}ms, timeout: {timeout}ms"),
            limits.clone(),
            format!("labels: {{site: {site}}}"),
        ];
        keys.extend(self.packet_options().into_iter().filter_map(packet_option));
        format!("{{{}}}", keys.join(", "))
    }

    /// Every packet option, with its value if it is set.
    fn packet_options(&self) -> [(&'static str, Option<String>); 6] {
        let is_stamp = self.protocol == "stamp";
        let (mut source, mut interface, mut size) = (None, None, None);
        let is_marked = matches!(self.packets, Packets::Marked);
        let marked = |value: &str| is_marked.then(|| value.to_owned());
        match self.packets {
            Packets::Source(of_name) => {
                let is_v6 = self.literal().map_or(of_name.contains(':'), |at| at.contains('['));
                source = Some(if is_v6 { "\"2001:db8::100\"" } else { "192.0.2.100" }.to_owned());
            }
            Packets::Interface => interface = Some("eth1".to_owned()),
            Packets::Padded if is_stamp => size = Some("100".to_owned()),
            Packets::Default | Packets::Marked | Packets::Padded => {}
        }
        [
            ("source", source),
            ("interface", interface),
            ("dscp", marked("EF")),
            ("ttl", marked("9")),
            ("dont_fragment", marked("true")),
            ("size", size),
        ]
    }

    /// The address and port; `None` for a target with a host name.
    fn literal(&self) -> Option<String> {
        if NAMES.contains(&self.address.as_str()) {
            return None;
        }
        let is_v6 = self.address.contains(':');
        let host = if is_v6 { format!("[{}]", self.address) } else { self.address.clone() };
        Some(format!("{host}:12000"))
    }

    fn may_be_damaged(&self) -> bool {
        self.protocol == "ping" && self.interval >= 1_000 && self.is_alone
    }

    fn path(&self, lasts: u64, may_damage: bool, dice: &mut Dice) -> String {
        let forward = self.link(lasts, may_damage, dice);
        let backward = self.link(lasts, may_damage, dice);
        let mut nat = String::new();
        if dice.one_in(3) {
            let (idle, moved) = (dice.among(200, 20_000), dice.among(0, lasts));
            nat = format!(", nat: {{idle: {idle}ms, moves: [{moved}ms]}}");
        }
        format!("  {}: {{forward: {forward}, backward: {backward}{nat}}}", self.name)
    }

    /// One direction of the path. Both directions and the responder together take less than two
    /// timeouts, for which every heartbeat is remembered.
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
    /// A number from `least` to `most`, exclusive.
    fn among(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..most)
    }

    /// 0 in half of the draws, otherwise a number from `least` to `most`, exclusive.
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
