//! Why a target is down or loses heartbeats: one diagnosis, computed from evidence and shown by the
//! page, JSON, the command line and the log.
//!
//! [`diagnose`] is a pure function. Only recent evidence from the current trouble counts: since the
//! last answer, or since the target came up. While a target is not up, the first of these explains
//! the misses: heartbeats that do not leave, answers from another address or ICMP errors (whichever
//! came last), late replies, invalid replies, a failed lookup, the state of the probe itself, chance.

mod cause;
mod lookup;
mod words;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use crate::config::{Address, DEFAULT_PORT, Target};
use crate::model::{IcmpKind, InvalidReason, Label, LookupFailure, State, UnsentReason, Wall};
use crate::session::{Last, Misses, Symptoms, odds};
use crate::wire::{Protocol, ROUTER_PORT};

pub use cause::Cause;
pub use lookup::lookup_failure;

/// An ICMP error or an invalid reply is evidence for this long, or for ten intervals if that is
/// longer, because routers limit the rate of ICMP errors.
const FRESH: Duration = Duration::from_secs(60);

/// The same limit in intervals.
const FRESH_INTERVALS: u32 = 10;

/// The minimum number of settled heartbeats for a loss ratio.
const ENOUGH: u32 = 20;

/// A target that is up is in trouble above this ratio of misses, as in the alert
/// `HeartbeatTargetLossy`.
const LOSSY: f64 = 0.05;

/// Chance explains a run of misses if random loss causes such a run at least once in this many
/// heartbeats on average.
const COMMON: f64 = 1000.0;

/// The evidence about a target's trouble at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The time of the evidence.
    pub at: Wall,
    /// The evidence from its session.
    pub symptoms: Symptoms,
    /// The address to which heartbeats go; `None` if the name is unresolved, or if no session
    /// number is free at its address.
    pub endpoint: Option<SocketAddr>,
    /// Whether the last lookup of the name succeeded; always true for a literal address.
    pub resolved: bool,
    /// Why it failed, if it did; `None` as well before it has ended.
    pub lookup_failure: Option<LookupFailure>,
    /// Whether the probe itself was late or dropped datagrams in the last minute.
    pub impaired: bool,
}

/// Why a target is in trouble, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The cause, as a stable word.
    pub cause: Cause,
    /// The cause in one short sentence.
    pub summary: String,
    /// The facts behind it, with figures.
    pub evidence: Vec<String>,
    /// What to do.
    pub advice: String,
}

/// Explains why a target is down, misses heartbeats before its first verdict, or is up and in
/// trouble; `None` if there is nothing to explain.
#[must_use]
pub fn diagnose(target: &Target, evidence: &Evidence) -> Option<Diagnosis> {
    let known = Case { target, evidence, symptoms: &evidence.symptoms };
    let cause = match known.symptoms.state {
        Some(State::Up) => known.cause_while_up(),
        Some(State::Down) | None => known.cause_while_not_up(),
    }?;
    Some(Diagnosis {
        cause,
        summary: known.summary(cause),
        evidence: known.facts(),
        advice: known.advice(cause),
    })
}

/// One target with the evidence about it.
struct Case<'a> {
    target: &'a Target,
    evidence: &'a Evidence,
    symptoms: &'a Symptoms,
}

/// Where a router would answer heartbeats to this target: STAMP routers listen on UDP port 862.
/// `None` if the target does not speak STAMP, or its port is not the default port, on which
/// `heartbeat-responder` listens.
#[must_use]
pub fn router_address(target: &Target) -> Option<Address> {
    let is_default =
        target.protocol.protocol() == Protocol::Stamp && target.address.port == DEFAULT_PORT;
    is_default.then(|| Address { port: ROUTER_PORT, ..target.address.clone() })
}

