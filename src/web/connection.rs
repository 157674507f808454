//! One connection: hyper serves a router on a stream whose phases are observed.
//!
//! The stream reports octets to [`Activity`], the service reports requests, and the body reports
//! the end of an answer. From these, [`Activity`] derives the [`Phase`], whose duration [`overstay`]
//! limits. An idle connection has a place in the [`Queue`], which evicts the longest idle connection.
//!
//! A TLS acceptor belongs between the observed stream and hyper: its handshake is then part of
//! [`Phase::Reading`] and has the time limit of a header.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use hyper::body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};

use super::limits::Limits;
use super::phase::{Phase, overstay};
use super::queue::{Place, Queue};

/// Maximum number of octets that are read ahead or not yet written.
const BUFFER: usize = 64 << 10;

/// Serves the connection until it ends, overstays a phase, or is evicted; after `shutdown` only
/// until the answer under way has been sent.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    limits: Limits,
    queue: Arc<Queue>,
    mut shutdown: watch::Receiver<bool>,
) {
    let activity = Arc::new(Activity::new(queue));
    let router = TowerToHyperService::new(router);
    let service = service_fn(|request| {
        let answering = Answering::new(&activity);
        let answer = router.call(request);
        async move {
            let response = answer.await?;
            Ok::<_, Infallible>(response.map(|body| Followed { body, _answering: answering }))
        }
    });
    let io = TokioIo::new(Observed { stream, activity: activity.clone() });
    // `overstay` limits the time of the header; hyper's own limit would include idle time.
    let mut connection = pin!(
        http1::Builder::new()
            .max_buf_size(BUFFER)
            .max_header_size(limits.header_size)
            .header_read_timeout(None)
            .serve_connection(io, service)
    );
    let mut overstay = pin!(overstay(activity.phase.subscribe(), limits));
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
            () = activity.evicted.notified() => return,
            requested = shutdown.wait_for(|&requested| requested), if !ending => {
                drop(requested);
                connection.as_mut().graceful_shutdown();
                ending = true;
            }
        }
    }
}

/// The activity of a connection, from which its phase follows.
#[derive(Debug)]
struct Activity {
    phase: watch::Sender<Phase>,
    /// Requests so far.
    requests: AtomicU64,
    queue: Arc<Queue>,
    /// The place in the queue; `None` while a request is being answered.
    place: Mutex<Option<Place>>,
    evicted: Arc<Notify>,
}

impl Activity {
    fn new(queue: Arc<Queue>) -> Self {
        let evicted = Arc::new(Notify::new());
        let place = Mutex::new(Some(queue.join(evicted.clone())));
        Self {
            phase: watch::Sender::new(Phase::Idle),
            requests: AtomicU64::new(0),
            queue,
            place,
            evicted,
        }
    }

    /// Octets were read.
    fn read(&self) {
        self.phase.send_if_modified(|phase| {
            let first = *phase == Phase::Idle;
            if first {
                *phase = Phase::Reading;
            }
            first
        });
    }

    /// Octets were written. The phase stays, but is reported as changed: that is progress.
    fn wrote(&self) {
        self.phase.send_if_modified(|phase| matches!(phase, Phase::Answering(_)));
    }

    fn take_place(&self, place: Option<Place>) {
        let mut present = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *present, place) {
            self.queue.leave(old);
        }
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        self.take_place(None);
    }
}

/// Lives from the arrival of a request to the end of its answer.
#[derive(Debug)]
struct Answering(Arc<Activity>);

impl Answering {
    fn new(activity: &Arc<Activity>) -> Self {
        let request = activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.take_place(None);
        activity.phase.send_replace(Phase::Answering(request));
        Self(activity.clone())
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.take_place(Some(self.0.queue.join(self.0.evicted.clone())));
        self.0.phase.send_replace(Phase::Idle);
    }
}

/// The body of an answer; when it is dropped, the answer has ended.
#[derive(Debug)]
struct Followed {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that reports its octets.
#[derive(Debug)]
struct Observed<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Observed<S> {
    fn written(&self, octets: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(octets, Poll::Ready(Ok(1..))) {
            self.activity.wrote();
        }
        octets
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.read();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
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
