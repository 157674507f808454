//! Sockets on the running kernel, over loopback.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use super::*;
use crate::model::{IcmpKind, UnsentReason, Wall};
use crate::net::{Datagram, Egress, now};

mod egress;

const EVERYTHING: SocketOptions = SocketOptions {
    traffic_class: true,
    hop_limit: None,
    receive_buffer: 1 << 20,
    send_buffer: 1 << 20,
    transmit_stamps: true,
    icmp_errors: true,
    local_address: true,
    reuse_port: false,
    free_bind: false,
};

fn open(address: &str, options: &SocketOptions) -> Socket {
    stamping();
    Socket::bind(address.parse().unwrap(), options).unwrap()
}

/// Keeps the kernel's receive timestamps enabled while the tests run: the kernel enables them some
/// time after the first socket requests them, and disables them with the last.
fn stamping() {
    static ASKS: OnceLock<Socket> = OnceLock::new();
    ASKS.get_or_init(|| {
        let mut socket = Socket::bind("127.0.0.1:0".parse().unwrap(), &EVERYTHING).unwrap();
        let (own, mut inbox) = (socket.local_addr(), Inbox::new());
        until("receive timestamps", || {
            send_all(&mut socket, &[own], b"stamped?");
            socket.receive(&mut inbox).unwrap();
            inbox.iter().any(|datagram| datagram.received.is_some())
        });
        socket
    });
}

/// The loopback addresses of the families that this machine has.
fn families() -> Vec<&'static str> {
    let v6 = Socket::bind("[::1]:0".parse().unwrap(), &SocketOptions::default()).is_ok();
    if v6 { vec!["127.0.0.1:0", "[::1]:0"] } else { vec!["127.0.0.1:0"] }
}

/// An address at which no socket is open.
fn closed(address: &str) -> SocketAddr {
    open(address, &SocketOptions::default()).local_addr()
}

/// Sends `payload` to each peer in one batch; returns the outcomes in order.
fn send_all(
    socket: &mut Socket,
    peers: &[SocketAddr],
    payload: &[u8],
) -> Vec<Result<u32, SendError>> {
    let mut outbox = Outbox::new();
    for &peer in peers {
        outbox.push(peer, None, |out| out.extend_from_slice(payload));
    }
    send(socket, &mut outbox)
}

fn send(socket: &mut Socket, outbox: &mut Outbox) -> Vec<Result<u32, SendError>> {
    let mut outcomes = Vec::new();
    socket.send(outbox, |index, outcome| {
        assert_eq!(index, outcomes.len());
        outcomes.push(outcome);
    });
    assert!(outbox.is_empty());
    outcomes
}

/// Calls `step` until it returns true. On a busy machine, a kernel thread delivers loopback
/// datagrams later.
fn until(what: &str, mut step: impl FnMut() -> bool) {
    let end = now().mono + Duration::from_secs(60);
    while !step() {
        assert!(now().mono < end, "timed out after 60 s: {what}");
        std::thread::yield_now();
    }
}

