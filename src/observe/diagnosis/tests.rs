//! Every cause and the limits between causes, and that a target in trouble always has a diagnosis.

use std::num::NonZeroU8;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::{Addresses, InterfaceName};
use crate::observe::document::DiagnosisDocument;
use crate::observe::fixture::{self, NOW};
use crate::session::{Buckets, OutcomeCounts};

const SECOND: Duration = Duration::from_secs(1);

/// `fra.example:12000`, protocol `heartbeat`, interval 1 s, timeout 1.5 s, down after 3 misses.
fn target() -> Arc<Target> {
    fixture::fresh("fra", ("site", "fra"), &Arc::new(Buckets::from_seconds(&[1.0]))).target
}

/// Down after 5 misses, without any reply.
fn silent() -> Evidence {
    Evidence {
        at: NOW,
        symptoms: Symptoms {
            state: Some(State::Down),
            changed: Some(NOW - 2 * SECOND),
            misses: 5,
            last_reply: Some(NOW - 7 * SECOND),
            newest: OutcomeCounts { lost: 5, ..OutcomeCounts::default() },
            ..Symptoms::default()
        },
        endpoint: Some("192.0.2.7:12000".parse().unwrap()),
        resolved: true,
        lookup_failure: None,
        impaired: false,
    }
}

/// Up for a minute, in which `missed` of 100 heartbeats were missed.
fn up(missed: u32) -> Evidence {
    let usual = Misses { missed, settled: 100 };
    let symptoms = Symptoms {
        state: Some(State::Up),
        changed: Some(NOW - 60 * SECOND),
        last_reply: Some(NOW - SECOND),
        answers: 50,
        usual,
        typical: usual,
        newest: OutcomeCounts { received: 10, lost: 2, ..OutcomeCounts::default() },
        ..Symptoms::default()
    };
    Evidence { symptoms, ..silent() }
}

/// An event that happened `count` times, last at `ago` before now.
fn last<T>(what: T, ago: Duration, count: u64) -> Last<T> {
    Last { what, at: NOW - ago, count }
}

/// The last of four answers from another address came at `ago` before now.
fn elsewhere(ago: Duration) -> Last<SocketAddr> {
    last("192.0.2.8:12000".parse().unwrap(), ago, 4)
}

fn unsent(reason: UnsentReason) -> OutcomeCounts {
    let mut outcomes = OutcomeCounts { newest_unsent: Some(reason), ..OutcomeCounts::default() };
    outcomes.unsent[reason.index()] = 5;
    outcomes
}

fn changed(mut evidence: Evidence, change: impl FnOnce(&mut Evidence)) -> Evidence {
    change(&mut evidence);
    evidence
}

fn cause(evidence: &Evidence) -> Option<Cause> {
    diagnose(&target(), evidence).map(|diagnosis| diagnosis.cause)
}

#[test]
fn a_target_for_one_address_of_a_name_names_the_name() {
    let template = Target { addresses: Addresses::All, ..Target::clone(&target()) };
    let one = template.at("192.0.2.7".parse().unwrap());
    let failed = |e: &mut Evidence| {
        (e.resolved, e.lookup_failure) = (false, Some(LookupFailure::NxDomain));
    };
    let diagnosis = diagnose(&one, &changed(silent(), failed)).unwrap();
    assert_eq!(diagnosis.cause, Cause::LookupFailed);
    assert!(diagnosis.advice.contains("getent hosts fra.example"), "{}", diagnosis.advice);
}

