//! The fleet on a simulated clock: schedules, and the targets that answers are for.

mod change;
mod packets;
mod per_address;
mod strays;

use super::*;

use crate::config::{Defaults, parse_target};
use crate::model::{Arrival, ClockAccuracy, IcmpKind, InvalidReason, Label, State};
use crate::observe::Cause;
use crate::session::Answered;
use crate::wire::{self, Arrived};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn at(millis: u64) -> Moment {
    Moment { mono: Mono::from_nanos(0), wall: Wall::from_nanos(1_767_225_600_000_000_000) }
        .after(SECOND * 1_000 + MILLISECOND * u32::try_from(millis).unwrap())
}

fn target(text: &str) -> Target {
    parse_target(text, &Defaults::default()).unwrap()
}

fn id(slot: usize) -> TargetId {
    TargetId::first(u32::try_from(slot).unwrap())
}

fn ip(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), 0)
}

fn peer(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A fleet on a simulated clock.
struct Driven {
    fleet: Fleet,
    /// The heartbeats that left, in order.
    sent: Vec<(Transmit, Moment)>,
    /// Their octets.
    requests: Vec<Vec<u8>>,
}

impl Driven {
    fn new(targets: &[&str]) -> Self {
        let mut fleet = Fleet::new(&[0.001, 0.1], Detail::Heartbeats, Some(0));
        for (slot, text) in targets.iter().enumerate() {
            fleet.add(id(slot), Arc::new(target(text)), at(0).mono);
        }
        Self { fleet, sent: Vec::new(), requests: Vec::new() }
    }

    /// Goes from wake-up to wake-up until `millis`, and sends all that falls due.
    fn run_to(&mut self, millis: u64) {
        while let Some(wake) = self.fleet.poll_timeout().filter(|&wake| wake <= at(millis).mono) {
            let now = at(0).after(wake.since(at(0).mono));
            self.fleet.handle_timeout(now);
            while let Some(transmit) = self.fleet.poll_transmit(now) {
                let mut request = Vec::new();
                self.fleet.encode(&transmit, now.wall, ClockAccuracy::default(), &mut request);
                self.requests.push(request);
                self.fleet.handle_sent(transmit.ticket, now);
                self.sent.push((transmit, now));
            }
        }
    }

    /// Answers heartbeat `index` of `sent` at `millis`, from the address it was sent to.
    fn answer(&mut self, index: usize, millis: u64) {
        let (transmit, sent) = self.sent[index];
        let request = wire::recognise(&self.requests[index], sent.wall).unwrap();
        let mut reply = Vec::new();
        request.reflect(Arrived::new(sent.wall, None), sent.wall, &mut reply);
        self.fleet.handle_datagram(transmit.peer, &reply, &arrival(millis));
    }

    fn happenings(&mut self) -> Vec<(String, Happening)> {
        let events = std::iter::from_fn(|| self.fleet.poll_event());
        events.map(|event| (event.target.name.clone(), event.what)).collect()
    }

    fn sample(&self, slot: usize, millis: u64) -> TargetSample {
        self.fleet.sample(id(slot), at(millis).mono).unwrap()
    }
}

fn arrival(millis: u64) -> Arrival {
    Arrival { at: at(millis).mono, kernel: Some(at(millis).wall), read: at(millis), ttl: Some(64) }
}

fn answered(happening: &Happening) -> Option<Answered> {
    if let Happening::Answered { what, .. } = happening { Some(*what) } else { None }
}

#[test]
fn every_target_keeps_its_own_schedule_from_its_phase_on() {
    let mut driven = Driven::new(&["192.0.2.1", "stamp://[2001:db8::2]:862", "ping://192.0.2.3"]);
    driven.run_to(9_999);
    for (number, address) in
        ["192.0.2.1:12000", "[2001:db8::2]:862", "192.0.2.3:12000"].into_iter().enumerate()
    {
        let own = driven.sent.iter().filter(|(transmit, _)| transmit.peer == peer(address));
        let own: Vec<_> = own.map(|(transmit, sent)| (transmit.ticket.sequence, *sent)).collect();
        assert_eq!(own.len(), 10);
        let (_, first) = own[0];
        assert!(at(0).mono <= first.mono && first.mono < at(1_000).mono);
        for (sequence, (number, sent)) in (0..).zip(&own) {
            assert_eq!((*number, sent.mono), (u64::from(sequence), first.mono + SECOND * sequence));
        }
        assert_eq!(driven.sample(number, 10_000).session.record.sent, 10);
    }
    assert_eq!((driven.fleet.schedule_lag().count(), driven.fleet.schedule_lag().sum()), (30, 0));
}

#[test]
fn answers_from_the_address_before_the_last_change_still_count() {
    let mut driven = Driven::new(&["fra.example"]);
    driven.fleet.handle_addresses(id(0), &[ip("192.0.2.1")].into(), at(0));
    driven.run_to(1_000);
    assert_eq!(driven.sent[0].0.peer, peer("192.0.2.1:12000"));
    driven.fleet.handle_addresses(id(0), &[ip("2001:db8::2")].into(), at(0));
    assert_eq!(driven.fleet.address(id(0)), Some(peer("[2001:db8::2]:12000")));
    driven.answer(0, 1_010);
    assert_eq!(driven.sample(0, 1_010).session.record.received, 1);
    driven.run_to(2_000);
    assert_eq!(driven.sent[1].0.peer, peer("[2001:db8::2]:12000"));

    driven.fleet.handle_addresses(id(0), &[ip("192.0.2.3")].into(), at(0));
    driven.answer(0, 2_010);
    assert_eq!(driven.fleet.unmatched()[UnmatchedReason::UnknownAddress.index()], 1);
    driven.answer(1, 2_020);
    let sample = driven.sample(0, 2_020);
    assert_eq!((sample.session.record.received, sample.address_changes), (2, 2));
    assert_eq!(sample.session.record.duplicates, 0);
}

#[test]
fn a_target_returns_to_its_former_address() {
    let mut driven = Driven::new(&["fra.example"]);
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.1"] {
        driven.fleet.handle_addresses(id(0), &[ip(address)].into(), at(0));
    }
    driven.run_to(1_000);
    driven.answer(0, 1_010);
    let sample = driven.sample(0, 1_010);
    assert_eq!((sample.session.record.received, sample.address_changes), (1, 2));
    assert_eq!(sample.address, Some(peer("192.0.2.1:12000")));
}

