//! The responder: it receives requests of any protocol on any of its addresses, and replies from
//! the address that was asked.
//!
//! Receive → let in → recognise → authenticate → rate-limit → impair → reflect → send, in batches.
//! [`Reflector`] does all of it except for sockets and clock; [`Responder`] is the loop around it,
//! which [`spawn`] runs on threads of its own. Every turn of the loop does a bounded amount of
//! work, so that shutdown is noticed under any load.

mod dscp;
mod gate;
mod impairments;
mod limiter;
mod listener;
mod queue;
mod reflector;
mod sessions;
mod thread;
mod throttle;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tracing::{error, warn};

use crate::config::Prefix;
use crate::exposition::ResponderMetrics;
use crate::impair;
use crate::net::{self, Alarm, BindError, Readiness, Socket, SocketOptions};
use crate::wire::Key;
use impairments::Follower;
use listener::{Listener, RECEIVE_BUFFER};
use sessions::Room;

pub use dscp::{InvalidDscp, ReplyDscp};
pub use gate::Gate;
pub use impairments::{ImpairmentSwitch, Impairments};
pub use queue::ReplyRoute;
pub use reflector::{OutgoingReply, Reflector};
pub use thread::{Handle, spawn};

/// The default port, which is that of the networking course's programs (see README.md).
pub const DEFAULT_PORT: u16 = 12_000;

/// The default listeners: every address of the host.
pub const DEFAULT_ADDRESSES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT),
];

/// Whom a responder answers, how often, and with which impairments. By default, it answers every
/// source without limit and without impairments.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "independent options, named where they are set")]
pub struct Terms {
    /// The sources that are answered; all if it is empty.
    pub allow: Vec<Prefix>,
    /// Requests answered per second and source prefix (/32 of IPv4, /64 of IPv6); the burst has the
    /// same size. `None` disables the limit.
    pub rate_limit: Option<NonZeroU32>,
    /// The keys of authenticated requests.
    pub keys: Arc<[Key]>,
    /// Whether only authenticated requests are answered.
    pub require_auth: bool,
    /// Whether HMAC TLVs of unauthenticated STAMP packets are verified and written with the keys.
    pub check_tlvs: bool,
    /// Whether STAMP requests of fewer than 44 octets are answered with 44 octets.
    pub short_requests: bool,
    /// The DSCP of STAMP replies.
    pub dscp: ReplyDscp,
    /// The impairments at the start.
    pub impairments: impair::LinkSettings,
    /// Whether the impairments may change while it runs.
    pub changeable: bool,
}

/// Bound sockets, and the reflectors that answer their requests.
#[derive(Debug)]
pub struct Responder {
    /// One for each thread; all are bound to the same addresses.
    shares: Vec<Share>,
    switch: Arc<ImpairmentSwitch>,
}

/// The part of one thread.
#[derive(Debug)]
struct Share {
    sockets: Vec<Socket>,
    reflector: Reflector,
    impairments: Follower,
    metrics: ResponderMetrics,
}

impl Responder {
    /// Binds to all of `addresses`, or to the [`DEFAULT_ADDRESSES`] if the list is empty. On a host
    /// without IPv6, it leaves out the default IPv6 address and logs a warning. It also binds to an
    /// address that the host does not have yet, and logs a warning: requests are answered once the
    /// host has it.
    ///
    /// The kernel spreads requests over `threads` by their addresses and ports (`SO_REUSEPORT`,
    /// socket(7)). If there are impairments, or may be later, there is always one thread, so that
    /// one seed decides about all packets, in their order.
    ///
    /// Outage periods start at this moment.
    ///
    /// # Errors
    /// The first address that cannot be bound to.
    pub fn bind(
        addresses: &[SocketAddr],
        terms: &Terms,
        threads: NonZeroUsize,
        metrics: &ResponderMetrics,
    ) -> Result<Self, BindError> {
        let sockets = if addresses.is_empty() {
            bind_defaults()?
        } else {
            addresses.iter().map(|&address| bind(address, false)).collect::<Result<_, _>>()?
        };
        let bound: Vec<SocketAddr> = sockets.iter().map(Socket::local_addr).collect();
        let start = net::now().mono;
        let gate = Arc::new(Gate::new(&terms.allow, terms.rate_limit));
        let settings = terms.impairments;
        let switch = ImpairmentSwitch::new(&settings.into(), start);
        let share = |sockets| {
            let listeners = bound.clone();
            let reflector =
                Reflector::new(listeners, gate.clone(), settings, start, metrics.clone())
                    .authenticating(terms.keys.clone(), terms.require_auth)
                    .marking(terms.dscp);
            let reflector =
                if terms.short_requests { reflector.answering_short_requests() } else { reflector };
            let reflector = if terms.check_tlvs { reflector.checking_tlvs() } else { reflector };
            let impairments = Follower::of(&switch);
            Share { sockets, reflector, impairments, metrics: metrics.clone() }
        };
        if threads.get() == 1 || !settings.is_off() || terms.changeable {
            return Ok(Self { shares: vec![share(sockets)], switch });
        }
        // Binding these has shown that no other responder is running: sockets that share their port
        // would not notice one.
        drop(sockets);
        let again = || bound.iter().map(|&address| bind(address, true)).collect::<Result<_, _>>();
        let room = Room::default();
        let in_room = |share: Share| Share { reflector: share.reflector.in_room(&room), ..share };
        let shares = (0..threads.get()).map(|_| again().map(share).map(in_room));
        Ok(Self { shares: shares.collect::<Result<_, _>>()?, switch })
    }

