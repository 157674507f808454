//! Checks that all outputs show the same diagnosis, and the list of protocols in help texts.

use std::io::Write;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{demo, journal, ping, protocols};
use crate::exposition::encode_targets;
use crate::model::State;
use crate::observe::document::{PingDocument, TargetsDocument};
use crate::observe::{Diagnosis, fixture};
use crate::probe::{Event, Happening};
use crate::wire::PROTOCOLS;

/// A writer that keeps the log.
#[derive(Debug, Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl Write for Logged {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(octets)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The tests of the pages check the same.
#[test]
fn json_ping_log_and_demo_show_the_same_diagnosis() {
    let sample = fixture::probe(vec![fixture::dead("absent")]);
    let (target, at) = (&sample.targets[0], sample.at);
    let diagnosis = target.diagnosis(at).unwrap();
    let Diagnosis { cause, summary, evidence, advice } = &diagnosis;
    let event = Event {
        target: target.target.clone(),
        at,
        what: Happening::Changed { state: State::Down, misses: 3, is_first: true },
        evidence: Some(target.evidence(at)),
    };

    let mut json = Vec::new();
    encode_targets(&sample, &mut json).unwrap();
    let document: TargetsDocument<'_> = serde_json::from_slice(&json).unwrap();
    assert_eq!(document.targets[0].diagnosis, Some(diagnosis.clone().into()));

    let figures = PingDocument::new("absent".to_owned(), target, at, None, true);
    assert_eq!(figures.diagnosis, Some(diagnosis.clone().into()));
    let mut statistics = Vec::new();
    ping::summarize(&figures, &mut statistics).unwrap();
    let statistics = String::from_utf8(statistics).unwrap();
    for words in evidence.iter().chain([summary, advice]) {
        assert!(statistics.contains(words.as_str()), "{words} in {statistics}");
    }
    let line = ping::line(&event).unwrap();
    assert_eq!(line, format!("absent is down: 3 consecutive misses\nwhy: {summary}"));

    let mut line = Vec::new();
    demo::show_change(&event, &mut line);
    let line = String::from_utf8(line).unwrap();
    assert!(line.ends_with(&format!("DOWN  3 consecutive misses: {summary}\n")), "{line}");

    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || journal::log(&event));
    let line: Value = serde_json::from_slice(&logged.0.lock().unwrap()).unwrap();
    let fields = &line["fields"];
    assert_eq!(
        (&fields["why"], &fields["cause"]),
        (&summary.as_str().into(), &cause.to_string().into())
    );
    assert_eq!(fields["message"], "target down");
}

#[test]
fn help_says_what_each_protocol_reports() {
    let list = protocols();
    let mut lines = list.lines();
    assert_eq!(lines.next(), Some("Protocols:"));
    for protocol in PROTOCOLS {
        let line = lines.next().unwrap();
        let (name, summary) = line.trim_start().split_once(' ').unwrap();
        assert_eq!(name, protocol.name());
        assert!(summary.contains("; reports "), "{line}");
    }
    assert_eq!(lines.next(), None);
}
