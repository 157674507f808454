//! Impairments by source, and how they change while the responder runs.
//!
//! An [`ImpairmentSwitch`] accepts new settings at any time. A thread takes them over between two
//! batches ([`Follower`]), so that no datagram needs a lock. A datagram that arrives after a change
//! meets the new impairments, because the switch is read after a batch has been received.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Prefix, PrefixMap};
use crate::impair::{Impairment, LinkSettings};
use crate::model::Mono;

/// Impairments for all sources, or for some: the longest matching prefix wins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Impairments {
    /// For sources without a prefix of their own.
    pub all: LinkSettings,
    /// For sources in these prefixes.
    pub sources: Vec<(Prefix, LinkSettings)>,
}

impl From<LinkSettings> for Impairments {
    fn from(all: LinkSettings) -> Self {
        Self { all, sources: Vec::new() }
    }
}

/// Impairments, each with the moment from which it applies.
#[derive(Debug, Clone)]
pub(super) struct Dated {
    all: (LinkSettings, Mono),
    sources: PrefixMap<(LinkSettings, Mono)>,
}

impl Dated {
    pub(super) fn new(impairments: &Impairments, since: Mono) -> Self {
        let sources =
            impairments.sources.iter().map(|&(prefix, settings)| (prefix, (settings, since)));
        Self { all: (impairments.all, since), sources: sources.collect() }
    }

    /// Replaces the impairments. Settings that stay keep their moment.
    fn change(&mut self, impairments: &Impairments, now: Mono) {
        let old = std::mem::replace(self, Self::new(impairments, now));
        if old.all.0 == self.all.0 {
            self.all = old.all;
        }
        for (prefix, new) in self.sources.iter_mut() {
            if let Some(old) = old.sources.get(prefix)
                && old.0 == new.0
            {
                *new = *old;
            }
        }
    }
}

/// One link for each entry of [`Impairments`].
#[derive(Debug)]
pub(super) struct Links {
    all: Impairment,
    sources: PrefixMap<Impairment>,
}

impl Links {
    /// Links that start at the moments of their impairments.
    pub(super) fn new(impairments: &Dated) -> Self {
        let link = |(settings, since)| Impairment::new(settings, since);
        let sources = impairments.sources.iter().map(|(prefix, &dated)| (prefix, link(dated)));
        Self { all: link(impairments.all), sources: sources.collect() }
    }

    /// Replaces the links. A link with unchanged settings continues its random sequence and outage
    /// period; all other links start again.
    pub(super) fn change(&mut self, impairments: &Dated) {
        let mut old = std::mem::replace(self, Self::new(impairments));
        keep_same(&mut self.all, &mut old.all);
        for (prefix, link) in self.sources.iter_mut() {
            if let Some(known) = old.sources.get_mut(prefix) {
                keep_same(link, known);
            }
        }
    }

    /// The link to `source`.
    pub(super) fn to(&mut self, source: IpAddr) -> &mut Impairment {
        self.sources.longest_match_mut(source).unwrap_or(&mut self.all)
    }
}

/// Replaces a new link by the link before if both have the same settings and start.
fn keep_same(link: &mut Impairment, before: &mut Impairment) {
    if (link.settings(), link.start()) == (before.settings(), before.start()) {
        std::mem::swap(link, before);
    }
}

/// Changes the impairments of a running responder.
#[derive(Debug)]
pub struct ImpairmentSwitch {
    newest: Mutex<Dated>,
    changes: AtomicU64,
}

impl ImpairmentSwitch {
    pub(super) fn new(impairments: &Impairments, start: Mono) -> Arc<Self> {
        let newest = Mutex::new(Dated::new(impairments, start));
        Arc::new(Self { newest, changes: AtomicU64::new(0) })
    }

    /// Applies these impairments to all datagrams that arrive from `now` on.
    pub fn set(&self, impairments: &Impairments, now: Mono) {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).change(impairments, now);
        self.changes.fetch_add(1, Ordering::Release);
    }
}

/// Follows an [`ImpairmentSwitch`].
#[derive(Debug)]
pub(super) struct Follower {
    switch: Arc<ImpairmentSwitch>,
    /// The number of changes that have been taken over.
    seen: u64,
}

impl Follower {
    pub(super) fn of(switch: &Arc<ImpairmentSwitch>) -> Self {
        Self { switch: switch.clone(), seen: 0 }
    }

