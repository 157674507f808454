//! The routes of the probe: the list, the pages of targets, and the JSON.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use tokio::task::spawn_blocking;

use super::answer::{HTML, JSON, LongAnswer, Out, Refusal, SCRIPT, Writers};
use super::overviews::Overviews;
use super::page::{self, List};
use super::reload::{self, ReloadControl};
use super::router::{Program, asset, complete, read};
use super::shared::{Encode, Shared};
use super::view::View;
use crate::exposition::{encode_heartbeats, encode_probe, encode_targets};
use crate::observe::{ProbeSample, ProbeSource, TargetLook, Unavailable};

/// The router of a probe: `/`, `/targets/NAME`, `/metrics`, `/-/healthy`, `/-/ready`,
/// `/api/v1/targets`, `/api/v1/targets/NAME/heartbeats`, and the parts of its pages under
/// `/assets/`.
///
/// `/-/reload` reads the configuration again; without `reload`, requests for it are refused.
///
/// At most `max_requests` pages, JSON documents or metrics are written at a time, because each may
/// contain the figures of all targets. Further requests wait for at most five seconds and are then
/// refused with 503.
pub fn probe_router(
    source: Arc<dyn ProbeSource>,
    reload: Option<Arc<dyn ReloadControl>>,
    max_requests: usize,
) -> Router {
    let probe = Probe {
        source,
        overviews: Arc::default(),
        scrapes: Arc::default(),
        documents: Arc::default(),
        writers: Writers::new(max_requests),
    };
    let own = Router::new()
        .route("/", read(list))
        .route("/targets/{*name}", read(target))
        .route("/api/v1/targets", read(targets))
        .route("/api/v1/targets/{*path}", read(heartbeats))
        .route("/-/reload", reload::routes(reload))
        .route("/assets/live.js", read(async || asset(SCRIPT, include_str!("assets/live.js"))));
    complete(probe, own)
}

#[derive(Clone)]
struct Probe {
    source: Arc<dyn ProbeSource>,
    overviews: Arc<Overviews>,
    scrapes: Arc<Shared>,
    /// The newest body of `/api/v1/targets`.
    documents: Arc<Shared>,
    writers: Writers,
}

impl AsRef<Writers> for Probe {
    fn as_ref(&self) -> &Writers {
        &self.writers
    }
}

impl Program for Probe {
    const NAME: &'static str = "heartbeat-probe";

    fn is_ready(&self) -> bool {
        self.source.ready()
    }

    fn scrapes(&self) -> &Shared {
        &self.scrapes
    }

    async fn metrics(&self) -> Result<Encode, Unavailable> {
        self.sample(|sample, out| encode_probe(sample, out)).await
    }
}

async fn list(
    State(probe): State<Probe>,
    RawQuery(query): RawQuery,
    answer: LongAnswer,
) -> Result<Response, Refusal> {
    let view = View::of_query(&query.unwrap_or_default());
    answer.write(HTML, probe.list(view)).await
}

async fn target(
    State(probe): State<Probe>,
    path: Result<Path<String>, PathRejection>,
    answer: LongAnswer,
) -> Result<Response, Refusal> {
    let name = probe.find(path, "")?;
    answer.write(HTML, probe.look(name, page::target)).await
}

async fn targets(State(probe): State<Probe>, answer: LongAnswer) -> Result<Response, Refusal> {
    let document = probe.sample(|sample, out| encode_targets(sample, out));
    answer.share(JSON, &probe.documents, document).await
}

/// The suffix is split off the end of the path, because a name may contain slashes, even unencoded.
async fn heartbeats(
    State(probe): State<Probe>,
    path: Result<Path<String>, PathRejection>,
    answer: LongAnswer,
) -> Result<Response, Refusal> {
    let name = probe.find(path, "/heartbeats")?;
    answer.write(JSON, probe.look(name, |look, out| encode_heartbeats(look, out))).await
}

impl Probe {
    /// The name of the target in the path, before `suffix`.
    fn find(
        &self,
        path: Result<Path<String>, PathRejection>,
        suffix: &str,
    ) -> Result<String, Refusal> {
        // A path that is not UTF-8 is not the name of a target.
        let Path(path) = path.map_err(|_| Refusal::UnknownTarget)?;
        let name = path.strip_suffix(suffix).ok_or(Refusal::UnknownPath)?;
        self.source.knows(name).then(|| name.to_owned()).ok_or(Refusal::UnknownTarget)
    }

    /// Gathers the page of the list that `view` asks for.
    async fn list(&self, view: View) -> Result<Encode, Unavailable> {
        let overview = self.overviews.recent(&*self.source).await?;
        // Sorting many targets takes time; meanwhile, this thread answers other requests.
        let selecting = spawn_blocking(move || {
            let selection = view.select(&overview);
            (view, overview, selection)
        });
        let (view, overview, selection) = selecting.await.map_err(|_| Unavailable)?;
        let mut looks = self.source.look(selection.names.clone()).await?;
        view.arrange(&mut looks);
        let list = List { view, overview, selection, looks };
        Ok(Box::new(move |out| list.write(out)))
    }

    /// Samples the probe and all its targets for `encode`.
    async fn sample(
        &self,
        encode: fn(&ProbeSample, Out<'_>) -> io::Result<()>,
    ) -> Result<Encode, Unavailable> {
        let sample = self.source.sample().await?;
        Ok(Box::new(move |out| encode(&sample, out)))
    }

    /// Looks at one target for `encode`; the target may have been removed since its name was found.
    async fn look(
        &self,
        name: String,
        encode: fn(&TargetLook, Out<'_>) -> io::Result<()>,
    ) -> Result<Encode, Refusal> {
        let look = self.source.look(vec![name]).await?.pop().ok_or(Refusal::UnknownTarget)?;
        Ok(Box::new(move |out| encode(&look, out)))
    }
}
