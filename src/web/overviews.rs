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

#[cfg(test)]
mod tests {
    use super::*;

    use crate::observe::{Glancing, Looking, Sampling, fixture};

    /// A probe without targets.
    struct Empty;

    impl ProbeSource for Empty {
        fn sample(&self) -> Sampling<'_> {
            Box::pin(async { Err(Unavailable) })
        }

        fn knows(&self, _name: &str) -> bool {
            false
        }

        fn glance(&self) -> Glancing<'_> {
            Box::pin(async { Ok(fixture::overview(&fixture::probe(Vec::new()))) })
        }

        fn look(&self, _names: Vec<String>) -> Looking<'_> {
            Box::pin(async { Err(Unavailable) })
        }

        fn ready(&self) -> bool {
            true
        }
    }

    #[tokio::test]
    async fn the_last_overview_does_not_outlive_its_use() {
        let overviews = Overviews::default();
        let overview = overviews.recent(&Empty).await.unwrap();
        let kept = Arc::downgrade(&overview);
        drop(overview);
        let forgotten = async {
            while kept.upgrade().is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), forgotten).await.unwrap();
    }
}
