//! The evidence about one target's current trouble, as a small value without allocations. The
//! diagnosis in `observe` reads it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::model::{
    Direction, IcmpKind, InvalidReason, Label, Moment, Mono, State, UnsentReason, Wall,
};

use super::history::{History, Misses};
use super::ledger::{Ledger, OutcomeKind};
use super::liveness::Liveness;
use super::record::Record;

/// The maximum number of newest heartbeats examined.
const NEWEST: u64 = 64;

/// Figures about the current trouble of one target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Symptoms {
    /// The verdict; `None` before the first.
    pub state: Option<State>,
    /// When the verdict last changed.
    pub changed: Option<Wall>,
    /// The longest run of misses newer than the newest answered heartbeat.
    pub misses: u64,
    /// The first heartbeat newer than the newest answered one.
    pub unanswered: u64,
    /// Consecutive answers.
    pub answers: u32,
    /// When the last answer in time arrived.
    pub last_reply: Option<Wall>,
    /// The outcomes of the newest heartbeats. While the target is not up, only those newer than the
    /// newest answered heartbeat are counted. While it is up, all outcomes are 0 if nothing was missed
    /// in [`usual`](Self::usual).
    pub newest: OutcomeCounts,
    /// The last ICMP error.
    pub last_icmp: Option<Last<IcmpKind>>,
    /// The last invalid reply.
    pub last_invalid: Option<Last<InvalidReason>>,
    /// The last answer that came from another address, and from which.
    pub last_other_source: Option<Last<SocketAddr>>,
    /// The misses of the last minutes. For a target that is up, only those since it came up; for a
    /// target that is down, only those before the current run of misses; none before the first
    /// verdict.
    pub usual: Misses,
    /// The misses in the median column of these minutes, so that a few outages do not count as
    /// loss.
    pub typical: Misses,
    /// Lost heartbeats by [`Direction`], since the probe started.
    pub one_way_lost: [u64; Direction::COUNT],
}

/// The last event of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Last<T> {
    /// The kind of event.
    pub what: T,
    /// When it happened last.
    pub at: Wall,
    /// How often it has happened since the probe started.
    pub count: u64,
}

/// The outcomes of some of the newest heartbeats, without those in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutcomeCounts {
    /// Answered in time.
    pub received: u16,
    /// Not answered so far.
    pub lost: u16,
    /// Answered after the timeout.
    pub late: u16,
    /// Unsent, by [`UnsentReason`], including the skipped.
    pub unsent: [u16; UnsentReason::COUNT],
    /// Why the newest settled heartbeat, without the skipped, could not leave; `None` if it left.
    pub newest_unsent: Option<UnsentReason>,
}

/// The parts of a session that hold the evidence.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    pub(super) liveness: &'a Liveness,
    pub(super) ledger: &'a Ledger,
    pub(super) record: &'a Record,
    pub(super) history: &'a History,
    pub(super) interval: Duration,
    /// When the verdict last changed.
    pub(super) changed: Option<Moment>,
}

impl Parts<'_> {
    /// The evidence at `now`.
    pub(super) fn symptoms(&self, now: Mono) -> Symptoms {
        let Self { liveness, ledger, record, .. } = self;
        let state = liveness.state();
        let changed = self.changed.map(|at| at.mono).unwrap_or_default();
        let (usual, typical) = match state {
            None => Default::default(),
            Some(State::Up) => self.history.between(now, changed, now),
            Some(State::Down) => {
                let misses = liveness.needed_misses();
                let run = run_length(self.interval, ledger.timeout(), misses);
                self.history.between(now, Mono::default(), changed - run)
            }
        };
        let newest = match state {
            Some(State::Up) if usual.missed == 0 => OutcomeCounts::default(),
            Some(State::Up) => OutcomeCounts::since(0, ledger),
            Some(State::Down) | None => OutcomeCounts::since(liveness.unanswered(), ledger),
        };
        Symptoms {
            state,
            changed: self.changed.map(|at| at.wall),
            misses: liveness.consecutive_misses(ledger),
            unanswered: liveness.unanswered(),
            answers: liveness.answers(),
            last_reply: record.last_reply,
            newest,
            last_icmp: record
                .last_icmp
                .map(|(what, at)| Last::new(what, at, record.icmp_errors[what.index()])),
            last_invalid: record
                .last_invalid
                .map(|(what, at)| Last::new(what, at, record.invalid[what.index()])),
            last_other_source: record
                .last_other_source
                .as_deref()
                .map(|&(from, at)| Last::new(from, at, record.other_source_replies)),
            usual,
            typical,
            one_way_lost: record.one_way_lost,
        }
    }
}

