//! The responder on real sockets over loopback, with plain sockets as its clients.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::time::Duration;

use super::*;
use crate::impair::{Fate, Impairment, LinkSettings, Outage};
use crate::model::{DropReason, ImpairmentKind, Label, Mono, Wall};
use crate::wire::{Prober, Protocol, Request, by_name, reflecting};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A responder that runs until it is dropped; one that does not stop fails the test.
struct Running(Option<Handle>);

impl Running {
    fn of(responder: Responder) -> Self {
        Self(Some(spawn(responder).unwrap()))
    }
}

impl std::ops::Deref for Running {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        self.0.as_ref().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let handle = self.0.take();
        let (done, stopped) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            drop(handle);
            done.send(())
        });
        let has_stopped = stopped.recv_timeout(PATIENCE).is_ok();
        assert!(has_stopped || std::thread::panicking(), "it does not stop");
    }
}

fn start(addresses: &[SocketAddr], terms: impl Into<Terms>) -> (Running, ResponderMetrics) {
    let metrics = ResponderMetrics::new();
    let responder = Responder::bind(addresses, &terms.into(), NonZeroUsize::MIN, &metrics).unwrap();
    (Running::of(responder), metrics)
}

/// A connected socket, which receives datagrams from `server` only.
fn client(server: SocketAddr) -> UdpSocket {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let length = client.recv(&mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn ask(client: &UdpSocket, request: &[u8]) -> Vec<u8> {
    client.send(request).unwrap();
    receive(client)
}

fn prober(protocol: Protocol) -> Arc<dyn Prober> {
    protocol.default_options().prober(0)
}

fn encoded(protocol: Protocol, sequence: u32, at: Wall) -> Vec<u8> {
    let mut octets = Vec::new();
    prober(protocol).encode(&Request::new(0, sequence, at), &mut octets);
    octets
}

fn ping() -> Protocol {
    by_name("ping").unwrap()
}

/// The sum of a counter over all protocols.
fn total(metrics: &ResponderMetrics, count: fn(&ResponderMetrics, Protocol) -> u64) -> u64 {
    reflecting().map(|(protocol, _)| count(metrics, protocol)).sum()
}

/// Waits until `condition` is true: the counters follow the replies by some microseconds.
fn eventually(condition: impl Fn() -> bool) {
    let deadline = net::now().mono + PATIENCE;
    while !condition() {
        assert!(net::now().mono < deadline, "the condition was not met in time");
        std::thread::yield_now();
    }
}

/// A responder on one port of both families' loopback addresses.
fn bind_one_port(metrics: &ResponderMetrics) -> Responder {
    // The port that is free for one family may be taken for the other.
    (0..100)
        .find_map(|_| {
            let v4 = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
            let v6 = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), v4.port());
            Responder::bind(&[v4, v6], &Terms::default(), NonZeroUsize::MIN, metrics).ok()
        })
        .unwrap()
}

#[test]
fn all_protocols_are_answered_on_one_port_of_both_families() {
    let metrics = ResponderMetrics::new();
    let responder = bind_one_port(&metrics);
    let addresses = responder.local_addrs();
    assert_eq!(addresses[0].port(), addresses[1].port());
    let handle = Running::of(responder);
    assert_eq!(handle.local_addrs(), addresses);
    for server in addresses {
        let client = client(server);
        for (protocol, _) in reflecting() {
            let at = net::now().wall;
            let reply = ask(&client, &encoded(protocol, 42, at));
            let reply = prober(protocol).decode(&reply).unwrap();
            assert_eq!(reply.sequence, 42, "{} on {server}", protocol.name());
            assert!(prober(protocol).confirms(&reply, at), "{} on {server}", protocol.name());
        }
    }
    for (protocol, _) in reflecting() {
        eventually(|| metrics.replied_count(protocol) == 2);
        assert_eq!(metrics.received_count(protocol), 2);
    }
}

#[test]
fn the_clients_of_the_course_are_served() {
    let (handle, _) = start(&[address("127.0.0.1:0")], LinkSettings::default());
    let client = client(handle.local_addrs()[0]);
    for n in 1..=10 {
        let request = format!("Ping {n} Fri Sep 20 13:12:19 2024");
        assert_eq!(ask(&client, request.as_bytes()), request.to_uppercase().into_bytes());
    }
    for sequence in 0..10 {
        let sent = net::now().wall.as_secs_f64();
        let reply = ask(&client, format!("{sequence} {sent:?}").as_bytes());
        let reply = String::from_utf8(reply).unwrap();
        let (number, difference) = reply.split_once(' ').unwrap();
        assert_eq!(number, sequence.to_string());
        let difference: f64 = difference.parse().unwrap();
        assert!(difference.abs() < 60.0, "{reply}");
    }
}

