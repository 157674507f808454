//! `/-/reload`: reads the configuration again.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::routing::{MethodRouter, any, post};

use super::answer::{Refusal, WholeBody};

/// The configuration of a running program.
pub trait ReloadControl: Send + Sync {
    /// Reads the configuration again and applies it. Returns what has changed, in words. With
    /// `dry_run`, changes nothing, and returns what would change.
    ///
    /// # Errors
    /// What is wrong with the configuration. Nothing is changed then.
    fn reload(&self, dry_run: bool) -> Reloading<'_>;
}

/// The future outcome of a reload.
pub type Reloading<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

/// The methods of the path, as Prometheus has them; without `reload`, all are refused.
pub(super) fn routes<S>(reload: Option<Arc<dyn ReloadControl>>) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    match reload {
        None => any(async || Refusal::NoReload),
        Some(reload) => post(run).put(run).with_state(reload),
    }
}

async fn run(
    State(reload): State<Arc<dyn ReloadControl>>,
    RawQuery(query): RawQuery,
    WholeBody(_): WholeBody<0>,
) -> Result<String, Refusal> {
    let dry_run = match query.as_deref() {
        None | Some("" | "dry_run=0") => false,
        Some("dry_run=1") => true,
        Some(_) => return Err(Refusal::Invalid("the only parameter is dry_run=1".to_owned())),
    };
    // If the client goes away, the reload goes on: half of one must not be applied.
    let reload = tokio::spawn(async move { reload.reload(dry_run).await });
    let outcome = reload.await.map_err(|error| Refusal::Reload(error.to_string()))?;
    outcome.map_err(Refusal::Reload)
}