/// Receives `count` datagrams and passes each to `each`.
fn receive(socket: &Socket, inbox: &mut Inbox, count: usize, mut each: impl FnMut(Datagram<'_>)) {
    let mut seen = 0;
    until("datagrams", || {
        let got = socket.receive(inbox).unwrap();
        assert_eq!(inbox.iter().count(), got);
        inbox.iter().for_each(&mut each);
        seen += got;
        seen >= count
    });
    assert_eq!(seen, count);
}

/// Collects `count` transmit timestamps.
fn stamps(socket: &mut Socket, count: usize) -> BTreeMap<u32, Wall> {
    let mut found = BTreeMap::new();
    until("timestamps", || {
        socket.notices(|notice| {
            if let Notice::Transmitted { id, at } = notice {
                assert_eq!(found.insert(id, at), None, "a second timestamp for {id}");
            }
        });
        found.len() >= count
    });
    assert_eq!(found.len(), count);
    found
}

#[test]
fn control_messages_come_with_every_datagram_of_a_reused_inbox() {
    for address in families() {
        let (mut near, far) = (open(address, &EVERYTHING), open(address, &EVERYTHING));
        let mut inbox = Inbox::new();
        let mut next = 0_u32;
        for _ in 0..4 {
            let before = now().wall;
            let mut outbox = Outbox::new();
            for number in next..next + 50 {
                outbox.push(far.local_addr(), None, |out| {
                    out.extend(number.to_be_bytes());
                });
            }
            assert!(send(&mut near, &mut outbox).iter().all(Result::is_ok));
            receive(&far, &mut inbox, 50, |datagram| {
                assert_eq!(datagram.payload, next.to_be_bytes());
                assert_eq!(datagram.peer, near.local_addr());
                assert_eq!(datagram.local, Some(far.local_addr().ip()));
                assert!(datagram.ttl.is_some());
                assert!(!datagram.truncated);
                assert_eq!(datagram.drops, None);
                let received = datagram.received.unwrap();
                assert!(before <= received && received <= now().wall);
                next += 1;
            });
        }
        assert_eq!(next, 200);
        assert_eq!(far.receive(&mut inbox).unwrap(), 0);
        assert_eq!(inbox.iter().count(), 0);
    }
}

#[test]
fn transmit_timestamps_belong_to_their_datagrams() {
    for address in families() {
        let (mut near, far) = (open(address, &EVERYTHING), open(address, &EVERYTHING));
        let mut inbox = Inbox::new();
        let mut expected = 0..;
        for _ in 0..5 {
            let before = now().wall;
            let ids: Vec<u32> = send_all(&mut near, &[far.local_addr(); 60], b"x")
                .into_iter()
                .map(Result::unwrap)
                .collect();
            let after = now().wall;
            assert_eq!(ids, expected.by_ref().take(60).collect::<Vec<_>>());
            let sent = stamps(&mut near, 60);
            assert_eq!(sent.keys().copied().collect::<Vec<_>>(), ids);
            let mut earlier = before;
            let mut order = sent.values();
            receive(&far, &mut inbox, 60, |datagram| {
                let sent = *order.next().unwrap();
                assert!(earlier <= sent && sent <= after, "sent one after the other");
                assert!(sent <= datagram.received.unwrap());
                earlier = sent;
            });
        }
    }
}

#[test]
fn without_transmit_timestamps_there_are_none() {
    let options = SocketOptions { transmit_stamps: false, ..EVERYTHING };
    let (mut near, far) = (open("127.0.0.1:0", &options), open("127.0.0.1:0", &options));
    let outcomes = send_all(&mut near, &[far.local_addr(); 3], b"x");
    assert_eq!(outcomes, [Ok(0), Ok(1), Ok(2)]);
    receive(&far, &mut Inbox::new(), 3, |datagram| {
        assert!(datagram.received.is_some());
    });
    near.notices(|notice| panic!("{notice:?}"));
}

/// Sends good datagrams mixed with some that the kernel refuses and some whose ICMP error is
/// pending when the next is sent. Every good one must get its own timestamp.
fn mixed(near: &mut Socket) {
    let far = open("127.0.0.1:0", &EVERYTHING);
    let (good, nobody) = (far.local_addr(), closed("127.0.0.76:0"));
    // SO_BROADCAST is not set: EACCES.
    let forbidden = "255.255.255.255:9".parse().unwrap();
    let mut inbox = Inbox::new();
    let mut next = 0..;
    let mut icmp = 0;
    for round in 0..20 {
        let mut outbox = Outbox::new();
        let mut expected = Vec::new();
        for index in 0..Outbox::CAPACITY {
            let (peer, octets, outcome) = match (index + round) % 7 {
                1 => {
                    (forbidden, 10, Err(SendError::because(Errno::EACCES, UnsentReason::Broadcast)))
                }
                3 => {
                    let error = SendError::new(Errno::EMSGSIZE);
                    (good, 65_535, Err(error))
                }
                5 => (nobody, 10, Ok(())),
                _ => (good, 10, Ok(())),
            };
            outbox.push(peer, None, |out| out.resize(octets, 0));
            expected.push((peer, outcome));
        }
        let before = now().wall;
        let outcomes = send(near, &mut outbox);
        let after = now().wall;

        let ids: Vec<u32> = outcomes.iter().flatten().copied().collect();
        assert_eq!(ids, next.by_ref().take(ids.len()).collect::<Vec<_>>());
        let same =
            |(outcome, (_, expected)): (&Result<u32, _>, &(_, _))| outcome.map(drop) == *expected;
        assert!(outcomes.iter().zip(&expected).all(same), "{outcomes:?}");

        let mut moments = BTreeMap::new();
        until("timestamps", || {
            near.notices(|notice| match notice {
                Notice::Transmitted { id, at } => assert_eq!(moments.insert(id, at), None),
                Notice::Icmp { peer, kind, quote } => {
                    assert_eq!((peer, kind), (nobody, IcmpKind::PortUnreachable));
                    assert_eq!(*quote, [0; 10], "a short datagram is quoted completely");
                    icmp += 1;
                }
            });
            moments.len() >= ids.len()
        });
        assert_eq!(moments.keys().copied().collect::<Vec<_>>(), ids);
        let moments: Vec<Wall> = moments.into_values().collect();
        assert!(moments.is_sorted() && before <= moments[0] && moments[ids.len() - 1] <= after);

        // No datagram arrived before it was sent.
        expected.retain(|(_, outcome)| outcome.is_ok());
        let to_good = expected.iter().zip(&moments).filter(|((peer, _), _)| *peer == good);
        let mut to_good = to_good.map(|(_, &at)| at).collect::<Vec<_>>().into_iter();
        receive(&far, &mut inbox, to_good.len(), |datagram| {
            assert_eq!(datagram.payload.len(), 10);
            assert!(to_good.next().unwrap() <= datagram.received.unwrap());
        });
    }
    assert!(icmp > 0);
}

#[test]
fn every_sent_datagram_has_its_timestamp_even_if_others_fail() {
    mixed(&mut open("127.0.0.1:0", &EVERYTHING));
}

#[test]
fn counted_ids_stay_correct_after_failures() {
    let mut near = open("127.0.0.1:0", &EVERYTHING);
    near.numbering = Numbering::Counted(Counted::default());
    mixed(&mut near);
}

#[test]
fn testing_for_carried_ids_sends_nothing() {
    for address in families() {
        let mut socket = open(address, &EVERYTHING);
        assert!(matches!(socket.numbering, Numbering::Carried(0) | Numbering::Counted(_)));
        let mut inbox = Inbox::new();
        let here = socket.local_addr();
        let outcomes = send_all(&mut socket, &[here], b"first");
        assert_eq!(outcomes, [Ok(0)]);
        receive(&socket, &mut inbox, 1, |datagram| {
            assert_eq!(datagram.payload, b"first");
        });
        assert_eq!(stamps(&mut socket, 1).keys().collect::<Vec<_>>(), [&0]);
    }
}

#[test]
fn an_icmp_error_is_reported_for_its_peer_and_for_no_other() {
    for (address, elsewhere) in families().into_iter().zip(["127.0.0.77:0", "[::1]:0"]) {
        let (mut near, far) = (open(address, &EVERYTHING), open(address, &EVERYTHING));
        let (nobody, good) = (closed(elsewhere), far.local_addr());
        let mut inbox = Inbox::new();
        let mut is_reported = false;
        // The kernel limits the rate of ICMP errors for the whole machine.
        until("an ICMP error", || {
            let outcomes = send_all(&mut near, &[nobody, good, nobody, good, good], b"x");
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            assert_eq!(near.receive(&mut inbox).unwrap(), 0, "no pending error");
            near.notices(|notice| {
                if let Notice::Icmp { peer, kind, quote } = notice {
                    assert_eq!((peer, kind), (nobody, IcmpKind::PortUnreachable));
                    assert_eq!(*quote, *b"x");
                    is_reported = true;
                }
            });
            receive(&far, &mut inbox, 3, |datagram| {
                assert_eq!(datagram.payload, b"x");
            });
            is_reported
        });
    }
}

#[test]
fn a_broadcast_datagram_is_marked_and_has_a_unicast_local_address() {
    let receiver = open("0.0.0.0:0", &EVERYTHING);
    let port = receiver.local_addr().port();
    let mut sender = open("127.0.0.1:0", &SocketOptions::default());
    sender.inner.set_broadcast(true).unwrap();
    let mut inbox = Inbox::new();
    // The last address of 127.0.0.0/8 is the broadcast address of the loopback network.
    for (address, to_group) in [([127, 0, 0, 1], false), ([127, 255, 255, 255], true)] {
        assert!(send_all(&mut sender, &[SocketAddr::from((address, port))], b"?")[0].is_ok());
        receive(&receiver, &mut inbox, 1, |datagram| {
            assert_eq!(datagram.to_group, to_group, "{address:?}");
            assert_eq!(datagram.local, Some(IpAddr::from([127, 0, 0, 1])));
        });
    }
}

#[test]
fn a_reply_leaves_from_the_address_that_was_asked() {
    let mut client = open("127.0.0.1:0", &SocketOptions::default());
    let mut replier = open("0.0.0.0:0", &EVERYTHING);
    let mut inbox = Inbox::new();
    let mut outbox = Outbox::new();
    for asked in [[127, 0, 0, 2], [127, 0, 0, 1], [127, 9, 8, 7]] {
        let asked = SocketAddr::from((asked, replier.local_addr().port()));
        assert!(send_all(&mut client, &[asked], b"?")[0].is_ok());
        receive(&replier, &mut inbox, 1, |datagram| {
            assert_eq!(datagram.local, Some(asked.ip()));
            outbox.push(datagram.peer, datagram.local, |out| {
                out.extend_from_slice(b"!");
            });
        });
    }
    // All three replies leave in one batch, each from its own address.
    assert!(send(&mut replier, &mut outbox).iter().all(Result::is_ok));
    let mut sources = Vec::new();
    receive(&client, &mut inbox, 3, |datagram| {
        assert_eq!((datagram.payload, datagram.local), (&b"!"[..], None));
        sources.push(datagram.peer.to_string());
    });
    let port = replier.local_addr().port();
    assert_eq!(
        sources,
        [format!("127.0.0.2:{port}"), format!("127.0.0.1:{port}"), format!("127.9.8.7:{port}")]
    );
}

#[test]
fn the_hop_limit_is_the_one_that_the_sender_set() {
    for (address, ttl) in families().into_iter().zip([37, 38]) {
        let mut near = open(address, &EVERYTHING);
        let far = open(address, &SocketOptions::default());
        if near.local_addr().is_ipv4() {
            near.inner.set_ttl_v4(37).unwrap();
        } else {
            near.inner.set_unicast_hops_v6(38).unwrap();
        }
        send_all(&mut near, &[far.local_addr()], b"x");
        receive(&far, &mut Inbox::new(), 1, |datagram| {
            assert_eq!(datagram.ttl, Some(ttl));
        });
    }
}

#[test]
fn hop_limit_and_traffic_class_are_set_and_reported() {
    let options = SocketOptions { hop_limit: Some(255), traffic_class: true, ..EVERYTHING };
    for any_port in ["127.0.0.1:0", "[::1]:0"] {
        let mut near = open(any_port, &options);
        let far = open(any_port, &options);
        let mut outbox = Outbox::new();
        let source = Some(near.local_addr().ip());
        for class in [0xB8, 0, 0x28] {
            let egress = Egress { source, traffic_class: class, ..Egress::default() };
            outbox.push_with(far.local_addr(), &egress, |out| out.push(class));
        }
        assert!(send(&mut near, &mut outbox).iter().all(Result::is_ok));
        receive(&far, &mut Inbox::new(), 3, |datagram| {
            let class = datagram.payload[0];
            assert_eq!((datagram.ttl, datagram.traffic_class), (Some(255), Some(class)));
        });
    }
}

#[test]
fn a_datagram_of_any_size_arrives_whole() {
    // The largest payload over IPv4 is smaller, by the header's 20 octets (RFC 791).
    for (any_port, largest) in [("127.0.0.1:0", Inbox::ROOM - 20), ("[::1]:0", Inbox::ROOM)] {
        let mut near = open(any_port, &EVERYTHING);
        let far = open(any_port, &EVERYTHING);
        let sizes = [largest, 1400, 1025, 1024, 1023, 44, 0];
        let octets = |size| (0..size).map(|place| u8::try_from(place % 251).unwrap());
        let mut inbox = Inbox::new();
        // Again, so that long datagrams use buffers that short ones have used, and reversed.
        for sizes in [sizes, sizes, {
            let mut back = sizes;
            back.reverse();
            back
        }] {
            let mut outbox = Outbox::new();
            for size in sizes {
                outbox.push(far.local_addr(), None, |out| out.extend(octets(size)));
            }
            assert!(send(&mut near, &mut outbox).iter().all(Result::is_ok));
            let mut seen = Vec::new();
            receive(&far, &mut inbox, sizes.len(), |datagram| {
                assert!(datagram.payload.iter().copied().eq(octets(datagram.payload.len())));
                assert!(!datagram.truncated);
                seen.push(datagram.payload.len());
            });
            assert_eq!(seen, sizes);
        }
    }
}

#[test]
fn dropped_datagrams_are_counted() {
    let mut near = open("127.0.0.1:0", &EVERYTHING);
    let far = open("127.0.0.1:0", &SocketOptions { receive_buffer: 1, ..SocketOptions::default() });
    let mut inbox = Inbox::new();
    let mut sent = 0_u32;
    let mut received = 0;
    let mut drops = None;
    until("count of drops", || {
        let mut outbox = Outbox::new();
        for number in sent..sent + 60 {
            outbox.push(far.local_addr(), None, |out| {
                out.extend(number.to_be_bytes());
            });
        }
        sent += 60;
        assert!(send(&mut near, &mut outbox).iter().all(Result::is_ok));
        while far.receive(&mut inbox).unwrap() > 0 {
            for datagram in inbox.iter() {
                let number = u32::from_be_bytes(datagram.payload.try_into().unwrap());
                // Every earlier datagram was either received or dropped.
                assert_eq!(datagram.drops.unwrap_or(0), number - received);
                received += 1;
                drops = datagram.drops;
            }
        }
        drops.is_some()
    });
    assert!(received < sent);
}

#[test]
fn the_receive_buffer_is_the_granted_size() {
    let socket =
        open("127.0.0.1:0", &SocketOptions { receive_buffer: 100_000, ..SocketOptions::default() });
    assert_eq!(socket.receive_buffer().unwrap(), 100_000);
}

#[test]
fn a_port_can_be_shared_if_both_sockets_request_it_and_between_ipv6_and_ipv4() {
    let shared = SocketOptions { reuse_port: true, ..SocketOptions::default() };
    let one = open("127.0.0.1:0", &shared);
    let two = Socket::bind(one.local_addr(), &shared).unwrap();
    assert_eq!(two.local_addr(), one.local_addr());
    let error = Socket::bind(one.local_addr(), &SocketOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot bind {}", one.local_addr()));
    assert!(!error.is_unsupported_family());
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("in use"));

    if let Ok(any) = Socket::bind("[::]:0".parse().unwrap(), &SocketOptions::default()) {
        let same = SocketAddr::from(([0, 0, 0, 0], any.local_addr().port()));
        assert_eq!(Socket::bind(same, &SocketOptions::default()).unwrap().local_addr(), same);
    }
}

#[test]
fn the_wrong_family_is_no_route() {
    let mut socket = open("127.0.0.1:0", &EVERYTHING);
    let outcomes = send_all(&mut socket, &["[::1]:9".parse().unwrap()], b"x");
    let error = SendError::new(Errno::EAFNOSUPPORT);
    assert_eq!(outcomes, [Err(error)]);
}
