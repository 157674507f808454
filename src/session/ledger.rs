//! What became of every heartbeat: each is settled exactly once.
//!
//! Heartbeats enter in the order of their numbers, as sent, unsent or skipped; answers and the
//! passing of time settle those that were sent. Always, and exactly:
//! `sent = received + lost + in_flight`.
//!
//! The newest heartbeats are remembered in a ring indexed by number, so that every step costs the
//! same however many are in flight, and nothing is allocated after the start. The ring is larger
//! than what can be in flight at once, so that late answers and duplicates are still known for
//! what they are. It is the flight recorder as well: what is to be told of the newest heartbeats
//! stands in it anyway.

use std::time::Duration;

use crate::model::{Label, Moment, Mono, UnsentReason, Wall};

use super::heartbeat::{Heartbeat, Outcome};
use super::ring::{index, most_in_flight, ring};

/// The heartbeats of one target.
#[derive(Debug)]
pub(super) struct Ledger {
    /// A power of two of slots; heartbeat `n` stands in slot `n mod len`.
    slots: Box<[Entry]>,
    timeout: Duration,
    /// The number of the next heartbeat to enter.
    next: u64,
    /// All before this one are settled; it is the oldest in flight, or `next`.
    oldest: u64,
    in_flight: u64,
    /// All before this one are forgotten, even where the ring would have room for them.
    first_known: u64,
    /// The numbers that first replies carried, in a ring of the same length; empty while none had
    /// one.
    numbers: Box<[u32]>,
}

/// One heartbeat, in 24 octets.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Entry {
    mono: Mono,
    wall: Wall,
    /// Of one in flight or lost: nanoseconds from `wall` to the kernel's transmit timestamp,
    /// [`NO_STAMP`] where none came. Once it is answered, that is no longer asked for, and the low
    /// bits of its delay stand here; of one unsent, its [`UnsentReason`].
    detail: u32,
    /// The high bits of the delay of one that is answered.
    delay_high: u16,
    fate: EntryState,
    /// The hop limit of its answer; 0 where it is not known.
    ttl: u8,
}

/// Rings are most of what a target takes.
const _: () = assert!(size_of::<Entry>() == 24);

const NO_STAMP: u32 = u32::MAX;

/// Delays are remembered up to here, in nanoseconds: 78 hours.
const MAX_DELAY: u64 = (1 << 48) - 1;

/// What has become of a heartbeat so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum EntryState {
    /// Passed over because the probe was late, or so old that it is forgotten.
    #[default]
    Skipped,
    /// It never left.
    Unsent,
    /// It left, and may still be answered in time.
    InFlight,
    /// Answered within the timeout.
    Received,
    /// Not answered within the timeout.
    Lost,
    /// Not answered within the timeout, but later.
    Late,
}

impl EntryState {
    /// Whether it counts against the target: settled, and not answered in time.
    pub(super) fn is_miss(self) -> bool {
        matches!(self, Self::Unsent | Self::Lost | Self::Late)
    }
}

/// When a heartbeat left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    /// Both clocks just before it was handed to the kernel; `wall` is what it carries as t1.
    pub(super) at: Moment,
    /// The kernel's transmit timestamp, where it came.
    pub(super) kernel: Option<Wall>,
}

/// What an answer is to the heartbeat that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The first, within the timeout.
    InTime,
    /// The first, after the timeout: the heartbeat has long been settled as lost.
    Late,
    /// The first and after the timeout, but the heartbeat was not settled yet: it is lost by this.
    LateAndLost,
    /// A further one.
    Duplicate,
}

/// A number that no remembered heartbeat has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Nothing with this number has been sent.
    NeverSent,
    /// It is older than the ring.
    Forgotten,
}

impl Ledger {
    /// A ledger for heartbeats every `interval` that may take `timeout` to be answered; it
    /// remembers at least the newest `recorder`.
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

    /// From now on, heartbeats come every `interval` and may take `timeout` to be answered, those in
    /// flight as well; at least the newest `recorder` are remembered.
    ///
    /// The ring gets the length that this asks for. Where it gets shorter, the oldest settled
    /// heartbeats are forgotten, and none that is in flight.
    ///
    /// To be called once [`pass_settled`](Self::pass_settled) has been.
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

    /// The oldest number that is still remembered after [`retune`](Self::retune) to these: at most
    /// the oldest in flight.
    pub(super) fn first_kept(&self, interval: Duration, timeout: Duration, recorder: u32) -> u64 {
        let len = self.ring_for(interval, timeout, recorder);
        self.first_remembered().max(self.next.saturating_sub(len as u64))
    }

    /// The length of a ring for these that holds what is in flight already as well.
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

    /// How many have been sent and not settled.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// What has become of heartbeat `sequence`; [`EntryState::Skipped`] for one that is forgotten.
    ///
    /// `sequence` must be less than [`next`](Self::next).
    pub(super) fn fate(&self, sequence: u64) -> EntryState {
        debug_assert!(sequence < self.next);
        if self.is_forgotten(sequence) {
            EntryState::Skipped
        } else {
            self.slots[self.slot(sequence)].fate
        }
    }

