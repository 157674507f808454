//! The program `heartbeat-responder`.

use std::process::ExitCode;

use clap::Parser as _;
use udp_heartbeat::cli::{failed, responder};

fn main() -> ExitCode {
    let args = responder::Args::parse();
    responder::run(&args).unwrap_or_else(|error| failed(&error, 1))
}
