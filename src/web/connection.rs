//! One connection: a stream enters, answers leave, and whoever dawdles is shown the door.
//!
//! A connection is in one of three [`Phase`]s, each with a limit of its own. [`Conduct`] follows
//! them: the stream tells it of octets, the service of requests, the body of the answer's end.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::body::Body;
use super::queue::{Queue, Ticket};
use super::{Limits, Routes};

/// Octets that are read ahead or not yet written, at most.
const BUFFER: usize = 64 << 10;

/// Serves the connection until it ends, overstays, is evicted from `queue`, or has given the answer
/// under way after `shutdown` was told.
pub(super) async fn serve(
    stream: TcpStream,
    routes: Routes,
    limits: Limits,
    queue: Arc<Queue>,
    mut shutdown: watch::Receiver<bool>,
) {
    let conduct = Arc::new(Conduct::new(queue));
    let service = service_fn(|request| {
        let answering = Answering::new(&conduct);
        let routes = routes.clone();
        async move {
            let response = routes.respond(request).await;
            Ok::<_, Infallible>(response.map(|body| Followed { body, _answering: answering }))
        }
    });
    let io = TokioIo::new(Observed { stream, conduct: conduct.clone() });
    // The header's time is limited by `overstay`; hyper's own limit would count idle time too.
    let mut connection = pin!(
        http1::Builder::new()
            .max_buf_size(BUFFER)
            .max_header_size(limits.header_size)
            .header_read_timeout(None)
            .serve_connection(io, service)
    );
    let mut overstay = pin!(overstay(conduct.phase.subscribe(), limits));
    let mut ending = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "connection failed");
                }
                return;
            }
            () = &mut overstay => return,
            () = conduct.evicted.notified() => return,
            told = shutdown.wait_for(|&told| told), if !ending => {
                drop(told);
                connection.as_mut().graceful_shutdown();
                ending = true;
            }
        }
    }
}

/// What a connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing has come since the last answer.
    Idle,
    /// A header has begun.
    Reading,
    /// The request of this number, from 0, is being answered.
    Answering(u64),
}

/// Resolves once a phase has lasted longer than it may.
async fn overstay(mut phase: watch::Receiver<Phase>, limits: Limits) {
    loop {
        let present = *phase.borrow_and_update();
        let left = match present {
            Phase::Idle => timeout(limits.idle, phase.changed()).await.is_ok(),
            Phase::Reading => timeout(limits.header, phase.changed()).await.is_ok(),
            Phase::Answering(_) => {
                let progress = async {
                    while *phase.borrow_and_update() == present {
                        if timeout(limits.stall, phase.changed()).await.is_err() {
                            return false;
                        }
                    }
                    true
                };
                timeout(limits.answer, progress).await == Ok(true)
            }
        };
        if !left {
            return;
        }
    }
}

/// Follows what a connection does.
#[derive(Debug)]
struct Conduct {
    phase: watch::Sender<Phase>,
    /// How many have come.
    requests: AtomicU64,
    queue: Arc<Queue>,
    /// The place in the queue, while nothing is being answered.
    ticket: Mutex<Option<Ticket>>,
    evicted: Arc<Notify>,
}

impl Conduct {
    fn new(queue: Arc<Queue>) -> Self {
        let evicted = Arc::new(Notify::new());
        let ticket = Mutex::new(Some(queue.join(evicted.clone())));
        Self {
            phase: watch::Sender::new(Phase::Idle),
            requests: AtomicU64::new(0),
            queue,
            ticket,
            evicted,
        }
    }

    /// Octets came.
    fn heard(&self) {
        self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Idle;
            if first {
                *phase = Phase::Reading;
            }
            first
        });
    }

    /// Octets left. The phase stays, but its change is told, as a sign of progress.
    fn wrote(&self) {
        self.phase.send_if_modified(|phase| matches!(phase, Phase::Answering(_)));
    }

    fn place(&self, place: Option<Ticket>) {
        let mut ticket = self.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *ticket, place) {
            self.queue.leave(old);
        }
    }
}

impl Drop for Conduct {
    fn drop(&mut self) {
        self.place(None);
    }
}

/// A request has come, and its answer has not left: for as long as this lives.
#[derive(Debug)]
struct Answering(Arc<Conduct>);

impl Answering {
    fn new(conduct: &Arc<Conduct>) -> Self {
        let request = conduct.requests.fetch_add(1, Ordering::Relaxed);
        conduct.place(None);
        conduct.phase.send_replace(Phase::Answering(request));
        Self(conduct.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.place(Some(self.0.queue.join(self.0.evicted.clone())));
        self.0.phase.send_replace(Phase::Idle);
    }
}

/// A body whose end is the answer's.
#[derive(Debug)]
struct Followed {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for Followed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose octets are seen.
#[derive(Debug)]
struct Observed {
    stream: TcpStream,
    conduct: Arc<Conduct>,
}

impl Observed {
    fn written(&self, octets: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(octets, Poll::Ready(Ok(1..))) {
            self.conduct.wrote();
        }
        octets
    }
}

impl AsyncRead for Observed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.conduct.heard();
        }
        read
    }
}

impl AsyncWrite for Observed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, octets);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, octets);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
