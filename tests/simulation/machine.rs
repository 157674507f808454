//! The machine that the worker runs on: it reads the world's clocks, and sends and receives on the
//! sockets of its kernel.

use std::net::SocketAddr;

use udp_heartbeat::model::{ClockAccuracy, InterfaceName, Moment, Mono, UnsentReason};
use udp_heartbeat::net::{Datagram, Notice, Outbox};
use udp_heartbeat::probe::{Family, Machine, SocketId, SourcePort};

use crate::clock::START;
use crate::kernel::{Pending, Port};
use crate::life::TTL;
use crate::request;
use crate::scenario::Window;
use crate::truth::{Attempt, Input, Order};
use crate::world::World;

/// The number of every interface.
const INTERFACE: u32 = 7;

impl Machine for World<'_> {
    fn now(&mut self) -> Moment {
        let probe = &self.scenario.probe;
        let reads_clock = |order: &&Order| matches!(order, Order::Apply { .. } | Order::Look(..));
        let mut takes = probe.clock_takes.0;
        // Changes are carried out after the reading of the clock that begins the round.
        let before = self.notes.orders.iter().filter(reads_clock).count();
        if self.notes.clock.len() == before + 1 {
            let changes = self.notes.orders.iter();
            let changes = changes.filter(|order| matches!(order, Order::Change(_))).count();
            takes += probe.change_takes.0 * u32::try_from(changes).unwrap_or(u32::MAX);
        }
        self.advance(self.now + takes);
        let stamp = self.conditions.clock.stamp(self.now);
        self.notes.clock.push(stamp);
        let read = self.notes.unread.drain(..).map(|delivered| Input::Arrival(delivered, stamp));
        self.notes.inputs.extend(read);
        stamp
    }

    fn clock_accuracy(&mut self, _now: Mono) -> ClockAccuracy {
        ClockAccuracy::default()
    }

    fn has(&self, family: Family) -> bool {
        self.conditions.has(family)
    }

    fn renew(&mut self, family: Family) -> bool {
        let [fresh, previous] =
            [SourcePort::Fresh, SourcePort::Previous].map(|port| SocketId { family, port });
        assert!(!self.ports.contains_key(&previous), "a previous port is open");
        if let Some(port) = self.ports.remove(&fresh) {
            self.ports.insert(previous, port);
        }
        let port = self.open_port();
        self.ports.insert(fresh, port);
        true
    }

    fn close(&mut self, socket: SocketId) {
        assert_ne!(socket.port, SourcePort::Usual);
        let port = self.ports.remove(&socket).expect("an open socket");
        assert!(port.awaited <= self.now, "answers are still awaited on {socket:?}");
    }

    fn interface(&mut self, _name: InterfaceName, now: Mono) -> Option<u32> {
        self.conditions.has_interfaces(now).then_some(INTERFACE)
    }

    fn send(
        &mut self,
        socket: SocketId,
        outbox: &mut Outbox,
        mut done: impl FnMut(usize, Result<u32, UnsentReason>),
    ) {
        let datagrams: Vec<(SocketAddr, Vec<u8>)> =
            outbox.iter().map(|(peer, payload)| (peer, payload.to_vec())).collect();
        outbox.clear();
        assert!(!datagrams.is_empty(), "an empty batch is sent");
        let leaving = self.conditions.clock.stamp(self.now);
        for (index, (peer, payload)) in datagrams.into_iter().enumerate() {
            assert_eq!(Family::of(peer), socket.family, "sent to {peer}");
            let request = request::read(&payload).expect("a request");
            let target = self.senders.find(peer, &request);
            let sequence = u64::from(request.sequence);
            let refused = self.conditions.refusal(&self.targets[target], self.now);
            let port = socket.port;
            self.notes.attempts.push(Attempt { target, sequence, port, leaving, refused });
            done(
                index,
                match refused {
                    Some(reason) => Err(reason),
                    None => Ok(self.depart(socket, peer, payload, (target, sequence))),
                },
            );
        }
    }

    fn receive(&mut self, socket: SocketId) -> usize {
        let port = self.ports.get_mut(&socket).expect("a socket");
        self.received = port.read();
        self.notes.unread.extend(self.received.iter().cloned());
        self.received.len()
    }

    fn received(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.received.iter().map(|delivered| Datagram {
            peer: delivered.from,
            local: None,
            to_group: false,
            payload: &delivered.payload,
            truncated: false,
            received: self
                .conditions
                .has_receive_stamps
                .then(|| self.conditions.clock.wall(delivered.at)),
            ttl: Some(TTL),
            traffic_class: None,
            drops: delivered.drops,
        })
    }

    fn read_notices(&mut self, socket: SocketId, mut each: impl FnMut(Notice<'_>)) {
        let port = self.ports.get_mut(&socket).expect("a socket");
        for pending in port.read_notices(self.now) {
            let input = match pending {
                Pending::Transmitted { id, at, target, sequence } => {
                    each(Notice::Transmitted { id, at });
                    Input::Transmitted { target, sequence }
                }
                Pending::Icmp(returned) => {
                    let quote = returned.quote.as_slice().into();
                    each(Notice::Icmp { peer: returned.about, kind: returned.kind, quote });
                    Input::Icmp(returned)
                }
            };
            self.notes.inputs.push(input);
        }
    }

    fn watch(&mut self) -> bool {
        let fails = |window: &Window| window.after(START).contains(&self.now);
        if self.failing_watch.iter().any(fails) {
            self.notes.watch_failed = true;
            return false;
        }
        self.ports.values_mut().for_each(|port| port.watch(self.now));
        true
    }

    fn stop_watching(&mut self) {
        self.has_ended_watch = true;
        self.ports.values_mut().for_each(Port::stop_watching);
    }
}
