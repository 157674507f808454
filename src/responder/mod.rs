//! The responder: requests of any protocol enter on any of its addresses, replies leave from the
//! address that was asked.
//!
//! Receive → recognise → impair → reflect → send, in batches. [`Reflector`] is all of it but the
//! sockets and the clock; [`Responder`] is the loop around it, on one thread; [`spawn`] gives it a
//! thread of its own. Every turn of the loop does a bounded amount of work, so that shutdown is
//! noticed under any load.

mod listener;
mod queue;
mod reflector;
mod thread;
mod throttle;

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::pin;
use std::task::Poll;

use tracing::{error, warn};

use crate::exposition::ResponderMetrics;
use crate::impair;
use crate::net::{self, Alarm, BindError, Options, Readiness, Socket};
use listener::Listener;

pub use queue::Route;
pub use reflector::{Reflector, Transmit};
pub use thread::{Handle, spawn};

/// The port that the course's programs use, and so do we.
pub const DEFAULT_PORT: u16 = 12_000;

/// Where a responder listens unless told otherwise: on every address of the host.
pub const DEFAULT_ADDRESSES: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), DEFAULT_PORT),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), DEFAULT_PORT),
];

/// Room in the kernel for requests that have not been read yet, in octets: a fifth of a second of
/// 100,000 requests a second, at the 768 octets that the kernel charges for a small datagram.
const RECEIVE_BUFFER: usize = 16 << 20;

/// Sockets that are bound, and what is to be done with what comes in.
#[derive(Debug)]
pub struct Responder {
    sockets: Vec<Socket>,
    reflector: Reflector,
    metrics: ResponderMetrics,
}

impl Responder {
    /// Binds to all of `addresses`, or, where there are none, to the [`DEFAULT_ADDRESSES`]; of
    /// those, IPv6 is done without (and a warning logged) on a host that has none.
    ///
    /// Outages are counted from this moment.
    ///
    /// # Errors
    /// The first address that cannot be bound to.
    pub fn bind(
        addresses: &[SocketAddr],
        settings: impair::Settings,
        metrics: ResponderMetrics,
    ) -> Result<Self, BindError> {
        let sockets = if addresses.is_empty() {
            bind_defaults()?
        } else {
            addresses.iter().map(|&address| bind(address)).collect::<Result<_, _>>()?
        };
        let bound = sockets.iter().map(Socket::local_addr).collect();
        let reflector = Reflector::new(bound, settings, net::now().mono, metrics.clone());
        Ok(Self { sockets, reflector, metrics })
    }

    /// The addresses it is really bound to, in the order they were asked for.
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(Socket::local_addr).collect()
    }

    /// Answers until `shutdown` is done, then returns at once; replies still held are dropped, as
    /// by a network that went away.
    ///
    /// To be run on a current-thread runtime with I/O enabled.
    ///
    /// # Errors
    /// Where the sockets cannot be registered with the runtime; none once it serves.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        self.register()?.serve(shutdown).await;
        Ok(())
    }

    /// Registers the sockets with the runtime at hand.
    fn register(self) -> io::Result<Registered> {
        let Self { sockets, reflector, metrics } = self;
        let sockets = sockets
            .into_iter()
            .map(|socket| Readiness::of(&socket).map(|readiness| (socket, readiness)))
            .collect::<Result<_, _>>()?;
        Ok(Registered { sockets, reflector, metrics, alarm: Alarm::new()? })
    }
}

/// A responder that its runtime knows of.
#[derive(Debug)]
struct Registered {
    sockets: Vec<(Socket, Readiness)>,
    reflector: Reflector,
    metrics: ResponderMetrics,
    alarm: Alarm,
}

impl Registered {
    async fn serve(self, shutdown: impl Future<Output = ()>) {
        let Self { sockets, mut reflector, metrics, mut alarm } = self;
        let mut listeners: Vec<Listener> = sockets
            .into_iter()
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
            let more = turn(&mut listeners, &mut reflector, &mut alarm);
            if more {
                // The wait would end at once, and the runtime never come to see to its signals.
                tokio::task::yield_now().await;
            }
        }
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
fn turn(listeners: &mut [Listener], reflector: &mut Reflector, alarm: &mut Alarm) -> bool {
    reflector.release(net::now().mono, |reply| {
        if let Some(listener) = listeners.get_mut(reply.route.listener) {
            listener.send(reply);
        }
    });
    let mut more = false;
    for listener in listeners {
        more |= listener.serve(reflector);
        listener.flush();
    }
    if let Err(error) = alarm.set(reflector.next_due()) {
        error!(%error, "cannot set the timer of held replies");
    }
    more
}

fn bind(address: SocketAddr) -> Result<Socket, BindError> {
    let options =
        Options { receive_buffer: RECEIVE_BUFFER, local_address: true, ..Options::default() };
    Socket::bind(address, &options)
}

fn bind_defaults() -> Result<Vec<Socket>, BindError> {
    let [v4, v6] = DEFAULT_ADDRESSES;
    let mut sockets = vec![bind(v4)?];
    match bind(v6) {
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