    /// Why heartbeat `sequence` never left; `None` where it did, was skipped or is forgotten.
    pub(super) fn unsent_reason(&self, sequence: u64) -> Option<UnsentReason> {
        let unsent = self.fate(sequence) == EntryState::Unsent;
        unsent.then(|| self.slots[self.slot(sequence)].reason())
    }

    /// How many heartbeats are remembered.
    #[cfg(test)]
    pub(super) fn remembers(&self) -> usize {
        self.slots.len()
    }

    /// The oldest number that is remembered.
    pub(super) fn first_remembered(&self) -> u64 {
        self.next.saturating_sub(self.slots.len() as u64).max(self.first_known)
    }

    /// The next heartbeat has left.
    pub(super) fn enter_sent(&mut self, at: Moment) {
        let fate = EntryState::InFlight;
        self.enter(Entry {
            mono: at.mono,
            wall: at.wall,
            detail: NO_STAMP,
            fate,
            ..Entry::default()
        });
        self.in_flight += 1;
    }

    /// The next heartbeat could not leave at `at`.
    #[expect(clippy::cast_possible_truncation, reason = "there are few reasons")]
    pub(super) fn enter_unsent(&mut self, reason: UnsentReason, at: Moment) {
        let detail = reason.index() as u32;
        let fate = EntryState::Unsent;
        self.enter(Entry { mono: at.mono, wall: at.wall, detail, fate, ..Entry::default() });
    }

    /// The next `count` heartbeats were passed over.
    pub(super) fn enter_skipped(&mut self, count: u64) {
        let remembered = count.min(self.slots.len() as u64);
        self.next += count - remembered;
        for _ in 0..remembered {
            self.enter(Entry::default());
        }
    }

    /// The kernel's transmit timestamp of heartbeat `sequence` has come.
    pub(super) fn stamp_transmit(&mut self, sequence: u64, transmitted: Wall) {
        if sequence >= self.next || self.is_forgotten(sequence) {
            return;
        }
        let index = self.slot(sequence);
        let slot = &mut self.slots[index];
        if matches!(slot.fate, EntryState::InFlight | EntryState::Lost)
            && let Ok(delta) = u32::try_from(transmitted.nanos_since(slot.wall))
        {
            slot.detail = delta;
        }
    }

