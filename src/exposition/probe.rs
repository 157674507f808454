//! The probe's `/metrics`: writes a [`ProbeSample`] in the Prometheus text format 0.0.4.

use std::collections::BTreeSet;
use std::{io, iter};

use super::catalogue::{self, Family};
use super::family::{FamilyWriter, Series, Value, seconds, signed_seconds, truth, unix_seconds};
use crate::model::{
    Direction, IcmpKind, InvalidReason, Label, StampSource, State, UnmatchedReason, UnsentReason,
    ip_version,
};
use crate::observe::{ProbeSample, TargetSample};

/// Writes the metrics of the probe, its targets and this process.
///
/// # Errors
/// Those of `out`.
pub fn encode_probe(sample: &ProbeSample, out: impl io::Write) -> io::Result<()> {
    let mut families = FamilyWriter::new(out);
    per_target(sample, &mut families)?;
    probe(sample, &mut families)?;
    families.finish()
}

/// The families of [`catalogue::PER_TARGET`].
fn per_target(sample: &ProbeSample, families: &mut FamilyWriter<impl io::Write>) -> io::Result<()> {
    let mut out = PerTarget { sample, families };
    out.some(&catalogue::UP, |t| t.session.state.map(|state| truth(state == State::Up)))?;
    out.all(&catalogue::RTT, |t| Value::Histogram(&t.session.record.rtt, seconds))?;
    out.all(&catalogue::SENT, |t| t.session.record.sent)?;
    out.all(&catalogue::RECEIVED, |t| t.session.record.received)?;
    out.results()?;
    out.all(&catalogue::LOST, |t| t.session.record.lost)?;
    out.all(&catalogue::IN_FLIGHT, |t| t.session.in_flight)?;
    out.by::<UnsentReason>(&catalogue::UNSENT, |t| &t.session.record.unsent)?;
    out.all(&catalogue::LATE, |t| t.session.record.late)?;
    out.all(&catalogue::DUPLICATES, |t| t.session.record.duplicates)?;
    out.all(&catalogue::REORDERED, |t| t.session.record.reordered)?;
    out.by::<Direction>(&catalogue::ONE_WAY_LOST, |t| &t.session.record.one_way_lost)?;
    out.by::<InvalidReason>(&catalogue::INVALID_REPLIES, |t| &t.session.record.invalid)?;
    out.all(&catalogue::OTHER_SOURCE_REPLIES, |t| t.session.record.other_source_replies)?;
    out.all(&catalogue::CONSECUTIVE_MISSES, |t| t.session.consecutive_misses)?;
    out.by::<State>(&catalogue::STATE_CHANGES, |t| &t.session.record.state_changes)?;
    out.some(&catalogue::STATE_CHANGE_TIMESTAMP, |t| t.session.state_changed.map(unix_seconds))?;
    out.some(&catalogue::LAST_REPLY_TIMESTAMP, |t| t.session.record.last_reply.map(unix_seconds))?;
    out.all(&catalogue::DOWN_SECONDS, |t| t.session.down.as_secs_f64())?;
    out.all(&catalogue::LOSS_BURST_LENGTH, |t| {
        Value::Histogram(&t.session.record.loss_bursts, |length| length as f64)
    })?;
    out.by::<IcmpKind>(&catalogue::ICMP_ERRORS, |t| &t.session.record.icmp_errors)?;
    out.some(&catalogue::TIME_DIFFERENCE, |t| {
        t.session.record.time_difference.map(signed_seconds)
    })?;
    out.all(&catalogue::TURNAROUND, |t| Value::Summary(&t.session.record.turnaround))?;
    out.all(&catalogue::TURNAROUND_INVALID, |t| t.session.record.turnaround_invalid)?;
    out.all(&catalogue::IPDV, |t| Value::Summary(&t.session.record.ipdv))?;
    out.some(&catalogue::REPLY_TTL, |t| t.session.record.reply_ttl.map(f64::from))?;
    out.all(&catalogue::RESOLVED, |t| truth(t.resolved))?;
    out.lookup_failures()?;
    out.all(&catalogue::ADDRESS_CHANGES, |t| t.address_changes)?;
    out.info()?;
    out.endpoint_info()?;
    out.all(&catalogue::TARGET_INTERVAL, |t| t.target.interval.as_secs_f64())?;
    out.all(&catalogue::TARGET_TIMEOUT, |t| t.target.timeout.as_secs_f64())?;
    out.all(&catalogue::TARGET_MISSES, |t| u64::from(t.target.misses))
}

/// The families of [`catalogue::PROBE`].
fn probe(sample: &ProbeSample, families: &mut FamilyWriter<impl io::Write>) -> io::Result<()> {
    let mut out = Own { families };
    out.one(&catalogue::SCHEDULE_LAG, Value::Histogram(&sample.schedule_lag, seconds))?;
    out.one(&catalogue::RECEIVE_DROPS, sample.receive_drops)?;
    out.one(&catalogue::FRESH_PORTS, sample.fresh_ports)?;
    out.by::<StampSource>(&catalogue::TIMESTAMPS, &sample.timestamps)?;
    out.one(&catalogue::IMPAIRED, truth(sample.impaired))?;
    out.by::<UnmatchedReason>(&catalogue::UNMATCHED, &sample.unmatched)?;
    out.one(&catalogue::CLOCK_SYNCHRONIZED, truth(sample.clock.is_synchronized()))?;
    out.one(&catalogue::CLOCK_ERROR, sample.clock.max_error().as_secs_f64())?;
    out.one(&catalogue::CONFIG_RELOAD_SUCCESSFUL, truth(sample.config_is_newest))?;
    out.one(&catalogue::CONFIG_RELOAD_TIMESTAMP, unix_seconds(sample.config_loaded_at))
}

