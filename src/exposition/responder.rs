//! The responder's counters and its `/metrics` in the Prometheus text format 0.0.4.

use std::io;
use std::sync::Arc;

use prometheus::process_collector::ProcessCollector;
use prometheus::{IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::catalogue::{self, Family};
use super::family::encode;
use crate::model::{DropReason, ImpairmentKind, Label};
use crate::wire::{self, Protocol};

/// The responder's counters: the ground truth for a probe's figures.
///
/// Clones share the counters. Every series is created at the start with value 0, so that counting a
/// datagram is one atomic addition.
#[derive(Debug, Clone)]
pub struct ResponderMetrics(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    registry: Registry,
    received: ByProtocol,
    replied: ByProtocol,
    /// By [`DropReason`].
    dropped: Vec<IntCounter>,
    /// By [`ImpairmentKind`].
    impaired: Vec<IntCounter>,
    send_errors: Vec<IntCounter>,
    receive_drops: Vec<IntCounter>,
}

/// One counter for each protocol that responders answer.
#[derive(Debug)]
struct ByProtocol(Vec<(Protocol, IntCounter)>);

impl ByProtocol {
    fn register(registry: &Registry, family: &Family) -> Self {
        let protocols: Vec<_> = wire::reflecting().map(|(protocol, _)| protocol).collect();
        let names: Vec<_> = protocols.iter().map(|protocol| protocol.name()).collect();
        Self(protocols.into_iter().zip(counters(registry, family, &names)).collect())
    }

    /// The counter of `protocol`; `None` if responders do not answer it.
    fn of(&self, protocol: Protocol) -> Option<&IntCounter> {
        let known = self.0.iter().find(|(known, _)| *known == protocol);
        known.map(|(_, counter)| counter)
    }

    fn count(&self, protocol: Protocol) {
        let counter = self.of(protocol);
        debug_assert!(counter.is_some(), "{}", protocol.name());
        if let Some(counter) = counter {
            counter.inc();
        }
    }

    fn counted(&self, protocol: Protocol) -> u64 {
        self.of(protocol).map_or(0, IntCounter::get)
    }
}

impl ResponderMetrics {
    /// Counters at 0.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        register_version(&registry);
        register(&registry, ProcessCollector::for_self());
        Self(Arc::new(Counters {
            received: ByProtocol::register(&registry, &catalogue::RESPONDER_RECEIVED),
            replied: ByProtocol::register(&registry, &catalogue::RESPONDER_REPLIED),
            dropped: counters(&registry, &catalogue::RESPONDER_DROPPED, &words::<DropReason>()),
            impaired: counters(
                &registry,
                &catalogue::RESPONDER_IMPAIRED,
                &words::<ImpairmentKind>(),
            ),
            send_errors: counters(&registry, &catalogue::RESPONDER_SEND_ERRORS, &[]),
            receive_drops: counters(&registry, &catalogue::RESPONDER_RECEIVE_DROPS, &[]),
            registry,
        }))
    }

    /// Counts a received request of `protocol`.
    pub fn received(&self, protocol: Protocol) {
        self.0.received.count(protocol);
    }

    /// Counts a sent reply of `protocol`.
    pub fn replied(&self, protocol: Protocol) {
        self.0.replied.count(protocol);
    }

    /// Counts a datagram that was not answered.
    pub fn dropped(&self, reason: DropReason) {
        count(&self.0.dropped, reason.index());
    }

    /// Counts an impairment of a reply.
    pub fn impaired(&self, kind: ImpairmentKind) {
        count(&self.0.impaired, kind.index());
    }

    /// Counts a reply that the kernel did not accept.
    pub fn send_error(&self) {
        count(&self.0.send_errors, 0);
    }

    /// Counts datagrams that the kernel dropped before they were read.
    pub fn receive_drops(&self, datagrams: u64) {
        if let Some(counter) = self.0.receive_drops.first() {
            counter.inc_by(datagrams);
        }
    }

    /// How many requests of a protocol were received.
    #[must_use]
    pub fn received_count(&self, protocol: Protocol) -> u64 {
        self.0.received.counted(protocol)
    }

    /// How many replies of a protocol were sent.
    #[must_use]
    pub fn replied_count(&self, protocol: Protocol) -> u64 {
        self.0.replied.counted(protocol)
    }

    /// How many datagrams were not answered for this reason.
    #[must_use]
    pub fn dropped_count(&self, reason: DropReason) -> u64 {
        counted(&self.0.dropped, reason.index())
    }

    /// How many replies were impaired in this way.
    #[must_use]
    pub fn impaired_count(&self, kind: ImpairmentKind) -> u64 {
        counted(&self.0.impaired, kind.index())
    }

    /// How many replies the kernel did not accept.
    #[must_use]
    pub fn send_error_count(&self) -> u64 {
        counted(&self.0.send_errors, 0)
    }

    /// How many datagrams the kernel dropped before they were read.
    #[must_use]
    pub fn receive_drop_count(&self) -> u64 {
        counted(&self.0.receive_drops, 0)
    }

    /// Writes all counters and the metrics of this process in the Prometheus text format 0.0.4.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn encode(&self, mut out: impl io::Write) -> io::Result<()> {
        encode(&self.0.registry.gather(), &mut out)
    }
}

impl Default for ResponderMetrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts at `index`. An invalid index is ignored in release builds, so that the responder keeps
/// running.
fn count(counters: &[IntCounter], index: usize) {
    debug_assert!(index < counters.len());
    if let Some(counter) = counters.get(index) {
        counter.inc();
    }
}

fn counted(counters: &[IntCounter], index: usize) -> u64 {
    counters.get(index).map_or(0, IntCounter::get)
}

fn words<L: Label>() -> Vec<&'static str> {
    L::ALL.iter().map(|word| word.label()).collect()
}

/// Registers a family and creates its series: one for each value of its label, or one without a
/// label.
fn counters(registry: &Registry, family: &Family, values: &[&str]) -> Vec<IntCounter> {
    let vector = IntCounterVec::new(Opts::new(family.name, family.help), family.labels)
        .expect("names and labels of the catalogue are valid");
    register(registry, vector.clone());
    if family.labels.is_empty() {
        return vec![vector.with_label_values::<&str>(&[])];
    }
    values.iter().map(|value| vector.with_label_values(&[value])).collect()
}

fn register_version(registry: &Registry) {
    let family = &catalogue::BUILD_INFO;
    let vector = IntGaugeVec::new(Opts::new(family.name, family.help), family.labels)
        .expect("names and labels of the catalogue are valid");
    vector.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    register(registry, vector);
}

fn register(registry: &Registry, collector: impl prometheus::core::Collector + 'static) {
    registry.register(Box::new(collector)).expect("names of the catalogue are unique");
}
