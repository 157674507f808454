//! End-to-end tests of both programs over loopback.
//!
//! The tests compare counts, not times, so a busy machine makes them slower but does not fail them.
//! They use free ports, and each test kills the programs that it started.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod program;

mod scrape;

mod server;

mod cli;

mod course;

mod dns;

mod exposition;

mod impairments;

mod hostile;

mod liveness;

mod loss;

mod names;

mod packets;

mod pages;

mod ping;

mod reload;

mod replies;

mod responder;

mod shutdown;

mod systemd;
