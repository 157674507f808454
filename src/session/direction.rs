//! Finds the direction in which heartbeats were lost, from the numbers of a stateful reflector.
//!
//! A stateful reflector counts the requests of a session that reach it, and its replies carry that
//! count (RFC 8762 section 4.3.1). So the numbers of two replies show how many requests reached it
//! between them. Of the heartbeats lost in between, those that reached the reflector were lost
//! backward: their numbers are missing from the replies. The others were lost forward.
//!
//! # Example
//!
//! Each row is a heartbeat, in the order of their numbers. The counts are the losses that the row
//! adds to each direction.
//!
//! | heartbeat | number in the reply | forward | backward | conclusion |
//! | --- | --- | --- | --- | --- |
//! | 0 | 0 | | | The count begins with the first answer. |
//! | 1 | lost | | | |
//! | 2 | 2 | | | No reply carried number 1, but a stateless reflector repeats the heartbeat's number: nothing is proven. |
//! | 3 | lost | | | |
//! | 4 | 3 | 1 | 1 | The number differs from the heartbeat's, so the reflector counts. It has not counted heartbeat 3, and it had counted heartbeat 1. |
//! | 5 | lost | | | |
//! | 6 | lost | | | |
//! | 7 | 5 | 1 | 1 | Number 4 is missing: one of the two reached the reflector. |
//! | 8 | lost | | | |
//! | 9 | 0 | | | The number goes back: the reflector has restarted, and nothing is known about heartbeat 8. |
//! | 10 | lost | | | |
//! | 11 | 1 | | | Number 0 may have gone to heartbeat 10, after another restart: nothing is proven. |
//! | 12 | 3 | | | Heartbeat 13 has number 2: its request has overtaken this one, and nothing is missing. |
//! | 13 | 2 | | | |
//! | 14 | lost | | | |
//! | 15 | 5 | | 1 | |
//! | 16 | lost | | | It stays without a direction until a later heartbeat is answered. |
//!
//! # Restarts
//!
//! A reflector that restarts, or forgets the session, counts from 0 again. If its new count has
//! passed the last number when the next reply arrives, the number does not go back. A loss has a
//! direction only where this cannot have happened: a count that began after heartbeat *a* can be at
//! most *n* − *a* − 1 when it reaches heartbeat *n*, as each heartbeat takes one number. So a
//! number of *n* − *a* or more proves that the count continued. Below that, the count may have
//! begun again, and what was lost in between gets no direction. This concerns only gaps in which
//! more heartbeats were lost forward than the reflector had counted before.
//!
//! # Limits
//!
//! - The caller passes a heartbeat only when an answer to it is unlikely to arrive any more, so
//!   that a late answer is not taken for a loss.
//! - Heartbeats from another source port than the usual one are left out: to the reflector, they are
//!   another session.
//! - A request that the network duplicated takes two numbers. The second is known only if its reply
//!   arrived.

use crate::model::{Direction, Label};

/// The maximum number of stored numbers from further replies. A network that duplicates more than
/// this hides the directions anyway.
const MAX_COPIES: usize = 32;

/// Losses by [`Direction`].
type Losses = [u64; Direction::COUNT];

/// The attribution of losses for one session.
#[derive(Debug, Clone, Default)]
pub(super) struct Directions {
    reflector: Reflector,
    /// Numbers of further replies to heartbeats; above the anchor, if there is one.
    copies: Box<[u32]>,
}

/// What is known about the reflector.
#[derive(Debug, Clone, Default)]
enum Reflector {
    /// No heartbeat has been answered yet.
    #[default]
    Unknown,
    /// At least one heartbeat has been answered since the last known restart.
    Known { position: Position, numbering: Numbering },
}

/// How the reflector numbers its replies.
#[derive(Debug, Clone, Copy)]
enum Numbering {
    /// Every reply has repeated the number of its heartbeat: the reflector is stateless, or it is
    /// stateful and nothing was lost forward. `unproven` heartbeats were lost backward if it is
    /// stateful.
    Repeated { unproven: u32 },
    /// A number has differed from its heartbeat's: the reflector is stateful.
    Counted,
}

/// The position in the sequence of numbers.
#[derive(Debug, Clone, Copy)]
struct Position {
    /// The highest number in the replies so far, and the low 32 bits of its heartbeat's number.
    anchor: u32,
    heartbeat: u32,
    /// Heartbeats lost after the anchor's heartbeat.
    pending: u32,
    /// Newer heartbeats whose requests overtook the anchor's. They are not processed yet.
    overtaking: u32,
    /// Numbers below the anchor that no reply carried and no lost heartbeat explains. They may
    /// belong to requests that overtook the anchor and whose heartbeats are found lost later.
    spare: u32,
}

