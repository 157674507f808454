//! What the probe's machine does to every measurement: clocks, stamps and latencies, as a scenario
//! sets them.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use udp_heartbeat::config::Target;
use udp_heartbeat::model::{Mono, UnsentReason};
use udp_heartbeat::probe::Family;

use crate::clock::{Clock, START};
use crate::scenario::Scenario;

/// The conditions that the probe runs under.
#[derive(Debug)]
pub(crate) struct Conditions {
    pub(crate) clock: Clock,
    pub(crate) has_receive_stamps: bool,
    /// From t1 to the kernel's transmit timestamp.
    pub(crate) send_latency: Duration,
    /// The responder's turnaround.
    pub(crate) turnaround: Duration,
    /// The turnaround that its timestamps report.
    pub(crate) reported_turnaround: Duration,
    families: [bool; Family::ALL.len()],
    wake_latency: Duration,
    stalls: Vec<Range<Mono>>,
    no_interfaces: Vec<Range<Mono>>,
    refusals: Vec<(String, Range<Mono>, UnsentReason)>,
}

impl Conditions {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let probe = &scenario.probe;
        let refusals = scenario
            .send_failures
            .iter()
            .map(|failure| (failure.target.clone(), failure.window().after(START), failure.reason));
        Self {
            clock: Clock::new(&probe.clock_steps),
            has_receive_stamps: probe.receive_stamps,
            send_latency: probe.send_latency.0,
            turnaround: scenario.responder.turnaround.0,
            reported_turnaround: scenario.responder.turnaround.0
                + scenario.responder.early_stamps.0,
            families: [!probe.no_ipv4, !probe.no_ipv6],
            wake_latency: probe.wake_latency.0,
            stalls: probe.stalls.iter().map(|stall| stall.after(START)).collect(),
            no_interfaces: probe.no_interfaces.iter().map(|gone| gone.after(START)).collect(),
            refusals: refusals.collect(),
        }
    }

    /// When the probe runs if something wakes it at `wanted`: after the wake-up latency and any
    /// stall.
    pub(crate) fn woken(&self, wanted: Mono) -> Mono {
        self.resumed(wanted + self.wake_latency)
    }

    /// When the probe runs if it continues at `wanted`: at that moment, or after a stall.
    pub(crate) fn resumed(&self, wanted: Mono) -> Mono {
        let stall = self.stalls.iter().find(|stall| stall.contains(&wanted));
        stall.map_or(wanted, |stall| stall.end)
    }

    /// Whether the machine has a socket of this family.
    pub(crate) fn has(&self, family: Family) -> bool {
        self.families[family.index()]
    }

    /// Whether the machine has the interfaces of the targets at `now`.
    pub(crate) fn has_interfaces(&self, now: Mono) -> bool {
        !self.no_interfaces.iter().any(|gone| gone.contains(&now))
    }

    /// Why a heartbeat of `target` to an address of this family cannot be handed to the kernel at
    /// `now`; `None` if it can.
    pub(crate) fn obstacle(&self, target: &Target, ip: IpAddr, now: Mono) -> Option<UnsentReason> {
        let packets = &target.packets;
        match () {
            () if !self.has(Family::of(SocketAddr::new(ip, 0))) => Some(UnsentReason::NoRoute),
            () if !packets.admit(ip) => Some(UnsentReason::SourceUnavailable),
            () if packets.interface.is_some() && !self.has_interfaces(now) => {
                Some(UnsentReason::InterfaceUnavailable)
            }
            () => None,
        }
    }

    /// Why the kernel refuses heartbeats of `target` at `now`; `None` if it accepts them.
    pub(crate) fn refusal(&self, target: &Target, now: Mono) -> Option<UnsentReason> {
        let mut refusals = self.refusals.iter();
        let refusal =
            refusals.find(|(name, window, _)| *name == target.name && window.contains(&now));
        refusal.map(|(_, _, reason)| *reason)
    }
}
