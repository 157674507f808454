//! Packet options of targets that change.

use std::net::IpAddr;

use super::*;
use crate::model::{Dscp, Found, LookupFailure};

#[test]
fn packet_options_apply_to_the_next_heartbeat_and_choose_the_family() {
    let mut driven = Driven::new(&["fra.example"]);
    let found = ["2001:db8::1", "192.0.2.1"];
    let both = Found::new(Ok(vec![ip(found[1])]), Ok(vec![ip(found[0])]));
    driven.fleet.handle_resolved("fra.example", both.clone());
    while driven.fleet.pass_on_addresses(2, at(0)) {}
    let packets = PacketOptions {
        source: Some("192.0.2.100".parse().unwrap()),
        dscp: Dscp::named("EF").unwrap(),
        ..PacketOptions::default()
    };
    let plain = PacketOptions::default();
    for (round, (packets, address)) in
        (0..).zip([(plain, found[0]), (packets, found[1]), (plain, found[1])])
    {
        let changed = Target { packets, ..target("fra.example") };
        driven.fleet.retune(id(0), Arc::new(changed), Some(&both), at(round * 1_000));
        driven.run_to(round * 1_000 + 999);
        let transmit = driven.sent.last().unwrap().0;
        assert_eq!(driven.fleet.packet_options(&transmit), packets, "round {round}");
        let ip: IpAddr = address.parse().unwrap();
        assert_eq!(transmit.peer.ip(), ip, "an address that fits stays in use");
    }
    // There is no address of the family: the last known one stays in use.
    let changed = Arc::new(Target { packets, ..target("fra.example") });
    let one = Found::new(Err(LookupFailure::NoAddress), Ok(vec![ip(found[0])]));
    driven.fleet.retune(id(0), changed, Some(&one), at(3_000));
    driven.run_to(3_999);
    let transmit = driven.sent.last().unwrap().0;
    assert_eq!(transmit.peer.ip(), found[1].parse::<IpAddr>().unwrap());
    assert!(driven.fleet.look(id(0), at(3_999)).is_some_and(|look| !look.sample.resolved));
}
