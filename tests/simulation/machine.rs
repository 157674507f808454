//! What the probe's machine does to every measurement: clocks, stamps and latencies, as a scenario
//! sets them.

use std::ops::Range;
use std::time::Duration;

use udp_heartbeat::model::Mono;

use crate::clock::{Clock, START};
use crate::scenario::Scenario;

/// The probe's machine.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) clock: Clock,
    pub(crate) has_kernel_stamps: bool,
    pub(crate) has_receive_stamps: bool,
    /// From t1 to the kernel's transmit timestamp.
    pub(crate) send_latency: Duration,
    /// The responder's dwell.
    pub(crate) turnaround: Duration,
    wake_latency: Duration,
    stalls: Vec<Range<Mono>>,
}

impl Machine {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let probe = &scenario.probe;
        Self {
            clock: Clock::new(&probe.clock_steps),
            has_kernel_stamps: probe.transmit_stamps && probe.receive_stamps,
            has_receive_stamps: probe.receive_stamps,
            send_latency: probe.send_latency.0,
            turnaround: scenario.responder.turnaround.0,
            wake_latency: probe.wake_latency.0,
            stalls: probe.stalls.iter().map(|stall| stall.after(START)).collect(),
        }
    }

    /// When the probe runs if it is to do something at `wanted`.
    pub(crate) fn woken(&self, wanted: Mono) -> Mono {
        let woken = wanted + self.wake_latency;
        let stall = self.stalls.iter().find(|stall| stall.contains(&woken));
        stall.map_or(woken, |stall| stall.end)
    }

    /// What is to be done at `wanted` must not have been left to `now`, but for a stall.
    pub(crate) fn check_prompt(&self, wanted: Mono, now: Mono) {
        let latest = self.woken(wanted);
        assert!(now <= latest, "the probe was not there at {latest:?} but at {now:?}");
    }
}