#[test]
fn every_cause_has_its_evidence() {
    let with = |change: fn(&mut Evidence)| changed(silent(), change);
    let reported = |kind| changed(silent(), |e| e.symptoms.last_icmp = Some(last(kind, SECOND, 4)));
    let stuck = |reason| changed(silent(), |e| e.symptoms.newest = unsent(reason));
    let replied =
        |reason| changed(silent(), |e| e.symptoms.last_invalid = Some(last(reason, SECOND, 4)));
    let often = Misses { missed: 30, settled: 100 };
    let cases = [
        (Cause::Unresolved, with(|e| (e.endpoint, e.resolved) = (None, false))),
        (Cause::AddressShared, with(|e| e.endpoint = None)),
        (Cause::NoRoute, stuck(UnsentReason::NoRoute)),
        (Cause::SourceUnavailable, stuck(UnsentReason::SourceUnavailable)),
        (Cause::InterfaceUnavailable, stuck(UnsentReason::InterfaceUnavailable)),
        (Cause::BroadcastAddress, stuck(UnsentReason::Broadcast)),
        (Cause::Refused, stuck(UnsentReason::Refused)),
        (Cause::TooBig, stuck(UnsentReason::TooBig)),
        (Cause::BufferFull, stuck(UnsentReason::Buffer)),
        (Cause::SendFailed, stuck(UnsentReason::Other)),
        (Cause::PortUnreachable, reported(IcmpKind::PortUnreachable)),
        (Cause::HostUnreachable, reported(IcmpKind::HostUnreachable)),
        (Cause::NetUnreachable, reported(IcmpKind::NetUnreachable)),
        (Cause::AdminProhibited, reported(IcmpKind::AdminProhibited)),
        (Cause::TtlExceeded, reported(IcmpKind::TtlExceeded)),
        (Cause::TooBig, reported(IcmpKind::TooBig)),
        (Cause::IcmpError, reported(IcmpKind::Other)),
        (Cause::OtherSource, with(|e| e.symptoms.last_other_source = Some(elsewhere(SECOND)))),
        (Cause::LateAnswers, with(|e| e.symptoms.newest.late = 4)),
        (Cause::LateAnswers, replied(InvalidReason::Expired)),
        (Cause::Unauthenticated, replied(InvalidReason::Unauthenticated)),
        (Cause::InvalidReplies, replied(InvalidReason::Malformed)),
        (Cause::InvalidReplies, replied(InvalidReason::Mismatch)),
        (Cause::InvalidReplies, replied(InvalidReason::UnknownSequence)),
        (Cause::Recovering, with(|e| (e.symptoms.misses, e.symptoms.answers) = (0, 1))),
        (Cause::LookupFailed, with(|e| e.resolved = false)),
        (Cause::ProbeImpaired, with(|e| e.impaired = true)),
        (
            Cause::RandomLoss,
            changed(silent(), |e| (e.symptoms.usual, e.symptoms.typical) = (often, often)),
        ),
        (Cause::Lossy, up(30)),
        (Cause::NoAnswer, silent()),
    ];
    for (expected, evidence) in cases {
        let diagnosis = diagnose(&target(), &evidence).unwrap();
        assert_eq!(diagnosis.cause, expected, "{evidence:?}");
        for text in [&diagnosis.summary, &diagnosis.advice] {
            assert!(!text.is_empty() && !text.contains('\n'), "{text}");
        }
        assert!(!diagnosis.evidence.is_empty());
        assert!(diagnosis.advice.ends_with('.') && !diagnosis.summary.ends_with('.'));
    }
    let found = cases.map(|(cause, _)| cause);
    assert!(Cause::ALL.iter().all(|cause| found.contains(cause)), "every cause is in the table");
}