#[test]
fn failed_lookups_and_further_addresses_keep_the_address_in_use() {
    let mut driven = Driven::new(&["fra.example:862"]);
    driven.fleet.handle_addresses(id(0), &[].into(), at(0));
    let sample = driven.sample(0, 0);
    assert_eq!((sample.address, sample.resolved), (None, false));
    driven.fleet.handle_addresses(id(0), &[ip("192.0.2.1")].into(), at(0));
    assert!(driven.sample(0, 0).resolved);
    driven.fleet.handle_addresses(id(0), &[].into(), at(0));
    let sample = driven.sample(0, 0);
    assert_eq!((sample.address, sample.resolved), (Some(peer("192.0.2.1:862")), false));
    driven.fleet.handle_addresses(id(0), &[ip("192.0.2.9"), ip("192.0.2.1")].into(), at(0));
    let sample = driven.sample(0, 0);
    assert_eq!((sample.address, sample.resolved), (Some(peer("192.0.2.1:862")), true));
    assert_eq!(sample.address_changes, 0);
    driven.fleet.handle_addresses(id(7), &[ip("192.0.2.1")].into(), at(0));
}

#[test]
fn without_an_address_heartbeats_fall_due_and_are_misses() {
    let mut driven = Driven::new(&["nowhere.example"]);
    driven.run_to(3_999);
    assert!(driven.sent.is_empty());
    let sample = driven.sample(0, 4_000);
    assert_eq!(sample.session.record.unsent[UnsentReason::Unresolved.index()], 4);
    assert_eq!((sample.session.record.sent, sample.session.state), (0, Some(State::Down)));
    let happened: Vec<_> = driven.happenings().into_iter().map(|(_, what)| what).collect();
    let unsent = |sequence| Happening::Unsent { sequence, reason: UnsentReason::Unresolved };
    let down = Happening::Changed { state: State::Down, misses: 3, is_first: true };
    assert_eq!(happened, [unsent(0), unsent(1), unsent(2), down, unsent(3)]);
}

