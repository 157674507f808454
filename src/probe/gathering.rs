//! Answers requests about all targets, gathering some targets at a time.
//!
//! A worker gathers a few targets in each round, so that no request delays a heartbeat. It goes
//! through the slots, which targets keep while others come and go: a target that is present
//! throughout is gathered exactly once.

use std::collections::VecDeque;

use tokio::sync::oneshot;

/// Requests for an `Answer` about all targets, and the items gathered so far for the first one.
#[derive(Debug)]
pub(super) struct Gathering<Item, Answer> {
    wanted: VecDeque<oneshot::Sender<Answer>>,
    gathered: Vec<Item>,
    /// The first slot that has not been visited for them.
    next: usize,
    /// Whether they belong to a request whose client is gone.
    stale: bool,
}

impl<Item, Answer> Default for Gathering<Item, Answer> {
    fn default() -> Self {
        Self { wanted: VecDeque::new(), gathered: Vec::new(), next: 0, stale: false }
    }
}

impl<Item, Answer> Gathering<Item, Answer> {
    /// Adds a request.
    pub(super) fn ask(&mut self, to: oneshot::Sender<Answer>) {
        self.wanted.push_back(to);
    }

    /// Whether [`gather`](Self::gather) has work to do.
    pub(super) fn is_under_way(&self) -> bool {
        !self.wanted.is_empty() || self.stale
    }

    /// Visits at most `most` more of all `slots`, in order, for the first request, and gathers what
    /// `item` returns for each. After the last slot, sends the `answer` of all items.
    ///
    /// Skips requests whose client is gone, so that timed-out scrapes do not slow later ones.
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
            // The next request needs items from after its arrival. Dropping many items takes as
            // long as gathering them, so they are dropped some at a time as well.
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
            // The client may be gone.
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
    fn requests_are_answered_in_turn_some_items_at_a_time() {
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
    fn requests_whose_client_is_gone_are_skipped() {
        let mut numbers = Numbers::default();
        let gone = asked(&mut numbers);
        let others: Vec<_> = (0..1000).map(|_| asked(&mut numbers)).collect();
        let mut last = asked(&mut numbers);
        assert_eq!([gather(&mut numbers, 0), gather(&mut numbers, 0)], [2, 2]);
        drop((gone, others));
        // Items that were gathered for another request are dropped some at a time.
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
    fn free_slots_are_skipped_and_new_slots_are_visited() {
        let mut numbers = Numbers::default();
        let mut answer = asked(&mut numbers);
        let odd = |n: usize| (n % 2 == 1).then_some(n);
        numbers.gather(4, 2, odd, |all| all);
        assert!(answer.try_recv().is_err());
        // Two more slots came into use meanwhile.
        numbers.gather(6, 2, odd, |all| all);
        assert!(answer.try_recv().is_err());
        numbers.gather(6, 2, odd, |all| all);
        assert_eq!(answer.try_recv().unwrap(), [1, 3, 5]);
    }

    #[test]
    fn without_targets_the_answer_comes_at_once() {
        let mut numbers = Numbers::default();
        let mut answer = asked(&mut numbers);
        numbers.gather(0, 2, |_| None, |all| all);
        assert!(answer.try_recv().unwrap().is_empty());
    }
}
