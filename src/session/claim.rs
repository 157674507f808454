//! What a reply is to a target, before it is counted: whose it is when several targets share an
//! address.

use super::ledger::{Ledger, OutcomeKind, Sent};
use crate::wire::{Prober, Reply};

/// What a reply is to a target, before it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It answers no heartbeat that the target has sent and remembers.
    Foreign,
    /// It answers a heartbeat that has been answered already.
    Answered,
    /// It answers a heartbeat that has not been answered yet, in time or late.
    Awaiting,
}

impl Claim {
    /// What `reply` to heartbeat `sequence` is to the target with this prober and ledger.
    pub(super) fn of(reply: &Reply, sequence: u64, prober: &dyn Prober, ledger: &Ledger) -> Self {
        // The quote of a ping may end before the date, which `confirms` compares.
        let is_confirmed =
            |sent: Sent| !prober.is_identified_by_echo() || prober.confirms(reply, sent.at.wall);
        if !ledger.sent(sequence).is_ok_and(is_confirmed) {
            return Self::Foreign;
        }
        match ledger.outcome(sequence) {
            OutcomeKind::InFlight | OutcomeKind::Lost => Self::Awaiting,
            OutcomeKind::Received | OutcomeKind::Late => Self::Answered,
            OutcomeKind::Skipped | OutcomeKind::Unsent => Self::Foreign,
        }
    }
}

/// Whether `reply`, which came from another address than the target's, certainly answers heartbeat
/// `sequence`, which has no answer yet.
///
/// Here, [`Prober::confirms`] must be true for every protocol: the reply is complete, and nothing
/// but its contents shows whose it is.
pub(super) fn is_proven(
    reply: &Reply,
    sequence: u64,
    prober: &dyn Prober,
    ledger: &Ledger,
) -> bool {
    ledger.sent(sequence).is_ok_and(|sent| prober.confirms(reply, sent.at.wall))
        && match ledger.outcome(sequence) {
            OutcomeKind::InFlight => true,
            // With few bits, a forged reply often matches a remembered heartbeat.
            OutcomeKind::Lost => prober.sequence_bits() >= u32::BITS,
            OutcomeKind::Skipped
            | OutcomeKind::Unsent
            | OutcomeKind::Received
            | OutcomeKind::Late => false,
        }
}
