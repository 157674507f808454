//! What is wanted of all targets, gathered some at a time: requests enter, whole answers leave.
//!
//! A worker gathers a few in each of its rounds, so that no request holds up a heartbeat. It goes by
//! slots, which targets keep while others come and go: a target that is there all the while is
//! gathered exactly once.

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// Who wants an `Answer` about all targets, and the items of it gathered so far for the first.
#[derive(Debug)]
pub(super) struct Gathering<Item, Answer> {
    wanted: VecDeque<oneshot::Sender<Answer>>,
    gathered: Vec<Item>,
    /// The first slot that has not been looked at for them.
    next: usize,
    /// Whether those are for somebody who has left.
    stale: bool,
}

impl<Item, Answer> Default for Gathering<Item, Answer> {
    fn default() -> Self {
        Self { wanted: VecDeque::new(), gathered: Vec::new(), next: 0, stale: false }
    }
}

impl<Item, Answer> Gathering<Item, Answer> {
    /// Somebody wants an answer.
    pub(super) fn ask(&mut self, to: oneshot::Sender<Answer>) {
        self.wanted.push_back(to);
    }

    /// Whether there is something to do for [`gather`](Self::gather).
    pub(super) fn is_under_way(&self) -> bool {
        !self.wanted.is_empty() || self.stale
    }

    /// Looks at most at `most` more of all `slots`, from the first to the last, for the first who
    /// waits, and gathers what `item` gives for each; gives all to `answer` and sends it once it has
    /// them.
    ///
    /// Nothing is gathered for who has left: else those whose patience ends under load would be
    /// the load of all who come after them.
    pub(super) fn gather(
        &mut self,
        slots: usize,
        most: usize,
        item: impl FnMut(usize) -> Option<Item>,
        answer: impl FnOnce(Vec<Item>) -> Answer,
    ) {
        while self.wanted.front().is_some_and(oneshot::Sender::is_closed) {
            self.wanted.pop_front();
            self.stale = true;
        }
        if self.stale {
            // Whoever is next wants them as they stand after the request. To let many go takes as
            // long as to gather them.
            let kept = self.gathered.len().saturating_sub(most);
            self.gathered.truncate(kept);
            if kept > 0 {
                return;
            }
            self.gathered = Vec::new();
            self.next = 0;
            self.stale = false;
        }
        if self.wanted.is_empty() {
            return;
        }
        if self.next == 0 {
            self.gathered.reserve_exact(slots);
        }
        let end = self.next.saturating_add(most).min(slots);
        self.gathered.extend((self.next..end).filter_map(item));
        self.next = end;
        if end == slots
            && let Some(to) = self.wanted.pop_front()
        {
            self.next = 0;
            // Whoever asked may leave at any time.
            let _ = to.send(answer(std::mem::take(&mut self.gathered)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Numbers = Gathering<usize, Vec<usize>>;

    fn gather(numbers: &mut Numbers, from: usize) -> usize {
        let mut gathered = 0;
        let count = |n| {
            gathered += 1;
            Some(from + n)
        };
        numbers.gather(5, 2, count, |all| all);
        gathered
    }

    fn asked(numbers: &mut Numbers) -> oneshot::Receiver<Vec<usize>> {
        let (to, answer) = oneshot::channel();
        numbers.ask(to);
        answer
    }

    #[test]
    fn all_who_ask_are_answered_in_turn_a_little_at_a_time() {
        let mut numbers = Numbers::default();
        assert_eq!(gather(&mut numbers, 0), 0);
        let mut answers = [asked(&mut numbers), asked(&mut numbers)];
        for (from, answer) in [0, 10].into_iter().zip(&mut answers) {
            assert!(numbers.is_under_way());
            for gathered in [2, 2, 1] {
                assert!(answer.try_recv().is_err());
                assert_eq!(gather(&mut numbers, from), gathered);
            }
            assert_eq!(answer.try_recv().unwrap(), (from..from + 5).collect::<Vec<_>>());
        }
        assert!(!numbers.is_under_way());
        assert_eq!(gather(&mut numbers, 0), 0);
    }

    #[test]
    fn nothing_is_gathered_for_who_has_left() {
        let mut numbers = Numbers::default();
        let gone = asked(&mut numbers);
        let others: Vec<_> = (0..1000).map(|_| asked(&mut numbers)).collect();
        let mut last = asked(&mut numbers);
        assert_eq!([gather(&mut numbers, 0), gather(&mut numbers, 0)], [2, 2]);
        drop((gone, others));
        // What was gathered before the last one's turn is not for it, and goes little by little.
        for gathered in [0, 2, 2, 1] {
            assert_eq!(gather(&mut numbers, 10), gathered);
        }
        assert_eq!(last.try_recv().unwrap(), [10, 11, 12, 13, 14]);
        let leaving = asked(&mut numbers);
        assert_eq!(gather(&mut numbers, 0), 2);
        drop(leaving);
        assert!(numbers.is_under_way());
        assert_eq!(gather(&mut numbers, 0), 0);
        assert!(!numbers.is_under_way());
    }

    #[test]
    fn slots_without_a_target_are_passed_over_and_new_slots_are_looked_at() {
        let mut numbers = Numbers::default();
        let mut answer = asked(&mut numbers);
        let odd = |n: usize| (n % 2 == 1).then_some(n);
        numbers.gather(4, 2, odd, |all| all);
        assert!(answer.try_recv().is_err());
        // Another slot came to be used meanwhile.
        numbers.gather(6, 2, odd, |all| all);
        assert!(answer.try_recv().is_err());
        numbers.gather(6, 2, odd, |all| all);
        assert_eq!(answer.try_recv().unwrap(), [1, 3, 5]);
    }

    #[test]
    fn without_targets_the_answer_is_at_hand() {
        let mut numbers = Numbers::default();
        let mut answer = asked(&mut numbers);
        numbers.gather(0, 2, |_| None, |all| all);
        assert!(answer.try_recv().unwrap().is_empty());
    }
}