#[test]
fn an_icmp_error_counts_for_the_target_that_it_quotes_and_settles_nothing() {
    let mut driven = Driven::new(&["192.0.2.1", "ping://192.0.2.1", "192.0.2.2"]);
    driven.run_to(999);
    let of_ping = driven.sent.iter().position(|(transmit, _)| transmit.ticket.id == id(1));
    let quote = &driven.requests[of_ping.unwrap()].clone()[..];
    for (about, quote) in [
        ("192.0.2.1:12000", quote),
        ("192.0.2.1:12000", &quote[..quote.len() - 8]),
        ("192.0.2.1:12000", b"Ping 1 Thu Jan  1 00:00:00 1970"),
        ("192.0.2.1:12000", b""),
        ("192.0.2.1:12001", quote),
        ("192.0.2.2:12000", b""),
    ] {
        driven.fleet.handle_icmp(peer(about), quote, IcmpKind::PortUnreachable, at(1_000));
    }
    for (number, errors) in [0, 2, 1].into_iter().enumerate() {
        let session = driven.sample(number, 1_000).session;
        assert_eq!(session.record.icmp_errors[IcmpKind::PortUnreachable.index()], errors);
        assert_eq!((session.record.lost, session.in_flight), (0, 1));
    }
    let icmp = Happening::Icmp(IcmpKind::PortUnreachable);
    let expected = ["ping://192.0.2.1", "ping://192.0.2.1", "192.0.2.2"];
    assert_eq!(driven.happenings(), expected.map(|target| (target.to_owned(), icmp)));
    let mut unmatched = [0; UnmatchedReason::COUNT];
    unmatched[UnmatchedReason::UnknownHeartbeat.index()] = 2;
    unmatched[UnmatchedReason::UnknownAddress.index()] = 1;
    assert_eq!(driven.fleet.unmatched(), unmatched);
}

#[test]
fn an_error_about_an_answered_heartbeat_is_no_evidence() {
    let mut driven = Driven::new(&["192.0.2.1"]);
    driven.run_to(999);
    driven.answer(0, 1_000);
    let quote = driven.requests[0].clone();
    for quote in [&quote[..], b""] {
        let about = peer("192.0.2.1:12000");
        driven.fleet.handle_icmp(about, quote, IcmpKind::PortUnreachable, at(1_000));
    }
    assert_eq!(driven.sample(0, 1_000).session.record.icmp_errors.iter().sum::<u64>(), 0);
    assert_eq!(driven.fleet.unmatched()[UnmatchedReason::UnknownHeartbeat.index()], 2);
}

#[test]
fn replies_that_count_from_zero_answer_no_heartbeat_of_a_text_protocol() {
    let mut driven = Driven::new(&["192.0.2.1", "ping://192.0.2.2"]);
    driven.run_to(9_999);
    for sequence in 0..200 {
        for (from, text) in [
            ("192.0.2.1:12000", format!("{sequence} 0.0")),
            ("192.0.2.2:12000", format!("PING {sequence} THU JAN  1 00:00:00 1970")),
        ] {
            driven.fleet.handle_datagram(peer(from), text.as_bytes(), &arrival(9_999));
        }
    }
    for number in 0..2 {
        let session = driven.sample(number, 9_999).session;
        assert_eq!((session.record.received, session.record.late), (0, 0));
        assert_eq!(session.state, Some(State::Down));
        assert_eq!(session.record.invalid.iter().sum::<u64>(), 200);
    }
}

