//! Heartbeats do not allocate. After a warm-up, each is scheduled, encoded, reflected, decoded and
//! counted without an allocation, in every protocol, answered or lost.
//!
//! The counting allocator is that of the whole process, so this is the only test of its process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use udp_heartbeat::config::{Defaults, default_rtt_buckets, parse_target, parse_target_with};
use udp_heartbeat::exposition::ResponderMetrics;
use udp_heartbeat::impair::LinkSettings;
use udp_heartbeat::model::{ClockAccuracy, Dscp, Moment, Mono, TargetId, Wall};
use udp_heartbeat::net::Datagram;
use udp_heartbeat::probe::{Detail, Fleet, Timeline};
use udp_heartbeat::responder::Reflector;
use udp_heartbeat::wire::{self, MAX_DATAGRAM};

const START: Moment = Moment {
    mono: Mono::from_nanos(1_000_000_000_000),
    wall: Wall::from_nanos(1_800_000_000_000_000_000),
};

/// One of this many heartbeats is lost on its way back.
const LOST: u64 = 10;

/// A fleet and a responder with a simulated network of 10 µs each way.
struct Loop {
    fleet: Fleet,
    timeline: Timeline,
    reflector: Reflector,
    server: SocketAddr,
    request: Vec<u8>,
    reply: Vec<u8>,
    now: Moment,
    sent: u64,
}

impl Loop {
    /// Three targets of each protocol and one with packet options, all at one address.
    fn new() -> Self {
        let server: SocketAddr = "192.0.2.1:862".parse().unwrap();
        let mut fleet = Fleet::new(&default_rtt_buckets(), Detail::Changes, None);
        let mut slots = 0..;
        for (protocol, _) in wire::reflecting() {
            for id in slots.by_ref().take(3).map(TargetId::first) {
                let text = format!("{}://{server}", protocol.name());
                let target = parse_target(&text, &Defaults::default()).unwrap();
                fleet.add(id, Arc::new(target), START.mono);
            }
        }
        // It is longer than the buffers have room for at first.
        let mut marked = Defaults::default();
        marked.packets.dscp = Dscp::named("EF").unwrap();
        let padded = parse_target_with(&format!("stamp://{server}"), &[("size", "9000")], &marked);
        let id = TargetId::first(slots.next().unwrap());
        fleet.add(id, Arc::new(padded.unwrap()), START.mono);
        let metrics = ResponderMetrics::new();
        let gate = Arc::default();
        Self {
            fleet,
            timeline: Timeline::new(START),
            reflector: Reflector::new(
                vec![server],
                gate,
                LinkSettings::default(),
                START.mono,
                metrics,
            ),
            server,
            request: Vec::with_capacity(MAX_DATAGRAM),
            reply: Vec::with_capacity(MAX_DATAGRAM),
            now: START,
            sent: 0,
        }
    }

    /// Runs until `heartbeats` more are sent, and returns the number of allocations.
    fn run(&mut self, heartbeats: u64) -> u64 {
        allocation_counter::measure(|| self.send(heartbeats)).count_total
    }

    fn send(&mut self, heartbeats: u64) {
        let end = self.sent + heartbeats;
        while self.sent < end {
            let next = self.fleet.poll_timeout().unwrap();
            let passed = next.since(self.now.mono);
            self.now = Moment { mono: next, wall: self.now.wall + passed };
            self.timeline.begin_round(self.now);
            self.round();
            while self.fleet.poll_event().is_some() {}
        }
    }

    /// Sends the heartbeats that are due, and delivers the answers.
    fn round(&mut self) {
        let Self { fleet, timeline, reflector, server, request, reply, now, sent } = self;
        fleet.handle_timeout(*now);
        while let Some(transmit) = fleet.poll_transmit(*now) {
            request.clear();
            fleet.encode(&transmit, now.wall, ClockAccuracy::default(), request);
            let is_marked = fleet.packet_options(&transmit).dscp != Dscp::default();
            assert_eq!(is_marked, request.len() == 9_000);
            fleet.handle_sent(transmit.ticket, *now);
            fleet.handle_transmitted(transmit.ticket, now.wall);
            *sent += 1;

            let arrived = now.wall + Duration::from_micros(10);
            let datagram = Datagram {
                peer: "192.0.2.9:40000".parse().unwrap(),
                local: Some(server.ip()),
                to_group: false,
                payload: request,
                truncated: false,
                received: Some(arrived),
                ttl: Some(64),
                traffic_class: None,
                drops: None,
            };
            reply.clear();
            let answered = Moment { mono: now.mono, wall: arrived };
            reflector.handle(&datagram, 0, answered, |leaving| {
                reply.extend_from_slice(leaving.payload);
            });
            if *sent % LOST != 0 {
                let back = arrived + Duration::from_micros(10);
                let arrival = timeline.arrival(*now, Some(back), Some(64));
                fleet.handle_datagram(transmit.peer, reply, &arrival);
            }
        }
    }
}

#[test]
fn no_heartbeat_allocates() {
    let mut whole = Loop::new();
    // Warm-up: heaps and tables grow to their sizes, and the columns of the history are filled.
    assert!(whole.run(20_000) > 0);
    assert_eq!(whole.run(20_000), 0);

    // Checks the run itself: ten targets, and every tenth heartbeat lost.
    let records: Vec<_> =
        whole.fleet.ids().map(|id| whole.fleet.sample(id, whole.now.mono).unwrap()).collect();
    let sum = |count: fn(&udp_heartbeat::session::Record) -> u64| -> u64 {
        records.iter().map(|sample| count(&sample.session.record)).sum()
    };
    assert_eq!(records.len(), 10);
    let sent = sum(|record| record.sent);
    assert!(sent == whole.sent && sent >= 40_000);
    assert_eq!(sum(|record| record.received), sent - sent / LOST);
    assert!(sum(|record| record.lost) > 3_900);
}