impl OutcomeCounts {
    /// The outcomes of the heartbeats from `first` on, but of at most the newest 64.
    fn since(first: u64, ledger: &Ledger) -> Self {
        let remembered = ledger.first_remembered();
        let first = first.max(remembered).max(ledger.next().saturating_sub(NEWEST));
        let mut outcomes = Self::default();
        for sequence in first..ledger.next() {
            let unsent = ledger.unsent_reason(sequence);
            match ledger.outcome(sequence) {
                OutcomeKind::InFlight => continue,
                OutcomeKind::Skipped => {
                    outcomes.unsent[UnsentReason::Skipped.index()] += 1;
                    continue;
                }
                OutcomeKind::Unsent => {
                    outcomes.unsent[unsent.unwrap_or(UnsentReason::Other).index()] += 1;
                }
                OutcomeKind::Received => outcomes.received += 1,
                OutcomeKind::Lost => outcomes.lost += 1,
                OutcomeKind::Late => outcomes.late += 1,
            }
            outcomes.newest_unsent = unsent;
        }
        outcomes
    }

    /// How many unsent heartbeats count as misses.
    #[must_use]
    pub fn unsent_misses(&self) -> u16 {
        let all: u16 = self.unsent.iter().sum();
        all - self.unsent[UnsentReason::Skipped.index()]
    }
}

impl<T> Last<T> {
    /// An event that happened last at `at`, and `count` times in total.
    fn new(what: T, at: Wall, count: u64) -> Self {
        Self { what, at, count }
    }
}

