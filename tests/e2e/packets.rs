//! How heartbeats leave (source address, interface, DSCP, hop limit, size), as a receiver sees
//! them; and listening on an address that the host does not have.

use std::collections::BTreeMap;
use std::net::IpAddr;

use udp_heartbeat::net::{Inbox, Socket, SocketOptions};

use crate::program::{PROBE, Running, own_address, run, until};
use crate::scrape::get;
use crate::server::Server;

/// A receiver that reads how datagrams arrive.
struct Receiver {
    socket: Socket,
    inbox: Inbox,
}

/// What a datagram shows of how it left: its source, traffic class and hop limit.
type Seen = (IpAddr, Option<u8>, Option<u8>);

impl Receiver {
    fn open() -> Self {
        let options = SocketOptions { traffic_class: true, ..SocketOptions::default() };
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), &options).unwrap();
        Self { socket, inbox: Inbox::new() }
    }

    /// How the next datagrams leave, by their size, until there are `count` sizes.
    fn read(&mut self, count: usize) -> BTreeMap<usize, Seen> {
        let mut seen = BTreeMap::new();
        until("datagrams of each size", || {
            self.socket.receive(&mut self.inbox).unwrap();
            for datagram in self.inbox.iter() {
                let this = (datagram.peer.ip(), datagram.traffic_class, datagram.ttl);
                let first = *seen.entry(datagram.payload.len()).or_insert(this);
                assert_eq!(first, this, "all of one size leave in the same way");
            }
            (seen.len() == count).then(|| seen.clone())
        })
    }
}

const USUAL: Seen = (IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), Some(0), Some(64));

