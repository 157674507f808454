//! Fixed samples for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::{Overview, ProbeSample, TargetGlance, TargetLook, TargetSample};
use crate::config::{Address, Host, Target};
use crate::model::{
    Addresses, ClockAccuracy, IcmpKind, InvalidReason, IpVersion, Label, LookupFailure,
    PacketOptions, State, UnsentReason, Wall,
};
use crate::session::{
    Buckets, Column, Frozen, Glance, Heartbeat, Histogram, Last, Misses, Outcome, Rare, Recent,
    Record, Recording, Snapshot, Symptoms,
};
use crate::wire::{self, ProtocolOptions};

/// 2025-01-02 03:04:05.678 UTC.
pub(crate) const NOW: Wall = Wall::from_nanos(1_735_787_045_678_000_000);

fn protocol(name: &str) -> ProtocolOptions {
    wire::by_name(name).unwrap().default_options()
}

/// A target without any figures yet, with one label.
pub(crate) fn fresh(name: &str, label: (&str, &str), rtt: &Arc<Buckets>) -> TargetSample {
    let target = Target {
        name: name.to_owned(),
        address: Address { host: Host::Name(format!("{name}.example")), port: 12000 },
        ip_version: IpVersion::Auto,
        addresses: Addresses::First,
        resolved_from: None,
        protocol: protocol("heartbeat"),
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(1500),
        misses: 3,
        recoveries: 1,
        recorder: 16,
        packets: PacketOptions::default(),
        labels: BTreeMap::from([(label.0.to_owned(), label.1.to_owned())]),
    };
    let bursts = Arc::new(Buckets::from_counts(&[1, 2, 3]));
    let mut lookup_failures = Rare::default();
    lookup_failures[LookupFailure::NxDomain.index()] = 2;
    TargetSample {
        target: Arc::new(target),
        address: None,
        resolved: false,
        lookup_failure: Some(LookupFailure::NxDomain),
        lookup_failures,
        address_changes: 0,
        impaired: false,
        session: Snapshot {
            record: Record::new(rtt.clone(), bursts),
            in_flight: 0,
            state: None,
            state_changed: None,
            consecutive_misses: 0,
            down: Duration::ZERO,
            symptoms: Symptoms::default(),
        },
    }
}

/// A target with figures of every kind.
pub(crate) fn busy(name: &str, label: (&str, &str), rtt: &Arc<Buckets>) -> TargetSample {
    let mut sample = fresh(name, label, rtt);
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let target = Arc::make_mut(&mut sample.target);
    target.address.host = Host::Ip(ip);
    target.protocol = protocol("stamp");
    sample.address = Some(SocketAddr::new(ip, 12000));
    sample.resolved = true;
    sample.lookup_failure = None;
    sample.address_changes = 1;

    let session = &mut sample.session;
    session.in_flight = 2;
    session.state = Some(State::Up);
    session.state_changed = Some(NOW);
    session.down = Duration::from_millis(20_500);
    let record = &mut session.record;
    (record.sent, record.received, record.lost) = (10, 3, 5);
    record.unsent[UnsentReason::Skipped.index()] = 4;
    record.late = 1;
    record.duplicates = 6;
    record.reordered = 7;
    record.one_way_lost = [3, 1];
    record.invalid[InvalidReason::Mismatch.index()] = 8;
    record.other_source_replies = 15;
    record.state_changes = [2, 1];
    record.icmp_errors[IcmpKind::PortUnreachable.index()] = 9;
    for nanos in [50_000, 150_000, 2_000_000] {
        record.rtt.observe(nanos);
    }
    record.loss_bursts.observe(2);
    record.loss_bursts.observe(3);
    record.turnaround.observe(1_500);
    record.turnaround_invalid = 2;
    record.ipdv.observe(100_000);
    record.ipdv.observe(1_850_000);
    record.last_rtt = Some(2_000_000);
    record.last_reply = Some(NOW);
    record.time_difference = Some(-2_568_024_873);
    record.reply_ttl = Some(63);
    session.symptoms = symptoms(session);
    sample
}

/// A target whose host is up, but nothing listens on the port.
pub(crate) fn dead(name: &str) -> TargetSample {
    let mut sample = fresh(name, ("site", "fra"), &Arc::new(Buckets::from_seconds(&[1e-3])));
    sample.address = Some(SocketAddr::from(([127, 0, 0, 2], 12000)));
    sample.resolved = true;
    let session = &mut sample.session;
    (session.state, session.state_changed) = (Some(State::Down), Some(NOW));
    session.consecutive_misses = 194;
    session.record.icmp_errors[IcmpKind::PortUnreachable.index()] = 194;
    session.record.last_icmp =
        Some((IcmpKind::PortUnreachable, NOW + Duration::from_millis(191_600)));
    (session.record.sent, session.record.lost) = (194, 194);
    session.symptoms = symptoms(session);
    sample
}

