//! Targets for the addresses of a name, and the one that takes their place while there are none.

use super::*;
use crate::model::{Addresses, Found, LookupFailure};

fn template() -> Target {
    Target { addresses: Addresses::All, ..target("fra.example:862") }
}

/// A fleet with a target for one address of the name.
fn driven(address: &str) -> Driven {
    let mut driven = Driven::new(&[]);
    let target = template().at(address.parse().unwrap());
    driven.fleet.add(id(0), Arc::new(target), at(0).mono);
    driven
}

fn resolve(driven: &mut Driven, found: Found) {
    driven.fleet.handle_resolved("fra.example", found);
    while driven.fleet.pass_on_addresses(2, at(0)) {}
}

fn failures(driven: &Driven, why: LookupFailure) -> u64 {
    driven.sample(0, 0).lookup_failures[why.index()]
}

#[test]
fn a_target_in_the_place_of_a_template_sends_nothing() {
    let mut driven = Driven::new(&[]);
    driven.fleet.add(id(0), Arc::new(template().without_address()), at(0).mono);
    let nothing = Found::failed(LookupFailure::NxDomain);
    for found in [nothing, [ip("192.0.2.1")].into(), [ip("192.0.2.2")].into()] {
        resolve(&mut driven, found.clone());
        driven.fleet.handle_addresses(id(0), &found, at(0));
        assert_eq!((driven.fleet.address(id(0)), driven.sample(0, 0).resolved), (None, false));
    }
    driven.run_to(4_999);
    let record = driven.sample(0, 4_999).session.record;
    assert_eq!((record.sent, record.unsent[UnsentReason::Unresolved.index()]), (0, 5));
    assert_eq!(driven.sample(0, 4_999).session.state, Some(State::Down));
    assert_eq!(driven.fleet.poll_lookup(), None, "it has no address that fails");
    assert_eq!(failures(&driven, LookupFailure::NxDomain), 2);
}

#[test]
fn a_target_for_one_address_keeps_it_whatever_is_found() {
    let mut driven = driven("192.0.2.1");
    let here = Some(peer("192.0.2.1:862"));
    for found in [&["192.0.2.2", "192.0.2.1"][..], &["192.0.2.2"]] {
        let v4 = found.iter().map(|text| ip(text)).collect();
        resolve(&mut driven, Found::new(Ok(v4), Err(LookupFailure::Timeout)));
        let sample = driven.sample(0, 0);
        assert_eq!((sample.address, sample.resolved), (here, true), "the other version failed");
    }
    let v6 = Found::new(Err(LookupFailure::ServFail), Ok(vec![ip("2001:db8::1")]));
    resolve(&mut driven, v6);
    let sample = driven.sample(0, 0);
    assert_eq!((sample.address, sample.lookup_failure), (here, Some(LookupFailure::ServFail)));
    assert_eq!(sample.lookup_failures().map(|(_, count)| count).sum::<u64>(), 1);
    driven.run_to(999);
    assert_eq!(driven.sent[0].0.peer, peer("192.0.2.1:862"));
    assert_eq!(driven.sample(0, 999).address_changes, 0);
}

#[test]
fn an_address_that_fails_has_the_name_looked_up() {
    let mut driven = driven("192.0.2.1");
    driven.run_to(2_999);
    assert_eq!(driven.fleet.poll_lookup(), None);
    driven.run_to(20_000);
    assert_eq!(driven.fleet.poll_lookup().as_deref(), Some("fra.example"));
    assert_eq!(driven.fleet.poll_lookup(), None, "once until there is an answer");
    resolve(&mut driven, [ip("192.0.2.1"), ip("192.0.2.2")].into());
    assert!(!driven.fleet.is_moving());
    driven.run_to(24_000);
    assert_eq!(driven.fleet.poll_lookup().as_deref(), Some("fra.example"));
    assert!(driven.sent.iter().all(|(sent, _)| sent.peer == peer("192.0.2.1:862")));
    assert_eq!(driven.sample(0, 24_000).address_changes, 0);
}

#[test]
fn a_target_can_get_another_name_for_the_same_address() {
    let mut driven = driven("192.0.2.1");
    let ip: std::net::IpAddr = "192.0.2.1".parse().unwrap();
    let name = "fra.example:862";
    let other = Target { name: name.to_owned(), ..target("ams.example:862") };
    let changed = Arc::new(Target { addresses: Addresses::All, ..other }.at(ip));
    let failed = Found::failed(LookupFailure::Timeout);
    driven.fleet.retune(id(0), changed.clone(), Some(&failed), at(0));
    let sample = driven.sample(0, 0);
    assert_eq!((sample.address, sample.resolved), (Some(peer("192.0.2.1:862")), false));
    resolve(&mut driven, Found::failed(LookupFailure::NxDomain));
    assert_eq!(failures(&driven, LookupFailure::NxDomain), 0, "it is no longer its name");
    driven.run_to(3_999);
    assert_eq!(driven.fleet.poll_lookup().as_deref(), Some("ams.example"));
    // Its address is written as such from now on.
    let literal = Target { resolved_from: None, ..Target::clone(&changed) };
    driven.fleet.retune(id(0), Arc::new(literal), None, at(4_000));
    assert!(driven.sample(0, 4_000).resolved);
    driven.run_to(20_000);
    assert_eq!(driven.fleet.poll_lookup(), None);
    assert_eq!(driven.sample(0, 20_000).address_changes, 0);
    driven.fleet.remove(id(0), at(20_000).mono);
}

#[test]
fn a_failed_lookup_does_not_end_the_wait_for_an_address_that_another_target_has() {
    let mut driven = Driven::new(&["dns://192.0.2.1"]);
    let template = Target { addresses: Addresses::All, ..target("dns://fra.example") };
    let ip: std::net::IpAddr = "192.0.2.1".parse().unwrap();
    driven.fleet.add(id(1), Arc::new(template.at(ip)), at(0).mono);
    while driven.fleet.retry_routes(64) {}
    assert_eq!(driven.fleet.address(id(1)), None);
    resolve(&mut driven, Found::failed(LookupFailure::Timeout));
    driven.fleet.remove(id(0), at(0).mono);
    driven.run_to(61_000);
    while driven.fleet.retry_routes(64) {}
    assert_eq!(driven.fleet.address(id(1)), Some(peer("192.0.2.1:53")));
}
