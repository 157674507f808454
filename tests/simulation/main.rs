//! A worker of the probe, a bad network and the responders on simulated time: hours of heartbeats
//! in a second, without a socket, a thread or a real clock.
//!
//! Each file of `tests/scenarios` is a scenario and has a test of its name; `explore` draws
//! thousands more from seeds. The `world` is the machine that the worker runs on: its clocks, and
//! its sockets (`machine`, `kernel`). Its `coordinator` gives the worker its targets, at the start
//! and whenever they change, by the probe's own plan. The `simulation` drives the worker's real
//! rounds, from command to command and from event to event, and the reflectors of the responders.
//! What really happens to each datagram is recorded (`truth`). The `model` keeps that in plain
//! lists, and computes from the definitions alone what the probe must do. After every round, the
//! probe must have done exactly that: every heartbeat sent, every answer with its round trip to the
//! nanosecond, every change of state, and the very round in which changes of targets are done.
//! Every figure of every sample, glance and look is compared as well (`answers`), at checkpoints,
//! at the end, and whenever a scenario asks. Figures that a person can compute are in the files.
//!
//! Targets are identified by number here, in the order in which they are added. A target that is
//! removed and added again, in the same slot and under the same name, gets another number, so the
//! tests notice anything that is for one of the two and is counted for the other.
//!
//! Two things cannot be exact. The first is damage that a protocol cannot notice: a `heartbeat`
//! reply repeats only the number of its request, and nothing confirms the timestamps of a `stamp`
//! reply, so a flipped bit may turn the former into an answer to another heartbeat and change the
//! delays of the latter (on a real network, UDP's checksum detects the flip). With `ping`, every
//! flip is noticed or harmless if heartbeats are a second apart, so only `ping` is damaged. The
//! second is the time difference of `heartbeat`, which is a difference of doubles of Unix seconds:
//! it may be 250 ns off.

mod answers;
mod changes;
mod clock;
mod conditions;
mod coordinator;
mod draw;
mod explore;
mod figures;
mod grid;
mod kernel;
mod life;
mod machine;
mod model;
mod nat;
mod network;
mod ping_text;
mod ports;
mod request;
mod scenario;
mod senders;
mod simulation;
mod truth;
mod whereabouts;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use udp_heartbeat::model::{
    Direction, DropReason, IcmpKind, ImpairmentKind, InvalidReason, Label, State, UnsentReason,
};

use clock::START;
use figures::Figures;
use network::Counts;
use scenario::{ExpectedTarget, Offset, Scenario, Span, Window};
use simulation::Simulation;
use truth::Deeds;

/// Makes a test of each scenario.
macro_rules! scenarios {
    ($($name:ident,)+) => {
        const SCENARIOS: &[&str] = &[$(stringify!($name)),+];

        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )+
    };
}

scenarios! {
    bursts,
    busy,
    busy_machine,
    changes,
    churn,
    clock_steps,
    corruption,
    crowd,
    damaging_responder,
    dead_addresses,
    duplication,
    early_stamps,
    everything,
    families,
    flapping_name,
    foreign,
    full_queue,
    ground_truth,
    hasty_name,
    late,
    loss,
    narrow,
    no_stamps,
    no_transmit_stamps,
    no_watch,
    one_way,
    other_source,
    outage,
    packet_options,
    pipelining,
    reload_busy,
    reordering,
    scrapes,
    shared_address,
    slow_clock,
    stale_nat,
    stall,
    stall_and_clock_step,
    steady,
    strange_stamps,
    unsent,
}

#[test]
fn every_file_is_a_scenario_that_is_run() {
    let entries = std::fs::read_dir(folder()).expect("the folder of the scenarios");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string());
    let files: BTreeSet<String> = names.map(|name| name.expect("a plain name")).collect();
    let run: BTreeSet<String> = SCENARIOS.iter().map(|name| format!("{name}.yml")).collect();
    assert_eq!(files, run);
    assert!(!files.is_empty());
}

/// Runs a scenario twice: its expectations must be met, and both runs must be the same.
fn check(name: &str) {
    let path = folder().join(format!("{name}.yml"));
    let text = std::fs::read_to_string(&path).expect("a file of this name");
    let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{name}.yml: {error}"));
    assert!(!scenario.about.is_empty());
    let first = run(&scenario, true);
    let second = run(&scenario, false);
    assert!(first == second, "{name} is different when it is run again");
}

