//! Which heartbeats of a target leave from a fresh source port. Pure.
//!
//! Address translation and load balancers on the path remember, for each source port, where its
//! datagrams go, and forget it only when no datagram has come for a while (RFC 4787 section 4.3). If
//! the server moves, heartbeats from one port keep such an entry alive and never reach the new place.
//!
//! Therefore, when a target has been down for [`PATIENCE`] without an answer, half of the
//! heartbeats leave from a fresh port. The first answer ends this search. If it answers a heartbeat from the
//! usual port, that port is used again. Otherwise, the next heartbeat tries the usual port; until one
//! from there is answered, all others leave from the fresh port. So the usual port is silent, and the
//! entry for it expires. It is tried again after [`FIRST_SILENCE`], and then after twice as long each
//! time, up to a day.

use std::time::Duration;

use crate::model::Mono;

use super::event::PortChange;

/// How long a target is down without an answer before a search begins.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A target with a longer timeout uses only the usual port: a fresh port stays open until nothing is
/// awaited there, and must soon be replaced for other targets.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_secs(20);

/// How long the usual port is silent before it is tried again: twice as long as address translation
/// should keep an entry (RFC 4787 section 4.3, REQ-5).
const FIRST_SILENCE: Duration = Duration::from_secs(600);

const LONGEST_SILENCE: Duration = Duration::from_secs(86_400);

/// The source ports of a target that has been down for a while.
#[derive(Debug)]
pub(super) struct Detour {
    course: Course,
    /// When an answer last came.
    heard: Mono,
    /// How long the usual port is silent after it has been tried.
    silence: Duration,
}

#[derive(Debug, Clone, Copy)]
enum Course {
    /// All heartbeats leave from the usual port.
    Usual,
    /// From heartbeat `from` on, half of them leave from a fresh port.
    Searching { from: u64 },
    /// All heartbeats leave from a fresh port, except those that try the usual one.
    Away {
        try_at: Mono,
        /// The last heartbeat that tried the usual port.
        tried: Option<u64>,
        /// Whether such a heartbeat has been missed.
        is_confirmed: bool,
    },
}

/// The source port that a heartbeat is to leave from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// The usual port.
    Usual,
    /// The fresh port.
    Fresh,
    /// The fresh port. If it is no longer new, another fresh port is opened first.
    New,
}

impl Detour {
    /// A target of which all heartbeats have left from the usual port.
    pub(super) fn new() -> Self {
        Self { course: Course::Usual, heard: Mono::default(), silence: FIRST_SILENCE }
    }

    /// The port that heartbeat `sequence` leaves from at `now`, if the target has been down since
    /// `down_since`.
    pub(super) fn depart(&mut self, sequence: u64, down_since: Option<Mono>, now: Mono) -> Wanted {
        let is_searching = matches!(self.course, Course::Searching { .. });
        if !is_searching && is_stuck(down_since.map(|since| since.max(self.heard)), now) {
            self.course = Course::Searching { from: sequence };
        }
        match &mut self.course {
            Course::Searching { .. } if is_fresh(sequence) => Wanted::New,
            Course::Usual | Course::Searching { .. } => Wanted::Usual,
            Course::Away { try_at, tried, .. } if now >= *try_at => {
                *tried = Some(sequence);
                *try_at = now + self.silence;
                self.silence = (self.silence * 2).min(LONGEST_SILENCE);
                Wanted::Usual
            }
            Course::Away { .. } => Wanted::Fresh,
        }
    }

    /// Heartbeat `sequence` was answered in time at `now`. Returns whether the target is back from a
    /// detour that was reported.
    pub(super) fn answered(&mut self, sequence: u64, now: Mono) -> Option<PortChange> {
        self.heard = self.heard.max(now);
        match self.course {
            Course::Searching { from } if sequence >= from => {
                if is_fresh(sequence) {
                    self.course = Course::Away { try_at: now, tried: None, is_confirmed: false };
                } else {
                    self.resume();
                }
                None
            }
            Course::Away { tried, is_confirmed, .. } if tried == Some(sequence) => {
                self.resume();
                is_confirmed.then_some(PortChange::Returned)
            }
            Course::Usual | Course::Searching { .. } | Course::Away { .. } => None,
        }
    }

    /// Heartbeat `sequence` was not answered in time. Returns whether this shows that only the fresh
    /// port is answered.
    pub(super) fn missed(&mut self, sequence: u64) -> Option<PortChange> {
        let Course::Away { tried, is_confirmed, .. } = &mut self.course else { return None };
        let is_news = *tried == Some(sequence) && !*is_confirmed;
        *is_confirmed |= is_news;
        is_news.then_some(PortChange::Detoured)
    }

    /// Whether all heartbeats leave from the usual port.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.course, Course::Usual)
    }

    fn resume(&mut self) {
        self.course = Course::Usual;
        self.silence = FIRST_SILENCE;
    }
}

/// Whether a target that has been down without an answer since `since` is stuck at `now`.
pub(super) fn is_stuck(since: Option<Mono>, now: Mono) -> bool {
    since.is_some_and(|since| now.since(since) >= PATIENCE)
}

