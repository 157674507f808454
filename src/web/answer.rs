//! Building blocks of handlers: content types, refusals, long answers, and the request body.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::negotiate;
use super::shared::{self, Encode, Shared};
use super::stream::{left_out, stream};
use crate::observe::Unavailable;

pub(super) const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const JSON: &str = "application/json";
pub(super) const CSS: &str = "text/css; charset=utf-8";
pub(super) const SCRIPT: &str = "text/javascript; charset=utf-8";

/// How long a request for a long answer waits for its turn.
const TURN: Duration = Duration::from_secs(5);

/// How long a request body may take to arrive.
const BODY: Duration = Duration::from_secs(5);

/// Why a request is refused, for the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("unknown path; start at /")]
    UnknownPath,
    #[error("unknown target; / lists all targets")]
    UnknownTarget,
    #[error("method not allowed; the Allow header lists the allowed methods")]
    Method,
    #[error("a request must have one Host header, HOST or HOST:PORT")]
    Host,
    #[error("this path takes no request body")]
    Body,
    #[error("the request body is larger than {0} octets")]
    TooLarge(usize),
    #[error("the request body did not arrive within {BODY:?}")]
    Slow,
    #[error("cannot read the request body: {0}")]
    Broken(String),
    #[error("{0}")]
    Invalid(String),
    #[error(
        "access to the impairments over HTTP is disabled: restart the responder with the flag \
         --web.enable-lifecycle; for the systemd service, add the flag to FLAGS in \
         /etc/default/heartbeat-responder and run systemctl restart heartbeat-responder"
    )]
    Lifecycle,
    #[error(
        "reloading over HTTP is disabled: restart the probe with the flag \
         --web.enable-lifecycle, or send SIGHUP"
    )]
    NoReload,
    #[error("failed to reload config: {0}")]
    Reload(String),
    #[error(
        "cross-origin request refused: the Origin header must name the address in the Host header, \
         which must be an IP address or localhost"
    )]
    Origin,
    #[error("too many requests at once; try again in 5 seconds")]
    Busy,
    #[error("too many connections at once; try again in 5 seconds")]
    Full,
    #[error("too many requests: the rate limit of --web.config.file")]
    TooMany(Duration),
    #[error("a user and a password are needed")]
    Password,
    #[error("the file of --web.config.file is invalid; the log of this program says why")]
    InvalidFile,
    #[error("the probe's workers do not answer")]
    Unavailable,
    #[error("not ready")]
    NotReady,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::UnknownPath | Self::UnknownTarget => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Body | Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Host | Self::Broken(_) | Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Reload(_) | Self::InvalidFile => StatusCode::INTERNAL_SERVER_ERROR,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Password => StatusCode::UNAUTHORIZED,
            Self::Lifecycle | Self::NoReload | Self::Origin => StatusCode::FORBIDDEN,
            Self::Busy | Self::Full | Self::Unavailable | Self::NotReady => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// How long to wait before the same request is sent again.
    fn wait(&self) -> Option<Duration> {
        if let Self::TooMany(wait) = self {
            return Some(*wait);
        }
        matches!(self, Self::Busy | Self::Full).then_some(TURN)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status(), format!("{self}\n")).into_response();
        response.extensions_mut().insert(self.clone());
        if let Some(wait) = self.wait() {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<Unavailable> for Refusal {
    fn from(Unavailable: Unavailable) -> Self {
        Self::Unavailable
    }
}

/// The destination of an answer.
pub(super) type Out<'a> = &'a mut dyn io::Write;

/// Limits the number of long answers that are written at a time, and the number of samples of all
/// targets that are in memory to one.
#[derive(Debug, Clone)]
pub(super) struct Writers {
    turns: Arc<Semaphore>,
    samples: Arc<Semaphore>,
}

impl Writers {
    pub(super) fn new(at_a_time: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(at_a_time)), samples: Arc::new(Semaphore::new(1)) }
    }

    /// Waits for a turn to write.
    async fn turn(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.turns.clone().acquire_owned().await.map_err(|_| Refusal::Busy)
    }

    /// Waits until no other sample is in memory.
    async fn sample(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.samples.clone().acquire_owned().await.map_err(|_| Refusal::Busy)
    }
}

