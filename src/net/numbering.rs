//! Finds the datagram of each transmit timestamp: gives sent datagrams ids, and maps the kernel's
//! number of a timestamp to the id of its datagram. No IO.

use std::ops::Range;
use std::time::Duration;

use super::notice::Notice;
use crate::model::Wall;

/// How long after its datagram a timestamp may arrive. Device queues are milliseconds long.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// How the datagrams of a socket are numbered.
///
/// In every mode, ids count the datagrams sent, modulo 2³².
#[derive(Debug)]
pub(super) enum Numbering {
    /// The socket has no transmit timestamps.
    Unstamped(u32),
    /// Each datagram carries its id as a control message (Linux 6.13).
    Carried(u32),
    /// The kernel counts datagrams (`SOF_TIMESTAMPING_OPT_ID`), and [`Counted`] follows its count.
    Counted(Counted),
}

impl Numbering {
    /// Returns the id of a datagram that was just sent.
    pub(super) fn sent(&mut self) -> u32 {
        match self {
            Self::Unstamped(next) | Self::Carried(next) => {
                let id = *next;
                *next = next.wrapping_add(1);
                id
            }
            Self::Counted(counted) => counted.sent(),
        }
    }

    /// Replaces the kernel's number in `notice` by the id of its datagram; `None` if that is
    /// unknown.
    pub(super) fn translate<'a>(&mut self, notice: Notice<'a>) -> Option<Notice<'a>> {
        match (self, notice) {
            (Self::Counted(counted), Notice::Transmitted { id, at }) => {
                Some(Notice::Transmitted { id: counted.stamped(id, at)?, at })
            }
            (Self::Unstamped(_), Notice::Transmitted { .. }) => None,
            (_, notice) => Some(notice),
        }
    }
}

/// Follows the kernel's count of a socket's datagrams.
///
/// The kernel may or may not count a datagram that it refuses, depending on its version and on
/// where sending failed. So after each refusal the kernel's count is reset to 0
/// ([`Counted::restarted`]), and both counts agree again. Timestamps of earlier datagrams may still
/// arrive, with numbers that are used again. If such a number is ambiguous, its timestamp is
/// discarded: a missing timestamp is better than a wrong one.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The id of the datagram with the kernel's number 0.
    base: u32,
    /// How many datagrams were sent since the kernel's count was reset.
    sent: u64,
    /// How many of them have a timestamp.
    stamped: u64,
    /// The highest number with a timestamp, plus 1.
    reach: u64,
    stragglers: Option<Stragglers>,
}

/// Datagrams from before a reset whose timestamps may still arrive.
#[derive(Debug)]
struct Stragglers {
    /// As in [`Counted`]; `None` if the datagrams are from several counts.
    base: Option<u32>,
    /// Their numbers.
    numbers: Range<u64>,
    /// A timestamp taken at or after this moment is not theirs.
    until: Wall,
}

impl Counted {
    /// Counts a sent datagram and returns its id.
    fn sent(&mut self) -> u32 {
        let id = self.base.wrapping_add(low(self.sent));
        self.sent += 1;
        id
    }

    /// The id of the datagram with this timestamp, if it is unambiguous.
    fn stamped(&mut self, number: u32, at: Wall) -> Option<u32> {
        // After 2³² datagrams every number has been used.
        let given = u64::from(number) < self.sent;
        let earlier = self
            .stragglers
            .as_ref()
            .filter(|earlier| at < earlier.until && earlier.numbers.contains(&u64::from(number)));
        match (earlier, given) {
            (Some(earlier), false) => Some(earlier.base?.wrapping_add(number)),
            (Some(_), true) | (None, false) => None,
            (None, true) => {
                self.stamped += 1;
                self.reach = self.reach.max(u64::from(number) + 1);
                Some(self.base.wrapping_add(number))
            }
        }
    }

    /// The kernel's count was reset to 0 at `now`, after all available timestamps were read.
    pub(super) fn restarted(&mut self, now: Wall) {
        // If there are gaps, any number may be missing, as timestamps may arrive out of order.
        let missing = if self.stamped == self.reach { self.reach..self.sent } else { 0..self.sent };
        let earlier = self.stragglers.take().filter(|earlier| now < earlier.until);
        self.stragglers = match (earlier, missing.is_empty()) {
            (earlier, true) => earlier,
            (None, false) => Some(Stragglers {
                base: Some(self.base),
                numbers: missing,
                until: now + STRAGGLERS,
            }),
            (Some(earlier), false) => Some(Stragglers {
                base: None,
                numbers: earlier.numbers.start.min(missing.start)
                    ..earlier.numbers.end.max(missing.end),
                until: now + STRAGGLERS,
            }),
        };
        self.base = self.base.wrapping_add(low(self.sent));
        (self.sent, self.stamped, self.reach) = (0, 0, 0);
    }
}

