//! Queries of a running probe: the figures of all targets for a scrape; for pages, all targets at a
//! glance and the details of a few.
//!
//! No query delays a heartbeat: a worker samples some targets in each round (`gathering`), and
//! looks at a few in one go. Details are requested only from the workers that have these targets.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::net;
use crate::observe::{
    Glancing, Looking, Overview, ProbeSample, ProbeSource, Sampling, TargetLook, Unavailable,
};

use super::command::{Command, WorkerSample};
use super::coordinator::State;
use super::health::Health;
use super::running::Probe;

/// How long a scrape waits for a worker.
const PATIENCE: Duration = Duration::from_secs(5);

impl Probe {
    /// The figures of this moment; those of each target are consistent with each other.
    ///
    /// # Errors
    /// [`Unavailable`] if a worker does not answer within five seconds.
    pub async fn sample(&self) -> Result<ProbeSample, Unavailable> {
        let samples = self.ask(Command::Sample).await?;
        whole(&self.coordinator.state(), samples).ok_or(Unavailable)
    }

    /// All targets at a glance.
    ///
    /// # Errors
    /// [`Unavailable`] if a worker does not answer within five seconds.
    pub async fn glance(&self) -> Result<Overview, Unavailable> {
        let answers = self.ask(Command::Glance).await?;
        let impaired = answers.iter().any(|answer| answer.impaired);
        let glances = answers.into_iter().map(|answer| answer.targets);
        let targets = self.coordinator.state().roster.arrange(glances);
        Ok(Overview { targets, impaired })
    }

    /// Whether the probe is impaired, and by what.
    ///
    /// # Errors
    /// [`Unavailable`] if a worker does not answer within five seconds.
    pub async fn health(&self) -> Result<Health, Unavailable> {
        let all = self.ask(Command::Health).await?;
        Ok(all.into_iter().fold(Health::default(), Health::merged))
    }

    /// The details of the targets of these names, in this order; unknown names are left out.
    ///
    /// A worker looks at its targets in one go, so there should be at most a few hundred.
    ///
    /// # Errors
    /// [`Unavailable`] if a worker does not answer within five seconds.
    pub async fn look(&self, names: Vec<String>) -> Result<Vec<TargetLook>, Unavailable> {
        // For each worker: its targets, and their positions in the answer.
        let mut wanted = vec![(Vec::new(), Vec::new()); self.coordinator.crew.len()];
        let roster = self.coordinator.state().roster;
        for (at, name) in names.iter().enumerate() {
            let Some((worker, id)) = roster.find(name) else { continue };
            wanted[worker].0.push(id);
            wanted[worker].1.push(at);
        }
        let mut asked = Vec::new();
        for (hand, (ids, positions)) in self.coordinator.crew.iter().zip(wanted) {
            if ids.is_empty() {
                continue;
            }
            let (to, looks) = oneshot::channel();
            hand.commands.send(Command::Look(ids, to)).map_err(|_| Unavailable)?;
            asked.push((looks, positions));
        }
        let mut answer: Vec<Option<TargetLook>> = Vec::new();
        answer.resize_with(names.len(), || None);
        for (looks, positions) in asked {
            let looks = timeout(PATIENCE, looks).await;
            let looks = looks.map_err(|_| Unavailable)?.map_err(|_| Unavailable)?;
            for (look, at) in looks.into_iter().zip(positions) {
                answer[at] = look;
            }
        }
        Ok(answer.into_iter().flatten().collect())
    }

    /// Asks all workers the same, and returns their answers in the order of the crew.
    async fn ask<T>(
        &self,
        question: impl Fn(oneshot::Sender<T>) -> Command,
    ) -> Result<Vec<T>, Unavailable> {
        let mut asked = Vec::new();
        for hand in &self.coordinator.crew {
            let (to, answer) = oneshot::channel();
            hand.commands.send(question(to)).map_err(|_| Unavailable)?;
            asked.push(answer);
        }
        let answers = async {
            let mut answers = Vec::new();
            for answer in asked {
                answers.push(answer.await.map_err(|_| Unavailable)?);
            }
            Ok(answers)
        };
        timeout(PATIENCE, answers).await.map_err(|_| Unavailable)?
    }
}

/// Merges the workers' samples, with the targets in the order of the configuration. `None` if there
/// are no workers.
fn whole(state: &State, samples: Vec<WorkerSample>) -> Option<ProbeSample> {
    let mut samples = samples.into_iter();
    let first = samples.next()?;
    let State { roster, loaded_at, has_failed, .. } = state;
    let mut whole = ProbeSample {
        targets: Vec::new(),
        label_names: roster.targets().flat_map(|target| target.labels.keys()).cloned().collect(),
        schedule_lag: first.schedule_lag,
        receive_drops: first.receive_drops,
        fresh_ports: first.fresh_ports,
        timestamps: first.timestamps,
        unmatched: first.unmatched,
        impaired: first.impaired,
        clock: net::clock_accuracy(),
        at: net::now().wall,
        config_loaded_at: *loaded_at,
        config_is_newest: !has_failed,
    };
    let mut answers = vec![first.targets];
    for sample in samples {
        answers.push(sample.targets);
        whole.schedule_lag.merge(&sample.schedule_lag);
        whole.receive_drops += sample.receive_drops;
        whole.fresh_ports += sample.fresh_ports;
        whole.impaired |= sample.impaired;
        add(&mut whole.timestamps, &sample.timestamps);
        add(&mut whole.unmatched, &sample.unmatched);
    }
    whole.targets = roster.arrange(answers.into_iter());
    Some(whole)
}

fn add(sums: &mut [u64], counts: &[u64]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count;
    }
}

impl ProbeSource for Probe {
    fn sample(&self) -> Sampling<'_> {
        Box::pin(self.sample())
    }

    fn knows(&self, name: &str) -> bool {
        self.coordinator.state().roster.find(name).is_some()
    }

    fn glance(&self) -> Glancing<'_> {
        Box::pin(self.glance())
    }

    fn look(&self, names: Vec<String>) -> Looking<'_> {
        Box::pin(self.look(names))
    }

    fn ready(&self) -> bool {
        self.is_ready()
    }
}
