//! `/api/v1/impairments`: reads and changes the impairments of a running responder, as JSON.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, any};

use super::answer::{JSON, Refusal, WholeBody};
use super::router::read;

/// Maximum size of a request body, in octets.
const LARGEST: usize = 512 << 10;

/// The impairments of a running responder.
pub trait ImpairmentControl: Send + Sync {
    /// All impairments, as a JSON object that [`change`](Self::change) accepts.
    fn show(&self) -> String;

    /// Replaces all impairments.
    ///
    /// # Errors
    /// What is wrong with the JSON, for the person who wrote it. Nothing is changed then.
    fn change(&self, json: &str) -> Result<(), String>;

    /// Each impairment in words; empty without impairments.
    fn in_words(&self) -> Vec<String>;
}

/// The methods of the path; without `impairments`, all are refused.
pub(super) fn routes<S>(impairments: Option<Arc<dyn ImpairmentControl>>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    match impairments {
        None => any(async || Refusal::Lifecycle),
        Some(impairments) => read(show).put(change).with_state(impairments),
    }
}

async fn show(State(impairments): State<Arc<dyn ImpairmentControl>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, JSON)], impairments.show())
}

async fn change(
    State(impairments): State<Arc<dyn ImpairmentControl>>,
    WholeBody(body): WholeBody<LARGEST>,
) -> Result<impl IntoResponse, Refusal> {
    let json = str::from_utf8(&body).map_err(|_| Refusal::Invalid("not JSON: not UTF-8".into()))?;
    impairments.change(json).map_err(Refusal::Invalid)?;
    Ok(([(CONTENT_TYPE, JSON)], impairments.show()))
}
