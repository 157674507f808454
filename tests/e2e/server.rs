//! Servers that are not ours: what they do with a datagram enters, a thread that does it leaves.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A server on a port of its own; it ends with its value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server that does `each` with every datagram, by the socket it came to.
    pub(crate) fn start(
        mut each: impl FnMut(&UdpSocket, &[u8], SocketAddr) + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let end = Arc::new(AtomicBool::new(false));
        let ended = end.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 2048];
            while !ended.load(Ordering::Relaxed) {
                if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                    each(&socket, &buffer[..length], peer);
                }
            }
        });
        Self { address, end, thread: Some(thread) }
    }

    /// A server that never answers.
    pub(crate) fn silent() -> Self {
        Self::start(|_, _, _| {})
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A test that fails has its own message.
            let _ = thread.join();
        }
    }
}

/// The number of a request of the course's heartbeat.
pub(crate) fn sequence(request: &[u8]) -> u64 {
    let text = std::str::from_utf8(request).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