    /// The whole number of the heartbeat whose low `bits` bits, at most 32, travelled on the wire:
    /// the one nearest to the next to enter, of two at the same distance the one behind. Where the
    /// numbers come round so soon that half of them
    /// do not reach back over all that is remembered, those reach back further than ahead.
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
        match slot.fate {
            EntryState::Skipped | EntryState::Unsent => Err(Unknown::NeverSent),
            EntryState::InFlight | EntryState::Received | EntryState::Lost | EntryState::Late => {
                Ok(Sent {
                    at: Moment { mono: slot.mono, wall: slot.wall },
                    kernel: slot.transmitted(),
                })
            }
        }
    }

    /// The first reply to heartbeat `sequence` carried this number of its own. `sequence` must be
    /// one that [`sent`](Self::sent) knows.
    pub(super) fn remember_number(&mut self, sequence: u64, number: u32) {
        if self.numbers.is_empty() {
            self.numbers = vec![0; self.slots.len()].into();
        }
        let index = self.slot(sequence);
        self.numbers[index] = number;
    }

    /// The number that is remembered of heartbeat `sequence`, if it was answered. `sequence` must be
    /// less than [`next`](Self::next).
    pub(super) fn number(&self, sequence: u64) -> Option<u32> {
        let is_answered = matches!(self.fate(sequence), EntryState::Received | EntryState::Late);
        self.numbers.get(self.slot(sequence)).copied().filter(|_| is_answered)
    }

    /// Whether the fate of heartbeat `sequence` will hardly change any more: it is settled, and
    /// another timeout has passed, or it will be forgotten when `entering` more come.
    pub(super) fn is_final(&self, sequence: u64, entering: u64, now: Mono) -> bool {
        if sequence >= self.oldest {
            return false;
        }
        let first_remembered = (self.next + entering).saturating_sub(self.slots.len() as u64);
        sequence < first_remembered
            || self.slots[self.slot(sequence)].mono + self.timeout * 2 <= now
    }

    /// An answer to heartbeat `sequence` arrived at `at`. `sequence` must be one that
    /// [`sent`](Self::sent) knows.
    pub(super) fn answer(&mut self, sequence: u64, at: Mono) -> Answer {
        debug_assert!(self.sent(sequence).is_ok());
        let index = self.slot(sequence);
        let slot = &mut self.slots[index];
        match slot.fate {
            EntryState::InFlight => {
                self.in_flight -= 1;
                if at.since(slot.mono) <= self.timeout {
                    slot.fate = EntryState::Received;
                    Answer::InTime
                } else {
                    slot.fate = EntryState::Late;
                    Answer::LateAndLost
                }
            }
            EntryState::Lost => {
                slot.fate = EntryState::Late;
                Answer::Late
            }
            EntryState::Skipped | EntryState::Unsent | EntryState::Received | EntryState::Late => {
                Answer::Duplicate
            }
        }
    }

    /// Remembers of heartbeat `sequence`, whose first answer has just come, how long that took in
    /// nanoseconds and the hop limit it came with.
    #[expect(clippy::cast_possible_truncation, reason = "the delay is split in two")]
    pub(super) fn remember_answer(&mut self, sequence: u64, delay: u64, ttl: Option<u8>) {
        let index = self.slot(sequence);
        let slot = &mut self.slots[index];
        debug_assert!(matches!(slot.fate, EntryState::Received | EntryState::Late));
        let delay = delay.min(MAX_DELAY);
        slot.detail = delay as u32;
        slot.delay_high = (delay >> 32) as u16;
        slot.ttl = ttl.unwrap_or(0);
    }

    /// The newest heartbeats, `count` at most, from the oldest on; the number of the first, and
    /// each.
    pub(super) fn newest(&self, count: u64) -> (u64, impl ExactSizeIterator<Item = Entry> + '_) {
        let first = self.first_remembered().max(self.next.saturating_sub(count));
        let numbers = 0..usize::try_from(self.next - first).unwrap_or(0);
        (first, numbers.map(move |n| self.slots[self.slot(first + n as u64)]))
    }

    /// Settles the oldest heartbeat in flight as lost, if its time is over at `now`, and gives its
    /// number. To be called until it gives none.
    pub(super) fn expire(&mut self, now: Mono) -> Option<u64> {
        (now >= self.deadline()?).then(|| self.lose_oldest())
    }

    /// Settles the oldest heartbeat in flight as lost, if `entering` more would take its slot, and
    /// gives its number. To be called until it gives none, before they enter.
    ///
    /// Only a stall of many intervals between a heartbeat falling due and its leaving gets so far.
    pub(super) fn make_room(&mut self, entering: u64) -> Option<u64> {
        self.deadline()?;
        let needed = self.next.saturating_add(entering) - self.oldest;
        (needed > self.slots.len() as u64).then(|| self.lose_oldest())
    }

    fn lose_oldest(&mut self) -> u64 {
        let lost = self.oldest;
        let index = self.slot(lost);
        self.slots[index].fate = EntryState::Lost;
        self.in_flight -= 1;
        lost
    }

    /// When the oldest heartbeat in flight is to be settled as lost.
    ///
    /// Holds once [`pass_settled`](Self::pass_settled) has been called after the last change.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let waiting = self.oldest < self.next && self.fate(self.oldest) == EntryState::InFlight;
        waiting.then(|| self.slots[self.slot(self.oldest)].mono + self.timeout)
    }

    /// Passes over the heartbeats that have been settled, in the order of their numbers, and shows
    /// the fate of each to `each`, exactly once (but for skipped ones too many to remember).
    pub(super) fn pass_settled(&mut self, mut each: impl FnMut(EntryState)) {
        self.oldest = self.oldest.max(self.first_remembered());
        while self.oldest < self.next {
            let fate = self.fate(self.oldest);
            if fate == EntryState::InFlight {
                break;
            }
            each(fate);
            self.oldest += 1;
        }
    }

    fn enter(&mut self, slot: Entry) {
        let index = self.slot(self.next);
        debug_assert!(
            self.slots[index].fate != EntryState::InFlight,
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
    /// What there is to tell of it, as heartbeat `sequence`.
    pub(super) fn heartbeat(&self, sequence: u64) -> Heartbeat {
        let delay = (u64::from(self.delay_high) << 32) | u64::from(self.detail);
        let delay = Duration::from_nanos(delay);
        let outcome = match self.fate {
            EntryState::Skipped => Outcome::Skipped,
            EntryState::Unsent => Outcome::Unsent(self.reason()),
            EntryState::InFlight => Outcome::InFlight,
            EntryState::Received => Outcome::Received(delay),
            EntryState::Lost => Outcome::Lost,
            EntryState::Late => Outcome::Late(delay),
        };
        let at = (self.fate != EntryState::Skipped).then_some(self.wall);
        Heartbeat { sequence, at, outcome, ttl: (self.ttl != 0).then_some(self.ttl) }
    }

    /// Why it never left, of one unsent.
    fn reason(&self) -> UnsentReason {
        UnsentReason::ALL.get(self.detail as usize).copied().unwrap_or(UnsentReason::Other)
    }

    /// The kernel's transmit timestamp, where it came and is still of use.
    fn transmitted(&self) -> Option<Wall> {
        let waits = matches!(self.fate, EntryState::InFlight | EntryState::Lost);
        (waits && self.detail != NO_STAMP)
            .then(|| self.wall + Duration::from_nanos(self.detail.into()))
    }
}

#[cfg(test)]
mod tests;
