//! The real machine of a worker, and the loop that drives the worker on it: the only asynchronous
//! part of a worker's thread.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::Poll;
use std::thread;

use crate::model::{ClockAccuracy, InterfaceName, Moment, Mono, UnsentReason};
use crate::net::{
    self, Alarm, BindError, ClockAccuracyCache, Datagram, Inbox, Interfaces, Notice, Outbox,
    Readiness, SendError, Socket, SocketOptions,
};
use crate::wire;

use super::machine::{Family, Machine, SocketId, SourcePort};
use super::worker::{Next, PAUSE, Worker};

/// Receive buffer for one heartbeat of at most `size` octets, in octets of `SO_RCVBUF`. The kernel
/// charges 768 octets each for a short reply and for its transmit timestamp, and up to twice the
/// size of a long one. It doubles the size that is set (socket(7)).
pub(super) fn charge(size: usize) -> f64 {
    768.0 + size as f64
}

/// The default size of a buffer (sysctl `net.core.rmem_default`), in octets.
const USUAL_BUFFER: usize = 212_992;

/// Replies of any size are read, and every heartbeat without padding fits into the outbox without an
/// allocation.
const _: () = assert!(Inbox::ROOM == wire::LARGEST_DATAGRAM);
const _: () = assert!(Outbox::ROOM == wire::MAX_DATAGRAM);

/// The sockets, clocks and alarm of one thread.
#[derive(Debug)]
pub(super) struct Sockets {
    ports: [[Option<Port>; SourcePort::ALL.len()]; Family::ALL.len()],
    /// The size of each buffer, in octets; 0 for the system's default.
    buffer: usize,
    inbox: Inbox,
    interfaces: Interfaces,
    alarm: Alarm,
    accuracy: ClockAccuracyCache,
}

/// A socket.
#[derive(Debug)]
struct Port {
    socket: Socket,
    /// `None` while the socket is not watched.
    readiness: Option<Readiness>,
}

/// Sockets that could not be opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// No socket could be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The runtime cannot watch a socket or the alarm.
    #[error("cannot watch a socket")]
    Watch(#[from] io::Error),
}

impl Sockets {
    /// Opens a socket for each address family that the machine supports, each with buffers for
    /// a `load` in octets per second (see [`charge`]). Must be called within the runtime that will drive them.
    pub(super) fn open(load: f64) -> Result<Self, OpenError> {
        let buffer = buffer(load);
        let mut ports = [const { [const { None }; SourcePort::ALL.len()] }; Family::ALL.len()];
        let mut refused = None;
        for family in Family::ALL {
            match Port::open(family, buffer) {
                Ok(port) => {
                    advise(&port.socket, buffer);
                    ports[family.index()][SourcePort::Usual.index()] = Some(port);
                }
                Err(OpenError::Bind(error)) if error.is_unsupported_family() => {
                    let family = family.name();
                    tracing::info!(%error, "this machine has no {family}: targets cannot be reached over {family}");
                    refused = refused.or(Some(error));
                }
                Err(error) => return Err(error),
            }
        }
        match refused {
            Some(error) if ports.iter().flatten().all(Option::is_none) => Err(error.into()),
            _ => Ok(Self {
                ports,
                buffer,
                inbox: Inbox::new(),
                interfaces: Interfaces::default(),
                alarm: Alarm::new()?,
                accuracy: ClockAccuracyCache::default(),
            }),
        }
    }

    /// Runs the rounds of `worker` until its command channel is closed.
    pub(super) async fn drive(mut self, mut worker: Worker) {
        loop {
            match worker.round(&mut self) {
                Next::Again => {}
                // Blocks the thread on purpose: an asynchronous sleep would let epoll wake it for
                // every datagram.
                Next::Pause => thread::sleep(PAUSE),
                Next::Sleep(until) => {
                    // The kernel accepts every moment; if it ever does not, a pause replaces the
                    // sleep.
                    if self.alarm.set(until).is_err() {
                        thread::sleep(PAUSE);
                        continue;
                    }
                    tokio::select! {
                        command = worker.commands().recv() => match command {
                            Some(command) => worker.carry_out(command, &mut self),
                            None => return,
                        },
                        () = self.woken() => {}
                    }
                }
                Next::End => return,
            }
        }
    }

    fn port(&mut self, socket: SocketId) -> &mut Option<Port> {
        &mut self.ports[socket.family.index()][socket.port.index()]
    }