    /// The switch that changes its impairments while it runs. Only for a responder that is
    /// [`changeable`](Terms::changeable): otherwise, each thread has links of its own.
    #[must_use]
    pub fn impairments(&self) -> Arc<ImpairmentSwitch> {
        self.switch.clone()
    }

    /// Makes it a stateless reflector: see [`Reflector::stateless`].
    #[must_use]
    pub fn stateless(self) -> Self {
        let stateless = |share: Share| Share { reflector: share.reflector.stateless(), ..share };
        Self { shares: self.shares.into_iter().map(stateless).collect(), ..self }
    }

    /// The addresses it is bound to, in the order in which they were given.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.shares
            .first()
            .map_or(Vec::new(), |share| share.sockets.iter().map(Socket::local_addr).collect())
    }
}

impl From<impair::LinkSettings> for Terms {
    fn from(impairments: impair::LinkSettings) -> Self {
        Self { impairments, ..Self::default() }
    }
}

impl Share {
    /// Answers requests until `shutdown` resolves, then returns at once; held replies are dropped.
    ///
    /// Must run on the current-thread runtime that `watched` was created on.
    async fn serve(self, watched: Watched, shutdown: impl Future<Output = ()>) {
        let Self { sockets, mut reflector, mut impairments, metrics } = self;
        let Watched { sockets: readiness, mut alarm } = watched;
        let mut listeners: Vec<Listener> = sockets
            .into_iter()
            .zip(readiness)
            .enumerate()
            .map(|(index, socket)| Listener::new(socket, index, metrics.clone()))
            .collect();
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                outcome = ready(&mut listeners, &mut alarm) => if let Err(error) = outcome {
                    // Only the end of the runtime makes waiting fail.
                    error!(%error, "stopping: cannot wait for requests");
                    return;
                },
            }
            let more = turn(&mut listeners, &mut reflector, &mut impairments, &mut alarm);
            if more {
                // The wait would end at once, and the runtime would never poll the alarm and the
                // other sockets.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// The sources of a thread's wake-ups.
#[derive(Debug)]
struct Watched {
    sockets: Vec<Readiness>,
    alarm: Alarm,
}

impl Watched {
    /// Registers a share's sockets and an alarm with the current runtime.
    fn of(share: &Share) -> io::Result<Self> {
        let sockets = share.sockets.iter().map(Readiness::of).collect::<Result<_, _>>()?;
        Ok(Self { sockets, alarm: Alarm::new()? })
    }
}

/// Waits until a request arrives or a held reply is due.
async fn ready(listeners: &mut [Listener], alarm: &mut Alarm) -> io::Result<()> {
    poll_fn(|context| {
        // All are polled, so that any of them wakes the loop.
        let mut any = alarm.poll(context)?;
        for listener in &mut *listeners {
            if listener.poll_ready(context)?.is_ready() {
                any = Poll::Ready(());
            }
        }
        any.map(Ok)
    })
    .await
}

/// Does a bounded amount of work: sends held replies that are due, then answers a batch from each
/// listener. Returns whether more requests may wait.
fn turn(
    listeners: &mut [Listener],
    reflector: &mut Reflector,
    impairments: &mut Follower,
    alarm: &mut Alarm,
) -> bool {
    reflector.release(net::now().mono, |reply| {
        if let Some(listener) = listeners.get_mut(reply.route.listener) {
            listener.send(reply);
        }
    });
    let mut more = false;
    for listener in listeners {
        more |= listener.serve(reflector, impairments);
        listener.flush();
    }
    if let Err(error) = alarm.set(reflector.next_due()) {
        error!(%error, "cannot set the timer for delayed replies");
    }
    more
}

/// Binds to an address, also if the host does not have it yet; that is logged, except for sockets
/// that share the port.
fn bind(address: SocketAddr, reuse_port: bool) -> Result<Socket, BindError> {
    match bind_with(address, reuse_port, false) {
        Err(error) if error.is_absent_address() => {
            if !reuse_port {
                warn!(
                    %address,
                    "this machine does not have the address yet; requests are answered as soon as it \
                     does"
                );
            }
            bind_with(address, reuse_port, true)
        }
        outcome => outcome,
    }
}

fn bind_with(address: SocketAddr, reuse_port: bool, free_bind: bool) -> Result<Socket, BindError> {
    let options = SocketOptions {
        receive_buffer: RECEIVE_BUFFER,
        local_address: true,
        traffic_class: true,
        // So that senders see the length of the path (RFC 5357 section 4.2.1).
        hop_limit: Some(255),
        reuse_port,
        free_bind,
        ..SocketOptions::default()
    };
    Socket::bind(address, &options)
}

fn bind_defaults() -> Result<Vec<Socket>, BindError> {
    let [v4, v6] = DEFAULT_ADDRESSES;
    let mut sockets = vec![bind(v4, false)?];
    match bind(v6, false) {
        Ok(socket) => sockets.push(socket),
        Err(error) if error.is_unsupported_family() => {
            warn!(%error, "this machine has no IPv6: answering over IPv4 only");
        }
        Err(error) => return Err(error),
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests;
