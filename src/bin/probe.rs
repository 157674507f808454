//! The program `heartbeat-probe`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use udp_heartbeat::cli::{self, check, demo, odds, ping, run};

/// Sends UDP heartbeats to every configured server and exports the results to Prometheus
#[derive(Debug, Parser)]
#[command(name = "heartbeat-probe", version, propagate_version = true)]
struct Args {
    #[command(flatten)]
    log: cli::logging::LogArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Probe targets continuously and serve metrics, pages and JSON
    Run(run::Args),
    /// Monitor four servers on loopback: a steady, a lossy, a flaky and an absent one
    Demo(demo::Args),
    /// Send a few heartbeats to one target and print a line for each
    Ping(ping::Args),
    /// Check a configuration file and report every problem in it
    Check(check::Args),
    /// Compute how often random loss alone looks like an outage
    Odds(odds::Args),
}

fn main() -> ExitCode {
    let args = match cli::output::parse::<Args>() {
        Ok(args) => args,
        Err(code) => return code,
    };
    let _log = args.log.init();
    let (outcome, cannot) = match &args.command {
        Command::Run(args) => (run::run(args), 1),
        Command::Demo(args) => (demo::run(args), 1),
        Command::Ping(args) => (ping::run(args), cli::USAGE),
        Command::Check(args) => return check::run(args),
        Command::Odds(args) => return odds::run(args),
    };
    outcome.unwrap_or_else(|error| cli::failed(&error, cannot))
}
