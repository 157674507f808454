//! The ledger: settles every heartbeat exactly once.
//!
//! Heartbeats are entered in the order of their numbers, as sent, unsent or skipped. Answers and
//! timeouts settle the sent ones. At all times `sent = received + lost + in_flight`.
//!
//! The newest heartbeats are kept in a ring indexed by number, so that every step takes constant
//! time and nothing is allocated after the start. The ring is larger than the number of heartbeats
//! that can be in flight, so that late answers and duplicates are still recognised. It also serves
//! as the flight recorder.

use std::time::Duration;

use crate::model::{Label, Moment, Mono, UnsentReason, Wall};

use super::heartbeat::{Heartbeat, Outcome};
use super::ring::{index, most_in_flight, ring};

/// The heartbeats of one target.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Heartbeat `n` is in slot `n mod len`; `len` is a power of two.
    slots: Box<[Entry]>,
    timeout: Duration,
    /// The number of the next heartbeat to enter.
    next: u64,
    /// The oldest heartbeat in flight, or `next`; all older ones are settled.
    oldest: u64,
    in_flight: u64,
    /// All heartbeats before this one are forgotten, even if the ring has room for them.
    first_known: u64,
    /// The reflector's numbers from first replies, in a ring of the same length; empty until a
    /// reply carries one.
    numbers: Box<[u32]>,
}

/// One heartbeat, in 24 octets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Entry {
    mono: Mono,
    wall: Wall,
    /// In flight or lost: nanoseconds from `wall` to the kernel's transmit timestamp, or
    /// [`NO_STAMP`]. Answered: the low bits of the delay. Unsent: the [`UnsentReason`].
    detail: u32,
    /// Its highest bit is [`DETOURED`]. Answered: the others are the high bits of the delay.
    delay_high: u16,
    outcome: OutcomeKind,
    /// The hop limit of its answer; 0 if unknown.
    ttl: u8,
}

/// Rings take most of a target's memory.
const _: () = assert!(size_of::<Entry>() == 24);

const NO_STAMP: u32 = u32::MAX;

/// The longest delay that is stored, in nanoseconds: 39 hours. Longer delays are stored as this.
const MAX_DELAY: u64 = (1 << 47) - 1;

/// The heartbeat left from another source port than the usual one.
const DETOURED: u16 = 1 << 15;

/// The state of a heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum OutcomeKind {
    /// Not sent because the probe was late, or so old that it is forgotten.
    #[default]
    Skipped,
    /// It could not leave.
    Unsent,
    /// It left, and may still be answered in time.
    InFlight,
    /// Answered within the timeout.
    Received,
    /// Not answered so far, and the timeout is over.
    Lost,
    /// Answered after the timeout.
    Late,
}

impl OutcomeKind {
    /// Whether it is a miss: settled, neither answered in time nor skipped.
    pub(super) fn is_miss(self) -> bool {
        matches!(self, Self::Unsent | Self::Lost | Self::Late)
    }
}

/// When a heartbeat left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    /// Both clocks just before it was handed to the kernel; `wall` is its t1.
    pub(super) at: Moment,
    /// The kernel's transmit timestamp, if it has arrived.
    pub(super) kernel: Option<Wall>,
}

/// The classification of an answer, relative to its heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The first answer, within the timeout.
    InTime,
    /// The first answer, after the timeout, to a heartbeat already settled as lost.
    Late,
    /// The first answer, after the timeout, to a heartbeat not settled yet: this settles it as
    /// lost.
    LateAndLost,
    /// A further answer.
    Duplicate,
}

/// Why a number belongs to no remembered heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// No heartbeat with this number was sent.
    NeverSent,
    /// It is older than the ring.
    Forgotten,
}

impl Ledger {
    /// A ledger for one heartbeat every `interval`, each answered within `timeout`. It remembers at
    /// least the newest `recorder` heartbeats.
    pub(super) fn new(interval: Duration, timeout: Duration, recorder: u32) -> Self {
        Self {
            slots: vec![Entry::default(); ring(interval, timeout, recorder)].into(),
            timeout,
            next: 0,
            oldest: 0,
            in_flight: 0,
            first_known: 0,
            numbers: Box::default(),
        }
    }