/// The result of a run.
#[derive(Debug, PartialEq)]
struct Outcome {
    deeds: Vec<Deeds>,
    figures: BTreeMap<String, Figures>,
    responders: Vec<Counts>,
}

fn run(scenario: &Scenario, check_expected: bool) -> Outcome {
    let mut simulation = Simulation::new(scenario);
    simulation.run();
    let figures = simulation.figures();
    let hosts = simulation.world.hosts.values();
    let responders: Vec<Counts> = hosts.map(|host| host.counts().clone()).collect();
    if check_expected {
        check_expectations(scenario, &simulation, &figures);
    }
    if scenario.responder.is_ground_truth {
        check_ground_truth(&figures, &responders);
    }
    Outcome { deeds: simulation.deeds, figures, responders }
}

/// Checks the expectations in the scenario's file.
fn check_expectations(
    scenario: &Scenario,
    simulation: &Simulation<'_>,
    figures: &BTreeMap<String, Figures>,
) {
    for (name, expected) in &scenario.expect.targets {
        let number = simulation.world.coordinator.newest(name);
        let (Some(number), Some(figures)) = (number, figures.get(name)) else {
            panic!("{name} is no target in the end")
        };
        check_target(name, expected, simulation, number, figures);
    }
    for name in &scenario.expect.absent {
        assert!(simulation.world.coordinator.newest(name).is_some(), "{name} is no target");
        assert!(!figures.contains_key(name), "{name} is there");
    }
    if let Some(expected) = &scenario.expect.rounds_of_changes {
        assert_eq!(simulation.world.coordinator.rounds, *expected, "rounds of changes");
    }
    if let Some(expected) = scenario.expect.latest {
        let latest = simulation.model.lags.iter().max().copied().unwrap_or(0);
        let latest = Duration::from_nanos(latest);
        assert!(latest <= expected.0, "a heartbeat left {latest:?} late");
    }
    let shown = simulation.unmatched();
    if scenario.expect.some_unmatched.is_empty() {
        let expected = scenario.expect.unmatched.iter();
        let expected = expected.map(|(reason, &count)| (reason.as_str(), count));
        assert_same("unmatched", shown, expected.collect());
    } else {
        let reasons: BTreeSet<_> = shown.into_iter().map(|(reason, _)| reason.to_owned()).collect();
        let expected: BTreeSet<_> = scenario.expect.some_unmatched.iter().cloned().collect();
        assert_eq!(reasons, expected, "unmatched");
    }
    if let Some(expected) = scenario.expect.ends_watch {
        assert_eq!(simulation.world.has_ended_watch, expected, "ends the watch");
    }
    if let Some(expected) = scenario.expect.receive_drops {
        assert_eq!(simulation.model.receive_drops, expected, "receive drops");
    }
    if let Some(expected) = scenario.expect.fresh_ports {
        assert_eq!(simulation.fresh_ports(), expected, "fresh ports");
    }
    if let Some(expected) = &scenario.expect.impaired {
        let mut impaired: Vec<Window> = Vec::new();
        for window in &simulation.model.impaired {
            let (from, to) = (Span(window.start.since(START)), Span(window.end.since(START)));
            match impaired.last_mut() {
                Some(last) if from <= last.to => last.to = to,
                _ => impaired.push(Window { from, to }),
            }
        }
        assert_eq!(impaired, *expected, "impaired");
    }
}

