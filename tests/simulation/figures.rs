//! A target's figures in a form that can be compared whole: as the probe shows them, or as the
//! model counts them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use udp_heartbeat::config::Target;
use udp_heartbeat::model::{
    IcmpKind, InvalidReason, Label, LookupFailure, StampSource, State, UnsentReason, Wall,
};
use udp_heartbeat::observe::TargetSample;
use udp_heartbeat::session::{Histogram, Summary};

/// Everything that is shown of a target.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Figures {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) in_flight: u64,
    pub(crate) late: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) unsent: [u64; UnsentReason::COUNT],
    pub(crate) invalid: [u64; InvalidReason::COUNT],
    pub(crate) other_source: u64,
    pub(crate) icmp: [u64; IcmpKind::COUNT],
    pub(crate) stamps: [u64; StampSource::COUNT],
    pub(crate) rtt: Tally,
    pub(crate) loss_bursts: Tally,
    pub(crate) turnaround: Summary,
    pub(crate) turnaround_invalid: u64,
    pub(crate) ipdv: Summary,
    pub(crate) last_rtt: Option<u64>,
    pub(crate) last_reply: Option<Wall>,
    pub(crate) time_difference: Option<i64>,
    pub(crate) reply_ttl: Option<u8>,
    pub(crate) state: Option<State>,
    pub(crate) state_changed: Option<Wall>,
    pub(crate) state_changes: [u64; State::COUNT],
    pub(crate) consecutive_misses: u64,
    pub(crate) down: Duration,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) is_resolved: bool,
    /// Lookups that found nothing, and those that found no address of the IP version.
    pub(crate) lookup_failures: [u64; 2],
    pub(crate) address_changes: u64,
    /// The settings by which it is probed and judged.
    pub(crate) target: Option<Arc<Target>>,
}

/// A histogram as plain counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    /// Each bound, and how many values do not exceed it.
    pub(crate) up_to: Vec<(u64, u64)>,
}

impl Figures {
    /// What the probe shows.
    pub(crate) fn shown(sample: &TargetSample) -> Self {
        let session = &sample.session;
        let record = &session.record;
        Self {
            sent: record.sent,
            received: record.received,
            lost: record.lost,
            in_flight: session.in_flight,
            late: record.late,
            duplicates: record.duplicates,
            reordered: record.reordered,
            unsent: std::array::from_fn(|index| record.unsent[index]),
            invalid: std::array::from_fn(|index| record.invalid[index]),
            other_source: record.other_source_replies,
            icmp: std::array::from_fn(|index| record.icmp_errors[index]),
            stamps: record.stamps,
            rtt: Tally::shown(&record.rtt),
            loss_bursts: Tally::shown(&record.loss_bursts),
            turnaround: record.turnaround,
            turnaround_invalid: record.turnaround_invalid,
            ipdv: record.ipdv,
            last_rtt: record.last_rtt,
            last_reply: record.last_reply,
            time_difference: record.time_difference,
            reply_ttl: record.reply_ttl,
            state: session.state,
            state_changed: session.state_changed,
            state_changes: record.state_changes,
            consecutive_misses: session.consecutive_misses,
            down: session.down,
            address: sample.address,
            is_resolved: sample.resolved,
            lookup_failures: [LookupFailure::NxDomain, LookupFailure::NoAddress]
                .map(|why| sample.lookup_failures[why.index()]),
            address_changes: sample.address_changes,
            target: Some(sample.target.clone()),
        }
    }

    /// A count by reason, without those that are 0.
    pub(crate) fn by_label<L: Label>(counts: &[u64]) -> Vec<(&'static str, u64)> {
        let labels = L::ALL.iter().map(|label| label.label());
        labels.zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect()
    }
}

impl Tally {
    fn shown(histogram: &Histogram) -> Self {
        let (count, sum) = (histogram.count(), histogram.sum());
        Self { count, sum, up_to: histogram.cumulative().collect() }
    }

    /// Counts values into buckets with these bounds.
    pub(crate) fn of(values: &[u64], bounds: &[u64]) -> Self {
        let up_to =
            |&bound: &u64| (bound, values.iter().filter(|&&value| value <= bound).count() as u64);
        Self {
            count: values.len() as u64,
            sum: values.iter().sum(),
            up_to: bounds.iter().map(up_to).collect(),
        }
    }
}
