//! Waits until a descriptor is readable.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Reports when a [`Socket`](super::Socket) or a [`Timer`](super::Timer) is readable.
///
/// It watches its own duplicate of the descriptor (dup(2)), so that it neither borrows the original
/// nor depends on its lifetime.
#[derive(Debug)]
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Watches `descriptor`, which must be non-blocking, on the current tokio runtime.
    ///
    /// # Errors
    /// Those of dup(2) and `epoll_ctl(2)`: the limit of descriptors or watches is reached.
    ///
    /// # Panics
    /// Outside a tokio runtime with IO enabled.
    pub fn of(descriptor: &impl AsFd) -> io::Result<Self> {
        let duplicate = descriptor.as_fd().try_clone_to_owned()?;
        #[expect(unsafe_code, reason = "tokio's safe constructors are deprecated as unsound")]
        // SAFETY: `OwnedFd` is valid and open, and always returns the same descriptor. It is
        // private to the `AsyncFd`; nothing here takes, replaces or closes it.
        let watched = unsafe { AsyncFd::register_with_interest(duplicate, Interest::READABLE) };
        Ok(Self(watched.map_err(|error| error.into_parts().1)?))
    }

    /// Ready once datagrams or an expiry are pending. Readiness is edge-triggered (epoll(7)) and
    /// cleared at once, so call [`Socket::receive`](super::Socket::receive) until it returns 0
    /// before polling again. Only the task that polled last is woken.
    ///
    /// Notices alone do not wake a task.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_read_ready(context))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::SocketAddr;

    use super::*;
    use crate::net::{self, Inbox, Outbox, Socket, SocketOptions};

    #[test]
    fn arriving_datagrams_end_the_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let mut near = Socket::bind(any, &SocketOptions::default()).unwrap();
            let far = Socket::bind(any, &SocketOptions::default()).unwrap();
            let readiness = Readiness::of(&far).unwrap();
            let (mut inbox, mut outbox) = (Inbox::new(), Outbox::new());
            for _ in 0..3 {
                outbox.push(far.local_addr(), None, |out| out.push(1));
                near.send(&mut outbox, |_, outcome| assert!(outcome.is_ok()));
                while far.receive(&mut inbox).unwrap() == 0 {
                    let readable = poll_fn(|context| readiness.poll_readable(context));
                    net::in_time(readable).await.unwrap();
                }
            }
        });
    }
}
