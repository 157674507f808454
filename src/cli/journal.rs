//! The log lines about targets, and about the health of the probe.

use crate::model::{Label, State};
use crate::probe::{Event, Happening, Health, Incidents};

use super::exporter::Observer;

/// How many names a line lists.
const LISTED: usize = 10;

/// Writes the log of `run`.
///
/// Each change of state has a line, except that targets which are up for the first time share one:
/// a probe of 10,000 targets would otherwise begin with 10,000 lines.
#[derive(Debug, Default)]
pub(super) struct Journal {
    /// Targets that have been up for the first time since the last line, and some of their names.
    first_up: usize,
    names: Vec<String>,
    is_impaired: bool,
    /// The incidents when the probe was last seen impaired.
    incidents: Incidents,
}

impl Observer for Journal {
    fn happened(&mut self, event: &Event) {
        if let Happening::Changed { state: State::Up, is_first: true, .. } = event.what {
            self.first_up += 1;
            if self.names.len() < LISTED {
                self.names.push(event.target.name.clone());
            }
        } else {
            log(event);
        }
    }

    fn each_second(&mut self, health: Option<Health>) {
        if self.first_up > 0 {
            let more = if self.first_up > LISTED { ", …" } else { "" };
            let targets = format!("{}{more}", self.names.join(", "));
            tracing::info!(count = self.first_up, targets, "targets up for the first time");
            self.first_up = 0;
            self.names.clear();
        }
        let Some(Health { is_impaired, incidents }) = health else { return };
        if is_impaired && !self.is_impaired {
            tracing::warn!(
                cause = words(incidents),
                "the probe is impaired: its figures are unreliable"
            );
        } else if !is_impaired && self.is_impaired {
            tracing::warn!(cause = words(self.incidents), "the probe is no longer impaired");
        }
        self.is_impaired = is_impaired;
        self.incidents = incidents;
    }
}

/// What has impaired the probe.
fn words(incidents: Incidents) -> String {
    let Incidents { sent, late, worst, skipped, dropped } = incidents;
    let mut causes = Vec::new();
    if late > 0 {
        let worst = worst.as_secs_f64();
        causes.push(format!(
            "{late} of {sent} heartbeats left more than 100 ms late, the latest {worst:.1} s"
        ));
    }
    if skipped > 0 {
        causes.push(format!("{skipped} heartbeats were skipped"));
    }
    if dropped > 0 {
        causes.push(format!("the kernel dropped {dropped} datagrams on the probe's sockets"));
    }
    causes.join("; ")
}

/// Writes the line of an event, if it has one.
pub(super) fn log(event: &Event) {
    let name = event.target.name.as_str();
    let address = &event.target.address;
    let endpoint = event.evidence.and_then(|evidence| evidence.endpoint).map(|at| at.to_string());
    match event.what {
        Happening::Changed { state: State::Down, misses, .. } => {
            let diagnosis = event.diagnosis();
            tracing::warn!(
                target = name,
                %address,
                endpoint,
                misses,
                first_missed = event.evidence.map(|evidence| evidence.symptoms.unanswered),
                cause = diagnosis.as_ref().map(|diagnosis| diagnosis.cause.label()),
                why = diagnosis.as_ref().map(|diagnosis| diagnosis.summary.as_str()),
                "target down"
            );
        }
        Happening::Changed { state: State::Up, .. } => {
            let answered = event.evidence.and_then(|it| it.symptoms.unanswered.checked_sub(1));
            tracing::info!(target = name, %address, endpoint, answered, "target up");
        }
        Happening::Moved { from, to, why } => {
            let why = why.reason();
            tracing::info!(target = name, %address, %from, %to, why, "address changed");
        }
        Happening::PortChanged(why) => {
            tracing::info!(target = name, %address, why = why.reason(), "source port changed");
        }
        Happening::Answered { .. }
        | Happening::OtherSource { .. }
        | Happening::Lost { .. }
        | Happening::Unsent { .. }
        | Happening::Icmp(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_impairs_the_probe_has_figures() {
        let late = Incidents {
            sent: 600_000,
            late: 912,
            worst: Duration::from_millis(412),
            ..Incidents::default()
        };
        assert_eq!(
            words(late),
            "912 of 600000 heartbeats left more than 100 ms late, the latest 0.4 s"
        );
        assert_eq!(
            words(Incidents { skipped: 3, dropped: 7, ..Incidents::default() }),
            "3 heartbeats were skipped; the kernel dropped 7 datagrams on the probe's sockets"
        );
    }
}
