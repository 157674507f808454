//! UDP heartbeats to every server you watch, and a Prometheus exporter of what came of them.
//!
//! This page is the map. One heartbeat's life reads as a straight line through the modules:
//!
//! ```text
//! schedule ─► encode ─► send ─► (network) ─► receive ─► decode ─► ledger ─► liveness ─► scrape
//! session     wire      net                  net        wire      session   record      exposition, web
//! └──────────────────────── probe drives all of it ───────────────────────┘
//! ```
//!
//! and the responder's as another: receive → let in → recognise → authenticate → charge →
//! [`impair`] → reflect → send.
//!
//! # Layers
//!
//! Imports go downwards only, and none within a line (`tests/structure.rs` holds it):
//!
//! ```text
//! bin  cli                     arguments → run → exit code
//! probe  responder  web        the edges: threads, sockets, HTTP
//! exposition                   every metric's name, and the encoders
//! observe                      what is known of targets, probe and responder, as plain data
//! session  impair  config      pure: no socket, no clock, no global source of randomness
//! wire  net                    octets; the kernel
//! model                        the words that everything shares
//! ```
//!
//! # Invariants
//!
//! - Every scheduled heartbeat is settled exactly once, and at every scrape, for every target:
//!   `sent = received + lost + in_flight` ([`session`]).
//! - Nothing makes the schedule wait: no reply, name, scrape, reload or log ([`probe`]).
//! - Identity is not position. A target is known inside by a [`model::TargetId`], outside by its
//!   name; what carries the identity of a target that is gone touches no other ([`probe`]).
//! - The set of targets is data. It changes in one way alone, from one set to another by name, and a
//!   worker carries out a bounded number of changes in each round ([`probe::Probe::apply`]).
//! - Clocks are read in [`net::now`] alone; everything else is told the time. What is random is
//!   seeded ([`impair`]).
//! - A worker's round waits for nothing and knows clocks and sockets through [`probe::Machine`]
//!   alone, so that `tests/simulation` runs the same rounds on simulated time.
//! - Decoding is total: any octets give a value or a counted reason ([`wire`]).
//! - No reply is longer than its request, and none is a request ([`wire`], [`responder`]).
//! - A worker owns its sockets and sessions alone; nothing is locked on the way of a packet, and
//!   once all is warm nothing allocated (`tests/allocation.rs`), but for replies that are held back.

// Elsewhere there is nothing but this line, so that it is the only one to be read.
#[cfg(not(target_os = "linux"))]
compile_error!(
    "udp-heartbeat runs on Linux alone; elsewhere, run its container: deploy/Dockerfile"
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