/// The data of a target's page: a heartbeat of every outcome, and the heartbeats before an outage.
pub(crate) fn look(mut sample: TargetSample) -> TargetLook {
    sample.session.symptoms = symptoms(&sample.session);
    let outcomes = [
        Outcome::Skipped,
        Outcome::Unsent(UnsentReason::NoRoute),
        Outcome::Late(Duration::from_millis(1_700)),
        Outcome::Lost,
        Outcome::Lost,
        Outcome::Received(Duration::from_micros(733)),
        Outcome::InFlight,
    ];
    let newest: Vec<_> = (4_294_967_294..)
        .zip(outcomes)
        .map(|(sequence, outcome)| Heartbeat {
            sequence,
            at: (outcome != Outcome::Skipped).then_some(NOW + Duration::from_nanos(sequence)),
            outcome,
            ttl: matches!(outcome, Outcome::Received(_) | Outcome::Late(_)).then_some(63),
        })
        .collect();
    let frozen = Frozen { down: NOW, heartbeats: newest[3..5].to_vec() };
    let mut columns = vec![Column::default(); 27];
    let rtt = Some(Duration::from_millis(1));
    columns.push(Column { rtt, missed: 0, settled: 10 });
    columns.push(Column { rtt: None, missed: 10, settled: 10 });
    columns.push(Column { rtt: rtt.map(|rtt| rtt * 2), missed: 1, settled: 5 });
    TargetLook {
        at: NOW + Duration::from_secs(192),
        glance: glance(&sample),
        sample,
        recent: Recent { columns, width: Duration::from_secs(10) },
        changes: vec![(State::Up, NOW), (State::Down, NOW - Duration::from_secs(20))],
        recording: Recording { newest, frozen: Some(frozen) },
    }
}

/// The evidence of a session with these figures, without its newest heartbeats.
pub(crate) fn symptoms(session: &Snapshot) -> Symptoms {
    let Snapshot { record, state, state_changed, consecutive_misses, .. } = session;
    let misses = if *state == Some(State::Down) { (*consecutive_misses).max(3) } else { 0 };
    Symptoms {
        state: *state,
        changed: *state_changed,
        misses,
        last_reply: record.last_reply,
        last_icmp: record.last_icmp.map(|(what, at)| Last {
            what,
            at,
            count: record.icmp_errors[what.index()],
        }),
        last_other_source: record.last_other_source.as_deref().map(|&(what, at)| Last {
            what,
            at,
            count: record.other_source_replies,
        }),
        ..Symptoms::default()
    }
}

/// The overview of a sample.
pub(crate) fn overview(sample: &ProbeSample) -> Overview {
    let glance = |sample: &TargetSample| TargetGlance {
        target: sample.target.clone(),
        glance: glance(sample),
    };
    Overview { targets: sample.targets.iter().map(glance).collect(), impaired: sample.impaired }
}

fn glance(sample: &TargetSample) -> Glance {
    let Snapshot { record, state, state_changed, .. } = &sample.session;
    let count = |count: u64| u32::try_from(count).unwrap();
    Glance {
        state: *state,
        changed: *state_changed,
        misses: Misses {
            missed: count(record.lost),
            settled: count(record.lost + record.received),
        },
        last_rtt: record.last_rtt,
        p50: record.rtt.quantile(0.5),
        p99: record.rtt.quantile(0.99),
        changes: record.state_changes.iter().sum(),
    }
}

/// One running target and one just configured, each with a label that the other does not have.
pub(crate) fn two_targets() -> ProbeSample {
    let rtt = Arc::new(Buckets::from_seconds(&[50e-6, 100e-6, 1e-3]));
    probe(vec![busy("fra-edge", ("site", "fra"), &rtt), fresh("new", ("role", "core"), &rtt)])
}

/// A probe with these targets.
pub(crate) fn probe(targets: Vec<TargetSample>) -> ProbeSample {
    let label_names: BTreeSet<String> =
        targets.iter().flat_map(|sample| sample.target.labels.keys().cloned()).collect();
    let mut schedule_lag = Histogram::new(Arc::new(Buckets::from_seconds(&[1e-3, 1e-2])));
    schedule_lag.observe(70_000);
    ProbeSample {
        targets,
        label_names,
        schedule_lag,
        receive_drops: 11,
        fresh_ports: 2,
        timestamps: [3, 1],
        unmatched: [12, 13, 14],
        impaired: false,
        at: NOW + Duration::from_secs(192),
        clock: ClockAccuracy::new(true, Duration::from_micros(1_500)),
        config_loaded_at: NOW,
        config_is_newest: true,
    }
}