#[test]
fn a_reply_leaves_from_the_address_that_was_asked() {
    let (handle, _) = start(&[address("0.0.0.0:0")], LinkSettings::default());
    let port = handle.local_addrs()[0].port();
    for host in ["127.0.0.2", "127.0.0.1", "127.9.9.9"] {
        // A reply from any other address would never reach the connected socket.
        let client = client(SocketAddr::new(host.parse().unwrap(), port));
        assert_eq!(ask(&client, b"Ping 1 x"), b"PING 1 X");
    }
}

#[test]
fn replies_and_malformed_datagrams_are_not_answered() {
    let (handle, metrics) = start(&[address("127.0.0.1:0")], LinkSettings::default());
    let client = client(handle.local_addrs()[0]);
    client.send(b"PING 1 X").unwrap();
    client.send(b"?").unwrap();
    client.send(b"").unwrap();
    client.send(&[b'a'; 1025]).unwrap();
    // Datagrams of one socket arrive in order: an answer to one of the datagrams above would come
    // first.
    assert_eq!(ask(&client, b"Ping 2 x"), b"PING 2 X");
    assert_eq!(metrics.dropped_count(DropReason::Reflection), 1);
    assert_eq!(metrics.dropped_count(DropReason::Malformed), 2);
    assert_eq!(metrics.dropped_count(DropReason::TooLong), 1);
}

#[test]
fn a_seed_loses_the_same_requests_and_the_figures_add_up() {
    const REQUESTS: u32 = 200;
    let settings = LinkSettings { loss: 0.3, seed: 7, ..LinkSettings::default() };
    let mut link = Impairment::new(settings, Mono::default());
    let survivors: BTreeSet<u32> = (0..REQUESTS)
        .filter(|_| matches!(link.judge(Mono::default()), Fate::Deliver { .. }))
        .collect();

    for _ in 0..2 {
        let (handle, metrics) = start(&[address("127.0.0.1:0")], settings);
        let client = client(handle.local_addrs()[0]);
        let stamp = by_name("stamp").unwrap();
        let decoded = |reply: &[u8]| prober(stamp).decode(reply).unwrap().sequence;
        for sequence in 0..REQUESTS {
            client.send(&encoded(stamp, sequence, net::now().wall)).unwrap();
        }
        let answered: BTreeSet<u32> =
            survivors.iter().map(|_| decoded(&receive(&client))).collect();
        assert_eq!(answered, survivors);

        let count = |counter| total(&metrics, counter);
        let lost = REQUESTS as usize - survivors.len();
        eventually(|| count(ResponderMetrics::replied_count) == survivors.len() as u64);
        eventually(|| count(ResponderMetrics::received_count) == u64::from(REQUESTS));
        assert_eq!(metrics.dropped_count(DropReason::Loss), lost as u64);
        let dropped: u64 =
            DropReason::ALL.iter().map(|&reason| metrics.dropped_count(reason)).sum();
        assert_eq!(dropped, lost as u64);
        assert_eq!(metrics.send_error_count(), 0);
    }
}

#[test]
fn a_delayed_reply_and_its_duplicate_come_after_the_delay() {
    let delay = Duration::from_millis(30);
    let settings = LinkSettings { delay, duplicate: 1.0, ..LinkSettings::default() };
    let (handle, metrics) = start(&[address("127.0.0.1:0")], settings);
    let client = client(handle.local_addrs()[0]);
    let sent = net::now().mono;
    assert_eq!(ask(&client, b"Ping 1 x"), b"PING 1 X");
    assert!(net::now().mono.since(sent) >= delay);
    assert_eq!(receive(&client), b"PING 1 X");
    eventually(|| metrics.replied_count(ping()) == 1);
    assert_eq!(metrics.impaired_count(ImpairmentKind::Delay), 2);
    assert_eq!(metrics.impaired_count(ImpairmentKind::Duplicate), 1);
}

#[test]
fn nothing_is_answered_during_an_outage() {
    let second = Duration::from_secs(1);
    let outage = Some(Outage { every: second, lasting: second });
    let (handle, metrics) =
        start(&[address("127.0.0.1:0")], LinkSettings { outage, ..LinkSettings::default() });
    client(handle.local_addrs()[0]).send(b"Ping 1 x").unwrap();
    eventually(|| metrics.dropped_count(DropReason::Outage) == 1);
    assert_eq!(metrics.received_count(ping()), 1);
    assert_eq!(metrics.replied_count(ping()), 0);
}

