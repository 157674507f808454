//! The program `heartbeat-responder`.

use std::process::ExitCode;

use udp_heartbeat::cli::{failed, output, responder};

fn main() -> ExitCode {
    let args = match output::parse::<responder::Args>() {
        Ok(args) => args,
        Err(code) => return code,
    };
    responder::run(&args).unwrap_or_else(|error| failed(&error, 1))
}