/// Whether a heartbeat leaves from the fresh port during a search.
///
/// This is the Thue–Morse sequence: half of the heartbeats, at most two in a row, and without a period.
/// So a target that tries the addresses of its name in turn uses both ports at each of them.
fn is_fresh(sequence: u64) -> bool {
    sequence.count_ones().is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Mono {
        Mono::default() + Duration::from_secs(1_000 + seconds)
    }

    /// A target with a heartbeat each second, from heartbeat 0 at second 0. Its ports are answered
    /// at once, or missed at once.
    struct Target {
        detour: Detour,
        next: u64,
        down_since: Option<Mono>,
    }

    impl Target {
        /// A target that has been down since second 0.
        fn down() -> Self {
            Self { detour: Detour::new(), next: 0, down_since: Some(at(0)) }
        }

        /// Sends heartbeats up to second `end`, exclusive; `answers` says which ports answer. Returns
        /// the ports: `u`sual, `f`resh or `n`ew.
        fn run(&mut self, end: u64, answers: impl Fn(Wanted) -> bool) -> String {
            let mut ports = String::new();
            while self.next < end {
                let (sequence, now) = (self.next, at(self.next));
                self.next += 1;
                let port = self.detour.depart(sequence, self.down_since, now);
                if answers(port) {
                    self.down_since = None;
                    self.detour.answered(sequence, now);
                } else {
                    self.detour.missed(sequence);
                }
                ports.push(match port {
                    Wanted::Usual => 'u',
                    Wanted::Fresh => 'f',
                    Wanted::New => 'n',
                });
            }
            ports
        }
    }

    #[test]
    fn a_target_that_stays_down_searches_after_ten_seconds() {
        let mut target = Target::down();
        assert_eq!(target.run(10, |_| false), "uuuuuuuuuu");
        assert_eq!(target.run(16, |_| false), "nunuun");
        assert_eq!(target.detour.depart(17, target.down_since, at(17)), Wanted::New);
    }

    #[test]
    fn if_the_usual_port_is_answered_it_is_used_again() {
        let mut target = Target::down();
        target.run(13, |_| false);
        // The search is over with heartbeat 13, from the usual port.
        assert_eq!(target.run(20, |_| true), "uuuuuuu");
        assert!(target.detour.is_over());
        // With heartbeat 12, from a fresh port, the usual one is tried at once.
        let mut target = Target::down();
        target.run(12, |_| false);
        assert_eq!(target.run(20, |_| true), "nuuuuuuu");
        assert!(target.detour.is_over());
    }

    #[test]
    fn if_only_a_fresh_port_is_answered_the_usual_one_is_silent_for_longer_and_longer() {
        let mut target = Target::down();
        let ports = target.run(200_000, |port| port != Wanted::Usual);
        assert_eq!(ports[10..14], *"nuff");
        let tried = ports.char_indices().skip(11).filter(|&(_, port)| port == 'u');
        let tried: Vec<_> = tried.map(|(second, _)| second).collect();
        assert_eq!(tried, [11, 611, 1811, 4211, 9011, 18611, 37811, 76211, 153_011]);
        // At most a day.
        assert_eq!(target.run(500_000, |_| true).find('u'), Some(153_011 + 86_400 - 200_000));
        assert!(target.detour.is_over());
    }

    #[test]
    fn what_is_found_is_reported_once() {
        let mut detour = Detour::new();
        let down = Some(at(0));
        detour.depart(10, down, at(10));
        assert_eq!(detour.answered(9, at(10)), None, "it left before the search");
        assert_eq!(detour.answered(10, at(10)), None);
        assert_eq!(detour.depart(11, down, at(11)), Wanted::Usual);
        assert_eq!(detour.missed(12), None);
        assert_eq!(detour.missed(11), Some(PortChange::Detoured));
        assert_eq!(detour.missed(11), None);
        assert_eq!(detour.depart(612, None, at(611)), Wanted::Usual);
        assert_eq!(detour.missed(612), None);
        assert_eq!(detour.depart(1812, None, at(1811)), Wanted::Usual);
        assert_eq!(detour.answered(1811, at(1811)), None, "it left from the fresh port");
        assert_eq!(detour.answered(1812, at(1812)), Some(PortChange::Returned));
    }

    #[test]
    fn a_target_that_is_answered_but_still_down_does_not_search() {
        let mut target = Target::down();
        target.run(10, |_| false);
        for sequence in 10..15 {
            assert_ne!(
                target.detour.depart(sequence, Some(at(0)), at(sequence)),
                Wanted::Usual,
                "{sequence}"
            );
            target.detour.answered(sequence, at(sequence));
            if sequence == 10 {
                // The usual port is tried.
                target.detour.depart(99, Some(at(0)), at(sequence));
            }
        }
    }

    #[test]
    fn a_target_that_is_stuck_again_searches_again() {
        let mut target = Target::down();
        target.run(100, |port| port != Wanted::Usual);
        target.down_since = Some(at(103));
        assert_eq!(target.run(116, |_| false), "fffffffffffffnnu");
    }
}
