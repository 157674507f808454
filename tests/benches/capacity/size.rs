//! Measures probe and responder at one size, a number of targets.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;

use super::clock::Watch;
use super::figures::{Figures, Quantile};
use super::floor::Floor;
use super::http::Answer;
use super::programs::{Probe, Responder, write_config};

/// The number of addresses of the targets; STAMP distinguishes 65,535 targets at each.
const ADDRESSES: usize = 4;

/// Wait after the probe is ready, until the work of the start is done.
const SETTLE: Duration = Duration::from_secs(1);

/// The minimum number of scrapes in each coding, and the minimum duration of scraping.
const SCRAPES: usize = 3;
const SCRAPING: Duration = Duration::from_secs(3);

/// The maximum number of refused scrapes: an overloaded probe refuses some.
const REFUSALS: usize = 5;

/// The pause between two scrapes.
const PAUSE: Duration = Duration::from_millis(100);

/// What is measured, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) targets: usize,
    /// The window without scrapes.
    pub(crate) window: Duration,
    pub(crate) workers: Option<usize>,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) targets: usize,
    pub(crate) floor: Floor,
    /// From the probe's start until it serves HTTP, and until every target has been answered.
    pub(crate) serving: Duration,
    pub(crate) ready: Duration,
    /// Requests per second that the responder received in the window.
    pub(crate) rate: f64,
    /// CPU time per heartbeat in the window.
    pub(crate) probe_cpu: Duration,
    pub(crate) responder_cpu: Duration,
    /// Resident memory before the first scrape and after the last, in octets.
    pub(crate) at_rest: u64,
    pub(crate) after_scrapes: u64,
    /// The figures of the first scrape, which cover the time without scrapes.
    pub(crate) quiet: Figures,
    /// The figures of the last scrape.
    pub(crate) last: Figures,
    pub(crate) plain: Scrapes,
    pub(crate) gzip: Scrapes,
    /// Scrapes that the probe refused.
    pub(crate) refusals: usize,
    /// The number of checked ledgers, targets times scrapes, and of those that do not add up.
    pub(crate) ledgers: usize,
    pub(crate) unbalanced: usize,
    /// Warnings and errors that the probe logged, each with its count.
    pub(crate) complaints: Vec<(String, usize)>,
}

/// Scrapes in one coding.
#[derive(Debug)]
pub(crate) struct Scrapes {
    /// The median duration.
    pub(crate) took: Duration,
    /// The size of the last, in octets.
    pub(crate) octets: usize,
}

/// Starts both programs, measures, and ends them.
pub(crate) fn measure(plan: Plan) -> anyhow::Result<Measured> {
    let floor = Floor::measure()?;
    let responder = Responder::start(ADDRESSES.min(plan.targets), 0)?;
    let directory = TempDir::new()?;
    let file = directory.path().join("heartbeat.yml");
    write_config(&file, plan.targets, &responder.listeners)?;

    let probe = Probe::start(&file, plan.workers)?;
    let serving = probe.age();
    probe.wait_until_ready()?;
    let ready = probe.age();
    thread::sleep(SETTLE);

    let before = (responder.counts()?.0, probe.process.cpu()?, responder.process.cpu()?);
    let watch = Watch::start();
    thread::sleep(plan.window);
    let after = (responder.counts()?.0, probe.process.cpu()?, responder.process.cpu()?);
    let took = watch.elapsed();
    let heartbeats = u32::try_from(after.0 - before.0)?;
    ensure!(heartbeats > 0, "no heartbeat in {took:?}: choose a longer window");

    let at_rest = probe.process.resident()?;
    let scraped = scrape(&probe)?;
    let after_scrapes = probe.process.resident()?;
    let complaints = probe.complaints();
    drop((probe, responder));

    let [uncompressed, gzip] = [scraped.summary(false)?, scraped.summary(true)?];
    let read = scraped.read()?;
    Ok(Measured {
        targets: plan.targets,
        floor,
        serving,
        ready,
        rate: f64::from(heartbeats) / took.as_secs_f64(),
        probe_cpu: after.1.saturating_sub(before.1) / heartbeats,
        responder_cpu: after.2.saturating_sub(before.2) / heartbeats,
        at_rest,
        after_scrapes,
        quiet: read.first,
        last: read.last,
        plain: uncompressed,
        gzip,
        refusals: read.refusals,
        ledgers: read.ledgers,
        unbalanced: read.unbalanced,
        complaints,
    })
}