    /// Waits until a datagram arrives on a watched socket or the alarm goes off.
    async fn woken(&mut self) {
        let Self { ports, alarm, .. } = self;
        poll_fn(|context| {
            // All are polled, so that each wakes the task.
            let mut woken = alarm.poll(context).is_ready();
            let open = ports.iter().flatten().flatten();
            for readiness in open.filter_map(|port| port.readiness.as_ref()) {
                woken |= readiness.poll_readable(context).is_ready();
            }
            if woken { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Machine for Sockets {
    fn now(&mut self) -> Moment {
        net::now()
    }

    fn clock_accuracy(&mut self, now: Mono) -> ClockAccuracy {
        self.accuracy.at(now)
    }

    fn has(&self, family: Family) -> bool {
        self.ports[family.index()][SourcePort::Usual.index()].is_some()
    }

    fn renew(&mut self, family: Family) -> bool {
        let [_, fresh, previous] = &mut self.ports[family.index()];
        match Port::open(family, self.buffer) {
            Ok(port) => {
                if let Some(before) = fresh.replace(port) {
                    *previous = Some(before);
                }
                true
            }
            Err(error) => {
                let family = family.name();
                tracing::warn!(%error, family, "cannot open a fresh source port");
                false
            }
        }
    }

    fn close(&mut self, socket: SocketId) {
        *self.port(socket) = None;
    }

    fn interface(&mut self, name: InterfaceName, now: Mono) -> Option<u32> {
        self.interfaces.number(name, now)
    }

    fn send(
        &mut self,
        socket: SocketId,
        outbox: &mut Outbox,
        mut done: impl FnMut(usize, Result<u32, UnsentReason>),
    ) {
        let Some(port) = self.port(socket) else { return };
        port.socket.send(outbox, |index, sent| done(index, sent.map_err(SendError::reason)));
    }

    fn receive(&mut self, socket: SocketId) -> usize {
        let Some(port) = &self.ports[socket.family.index()][socket.port.index()] else { return 0 };
        // After any error of the socket, heartbeats in flight are settled by their timeouts.
        port.socket.receive(&mut self.inbox).unwrap_or(0)
    }

    fn received(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.inbox.iter()
    }

    fn read_notices(&mut self, socket: SocketId, each: impl FnMut(Notice<'_>)) {
        if let Some(port) = self.port(socket) {
            port.socket.notices(each);
        }
    }

    /// A datagram that is already waiting wakes as well (epoll(7)).
    fn watch(&mut self) -> bool {
        self.ports.iter_mut().flatten().flatten().all(|port| {
            if port.readiness.is_none() {
                port.readiness = Readiness::of(&port.socket).ok();
            }
            port.readiness.is_some()
        })
    }

    fn stop_watching(&mut self) {
        for port in self.ports.iter_mut().flatten().flatten() {
            port.readiness = None;
        }
    }
}

impl Port {
    /// Opens a socket whose buffers have this size.
    fn open(family: Family, buffer: usize) -> Result<Self, OpenError> {
        let options = SocketOptions {
            receive_buffer: buffer,
            send_buffer: buffer,
            transmit_stamps: true,
            icmp_errors: true,
            ..SocketOptions::default()
        };
        let any = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let socket = Socket::bind(SocketAddr::new(any, 0), &options)?;
        Ok(Self { readiness: Some(Readiness::of(&socket)?), socket })
    }
}

/// The size of a buffer for half a second, in octets; 0 if the system's default is enough.
///
/// A probe may be delayed for that long; afterwards, everything that is due leaves at once.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and setsockopt(2) grants what the system allows"
)]
fn buffer(load: f64) -> usize {
    let wanted = (load * 0.5) as usize;
    if wanted <= USUAL_BUFFER { 0 } else { wanted.min(i32::MAX as usize / 2) }
}

/// Logs what to do if the system grants a smaller buffer than wanted.
fn advise(socket: &Socket, wanted: usize) {
    let Ok(granted) = socket.receive_buffer() else { return };
    if granted < wanted {
        tracing::warn!(
            granted,
            wanted,
            "socket buffers are too small, and replies may be dropped while the probe is delayed: \
             allow larger ones with sysctl -w net.core.rmem_max={wanted} \
             net.core.wmem_max={wanted}, or run with CAP_NET_ADMIN"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_hold_half_a_second_and_small_fleets_use_the_default() {
        assert_eq!(buffer(500.0 * charge(0)), 0);
        assert_eq!(buffer(100_000.0 * charge(0)), 38_400_000);
        assert_eq!(buffer(1_000.0 * charge(1400)), 1_084_000);
        assert_eq!(buffer(f64::INFINITY), i32::MAX as usize / 2);
    }
}