    /// Applies a new `interval`, `timeout` and `recorder`. The timeout also applies to heartbeats
    /// in flight.
    ///
    /// The ring is resized. A shorter ring forgets the oldest settled heartbeats, but none in
    /// flight.
    ///
    /// Call [`pass_settled`](Self::pass_settled) first.
    pub(super) fn retune(&mut self, interval: Duration, timeout: Duration, recorder: u32) {
        self.timeout = timeout;
        let len = self.ring_for(interval, timeout, recorder);
        if len == self.slots.len() {
            return;
        }
        let first = self.first_kept(interval, timeout, recorder);
        let mut slots: Box<[Entry]> = vec![Entry::default(); len].into();
        let mut numbers: Box<[u32]> =
            if self.numbers.is_empty() { Box::default() } else { vec![0; len].into() };
        for sequence in first..self.next {
            let (from, to) = (self.slot(sequence), index(sequence, len));
            slots[to] = self.slots[from];
            if let Some(number) = numbers.get_mut(to) {
                *number = self.numbers[from];
            }
        }
        self.slots = slots;
        self.numbers = numbers;
        self.first_known = first;
    }

    /// The oldest number still remembered after [`retune`](Self::retune) to these settings; no
    /// newer than the oldest in flight.
    pub(super) fn first_kept(&self, interval: Duration, timeout: Duration, recorder: u32) -> u64 {
        let len = self.ring_for(interval, timeout, recorder);
        self.first_remembered().max(self.next.saturating_sub(len as u64))
    }

    /// The length of a ring for these settings with room for the heartbeats already in flight.
    fn ring_for(&self, interval: Duration, timeout: Duration, recorder: u32) -> usize {
        let waiting = usize::try_from(self.next - self.oldest).unwrap_or(usize::MAX >> 2);
        let waiting = waiting.saturating_add(most_in_flight(interval, timeout));
        ring(interval, timeout, recorder).max(waiting.next_power_of_two())
    }

    /// The number of the next heartbeat to enter.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// How long an answer may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How many heartbeats are sent and not settled.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// The state of heartbeat `sequence`; [`OutcomeKind::Skipped`] if it is forgotten.
    ///
    /// `sequence` must be less than [`next`](Self::next).
    pub(super) fn outcome(&self, sequence: u64) -> OutcomeKind {
        debug_assert!(sequence < self.next);
        if self.is_forgotten(sequence) {
            OutcomeKind::Skipped
        } else {
            self.slots[self.slot(sequence)].outcome
        }
    }

    /// Why heartbeat `sequence` could not leave; `None` if it left, was skipped or is forgotten.
    pub(super) fn unsent_reason(&self, sequence: u64) -> Option<UnsentReason> {
        let unsent = self.outcome(sequence) == OutcomeKind::Unsent;
        unsent.then(|| self.slots[self.slot(sequence)].reason())
    }

    /// How many heartbeats are remembered.
    #[cfg(test)]
    pub(super) fn remembers(&self) -> usize {
        self.slots.len()
    }

    /// The oldest remembered number.
    pub(super) fn first_remembered(&self) -> u64 {
        self.next.saturating_sub(self.slots.len() as u64).max(self.first_known)
    }

    /// Enters the next heartbeat as sent at `at`.
    pub(super) fn enter_sent(&mut self, at: Moment) {
        let outcome = OutcomeKind::InFlight;
        self.enter(Entry {
            mono: at.mono,
            wall: at.wall,
            detail: NO_STAMP,
            outcome,
            ..Entry::default()
        });
        self.in_flight += 1;
    }

    /// Enters the next heartbeat as unsent at `at`.
    #[expect(clippy::cast_possible_truncation, reason = "there are few reasons")]
    pub(super) fn enter_unsent(&mut self, reason: UnsentReason, at: Moment) {
        let detail = reason.index() as u32;
        let outcome = OutcomeKind::Unsent;
        self.enter(Entry { mono: at.mono, wall: at.wall, detail, outcome, ..Entry::default() });
    }

    /// Enters the next `count` heartbeats as skipped.
    pub(super) fn enter_skipped(&mut self, count: u64) {
        let remembered = count.min(self.slots.len() as u64);
        self.next += count - remembered;
        for _ in 0..remembered {
            self.enter(Entry::default());
        }
    }

    /// Stores the kernel's transmit timestamp of heartbeat `sequence`.
    pub(super) fn stamp_transmit(&mut self, sequence: u64, transmitted: Wall) {
        if sequence >= self.next || self.is_forgotten(sequence) {
            return;
        }
        let index = self.slot(sequence);
        let slot = &mut self.slots[index];
        if matches!(slot.outcome, OutcomeKind::InFlight | OutcomeKind::Lost)
            && let Ok(delta) = u32::try_from(transmitted.nanos_since(slot.wall))
        {
            slot.detail = delta;
        }
    }

    /// Restores a full sequence number from its low `bits` bits (at most 32), which the wire
    /// carries. It is the only match in a window of 2^`bits` consecutive numbers. Usually half of
    /// the window is older than the next number. If more heartbeats than that are remembered, a larger
    /// part of the window is older.
    pub(super) fn widen(&self, low: u32, bits: u32) -> u64 {
        let cycle = 1_u64 << bits;
        let behind = (cycle / 2).max(cycle.min(self.slots.len() as u64));
        let first = self.next.saturating_sub(behind);
        first + (u64::from(low).wrapping_sub(first) & (cycle - 1))
    }

