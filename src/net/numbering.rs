//! Which transmit timestamp belongs to which datagram. A datagram that was sent enters and its id
//! leaves; the kernel's number of a timestamp enters and that datagram's id leaves. Pure.

use std::ops::Range;
use std::time::Duration;

use super::notice::Notice;
use crate::model::Wall;

/// How long a timestamp may follow its datagram. A device's queue holds milliseconds.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// How the datagrams of a socket are numbered.
///
/// Ids count the datagrams sent, modulo 2³², in each of these ways.
#[derive(Debug)]
pub(super) enum Numbering {
    /// There are no transmit timestamps.
    Unstamped(u32),
    /// Each datagram carries its id as a control message (Linux 6.13).
    Carried(u32),
    /// The kernel counts (`SOF_TIMESTAMPING_OPT_ID`), and we count along.
    Counted(Counted),
}

impl Numbering {
    /// The id of a datagram that was sent.
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

    /// `notice` with the id of its datagram in place of the kernel's number; `None` where it
    /// cannot be known.
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

/// The kernel's own count of a socket's datagrams, and ours beside it.
///
/// A datagram that the kernel refuses may or may not have been counted, depending on the kernel's
/// version and on how far it got. So after each refusal the kernel's count is set back to 0
/// ([`Counted::restarted`]), where both agree again. Timestamps of datagrams from before, still on
/// their way at that moment, carry numbers that will be given again; where such a number could
/// mean either, its timestamp is given up: none is better than another datagram's.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// The id of the datagram that the kernel numbers 0.
    base: u32,
    /// How many were sent since the kernel's count began.
    sent: u64,
    /// How many of them have their timestamp.
    stamped: u64,
    /// One more than the highest number of which there was a timestamp.
    reach: u64,
    stragglers: Option<Stragglers>,
}

/// Datagrams of an earlier count without their timestamps.
#[derive(Debug)]
struct Stragglers {
    /// As in [`Counted`]; `None` for several counts at once.
    base: Option<u32>,
    /// The kernel's numbers of them.
    numbers: Range<u64>,
    /// A timestamp taken later is none of theirs.
    until: Wall,
}

impl Counted {
    /// A datagram was sent: its id.
    fn sent(&mut self) -> u32 {
        let id = self.base.wrapping_add(low(self.sent));
        self.sent += 1;
        id
    }

    /// Whose timestamp this is.
    fn stamped(&mut self, number: u32, at: Wall) -> Option<u32> {
        // After 2³² datagrams every number has been given.
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

    /// The kernel's count was set back to 0 at `now`, all timestamps that it had having been read.
    pub(super) fn restarted(&mut self, now: Wall) {
        // Where some are missing in between, any may be: timestamps need not come in order.
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

/// A count as the kernel's 32 bits hold it.
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
    fn ids_go_on_where_the_kernel_begins_anew() {
        let mut counted = Counted::default();
        assert_eq!(send(&mut counted, 3), [0, 1, 2]);
        assert_eq!([0, 1, 2].map(|number| counted.stamped(number, NOON)), [0, 1, 2].map(Some));
        counted.restarted(NOON);
        assert_eq!(send(&mut counted, 2), [3, 4]);
        assert_eq!([0, 1].map(|number| counted.stamped(number, NOON)), [3, 4].map(Some));
        assert_eq!(counted.stamped(2, NOON), None, "a number that was never given");
    }

    #[test]
    fn a_straggler_is_known_by_a_number_not_given_anew_and_else_given_up() {
        let mut counted = Counted::default();
        send(&mut counted, 6);
        assert_eq!(counted.stamped(0, NOON), Some(0));
        counted.restarted(NOON);
        assert_eq!(send(&mut counted, 3), [6, 7, 8]);
        assert_eq!(counted.stamped(0, NOON), Some(6), "0 has had its timestamp before");
        assert_eq!(counted.stamped(5, NOON), Some(5), "5 has not been given again");
        assert_eq!(counted.stamped(1, NOON), None, "1 could be either");
        let later = NOON + STRAGGLERS;
        assert_eq!(counted.stamped(1, later), Some(7), "too late for the first 1");
        assert_eq!(counted.stamped(5, later), None);
    }

    #[test]
    fn after_a_gap_any_earlier_number_may_still_come() {
        let mut counted = Counted::default();
        send(&mut counted, 3);
        assert_eq!(counted.stamped(2, NOON), Some(2));
        counted.restarted(NOON);
        send(&mut counted, 1);
        assert_eq!(counted.stamped(0, NOON), None);
        assert_eq!(counted.stamped(1, NOON), Some(1));
    }

    #[test]
    fn stragglers_of_two_counts_cannot_be_told_apart() {
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
    fn without_stamps_and_with_carried_ids_numbers_stay_what_they_are() {
        let notice = Notice::Transmitted { id: 9, at: NOON };
        let mut carried = Numbering::Carried(u32::MAX);
        assert_eq!((carried.sent(), carried.sent()), (u32::MAX, 0));
        assert_eq!(carried.translate(notice.clone()), Some(notice.clone()));
        assert_eq!(Numbering::Unstamped(0).translate(notice), None);
    }

    /// What happens to a socket, in the kernel and in the program.
    #[derive(Debug, Clone)]
    enum Event {
        Sent,
        /// Counted by the kernel or not: its count begins anew.
        Refused,
        /// The device takes that many datagrams from its queue, which stamps them.
        Transmitted(usize),
        Read,
    }

    proptest! {
        /// Against a kernel whose count begins anew at any moment, and which stamps late:
        /// no datagram gets another's timestamp, and none stamped at once goes without its own.
        #[test]
        fn no_timestamp_is_taken_for_anothers(
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