impl Directions {
    /// How many newer heartbeats [`answered`](Self::answered) examines: the largest extent of
    /// reordering that it recognises.
    pub(super) const EXTENT: u64 = 64;

    /// Handles a further reply to a heartbeat, with a `number` that differs from the first reply's.
    pub(super) fn copied(&mut self, number: u32) {
        let is_old = match self.reflector {
            Reflector::Unknown => false,
            Reflector::Known { position, .. } => steps(position.anchor, number) <= 0,
        };
        if is_old || self.copies.len() >= MAX_COPIES || self.copies.contains(&number) {
            return;
        }
        self.copies = self.copies.iter().copied().chain([number]).collect();
    }

    /// Handles the next heartbeat, which was lost.
    pub(super) fn lost(&mut self) {
        if let Reflector::Known { position, .. } = &mut self.reflector {
            position.pending = position.pending.saturating_add(1);
        }
    }

    /// Handles the next heartbeat, which was answered: `sequence` is its low 32 bits, `number` the
    /// number in its reply. `newer` yields the known numbers of replies to the following
    /// heartbeats. Returns the losses whose direction this shows.
    #[must_use]
    pub(super) fn answered(
        &mut self,
        sequence: u32,
        number: u32,
        newer: impl Iterator<Item = u32>,
    ) -> Losses {
        let nothing = [0; Direction::COUNT];
        let Reflector::Known { position, numbering } = &mut self.reflector else {
            self.reflector = Reflector::began(sequence, number);
            return nothing;
        };
        let step = steps(position.anchor, number);
        if step <= 0 && position.overtaking == 0 {
            self.reflector = Reflector::began(sequence, number);
            self.copies = Box::default();
            return nothing;
        }
        if step <= 0 {
            position.overtaking -= 1;
            return nothing;
        }

        if number < sequence.wrapping_sub(position.heartbeat) {
            // The count may have begun again. Its number shows that the reflector counts.
            let proven = match *numbering {
                Numbering::Repeated { unproven } => unproven,
                Numbering::Counted => 0,
            };
            self.reflector = Reflector::began(sequence, number);
            self.copies = Box::default();
            let mut losses = nothing;
            losses[Direction::Backward.index()] = proven.into();
            return losses;
        }
        let (forward, backward) = position.advance(sequence, number, newer, &self.copies);
        if !self.copies.is_empty() {
            self.copies = self.copies.iter().copied().filter(|&c| steps(number, c) > 0).collect();
        }
        let proven = match numbering {
            Numbering::Repeated { unproven } if number == sequence => {
                *unproven = unproven.saturating_add(backward);
                return nothing;
            }
            Numbering::Repeated { unproven } => *unproven,
            Numbering::Counted => 0,
        };
        *numbering = Numbering::Counted;
        let mut losses = nothing;
        losses[Direction::Forward.index()] = forward.into();
        losses[Direction::Backward.index()] = u64::from(backward) + u64::from(proven);
        losses
    }
}

impl Reflector {
    /// The state after the first known answer, or the first since a restart: heartbeat `sequence`
    /// was answered with `number`.
    fn began(sequence: u32, number: u32) -> Self {
        let position =
            Position { anchor: number, heartbeat: sequence, pending: 0, overtaking: 0, spare: 0 };
        let numbering = if number == sequence {
            Numbering::Repeated { unproven: 0 }
        } else {
            Numbering::Counted
        };
        Self::Known { position, numbering }
    }
}

impl Position {
    /// Moves the anchor up to `number`, the number in the reply to heartbeat `sequence`. Returns
    /// how many of the pending heartbeats were lost forward and backward.
    fn advance(
        &mut self,
        sequence: u32,
        number: u32,
        newer: impl Iterator<Item = u32>,
        copies: &[u32],
    ) -> (u32, u32) {
        let step = steps(self.anchor, number);
        let mut missing = step.unsigned_abs() - 1;
        if missing > 0 {
            let overtaking = self.overtaking_below(step, newer);
            self.overtaking += overtaking;
            let copies = copies.iter().filter(|&&copy| is_between(self.anchor, copy, step)).count();
            let copies = u32::try_from(copies).unwrap_or(u32::MAX);
            missing = missing.saturating_sub(overtaking.saturating_add(copies));
        }
        missing = missing.saturating_add(self.spare);
        let backward = self.pending.min(missing);
        let forward = std::mem::take(&mut self.pending) - backward;
        self.spare = if self.overtaking > 0 { missing - backward } else { 0 };
        (self.anchor, self.heartbeat) = (number, sequence);
        (forward, backward)
    }

