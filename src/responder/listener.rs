//! One socket of the responder, which reads requests and sends replies in batches.

use std::io;
use std::task::{Context, Poll, ready};

use tracing::warn;

use super::impairments::Follower;
use super::reflector::{OutgoingReply, Reflector};
use super::throttle::Throttle;
use crate::exposition::ResponderMetrics;
use crate::net::{self, ClockAccuracyCache, Egress, Inbox, Outbox, Readiness, Socket};
use crate::wire::Protocol;

/// Size of the receive buffer, in octets; the kernel doubles it. It holds 0.4 s of 100,000 requests
/// a second, at the 768 octets that the kernel charges for a small datagram.
pub(super) const RECEIVE_BUFFER: usize = 16 << 20;

/// A socket with buffers for a batch of requests and a batch of replies.
#[derive(Debug)]
pub(super) struct Listener {
    index: usize,
    readiness: Readiness,
    /// Whether requests may wait: true from a report of readiness until an empty batch.
    waiting: bool,
    inbox: Inbox,
    accuracy: ClockAccuracyCache,
    sender: Sender,
    receive_errors: Throttle,
    /// The kernel's count of dropped datagrams as last reported; it wraps.
    drops: u32,
    drop_warnings: Throttle,
    refusals: Throttle,
}

/// The sending half.
#[derive(Debug)]
struct Sender {
    socket: Socket,
    outbox: Outbox,
    /// For each datagram in the outbox, the protocol for which it is counted as a reply; `None` for a
    /// duplicate.
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
            accuracy: ClockAccuracyCache::default(),
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

    /// Answers one batch of requests, if any wait, and queues the replies as [`send`](Self::send)
    /// does. Returns whether more requests may wait.
    pub(super) fn serve(&mut self, reflector: &mut Reflector, impairments: &mut Follower) -> bool {
        if !self.waiting {
            return false;
        }
        let received = self.receive();
        if let Some(newest) = impairments.changed() {
            reflector.change_impairments(&newest);
        }
        // Readiness is reported once: only after an empty batch is it reported again.
        self.waiting = received > 0;
        if received > 0 {
            reflector.set_clock_accuracy(self.accuracy.at(net::now().mono));
        }
        let mut drops = self.drops;
        for datagram in self.inbox.iter() {
            drops = datagram.drops.unwrap_or(drops);
            // Reads the clock for each request: the last reply must not carry the t3 of the first.
            let now = net::now();
            reflector.handle(&datagram, self.index, now, |reply| self.sender.push(reply));
        }
        self.report_drops(drops);
        self.report_refused(reflector.take_refused());
        self.waiting
    }

    /// Queues a reply for the next [`flush`](Self::flush); a full batch is sent at once.
    pub(super) fn send(&mut self, reply: OutgoingReply<'_>) {
        self.sender.push(reply);
    }

    /// Sends what is queued.
    pub(super) fn flush(&mut self) {
        self.sender.flush();
    }

    /// Reads one batch into the inbox and returns its size. An error counts as an empty batch, so
    /// that the loop does not meet it again and again.
    fn receive(&mut self) -> usize {
        self.sender.socket.receive(&mut self.inbox).unwrap_or_else(|error| {
            if let Some(times) = self.receive_errors.complain(1, net::now().mono) {
                warn!(%error, times, "cannot receive requests");
            }
            0
        })
    }

    /// Counts what the kernel has dropped up to its count of `drops`, and warns of it.
    fn report_drops(&mut self, drops: u32) {
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
                "requests arrived faster than they were read, and the kernel dropped some: allow a \
                 larger socket buffer with sysctl -w net.core.rmem_max={RECEIVE_BUFFER}, or run \
                 with CAP_NET_ADMIN"
            );
        } else {
            warn!(
                datagrams,
                "requests arrived faster than they were read, and the kernel dropped some"
            );
        }
    }

    /// Warns of refused requests, which look like plain loss to their senders.
    fn report_refused(&mut self, more: u64) {
        if more > 0
            && let Some(requests) = self.refusals.complain(more, net::now().mono)
        {
            warn!(requests, "requests were not answered because a source exceeds --rate-limit");
        }
    }
}

impl Sender {
    fn push(&mut self, reply: OutgoingReply<'_>) {
        let OutgoingReply { route, payload } = reply;
        let (source, traffic_class) = (route.source, route.traffic_class);
        let egress = Egress { source, traffic_class, ..Egress::default() };
        self.outbox.push_with(route.peer, &egress, |out| out.extend_from_slice(payload));
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
