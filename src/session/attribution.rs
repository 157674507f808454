//! Attributes the losses of a session to a direction, once their outcome is final.

use super::direction::Directions;
use super::ledger::{Answer, Ledger, OutcomeKind};
use super::record::Record;

/// The reflector's numbers of a session, and the losses that have been attributed.
#[derive(Debug, Default)]
pub(super) struct Attribution {
    directions: Directions,
    /// Losses before this heartbeat have been attributed.
    attributed: u64,
    /// Whether a reply has carried a reflector's number.
    has_numbers: bool,
}

impl Attribution {
    /// Keeps the reflector's number from a reply to heartbeat `sequence`.
    pub(super) fn remember(
        &mut self,
        sequence: u64,
        number: Option<u32>,
        answer: Answer,
        ledger: &mut Ledger,
    ) {
        let Some(number) = number else { return };
        self.has_numbers = true;
        if answer != Answer::Duplicate {
            ledger.remember_number(sequence, number);
        } else if ledger.number(sequence).is_some_and(|first| first != number) {
            self.directions.copied(number);
        }
    }

    /// Attributes the losses before the first heartbeat whose outcome is not final.
    #[expect(clippy::cast_possible_truncation, reason = "the wire carries the low 32 bits")]
    pub(super) fn attribute(
        &mut self,
        ledger: &Ledger,
        record: &mut Record,
        is_final: impl Fn(u64) -> bool,
    ) {
        if !self.has_numbers {
            return;
        }
        let Self { directions, attributed, .. } = self;
        *attributed = (*attributed).max(ledger.first_remembered());
        while is_final(*attributed) {
            let sequence = *attributed;
            *attributed += 1;
            if ledger.is_detoured(sequence) {
                continue;
            }
            if let Some(number) = ledger.number(sequence) {
                let newer = *attributed..ledger.next().min(*attributed + Directions::EXTENT);
                let newer = newer.filter_map(|newer| ledger.number(newer));
                let losses = directions.answered(sequence as u32, number, newer);
                for (lost, more) in record.one_way_lost.iter_mut().zip(losses) {
                    *lost += more;
                }
            } else if ledger.outcome(sequence) == OutcomeKind::Lost {
                directions.lost();
            }
        }
    }

    /// The reflector counts heartbeats anew from now on. Losses that have no direction yet stay without
    /// one.
    pub(super) fn begin_anew(&mut self) {
        self.directions = Directions::default();
    }
}