    /// When heartbeat `sequence` left.
    pub(super) fn sent(&self, sequence: u64) -> Result<Sent, Unknown> {
        if sequence >= self.next {
            return Err(Unknown::NeverSent);
        }
        if self.is_forgotten(sequence) {
            return Err(Unknown::Forgotten);
        }
        let slot = self.slots[self.slot(sequence)];
        match slot.outcome {
            OutcomeKind::Skipped | OutcomeKind::Unsent => Err(Unknown::NeverSent),
            OutcomeKind::InFlight
            | OutcomeKind::Received
            | OutcomeKind::Lost
            | OutcomeKind::Late => Ok(Sent {
                at: Moment { mono: slot.mono, wall: slot.wall },
                kernel: slot.transmitted(),
            }),
        }
    }

    /// Heartbeat `sequence` left from another source port than the usual one. The reflector takes
    /// this for another session, so that the number in the reply means nothing.
    pub(super) fn mark_detoured(&mut self, sequence: u64) {
        if sequence < self.next && !self.is_forgotten(sequence) {
            let index = self.slot(sequence);
            self.slots[index].delay_high |= DETOURED;
        }
    }

    /// Whether heartbeat `sequence` is remembered and left from another source port.
    pub(super) fn is_detoured(&self, sequence: u64) -> bool {
        !self.is_forgotten(sequence) && self.slots[self.slot(sequence)].delay_high & DETOURED != 0
    }

    /// Stores the reflector's `number` from the first reply to heartbeat `sequence`, which
    /// [`sent`](Self::sent) must know.
    pub(super) fn remember_number(&mut self, sequence: u64, number: u32) {
        if self.numbers.is_empty() {
            self.numbers = vec![0; self.slots.len()].into();
        }
        let index = self.slot(sequence);
        self.numbers[index] = number;
    }

    /// The reflector's number from the first reply to heartbeat `sequence`, if there is one; `None`
    /// if the heartbeat was [detoured](Self::mark_detoured).
    /// `sequence` must be less than [`next`](Self::next).
    pub(super) fn number(&self, sequence: u64) -> Option<u32> {
        let is_answered =
            matches!(self.outcome(sequence), OutcomeKind::Received | OutcomeKind::Late);
        let has_number = is_answered && !self.is_detoured(sequence);
        self.numbers.get(self.slot(sequence)).copied().filter(|_| has_number)
    }

    /// Whether the outcome of heartbeat `sequence` is unlikely to change: it is settled, and either
    /// two timeouts have passed since it left or it will be forgotten when `entering` more
    /// heartbeats are entered.
    pub(super) fn is_final(&self, sequence: u64, entering: u64, now: Mono) -> bool {
        if sequence >= self.oldest {
            return false;
        }
        let first_remembered = (self.next + entering).saturating_sub(self.slots.len() as u64);
        sequence < first_remembered
            || self.slots[self.slot(sequence)].mono + self.timeout * 2 <= now
    }

    /// Handles an answer to heartbeat `sequence` that arrived at `at`. [`sent`](Self::sent) must
    /// know `sequence`.
    pub(super) fn answer(&mut self, sequence: u64, at: Mono) -> Answer {
        debug_assert!(self.sent(sequence).is_ok());
        let index = self.slot(sequence);
        let slot = &mut self.slots[index];
        match slot.outcome {
            OutcomeKind::InFlight => {
                self.in_flight -= 1;
                if at.since(slot.mono) <= self.timeout {
                    slot.outcome = OutcomeKind::Received;
                    Answer::InTime
                } else {
                    slot.outcome = OutcomeKind::Late;
                    Answer::LateAndLost
                }
            }
            OutcomeKind::Lost => {
                slot.outcome = OutcomeKind::Late;
                Answer::Late
            }
            OutcomeKind::Skipped
            | OutcomeKind::Unsent
            | OutcomeKind::Received
            | OutcomeKind::Late => Answer::Duplicate,
        }
    }

    /// Stores the `delay` in nanoseconds and the hop limit of the first answer to heartbeat
    /// `sequence`.
    #[expect(clippy::cast_possible_truncation, reason = "the delay is split in two")]
    pub(super) fn remember_answer(&mut self, sequence: u64, delay: u64, ttl: Option<u8>) {
        let index = self.slot(sequence);
        let slot = &mut self.slots[index];
        debug_assert!(matches!(slot.outcome, OutcomeKind::Received | OutcomeKind::Late));
        let delay = delay.min(MAX_DELAY);
        slot.detail = delay as u32;
        slot.delay_high = (slot.delay_high & DETOURED) | (delay >> 32) as u16;
        slot.ttl = ttl.unwrap_or(0);
    }

