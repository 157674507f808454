//! One overview for all requests for the list: the probe is asked at most once a second.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use crate::model::Mono;
use crate::net;
use crate::observe::{Overview, ProbeSource, Unavailable};

/// How long an overview is used.
const FRESH: Duration = Duration::from_secs(1);

/// The last overview.
#[derive(Debug, Default)]
pub(super) struct Overviews(Mutex<Option<(Mono, Arc<Overview>)>>);

impl Overviews {
    /// An overview that is at most a second old. Requests that come while one is being gathered
    /// wait for it.
    pub(super) async fn recent(
        &self,
        source: &dyn ProbeSource,
    ) -> Result<Arc<Overview>, Unavailable> {
        let mut last = self.0.lock().await;
        if let Some((at, overview)) = &*last
            && net::now().mono.since(*at) < FRESH
        {
            return Ok(overview.clone());
        }
        let overview = Arc::new(source.glance().await?);
        *last = Some((net::now().mono, overview.clone()));
        Ok(overview)
    }
}