#[test]
fn targets_behind_a_reflector_without_ssids_are_all_up() {
    let mut driven = Driven::new(&["stamp://192.0.2.1:862"; 3]);
    for millis in 1..=30 {
        driven.run_to(millis * 100);
        for index in 0..driven.sent.len() {
            let (transmit, sent) = driven.sent[index];
            if sent.mono + MILLISECOND * 100 > at(millis * 100).mono {
                let request = wire::recognise(&driven.requests[index], sent.wall).unwrap();
                let mut reply = Vec::new();
                request.reflect(Arrived::new(sent.wall, None), sent.wall, &mut reply);
                reply[14..16].fill(0);
                driven.fleet.handle_datagram(transmit.peer, &reply, &arrival(millis * 100));
            }
        }
    }
    for number in 0..3 {
        let session = driven.sample(number, 3_000).session;
        assert_eq!((session.record.received, session.state), (3, Some(State::Up)));
        assert_eq!(session.record.duplicates, 0);
    }
}

#[test]
fn stopping_keeps_the_timeouts_of_heartbeats_in_flight() {
    let mut driven = Driven::new(&["192.0.2.1", "192.0.2.2"]);
    assert!(!driven.fleet.is_settled());
    driven.run_to(1_000);
    assert_eq!(driven.sent.len(), 2);
    driven.fleet.stop();
    assert!(!driven.fleet.is_settled());
    driven.answer(0, 1_001);
    assert!(!driven.fleet.is_settled());
    driven.run_to(60_000);
    assert_eq!(driven.sent.len(), 2, "nothing more falls due");
    assert!(driven.fleet.is_settled());
    assert_eq!(driven.fleet.poll_timeout(), None);
    let lost = driven.sample(0, 60_000).session.record.lost;
    assert_eq!(lost + driven.sample(1, 60_000).session.record.lost, 1);
    let settled = driven.happenings().into_iter().map(|(_, what)| what).collect::<Vec<_>>();
    assert_eq!(settled.last(), Some(&Happening::Lost { sequence: 0 }));
}

#[test]
fn a_limit_ends_every_targets_schedule() {
    let mut driven = Driven::new(&["192.0.2.1", "nowhere.example"]);
    driven.fleet.limit(3);
    driven.run_to(60_000);
    assert_eq!(driven.sent.len(), 3);
    assert!(driven.fleet.is_settled());
    assert_eq!(driven.sample(0, 60_000).session.record.lost, 3);
    assert_eq!(driven.sample(1, 60_000).session.record.unsent_misses(), 3);
}

#[test]
fn a_fleet_is_ready_when_every_target_that_can_be_resolved_has_settled_a_heartbeat() {
    let mut driven = Driven::new(&["192.0.2.1", "nowhere.example", "fra.example"]);
    driven.fleet.handle_addresses(id(1), &[].into(), at(0));
    driven.run_to(999);
    assert!(!driven.fleet.poll_ready(), "one name has not been looked up yet");
    driven.fleet.handle_addresses(id(2), &[ip("192.0.2.2")].into(), at(0));
    driven.answer(0, 1_000);
    assert!(!driven.fleet.poll_ready(), "its heartbeats have not been settled");
    driven.run_to(2_999);
    assert!(driven.fleet.poll_ready());
    assert!(driven.fleet.poll_ready());
}

