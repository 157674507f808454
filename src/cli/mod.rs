//! The command lines of both programs, with one file for each subcommand.
//!
//! Exit codes: 0 for success; 1 for failure (of `ping`: no answer; of `check`: problems found); 2
//! for invalid arguments or an invalid configuration, found before a socket is opened.

pub mod check;
pub mod demo;
mod exporter;
mod impairment_args;
pub mod impairments;
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

/// The exit code for invalid arguments or an invalid configuration, the same as clap's.
pub const USAGE: u8 = 2;

/// The list of protocols for help texts.
fn protocols() -> String {
    let line = |protocol: &Protocol| format!("\n  {:<10} {}", protocol.name(), protocol.summary());
    format!("Protocols:{}", PROTOCOLS.iter().map(line).collect::<String>())
}

/// Prints an error with its causes, and returns `code` as the exit code.
#[expect(clippy::print_stderr, reason = "this is the command line")]
#[must_use]
pub fn failed(error: &anyhow::Error, code: u8) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(code)
}
