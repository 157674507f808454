//! Documents are deserialised as they were serialised, also by clients older than the probe.

use std::sync::Arc;

use super::*;
use crate::exposition::{encode_heartbeats, encode_targets};
use crate::observe::fixture;
use crate::session::Buckets;

#[test]
fn the_targets_document_round_trips() {
    let sample = fixture::probe(vec![
        fixture::busy("fra-edge", ("site", "fra"), &Arc::new(Buckets::from_seconds(&[1e-3]))),
        fixture::dead("absent"),
    ]);
    let mut written = Vec::new();
    encode_targets(&sample, &mut written).unwrap();
    let read: TargetsDocument<'_> = serde_json::from_slice(&written).unwrap();
    let targets = sample.targets.iter().map(|target| TargetDocument::new(target, sample.at));
    assert_eq!(read.targets, targets.collect::<Vec<_>>());
    assert_eq!(serde_json::to_vec(&read).unwrap(), written);
    assert_eq!(read.targets[0].diagnosis, None);
    assert!(read.targets[1].diagnosis.is_some());
    assert_eq!(read.targets[0].counts.icmp_errors["port_unreachable"], 9);
}

#[test]
fn the_heartbeats_document_round_trips() {
    let look = fixture::look(fixture::dead("absent"));
    let mut written = Vec::new();
    encode_heartbeats(&look, &mut written).unwrap();
    let read: HeartbeatsDocument<'_> = serde_json::from_slice(&written).unwrap();
    assert_eq!(read, HeartbeatsDocument::from(&look));
    assert_eq!(serde_json::to_vec(&read).unwrap(), written);
    assert_eq!((read.heartbeats.len(), read.frozen.unwrap().heartbeats.len()), (7, 2));
}

#[test]
fn the_ping_document_round_trips() {
    let look = fixture::look(fixture::dead("absent"));
    let delays = DelaysDocument { min: 0.1, avg: 0.25, p50: 0.2, p99: 0.5, max: 0.5, mdev: 0.125 };
    for rtt in [None, Some(delays)] {
        let figures = PingDocument::new("absent".to_owned(), &look.sample, look.at, rtt, true);
        let written = serde_json::to_string(&figures).unwrap();
        assert_eq!(serde_json::from_str::<PingDocument>(&written).unwrap(), figures);
    }
}

#[test]
fn a_client_reads_the_document_of_a_newer_probe() {
    let look = fixture::look(fixture::dead("absent"));
    let mut document = serde_json::to_value(TargetDocument::new(&look.sample, look.at)).unwrap();
    document["one_way_lost"]["sideways"] = 7.into();
    document["diagnosis"]["cause"] = "sunspots".into();
    document["novelty"] = true.into();
    let read: TargetDocument<'_> = serde_json::from_value(document).unwrap();
    assert_eq!(read.counts.one_way_lost["sideways"], 7);
    assert_eq!(read.diagnosis.unwrap().cause, "sunspots");
}

#[test]
fn settings_of_impairments_are_numbers_or_text() {
    let text = r#"{"all":{"loss":"30%","seed":7},"sources":{"192.0.2.0/24":{"corrupt":0.25}}}"#;
    let read: ImpairmentsDocument = serde_json::from_str(text).unwrap();
    assert_eq!(read.all["loss"], Setting::from("30%".to_owned()));
    assert_eq!(read.all["seed"], Setting::from("7".to_owned()));
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    assert_eq!(
        serde_json::from_str::<ImpairmentsDocument>("{}").unwrap(),
        ImpairmentsDocument::default()
    );
    assert!(serde_json::from_str::<ImpairmentsDocument>(r#"{"al":{}}"#).is_err());
}
