//! A responder on threads of its own: one that is bound enters, a handle to stop it leaves.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::{Responder, Share, Watched};

/// A responder that serves on its own threads, until it is told to stop or this is dropped.
#[derive(Debug)]
pub struct Handle {
    addresses: Vec<SocketAddr>,
    /// Dropping it is the signal.
    stop: Option<watch::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts the threads on which the responder serves, each with a runtime of its own.
///
/// # Errors
/// Where a thread or its runtime cannot be had.
pub fn spawn(responder: Responder) -> io::Result<Handle> {
    let addresses = responder.local_addrs();
    let (stop, stopped) = watch::channel(());
    // Should one fail to start, dropping the handle stops those that did.
    let mut handle = Handle { addresses, stop: Some(stop), threads: Vec::new() };
    for share in responder.shares {
        handle.threads.push(start(share, stopped.clone())?);
    }
    Ok(handle)
}

fn start(share: Share, mut stopped: watch::Receiver<()>) -> io::Result<JoinHandle<()>> {
    let (opened, outcome) = sync_channel(1);
    let shutdown = async move {
        // Nothing is ever sent: this ends, with an error, when the sender is dropped.
        let _ = stopped.changed().await;
    };
    // A runtime must not be dropped where another one runs, so this one begins and ends there.
    let thread = std::thread::Builder::new().name("responder".to_owned()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_io().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(opened.send(Err(error))),
        };
        runtime.block_on(async {
            match Watched::of(&share) {
                Ok(watched) => {
                    drop(opened.send(Ok(())));
                    share.serve(watched, shutdown).await;
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        });
    })?;
    if let Err(error) = outcome.recv().unwrap_or_else(|gone| Err(io::Error::other(gone))) {
        // Its sockets are closed once it has ended.
        let _ = thread.join();
        return Err(error);
    }
    Ok(thread)
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
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
    }
}
