//! On which way heartbeats were lost: what became of each enters, in the order of their numbers;
//! counts of those lost forward and backward leave.
//!
//! A stateful reflector numbers its replies itself (RFC 8762 section 4.3.1). Between two answered
//! heartbeats it counts the requests that came to it, so that of the heartbeats lost between them,
//! as many were lost on the way back as it has numbers there that no reply has brought; the others
//! never came to it.
//!
//! - Heartbeats are looked at once they can hardly be answered any more, which is for the caller to
//!   say: an answer that is only late was lost on neither way.
//! - A reflector that keeps no state repeats the heartbeats' own numbers, and so does one that
//!   keeps state, until something is lost on the way to it. Nothing is told before a number differs
//!   from its heartbeat's; what would have been told until then is told at that moment.
//! - A number that goes back, where no request has overtaken another, is of a reflector that has
//!   begun anew: nothing is told of what was lost around that.
//! - A request that the network duplicated took two numbers; the second is known where its reply
//!   came.
//!
//! What is lost behind the last answer belongs to neither way, until another answer comes.

use crate::model::{Direction, Label};

/// Numbers of further replies that are kept at most: more are of a network that duplicates so
/// much that the directions are not told anyway.
const MAX_COPIES: usize = 32;

/// What is known of the reflector's numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Directions {
    /// The number of the reply to the newest answered heartbeat that nothing overtook.
    anchor: Option<u32>,
    /// Heartbeats lost since that one.
    pending: u32,
    /// Heartbeats, newer than that one, whose requests have overtaken it and are still to come.
    overtaking: u32,
    /// Numbers below the anchor that no reply has brought and no lost heartbeat accounts for: it
    /// may have overtaken the anchor, too.
    spare: u32,
    /// Whether a number has differed from its heartbeat's since the reflector began.
    is_stateful: bool,
    /// What is lost backward if the reflector turns out to be stateful.
    unproven: u32,
    /// Numbers of further replies to heartbeats, above the anchor.
    copies: Box<[u32]>,
}

impl Directions {
    /// How many newer heartbeats are to be shown to [`answered`](Self::answered): the extent of
    /// reordering that is seen through.
    pub(super) const EXTENT: u64 = 64;

    /// A further reply to a heartbeat carries `number`, and the first did not.
    pub(super) fn copied(&mut self, number: u32) {
        let is_old = self.anchor.is_some_and(|anchor| steps(anchor, number) <= 0);
        if is_old || self.copies.len() >= MAX_COPIES || self.copies.contains(&number) {
            return;
        }
        self.copies = self.copies.iter().copied().chain([number]).collect();
    }

    /// The next heartbeat was lost.
    pub(super) fn lost(&mut self) {
        self.pending = self.pending.saturating_add(1);
    }

    /// The next heartbeat, `sequence` (its low 32 bits), was answered by the reply with `number`;
    /// `newer` gives the numbers of the replies to the heartbeats that follow, as far as they are
    /// known. Gives how many were lost, by [`Direction`], that had not been told of.
    #[must_use]
    pub(super) fn answered(
        &mut self,
        sequence: u32,
        number: u32,
        newer: impl Iterator<Item = u32>,
    ) -> [u64; Direction::COUNT] {
        let nothing = [0; Direction::COUNT];
        let Some(anchor) = self.anchor else {
            let copies = std::mem::take(&mut self.copies);
            self.begin(sequence, number);
            self.copies = copies;
            return nothing;
        };
        let step = steps(anchor, number);
        if step <= 0 {
            if self.overtaking == 0 {
                self.begin(sequence, number);
            } else {
                self.overtaking -= 1;
            }
            return nothing;
        }

        let mut unseen = step.unsigned_abs() - 1;
        if unseen > 0 {
            let overtaking = self.overtaking_of(anchor, step, newer);
            self.overtaking += overtaking;
            let copies = self.copies.iter().filter(|&&copy| is_between(anchor, copy, step)).count();
            let copies = u32::try_from(copies).unwrap_or(u32::MAX);
            unseen = unseen.saturating_sub(overtaking.saturating_add(copies));
        }
        unseen = unseen.saturating_add(self.spare);
        let backward = self.pending.min(unseen);
        let forward = std::mem::take(&mut self.pending) - backward;
        self.spare = if self.overtaking > 0 { unseen - backward } else { 0 };
        self.anchor = Some(number);
        if !self.copies.is_empty() {
            self.copies = self.copies.iter().copied().filter(|&c| steps(number, c) > 0).collect();
        }

        self.is_stateful |= number != sequence;
        if !self.is_stateful {
            self.unproven = self.unproven.saturating_add(backward);
            return nothing;
        }
        let mut told = nothing;
        told[Direction::Forward.index()] = forward.into();
        told[Direction::Backward.index()] =
            u64::from(backward) + u64::from(std::mem::take(&mut self.unproven));
        told
    }

    /// The reflector's count begins with this, as far as is known.
    fn begin(&mut self, sequence: u32, number: u32) {
        *self = Self { anchor: Some(number), is_stateful: number != sequence, ..Self::default() };
    }

