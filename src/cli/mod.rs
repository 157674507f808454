//! The command lines of both programs, one file a subcommand: what is asked for enters, an exit
//! code leaves.
//!
//! Exit codes: 0, it went well; 1, it did not (for `ping`: no answer; for `check`: problems); 2,
//! what was asked for is wrong, found before any socket was opened.

pub mod check;
pub mod demo;
mod exporter;
pub mod faults;
mod impairments;
pub mod logging;
mod memory;
pub mod odds;
pub mod ping;
mod priority;
pub mod responder;
pub mod run;
mod signal;
mod stated;
mod web;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

use crate::wire::{PROTOCOLS, Protocol};

/// The exit code for a request that is wrong in itself, as clap has it for wrong flags.
pub const USAGE: u8 = 2;

/// The protocols that a target may name, for help texts.
fn protocols() -> String {
    let line = |protocol: &Protocol| format!("\n  {:<10} {}", protocol.name(), protocol.summary());
    format!("Protocols:{}", PROTOCOLS.iter().map(line).collect::<String>())
}

/// Says what went wrong, with its causes, and gives the exit code for it.
#[expect(clippy::print_stderr, reason = "this is the command line")]
#[must_use]
pub fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}