#[test]
fn stopping_frees_the_port_even_with_replies_held() {
    let delay = Duration::from_secs(3600);
    let (handle, metrics) =
        start(&[address("127.0.0.1:0")], LinkSettings { delay, ..LinkSettings::default() });
    let server = handle.local_addrs()[0];
    client(server).send(b"Ping 1 x").unwrap();
    eventually(|| metrics.received_count(ping()) == 1);
    drop(handle);
    assert!(UdpSocket::bind(server).is_ok());
}

#[test]
fn it_stops_under_a_flood() {
    let (handle, metrics) = start(&[address("127.0.0.1:0")], LinkSettings::default());
    let client = client(handle.local_addrs()[0]);
    let (stopped, flood) = std::sync::mpsc::channel::<()>();
    let flooder = std::thread::spawn(move || {
        while flood.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let _ = client.send(b"Ping 1 x");
        }
    });
    eventually(|| metrics.received_count(ping()) > 1000);
    drop(handle);
    drop(stopped);
    flooder.join().unwrap();
}

#[test]
fn the_error_names_an_address_that_cannot_be_bound() {
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let error = Responder::bind(
        &[address("127.0.0.1:0"), taken],
        &Terms::default(),
        NonZeroUsize::MIN,
        &ResponderMetrics::new(),
    )
    .unwrap_err();
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    assert!(!error.is_unsupported_family());
}

#[test]
fn threads_share_every_address_and_all_of_them_answer() {
    let metrics = ResponderMetrics::new();
    let addresses = [address("127.0.0.1:0"), address("127.0.0.2:0")];
    let threads = NonZeroUsize::new(3).unwrap();
    let responder = Responder::bind(&addresses, &Terms::default(), threads, &metrics).unwrap();
    assert_eq!(responder.shares.len(), 3);
    let handle = Running::of(responder);
    let again = Responder::bind(handle.local_addrs(), &Terms::default(), threads, &metrics);
    assert!(again.is_err(), "a second responder must not share the port unnoticed");

    // The kernel spreads clients by port: 64 clients miss a thread once in 10¹¹ times.
    for &server in handle.local_addrs() {
        for _ in 0..64 {
            assert_eq!(ask(&client(server), b"Ping 1 x"), b"PING 1 X");
        }
    }
    eventually(|| metrics.replied_count(ping()) == 128);
    assert_eq!(metrics.received_count(ping()), 128);
}

#[test]
fn an_impaired_responder_has_one_thread_so_that_one_seed_decides() {
    let settings = LinkSettings { loss: 0.5, ..LinkSettings::default() };
    let threads = NonZeroUsize::new(3).unwrap();
    let metrics = ResponderMetrics::new();
    for terms in [settings.into(), Terms { changeable: true, ..Terms::default() }] {
        let responder =
            Responder::bind(&[address("127.0.0.1:0")], &terms, threads, &metrics).unwrap();
        assert_eq!(responder.shares.len(), 1);
    }
}

#[test]
fn broadcasts_are_not_answered() {
    let (handle, metrics) = start(&[address("0.0.0.0:0")], LinkSettings::default());
    let port = handle.local_addrs()[0].port();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_broadcast(true).unwrap();
    // The broadcast address of the loopback network, 127.0.0.0/8.
    client.send_to(b"Ping 1 x", ("127.255.255.255", port)).unwrap();
    client.send_to(b"Ping 2 x", ("127.0.0.1", port)).unwrap();
    assert_eq!(receive(&client), b"PING 2 X");
    assert_eq!(metrics.dropped_count(DropReason::Denied), 1);
    assert_eq!(metrics.received_count(ping()), 1);
}

#[test]
fn threads_share_one_limit() {
    let metrics = ResponderMetrics::new();
    let terms = Terms { rate_limit: NonZeroU32::new(10), ..Terms::default() };
    let threads = NonZeroUsize::new(3).unwrap();
    let responder = Responder::bind(&[address("127.0.0.1:0")], &terms, threads, &metrics).unwrap();
    let handle = Running::of(responder);
    let start = net::now().mono;
    // The kernel spreads these over the threads by their ports, and all are one source.
    let clients: Vec<_> = (0..40).map(|_| client(handle.local_addrs()[0])).collect();
    for client in &clients {
        client.send(b"Ping 1 x").unwrap();
    }
    eventually(|| metrics.received_count(ping()) == 40);
    // A refusal is counted after its request, and a reply once it has left.
    let refused = || metrics.dropped_count(DropReason::RateLimited);
    eventually(|| metrics.replied_count(ping()) + refused() == 40);
    let refused = refused();
    let most = 10.0 + net::now().mono.since(start).as_secs_f64() * 10.0 + 1.0;
    assert!(refused <= 30 && refused as f64 >= 40.0 - most, "{refused} refused");
}

