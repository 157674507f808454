//! Sends UDP heartbeats to servers continuously and exports the results to Prometheus.
//!
//! This page is the map. A heartbeat passes through the modules in this order:
//!
//! ```text
//! schedule ─► encode ─► send ─► (network) ─► receive ─► decode ─► ledger ─► liveness ─► scrape
//! session     wire      net                  net        wire      session   record      exposition, web
//! └──────────────────────── probe drives all of it ───────────────────────┘
//! ```
//!
//! A request passes through the responder in this order: receive → let in → recognise →
//! authenticate → rate-limit → [`impair`] → reflect → send.
//!
//! # Layers
//!
//! Imports go downwards only, and never between modules of one line (`tests/structure.rs` checks
//! it):
//!
//! ```text
//! bin  cli                     arguments → run → exit code
//! probe  responder  web        the edges: threads, sockets, HTTP
//! exposition                   every metric's name, and the encoders
//! observe                      figures of targets, probe and responder, as plain data
//! session  impair  config      pure: no socket, no clock, no global source of randomness
//! wire  net                    octets; the kernel
//! model                        the vocabulary of all layers
//! ```
//!
//! # Invariants
//!
//! - Every scheduled heartbeat is settled exactly once, and at every scrape, for every target:
//!   `sent = received + lost + in_flight` ([`session`]).
//! - The schedule waits for nothing: no reply, lookup, scrape, change of targets or log ([`probe`]).
//! - Identity is not position. A target is identified by a [`model::TargetId`] inside the probe and
//!   by its name outside. The identity of a removed target never matches another target
//!   ([`probe`]).
//! - The set of targets is data. It changes in one way only: the wanted set is compared with the
//!   current one by name, and each worker applies a bounded number of changes per round
//!   ([`probe::Probe::apply`]).
//! - Only [`net::now`] reads clocks; all other code takes the time as an argument. Randomness is
//!   seeded ([`impair`]).
//! - A worker's round waits for nothing and uses clocks and sockets only through
//!   [`probe::Machine`], so that `tests/simulation` runs the same rounds on simulated time.
//! - Decoding is total: any octets give a value or a counted reason ([`wire`]).
//! - No reply is longer than its request, except those to short requests, which a responder answers
//!   only if its settings allow it; and no reply is a request ([`wire`], [`responder`]).
//! - Each worker owns its sockets and sessions. The packet path takes no lock and, once warm,
//!   allocates nothing (`tests/allocation.rs`) except for replies that are held back.
//!
//! # Examples
//!
//! A responder and a probe in one process; `src/cli/demo.rs` is a longer example.
//!
//! ```
//! use std::num::NonZeroUsize;
//!
//! use udp_heartbeat::config::{Config, parse_target};
//! use udp_heartbeat::exposition::ResponderMetrics;
//! use udp_heartbeat::probe::{Begin, Detail, Probe, RunOptions};
//! use udp_heartbeat::responder::{self, Responder, Terms};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! let metrics = ResponderMetrics::new();
//! let any_port = ["127.0.0.1:0".parse()?];
//! let responder =
//!     Responder::bind(&any_port, &Terms::default(), NonZeroUsize::MIN, &metrics)?;
//! let address = responder.local_addrs()[0];
//! let _running = responder::spawn(responder)?;
//!
//! let config = Config::default();
//! let target = parse_target(&format!("stamp://{address}"), &config.defaults)?;
//! let config = config.with_targets([target])?;
//! let options = RunOptions {
//!     detail: Detail::Changes,
//!     begin: Begin::AtOnce,
//!     limit: Some(1),
//!     workers: NonZeroUsize::MIN,
//! };
//! let (probe, _events) = Probe::start(config, options).await?;
//! probe.settled().await;
//!
//! let sample = probe.sample().await?;
//! let record = &sample.targets[0].session.record;
//! assert_eq!((record.sent, record.received, record.lost), (1, 1, 0));
//! # Ok(())
//! # })
//! # }
//! ```

// On other systems the crate is empty, so that this is the only compiler error.
#[cfg(not(target_os = "linux"))]
compile_error!(
    "udp-heartbeat runs on Linux only; on other systems, run its container: deploy/Dockerfile"
);

#[cfg(target_os = "linux")]
pub mod model;

#[cfg(target_os = "linux")]
pub mod wire;

#[cfg(target_os = "linux")]
pub mod net;

#[cfg(target_os = "linux")]
pub mod session;

#[cfg(target_os = "linux")]
pub mod impair;

#[cfg(target_os = "linux")]
pub mod config;

#[cfg(target_os = "linux")]
pub mod observe;

#[cfg(target_os = "linux")]
pub mod exposition;

#[cfg(target_os = "linux")]
pub mod probe;

#[cfg(target_os = "linux")]
pub mod responder;

#[cfg(target_os = "linux")]
pub mod web;

#[cfg(target_os = "linux")]
pub mod cli;