/// The longest time from the last answered heartbeat until the target goes down, if the misses
/// follow it directly.
fn run_length(interval: Duration, timeout: Duration, misses: u64) -> Duration {
    let misses = u32::try_from(misses).unwrap_or(u32::MAX);
    interval.saturating_mul(misses).saturating_add(timeout)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::Arrival;
    use crate::session::{Buckets, Session, SessionSettings};
    use crate::wire::{Reply, by_name};

    fn at(millis: u64) -> Moment {
        Moment::default().after(Duration::from_secs(1_700_000_000) + Duration::from_millis(millis))
    }

    /// One heartbeat per second, timeout 500 ms, down after 3 misses, up after 2 answers.
    fn session() -> Session {
        let settings = SessionSettings {
            interval: Duration::from_secs(1),
            timeout: Duration::from_millis(500),
            misses: 3,
            recoveries: 2,
            recorder: 16,
        };
        let buckets = Arc::new(Buckets::from_counts(&[1]));
        let prober = by_name("heartbeat").unwrap().default_options().prober(0);
        Session::new(&settings, prober, Record::new(buckets.clone(), buckets), at(0).mono)
    }

    /// Sends the next heartbeat at `millis`. It is answered `after` milliseconds later; `None`
    /// means that it is not answered.
    fn beat(session: &mut Session, millis: u64, after: Option<u64>) {
        session.handle_timeout(at(millis), |_| {});
        let due = session.poll_transmit(at(millis)).unwrap();
        session.handle_sent(at(millis));
        let Some(after) = after else { return };
        session.handle_timeout(at(millis + after), |_| {});
        answer(session, due.sequence, millis + after);
    }

    fn answer(session: &mut Session, sequence: u64, millis: u64) {
        let reply = Reply::to(Some(0), u32::try_from(sequence).unwrap());
        let read = at(millis);
        session.handle_reply(&reply, &Arrival { at: read.mono, kernel: None, read, ttl: None });
    }

    #[test]
    fn misses_of_an_outage_and_the_loss_before_it_are_separate() {
        let mut session = session();
        // For 30 s every fifth heartbeat is lost, then all are.
        for n in 0..40 {
            let is_answered = n < 30 && n % 5 != 1;
            beat(&mut session, n * 1000, is_answered.then_some(10));
        }
        let symptoms = session.symptoms(at(39_400).mono);
        assert_eq!(symptoms.state, Some(State::Down));
        assert_eq!(symptoms.changed, Some(at(33_000).wall));
        assert_eq!(symptoms.last_reply, Some(at(29_010).wall));
        assert_eq!((symptoms.misses, symptoms.answers), (9, 0));
        assert_eq!(symptoms.newest, OutcomeCounts { lost: 9, ..OutcomeCounts::default() });
        // Only columns that end at or before 29.5 s count: down at 33 s, less 3 intervals and the
        // timeout.
        assert_eq!(symptoms.usual, Misses { missed: 4, settled: 20 });
        assert_eq!(symptoms.typical, Misses { missed: 2, settled: 10 });
    }

    #[test]
    fn late_answers_and_unsent_heartbeats_are_counted_separately() {
        let mut session = session();
        beat(&mut session, 0, Some(700));
        beat(&mut session, 1000, None);
        session.handle_timeout(at(2000), |_| {});
        assert!(session.poll_transmit(at(2000)).is_some());
        session.handle_unsent(UnsentReason::NoRoute, at(2000));
        let symptoms = session.symptoms(at(2000).mono);
        let mut expected = OutcomeCounts {
            lost: 1,
            late: 1,
            newest_unsent: Some(UnsentReason::NoRoute),
            ..OutcomeCounts::default()
        };
        expected.unsent[UnsentReason::NoRoute.index()] = 1;
        assert_eq!((symptoms.newest, symptoms.misses), (expected, 3));
        assert_eq!(symptoms.newest.unsent_misses(), 1);
        // A newer heartbeat leaves and is lost.
        beat(&mut session, 3000, None);
        assert_eq!(session.symptoms(at(3400).mono).newest, expected, "in flight");
        session.handle_timeout(at(3500), |_| {});
        assert_eq!(session.symptoms(at(3500).mono).newest.newest_unsent, None);
    }

    #[test]
    fn after_an_outage_only_later_misses_count() {
        let mut session = session();
        for n in 0..20 {
            beat(&mut session, n * 1000, None);
        }
        for n in 20..60 {
            beat(&mut session, n * 1000, (n != 45).then_some(10));
        }
        let symptoms = session.symptoms(at(59_900).mono);
        assert_eq!(symptoms.state, Some(State::Up));
        // It came up at 21 s, within the column that ends at 30 s, so later columns count.
        assert_eq!(symptoms.usual, Misses { missed: 1, settled: 30 });
        assert_eq!((symptoms.newest.received, symptoms.newest.lost), (15, 1));
    }

    #[test]
    fn the_last_invalid_reply_and_icmp_error_are_kept_with_their_counts() {
        let mut session = session();
        beat(&mut session, 0, None);
        session.handle_invalid(InvalidReason::Malformed, at(10).wall);
        session.handle_invalid(InvalidReason::Malformed, at(20).wall);
        answer(&mut session, 7, 30);
        session.handle_icmp(IcmpKind::TooBig, at(40).wall);
        let symptoms = session.symptoms(at(50).mono);
        let invalid = Last { what: InvalidReason::UnknownSequence, at: at(30).wall, count: 1 };
        assert_eq!(symptoms.last_invalid, Some(invalid));
        let icmp = Last { what: IcmpKind::TooBig, at: at(40).wall, count: 1 };
        assert_eq!(symptoms.last_icmp, Some(icmp));
    }
}
