//! Which address of its name a target uses. Pure.
//!
//! An address is kept while it answers. It fails when `misses` consecutive heartbeats to it are
//! missed, or when a heartbeat to it cannot leave. The target then tries the first address, in the
//! resolver's order, that it has not tried since an address last answered. When it has tried all, it
//! begins again after `misses` further misses.

use std::net::{IpAddr, SocketAddr};

/// The state of the address in use, and the addresses tried before it.
#[derive(Debug, Default)]
pub(super) struct Trial {
    /// The first heartbeat that counts: sent to the address in use, and newer than the newest one
    /// that it answered.
    first: u64,
    /// The consecutive misses since then; since the last failure, if it has failed.
    misses: u32,
    wanted: Wanted,
    /// Whether the target waits for its turn to try another address.
    pub(super) is_queued: bool,
    /// Addresses that were tried before the present one since an address last answered.
    tried: Vec<IpAddr>,
}

/// Which other address is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Wanted {
    /// The address in use is kept.
    #[default]
    None,
    /// One that has not been tried.
    Untried,
    /// An address that has not been tried; if all have been tried, any other.
    Any,
}

impl Trial {
    /// Heartbeats from number `first` on go to another address.
    pub(super) fn moved(&mut self, first: u64) {
        self.first = first;
        self.misses = 0;
        self.wanted = Wanted::None;
    }

    /// The target has another host: nothing of its addresses has been tried.
    pub(super) fn forget(&mut self) {
        self.wanted = Wanted::None;
        self.misses = 0;
        self.tried = Vec::new();
    }

    /// The address in use answered this heartbeat in time.
    pub(super) fn answered(&mut self, sequence: u64) {
        self.first = self.first.max(sequence + 1);
        self.misses = 0;
        self.wanted = Wanted::None;
        self.tried = Vec::new();
    }

    /// This heartbeat was missed. `is_unsent` says whether it could not leave; `misses` is the
    /// number after which a target is down. Returns whether another address is wanted because of
    /// it.
    pub(super) fn missed(&mut self, sequence: u64, is_unsent: bool, misses: u32) -> bool {
        if sequence < self.first {
            return false;
        }
        self.misses += 1;
        if self.misses >= misses {
            self.misses = 0;
            self.wanted = Wanted::Any;
            return true;
        }
        let is_first = self.wanted == Wanted::None;
        if is_unsent && is_first {
            self.wanted = Wanted::Untried;
        }
        is_unsent && is_first
    }

    /// Whether another address than the one in use is wanted.
    pub(super) fn has_failed(&self) -> bool {
        self.wanted != Wanted::None
    }

