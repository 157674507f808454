//! A responder on a thread of its own: one that is bound enters, a handle to stop it leaves.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::Responder;

/// A responder that serves on its own thread, until it is told to stop or this is dropped.
#[derive(Debug)]
pub struct Handle {
    addresses: Vec<SocketAddr>,
    /// Dropping it is the signal.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a thread on which the responder serves, with a runtime of its own.
///
/// # Errors
/// Where the thread or its runtime cannot be had.
pub fn spawn(responder: Responder) -> io::Result<Handle> {
    let addresses = responder.local_addrs();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let registered = {
        let _context = runtime.enter();
        responder.register()?
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        // An error is the sender's drop, which says the same.
        let _ = stopped.await;
    };
    let thread = std::thread::Builder::new()
        .name("responder".to_owned())
        .spawn(move || runtime.block_on(registered.serve(shutdown)))?;
    Ok(Handle { addresses, stop: Some(stop), thread: Some(thread) })
}

impl Handle {
    /// The addresses it is bound to, in the order they were asked for.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops it and waits until its sockets are closed; replies still held are dropped.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