/// Writes families that have series for each target.
struct PerTarget<'a, W> {
    sample: &'a ProbeSample,
    families: &'a mut FamilyWriter<W>,
}

impl<'a, W: io::Write> PerTarget<'a, W> {
    /// A family with one series per target.
    fn all<V: Into<Value<'a>>>(
        &mut self,
        family: &Family,
        value: impl Fn(&'a TargetSample) -> V,
    ) -> io::Result<()> {
        self.each(family, |target, series| series.push(target.labels(&[]), value(target.sample)))
    }

    /// A family with one series for each target that has a value.
    fn some(
        &mut self,
        family: &Family,
        value: impl Fn(&'a TargetSample) -> Option<f64>,
    ) -> io::Result<()> {
        self.each(family, |target, series| match value(target.sample) {
            Some(value) => series.push(target.labels(&[]), value),
            None => Ok(()),
        })
    }

    /// A family with a series for each value of its label, for each target.
    fn by<L: Label>(
        &mut self,
        family: &Family,
        counts: impl Fn(&'a TargetSample) -> &'a [u64],
    ) -> io::Result<()> {
        self.each(family, |target, series| {
            for (word, &count) in L::ALL.iter().zip(counts(target.sample)) {
                series.push(target.labels(&[word.label()]), count)?;
            }
            Ok(())
        })
    }

    /// A family with a series for each result of each target's protocol.
    fn results(&mut self) -> io::Result<()> {
        self.each(&catalogue::RESULTS, |target, series| {
            for (result, count) in target.sample.results() {
                series.push(target.labels(&[result]), count)?;
            }
            Ok(())
        })
    }

    /// A family with a series for each reason, for each target with a name.
    fn lookup_failures(&mut self) -> io::Result<()> {
        self.each(&catalogue::LOOKUP_FAILURES, |target, series| {
            for (reason, count) in target.sample.lookup_failures() {
                series.push(target.labels(&[reason.label()]), count)?;
            }
            Ok(())
        })
    }

    /// The family of the addresses in use.
    fn endpoint_info(&mut self) -> io::Result<()> {
        self.each(&catalogue::TARGET_ENDPOINT_INFO, |target, series| {
            let Some(address) = target.sample.address else { return Ok(()) };
            let labels = [&*address.to_string(), ip_version(address.ip())];
            series.push(target.labels(&labels), 1.0)
        })
    }

    /// The family of configured values.
    fn info(&mut self) -> io::Result<()> {
        self.each(&catalogue::TARGET_INFO, |target, series| {
            let settings = &target.sample.target;
            let address = settings.address.to_string();
            series.push(target.labels(&[&address, settings.protocol.name()]), 1.0)
        })
    }

    fn each(
        &mut self,
        family: &Family,
        push: impl Fn(Labelled<'a, '_>, &mut Series<'_, W>) -> io::Result<()>,
    ) -> io::Result<()> {
        let names = &self.sample.label_names;
        self.families.family(family, |series| {
            self.sample
                .targets
                .iter()
                .try_for_each(|sample| push(Labelled { sample, names, family }, series))
        })
    }
}

/// A target, with the label names of its series in one family.
#[derive(Clone, Copy)]
struct Labelled<'a, 'f> {
    sample: &'a TargetSample,
    names: &'a BTreeSet<String>,
    family: &'f Family,
}

impl<'a> Labelled<'a, '_> {
    /// `target`, every configured label (empty if the target does not have it), and the family's
    /// own labels with the values `own`.
    fn labels<'s>(self, own: &'s [&'s str]) -> impl Iterator<Item = (&'s str, &'s str)>
    where
        'a: 's,
    {
        let Self { sample, names, family } = self;
        debug_assert_eq!(own.len(), family.labels.len());
        let settings = &sample.target;
        let configured = names
            .iter()
            .map(|name| (name.as_str(), settings.labels.get(name).map_or("", String::as_str)));
        let own = family.labels.iter().copied().zip(own.iter().copied());
        iter::once(("target", settings.name.as_str())).chain(configured).chain(own)
    }
}

/// Writes families of the probe itself.
struct Own<'a, W> {
    families: &'a mut FamilyWriter<W>,
}

impl<W: io::Write> Own<'_, W> {
    fn one<'v>(&mut self, family: &Family, value: impl Into<Value<'v>>) -> io::Result<()> {
        self.families.family(family, |series| series.push([], value))
    }

    fn by<L: Label>(&mut self, family: &Family, counts: &[u64]) -> io::Result<()> {
        self.families.family(family, |series| {
            for (word, &count) in L::ALL.iter().zip(counts) {
                series.push(family.labels.iter().map(|&name| (name, word.label())), count)?;
            }
            Ok(())
        })
    }
}