    /// The newest impairments, if they have changed since the last call.
    pub(super) fn changed(&mut self) -> Option<Dated> {
        let changes = self.switch.changes.load(Ordering::Acquire);
        (std::mem::replace(&mut self.seen, changes) != changes)
            .then(|| self.switch.newest.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::impair::{Fate, Outage};
    use crate::model::DropReason;

    fn impairments(all: LinkSettings, sources: &[(&str, LinkSettings)]) -> Impairments {
        let sources = sources.iter().map(|&(text, settings)| (text.parse().unwrap(), settings));
        Impairments { all, sources: sources.collect() }
    }

    fn lossy(loss: f64) -> LinkSettings {
        LinkSettings { loss, seed: 7, ..LinkSettings::default() }
    }

    fn fate(links: &mut Links, source: &str) -> Fate {
        links.to(source.parse().unwrap()).judge(Mono::default())
    }

    #[test]
    fn the_longest_prefix_wins() {
        let well = LinkSettings::default();
        let impairments = impairments(
            well,
            &[("192.0.2.0/24", lossy(1.0)), ("192.0.2.7", well), ("2001:db8::/32", lossy(1.0))],
        );
        let mut links = Links::new(&Dated::new(&impairments, Mono::default()));
        let lost = Fate::Drop(DropReason::Loss);
        for (source, expected) in [
            ("192.0.2.1", lost),
            ("::ffff:192.0.2.1", lost),
            ("192.0.2.7", Fate::UNTOUCHED),
            ("192.0.3.1", Fate::UNTOUCHED),
            ("2001:db8::1", lost),
            ("2001:db9::1", Fate::UNTOUCHED),
        ] {
            assert_eq!(fate(&mut links, source), expected, "{source}");
        }
    }

    #[test]
    fn links_whose_settings_stay_continue_after_a_change() {
        let sources = [("192.0.2.0/24", lossy(0.5)), ("192.0.3.0/24", lossy(0.5))];
        let before = impairments(lossy(0.3), &sources);
        let ways = ["198.51.100.1", "192.0.2.1", "192.0.3.1"];
        let fates = |links: &mut Links, count| -> Vec<[Fate; 3]> {
            (0..count).map(|_| ways.map(|source| fate(links, source))).collect()
        };
        let mut dated = Dated::new(&before, Mono::default());
        let unbroken = fates(&mut Links::new(&dated), 60);

        let mut links = Links::new(&dated);
        assert_eq!(fates(&mut links, 20), unbroken[..20]);
        // Only the second link changes.
        let changed = impairments(lossy(0.3), &[sources[1], (sources[0].0, lossy(0.0))]);
        dated.change(&changed, Mono::from_nanos(1));
        links.change(&dated);
        for (shown, whole) in fates(&mut links, 20).iter().zip(&unbroken[20..]) {
            assert_eq!(*shown, [whole[0], Fate::UNTOUCHED, whole[2]]);
        }
        // Now it starts anew, and the others continue.
        dated.change(&before, Mono::from_nanos(2));
        links.change(&dated);
        for (n, shown) in fates(&mut links, 20).iter().enumerate() {
            let [whole, began] = [&unbroken[40 + n], &unbroken[n]];
            assert_eq!(*shown, [whole[0], began[1], whole[2]]);
        }
    }

    #[test]
    fn impairments_that_were_removed_and_restored_between_two_batches_start_anew() {
        let mut dated = Dated::new(&lossy(0.3).into(), Mono::default());
        let mut links = Links::new(&dated);
        let fates = |links: &mut Links| -> Vec<Fate> {
            (0..20).map(|_| fate(links, "192.0.2.1")).collect()
        };
        let first = fates(&mut links);
        dated.change(&Impairments::default(), Mono::from_nanos(1));
        dated.change(&lossy(0.3).into(), Mono::from_nanos(2));
        links.change(&dated);
        assert_eq!(fates(&mut links), first);
    }

    #[test]
    fn outages_are_counted_from_the_change() {
        let second = Duration::from_secs(1);
        let outage = Some(Outage { every: 3 * second, lasting: second });
        let mut dated = Dated::new(&Impairments::default(), Mono::default());
        let mut links = Links::new(&dated);
        let change = Mono::default() + 100 * second;
        dated.change(&LinkSettings { outage, ..LinkSettings::default() }.into(), change);
        links.change(&dated);
        for (after, down) in [(0, false), (1, false), (2, true), (3, false), (5, true)] {
            let fate = links.to(IpAddr::from([192, 0, 2, 1])).judge(change + after * second);
            assert_eq!(fate == Fate::Drop(DropReason::Outage), down, "after {after} s");
        }
    }
}
