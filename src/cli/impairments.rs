//! `heartbeat-responder impairments`: shows or changes the impairments of a running responder over
//! HTTP.

use std::io::{self, Write};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::impairment_args::ImpairmentArgs;
use super::stated::Stated;
use crate::config::Prefix;

/// How long to wait for the responder's answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most octets of an answer that are read.
const LARGEST: usize = 1 << 20;

/// The command line of `impairments`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// HTTP address of the responder, which must run with --web.enable-lifecycle
    #[arg(long, value_name = "URL", global = true, default_value = "http://127.0.0.1:9863")]
    web: Web,

    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// Show the impairments
    Show {
        /// Print the responder's JSON
        #[arg(long)]
        json: bool,
    },
    /// Replace the impairments; an impairment that is not given is off
    Set(Box<SetArgs>),
    /// Remove all impairments
    Clear {
        /// For this network only; the impairments for all sources then apply to it
        #[arg(long, value_name = "CIDR")]
        source: Option<Prefix>,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct SetArgs {
    /// For this network only, such as 192.0.2.0/24; the longest matching prefix wins
    #[arg(long, value_name = "CIDR")]
    source: Option<Prefix>,

    #[command(flatten)]
    impairments: ImpairmentArgs,
}

/// The URL of a responder's HTTP server.
#[derive(Debug, Clone)]
struct Web(Uri);

#[derive(Debug, Clone, Copy, thiserror::Error)]
enum InvalidUrl {
    #[error("must be http://HOST:PORT: the responder does not serve HTTPS")]
    Https,
    #[error("must be http://HOST:PORT, such as http://127.0.0.1:9863")]
    Other,
}

impl FromStr for Web {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = whole.trim_end_matches('/').parse().map_err(|_| InvalidUrl::Other)?;
        match uri.scheme_str() {
            Some("http") if uri.host().is_some() => Ok(Self(uri)),
            Some("https") => Err(InvalidUrl::Https),
            _ => Err(InvalidUrl::Other),
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// If the responder cannot be reached, or refuses.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let web = &args.web;
        let mut stated = web.impairments(Method::GET, String::new()).await?;
        match &args.action {
            Action::Show { json } => return show(&stated, *json),
            Action::Set(set) => match set.source {
                Some(prefix) => {
                    stated.sources.insert(prefix, set.impairments.clone());
                }
                None => stated.all = set.impairments.clone(),
            },
            Action::Clear { source: Some(prefix) } => {
                if stated.sources.remove(prefix).is_none() {
                    bail!("no impairments are set for {prefix}");
                }
            }
            Action::Clear { source: None } => stated = Stated::default(),
        }
        show(&web.impairments(Method::PUT, stated.to_json().to_string()).await?, false)
    })
}

fn show(stated: &Stated, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", stated.to_json())?;
    } else if stated.in_words().is_empty() {
        writeln!(out, "no impairments")?;
    } else {
        for words in stated.in_words() {
            writeln!(out, "{words}")?;
        }
    }
    out.flush()?;
    Ok(())
}

impl Web {
    /// Sends a request to the responder and returns the impairments in its answer.
    async fn impairments(&self, method: Method, body: String) -> anyhow::Result<Stated> {
        let asked = timeout(PATIENCE, self.ask(method, body)).await;
        let (status, text) = asked
            .unwrap_or_else(|_| bail!("no answer within {PATIENCE:?}"))
            .with_context(|| format!("cannot reach the responder at {} (--web)", self.0))?;
        match status {
            StatusCode::OK => Stated::parse(&text)
                .map_err(|problem| anyhow::anyhow!("invalid answer from {}: {problem}", self.0)),
            StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
                bail!("{}", text.trim_end())
            }
            _ => bail!("unexpected answer from {}: {status}: is it a responder?", self.0),
        }
    }

    async fn ask(&self, method: Method, body: String) -> anyhow::Result<(StatusCode, String)> {
        let host = self.0.host().unwrap_or_default();
        let authority =
            self.0.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
        let path = format!("{}/api/v1/impairments", self.0.path().trim_end_matches('/'));
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((literal, self.0.port_u16().unwrap_or(80))).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, authority)
            .body(Full::new(Bytes::from(body)))?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!("incomplete answer: {error}"))?;
            Ok((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
        };
        tokio::select! {
            answer = exchange => answer,
            // Ends first if the other end closes the connection; the exchange then fails as well.
            Err(error) = connection => Err(error.into()),
        }
    }
}
