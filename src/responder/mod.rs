//! The responder: requests of any protocol enter on any of its addresses, replies leave from the
//! address that was asked.
//!
//! Receive → let in → recognise → authenticate → charge → impair → reflect → send, in batches.
//! [`Reflector`] is all of it but the sockets and the clock; [`Responder`] is the loop around it,
//! which [`spawn`] runs on threads of its own. Every turn of the loop does a bounded amount of
//! work, so that shutdown is noticed under any load.

mod faults;
mod gate;
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
use faults::Follower;
use listener::{Listener, RECEIVE_BUFFER};
use sessions::Room;

pub use faults::{FaultSwitch, Faults};
pub use gate::Gate;
pub use queue::ReplyRoute;
pub use reflector::{OutgoingReply, Reflector};
pub use thread::{Handle, spawn};

/// The port that the course's programs use, and so do we.
pub const DEFAULT_PORT: u16 = 12_000;

/// Where a responder listens unless told otherwise: on every address of the host.
pub const DEFAULT_ADDRESSES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT),
];

/// Whom a responder answers, how often, and how well; by default everybody, always and well.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Who may ask; anybody where there are none.
    pub allow: Vec<Prefix>,
    /// How many requests a second are answered to one source prefix (/32 of IPv4, /64 of IPv6); as
    /// many may come at once.
    pub rate_limit: Option<NonZeroU32>,
    /// Who may vouch for authenticated requests.
    pub keys: Arc<[Key]>,
    /// Whether none but those are answered.
    pub require_auth: bool,
    /// What goes wrong on purpose, at first.
    pub impairments: impair::LinkSettings,
    /// That may change while it runs.
    pub changeable: bool,
}

/// Sockets that are bound, and what is to be done with what comes in.
#[derive(Debug)]
pub struct Responder {
    /// One for each thread; all are bound to the same addresses.
    shares: Vec<Share>,
    switch: Arc<FaultSwitch>,
}

/// What one thread answers.
#[derive(Debug)]
struct Share {
    sockets: Vec<Socket>,
    reflector: Reflector,
    faults: Follower,
    metrics: ResponderMetrics,
}

impl Responder {
    /// Binds to all of `addresses`, or, where there are none, to the [`DEFAULT_ADDRESSES`]; of
    /// those, IPv6 is done without (and a warning logged) on a host that has none.
    ///
    /// The kernel spreads requests over `threads` by their addresses and ports (`SO_REUSEPORT`,
    /// socket(7)). With impairments, or where they may come, there is one thread, whatever is asked
    /// for: one seed decides about all packets, in their order.
    ///
    /// Outages are counted from this moment.
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
        let switch = FaultSwitch::new(&settings.into(), start);
        let share = |sockets| Share {
            sockets,
            faults: Follower::of(&switch),
            reflector: Reflector::new(
                bound.clone(),
                gate.clone(),
                settings,
                start,
                metrics.clone(),
            )
            .authenticating(terms.keys.clone(), terms.require_auth),
            metrics: metrics.clone(),
        };
        if threads.get() == 1 || !settings.is_off() || terms.changeable {
            return Ok(Self { shares: vec![share(sockets)], switch });
        }
        // That these could be bound shows that nobody else is there: sockets that share their port
        // would not notice a second responder.
        drop(sockets);
        let again = || bound.iter().map(|&address| bind(address, true)).collect::<Result<_, _>>();
        let room = Room::default();
        let in_room = |share: Share| Share { reflector: share.reflector.in_room(&room), ..share };
        let shares = (0..threads.get()).map(|_| again().map(share).map(in_room));
        Ok(Self { shares: shares.collect::<Result<_, _>>()?, switch })
    }

    /// What changes its faults while it runs. To be used where that is among its [`Terms`]: else
    /// several threads may each have a link of their own.
    #[must_use]
    pub fn faults(&self) -> Arc<FaultSwitch> {
        self.switch.clone()
    }

    /// The same, but as a stateless reflector: see [`Reflector::stateless`].
    #[must_use]
    pub fn stateless(self) -> Self {
        let stateless = |share: Share| Share { reflector: share.reflector.stateless(), ..share };
        Self { shares: self.shares.into_iter().map(stateless).collect(), ..self }
    }

    /// The addresses it is really bound to, in the order they were asked for.
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
    /// Answers until `shutdown` is done, then returns at once; replies still held are dropped, as
    /// by a network that went away.
    ///
    /// To be run on a current-thread runtime, which knows of the sockets by `watched`.
    async fn serve(self, watched: Watched, shutdown: impl Future<Output = ()>) {
        let Self { sockets, mut reflector, mut faults, metrics } = self;
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
                    error!(%error, "the responder stops");
                    return;
                },
            }
            let more = turn(&mut listeners, &mut reflector, &mut faults, &mut alarm);
            if more {
                // The wait would end at once, and the runtime never come to see to its signals.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// What wakes a thread.
#[derive(Debug)]
struct Watched {
    sockets: Vec<Readiness>,
    alarm: Alarm,
}

impl Watched {
    /// Has the runtime at hand watch a share's sockets.
    fn of(share: &Share) -> io::Result<Self> {
        let sockets = share.sockets.iter().map(Readiness::of).collect::<Result<_, _>>()?;
        Ok(Self { sockets, alarm: Alarm::new()? })
    }
}

/// Waits until requests or held replies are due.
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

/// One bounded piece of work: held replies that are due, then a batch from each listener. Whether
/// more requests may wait.
fn turn(
    listeners: &mut [Listener],
    reflector: &mut Reflector,
    faults: &mut Follower,
    alarm: &mut Alarm,
) -> bool {
    reflector.release(net::now().mono, |reply| {
        if let Some(listener) = listeners.get_mut(reply.route.listener) {
            listener.send(reply);
        }
    });
    let mut more = false;
    for listener in listeners {
        more |= listener.serve(reflector, faults);
        listener.flush();
    }
    if let Err(error) = alarm.set(reflector.next_due()) {
        error!(%error, "cannot set the timer of held replies");
    }
    more
}

fn bind(address: SocketAddr, reuse_port: bool) -> Result<Socket, BindError> {
    let options = SocketOptions {
        receive_buffer: RECEIVE_BUFFER,
        local_address: true,
        reuse_port,
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
            warn!(%error, "this host has no IPv6: serving IPv4 alone");
        }
        Err(error) => return Err(error),
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests;
