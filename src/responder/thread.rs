//! Runs a responder on threads of its own.

use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;

use tokio::sync::watch;

use super::{Responder, Share, Watched};

/// A responder that runs on its own threads until it is [stopped](Self::stop) or dropped.
#[derive(Debug)]
pub struct Handle {
    addresses: Vec<SocketAddr>,
    /// Dropping it ends the threads.
    stop: Option<watch::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts the threads of a responder, each with a runtime of its own.
///
/// # Errors
/// If a thread or its runtime cannot be created.
pub fn spawn(responder: Responder) -> io::Result<Handle> {
    let addresses = responder.local_addrs();
    let (stop, stopped) = watch::channel(());
    // If a thread fails to start, dropping the handle stops the others.
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
    // A runtime must not be dropped within another one, so the new thread creates and drops it.
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
        // Its sockets are closed when it has ended.
        let _ = thread.join();
        return Err(error);
    }
    Ok(thread)
}

impl Handle {
    /// The addresses it is bound to, in the order in which they were given.
    #[must_use]
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops it and waits until its sockets are closed; held replies are dropped.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.take();
        for thread in self.threads.drain(..) {
            // A panic has been reported already.
            let _ = thread.join();
        }
    }
}