/// A server's answer to a datagram.
type Server = fn(&[u8]) -> Vec<u8>;

/// An RFC 862 echo server.
fn echo(datagram: &[u8]) -> Vec<u8> {
    datagram.to_vec()
}

/// The ping server of the course, without its losses.
fn course_ping(datagram: &[u8]) -> Vec<u8> {
    datagram.to_ascii_uppercase()
}

#[test]
fn an_exchange_with_an_echo_server_ends_with_our_answer() {
    for server in [echo as Server, course_ping] {
        for (protocol, _) in reflecting() {
            let (handle, metrics) = start(&[address("127.0.0.1:0")], LinkSettings::default());
            let theirs = client(handle.local_addrs()[0]);
            // For our responder, this is the same as a datagram with a forged source.
            theirs.send(&encoded(protocol, 5, net::now().wall)).unwrap();
            let mut answers = 0;
            // Each turn sends the server's answer and then a last request. The loop ends when only
            // the last request is answered.
            loop {
                let datagram = receive(&theirs);
                if datagram == b"PING 99 LAST" {
                    break;
                }
                answers += 1;
                assert!(answers < 100, "{}: the exchange does not end", protocol.name());
                theirs.send(&server(&datagram)).unwrap();
                theirs.send(b"Ping 99 last").unwrap();
            }
            assert_eq!(answers, 1, "{}", protocol.name());
            assert_eq!(metrics.dropped_count(DropReason::Reflection), 1, "{}", protocol.name());
        }
    }
}

/// The heartbeat server of the course treats every answer as a request, and its own answers are
/// requests. Only its loss of 30 % ends the exchange; until then, the rate limit bounds it.
#[test]
fn an_exchange_with_the_heartbeat_server_of_the_course_ends_by_its_loss() {
    let (handle, metrics) = start(&[address("127.0.0.1:0")], LinkSettings::default());
    let theirs = client(handle.local_addrs()[0]);
    let mut link = Impairment::new(
        LinkSettings { loss: 0.3, seed: 1, ..LinkSettings::default() },
        Mono::default(),
    );
    theirs.send(&encoded(by_name("heartbeat").unwrap(), 5, net::now().wall)).unwrap();
    let mut answers = 1;
    loop {
        let text = String::from_utf8(receive(&theirs)).unwrap();
        let (sequence, sent) = text.split_once(' ').unwrap();
        if matches!(link.judge(Mono::default()), Fate::Drop(_)) {
            break;
        }
        let difference = net::now().wall.as_secs_f64() - sent.parse::<f64>().unwrap();
        theirs.send(format!("{sequence} {difference:?}").as_bytes()).unwrap();
        answers += 1;
        assert!(answers < 100);
    }
    assert_eq!(metrics.received_count(by_name("heartbeat").unwrap()), answers);
}

#[test]
fn two_responders_do_not_answer_each_other() {
    for settings in
        [LinkSettings::default(), LinkSettings { corrupt: 1.0, seed: 2, ..LinkSettings::default() }]
    {
        for (protocol, _) in reflecting() {
            let (one, metrics) = start(&[address("127.0.0.1:0")], settings);
            let others = ResponderMetrics::new();
            let mut other = Responder::bind(
                &[address("127.0.0.2:0")],
                &Terms::default(),
                NonZeroUsize::MIN,
                &others,
            )
            .unwrap();
            // A request to one of them, with the other as its forged source.
            let mut outbox = net::Outbox::new();
            let request = encoded(protocol, 5, net::now().wall);
            outbox.push(one.local_addrs()[0], None, |out| out.extend_from_slice(&request));
            other.shares[0].sockets[0].send(&mut outbox, |_, sent| assert!(sent.is_ok()));
            let other = Running::of(other);

            // A corrupted reply may be malformed for every protocol.
            let refused = || {
                others.dropped_count(DropReason::Reflection)
                    + others.dropped_count(DropReason::Malformed)
            };
            eventually(|| refused() == 1);
            // An answer of the other one would have come before this one.
            assert_eq!(ask(&client(other.local_addrs()[0]), b"Ping 1 x"), b"PING 1 X");
            client(one.local_addrs()[0]).send(b"Ping 1 x").unwrap();
            let received =
                |metrics: &ResponderMetrics| total(metrics, ResponderMetrics::received_count);
            eventually(|| received(&metrics) == 2);
            assert_eq!(received(&others), 1, "{}", protocol.name());
            assert_eq!(metrics.dropped_count(DropReason::Reflection), 0);
        }
    }
}