    /// The address to use from now on, of those in `found`, a list in the resolver's order; `None`
    /// if it is empty. `current` is the one in use. Call [`moved`](Self::moved) if it is another.
    pub(super) fn choose(
        &mut self,
        found: &[SocketAddr],
        current: Option<IpAddr>,
    ) -> Option<SocketAddr> {
        let is_current = |address: &&SocketAddr| Some(address.ip()) == current;
        let kept = found.iter().find(is_current);
        if self.wanted == Wanted::None && kept.is_some() {
            return kept.copied();
        }
        self.tried.retain(|tried| found.iter().any(|address| address.ip() == *tried));
        let is_tried = |ip: IpAddr| Some(ip) == current || self.tried.contains(&ip);
        if let Some(untried) = found.iter().find(|address| !is_tried(address.ip())) {
            if kept.is_some() {
                self.tried.extend(current);
            }
            return Some(*untried);
        }
        if kept.is_some() && self.wanted == Wanted::Untried {
            return kept.copied();
        }
        self.tried = Vec::new();
        found.iter().find(|address| !is_current(address)).or(kept).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSES: u32 = 3;

    fn list(hosts: &[u8]) -> Vec<SocketAddr> {
        hosts.iter().map(|&host| SocketAddr::new([192, 0, 2, host].into(), 0)).collect()
    }

    /// A target that sends a heartbeat at a time, over addresses of which some answer.
    struct Target {
        trial: Trial,
        current: Option<IpAddr>,
        next: u64,
    }

    impl Target {
        fn new(found: &[u8]) -> Self {
            let mut target = Self { trial: Trial::default(), current: None, next: 0 };
            target.resolve(found);
            target
        }

        fn resolve(&mut self, found: &[u8]) {
            let chosen = self.trial.choose(&list(found), self.current).map(|address| address.ip());
            if chosen.is_some() && chosen != self.current {
                self.current = chosen;
                self.trial.moved(self.next);
            }
        }

        /// The last octet of the address in use.
        fn host(&self) -> u8 {
            match self.current {
                Some(IpAddr::V4(ip)) => ip.octets()[3],
                _ => 0,
            }
        }

        /// Sends `count` heartbeats, which addresses in `answering` answer. Returns the address of
        /// each.
        fn beats(&mut self, count: u64, found: &[u8], answering: &[u8]) -> Vec<u8> {
            let beat = |_| {
                let (host, sequence) = (self.host(), self.next);
                self.next += 1;
                if answering.contains(&host) {
                    self.trial.answered(sequence);
                } else if self.trial.missed(sequence, false, MISSES) {
                    self.resolve(found);
                }
                host
            };
            (0..count).map(beat).collect()
        }

        /// A heartbeat that cannot leave.
        fn unsent(&mut self, found: &[u8]) -> u8 {
            let (host, sequence) = (self.host(), self.next);
            self.next += 1;
            if self.trial.missed(sequence, true, MISSES) {
                self.resolve(found);
            }
            host
        }
    }

    #[test]
    fn an_address_that_answers_is_kept() {
        let mut target = Target::new(&[1, 2]);
        assert_eq!(target.beats(3, &[1, 2], &[1]), [1, 1, 1]);
        target.resolve(&[2, 1]);
        assert_eq!(target.host(), 1, "in whatever order");
        target.resolve(&[2, 3]);
        assert_eq!(target.host(), 2, "it is no longer among them");
        target.resolve(&[]);
        assert_eq!(target.host(), 2, "the lookup failed");
    }

    #[test]
    fn a_list_of_dead_addresses_is_tried_over_and_over_and_the_first_that_answers_is_kept() {
        let all = [1, 2, 3];
        let mut target = Target::new(&all);
        let tried = target.beats(21, &all, &[]);
        assert_eq!(tried, [1, 1, 1, 2, 2, 2, 3, 3, 3, 1, 1, 1, 2, 2, 2, 3, 3, 3, 1, 1, 1]);
        assert_eq!(target.beats(5, &all, &[2]), [2; 5]);
        // Two misses are not a failure, and an answer begins anew.
        target.beats(2, &all, &[]);
        target.beats(1, &all, &[2]);
        assert_eq!(target.beats(4, &all, &[]), [2, 2, 2, 1], "the first in the resolver's order");
    }

    #[test]
    fn all_addresses_are_tried_although_their_order_changes() {
        let mut target = Target::new(&[1, 2, 3]);
        target.beats(3, &[2, 3, 1], &[]);
        assert_eq!(target.host(), 2);
        target.beats(3, &[1, 2, 3], &[]);
        assert_eq!(target.host(), 3);
        target.beats(3, &[3, 1, 2], &[]);
        assert_eq!(target.host(), 1);
    }

    #[test]
    fn a_heartbeat_that_cannot_leave_moves_a_target_at_once_but_not_in_circles() {
        let all = [1, 2];
        let mut target = Target::new(&all);
        let hosts: Vec<_> = (0..9).map(|_| target.unsent(&all)).collect();
        // Both are tried at once; then each further pass takes a run of misses.
        assert_eq!(hosts, [1, 2, 2, 2, 1, 2, 2, 2, 1]);
        let mut target = Target::new(&all);
        target.unsent(&all);
        assert_eq!(target.beats(4, &all, &[2]), [2; 4]);
    }

    #[test]
    fn the_only_address_is_kept_until_the_name_has_another() {
        let mut target = Target::new(&[1]);
        assert_eq!(target.beats(7, &[1], &[]), [1; 7]);
        target.resolve(&[1, 2]);
        assert_eq!(target.host(), 2, "the first has failed");
        let mut target = Target::new(&[1]);
        target.beats(2, &[1], &[]);
        target.resolve(&[1, 2]);
        assert_eq!(target.host(), 1, "the first has not failed");
        assert!(target.trial.tried.is_empty());
    }

    #[test]
    fn heartbeats_to_the_address_before_do_not_count() {
        let mut trial = Trial::default();
        trial.moved(10);
        for sequence in 0..10 {
            assert!(!trial.missed(sequence, false, MISSES));
        }
        assert!(!trial.missed(10, false, MISSES) && !trial.missed(11, false, MISSES));
        trial.answered(13);
        // Older heartbeats time out after a newer one was answered.
        assert!(!trial.missed(12, false, 1));
        assert!(trial.missed(14, false, 1));
    }

    #[test]
    fn addresses_that_the_name_no_longer_has_are_forgotten() {
        let mut target = Target::new(&[1, 2]);
        for host in 3..100 {
            target.beats(3, &[host, host + 1], &[]);
            assert!(target.trial.tried.len() <= 2);
        }
    }
}
