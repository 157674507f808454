//! Targets as pages show them: all at a glance, and a few looked at closely.
//!
//! A worker glances at some targets in each of its rounds, as it samples them for a scrape
//! (`gathering`), and looks at few in one go: no page holds up a heartbeat. Of those that are looked
//! at closely, only their workers are asked, and each for these alone.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::command::Command;
use super::{Probe, SAMPLE_PATIENCE};
use crate::config::Target;
use crate::observe::{Overview, TargetGlance, TargetLook, Unavailable};

/// Where to find targets: four octets for each name, eight for each place.
#[derive(Debug)]
pub(super) struct Directory {
    /// Places in the configuration, in the order of the names.
    by_name: Box<[u32]>,
    /// The worker of each place, and the target's number there.
    by_place: Box<[(u32, u32)]>,
}

impl Directory {
    /// The directory of `targets`, which are shared out so: the places of each worker's.
    pub(super) fn new<'a>(
        targets: &[Arc<Target>],
        shares: impl Iterator<Item = &'a [usize]>,
    ) -> Self {
        let mut by_name: Box<[u32]> = (0..).take(targets.len()).collect();
        by_name.sort_unstable_by_key(|&place| &targets[place as usize].name);
        let mut by_place = vec![(0, 0); targets.len()].into_boxed_slice();
        for (worker, share) in (0..).zip(shares) {
            for (number, &place) in (0..).zip(share) {
                by_place[place] = (worker, number);
            }
        }
        Self { by_name, by_place }
    }

    /// The place of the target of this name among `targets`, which are those of [`Self::new`].
    pub(super) fn find(&self, targets: &[Arc<Target>], name: &str) -> Option<usize> {
        let named = |&place: &u32| targets[place as usize].name.as_str().cmp(name);
        let found = self.by_name.binary_search_by(named).ok()?;
        Some(self.by_name[found] as usize)
    }

    /// The worker of the target at `place`, and its number there.
    fn hand(&self, place: usize) -> Option<(usize, usize)> {
        let &(worker, number) = self.by_place.get(place)?;
        Some((worker as usize, number as usize))
    }
}

impl Probe {
    /// All targets at a glance.
    ///
    /// # Errors
    /// [`Unavailable`] where a worker does not answer within five seconds.
    pub async fn glance(&self) -> Result<Overview, Unavailable> {
        let answers = self.ask(Command::Glance).await?;
        let mut targets: Vec<Option<TargetGlance>> = Vec::new();
        targets.resize_with(self.config.targets.len(), || None);
        let mut impaired = false;
        for (glances, hand) in answers.into_iter().zip(&self.crew) {
            impaired |= glances.impaired;
            for (glance, &place) in glances.targets.into_iter().zip(&hand.share) {
                targets[place] = Some(glance);
            }
        }
        let targets = targets.into_iter().collect::<Option<_>>().ok_or(Unavailable)?;
        Ok(Overview { targets, impaired, config_loaded: true })
    }

    /// The targets at `places` of the configuration, looked at closely, in this order; without
    /// those that are not there.
    ///
    /// A worker looks at its part of them in one go, so they ought to be few: hundreds.
    ///
    /// # Errors
    /// [`Unavailable`] where a worker does not answer within five seconds.
    pub async fn look(&self, places: Vec<usize>) -> Result<Vec<TargetLook>, Unavailable> {
        // For each worker, its targets' numbers, and where they stand in the answer.
        let mut wanted = vec![(Vec::new(), Vec::new()); self.crew.len()];
        for (at, &place) in places.iter().enumerate() {
            let Some((worker, number)) = self.directory.hand(place) else { continue };
            wanted[worker].0.push(number);
            wanted[worker].1.push(at);
        }
        let mut asked = Vec::new();
        for (hand, (numbers, stands)) in self.crew.iter().zip(wanted) {
            if numbers.is_empty() {
                continue;
            }
            let (to, looks) = oneshot::channel();
            hand.commands.send(Command::Look(numbers, to)).map_err(|_| Unavailable)?;
            asked.push((looks, stands));
        }
        let mut answer: Vec<Option<TargetLook>> = Vec::new();
        answer.resize_with(places.len(), || None);
        for (looks, stands) in asked {
            let looks = timeout(SAMPLE_PATIENCE, looks).await;
            let looks = looks.map_err(|_| Unavailable)?.map_err(|_| Unavailable)?;
            for (look, at) in looks.into_iter().zip(stands) {
                answer[at] = Some(look);
            }
        }
        Ok(answer.into_iter().flatten().collect())
    }
}
