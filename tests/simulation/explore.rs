//! Random scenarios: each is drawn from a seed, is small, and combines many conditions.
//!
//! `SIMULATION_SEEDS` is how many seeds are tried, from 0 or from `SIMULATION_FROM`;
//! `SIMULATION_SEED` is a single seed to replay, whose scenario is printed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::draw::draw;
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
    let from = number("SIMULATION_FROM").unwrap_or(0);
    let (next, failed) = (AtomicU64::new(from), AtomicU64::new(u64::MAX));
    let answers = AtomicU64::new(0);
    let explorer = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= (from + seeds).min(failed.load(Ordering::Relaxed)) {
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

/// Runs a scenario, and returns how many answers of the probe were checked.
fn run(text: &str) -> u64 {
    let scenario = Scenario::parse(text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
    let mut simulation = Simulation::new(&scenario);
    simulation.run();
    for host in simulation.world.hosts.values() {
        host.counts();
    }
    simulation.answers as u64
}
