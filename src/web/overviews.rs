//! One overview for all requests for the list: the probe is asked at most once a second.
//!
//! An overview is forgotten after that second, so that it does not keep what belongs to a removed
//! target, such as its key.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::model::Mono;
use crate::net;
use crate::observe::{Overview, ProbeSource, Unavailable};

/// How long an overview is used.
const FRESH: Duration = Duration::from_secs(1);

/// The last overview.
#[derive(Debug, Default)]
pub(super) struct Overviews(Arc<Last>);

type Last = Mutex<Option<(Mono, Arc<Overview>)>>;

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
        let at = net::now().mono;
        *last = Some((at, overview.clone()));
        tokio::spawn(forget(Arc::downgrade(&self.0), at));
        Ok(overview)
    }
}

/// Forgets the overview that was gathered at `at` once it is too old to be used.
async fn forget(last: Weak<Last>, at: Mono) {
    tokio::time::sleep(FRESH).await;
    if let Some(last) = last.upgrade() {
        last.lock().await.take_if(|(gathered, _)| *gathered == at);
    }
}