#[test]
fn targets_of_one_address_leave_as_each_of_them_says() {
    let mut receiver = Receiver::open();
    let address = receiver.socket.local_addr();
    let probe = Running::probe_of(&format!(
        "defaults: {{protocol: stamp, interval: 20ms, dscp: LE}}
targets:
  - {{name: plain, address: \"{address}\", dscp: 0}}
  - {{name: marked, address: \"{address}\", size: 100, ttl: 9, dscp: EF}}
  - {{name: sourced, address: \"{address}\", size: 200, source: 127.0.0.2}}
  - {{name: bound, address: \"{address}\", size: 300, interface: lo, dont_fragment: true}}
  - {{name: gone, address: \"{address}\", size: 400, interface: nosuch0}}
  - {{name: foreign, address: \"{address}\", size: 500, source: 192.0.2.77}}
"
    ));
    let other = IpAddr::from([127, 0, 0, 2]);
    let expected = [
        (44, USUAL),
        (100, (USUAL.0, Some(0xB8), Some(9))),
        (200, (other, Some(4), Some(64))),
        (300, (USUAL.0, Some(4), Some(64))),
    ];
    assert_eq!(receiver.read(4), BTreeMap::from(expected));
    for (target, reason) in [("gone", "interface_unavailable"), ("foreign", "source_unavailable")] {
        until("it is down", || {
            let metrics = probe.metrics();
            let labels = [("target", target), ("reason", reason)];
            let unsent = metrics.find("heartbeat_unsent_total", &labels)?;
            (metrics.find("heartbeat_up", &[("target", target)]) == Some(0.0)).then(|| {
                assert_eq!(metrics.of(target, "sent_total"), 0);
                assert!(unsent >= 3.0);
            })
        });
    }
    // Nothing of these two has left meanwhile.
    assert!(receiver.read(4).keys().all(|size| *size < 400));
}

#[test]
fn ping_sends_as_its_options_say_and_a_responder_answers() {
    let responder = Running::responder(&[]);
    let target = format!("stamp://{}", responder.udp[0]);
    let options = ["-I127.0.0.2", "-I", "lo", "-QEF", "-t9", "-Mdo", "-s1400", "-4"];
    let ping = |target: &str, timeout| {
        let arguments = ["ping", target, "-c3", "-i20ms", timeout];
        run(PROBE, &[&arguments[..], &options].concat())
    };
    let ended = ping(&target, "-W1m");
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(ended.out.contains(" 0 lost (0.0 %)"), "{}", ended.out);

    let mut receiver = Receiver::open();
    let ended = ping(&format!("stamp://{}", receiver.socket.local_addr()), "-W1ms");
    assert_eq!(ended.code, Some(1));
    let seen = (IpAddr::from([127, 0, 0, 2]), Some(0xB8), Some(9));
    assert_eq!(receiver.read(1), BTreeMap::from([(1400, seen)]));
}

#[test]
fn ping_says_why_a_heartbeat_does_not_leave() {
    for (arguments, said) in [
        (
            &["127.255.255.255"][..],
            [
                "not sent: the address is a broadcast address",
                "why: heartbeats do not leave: the address",
            ],
        ),
        (
            &["127.0.0.1", "-I192.0.2.77"],
            [
                "not sent: this machine does not have the source address",
                "does not have the source address 192.0.2.77",
            ],
        ),
        (
            &["127.0.0.1", "-Inosuch0"],
            ["not sent: this machine does not have the interface", "has no interface nosuch0"],
        ),
    ] {
        let ended = run(PROBE, &[&["ping", "-c3", "-i10ms"], arguments].concat());
        assert_eq!((ended.code, ended.err.as_str()), (Some(1), ""), "{arguments:?}");
        assert!(said.iter().all(|said| ended.out.contains(said)), "{}", ended.out);
        assert!(ended.out.contains("3 consecutive misses"), "{}", ended.out);
    }
}

#[test]
fn ping_refuses_options_that_contradict_the_target() {
    let target = "stamp://127.0.0.1";
    for (arguments, message) in [
        (&[target, "-6"][..], "127.0.0.1 is not an IPv6 address"),
        (&["stamp://[::1]", "-4"], "::1 is not an IPv4 address"),
        (&[target, "-4", "-6"], "cannot be used with"),
        (
            &[target, "-I::1"],
            "source ::1 and the target's address 127.0.0.1 have different IP versions",
        ),
        (&[target, "-I127.0.0.1", "-I127.0.0.2"], "give at most one address and one interface"),
        (&[target, "-I224.0.0.1"], "224.0.0.1 cannot be a source"),
        (&[target, "-Q46"], "for DSCP 46, write 184"),
        (&[target, "-t0"], "must be a whole number from 1 to 255"),
        (&[target, "-t256"], "must be a whole number from 1 to 255"),
        (&[target, "-Mdont"], "must be do (never fragment) or want"),
        (&[target, "-s45"], "size must be 44, or from 48 to 65507 octets, not 45"),
        (&[target, "-s-1"], "size must be 44, or from 48 to 65507 octets, not \"-1\""),
        (
            &["127.0.0.1", "-s1400"],
            "protocol heartbeat has no option size: the protocol must be stamp",
        ),
        (
            &["ping://127.0.0.1", "-s1400"],
            "protocol ping has no option size: the protocol must be stamp",
        ),
    ] {
        let ended = run(PROBE, &[&["ping"], arguments].concat());
        assert_eq!((ended.code, ended.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(ended.err.contains(message), "{arguments:?}: {}", ended.err);
    }
}

#[test]
fn ping_uses_the_family_that_it_is_told_to() {
    let responder = Running::responder(&[]);
    let port = responder.udp[0].port();
    let ended = run(PROBE, &["ping", &format!("localhost:{port}"), "-4", "-c1", "-W1m"]);
    assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""));
    assert!(ended.out.contains(&format!("(127.0.0.1:{port})")), "{}", ended.out);
}

#[test]
fn an_address_that_the_host_does_not_have_yet_is_listened_on() {
    let absent = "192.0.2.77:0".parse().unwrap();
    let present = own_address();
    let responder = Running::responder_on(&[absent, (present.ip(), 0).into()], &[]);
    assert_eq!(responder.udp[0].ip(), absent.ip());
    let ended = run(PROBE, &["ping", &responder.udp[1].to_string(), "-c1", "-W1m"]);
    assert_eq!(ended.code, Some(0), "it answers at its other address");
    let (code, log) = responder.end("TERM");
    assert_eq!(code, Some(0));
    let warned = |line: &&serde_json::Value| {
        line["fields"]["message"]
            .as_str()
            .unwrap()
            .starts_with("this machine does not have the address")
    };
    assert_eq!(log.iter().filter(warned).count(), 1, "once, not for every thread: {log:?}");
}

#[test]
fn readiness_does_not_begin_while_the_probe_stops() {
    let silent = Server::silent();
    let mut probe = Running::probe_of(&format!(
        "targets: [{{name: silent, address: \"{}\", interval: 10ms, timeout: 3s}}]\n",
        silent.address
    ));
    until("a heartbeat is in flight", || {
        (probe.metrics().of("silent", "in_flight") >= 1).then_some(())
    });
    assert_eq!(get(probe.http, "/-/ready").unwrap().status, 503);
    probe.signal("TERM");
    probe.logged("stopping once the heartbeats in flight are settled");
    let mut asked = 0;
    until("HTTP ends", || {
        let Ok(answer) = get(probe.http, "/-/ready") else { return Some(()) };
        asked += 1;
        assert_eq!(answer.status, 503, "asked {asked} times");
        None
    });
    assert_eq!(probe.ended().0, Some(0));
}
