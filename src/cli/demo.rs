//! `heartbeat-probe demo`: four responders and the exporter in one process, on loopback.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use tracing_appender::non_blocking::NonBlocking;

use crate::config::{Address, Config, Defaults, Host, Target};
use crate::exposition::ResponderMetrics;
use crate::impair::{self, Outage};
use crate::model::State;
use crate::probe::{Event, Happening};
use crate::responder::{self, Handle, Responder};
use crate::web::Access;
use crate::wire;

use super::exporter::{Exporter, Observer};
use super::logging::non_blocking;
use super::web::{DEFAULT_MAX_REQUESTS, ListenAddress};

/// The command line of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address to serve HTTP on; without HOST, all addresses; port 0 picks a free port
    #[arg(
        long = "web.listen-address",
        value_name = "[HOST]:PORT",
        default_value = "127.0.0.1:9862"
    )]
    listen_address: ListenAddress,
}

/// Time from one heartbeat to the next: half the default, so that something happens more often.
const INTERVAL: Duration = Duration::from_millis(500);

/// Runs the demonstration until SIGTERM or SIGINT.
///
/// # Errors
/// If a socket, port or thread is not available.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = args.listen_address.bind().await?;
        let (config, _responders) = scene()?;
        let (workers, max_requests) = (NonZeroUsize::MIN, DEFAULT_MAX_REQUESTS);
        // The page must not wait for a reader of standard output that has stopped.
        let (out, _flush_on_drop) = non_blocking(io::stdout());
        let access = Access::open();
        Exporter { config, reloads: None, workers, listener, access, max_requests }
            .serve(introduce, Screen(out))
            .await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The configuration for the four servers, and the handles of their responders, which run until the
/// handles are dropped.
fn scene() -> anyhow::Result<(Config, Vec<Handle>)> {
    let well = impair::LinkSettings::default();
    let lossy = impair::LinkSettings { loss: 0.3, seed: 30, ..well };
    let outage = Outage { every: Duration::from_secs(60), lasting: Duration::from_secs(20) };
    let flaky = impair::LinkSettings { outage: Some(outage), ..well };

    let mut targets = Vec::new();
    let mut responders = Vec::new();
    for (name, protocol, settings) in
        [("steady", "stamp", well), ("lossy", "ping", lossy), ("flaky", "heartbeat", flaky)]
    {
        let anywhere = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let responder = Responder::bind(
            &[anywhere],
            &settings.into(),
            NonZeroUsize::MIN,
            &ResponderMetrics::new(),
        )?;
        let handle = responder::spawn(responder)?;
        let address =
            handle.local_addrs().first().copied().context("a responder has an address")?;
        targets.push(target(name, protocol, address)?);
        responders.push(handle);
    }
    targets.push(target("absent", "heartbeat", unused_address()?)?);
    Ok((Config::default().with_targets(targets)?, responders))
}

fn target(name: &str, protocol: &str, address: SocketAddr) -> anyhow::Result<Target> {
    let address = Address { host: Host::Ip(address.ip()), port: address.port() };
    let protocol = wire::by_name(protocol).context("the demo names a protocol that exists")?;
    let defaults = Defaults { protocol, interval: INTERVAL, ..Defaults::default() };
    Ok(defaults.target(name.to_owned(), address))
}

/// An address on which nothing listens: a free port of a loopback address to which this program
/// binds no other socket.
fn unused_address() -> io::Result<SocketAddr> {
    UdpSocket::bind((IpAddr::from([127, 0, 0, 2]), 0))?.local_addr()
}

fn introduce(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "Monitoring four servers on loopback, one heartbeat every 500 ms to each:\n\
         \n\
         \x20 steady   answers everything (protocol stamp)\n\
         \x20 lossy    drops 30 % at random (protocol ping)\n\
         \x20 flaky    is down for 20 s of every 60 s (protocol heartbeat)\n\
         \x20 absent   does not exist\n\
         \n\
         \x20 page     http://{address}/\n\
         \x20 metrics  http://{address}/metrics\n\
         \n\
         Changes of state are printed below. Press Ctrl-C to stop.\n"
    )?;
    out.flush()?;
    Ok(())
}

/// Prints the changes of state.
struct Screen(NonBlocking);

impl Observer for Screen {
    fn happened(&mut self, event: &Event) {
        show_change(event, &mut self.0);
    }
}

pub(super) fn show_change(event: &Event, out: &mut impl Write) {
    let Happening::Changed { state, misses, .. } = event.what else { return };
    let time = i64::try_from(event.at.as_nanos() / 1_000_000).unwrap_or(i64::MAX);
    let time = Timestamp::from_millisecond(time).unwrap_or(Timestamp::MAX);
    let time = time.strftime("%H:%M:%S%.3f");
    let name = &event.target.name;
    let line = match state {
        State::Up => format!("{time}  {name:<8} up\n"),
        State::Down => {
            let why = event.diagnosis().map_or_else(String::new, |it| format!(": {}", it.summary));
            format!("{time}  {name:<8} DOWN  {misses} consecutive misses{why}\n")
        }
    };
    // The demo continues if standard output is closed, because its page may still be in use.
    let _ = out.write_all(line.as_bytes());
}
