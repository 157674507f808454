//! How datagrams leave: source address, interface, traffic class, hop limit, fragmentation.

use std::num::NonZeroU8;

use crate::net::interface_number;

use super::*;

/// Sends an empty datagram to `peer` by each of `egresses`, in one batch.
fn send_by(
    socket: &mut Socket,
    peer: SocketAddr,
    egresses: &[Egress],
) -> Vec<Result<u32, SendError>> {
    let mut outbox = Outbox::new();
    for egress in egresses {
        outbox.push_with(peer, egress, |_| {});
    }
    send(socket, &mut outbox)
}

#[test]
fn each_datagram_of_a_batch_leaves_as_it_says() {
    let lo = interface_number("lo");
    for (any_port, source) in [("127.0.0.1:0", "127.0.0.2"), ("[::1]:0", "::1")] {
        let any_source = any_port.replace("127.0.0.1", "0.0.0.0").replace("::1", "::");
        let (mut near, far) = (open(&any_source, &EVERYTHING), open(any_port, &EVERYTHING));
        let usual = far.local_addr().ip();
        let source = source.parse().unwrap();
        let default = Egress::default();
        let egresses = [
            default,
            Egress { source: Some(source), ..default },
            Egress { traffic_class: 0xB8, ..default },
            Egress { hop_limit: NonZeroU8::new(7), ..default },
            Egress { interface: lo, ..default },
            Egress { dont_fragment: true, ..default },
            default,
            Egress {
                source: Some(source),
                interface: lo,
                traffic_class: 0x28,
                hop_limit: NonZeroU8::MAX.into(),
                dont_fragment: true,
            },
            default,
        ];
        let outcomes = send_by(&mut near, far.local_addr(), &egresses);
        let ids: Vec<u32> = (0..).take(egresses.len()).collect();
        assert_eq!(outcomes.into_iter().collect::<Result<Vec<_>, _>>().unwrap(), ids);
        let mut expected = egresses.iter().map(|egress| {
            let from = egress.source.unwrap_or(usual);
            (from, egress.traffic_class, egress.hop_limit.map_or(64, NonZeroU8::get))
        });
        receive(&far, &mut Inbox::new(), egresses.len(), |datagram| {
            let Datagram { peer, traffic_class, ttl, .. } = datagram;
            let seen = (peer.ip(), traffic_class.unwrap(), ttl.unwrap());
            assert_eq!(Some(seen), expected.next());
        });
        let stamped: Vec<u32> = stamps(&mut near, egresses.len()).into_keys().collect();
        assert_eq!(stamped, ids, "every datagram has its own timestamp");
    }
}

#[test]
fn a_missing_source_or_interface_is_the_error_of_its_datagram_alone() {
    let default = Egress::default();
    for (any_port, source) in [("127.0.0.1:0", "192.0.2.77"), ("[::1]:0", "2001:db8::77")] {
        let any_source = any_port.replace("127.0.0.1", "0.0.0.0").replace("::1", "::");
        let (mut near, far) = (open(&any_source, &EVERYTHING), open(any_port, &EVERYTHING));
        let source = Some(source.parse().unwrap());
        let no_interface = Some(0x7fff_fff0);
        let egresses = [
            default,
            Egress { source, ..default },
            default,
            Egress { interface: no_interface, ..default },
            default,
            Egress { source, dont_fragment: true, ..default },
            default,
        ];
        for round in 0..2 {
            let outcomes = send_by(&mut near, far.local_addr(), &egresses);
            let reasons: Vec<_> =
                outcomes.iter().map(|outcome| outcome.map_err(SendError::reason)).collect();
            let first = round * 4;
            let absent = Err(UnsentReason::SourceUnavailable);
            assert_eq!(
                reasons,
                [
                    Ok(first),
                    absent,
                    Ok(first + 1),
                    Err(UnsentReason::InterfaceUnavailable),
                    Ok(first + 2),
                    absent,
                    Ok(first + 3)
                ]
            );
            receive(&far, &mut Inbox::new(), 4, |_| {});
        }
        assert_eq!(
            stamps(&mut near, 8).into_keys().collect::<Vec<_>>(),
            (0..8).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_datagram_that_must_not_be_fragmented_does_not_leave_if_it_exceeds_the_mtu() {
    // The MTU of the loopback interface is 65,536: the IP header and 65,516 or 65,496 octets.
    for (any_port, largest) in [("127.0.0.1:0", 65_507), ("[::1]:0", 65_527)] {
        let (mut near, far) = (open(any_port, &EVERYTHING), open(any_port, &EVERYTHING));
        let mut sent = |size, dont_fragment| {
            let mut outbox = Outbox::new();
            let egress = Egress { dont_fragment, ..Egress::default() };
            outbox.push_with(far.local_addr(), &egress, |out| out.resize(size, 0));
            send(&mut near, &mut outbox)[0].map(drop).map_err(SendError::reason)
        };
        assert_eq!(sent(1400, true), Ok(()));
        let fits = if near_fits(largest, any_port) { Ok(()) } else { Err(UnsentReason::TooBig) };
        assert_eq!(sent(largest, true), fits);
        assert_eq!(sent(largest, false), Ok(()), "fragmented if necessary");
        assert_eq!(sent(1400, true), Ok(()));
    }
}

/// Whether a datagram of `size` octets fits into the MTU of the loopback interface.
fn near_fits(size: usize, any_port: &str) -> bool {
    let headers = if any_port.starts_with('[') { 40 + 8 } else { 20 + 8 };
    let mtu = std::fs::read_to_string("/sys/class/net/lo/mtu").unwrap();
    size + headers <= mtu.trim().parse().unwrap()
}

#[test]
fn a_broadcast_address_of_a_network_is_distinguished_from_a_firewall() {
    let mut near = open("0.0.0.0:0", &EVERYTHING);
    let far = open("127.0.0.1:0", &EVERYTHING);
    for _ in 0..2 {
        let broadcast = "127.255.255.255:9".parse().unwrap();
        let outcomes = send_all(&mut near, &[broadcast, far.local_addr()], b"x");
        assert_eq!(outcomes[0].map_err(SendError::reason), Err(UnsentReason::Broadcast));
        assert!(outcomes[1].is_ok());
    }
    receive(&far, &mut Inbox::new(), 2, |_| {});
}

#[test]
fn a_socket_is_bound_to_an_absent_address_only_on_request() {
    for absent in ["192.0.2.77:0", "[2001:db8::77]:0"] {
        let absent = absent.parse().unwrap();
        let error = Socket::bind(absent, &SocketOptions::default()).unwrap_err();
        assert!(error.is_absent_address() && !error.is_unsupported_family());
        let freely = SocketOptions { free_bind: true, ..SocketOptions::default() };
        let socket = Socket::bind(absent, &freely).unwrap();
        assert_eq!(socket.local_addr().ip(), absent.ip());
    }
}
