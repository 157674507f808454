//! What stands where: requests enter, answers leave.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Bytes, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    HeaderValue, RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::body::Body;
use super::faults::{self, FaultControl};
use super::overviews::Overviews;
use super::page::List;
use super::view::View;
use super::{negotiate, page};
use crate::exposition::{ResponderMetrics, encode_heartbeats, encode_probe, encode_targets};
use crate::observe::{ProbeSample, ProbeSource, ResponderStatus, TargetLook, Unavailable};

/// How long a request waits for its turn among the long answers.
const TURN: Duration = Duration::from_secs(5);

const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";

const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Nothing is loaded from elsewhere, no script or style stands in a page itself, and no other site
/// shows the page as part of its own.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";

/// The paths of one program, and where its figures come from.
#[derive(Clone)]
pub struct Routes {
    program: Program,
    /// What changes the faults of a responder, where that is allowed.
    faults: Option<Arc<dyn FaultControl>>,
    writers: Arc<Semaphore>,
}

#[derive(Clone)]
enum Program {
    Probe(Arc<dyn ProbeSource>, Arc<Overviews>),
    Responder(ResponderMetrics, Arc<ResponderStatus>),
}

/// What stands on a path.
enum Content {
    /// What is said in a line.
    Text(StatusCode, &'static str),
    /// What belongs to every page.
    File(&'static str, &'static str),
    /// What is written once the probe has been asked.
    Asked(&'static str, Asking),
    /// What is written of what is at hand.
    Written(&'static str, Encode),
}

/// Where an answer is written to.
type Out<'a> = &'a mut dyn io::Write;

/// What writes an answer.
type Encode = Box<dyn FnOnce(Out<'_>) -> io::Result<()> + Send>;

/// The probe being asked for what an answer tells; nothing is until it is polled.
type Asking = Pin<Box<dyn Future<Output = Result<Encode, Unavailable>> + Send>>;

impl Routes {
    /// `/`, `/targets/NAME`, `/metrics`, `/-/healthy`, `/-/ready`, `/api/v1/targets` and
    /// `/api/v1/targets/NAME/heartbeats` of a probe, and what its pages are made of (`/assets/`).
    ///
    /// At most `max_requests` long answers are written at a time: each holds the figures of all
    /// targets.
    #[must_use]
    pub fn probe(source: Arc<dyn ProbeSource>, max_requests: usize) -> Self {
        Self::new(Program::Probe(source, Arc::default()), max_requests)
    }

    /// `/`, `/metrics`, `/-/healthy` and `/-/ready` of a responder, which is ready from the start,
    /// and what its page is made of; `/api/v1/faults` is refused
    /// ([`with_faults`](Self::with_faults)).
    ///
    /// At most `max_requests` long answers are written at a time.
    #[must_use]
    pub fn responder(
        metrics: ResponderMetrics,
        status: ResponderStatus,
        max_requests: usize,
    ) -> Self {
        Self::new(Program::Responder(metrics, Arc::new(status)), max_requests)
    }

    fn new(program: Program, max_requests: usize) -> Self {
        Self { program, faults: None, writers: Arc::new(Semaphore::new(max_requests)) }
    }

    /// The same, with `/api/v1/faults`.
    #[must_use]
    pub fn with_faults(self, faults: Arc<dyn FaultControl>) -> Self {
        Self { faults: Some(faults), ..self }
    }

    /// The status with the faults of the moment.
    fn newest(&self, status: &Arc<ResponderStatus>) -> Arc<ResponderStatus> {
        let mut status = status.clone();
        if let Some(faults) = &self.faults {
            Arc::make_mut(&mut status).impairments = faults.in_words();
        }
        status
    }

    /// What stands on a path.
    fn content(&self, uri: &Uri) -> Option<Content> {
        let content = match uri.path() {
            "/-/healthy" => Content::Text(StatusCode::OK, "healthy\n"),
            "/assets/style.css" => Content::File(CSS, include_str!("assets/style.css")),
            path => match &self.program {
                Program::Probe(source, overviews) => probe(source, overviews, path, uri.query())?,
                Program::Responder(metrics, status) => {
                    responder(metrics, &self.newest(status), path)?
                }
            },
        };
        Some(content)
    }

    /// Answers a request, whose body is not read but on the path of faults: a connection on which
    /// another one comes is closed.
    pub(super) async fn respond(&self, mut request: Request<Incoming>) -> Response<Body> {
        let is_responder = matches!(self.program, Program::Responder(..));
        let mut response = if is_responder && request.uri().path() == faults::PATH {
            faults::answer(self.faults.as_deref(), &mut request).await
        } else {
            self.answer(&request).await
        };
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !request.body().is_end_stream() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let Some(content) = self.content(request.uri()) else {
            return text(StatusCode::NOT_FOUND, "there is nothing here; try /\n");
        };
        let head = request.method() == Method::HEAD;
        if !head && request.method() != Method::GET {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        if !request.body().is_end_stream() {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "a request has no body here\n");
        }
        let gzip = negotiate::takes_gzip(request.headers());
        match content {
            Content::Text(status, words) => text(status, words),
            Content::File(content_type, contents) => {
                let mut response = text(StatusCode::OK, if head { "" } else { contents });
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
                response
            }
            Content::Asked(content_type, _) | Content::Written(content_type, _) if head => {
                long(content_type, gzip, Body::Ended)
            }
            Content::Asked(content_type, asking) => {
                let Some(turn) = self.turn().await else {
                    return busy();
                };
                match asking.await {
                    Ok(encode) => long(content_type, gzip, written(turn, gzip, encode)),
                    Err(error) => {
                        tracing::warn!(%error, "cannot answer a scrape");
                        text(StatusCode::SERVICE_UNAVAILABLE, "the probe does not answer\n")
                    }
                }
            }
            Content::Written(content_type, encode) => {
                let Some(turn) = self.turn().await else {
                    return busy();
                };
                long(content_type, gzip, written(turn, gzip, encode))
            }
        }
    }

    /// Waits for a turn to write a long answer; none where that takes too long.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        timeout(TURN, self.writers.clone().acquire_owned()).await.ok()?.ok()
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = match self.program {
            Program::Probe(..) => "probe",
            Program::Responder(..) => "responder",
        };
        f.debug_tuple("Routes").field(&program).finish()
    }
}

/// What stands on a path of the probe.
fn probe(
    source: &Arc<dyn ProbeSource>,
    overviews: &Arc<Overviews>,
    path: &str,
    query: Option<&str>,
) -> Option<Content> {
    let content = match path {
        "/" => Content::Asked(HTML, listed(source, overviews, View::of_query(query.unwrap_or("")))),
        "/metrics" => Content::Asked(METRICS, sampled(source, |all, out| encode_probe(all, out))),
        "/-/ready" if source.ready() => Content::Text(StatusCode::OK, "ready\n"),
        "/-/ready" => Content::Text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        "/assets/live.js" => Content::File(SCRIPT, include_str!("assets/live.js")),
        "/api/v1/targets" => {
            Content::Asked(JSON, sampled(source, |all, out| encode_targets(all, out)))
        }
        _ => {
            if let Some(name) = path.strip_prefix("/targets/") {
                Content::Asked(HTML, looked(source, name, page::target)?)
            } else {
                let name = path.strip_prefix("/api/v1/targets/")?.strip_suffix("/heartbeats")?;
                Content::Asked(JSON, looked(source, name, |one, out| encode_heartbeats(one, out))?)
            }
        }
    };
    Some(content)
}

/// What stands on a path of the responder.
fn responder(
    metrics: &ResponderMetrics,
    status: &Arc<ResponderStatus>,
    path: &str,
) -> Option<Content> {
    let content = match path {
        "/" => {
            let status = status.clone();
            Content::Written(HTML, Box::new(move |out| page::responder(&status, out)))
        }
        "/metrics" => {
            let metrics = metrics.clone();
            Content::Written(METRICS, Box::new(move |out| metrics.encode(out)))
        }
        "/-/ready" => Content::Text(StatusCode::OK, "ready\n"),
        _ => return None,
    };
    Some(content)
}

/// The list, as `view` has it.
fn listed(source: &Arc<dyn ProbeSource>, overviews: &Arc<Overviews>, view: View) -> Asking {
    let (source, overviews) = (source.clone(), overviews.clone());
    Box::pin(async move {
        let overview = overviews.recent(&*source).await?;
        // To sort many targets takes a while, and other requests go on meanwhile.
        let sorting = spawn_blocking(move || {
            let selection = view.select(&overview);
            (view, overview, selection)
        });
        let (view, overview, selection) = sorting.await.map_err(|_| Unavailable)?;
        let mut looks = source.look(selection.places.clone()).await?;
        view.arrange(&mut looks);
        let list = List { view, overview, selection, looks };
        Ok(Box::new(move |out: Out<'_>| list.write(out)) as Encode)
    })
}

/// What `encode` writes of the probe and all its targets.
fn sampled(
    source: &Arc<dyn ProbeSource>,
    encode: fn(&ProbeSample, Out<'_>) -> io::Result<()>,
) -> Asking {
    let source = source.clone();
    Box::pin(async move {
        let sample = source.sample().await?;
        Ok(Box::new(move |out: Out<'_>| encode(&sample, out)) as Encode)
    })
}

/// What `encode` writes of the target whose percent-encoded name this is; `None` where there is no
/// such target.
fn looked(
    source: &Arc<dyn ProbeSource>,
    name: &str,
    encode: fn(&TargetLook, Out<'_>) -> io::Result<()>,
) -> Option<Asking> {
    let place = source.find(&percent_decode_str(name).decode_utf8().ok()?)?;
    let source = source.clone();
    Some(Box::pin(async move {
        let look = source.look(vec![place]).await?.pop().ok_or(Unavailable)?;
        Ok(Box::new(move |out: Out<'_>| encode(&look, out)) as Encode)
    }))
}

/// A body that is written for as long as the turn lasts.
fn written(turn: OwnedSemaphorePermit, gzip: bool, encode: Encode) -> Body {
    Body::stream(gzip, move |out| {
        let _turn = turn;
        encode(out)
    })
}

/// A long answer, gzipped or not as the client asked.
fn long(content_type: &'static str, gzip: bool, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A short answer.
fn text(status: StatusCode, words: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::from_static(words.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
    response
}

fn busy() -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "too many scrapes at once\n");
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    response
}
