//! The program `heartbeat-responder`.

use std::process::ExitCode;

use udp_heartbeat::cli::{failed, output, responder};

fn main() -> ExitCode {
    let args = match output::parse::<responder::Args>() {
        Ok(args) => args,
        Err(code) => return code,
    };
    match responder::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error, 1),
    }
}
