//! `/api/v1/faults`: reads and changes the impairments of a running responder, as JSON.

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
pub trait FaultControl: Send + Sync {
    /// All impairments, as a JSON object that [`change`](Self::change) accepts.
    fn show(&self) -> String;

    /// Replaces all impairments.
    ///
    /// # Errors
    /// What is wrong with the JSON, for the person who wrote it. Nothing is changed then.
    fn change(&self, json: &str) -> Result<(), String>;

    /// Each impairment in words; empty if there are none.
    fn in_words(&self) -> Vec<String>;
}

/// The methods of the path; without `faults`, all are refused.
pub(super) fn routes<S>(faults: Option<Arc<dyn FaultControl>>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    match faults {
        None => any(async || Refusal::Lifecycle),
        Some(faults) => read(show).put(change).with_state(faults),
    }
}

async fn show(State(faults): State<Arc<dyn FaultControl>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, JSON)], faults.show())
}

async fn change(
    State(faults): State<Arc<dyn FaultControl>>,
    WholeBody(body): WholeBody<LARGEST>,
) -> Result<impl IntoResponse, Refusal> {
    let json = str::from_utf8(&body).map_err(|_| Refusal::Invalid("not JSON: not UTF-8".into()))?;
    faults.change(json).map_err(Refusal::Invalid)?;
    Ok(([(CONTENT_TYPE, JSON)], faults.show()))
}
