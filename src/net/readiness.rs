//! Waiting: a descriptor enters, and a future leaves that is done when the descriptor is ready.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Tells when a [`Socket`](super::Socket) or a [`Timer`](super::Timer) has something to tell.
///
/// It watches a duplicate of the descriptor that it owns alone (dup(2)), so that it neither
/// borrows what it watches nor depends on how long that lives.
#[derive(Debug)]
pub struct Readiness(AsyncFd<OwnedFd>);

impl Readiness {
    /// Watches `descriptor`, which must be non-blocking, on the current tokio runtime.
    ///
    /// # Errors
    /// Those of dup(2) and `epoll_ctl(2)`: no more descriptors or watches.
    ///
    /// # Panics
    /// Outside of a tokio runtime that has its IO enabled.
    pub fn of(descriptor: &impl AsFd) -> io::Result<Self> {
        let duplicate = descriptor.as_fd().try_clone_to_owned()?;
        let interest = Interest::READABLE | Interest::ERROR;
        #[expect(unsafe_code, reason = "tokio's safe constructors are deprecated as unsound")]
        // SAFETY: `OwnedFd` is valid and open, and always gives the same descriptor; this one is
        // private to the `AsyncFd`, from which nothing here takes, replaces or closes it.
        let watched = unsafe { AsyncFd::register_with_interest(duplicate, interest) };
        Ok(Self(watched.map_err(|error| error.into_parts().1)?))
    }

    /// Waits until datagrams, notices or an expiry wait, and forgets that they do.
    ///
    /// What happened before is told once (epoll(7), edge-triggered): call
    /// [`Socket::receive`](super::Socket::receive) until it returns 0 and
    /// [`Socket::notices`](super::Socket::notices), in either order, before waiting again.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// The runtime is shutting down.
    pub async fn wait(&self) -> io::Result<()> {
        self.0.ready(Interest::READABLE | Interest::ERROR).await?.clear_ready();
        Ok(())
    }

    /// As [`wait`](Self::wait), for a task that waits for several at once, but for datagrams and
    /// expiries alone. Of the tasks that poll, the last one is woken.
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
    use std::net::SocketAddr;

    use super::*;
    use crate::net::{Inbox, Notice, Options, Outbox, Socket};

    #[test]
    fn datagrams_and_notices_end_the_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let options = Options { transmit_stamps: true, ..Options::default() };
            let mut near = Socket::bind(any, &options).unwrap();
            let far = Socket::bind(any, &options).unwrap();
            let (near_ready, far_ready) =
                (Readiness::of(&near).unwrap(), Readiness::of(&far).unwrap());
            let (mut inbox, mut outbox) = (Inbox::new(), Outbox::new());
            for _ in 0..3 {
                outbox.push(far.local_addr(), None, |out| out.push(1));
                near.send(&mut outbox, |_, outcome| assert!(outcome.is_ok()));
                let mut notices = 0;
                while notices == 0 {
                    near_ready.wait().await.unwrap();
                    near.notices(|notice| {
                        assert!(matches!(notice, Notice::Transmitted { .. }));
                        notices += 1;
                    });
                }
                while far.receive(&mut inbox).unwrap() == 0 {
                    far_ready.wait().await.unwrap();
                }
            }
        });
    }
}
