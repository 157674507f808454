//! The command lines of both programs, with one file for each subcommand.
//!
//! Exit codes: 0 for success; 1 for failure (of `ping`: no answer; of `check`: problems found); 2
//! for invalid arguments or an invalid configuration, found before a socket is opened.

pub mod check;
mod configuration;
pub mod demo;
mod exporter;
mod impairment_args;
pub mod impairments;
mod journal;
mod listening;
pub mod logging;
mod memory;
pub mod odds;
pub mod output;
mod packets;
pub mod ping;
mod priority;
mod reload;
pub mod responder;
pub mod run;
mod service;
mod signal;
mod stated;
mod web;
mod web_args;

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

pub use output::{USAGE, failed};

use crate::wire::{PROTOCOLS, Protocol};

/// The list of protocols for help texts.
fn protocols() -> String {
    let line = |protocol: &Protocol| format!("\n  {:<10} {}", protocol.name(), protocol.summary());
    format!("Protocols:{}", PROTOCOLS.iter().map(line).collect::<String>())
}

/// The parser of a flag whose value is a whole number in `range`.
fn whole<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let number = text.parse::<T>().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            format!("must be a whole number from {} to {}", range.start(), range.end())
        })
    }
}