fn check_target(
    name: &str,
    expected: &ExpectedTarget,
    simulation: &Simulation<'_>,
    number: usize,
    figures: &Figures,
) {
    let counts = [
        ("sent", expected.sent, figures.sent),
        ("received", expected.received, figures.received),
        ("lost", expected.lost, figures.lost),
        ("late", expected.late, figures.late),
        ("duplicates", expected.duplicates, figures.duplicates),
        ("reordered", expected.reordered, figures.reordered),
        ("other_source", expected.other_source, figures.other_source),
        ("user_stamps", expected.user_stamps, figures.stamps[1]),
        ("turnaround_invalid", expected.turnaround_invalid, figures.turnaround_invalid),
        ("address_changes", expected.address_changes, figures.address_changes),
    ];
    for (what, expected, shown) in counts {
        assert_eq!(shown, expected.unwrap_or(shown), "{name}: {what}");
    }
    let happened = counts.map(|(what, _, shown)| (what, shown)).into_iter();
    let happened = happened.chain(Figures::by_label::<InvalidReason>(&figures.invalid));
    let happened: BTreeMap<_, _> =
        happened.chain(Figures::by_label::<State>(&figures.state_changes)).collect();
    for what in &expected.some {
        assert!(happened.get(what.as_str()).is_some_and(|&count| count > 0), "{name}: no {what}");
    }
    let counts_by_label = [
        ("unsent", &expected.unsent, Figures::by_label::<UnsentReason>(&figures.unsent)),
        ("invalid", &expected.invalid, Figures::by_label::<InvalidReason>(&figures.invalid)),
        ("icmp", &expected.icmp, Figures::by_label::<IcmpKind>(&figures.icmp)),
    ];
    for (what, expected, shown) in counts_by_label {
        if let Some(expected) = expected {
            let expected = expected.iter().map(|(reason, &count)| (reason.as_str(), count));
            assert_same(&format!("{name}: {what}"), shown, expected.collect());
        }
    }
    if let Some(down) = expected.down {
        assert_eq!(figures.down, down.0, "{name}: down");
    }
    if let Some(difference) = expected.time_difference {
        assert_eq!(figures.time_difference.map(Offset), Some(difference), "{name}: difference");
    }
    // The run has compared the model's figures with the probe's, so the model's are checked.
    let life = &simulation.model.lives[number];
    if let Some(expected) = &expected.one_way_lost {
        let came =
            |n| simulation.world.hosts.values().any(|host| host.reflected.contains(&(number, n)));
        let shown = Figures::by_label::<Direction>(&simulation.one_way_lost(name));
        if simulation.has_numbers(number) {
            let truth = Figures::by_label::<Direction>(&life.one_way_lost(came));
            assert_eq!(shown, truth, "{name}: one-way losses");
        }
        let expected = expected.iter().map(|(way, &count)| (way.as_str(), count));
        assert_same(&format!("{name}: one-way losses"), shown, expected.collect());
    }
    if let Some(bursts) = &expected.loss_bursts {
        assert_eq!(life.loss_bursts(), *bursts, "{name}: loss bursts");
    }
    if let Some(changes) = &expected.changes {
        let change = |verdict: &life::Verdict| {
            let after = Span(verdict.at.since(life.first));
            BTreeMap::from([(verdict.state.label().to_owned(), after)])
        };
        let shown: Vec<_> = life.verdicts.iter().map(change).collect();
        assert_eq!(shown, *changes, "{name}: changes of state");
    }
    if let Some(rtt) = expected.every_rtt {
        let others = life.rtts.iter().filter(|&&nanos| u128::from(nanos) != rtt.0.as_nanos());
        assert_eq!(others.count(), 0, "{name}: round trips of another length");
    }
}

/// Over paths without impairments, the responders' counters must equal the probe's.
fn check_ground_truth(figures: &BTreeMap<String, Figures>, responders: &[Counts]) {
    let probe = |count: fn(&Figures) -> u64| figures.values().map(count).sum::<u64>();
    let responder = |count: fn(&Counts) -> u64| responders.iter().map(count).sum::<u64>();
    let lost_on_purpose = |counts: &Counts| {
        let reasons =
            [DropReason::Loss, DropReason::BurstLoss, DropReason::Outage, DropReason::Overflow];
        reasons.iter().map(|reason| counts.dropped[reason.index()]).sum()
    };
    assert_eq!(responder(|counts| counts.received.values().sum()), probe(|f| f.sent));
    assert_eq!(
        responder(|counts| counts.replied.values().sum()),
        probe(|figures| figures.received + figures.late)
    );
    assert_eq!(responder(lost_on_purpose), probe(|figures| figures.lost - figures.late));
    assert_eq!(
        responder(|counts| counts.impaired[ImpairmentKind::Duplicate.index()]),
        probe(|figures| figures.duplicates)
    );
}

fn assert_same(what: &str, mut shown: Vec<(&str, u64)>, mut expected: Vec<(&str, u64)>) {
    shown.sort_unstable();
    expected.retain(|(_, count)| *count > 0);
    expected.sort_unstable();
    assert_eq!(shown, expected, "{what}");
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios")
}