/// What `work` returns, unless it takes longer than [`TURN`].
async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Refusal> {
    timeout(TURN, work).await.map_err(|_| Refusal::Busy)
}

/// A long answer to a request, in the form that its client accepts.
#[derive(Debug)]
pub(super) struct LongAnswer {
    gzip: bool,
    /// Whether the body is left out.
    head: bool,
    writers: Writers,
}

impl<S> FromRequestParts<S> for LongAnswer
where
    S: AsRef<Writers> + Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self {
            gzip: negotiate::takes_gzip(&parts.headers),
            head: parts.method == Method::HEAD,
            writers: state.as_ref().clone(),
        })
    }
}

impl LongAnswer {
    /// Waits for a turn, gathers the contents, and streams them.
    ///
    /// For HEAD, gathers nothing.
    pub(super) async fn write<E: Into<Refusal>>(
        self,
        content_type: &'static str,
        gather: impl Future<Output = Result<Encode, E>>,
    ) -> Result<Response, Refusal> {
        let body = if self.head {
            left_out()
        } else {
            let turn = in_time(self.writers.turn()).await??;
            let encode = gathered(gather).await?;
            stream(self.gzip, move |out| {
                let _turn = turn;
                encode(out)
            })
        };
        Ok(self.respond(content_type, body))
    }

    /// Like [`write`](Self::write), for contents that are a sample of all targets: requests that wait
    /// share one.
    pub(super) async fn share<E: Into<Refusal>>(
        self,
        content_type: &'static str,
        shared: &Shared,
        gather: impl Future<Output = Result<Encode, E>>,
    ) -> Result<Response, Refusal> {
        if self.head {
            return Ok(self.respond(content_type, left_out()));
        }
        let waiting = shared.wait();
        let (turn, place, permit) = in_time(async {
            let turn = self.writers.turn().await?;
            let place = waiting.turn().await;
            let needed = place.found().is_none();
            let permit = if needed { Some(self.writers.sample().await?) } else { None };
            Ok::<_, Refusal>((turn, place, permit))
        })
        .await??;
        let growing = match (place.found(), permit) {
            (None, Some(permit)) => place.gather(gathered(gather), permit).await?,
            (found, _) => found.ok_or(Refusal::Busy)?,
        };
        let body = shared::answer(growing, self.gzip, turn);
        Ok(self.respond(content_type, body))
    }

    fn respond(&self, content_type: &'static str, body: Body) -> Response {
        let headers = [(CONTENT_TYPE, content_type), (VARY, "Accept-Encoding")];
        let mut response = (headers, body).into_response();
        if self.gzip {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }
}

/// Gathers the contents of an answer, and logs a failure of this program.
async fn gathered<E: Into<Refusal>>(
    gather: impl Future<Output = Result<Encode, E>>,
) -> Result<Encode, Refusal> {
    gather.await.map_err(Into::into).inspect_err(|refusal| {
        if refusal.status().is_server_error() {
            tracing::warn!(error = %refusal, "cannot answer an HTTP request");
        }
    })
}

/// The whole body of a request, of at most `LIMIT` octets.
#[derive(Debug)]
pub(super) struct WholeBody<const LIMIT: usize>(pub(super) Bytes);

impl<const LIMIT: usize, S: Send + Sync> FromRequest<S> for WholeBody<LIMIT> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let mut body = request.into_body();
        let declared = body.size_hint().lower();
        if declared > LIMIT as u64 {
            // A body that is left unread resets the connection, perhaps before the client has read the
            // answer. A much larger one is not worth the time.
            if declared <= 2 * LIMIT as u64 {
                let discarded = async { while let Some(Ok(_)) = body.frame().await {} };
                let _ = timeout(BODY, discarded).await;
            }
            return Err(Refusal::TooLarge(LIMIT));
        }
        let body = Limited::new(body, LIMIT).collect();
        match timeout(BODY, body).await {
            Ok(Ok(body)) => Ok(Self(body.to_bytes())),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge(LIMIT)),
            Ok(Err(error)) => Err(Refusal::Broken(cause(&*error))),
            Err(_) => Err(Refusal::Slow),
        }
    }
}

/// The innermost error: the outer ones say only that a body was being read.
fn cause(mut error: &(dyn Error + 'static)) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
