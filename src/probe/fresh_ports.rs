//! The additional sockets of a worker for one address family: when they are opened and closed. Pure.
//!
//! There are at most two. The fresh one is opened when a heartbeat is to leave from it. While targets
//! search for a port that is answered, it is replaced after [`NEW_FOR`], since a port that was opened
//! too early may be useless as well. The previous one stays open until no heartbeat that left from it
//! can be answered in time.

use std::time::Duration;

use crate::model::Mono;

use super::machine::SourcePort;

/// How long a fresh port is new enough for targets that search.
const NEW_FOR: Duration = Duration::from_secs(30);

/// How long the fresh socket stays open without being used.
const IDLE: Duration = Duration::from_secs(60);

/// How long a socket stays open after the last timeout, so that late answers are counted.
const GRACE: Duration = Duration::from_secs(10);

/// How long no socket is opened after opening one has failed.
const RETRY: Duration = Duration::from_secs(10);

/// The additional sockets of one family.
#[derive(Debug, Default)]
pub(super) struct FreshPorts {
    fresh: Option<Opened>,
    previous: Option<Opened>,
    /// When opening a socket last failed.
    failed: Option<Mono>,
}

#[derive(Debug)]
struct Opened {
    at: Mono,
    used: Mono,
    /// When nothing is awaited there any more.
    until: Mono,
}

impl FreshPorts {
    /// Whether a socket must be opened before a heartbeat leaves from the fresh port at `now`.
    /// `must_be_new` is true if the target searches.
    pub(super) fn is_wanted(&self, must_be_new: bool, now: Mono) -> bool {
        let is_wanted = match &self.fresh {
            None => true,
            Some(fresh) => must_be_new && self.previous.is_none() && now.since(fresh.at) >= NEW_FOR,
        };
        is_wanted && self.failed.is_none_or(|failed| now.since(failed) >= RETRY)
    }

    /// A socket was opened at `now` and is the fresh one. The former fresh one becomes the previous one.
    pub(super) fn opened(&mut self, now: Mono) {
        if let Some(fresh) = self.fresh.take() {
            self.previous = Some(fresh);
        }
        self.fresh = Some(Opened { at: now, used: now, until: now });
    }

    /// A socket could not be opened at `now`.
    pub(super) fn failed(&mut self, now: Mono) {
        self.failed = Some(now);
    }

    /// A heartbeat with this timeout leaves from the fresh port at `now`. False if it is not open.
    pub(super) fn use_fresh(&mut self, timeout: Duration, now: Mono) -> bool {
        let Some(fresh) = &mut self.fresh else { return false };
        fresh.used = now;
        fresh.until = fresh.until.max(now + timeout + GRACE);
        true
    }

    /// When to call [`next_idle`](Self::next_idle); `None` while nothing is open.
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        let fresh = self.fresh.as_ref().map(Opened::idle);
        fresh.into_iter().chain(self.previous.as_ref().map(|previous| previous.until)).min()
    }

    /// The next socket that is to be closed at `now`.
    pub(super) fn next_idle(&mut self, now: Mono) -> Option<SourcePort> {
        if self.previous.take_if(|previous| previous.until <= now).is_some() {
            return Some(SourcePort::Previous);
        }
        self.fresh.take_if(|fresh| fresh.idle() <= now).map(|_| SourcePort::Fresh)
    }
}

impl Opened {
    /// When it is closed if it is the fresh socket.
    fn idle(&self) -> Mono {
        self.until.max(self.used + IDLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Mono {
        Mono::default() + Duration::from_secs(1_000 + seconds)
    }

    #[test]
    fn a_fresh_port_is_replaced_while_targets_search_and_not_before_the_previous_is_closed() {
        let mut ports = FreshPorts::default();
        let mut opened = Vec::new();
        for second in 0..200 {
            let now = at(second);
            assert!(ports.previous.is_none() || second % 30 <= 15, "{second}");
            assert_ne!(ports.next_idle(now), Some(SourcePort::Fresh));
            if ports.is_wanted(true, now) {
                ports.opened(now);
                opened.push(second);
            }
            assert!(ports.use_fresh(TIMEOUT, now));
        }
        assert_eq!(opened, [0, 30, 60, 90, 120, 150, 180]);
        // A long timeout keeps the previous one open.
        ports.use_fresh(Duration::from_secs(100), at(200));
        ports.opened(at(210));
        assert!(!ports.is_wanted(true, at(309)));
        assert_eq!(ports.next_idle(at(309)), Some(SourcePort::Fresh));
        assert_eq!(ports.next_idle(at(310)), Some(SourcePort::Previous));
        assert!(ports.is_wanted(true, at(310)));
    }

    #[test]
    fn a_port_that_is_not_used_is_closed_and_targets_that_do_not_search_replace_none() {
        let mut ports = FreshPorts::default();
        assert_eq!(ports.poll_timeout(), None);
        assert!(!ports.use_fresh(TIMEOUT, at(0)));
        assert!(ports.is_wanted(false, at(0)));
        ports.opened(at(0));
        ports.use_fresh(TIMEOUT, at(40));
        assert!(!ports.is_wanted(false, at(1_000)));
        assert_eq!(ports.poll_timeout(), Some(at(100)));
        assert_eq!(ports.next_idle(at(99)), None);
        assert_eq!(ports.next_idle(at(100)), Some(SourcePort::Fresh));
        assert_eq!(ports.poll_timeout(), None);
        assert!(ports.is_wanted(false, at(100)));
    }

    #[test]
    fn a_failure_is_not_repeated_at_once() {
        let mut ports = FreshPorts::default();
        ports.failed(at(0));
        assert!(!ports.is_wanted(true, at(9)));
        assert!(!ports.use_fresh(TIMEOUT, at(9)));
        assert!(ports.is_wanted(true, at(10)));
    }
}
