//! `heartbeat-probe run`: the exporter.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Interval;
use crate::net;

use super::configuration::Source;
use super::exporter::Exporter;
use super::journal::Journal;
use super::reload::Reloads;
use super::web::{DEFAULT_MAX_REQUESTS, ListenAddress, max_requests};
use super::web_args::WebArgs;
use super::{USAGE, failed, priority};

/// The command line of `run`.
#[derive(Debug, clap::Args)]
#[command(after_help = super::protocols())]
pub struct Args {
    /// Targets in addition to those of the file.
    #[arg(
        value_name = "TARGET",
        help = "Targets in addition to the file: [PROTOCOL://]HOST[:PORT]"
    )]
    targets: Vec<String>,
    /// The configuration file
    #[arg(long = "config.file", value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Reload the configuration when the contents of the file change
    #[arg(long = "config.auto-reload", requires = "config_file")]
    auto_reload: bool,
    /// Time between checks of the file for --config.auto-reload
    #[arg(
        long = "config.auto-reload-interval",
        value_name = "DURATION",
        default_value = "30s",
        allow_negative_numbers = true
    )]
    auto_reload_interval: Interval,
    /// Address to serve HTTP on; without HOST, all addresses; port 0 picks a free port
    #[arg(long = "web.listen-address", value_name = "[HOST]:PORT", default_value = ":9862")]
    listen_address: ListenAddress,
    #[command(flatten)]
    web: WebArgs,
    /// Maximum number of pages, scrapes and JSON documents answered at a time; others wait
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = DEFAULT_MAX_REQUESTS,
        allow_negative_numbers = true, value_parser = max_requests)]
    max_requests: usize,
    /// Let HTTP clients reload the configuration (POST or PUT /-/reload)
    #[arg(long = "web.enable-lifecycle")]
    lifecycle: bool,
    /// Number of threads that send and receive heartbeats, from 1 to 64
    #[arg(long, value_name = "N", default_value_t = NonZeroUsize::MIN,
        allow_negative_numbers = true, value_parser = workers)]
    workers: NonZeroUsize,
}

/// The limit of `--workers`. More threads would have too little work each.
const MAX_WORKERS: usize = 64;

fn workers(text: &str) -> Result<NonZeroUsize, String> {
    let workers = text.parse().ok().filter(|workers: &NonZeroUsize| workers.get() <= MAX_WORKERS);
    workers.ok_or_else(|| format!("must be a number from 1 to {MAX_WORKERS}"))
}

/// Runs the exporter until SIGTERM or SIGINT.
///
/// # Errors
/// If a socket, port or thread is not available. An invalid configuration is not an error here: it
/// is reported, and the exit code is 2.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let source = Source { file: args.config_file.clone(), targets: args.targets.clone() };
    let contents = match source.read() {
        Ok(contents) => contents,
        Err(problem) => return Ok(failed(&problem.into(), USAGE)),
    };
    let config = match source.check(contents.as_ref()) {
        Ok(config) => config,
        Err(problem) => return Ok(failed(&problem, USAGE)),
    };
    let access = match args.web.access() {
        Ok(access) => access,
        Err(problems) => return Ok(failed(&problems.into(), USAGE)),
    };
    let reloads = Reloads {
        source,
        digest: contents.map(|contents| contents.digest()),
        watch: args.auto_reload.then(|| args.auto_reload_interval.duration()),
        over_http: args.lifecycle,
    };
    if let Err(error) = net::raise_descriptor_limit() {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    // Only the threads for blocking work are started by this runtime.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(priority::give_way)
        .build()?;
    runtime.block_on(async {
        let listener = args.listen_address.bind().await?;
        let targets = config.targets.len();
        let templates =
            config.targets.iter().filter(|target| target.template_name().is_some()).count();
        let each_address = (templates > 0).then_some(templates);
        let started = |address| {
            tracing::info!(%address, targets, addresses_all = each_address, "serving HTTP");
            Ok(())
        };
        let Args { workers, max_requests, .. } = *args;
        let reloads = Some(reloads);
        Exporter { config, reloads, workers, listener, access, max_requests }
            .serve(started, Journal::default())
            .await
    })?;
    // Does not wait for a name lookup that hangs.
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