    /// How many of the `newer` replies have a number between the anchor and `step` above it.
    fn overtaking_of(&self, anchor: u32, step: i32, newer: impl Iterator<Item = u32>) -> u32 {
        let (mut found, mut expected) = (0, self.overtaking);
        for number in newer {
            if is_between(anchor, number, step) {
                found += 1;
            } else if steps(anchor, number) <= 0 {
                // One that is known to come, or the reflector began anew: what follows is of that.
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

    /// Looks at heartbeats from 0 on: the number of each one's reply, or that it was lost; gives
    /// those lost forward and backward.
    fn told(replies: &[Option<u32>]) -> [u64; 2] {
        told_with_copies(replies, &[])
    }

    fn told_with_copies(replies: &[Option<u32>], copies: &[u32]) -> [u64; 2] {
        let mut directions = Directions::default();
        let mut told = [0; 2];
        for &copy in copies {
            directions.copied(copy);
        }
        for (place, reply) in replies.iter().enumerate() {
            let sequence = u32::try_from(place).unwrap();
            match *reply {
                None => directions.lost(),
                Some(number) => {
                    let newer = replies[place + 1..].iter().copied().flatten();
                    let newly = directions.answered(sequence, number, newer);
                    told = [told[0] + newly[0], told[1] + newly[1]];
                }
            }
        }
        told
    }

    /// A reply is lost.
    const LOST: Option<u32> = None;

    #[test]
    fn numbers_that_go_on_are_of_a_loss_forward_and_numbers_that_jump_of_one_backward() {
        assert_eq!(told(&[Some(0), LOST, Some(1), LOST, Some(3)]), [1, 1]);
        assert_eq!(told(&[Some(7), LOST, LOST, LOST, Some(9)]), [2, 1]);
    }

    #[test]
    fn what_is_lost_before_the_first_answer_and_after_the_last_is_not_told() {
        assert_eq!(told(&[LOST, Some(0), LOST, Some(1), LOST, LOST]), [1, 0]);
    }

    #[test]
    fn a_reflector_that_repeats_the_heartbeats_numbers_tells_nothing() {
        assert_eq!(told(&[Some(0), LOST, Some(2), LOST, LOST, Some(5)]), [0, 0]);
    }

    #[test]
    fn once_a_number_differs_what_was_lost_before_is_told_as_well() {
        assert_eq!(told(&[Some(0), LOST, Some(2), LOST, LOST, Some(4), LOST, Some(6)]), [1, 3]);
    }

    #[test]
    fn a_reflector_that_begins_anew_is_told_nothing_of() {
        // It was at 1,000 before it was started again.
        assert_eq!(
            told(&[Some(1000), LOST, Some(1001), LOST, LOST, Some(0), LOST, Some(1)]),
            [2, 0]
        );
        // At 1: the same number again is another's.
        assert_eq!(told(&[Some(5), Some(6), LOST, Some(6), LOST, Some(8)]), [0, 1]);
        // And one that sends the same number for ever tells nothing at all.
        assert_eq!(told(&[Some(0), LOST, Some(0), LOST, Some(0)]), [0, 0]);
    }

    #[test]
    fn a_reflector_that_begins_anew_within_what_is_looked_at_is_no_reordering() {
        // The 3 that no reply brought was lost on the way back; the later 3 is another one.
        let replies = [Some(1), Some(2), LOST, Some(4), LOST, Some(0), Some(1), Some(2), Some(3)];
        assert_eq!(told(&replies), [0, 1]);
    }

    #[test]
    fn requests_that_overtake_each_other_are_not_lost() {
        assert_eq!(told(&[Some(9), Some(11), Some(10), Some(12)]), [0, 0]);
        assert_eq!(told(&[Some(9), LOST, Some(11), Some(10), Some(12)]), [1, 0]);
        assert_eq!(told(&[Some(9), LOST, Some(12), Some(11), Some(13)]), [0, 1]);
        assert_eq!(
            told(&[Some(9), LOST, Some(11), Some(13), Some(10), Some(12), Some(14)]),
            [1, 0]
        );
        assert_eq!(
            told(&[Some(9), Some(14), Some(12), LOST, Some(13), Some(11), Some(15)]),
            [0, 1]
        );
    }

    #[test]
    fn a_request_that_came_twice_took_two_numbers() {
        // The copy of heartbeat 0 took 6; heartbeat 1 never came.
        assert_eq!(told_with_copies(&[Some(5), LOST, Some(7)], &[6, 6]), [1, 0]);
        assert_eq!(told(&[Some(5), LOST, Some(7)]), [0, 1]);
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
        assert_eq!(told(&[Some(last - 1), LOST, Some(last), LOST, Some(1), LOST, Some(2)]), [2, 1]);
    }

    #[test]
    fn more_numbers_than_heartbeats_are_no_losses() {
        assert_eq!(told(&[Some(9), LOST, Some(500), Some(501)]), [0, 1]);
    }
}
