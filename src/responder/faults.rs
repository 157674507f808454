//! What goes wrong on purpose, for whom, and how that changes while the responder runs.
//!
//! Settings enter at any time through a [`FaultSwitch`]; a thread takes them over between two
//! batches ([`Follower`]), so that nothing is locked for a datagram. Who came later than the change
//! meets the new faults: the switch is looked at after a batch has been received.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::{Prefix, PrefixMap};
use crate::impair::{Impairment, LinkSettings};
use crate::model::Mono;

/// Faults for all, or for some sources: the longest matching prefix wins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    /// For everybody else.
    pub all: LinkSettings,
    /// By the source's prefix.
    pub sources: Vec<(Prefix, LinkSettings)>,
}

impl From<LinkSettings> for Faults {
    fn from(all: LinkSettings) -> Self {
        Self { all, sources: Vec::new() }
    }
}

/// Faults, and since when each of them holds.
#[derive(Debug, Clone)]
pub(super) struct Dated {
    all: (LinkSettings, Mono),
    sources: PrefixMap<(LinkSettings, Mono)>,
}

impl Dated {
    pub(super) fn new(faults: &Faults, since: Mono) -> Self {
        let sources = faults.sources.iter().map(|&(prefix, settings)| (prefix, (settings, since)));
        Self { all: (faults.all, since), sources: sources.collect() }
    }

    /// These faults instead of those before: what stays has held since it came.
    fn change(&mut self, faults: &Faults, now: Mono) {
        let old = std::mem::replace(self, Self::new(faults, now));
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

/// A link for each of the [`Faults`].
#[derive(Debug)]
pub(super) struct Links {
    all: Impairment,
    sources: PrefixMap<Impairment>,
}

impl Links {
    /// Links that begin to work when their faults do.
    pub(super) fn new(faults: &Dated) -> Self {
        let link = |(settings, since)| Impairment::new(settings, since);
        let sources = faults.sources.iter().map(|(prefix, &dated)| (prefix, link(dated)));
        Self { all: link(faults.all), sources: sources.collect() }
    }

    /// Links for these faults instead. Those whose faults stay go on where they were, in their
    /// random sequence and in the period of their outages; all others begin.
    pub(super) fn change(&mut self, faults: &Dated) {
        let mut old = std::mem::replace(self, Self::new(faults));
        go_on(&mut self.all, &mut old.all);
        for (prefix, link) in self.sources.iter_mut() {
            if let Some(known) = old.sources.get_mut(prefix) {
                go_on(link, known);
            }
        }
    }

    /// The link to `source`.
    pub(super) fn to(&mut self, source: IpAddr) -> &mut Impairment {
        self.sources.longest_match_mut(source).unwrap_or(&mut self.all)
    }
}

/// Has a link that begins go on as the one before, where that is the same.
fn go_on(link: &mut Impairment, before: &mut Impairment) {
    if (link.settings(), link.start()) == (before.settings(), before.start()) {
        std::mem::swap(link, before);
    }
}

/// Changes the faults of a running responder.
#[derive(Debug)]
pub struct FaultSwitch {
    newest: Mutex<Dated>,
    changes: AtomicU64,
}

impl FaultSwitch {
    pub(super) fn new(faults: &Faults, start: Mono) -> Arc<Self> {
        let newest = Mutex::new(Dated::new(faults, start));
        Arc::new(Self { newest, changes: AtomicU64::new(0) })
    }

    /// Has all datagrams that come from `now` on meet these faults.
    pub fn set(&self, faults: &Faults, now: Mono) {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).change(faults, now);
        self.changes.fetch_add(1, Ordering::Release);
    }
}

/// Follows a [`FaultSwitch`].
#[derive(Debug)]
pub(super) struct Follower {
    switch: Arc<FaultSwitch>,
    /// How many changes have been followed.
    seen: u64,
}

impl Follower {
    pub(super) fn of(switch: &Arc<FaultSwitch>) -> Self {
        Self { switch: switch.clone(), seen: 0 }
    }

    /// The newest faults, where they have changed since this was last asked.
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

    fn faults(all: LinkSettings, sources: &[(&str, LinkSettings)]) -> Faults {
        let sources = sources.iter().map(|&(text, settings)| (text.parse().unwrap(), settings));
        Faults { all, sources: sources.collect() }
    }

    fn lossy(loss: f64) -> LinkSettings {
        LinkSettings { loss, seed: 7, ..LinkSettings::default() }
    }

    fn fate(links: &mut Links, source: &str) -> Fate {
        links.to(source.parse().unwrap()).judge(Mono::default())
    }

    #[test]
    fn the_longest_prefix_counts() {
        let well = LinkSettings::default();
        let faults = faults(
            well,
            &[("192.0.2.0/24", lossy(1.0)), ("192.0.2.7", well), ("2001:db8::/32", lossy(1.0))],
        );
        let mut links = Links::new(&Dated::new(&faults, Mono::default()));
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
    fn a_change_leaves_the_links_alone_whose_settings_stay() {
        let sources = [("192.0.2.0/24", lossy(0.5)), ("192.0.3.0/24", lossy(0.5))];
        let before = faults(lossy(0.3), &sources);
        let ways = ["198.51.100.1", "192.0.2.1", "192.0.3.1"];
        let fates = |links: &mut Links, count| -> Vec<[Fate; 3]> {
            (0..count).map(|_| ways.map(|source| fate(links, source))).collect()
        };
        let mut dated = Dated::new(&before, Mono::default());
        let unbroken = fates(&mut Links::new(&dated), 60);

        let mut links = Links::new(&dated);
        assert_eq!(fates(&mut links, 20), unbroken[..20]);
        // Only the second link is another one now.
        let changed = faults(lossy(0.3), &[sources[1], (sources[0].0, lossy(0.0))]);
        dated.change(&changed, Mono::from_nanos(1));
        links.change(&dated);
        for (shown, whole) in fates(&mut links, 20).iter().zip(&unbroken[20..]) {
            assert_eq!(*shown, [whole[0], Fate::UNTOUCHED, whole[2]]);
        }
        // And now it begins anew, and the others go on.
        dated.change(&before, Mono::from_nanos(2));
        links.change(&dated);
        for (n, shown) in fates(&mut links, 20).iter().enumerate() {
            let [whole, began] = [&unbroken[40 + n], &unbroken[n]];
            assert_eq!(*shown, [whole[0], began[1], whole[2]]);
        }
    }

    #[test]
    fn what_went_and_came_back_begins_anew_although_nobody_met_the_change() {
        let mut dated = Dated::new(&lossy(0.3).into(), Mono::default());
        let mut links = Links::new(&dated);
        let fates = |links: &mut Links| -> Vec<Fate> {
            (0..20).map(|_| fate(links, "192.0.2.1")).collect()
        };
        let first = fates(&mut links);
        dated.change(&Faults::default(), Mono::from_nanos(1));
        dated.change(&lossy(0.3).into(), Mono::from_nanos(2));
        links.change(&dated);
        assert_eq!(fates(&mut links), first);
    }

    #[test]
    fn outages_are_counted_from_the_change() {
        let second = Duration::from_secs(1);
        let outage = Some(Outage { every: 3 * second, lasting: second });
        let mut dated = Dated::new(&Faults::default(), Mono::default());
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