impl Case<'_> {
    /// Where to look for a router; `None` if the target has been answered at the default port.
    fn router(&self) -> Option<Address> {
        router_address(self.target).filter(|_| self.symptoms.last_reply.is_none())
    }

    fn cause_while_not_up(&self) -> Option<Cause> {
        let Evidence { endpoint, resolved, impaired, .. } = *self.evidence;
        let Symptoms { state, misses, newest, .. } = *self.symptoms;
        if endpoint.is_none() {
            return Some(if resolved { Cause::AddressShared } else { Cause::Unresolved });
        }
        if misses == 0 {
            return (state == Some(State::Down)).then_some(Cause::Recovering);
        }
        let certain = newest
            .newest_unsent
            .and_then(Cause::of_unsent)
            .or_else(|| self.returned())
            .or_else(|| self.late().then_some(Cause::LateAnswers))
            .or_else(|| self.invalid().map(|invalid| Self::of_invalid(invalid.what)));
        Some(certain.unwrap_or_else(|| match () {
            () if !resolved => Cause::LookupFailed,
            () if impaired && self.is_short(misses) => Cause::ProbeImpaired,
            () if self.chance().is_some_and(|expected| expected <= COMMON) => Cause::RandomLoss,
            () => Cause::NoAnswer,
        }))
    }

    fn cause_while_up(&self) -> Option<Cause> {
        let Evidence { resolved, impaired, .. } = *self.evidence;
        let Symptoms { newest, .. } = *self.symptoms;
        if self.loss().is_some_and(|loss| loss > LOSSY) {
            let unsent = newest.unsent_misses();
            if unsent > 0 && unsent >= newest.lost + newest.late {
                let most = UnsentReason::ALL.iter().filter_map(|&reason| {
                    Some((newest.unsent[reason.index()], Cause::of_unsent(reason)?))
                });
                if let Some((1.., cause)) = most.max_by_key(|(count, _)| *count) {
                    return Some(cause);
                }
            }
            return Some(match () {
                () if self.late() => Cause::LateAnswers,
                () if impaired => Cause::ProbeImpaired,
                () => Cause::Lossy,
            });
        }
        (!resolved).then_some(Cause::LookupFailed)
    }

    fn of_invalid(reason: InvalidReason) -> Cause {
        match reason {
            InvalidReason::Unauthenticated => Cause::Unauthenticated,
            // The reply is so late that its heartbeat is forgotten.
            InvalidReason::Expired => Cause::LateAnswers,
            InvalidReason::Malformed | InvalidReason::UnknownSequence | InvalidReason::Mismatch => {
                Cause::InvalidReplies
            }
        }
    }

    /// What comes back instead of an answer, if anything does: an answer from another address, or an
    /// ICMP error. The newer one counts.
    fn returned(&self) -> Option<Cause> {
        let other = self.other_source().map(|last| (last.at, Cause::OtherSource));
        let icmp = self.icmp().map(|last| (last.at, Cause::of_icmp(last.what)));
        other.into_iter().chain(icmp).max_by_key(|&(at, _)| at).map(|(_, cause)| cause)
    }

    /// The answer from another address that explains the current trouble, if any.
    fn other_source(&self) -> Option<Last<SocketAddr>> {
        let last = self.symptoms.last_other_source;
        last.filter(|last| self.is_present(last.at) && self.is_fresh(last.at))
    }

    /// The ICMP error that explains the current trouble, if any.
    fn icmp(&self) -> Option<Last<IcmpKind>> {
        self.symptoms.last_icmp.filter(|icmp| self.is_present(icmp.at) && self.is_fresh(icmp.at))
    }

    /// The invalid reply that explains the current trouble, if any.
    fn invalid(&self) -> Option<Last<InvalidReason>> {
        let last = self.symptoms.last_invalid;
        last.filter(|invalid| self.is_present(invalid.at) && self.is_fresh(invalid.at))
    }

    /// Whether an event at `at` belongs to the current trouble: it is newer than the last answer,
    /// or than the change to up.
    fn is_present(&self, at: Wall) -> bool {
        let Symptoms { state, changed, last_reply, .. } = *self.symptoms;
        let before = if state == Some(State::Up) { changed } else { last_reply };
        before.is_none_or(|before| before < at)
    }

    fn is_fresh(&self, at: Wall) -> bool {
        let limit = FRESH.max(self.target.interval.saturating_mul(FRESH_INTERVALS));
        self.age(at) <= limit
    }

    /// The time since `at`; zero if the clock was set back.
    fn age(&self, at: Wall) -> Duration {
        Duration::from_nanos(self.evidence.at.as_nanos().saturating_sub(at.as_nanos()))
    }

    /// Whether at least a third of the newest heartbeats without an answer in time were answered
    /// late. A third is enough, as late answers to the newest may still arrive.
    fn late(&self) -> bool {
        let newest = self.symptoms.newest;
        newest.late > 0 && newest.late * 3 >= newest.lost + newest.late
    }

    /// Whether a run of misses is short enough to be caused by a probe that was late or dropped
    /// datagrams.
    fn is_short(&self, misses: u64) -> bool {
        misses < 2 * u64::from(self.target.misses)
    }

    /// The usual ratio of misses, if enough heartbeats were settled.
    fn loss(&self) -> Option<f64> {
        let usual = self.symptoms.usual;
        usual.ratio().filter(|_| usual.settled >= ENOUGH)
    }

    /// The mean number of heartbeats until random loss at the typical ratio causes a run as long as
    /// the current one.
    fn chance(&self) -> Option<f64> {
        self.loss()?;
        let Misses { missed, settled } = self.symptoms.typical;
        let misses = u32::try_from(self.symptoms.misses).unwrap_or(u32::MAX);
        // If all settled heartbeats were missed, chance explains nothing.
        (missed < settled)
            .then(|| odds::expected(self.symptoms.typical.ratio().unwrap_or(0.0), misses))
    }
}