impl Measured {
    /// The share of heartbeats answered in time, of all that were due and are not in flight.
    pub(crate) fn answered(&self) -> f64 {
        let Figures { sent, received, in_flight, unsent, .. } = self.last;
        received as f64 / (sent + unsent - in_flight) as f64
    }

    /// Whether every heartbeat was answered in time and accounted for, at the expected rate.
    pub(crate) fn is_whole(&self) -> bool {
        let Figures { lost, late, unsent, targets, .. } = self.last;
        let due = self.targets as f64;
        lost + late + unsent == 0
            && self.unbalanced == 0
            && targets == self.targets
            // The precision of the window's ends depends on the machine's scheduler.
            && (self.rate / due - 1.0).abs() < 0.02
    }

    /// Memory at rest per target, in addition to that of `base`; `None` unless `base` is smaller.
    pub(crate) fn octets_per_target(&self, base: &Self) -> Option<f64> {
        let targets = self.targets.checked_sub(base.targets).filter(|&targets| targets > 0)?;
        let octets = self.at_rest.saturating_sub(base.at_rest);
        Some(octets as f64 / targets as f64)
    }

    /// The 99th percentile of the schedule lag: before the first scrape, and after it.
    pub(crate) fn lag(&self) -> (Option<Quantile>, Option<Quantile>) {
        let scraped = self.last.lag.since(&self.quiet.lag);
        (self.quiet.lag.quantile(0.99), scraped.quantile(0.99))
    }

    /// The share of round trips that were measured by kernel stamps only.
    pub(crate) fn kernel_stamps(&self) -> f64 {
        let Figures { kernel_stamps, user_stamps, .. } = self.last;
        kernel_stamps as f64 / (kernel_stamps + user_stamps) as f64
    }
}

/// Scrapes alternately without and with compression, with pauses. The answers are read afterwards,
/// so that only the scrapes themselves disturb the probe.
fn scrape(probe: &Probe) -> anyhow::Result<Scraped> {
    let watch = Watch::start();
    let mut scraped = Scraped { answers: Vec::new(), refusals: 0 };
    let mut gzip = false;
    while scraped.answers.len() < 2 * SCRAPES || watch.elapsed() < SCRAPING {
        match probe.scrape(gzip) {
            Ok(answer) => {
                scraped.answers.push((gzip, answer));
                gzip = !gzip;
            }
            Err(error) if scraped.refusals == REFUSALS => return Err(error),
            Err(_) => scraped.refusals += 1,
        }
        thread::sleep(PAUSE);
    }
    Ok(scraped)
}

/// The answers to scrapes.
struct Scraped {
    /// The answers, and whether each is compressed.
    answers: Vec<(bool, Answer)>,
    refusals: usize,
}

/// The figures of the answers.
struct Read {
    first: Figures,
    last: Figures,
    refusals: usize,
    ledgers: usize,
    unbalanced: usize,
}

impl Scraped {
    fn summary(&self, gzip: bool) -> anyhow::Result<Scrapes> {
        let answers = self.answers.iter().filter(|(coding, _)| *coding == gzip);
        let (mut times, octets): (Vec<_>, Vec<_>) =
            answers.map(|(_, answer)| (answer.took, answer.len())).unzip();
        times.sort_unstable();
        let octets = octets.last().copied().context("no scrape")?;
        Ok(Scrapes { took: times[times.len() / 2], octets })
    }

    fn read(self) -> anyhow::Result<Read> {
        let (mut first, mut last) = (None, Figures::default());
        let (mut ledgers, mut unbalanced) = (0, 0);
        for (_, answer) in self.answers {
            let figures = Figures::read(&answer.text()?)?;
            ledgers += figures.targets;
            unbalanced += figures.unbalanced;
            if first.is_none() {
                first = Some(figures);
            } else {
                last = figures;
            }
        }
        let first = first.context("no scrape")?;
        Ok(Read { first, last, refusals: self.refusals, ledgers, unbalanced })
    }
}