    /// The newest heartbeats, at most `count`, oldest first, with the number of the first.
    pub(super) fn newest(&self, count: u64) -> (u64, impl ExactSizeIterator<Item = Entry> + '_) {
        let first = self.first_remembered().max(self.next.saturating_sub(count));
        let numbers = 0..usize::try_from(self.next - first).unwrap_or(0);
        (first, numbers.map(move |n| self.slots[self.slot(first + n as u64)]))
    }

    /// Settles the oldest heartbeat in flight as lost if its timeout is over at `now`, and returns
    /// its number. Call it until it returns `None`.
    pub(super) fn expire(&mut self, now: Mono) -> Option<u64> {
        (now >= self.deadline()?).then(|| self.lose_oldest())
    }

    /// Settles the oldest heartbeat in flight as lost if `entering` more heartbeats would take its
    /// slot, and returns its number. Call it until it returns `None`, before entering them.
    ///
    /// This happens only if a due heartbeat leaves many intervals late.
    pub(super) fn make_room(&mut self, entering: u64) -> Option<u64> {
        self.deadline()?;
        let needed = self.next.saturating_add(entering) - self.oldest;
        (needed > self.slots.len() as u64).then(|| self.lose_oldest())
    }

    fn lose_oldest(&mut self) -> u64 {
        let lost = self.oldest;
        let index = self.slot(lost);
        self.slots[index].outcome = OutcomeKind::Lost;
        self.in_flight -= 1;
        lost
    }

    /// When the oldest heartbeat in flight times out.
    ///
    /// Valid only if [`pass_settled`](Self::pass_settled) was called after the last change.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let waiting = self.oldest < self.next && self.outcome(self.oldest) == OutcomeKind::InFlight;
        waiting.then(|| self.slots[self.slot(self.oldest)].mono + self.timeout)
    }

    /// Passes the outcome of every settled heartbeat to `each`, in the order of their numbers and
    /// exactly once. It stops at the oldest heartbeat in flight. Skipped heartbeats that exceed the
    /// ring are left out.
    pub(super) fn pass_settled(&mut self, mut each: impl FnMut(OutcomeKind)) {
        self.oldest = self.oldest.max(self.first_remembered());
        while self.oldest < self.next {
            let outcome = self.outcome(self.oldest);
            if outcome == OutcomeKind::InFlight {
                break;
            }
            each(outcome);
            self.oldest += 1;
        }
    }

    fn enter(&mut self, slot: Entry) {
        let index = self.slot(self.next);
        debug_assert!(
            self.slots[index].outcome != OutcomeKind::InFlight,
            "a heartbeat in flight is never forgotten"
        );
        self.slots[index] = slot;
        self.next += 1;
    }

    fn slot(&self, sequence: u64) -> usize {
        index(sequence, self.slots.len())
    }

    fn is_forgotten(&self, sequence: u64) -> bool {
        sequence < self.first_remembered()
    }
}

impl Entry {
    /// Its public form, as heartbeat `sequence`.
    pub(super) fn heartbeat(&self, sequence: u64) -> Heartbeat {
        let high = u64::from(self.delay_high & !DETOURED);
        let delay = (high << 32) | u64::from(self.detail);
        let delay = Duration::from_nanos(delay);
        let outcome = match self.outcome {
            OutcomeKind::Skipped => Outcome::Skipped,
            OutcomeKind::Unsent => Outcome::Unsent(self.reason()),
            OutcomeKind::InFlight => Outcome::InFlight,
            OutcomeKind::Received => Outcome::Received(delay),
            OutcomeKind::Lost => Outcome::Lost,
            OutcomeKind::Late => Outcome::Late(delay),
        };
        let at = (self.outcome != OutcomeKind::Skipped).then_some(self.wall);
        Heartbeat { sequence, at, outcome, ttl: (self.ttl != 0).then_some(self.ttl) }
    }

    /// Why an unsent heartbeat could not leave.
    fn reason(&self) -> UnsentReason {
        UnsentReason::ALL.get(self.detail as usize).copied().unwrap_or(UnsentReason::Other)
    }

    /// The kernel's transmit timestamp, if it has arrived and the heartbeat is unanswered.
    fn transmitted(&self) -> Option<Wall> {
        let waits = matches!(self.outcome, OutcomeKind::InFlight | OutcomeKind::Lost);
        (waits && self.detail != NO_STAMP)
            .then(|| self.wall + Duration::from_nanos(self.detail.into()))
    }
}

#[cfg(test)]
mod tests;
