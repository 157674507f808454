//! One connection: hyper serves a router on a stream whose phases are observed.
//!
//! The stream reports octets to [`Activity`], the service reports requests, and the body reports
//! the end of an answer. From these, [`Activity`] derives the [`Phase`], whose duration [`overstay`]
//! limits. An idle connection has a place in the [`Queue`], which evicts the longest idle connection.
//!
//! The TLS acceptor is between the observed stream and hyper, so that its handshake is part of
//! [`Phase::Reading`] and has the time limit of a header. With HTTP/2 there is no such phase: a
//! connection is idle until a request is complete.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulConnection;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::limits::Limits;
use super::phase::{Phase, overstay};
use super::queue::{Place, Queue};
use super::seats::Client;

/// Maximum number of octets that are read ahead or not yet written.
const BUFFER: usize = 64 << 10;

/// Requests that an HTTP/2 client may send before it has the answers.
const STREAMS: u32 = 16;

/// Serves the connection until it ends, overstays a phase, or is evicted; after `shutdown` only
/// until the answers under way have been sent. With `tls`, the client must begin with TLS.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    tls: Option<Arc<ServerConfig>>,
    router: Router,
    limits: Limits,
    (client, queue): (Client, Arc<Queue>),
    shutdown: watch::Receiver<bool>,
) {
    let activity = Arc::new(Activity::new(client, queue));
    let stream = Observed { stream, activity: activity.clone() };
    let overstay = overstay(activity.phase.subscribe(), limits);
    let served = serve_requests(stream, tls, &activity, router, limits, shutdown);
    tokio::select! {
        () = served => {}
        () = overstay => {}
        () = activity.evicted.notified() => {}
    }
}

async fn serve_requests(
    stream: Observed<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    tls: Option<Arc<ServerConfig>>,
    activity: &Arc<Activity>,
    router: Router,
    limits: Limits,
    mut shutdown: watch::Receiver<bool>,
) {
    let Some(tls) = tls else {
        return serve_http1(stream, activity, router, limits, shutdown).await;
    };
    let shaken = tokio::select! {
        shaken = TlsAcceptor::from(tls).accept(stream) => shaken,
        _ = shutdown.wait_for(|&requested| requested) => return,
    };
    let stream = match shaken {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "TLS handshake failed");
            return;
        }
    };
    let (_, session) = stream.get_ref();
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    activity.shook_hands(is_http2);
    if is_http2 {
        serve_http2(stream, activity, router, limits, shutdown).await;
    } else {
        serve_http1(stream, activity, router, limits, shutdown).await;
    }
}

async fn serve_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    activity: &Arc<Activity>,
    router: Router,
    limits: Limits,
    shutdown: watch::Receiver<bool>,
) {
    // `overstay` limits the time of the header; hyper's own limit would include idle time.
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER)
        .max_header_size(limits.header_size)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), Observing::new(activity, router));
    drive(connection, shutdown).await;
}

async fn serve_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    activity: &Arc<Activity>,
    router: Router,
    limits: Limits,
    shutdown: watch::Receiver<bool>,
) {
    let connection = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(limits.header_size).unwrap_or(u32::MAX))
        .max_send_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), Observing::new(activity, router));
    drive(connection, shutdown).await;
}

/// Drives a connection to its end; after `shutdown`, it accepts no further requests.
async fn drive(
    connection: impl GracefulConnection<Error = hyper::Error>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut connection = pin!(connection);
    let mut ending = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::trace!(%error, "connection failed");
                }
                return;
            }
            requested = shutdown.wait_for(|&requested| requested), if !ending => {
                drop(requested);
                connection.as_mut().graceful_shutdown();
                ending = true;
            }
        }
    }
}

/// A router whose requests are observed.
#[derive(Debug)]
struct Observing {
    activity: Arc<Activity>,
    router: TowerToHyperService<Router>,
}

impl Observing {
    fn new(activity: &Arc<Activity>, router: Router) -> Self {
        Self { activity: activity.clone(), router: TowerToHyperService::new(router) }
    }
}

impl Service<Request<Incoming>> for Observing {
    type Response = Response<Followed>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answering = Answering::new(&self.activity);
        let answer = self.router.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(response.map(|body| Followed { body, _answering: answering }))
        })
    }
}

/// The activity of a connection, from which its phase follows.
#[derive(Debug)]
struct Activity {
    phase: watch::Sender<Phase>,
    /// Whether octets that come are not always part of a request: HTTP/2 also has others.
    is_http2: AtomicBool,
    requests: Mutex<Requests>,
    client: Client,
    queue: Arc<Queue>,
    evicted: Arc<Notify>,
}

/// The requests of a connection.
#[derive(Debug)]
struct Requests {
    /// The number of the next one.
    next: u64,
    /// Those that are being answered: at most one with HTTP/1.1.
    open: BTreeSet<u64>,
    /// The place in the queue; `None` while a request is being answered.
    place: Option<Place>,
}

impl Activity {
    fn new(client: Client, queue: Arc<Queue>) -> Self {
        let evicted = Arc::new(Notify::new());
        let place = Some(queue.join(client, evicted.clone()));
        Self {
            phase: watch::Sender::new(Phase::Idle),
            is_http2: AtomicBool::new(false),
            requests: Mutex::new(Requests { next: 0, open: BTreeSet::new(), place }),
            client,
            queue,
            evicted,
        }
    }

    /// The handshake of TLS is over.
    fn shook_hands(&self, is_http2: bool) {
        self.is_http2.store(is_http2, Ordering::Relaxed);
        self.phase.send_replace(Phase::Idle);
    }

    /// Octets were read.
    fn read(&self) {
        if self.is_http2.load(Ordering::Relaxed) {
            return;
        }
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

    /// A request has come. The phase is that of the oldest request that is being answered.
    fn begin(&self) -> u64 {
        let mut requests = self.lock();
        let number = requests.next;
        requests.next += 1;
        if let Some(place) = requests.place.take() {
            self.queue.leave(place);
        }
        if requests.open.is_empty() {
            self.phase.send_replace(Phase::Answering(number));
        }
        requests.open.insert(number);
        number
    }

    /// The answer to a request has ended.
    fn end(&self, number: u64) {
        let mut requests = self.lock();
        requests.open.remove(&number);
        match requests.open.first() {
            None => {
                requests.place = Some(self.queue.join(self.client, self.evicted.clone()));
                self.phase.send_replace(Phase::Idle);
            }
            Some(&oldest) => {
                self.phase.send_if_modified(|phase| {
                    let next = Phase::Answering(oldest);
                    std::mem::replace(phase, next) != next
                });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Activity {
    fn drop(&mut self) {
        if let Some(place) = self.lock().place.take() {
            self.queue.leave(place);
        }
    }
}

/// Lives from the arrival of a request to the end of its answer.
#[derive(Debug)]
struct Answering {
    activity: Arc<Activity>,
    number: u64,
}

impl Answering {
    fn new(activity: &Arc<Activity>) -> Self {
        Self { activity: activity.clone(), number: activity.begin() }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.activity.end(self.number);
    }
}

/// The body of an answer; when it is dropped, the answer has ended.
#[derive(Debug)]
pub(super) struct Followed {
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
