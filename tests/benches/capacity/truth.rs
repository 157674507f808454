//! The difference between the probe's mean round trip and that of a packet capture, as measured by
//! `tests/rtt-truth/run`.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::process::Process;
use super::programs::{PROBE, RESPONDER};

/// How long the script may take; it needs half a minute.
const PATIENCE: Duration = Duration::from_secs(90);

/// The absolute difference between the mean of the exported histogram and that of a capture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truth {
    /// On an idle machine.
    pub(crate) idle: Duration,
    /// With all cores busy.
    pub(crate) busy: Duration,
}

/// Runs the script.
///
/// # Errors
/// If it cannot capture: it needs root, dumpcap and stress-ng.
pub(crate) fn measure() -> anyhow::Result<Truth> {
    let file = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rtt-truth/run"));
    command.arg("--no-install").arg("--json").arg(file.path());
    command.env("PROBE", PROBE).env("RESPONDER", RESPONDER);
    let process = Process::start(&command, std::process::Stdio::null())?;
    let (status, mut lines) = process.finish(PATIENCE)?;
    let report = std::fs::read_to_string(file.path())?;
    let complaint = lines.pop().unwrap_or_default();
    ensure!(!report.is_empty(), "tests/rtt-truth/run ended with {status}: {complaint}");
    let report: Value = serde_json::from_str(&report)?;
    let difference = |load: &str| -> anyhow::Result<Duration> {
        let seconds = report[load]["difference_seconds"].as_f64();
        let seconds = seconds.with_context(|| format!("no difference of {load}"))?;
        Ok(Duration::try_from_secs_f64(seconds.abs())?)
    };
    Ok(Truth { idle: difference("idle")?, busy: difference("busy")? })
}
