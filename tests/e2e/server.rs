//! UDP servers with behaviour of the test's choice, each on its own thread.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A server on its own port. It ends when the value is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// A server that calls `each` with its socket, the datagram and its sender.
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
            // An error is ignored: a failing test has its own message.
            let _ = thread.join();
        }
    }
}

/// The sequence number in a request of the protocol `heartbeat`.
pub(crate) fn sequence(request: &[u8]) -> u64 {
    let text = std::str::from_utf8(request).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
