//! `/api/v1/faults`: what is to go wrong enters and leaves as JSON.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::body::Body;

/// Where it is.
pub(super) const PATH: &str = "/api/v1/faults";

/// How many octets a request says what it wants in, at most.
const LARGEST: usize = 512 << 10;

/// How long it may take to say so.
const PATIENCE: Duration = Duration::from_secs(5);

/// The faults of a running responder, as they are read and written.
pub trait FaultControl: Send + Sync {
    /// All of them, as a JSON object that [`change`](Self::change) takes.
    fn show(&self) -> String;

    /// Has these hold from now on, instead of those before.
    ///
    /// # Errors
    /// What is wrong with the text, for whoever wrote it; nothing is changed then.
    fn change(&self, json: &str) -> Result<(), String>;

    /// Each fault as a person would say it; empty where all is well.
    fn in_words(&self) -> Vec<String>;
}

/// Answers a request, and reads its body.
pub(super) async fn answer(
    faults: Option<&dyn FaultControl>,
    request: &mut Request<Incoming>,
) -> Response<Body> {
    let Some(faults) = faults else {
        return text(
            StatusCode::FORBIDDEN,
            "faults can be read and changed with --web.enable-lifecycle alone",
        );
    };
    match *request.method() {
        // The server leaves the body of an answer to HEAD away.
        Method::GET | Method::HEAD => json(faults),
        Method::PUT => match read(request).await {
            Ok(wanted) => match faults.change(&wanted) {
                Ok(()) => json(faults),
                Err(problem) => text(StatusCode::BAD_REQUEST, &problem),
            },
            Err(refusal) => refusal,
        },
        _ => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and PUT");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD, PUT"));
            response
        }
    }
}

/// The body of a request, or why not.
async fn read(request: &mut Request<Incoming>) -> Result<String, Response<Body>> {
    let body = Limited::new(request.body_mut(), LARGEST);
    let Ok(collected) = timeout(PATIENCE, body.collect()).await else {
        return Err(text(StatusCode::REQUEST_TIMEOUT, "the faults did not come in time"));
    };
    let collected = collected.map_err(|error| {
        if error.is::<LengthLimitError>() {
            let words = format!("faults have at most {LARGEST} octets");
            text(StatusCode::PAYLOAD_TOO_LARGE, &words)
        } else {
            text(StatusCode::BAD_REQUEST, &format!("the faults broke off: {error}"))
        }
    })?;
    String::from_utf8(collected.to_bytes().into())
        .map_err(|_| text(StatusCode::BAD_REQUEST, "not JSON: not UTF-8"))
}

fn json(faults: &dyn FaultControl) -> Response<Body> {
    whole(StatusCode::OK, "application/json", faults.show())
}

fn text(status: StatusCode, words: &str) -> Response<Body> {
    whole(status, "text/plain; charset=utf-8", format!("{words}\n"))
}

fn whole(status: StatusCode, content_type: &'static str, body: String) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
