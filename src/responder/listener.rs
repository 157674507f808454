//! One socket of the responder: batches of requests come in, batches of replies go out.

use std::io;
use std::task::{Context, Poll, ready};

use tracing::warn;

use super::faults::Follower;
use super::reflector::{OutgoingReply, Reflector};
use super::throttle::Throttle;
use crate::exposition::ResponderMetrics;
use crate::net::{self, Inbox, Outbox, Readiness, Socket};
use crate::wire::Protocol;

/// Room in the kernel for requests that have not been read yet, in octets, which the kernel
/// doubles: 0.4 s of 100,000 requests a second, at the 768 octets it charges for a small datagram.
pub(super) const RECEIVE_BUFFER: usize = 16 << 20;

/// A socket with room for what comes and goes.
#[derive(Debug)]
pub(super) struct Listener {
    index: usize,
    readiness: Readiness,
    /// Whether requests may wait: since the readiness said so, and until none came.
    waiting: bool,
    inbox: Inbox,
    sender: Sender,
    receive_errors: Throttle,
    /// How many datagrams the kernel has dropped so far (a count that wraps).
    drops: u32,
    drop_warnings: Throttle,
    refusals: Throttle,
}

/// The sending half.
#[derive(Debug)]
struct Sender {
    socket: Socket,
    outbox: Outbox,
    /// What each datagram in the outbox counts as: a reply of a protocol, or nothing.
    counts_as: Vec<Option<Protocol>>,
    metrics: ResponderMetrics,
    errors: Throttle,
}

impl Listener {
    /// A listener whose readiness watches its socket; `index` is its place among the listeners.
    pub(super) fn new(
        (socket, readiness): (Socket, Readiness),
        index: usize,
        metrics: ResponderMetrics,
    ) -> Self {
        Self {
            index,
            readiness,
            waiting: false,
            inbox: Inbox::new(),
            sender: Sender {
                socket,
                outbox: Outbox::new(),
                counts_as: Vec::with_capacity(Outbox::CAPACITY),
                metrics,
                errors: Throttle::default(),
            },
            receive_errors: Throttle::default(),
            drops: 0,
            drop_warnings: Throttle::default(),
            refusals: Throttle::default(),
        }
    }

    /// Ready when requests may wait.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting {
            ready!(self.readiness.poll_readable(context))?;
            self.waiting = true;
        }
        Poll::Ready(Ok(()))
    }

    /// Has the reflector answer one batch of requests, if any wait; whether more may. The replies
    /// are queued as by [`send`](Self::send).
    pub(super) fn serve(&mut self, reflector: &mut Reflector, faults: &mut Follower) -> bool {
        if !self.waiting {
            return false;
        }
        let received = self.receive();
        if let Some(newest) = faults.changed() {
            reflector.change_faults(&newest);
        }
        // Readiness is told once: only an empty batch shows that it will be told again.
        self.waiting = received > 0;
        let mut drops = self.drops;
        for datagram in self.inbox.iter() {
            drops = datagram.drops.unwrap_or(drops);
            // Each reads the clock anew: the last reply of a batch must not carry the first's t3.
            let now = net::now();
            reflector.handle(&datagram, self.index, now, |reply| self.sender.push(reply));
        }
        self.tell_drops(drops);
        self.tell_refused(reflector.take_refused());
        self.waiting
    }

    /// Queues a reply, to leave with the next [`flush`](Self::flush) or, where the batch is full,
    /// at once.
    pub(super) fn send(&mut self, reply: OutgoingReply<'_>) {
        self.sender.push(reply);
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) {
        self.sender.flush();
    }

    /// One batch into the inbox; how many datagrams it holds. An error is as good as none: it must
    /// not be met again and again.
    fn receive(&mut self) -> usize {
        self.sender.socket.receive(&mut self.inbox).unwrap_or_else(|error| {
            if let Some(times) = self.receive_errors.complain(1, net::now().mono) {
                warn!(%error, times, "cannot receive");
            }
            0
        })
    }

    fn tell_drops(&mut self, drops: u32) {
        let more = drops.wrapping_sub(self.drops);
        if more == 0 {
            return;
        }
        self.drops = drops;
        let Self { sender: Sender { socket, metrics, .. }, drop_warnings, .. } = self;
        metrics.receive_drops(more.into());
        let Some(datagrams) = drop_warnings.complain(more.into(), net::now().mono) else { return };
        let granted = socket.receive_buffer().unwrap_or(RECEIVE_BUFFER);
        if granted < RECEIVE_BUFFER {
            warn!(
                datagrams,
                granted,
                wanted = RECEIVE_BUFFER,
                "requests came faster than they were read: the kernel dropped some; allow a larger \
                 socket buffer by sysctl -w net.core.rmem_max={RECEIVE_BUFFER}, or run with \
                 CAP_NET_ADMIN"
            );
        } else {
            warn!(datagrams, "requests came faster than they were read: the kernel dropped some");
        }
    }

    /// Says that sources ask for too much, which those would otherwise see as plain loss.
    fn tell_refused(&mut self, more: u64) {
        if more > 0
            && let Some(requests) = self.refusals.complain(more, net::now().mono)
        {
            warn!(requests, "a source sends more than the rate limit: requests were refused");
        }
    }
}

impl Sender {
    fn push(&mut self, reply: OutgoingReply<'_>) {
        let OutgoingReply { route, payload } = reply;
        self.outbox.push(route.peer, route.source, |out| {
            out.extend_from_slice(payload);
        });
        self.counts_as.push((!route.duplicate).then_some(route.protocol));
        if self.outbox.is_full() {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        let Self { socket, outbox, counts_as, metrics, errors } = self;
        socket.send(outbox, |index, outcome| match outcome {
            Ok(_) => {
                if let Some(&Some(protocol)) = counts_as.get(index) {
                    metrics.replied(protocol);
                }
            }
            Err(error) => {
                metrics.send_error();
                if let Some(times) = errors.complain(1, net::now().mono) {
                    warn!(reason = %error.reason(), times, "cannot send a reply");
                }
            }
        });
        counts_as.clear();
    }
}
