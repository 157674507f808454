//! Both programs as their users meet them: real binaries, over loopback.
//!
//! What is asserted is counted, never timed: a machine under load makes these tests slower, not
//! wrong. Ports are free ones, and no program outlives the test that started it.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod program;

mod scrape;

mod server;

mod cli;

mod course;

mod dns;

mod exposition;

mod faults;

mod hostile;

mod liveness;

mod loss;

mod names;

mod pages;

mod ping;

mod replies;

mod responder;

mod shutdown;