#[test]
fn packet_options_are_named_where_they_are_the_cause() {
    let mut target = target();
    let packets = &mut Arc::make_mut(&mut target).packets;
    packets.source = Some("192.0.2.9".parse().unwrap());
    packets.interface = InterfaceName::new("eth1");
    packets.ttl = NonZeroU8::new(3);
    packets.dont_fragment = true;
    let said = |evidence: &Evidence| {
        let Diagnosis { summary, advice, .. } = diagnose(&target, evidence).unwrap();
        format!("{summary}. {advice}")
    };
    let stuck = |reason| changed(silent(), |e| e.symptoms.newest = unsent(reason));
    let other_family = changed(stuck(UnsentReason::SourceUnavailable), |e| {
        e.endpoint = Some("[2001:db8::7]:12000".parse().unwrap());
    });
    let expired =
        changed(silent(), |e| e.symptoms.last_icmp = Some(last(IcmpKind::TtlExceeded, SECOND, 1)));
    for (evidence, parts) in [
        (
            stuck(UnsentReason::SourceUnavailable),
            [
                "does not have the source address 192.0.2.9.",
                "`ip route get 192.0.2.7 from 192.0.2.9`",
            ],
        ),
        (
            other_family,
            [
                "the source 192.0.2.9 and the address 2001:db8::7 have different IP versions",
                "`source`",
            ],
        ),
        (
            stuck(UnsentReason::InterfaceUnavailable),
            ["has no interface eth1.", "as soon as eth1 is"],
        ),
        (stuck(UnsentReason::NoRoute), ["no route to the address through interface eth1.", ""]),
        (stuck(UnsentReason::Broadcast), ["is a broadcast address", "instead of 192.0.2.7"]),
        (stuck(UnsentReason::TooBig), ["the MTU of the probe's own interface.", "smaller `size`"]),
        (expired, ["more than 3 hops (`ttl`)", ""]),
    ] {
        let said = said(&evidence);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[test]
fn certain_causes_come_before_likely_ones() {
    let mut evidence = changed(silent(), |e| {
        (e.resolved, e.impaired) = (false, true);
        let often = Misses { missed: 30, settled: 100 };
        (e.symptoms.usual, e.symptoms.typical) = (often, often);
        e.symptoms.newest = OutcomeCounts { late: 5, ..unsent(UnsentReason::NoRoute) };
        e.symptoms.last_icmp = Some(last(IcmpKind::PortUnreachable, SECOND, 4));
        e.symptoms.last_invalid = Some(last(InvalidReason::Malformed, SECOND, 4));
    });
    let mut next = |remove: fn(&mut Evidence)| {
        let found = cause(&evidence).unwrap();
        remove(&mut evidence);
        found
    };
    let order = [
        next(|e| e.symptoms.newest.newest_unsent = None),
        next(|e| e.symptoms.last_icmp = None),
        next(|e| e.symptoms.newest.late = 0),
        next(|e| e.symptoms.last_invalid = None),
        next(|e| e.resolved = true),
        next(|e| e.impaired = false),
        next(|e| e.symptoms.usual = Misses::default()),
        next(|_| {}),
    ];
    let expected = [
        Cause::NoRoute,
        Cause::PortUnreachable,
        Cause::LateAnswers,
        Cause::InvalidReplies,
        Cause::LookupFailed,
        Cause::ProbeImpaired,
        Cause::RandomLoss,
        Cause::NoAnswer,
    ];
    assert_eq!(order, expected);
}

#[test]
fn an_icmp_error_explains_only_its_own_outage_and_for_a_minute_or_ten_intervals() {
    let nano = Duration::from_nanos(1);
    let came = |ago: Duration, last_reply: Option<Wall>| {
        cause(&changed(silent(), |e| {
            e.symptoms.last_icmp = Some(last(IcmpKind::PortUnreachable, ago, 4));
            e.symptoms.last_reply = last_reply;
        }))
    };
    let answered = Some(NOW - 7 * SECOND);
    assert_eq!(came(Duration::from_nanos(6_999_999_999), answered), Some(Cause::PortUnreachable));
    assert_eq!(came(7 * SECOND, answered), Some(Cause::NoAnswer), "before the last answer");
    assert_eq!(came(60 * SECOND, None), Some(Cause::PortUnreachable));
    assert_eq!(came(60 * SECOND + nano, None), Some(Cause::NoAnswer), "too old");

    let old = changed(silent(), |e| {
        e.symptoms.last_icmp = Some(last(IcmpKind::PortUnreachable, 61 * SECOND, 4));
        e.symptoms.last_reply = None;
    });
    let mut slow = target();
    Arc::make_mut(&mut slow).interval = Duration::from_millis(6_100);
    assert_eq!(diagnose(&slow, &old).unwrap().cause, Cause::PortUnreachable);
    // An error that is too old to be the cause is still listed if it belongs to this outage.
    let found = diagnose(&target(), &old).unwrap();
    assert!(found.summary.starts_with("no answer, and no recent ICMP error"), "{}", found.summary);
    assert!(
        found.evidence.iter().any(|fact| fact.contains("came 1 min 1 s ago: port unreachable"))
    );
    let of_another = changed(silent(), |e| {
        e.symptoms.last_icmp = Some(last(IcmpKind::PortUnreachable, 8 * SECOND, 4));
    });
    let found = diagnose(&target(), &of_another).unwrap();
    assert!(found.summary.starts_with("no answer, and no ICMP error"), "{}", found.summary);
    assert!(!found.evidence.iter().any(|fact| fact.contains("ICMP")), "{:?}", found.evidence);
}

#[test]
fn late_answers_are_the_cause_from_a_third_on() {
    let of = |lost, late| {
        cause(&changed(silent(), |e| {
            e.symptoms.newest = OutcomeCounts { lost, late, ..OutcomeCounts::default() }
        }))
    };
    assert_eq!(of(2, 1), Some(Cause::LateAnswers));
    assert_eq!(of(3, 1), Some(Cause::NoAnswer));
    assert_eq!(of(0, 0), Some(Cause::NoAnswer));
}

#[test]
fn chance_explains_a_run_that_it_causes_within_a_thousand_heartbeats() {
    let of = |missed, settled, misses| {
        let usual = Misses { missed, settled };
        cause(&changed(silent(), |e| {
            (e.symptoms.usual, e.symptoms.typical, e.symptoms.misses) = (usual, usual, misses);
        }))
    };
    // At 30 %, five in a row take 586 heartbeats on average, and six 1,958.
    assert_eq!(of(30, 100, 5), Some(Cause::RandomLoss));
    assert_eq!(of(30, 100, 6), Some(Cause::NoAnswer));
    assert_eq!(of(1, 100, 3), Some(Cause::NoAnswer));
    // With too few heartbeats, the ratio is unknown.
    assert_eq!(of(10, 20, 3), Some(Cause::RandomLoss));
    assert_eq!(of(10, 19, 3), Some(Cause::NoAnswer));
    // A target that was down all the time before has lost nothing by chance.
    assert_eq!(of(100, 100, 3), Some(Cause::NoAnswer));
}

#[test]
fn an_impaired_probe_explains_only_short_runs_of_misses() {
    let of =
        |misses| cause(&changed(silent(), |e| (e.impaired, e.symptoms.misses) = (true, misses)));
    assert_eq!(of(5), Some(Cause::ProbeImpaired));
    assert_eq!(of(6), Some(Cause::NoAnswer));
}

#[test]
fn outages_are_not_random_loss() {
    let evidence = changed(silent(), |e| {
        e.symptoms.misses = 3;
        e.symptoms.usual = Misses { missed: 100, settled: 300 };
        e.symptoms.typical = Misses { missed: 0, settled: 10 };
    });
    assert_eq!(cause(&evidence), Some(Cause::NoAnswer));
}

#[test]
fn a_target_that_is_up_is_in_trouble_above_five_percent_or_if_its_name_fails() {
    assert_eq!(cause(&up(0)), None);
    assert_eq!(cause(&up(5)), None);
    assert_eq!(cause(&up(6)), Some(Cause::Lossy));
    let of_few = Misses { missed: 10, settled: 19 };
    assert_eq!(cause(&changed(up(30), |e| e.symptoms.usual = of_few)), None);
    assert_eq!(cause(&changed(up(0), |e| e.resolved = false)), Some(Cause::LookupFailed));
    assert_eq!(cause(&changed(up(0), |e| e.impaired = true)), None);
    assert_eq!(cause(&changed(up(6), |e| e.impaired = true)), Some(Cause::ProbeImpaired));
    assert_eq!(cause(&changed(up(6), |e| e.symptoms.newest.late = 1)), Some(Cause::LateAnswers));
    let stuck = |lost| {
        let newest = OutcomeCounts { lost, newest_unsent: None, ..unsent(UnsentReason::Buffer) };
        cause(&changed(up(6), |e| e.symptoms.newest = newest))
    };
    assert_eq!(stuck(5), Some(Cause::BufferFull));
    assert_eq!(stuck(6), Some(Cause::Lossy));
}

#[test]
fn before_the_first_verdict_only_misses_are_explained() {
    let early = |misses| {
        changed(silent(), |e| {
            (e.symptoms.state, e.symptoms.changed, e.symptoms.last_reply) = (None, None, None);
            e.symptoms.misses = misses;
        })
    };
    assert_eq!(cause(&early(0)), None);
    assert_eq!(cause(&early(1)), Some(Cause::NoAnswer));
}

#[test]
fn the_text_of_a_diagnosis() {
    let evidence = changed(silent(), |e| {
        e.symptoms.last_icmp = Some(last(IcmpKind::PortUnreachable, Duration::from_millis(400), 4));
    });
    let diagnosis = diagnose(&target(), &evidence).unwrap();
    let written = DiagnosisDocument::from(diagnosis.clone());
    let document = serde_json::to_value(&written).unwrap();
    let expected = serde_json::json!({
        "cause": "port_unreachable",
        "summary": "port unreachable: the host is up, but nothing listens on UDP port 12000",
        "evidence": [
            "5 consecutive misses; the target is down after 3",
            "the last answer in time came 7.0 s ago",
            "the newest heartbeats: 5 lost",
            "the last ICMP error came 0.4 s ago: port unreachable (4 in all)",
        ],
        "advice": "Start the responder on the host, or correct the port (12000); a firewall that \
                   rejects UDP looks the same.",
    });
    assert_eq!(document, expected);
    assert_eq!(serde_json::from_value::<DiagnosisDocument>(document).unwrap(), written);

    let lossy = changed(up(30), |e| e.symptoms.one_way_lost = [28, 1]);
    let diagnosis = diagnose(&target(), &lossy).unwrap();
    assert_eq!(diagnosis.summary, "30.0 % of heartbeats are missed");
    assert_eq!(
        diagnosis.evidence,
        [
            "the newest heartbeats: 10 received, 2 lost",
            "30 of 100 heartbeats were missed in the last minutes",
            "28 lost forward and 1 lost backward since the probe started",
        ]
    );
}

#[test]
fn a_silent_stamp_target_at_the_default_port_may_be_a_router() {
    let mut stamp = target();
    Arc::make_mut(&mut stamp).protocol = crate::wire::by_name("stamp").unwrap().default_options();
    let never = changed(silent(), |e| e.symptoms.last_reply = None);
    let unreachable = changed(never, |e| {
        e.symptoms.last_icmp = Some(last(IcmpKind::PortUnreachable, SECOND, 4));
    });
    let advice = |target: &Target, evidence: &Evidence| diagnose(target, evidence).unwrap().advice;
    for evidence in [&never, &unreachable] {
        let expected = "If it is a router, write `stamp://fra.example:862`: routers listen on UDP \
                        port 862. Otherwise start the responder, and open UDP port 12000 in both \
                        directions.";
        assert_eq!(advice(&stamp, evidence), expected);
        assert!(!advice(&target(), evidence).contains("862"), "another protocol");
    }
    assert!(!advice(&stamp, &silent()).contains("862"), "it has answered");
    Arc::make_mut(&mut stamp).address.port = 12001;
    assert!(!advice(&stamp, &never).contains("862"), "another port");
}

fn any_evidence() -> impl Strategy<Value = Evidence> {
    let wall = || prop::option::of((0..200_u64).prop_map(|ago| NOW - Duration::from_secs(ago)));
    let verdict = (prop::option::of(prop::sample::select(State::ALL)), wall(), wall());
    let counts = (any::<[u16; 3]>(), any::<[u16; UnsentReason::COUNT]>());
    let newest_unsent = prop::option::of(prop::sample::select(UnsentReason::ALL));
    let icmp = prop::option::of((prop::sample::select(IcmpKind::ALL), 0..200_u64));
    let invalid = prop::option::of((prop::sample::select(InvalidReason::ALL), 0..200_u64));
    let astray = prop::option::of(0..200_u64);
    let runs = (0..10_u64, 0..5_u32, 0..=255_u32, 0..=255_u32);
    let place = (any::<bool>(), any::<bool>(), any::<bool>());
    (verdict, counts, newest_unsent, icmp, invalid, astray, runs, place).prop_map(
        |(
            (state, changed, last_reply),
            (counts, unsent),
            newest_unsent,
            icmp,
            invalid,
            astray,
            runs,
            place,
        )| {
            let (misses, answers, one, other) = runs;
            let usual = Misses { missed: one.min(other), settled: one.max(other) };
            let [received, lost, late] = counts.map(|count| count % 65);
            let unsent = unsent.map(|count| count % 65);
            let ago = Duration::from_secs;
            Evidence {
                at: NOW,
                symptoms: Symptoms {
                    state,
                    changed,
                    misses,
                    unanswered: 0,
                    answers,
                    last_reply,
                    newest: OutcomeCounts { received, lost, late, unsent, newest_unsent },
                    last_icmp: icmp.map(|(kind, seconds)| last(kind, ago(seconds), 1)),
                    last_invalid: invalid.map(|(reason, seconds)| last(reason, ago(seconds), 1)),
                    last_other_source: astray.map(|seconds| elsewhere(ago(seconds))),
                    usual,
                    typical: usual,
                    one_way_lost: [one.into(), other.into()],
                },
                endpoint: place.0.then(|| "[2001:db8::7]:862".parse().unwrap()),
                resolved: place.1,
                lookup_failure: None,
                impaired: place.2,
            }
        },
    )
}

proptest! {
    #[test]
    fn there_is_a_diagnosis_exactly_if_there_is_trouble(evidence in any_evidence()) {
        let found = diagnose(&target(), &evidence);
        let Symptoms { state, misses, usual, .. } = evidence.symptoms;
        let has_trouble = match state {
            Some(State::Down) => true,
            None => evidence.endpoint.is_none() || misses > 0,
            Some(State::Up) => {
                !evidence.resolved || (usual.settled >= 20 && usual.missed * 20 > usual.settled)
            }
        };
        prop_assert_eq!(found.is_some(), has_trouble, "{:?} {:?}", found, evidence);
        if let Some(Diagnosis { summary, advice, .. }) = found {
            prop_assert!(summary.len() < 100 && advice.len() < 200, "{} {}", summary, advice);
        }
    }
}