#[test]
fn lateness_skipping_and_drops_impair_the_probe_for_a_minute() {
    let mut driven = Driven::new(&["192.0.2.1"]);
    let first = driven.fleet.poll_timeout().unwrap();
    let send = |driven: &mut Driven, late: Duration| {
        let due = driven.fleet.poll_timeout().unwrap();
        let now = at(0).after(due.since(at(0).mono) + late);
        driven.fleet.handle_timeout(now);
        while let Some(transmit) = driven.fleet.poll_transmit(now) {
            driven.fleet.handle_sent(transmit.ticket, now);
        }
        now.mono
    };
    let now = send(&mut driven, MILLISECOND * 100);
    assert!(!driven.fleet.is_impaired(now));
    for late in [MILLISECOND * 101, SECOND * 3] {
        driven.fleet.monitor = Monitor::default();
        let now = send(&mut driven, late);
        assert!(driven.fleet.is_impaired(now + SECOND * 60 - Duration::from_nanos(1)));
        assert!(!driven.fleet.is_impaired(now + SECOND * 60));
    }
    driven.fleet.monitor = Monitor::default();
    driven.fleet.handle_drops(1, first);
    assert!(driven.fleet.is_impaired(first + SECOND * 59));
    assert!(!driven.fleet.is_impaired(first + SECOND * 60));
}

#[test]
fn a_datagram_too_long_for_any_reply_is_malformed() {
    let mut driven = Driven::new(&["192.0.2.1"]);
    driven.fleet.handle_oversized(peer("192.0.2.1:12000"), &arrival(1));
    driven.fleet.handle_oversized(peer("192.0.2.2:12000"), &arrival(1));
    let what: Vec<_> = driven.happenings().iter().filter_map(|(_, what)| answered(what)).collect();
    assert_eq!(what, [Answered::Invalid(InvalidReason::Malformed)]);
    assert_eq!(driven.fleet.unmatched()[UnmatchedReason::UnknownAddress.index()], 1);
}

#[test]
fn a_transmit_stamp_reaches_its_heartbeat() {
    let mut driven = Driven::new(&["192.0.2.1"]);
    driven.run_to(999);
    let (transmit, sent) = driven.sent[0];
    driven.fleet.handle_transmitted(transmit.ticket, sent.wall + MILLISECOND);
    driven.answer(0, 1_000);
    let rtt = at(1_000).mono.since(sent.mono + MILLISECOND);
    let what: Vec<_> = driven.happenings().iter().filter_map(|(_, what)| answered(what)).collect();
    assert_eq!(what, [Answered::InTime { sequence: 0, rtt }]);
}

#[test]
fn a_change_carries_its_evidence() {
    let mut fleet = Fleet::new(&[1.0], Detail::Changes, None);
    fleet.add(id(0), Arc::new(target("192.0.2.1")), at(0).mono);
    let mut driven = Driven { fleet, sent: Vec::new(), requests: Vec::new() };
    driven.run_to(999);
    driven.answer(0, 1_000);
    driven.run_to(1_999);
    driven.fleet.handle_icmp(peer("192.0.2.1:12000"), b"", IcmpKind::AdminProhibited, at(2_000));
    driven.run_to(9_999);
    let up = driven.fleet.poll_event().unwrap();
    assert_eq!((up.evidence.unwrap().symptoms.answers, up.diagnosis()), (1, None));
    let down = driven.fleet.poll_event().unwrap();
    assert_eq!(down.diagnosis().unwrap().cause, Cause::AdminProhibited);
    let sample = driven.sample(0, 9_999);
    assert_eq!(sample.evidence(down.at).endpoint, Some(peer("192.0.2.1:12000")));
    assert_eq!(sample.diagnosis(down.at).unwrap().cause, Cause::AdminProhibited);
}

#[test]
fn a_fleet_reports_only_changes_if_asked_for_only_changes() {
    let mut fleet = Fleet::new(&[1.0], Detail::Changes, None);
    fleet.add(id(0), Arc::new(target("192.0.2.1")), at(0).mono);
    let mut driven = Driven { fleet, sent: Vec::new(), requests: Vec::new() };
    driven.run_to(999);
    driven.answer(0, 1_000);
    driven.run_to(9_999);
    let happened: Vec<_> = driven.happenings().into_iter().map(|(_, what)| what).collect();
    let changed = |state, misses, is_first| Happening::Changed { state, misses, is_first };
    assert_eq!(happened, [changed(State::Up, 0, true), changed(State::Down, 3, false)]);
}
