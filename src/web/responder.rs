//! The routes of the responder: its page and its impairments.

use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;

use super::answer::{HTML, LongAnswer, Refusal, Writers};
use super::impairments::{self, ImpairmentControl};
use super::page;
use super::router::{Program, complete, read};
use super::shared::{Encode, Shared};
use crate::exposition::ResponderMetrics;
use crate::observe::{ResponderStatus, Unavailable};

/// The router of a responder: `/`, `/metrics`, `/-/healthy`, `/-/ready` (it is ready from the
/// start), `/api/v1/impairments`, and the style of its page under `/assets/`.
///
/// Without `impairments`, requests for `/api/v1/impairments` are refused. At most `max_requests`
/// pages or metrics are written at a time; further requests wait for at most five seconds and are
/// then refused with 503.
pub fn responder_router(
    metrics: ResponderMetrics,
    status: ResponderStatus,
    impairments: Option<Arc<dyn ImpairmentControl>>,
    max_requests: usize,
) -> Router {
    let own = Router::new()
        .route("/", read(responder_page))
        .route("/api/v1/impairments", impairments::routes(impairments.clone()));
    let (scrapes, writers) = (Arc::default(), Writers::new(max_requests));
    complete(Responder { metrics, status: Arc::new(status), impairments, scrapes, writers }, own)
}

#[derive(Clone)]
struct Responder {
    metrics: ResponderMetrics,
    status: Arc<ResponderStatus>,
    impairments: Option<Arc<dyn ImpairmentControl>>,
    scrapes: Arc<Shared>,
    writers: Writers,
}

impl AsRef<Writers> for Responder {
    fn as_ref(&self) -> &Writers {
        &self.writers
    }
}

impl Program for Responder {
    const NAME: &'static str = "heartbeat-responder";

    fn is_ready(&self) -> bool {
        true
    }

    fn scrapes(&self) -> &Shared {
        &self.scrapes
    }

    async fn metrics(&self) -> Result<Encode, Unavailable> {
        let metrics = self.metrics.clone();
        Ok(Box::new(move |out| metrics.encode(out)))
    }
}

impl Responder {
    /// The page, with the impairments of this moment.
    fn page(self) -> Encode {
        let Self { status, impairments, .. } = self;
        Box::new(move |out| match impairments {
            Some(impairments) => page::responder(&status.listeners, &impairments.in_words(), out),
            None => page::responder(&status.listeners, &status.impairments, out),
        })
    }
}

async fn responder_page(
    State(responder): State<Responder>,
    answer: LongAnswer,
) -> Result<Response, Refusal> {
    answer.write(HTML, ready(Ok::<_, Refusal>(responder.page()))).await
}