/// The low 32 bits of a count, as the kernel stores it.
#[expect(clippy::cast_possible_truncation, reason = "counts wrap, as the kernel's do")]
fn low(count: u64) -> u32 {
    count as u32
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    const NOON: Wall = Wall::from_nanos(43_200_000_000_000);

    fn send(counted: &mut Counted, count: u32) -> Vec<u32> {
        (0..count).map(|_| counted.sent()).collect()
    }

    #[test]
    fn ids_continue_after_the_kernels_count_is_reset() {
        let mut counted = Counted::default();
        assert_eq!(send(&mut counted, 3), [0, 1, 2]);
        assert_eq!([0, 1, 2].map(|number| counted.stamped(number, NOON)), [0, 1, 2].map(Some));
        counted.restarted(NOON);
        assert_eq!(send(&mut counted, 2), [3, 4]);
        assert_eq!([0, 1].map(|number| counted.stamped(number, NOON)), [3, 4].map(Some));
        assert_eq!(counted.stamped(2, NOON), None, "a number that was never used");
    }

    #[test]
    fn a_late_timestamp_counts_only_if_its_number_is_not_used_again() {
        let mut counted = Counted::default();
        send(&mut counted, 6);
        assert_eq!(counted.stamped(0, NOON), Some(0));
        counted.restarted(NOON);
        assert_eq!(send(&mut counted, 3), [6, 7, 8]);
        assert_eq!(counted.stamped(0, NOON), Some(6), "the earlier 0 has its timestamp");
        assert_eq!(counted.stamped(5, NOON), Some(5), "5 is not used again yet");
        assert_eq!(counted.stamped(1, NOON), None, "1 is ambiguous");
        let later = NOON + STRAGGLERS;
        assert_eq!(counted.stamped(1, later), Some(7), "too late for the earlier 1");
        assert_eq!(counted.stamped(5, later), None);
    }

    #[test]
    fn after_a_gap_any_earlier_number_may_still_arrive() {
        let mut counted = Counted::default();
        send(&mut counted, 3);
        assert_eq!(counted.stamped(2, NOON), Some(2));
        counted.restarted(NOON);
        send(&mut counted, 1);
        assert_eq!(counted.stamped(0, NOON), None);
        assert_eq!(counted.stamped(1, NOON), Some(1));
    }

    #[test]
    fn late_timestamps_of_two_counts_are_ambiguous() {
        let mut counted = Counted::default();
        send(&mut counted, 8);
        counted.restarted(NOON);
        send(&mut counted, 4);
        counted.restarted(NOON);
        assert_eq!(send(&mut counted, 1), [12]);
        assert_eq!(counted.stamped(5, NOON), None);
        counted.restarted(NOON + STRAGGLERS);
        assert_eq!(send(&mut counted, 1), [13]);
        assert_eq!(counted.stamped(0, NOON + STRAGGLERS + STRAGGLERS), Some(13));
    }

    #[test]
    fn ids_and_numbers_wrap() {
        let mut counted = Counted { base: u32::MAX, ..Counted::default() };
        assert_eq!(send(&mut counted, 2), [u32::MAX, 0]);
        assert_eq!(counted.stamped(1, NOON), Some(0));
        let mut long = Counted { sent: 1 << 32, stamped: 1 << 32, reach: 1 << 32, ..counted };
        assert_eq!(long.sent(), u32::MAX);
        assert_eq!(long.stamped(0, NOON), Some(u32::MAX));
    }

    #[test]
    fn carried_ids_stay_as_they_are_and_unstamped_sockets_have_no_timestamps() {
        let notice = Notice::Transmitted { id: 9, at: NOON };
        let mut carried = Numbering::Carried(u32::MAX);
        assert_eq!((carried.sent(), carried.sent()), (u32::MAX, 0));
        assert_eq!(carried.translate(notice.clone()), Some(notice.clone()));
        assert_eq!(Numbering::Unstamped(0).translate(notice), None);
    }

    /// An event of a socket, in the kernel or in the program.
    #[derive(Debug, Clone)]
    enum Event {
        Sent,
        /// A datagram is refused, whether the kernel counts it or not. The count is reset.
        Refused,
        /// The device takes this many datagrams from its queue, and the kernel stamps them.
        Transmitted(usize),
        Read,
    }

    proptest! {
        /// The model kernel resets its count at any moment and stamps late. No datagram gets the
        /// timestamp of another, and every datagram stamped at once gets its own.
        #[test]
        fn no_datagram_gets_the_timestamp_of_another(
            events in prop::collection::vec(
                prop_oneof![
                    6 => Just(Event::Sent),
                    1 => Just(Event::Refused),
                    3 => (1_usize..8).prop_map(Event::Transmitted),
                    2 => Just(Event::Read),
                ],
                0..200,
            ),
            prompt: bool,
        ) {
            let mut counted = Counted::default();
            let mut number = 0;
            let (mut device, mut errors) = (VecDeque::new(), VecDeque::new());
            let mut found = BTreeMap::new();
            let mut moment = NOON;
            let mut sent = 0;
            let read = |counted: &mut Counted, errors: &mut VecDeque<(u32, Wall, u32)>, found: &mut BTreeMap<u32, u32>| {
                for (number, at, truth) in errors.drain(..) {
                    if let Some(id) = counted.stamped(number, at) {
                        found.insert(id, truth);
                    }
                }
            };
            for event in events {
                moment = moment + Duration::from_micros(1);
                match event {
                    Event::Sent => {
                        device.push_back((number, counted.sent()));
                        number += 1;
                        sent += 1;
                        if prompt {
                            errors.extend(device.drain(..).map(|(number, id)| (number, moment, id)));
                        }
                    }
                    Event::Refused => {
                        read(&mut counted, &mut errors, &mut found);
                        number = 0;
                        counted.restarted(moment);
                    }
                    Event::Transmitted(count) => {
                        let count = count.min(device.len());
                        errors.extend(device.drain(..count).map(|(number, id)| (number, moment, id)));
                    }
                    Event::Read => read(&mut counted, &mut errors, &mut found),
                }
            }
            read(&mut counted, &mut errors, &mut found);
            for (id, truth) in &found {
                prop_assert_eq!(id, truth);
            }
            if prompt {
                prop_assert_eq!(found.len(), sent);
            }
        }
    }
}
