//! Why a target is down or loses heartbeats: one answer, computed from evidence, that page, JSON,
//! command line and log show alike.
//!
//! [`diagnose`] is pure. Only evidence about the present trouble counts: what came after the last
//! answer, or since the target came up, and not long ago. What is certain comes first: heartbeats
//! that do not leave, then what the network reports, then what the replies say, then the state of
//! the probe itself, then chance.

mod cause;
mod words;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Target;
use crate::model::{IcmpKind, InvalidReason, Label, State, UnsentReason, Wall};
use crate::session::{Last, Misses, Symptoms, odds};

pub use cause::Cause;

/// An ICMP error or an invalid reply explains nothing once it is older than this, or than ten
/// intervals where those take longer: routers limit how often they send ICMP errors.
const FRESH: Duration = Duration::from_secs(60);

/// How many intervals it may be old.
const FRESH_INTERVALS: u32 = 10;

/// A loss ratio is only known once this many heartbeats have been settled.
const ENOUGH: u32 = 20;

/// A target that is up and misses more than this is in trouble, as `HeartbeatTargetLossy` has it.
const LOSSY: f64 = 0.05;

/// Chance explains a run of misses that it brings about once in this many heartbeats or fewer.
const COMMON: f64 = 1000.0;

/// What is known of a target's trouble at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The moment.
    pub at: Wall,
    /// What its own figures say.
    pub symptoms: Symptoms,
    /// Where its heartbeats go; `None` while there is no address for it.
    pub endpoint: Option<SocketAddr>,
    /// Whether the last lookup of the name succeeded; always, for a literal address.
    pub resolved: bool,
    /// Whether the probe itself was late or dropped datagrams in the last minute.
    pub impaired: bool,
}

/// Why a target is in trouble, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// The cause, as a stable word.
    pub cause: Cause,
    /// The cause in one short sentence.
    pub summary: String,
    /// The facts that led to it, with figures.
    pub evidence: Vec<String>,
    /// What to do.
    pub advice: String,
}

/// Why the target is down, misses heartbeats before its first verdict, or is up and in trouble;
/// `None` where there is nothing to explain.
#[must_use]
pub fn diagnose(target: &Target, evidence: &Evidence) -> Option<Diagnosis> {
    let known = Case { target, evidence, symptoms: &evidence.symptoms };
    let cause = match known.symptoms.state {
        Some(State::Up) => known.trouble_of_one_up(),
        Some(State::Down) | None => known.trouble_of_one_not_up(),
    }?;
    Some(Diagnosis {
        cause,
        summary: known.summary(cause),
        evidence: known.facts(),
        advice: known.advice(cause),
    })
}

/// One target and what is known of it.
struct Case<'a> {
    target: &'a Target,
    evidence: &'a Evidence,
    symptoms: &'a Symptoms,
}

impl Case<'_> {
    fn trouble_of_one_not_up(&self) -> Option<Cause> {
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
            .or_else(|| self.icmp().map(|icmp| Cause::of_icmp(icmp.what)))
            .or_else(|| self.late().then_some(Cause::LateAnswers))
            .or_else(|| self.invalid().map(|invalid| Self::of_invalid(invalid.what)));
        Some(certain.unwrap_or_else(|| match () {
            () if !resolved => Cause::LookupFailed,
            () if impaired && self.is_short(misses) => Cause::ProbeImpaired,
            () if self.chance().is_some_and(|expected| expected <= COMMON) => Cause::RandomLoss,
            () => Cause::NoAnswer,
        }))
    }

    fn trouble_of_one_up(&self) -> Option<Cause> {
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
            // It is so late that its heartbeat is forgotten.
            InvalidReason::Expired => Cause::LateAnswers,
            InvalidReason::Malformed | InvalidReason::UnknownSequence | InvalidReason::Mismatch => {
                Cause::InvalidReplies
            }
        }
    }

    /// The ICMP error that explains the present trouble, if one does.
    fn icmp(&self) -> Option<Last<IcmpKind>> {
        self.symptoms.last_icmp.filter(|icmp| self.is_present(icmp.at) && self.is_fresh(icmp.at))
    }

    /// The invalid reply that explains the present trouble, if one does.
    fn invalid(&self) -> Option<Last<InvalidReason>> {
        let last = self.symptoms.last_invalid;
        last.filter(|invalid| self.is_present(invalid.at) && self.is_fresh(invalid.at))
    }

    /// Whether what came at `at` came after the trouble began.
    fn is_present(&self, at: Wall) -> bool {
        let Symptoms { state, changed, last_reply, .. } = *self.symptoms;
        let before = if state == Some(State::Up) { changed } else { last_reply };
        before.is_none_or(|before| before < at)
    }

    fn is_fresh(&self, at: Wall) -> bool {
        let limit = FRESH.max(self.target.interval.saturating_mul(FRESH_INTERVALS));
        self.age(at) <= limit
    }

    /// The time since `at`; zero where the clock was set back.
    fn age(&self, at: Wall) -> Duration {
        Duration::from_nanos(self.evidence.at.as_nanos().saturating_sub(at.as_nanos()))
    }

    /// Whether at least a third of the newest unanswered heartbeats were answered late: answers of
    /// the newest may still be on their way.
    fn late(&self) -> bool {
        let newest = self.symptoms.newest;
        newest.late > 0 && newest.late * 3 >= newest.lost + newest.late
    }

    /// Whether a probe that was late or dropped a few datagrams can explain such a run of misses.
    fn is_short(&self, misses: u64) -> bool {
        misses < 2 * u64::from(self.target.misses)
    }

    /// The share of heartbeats that is missed outside outages, where it is known.
    fn loss(&self) -> Option<f64> {
        let usual = self.symptoms.usual;
        usual.ratio().filter(|_| usual.settled >= ENOUGH)
    }

    /// After how many heartbeats, on average, loss of the usual ratio brings about such a run of
    /// misses as the present one.
    fn chance(&self) -> Option<f64> {
        self.loss()?;
        let Misses { missed, settled } = self.symptoms.typical;
        let misses = u32::try_from(self.symptoms.misses).unwrap_or(u32::MAX);
        // A run of all that were settled says nothing about chance.
        (missed < settled)
            .then(|| odds::expected(self.symptoms.typical.ratio().unwrap_or(0.0), misses))
    }
}

impl Serialize for Cause {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label())
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        let known = Self::ALL.iter().find(|cause| cause.label() == word);
        known.copied().ok_or_else(|| serde::de::Error::custom(format!("unknown cause {word:?}")))
    }
}
