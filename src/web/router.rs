//! The router of a program: the routes of both programs, and the headers of every answer.
//!
//! [`complete`] joins a [`Program`], its own routes, and the common ones:
//!
//! - [`read`] makes a route that only reads: GET and HEAD, without a request body.
//! - Other methods are listed where the route is added. A handler that takes a body has an
//!   argument [`WholeBody`], whose type bounds its size.
//! - A query or a parameter of the path is an argument of the handler.
//! - Anything that concerns all requests, such as authentication, is a layer in [`complete`]:
//!   layers also see requests for unknown paths.
//!
//! [`WholeBody`]: super::answer::WholeBody

use std::net::IpAddr;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST,
    ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, Version};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use hyper::body::Body as _;
use tower_http::set_header::SetResponseHeaderLayer;

use super::answer::{CSS, HTML, LongAnswer, METRICS, Refusal, Writers};
use super::page;
use super::shared::{Encode, Shared};
use crate::observe::Unavailable;

/// Pages load nothing from elsewhere, contain no script or style of their own, and are not shown
/// inside pages of other sites.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src data:; base-uri 'none'; form-action 'self'; \
                      frame-ancestors 'none'";

/// What the router needs to know of a program.
pub(super) trait Program: AsRef<Writers> + Clone + Send + Sync + 'static {
    /// Its name on its pages.
    const NAME: &'static str;

    /// Whether `/-/ready` reports the program as ready.
    fn is_ready(&self) -> bool;

    /// The newest body of `/metrics`.
    fn scrapes(&self) -> &Shared;

    /// Gathers the contents of `/metrics`.
    fn metrics(&self) -> impl Future<Output = Result<Encode, Unavailable>> + Send;
}

/// A program's own routes and the common ones.
pub(super) fn complete<P: Program>(program: P, own: Router<P>) -> Router {
    let common = Router::new()
        .route("/metrics", read(metrics::<P>))
        .route("/-/healthy", read(async || "healthy\n"))
        .route("/-/ready", read(ready::<P>))
        .route("/assets/style.css", read(async || asset(CSS, include_str!("assets/style.css"))));
    common
        .merge(own)
        .method_not_allowed_fallback(async || Refusal::Method)
        .fallback(async || Refusal::UnknownPath)
        .with_state(program)
        .layer((
            from_fn(refuse_with_a_page::<P>),
            from_fn(close_after_unread_body),
            header(X_CONTENT_TYPE_OPTIONS, "nosniff"),
            header(CONTENT_SECURITY_POLICY, POLICY),
            header(CACHE_CONTROL, "no-store"),
            from_fn(refuse_other_sites),
            from_fn(require_host),
        ))
}

/// A route that is read with GET or HEAD.
pub(super) fn read<H, T, S>(handler: H) -> MethodRouter<S>
where
    H: Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    get(handler).route_layer(from_fn(refuse_body))
}

/// A file that is compiled into the program.
pub(super) fn asset(content_type: &'static str, contents: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, content_type)], contents)
}

async fn metrics<P: Program>(
    State(program): State<P>,
    answer: LongAnswer,
) -> Result<Response, Refusal> {
    answer.share(METRICS, program.scrapes(), program.metrics()).await
}

async fn ready<P: Program>(State(program): State<P>) -> Result<&'static str, Refusal> {
    if program.is_ready() { Ok("ready\n") } else { Err(Refusal::NotReady) }
}

fn header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(name, HeaderValue::from_static(value))
}

/// Refuses requests without a Host header in HTTP/1.1, with several, or with one that is neither
/// empty nor `HOST[:PORT]` (RFC 9112 section 3.2).
async fn require_host(request: Request, next: Next) -> Result<Response, Refusal> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let is_needed = request.version() == Version::HTTP_11;
    let is_valid = hosts.next().map_or(!is_needed, is_host);
    if is_valid && hosts.next().is_none() {
        Ok(next.run(request).await)
    } else {
        Err(Refusal::Host)
    }
}

/// Whether a Host header is empty or `HOST[:PORT]`.
fn is_host(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let Ok(authority) = text.parse::<Authority>() else { return text.is_empty() };
    let port = text.strip_prefix(authority.host()).unwrap_or("-");
    // An empty port is valid (RFC 3986 section 3.2.3).
    let is_number = |port: &str| !port.starts_with('+') && port.parse::<u16>().is_ok();
    let port_is_valid = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| port.is_empty() || is_number(port));
    !text.contains('@') && !authority.host().is_empty() && port_is_valid
}

/// Refuses requests other than GET and HEAD that a page of another site makes: a browser names the
/// page's origin (RFC 6454 section 7), which must be ours.
///
/// A site can let its own name resolve to this machine (DNS rebinding); its origin then equals the
/// Host header. So the host must not be a name, except localhost.
async fn refuse_other_sites(request: Request, next: Next) -> Result<Response, Refusal> {
    let headers = request.headers();
    let is_reading = [Method::GET, Method::HEAD].contains(request.method());
    let ours =
        headers.get(HOST).and_then(|host| host.to_str().ok()).filter(|host| has_no_name(host));
    let mut origins = headers.get_all(ORIGIN).iter();
    let is_ours = |origin: &HeaderValue| {
        let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        authority.is_some_and(|(_, authority)| Some(authority) == ours)
    };
    if is_reading || origins.all(is_ours) {
        Ok(next.run(request).await)
    } else {
        Err(Refusal::Origin)
    }
}

/// Whether `HOST[:PORT]` is of an IP address or localhost.
fn has_no_name(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    let host = authority.host();
    let ip = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ip.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost")
}

async fn refuse_body(request: Request, next: Next) -> Result<Response, Refusal> {
    if has_body(&request) { Err(Refusal::Body) } else { Ok(next.run(request).await) }
}

/// Turns a refusal into a page with a way back, for a client that asks for pages.
async fn refuse_with_a_page<P: Program>(request: Request, next: Next) -> Response {
    let accepted = request.headers().get_all(ACCEPT).iter();
    let takes_pages = accepted
        .filter_map(|accepted| accepted.to_str().ok())
        .any(|accepted| accepted.contains("text/html"));
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let Some(refusal) = response.extensions().get::<Refusal>().filter(|_| takes_pages) else {
        return response;
    };
    let mut page = Vec::new();
    let (status, message) = (response.status().to_string(), refusal.to_string());
    if page::refusal(P::NAME, &path, &status, &message, &mut page).is_err() {
        return response;
    }
    let (mut head, _) = response.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static(HTML));
    Response::from_parts(head, page.into())
}

/// Closes the connection after a refused request that has a body: the body is not read, so the
/// start of the next request is unknown.
async fn close_after_unread_body(request: Request, next: Next) -> Response {
    let has_body = has_body(&request);
    let mut response = next.run(request).await;
    if has_body && !response.status().is_success() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn has_body(request: &Request) -> bool {
    !request.body().is_end_stream()
}