    /// How many of the `newer` replies have a number between the anchor and `step` above it.
    fn overtaking_below(&self, step: i32, newer: impl Iterator<Item = u32>) -> u32 {
        let (mut found, mut expected) = (0, self.overtaking);
        for number in newer {
            if is_between(self.anchor, number, step) {
                found += 1;
            } else if steps(self.anchor, number) <= 0 {
                // A number at or below the anchor. If a request that overtook the anchor's is still
                // expected, this is its number. Otherwise the reflector has restarted, and this
                // number and all that follow belong to its new count.
                if expected == 0 {
                    break;
                }
                expected -= 1;
            }
        }
        found
    }
}

/// How far `number` is above `anchor`; numbers wrap.
const fn steps(anchor: u32, number: u32) -> i32 {
    number.wrapping_sub(anchor).cast_signed()
}

/// Whether `number` is above `anchor`, and less than `step` above it.
fn is_between(anchor: u32, number: u32, step: i32) -> bool {
    (1..step).contains(&steps(anchor, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The losses forward and backward of heartbeats from 0 on, given the number of each reply or
    /// [`LOST`].
    fn losses(replies: &[Option<u32>]) -> Losses {
        losses_with_copies(replies, &[])
    }

    fn losses_with_copies(replies: &[Option<u32>], copies: &[u32]) -> Losses {
        let mut directions = Directions::default();
        for &copy in copies {
            directions.copied(copy);
        }
        let steps = follow(&mut directions, replies);
        steps.iter().fold([0; 2], |sum, step| [sum[0] + step[0], sum[1] + step[1]])
    }

    /// The losses that each heartbeat adds.
    fn follow(directions: &mut Directions, replies: &[Option<u32>]) -> Vec<Losses> {
        let follow = |(place, reply): (usize, &Option<u32>)| {
            let Some(number) = *reply else {
                directions.lost();
                return [0; 2];
            };
            let newer = replies[place + 1..].iter().copied().flatten();
            directions.answered(u32::try_from(place).unwrap(), number, newer)
        };
        replies.iter().enumerate().map(follow).collect()
    }

    #[test]
    fn the_example_of_the_documentation_is_true() {
        let rows = include_str!("direction.rs").lines().filter_map(|line| {
            let row = line.strip_prefix("//! |")?;
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let [heartbeat, number, forward, backward, ..] = cells[..] else { unreachable!() };
            Some((heartbeat.parse::<usize>().ok()?, number, [forward, backward]))
        });
        let rows: Vec<_> = rows.collect();
        assert!(rows.len() > 10 && rows.iter().map(|row| row.0).eq(0..rows.len()));
        let replies: Vec<Option<u32>> = rows
            .iter()
            .map(|&(_, number, _)| (number != "lost").then(|| number.parse().unwrap()))
            .collect();
        let losses = follow(&mut Directions::default(), &replies);
        for ((heartbeat, _, cells), losses) in rows.into_iter().zip(losses) {
            let count = |cell: &str| if cell.is_empty() { 0 } else { cell.parse().unwrap() };
            assert_eq!(losses, cells.map(count), "heartbeat {heartbeat}");
        }
    }

    /// A lost heartbeat.
    const LOST: Option<u32> = None;

    #[test]
    fn consecutive_numbers_show_a_loss_forward_and_a_gap_shows_one_backward() {
        assert_eq!(losses(&[Some(0), Some(1), LOST, Some(2), LOST, Some(4)]), [1, 1]);
        assert_eq!(losses(&[Some(7), LOST, LOST, LOST, Some(9)]), [2, 1]);
    }

    #[test]
    fn losses_before_the_first_answer_and_after_the_last_have_no_direction() {
        assert_eq!(losses(&[LOST, Some(0), Some(1), LOST, Some(2), LOST, LOST]), [1, 0]);
    }

    #[test]
    fn a_reflector_that_repeats_the_heartbeats_numbers_shows_no_direction() {
        assert_eq!(losses(&[Some(0), LOST, Some(2), LOST, LOST, Some(5)]), [0, 0]);
    }

    #[test]
    fn once_a_number_differs_earlier_losses_have_a_direction_as_well() {
        assert_eq!(losses(&[Some(0), LOST, Some(2), LOST, LOST, Some(4), LOST, Some(6)]), [1, 3]);
    }

    #[test]
    fn losses_around_a_restart_of_the_reflector_have_no_direction() {
        // Its count was near 1,000 before the restart.
        assert_eq!(
            losses(&[Some(1000), LOST, Some(1001), LOST, Some(0), Some(1), LOST, Some(2)]),
            [2, 0]
        );
        // A repeated number shows a restart as well.
        assert_eq!(losses(&[Some(5), Some(6), LOST, Some(6), LOST, Some(8)]), [0, 1]);
        // A reflector that always sends the same number shows no direction.
        assert_eq!(losses(&[Some(0), LOST, Some(0), LOST, Some(0)]), [0, 0]);
    }

    #[test]
    fn a_loss_around_a_restart_that_the_numbers_hide_has_no_direction() {
        // The session is forgotten after heartbeat 0. Heartbeat 1 takes number 0, and its reply is
        // lost: without the restart, 1 would show that it was lost forward.
        assert_eq!(losses(&[Some(0), LOST, Some(1), Some(2)]), [0, 0]);
        // The count was at 2, and passes it during a long loss period.
        let lost = |count| std::iter::repeat_n(LOST, count);
        let around: Vec<_> =
            [Some(2)].into_iter().chain(lost(6)).chain([Some(6), Some(7)]).collect();
        assert_eq!(losses(&around), [0, 0]);
        // Number 7 of the eighth heartbeat needs eight requests after a restart, one too many.
        let proven: Vec<_> = [Some(2)].into_iter().chain(lost(6)).chain([Some(7)]).collect();
        assert_eq!(losses(&proven), [2, 4]);
        // A loss before the restart is still attributed, although its direction was not proven yet.
        assert_eq!(losses(&[Some(0), LOST, Some(2), LOST, LOST, LOST, Some(3)]), [0, 1]);
    }

    #[test]
    fn a_restart_among_the_newer_heartbeats_is_not_reordering() {
        // The missing 3 was lost backward; the later 3 belongs to another request.
        let replies = [Some(1), Some(2), LOST, Some(4), LOST, Some(0), Some(1), Some(2), Some(3)];
        assert_eq!(losses(&replies), [0, 1]);
    }

    #[test]
    fn requests_that_overtake_each_other_are_not_lost() {
        assert_eq!(losses(&[Some(9), Some(11), Some(10), Some(12)]), [0, 0]);
        assert_eq!(losses(&[Some(9), LOST, Some(11), Some(10), Some(12)]), [1, 0]);
        assert_eq!(losses(&[Some(9), LOST, Some(12), Some(11), Some(13)]), [0, 1]);
        assert_eq!(
            losses(&[Some(9), LOST, Some(11), Some(13), Some(10), Some(12), Some(14)]),
            [1, 0]
        );
        assert_eq!(
            losses(&[Some(9), Some(14), Some(12), LOST, Some(13), Some(11), Some(15)]),
            [0, 1]
        );
    }

    #[test]
    fn a_restart_after_the_last_overtaken_request_is_not_taken_for_reordering() {
        // Request 10 overtook request 11; 0 comes from the restarted reflector.
        let replies = [Some(9), Some(11), Some(10), Some(0), Some(1), LOST, Some(2)];
        assert_eq!(losses(&replies), [1, 0]);
        let replies = [Some(9), Some(12), Some(11), Some(10), Some(0), Some(1), LOST, Some(2)];
        assert_eq!(losses(&replies), [1, 0]);
    }

    #[test]
    fn a_duplicated_request_takes_two_numbers() {
        // The copy of heartbeat 0 took 6; heartbeat 1 never arrived.
        assert_eq!(losses_with_copies(&[Some(5), LOST, Some(7)], &[6, 6]), [1, 0]);
        assert_eq!(losses(&[Some(5), LOST, Some(7)]), [0, 1]);
    }

    #[test]
    fn copies_are_bounded_and_forgotten_once_they_are_old() {
        let mut directions = Directions::default();
        assert_eq!(directions.answered(0, 5, std::iter::empty()), [0, 0]);
        for number in 0..1000 {
            directions.copied(number);
        }
        assert_eq!(directions.copies.len(), MAX_COPIES);
        assert!(!directions.copies.contains(&5));
        assert_eq!(directions.answered(1, 1000, std::iter::empty()), [0, 0]);
        assert!(directions.copies.is_empty());
    }

    #[test]
    fn numbers_wrap() {
        let last = u32::MAX;
        assert_eq!(
            losses(&[Some(last - 1), LOST, Some(last), LOST, Some(2), LOST, Some(3)]),
            [2, 1]
        );
        // After a restart, the number of the fourth heartbeat could be 1 as well.
        assert_eq!(losses(&[Some(last - 1), LOST, Some(last), LOST, Some(1)]), [1, 0]);
    }

    #[test]
    fn numbers_beyond_the_heartbeats_sent_are_not_losses() {
        assert_eq!(losses(&[Some(9), LOST, Some(500), Some(501)]), [0, 1]);
    }
}
