//! The state machine of one target, without IO.
//!
//! A [`Session`] has no socket and no clock. Its driver asks it what to send and reports what
//! happened:
//!
//! - [`poll_timeout`](Session::poll_timeout): when to call again at the latest;
//! - [`poll_transmit`](Session::poll_transmit): is a heartbeat due?
//! - [`handle_sent`](Session::handle_sent) or [`handle_unsent`](Session::handle_unsent): the due
//!   heartbeat left or could not leave; called at once and in order;
//! - [`handle_transmitted`](Session::handle_transmitted): the kernel's transmit timestamp;
//! - [`handle_reply`](Session::handle_reply): an answer arrived;
//! - [`handle_timeout`](Session::handle_timeout): time has passed. Hand in all replies that arrived
//!   before that time first, so that no heartbeat answered in time is counted as lost;
//! - [`poll_change`](Session::poll_change), after each of these: has the verdict changed?
//! - [`retune`](Session::retune): the settings change.
//!
//! Inside, a heartbeat passes through `schedule`, `ledger`, `liveness` and `record`. Once its outcome
//! is final, `attribution` finds the `direction` of a loss. `heartbeat` is its public form. In every
//! [`snapshot`](Session::snapshot), `sent = received + lost + in_flight`.

mod attribution;
mod changes;
mod claim;
mod delay;
mod direction;
mod heartbeat;
mod history;
mod ledger;
mod liveness;
mod record;
mod recorder;
mod ring;
mod schedule;
mod settings;
mod snapshot;
mod symptoms;

pub mod odds;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{
    Arrival, IcmpKind, InvalidReason, Label, Moment, Mono, StampSource, State, UnsentReason, Wall,
    nanos,
};
use crate::wire::{Prober, Reply};

use attribution::Attribution;
use changes::Changes;
use delay::Turnaround;
use history::History;
use ledger::{Answer, Ledger, OutcomeKind, Sent, Unknown};
use liveness::Liveness;
use recorder::Recorder;
use schedule::Schedule;
use symptoms::Parts;

pub use claim::Claim;
pub use heartbeat::{Answered, Heartbeat, Outcome};
pub use history::{Column, Misses, Recent};
pub use record::{Buckets, Histogram, Rare, Record, Summary};
pub use recorder::{Frozen, Recording};
pub use schedule::Due;
pub use settings::SessionSettings;
pub use snapshot::{Glance, Snapshot};
pub use symptoms::{Last, OutcomeCounts, Symptoms};

/// The session of one target.
#[derive(Debug)]
pub struct Session {
    /// Encodes heartbeats and confirms replies. Shared with the routes, which decode arriving
    /// datagrams with it.
    prober: Arc<dyn Prober>,
    /// The number of heartbeat 0 on the wire.
    first_number: u32,
    schedule: Schedule,
    ledger: Ledger,
    liveness: Liveness,
    record: Record,
    recorder: Recorder,
    history: History,
    changes: Changes,
    /// A new verdict that [`poll_change`](Self::poll_change) has not returned yet.
    news: Option<State>,
    /// The length of the current loss period (RFC 3357), in heartbeats.
    loss_burst: u64,
    /// The newest heartbeat that was answered in time or late (`NextExp` − 1 of RFC 4737).
    newest_answered: Option<u64>,
    /// The newest heartbeat answered in time, with its round-trip delay in nanoseconds.
    last: Option<(u64, u64)>,
    attribution: Attribution,
}

impl Session {
    /// A session that sends with `prober`, whose first heartbeat is due at `first`. All counters
    /// are 0.
    #[must_use]
    pub fn new(
        settings: &SessionSettings,
        prober: Arc<dyn Prober>,
        record: Record,
        first: Mono,
    ) -> Self {
        Self {
            prober,
            first_number: 0,
            schedule: Schedule::new(settings.interval, first),
            ledger: Ledger::new(settings.interval, settings.timeout, settings.recorder),
            liveness: Liveness::new(settings.misses, settings.recoveries),
            record,
            recorder: Recorder::new(settings.recorder),
            history: History::new(settings.interval, first),
            changes: Changes::default(),
            news: None,
            loss_burst: 0,
            newest_answered: None,
            last: None,
            attribution: Attribution::default(),
        }
    }

    /// The same session, whose first heartbeat has this number on the wire; 0 by default. Call it
    /// before anything is sent.
    #[must_use]
    pub fn numbered_from(self, first_number: u32) -> Self {
        Self { first_number, ..self }
    }

    /// Applies `settings` from now on. If the interval changes, the next heartbeat is due at
    /// `next`.
    ///
    /// Counters and sequence numbers continue. The new timeout also applies to heartbeats in
    /// flight. The verdict stays until the next heartbeat is settled.
    ///
    /// Must not be called between [`poll_transmit`](Self::poll_transmit) and
    /// [`handle_sent`](Self::handle_sent).
    pub fn retune(&mut self, settings: &SessionSettings, next: Mono) {
        let SessionSettings { interval, timeout, misses, recoveries, recorder } = *settings;
        if interval != self.schedule.interval() {
            self.schedule.retune(interval, next);
            self.history.retune(interval, next);
        }
        let first_kept = self.ledger.first_kept(interval, timeout, recorder);
        self.attribute_losses(|_, sequence| sequence < first_kept);
        self.ledger.retune(interval, timeout, recorder);
        self.liveness.retune(misses, recoveries);
        self.recorder.retune(recorder);
    }

    /// Heartbeats go to another address from now on, where a reflector counts them anew. Losses whose
    /// direction is not known yet stay without one.
    pub fn break_numbers(&mut self) {
        self.attribute_losses(|ledger, sequence| sequence < ledger.next());
        self.attribution.begin_anew();
    }

    /// Encodes this target's heartbeats and decodes its replies.
    #[must_use]
    pub fn prober(&self) -> &Arc<dyn Prober> {
        &self.prober
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) and
    /// [`poll_transmit`](Self::poll_transmit) next, at the latest; `None` once the session is
    /// stopped and every heartbeat is settled.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let wakes = [self.schedule.due(), self.ledger.deadline()];
        wakes.into_iter().flatten().min()
    }

    /// The heartbeat that is due at `now`, if any. The caller encodes and sends it, then calls
    /// [`handle_sent`](Self::handle_sent) or [`handle_unsent`](Self::handle_unsent) before any
    /// other method.
    ///
    /// Heartbeats that are too late to send are counted as skipped.
    pub fn poll_transmit(&mut self, now: Moment) -> Option<Due> {
        let skipped = self.schedule.skip_late(now.mono);
        if skipped > 0 {
            self.make_room(skipped, now);
            self.ledger.enter_skipped(skipped);
            self.record.unsent[UnsentReason::Skipped.index()] += skipped;
            self.close_bursts();
        }
        let due = self.schedule.take_due(now.mono)?;
        debug_assert_eq!(due.sequence, self.ledger.next());
        self.make_room(1, now);
        Some(due)
    }

    /// The due heartbeat left at `at`, which it also carries as t1.
    pub fn handle_sent(&mut self, at: Moment) {
        self.ledger.enter_sent(at);
        self.record.sent += 1;
    }

    /// Heartbeat `sequence` left from another source port than the usual one. If it is lost, the
    /// direction stays unknown.
    pub fn handle_detoured(&mut self, sequence: u64) {
        self.ledger.mark_detoured(sequence);
    }

    /// The due heartbeat could not leave.
    pub fn handle_unsent(&mut self, reason: UnsentReason, now: Moment) {
        let sequence = self.ledger.next();
        self.ledger.enter_unsent(reason, now);
        self.record.unsent[reason.index()] += 1;
        self.miss(sequence, now);
    }

    /// The kernel reports when it handed heartbeat `sequence` to the device.
    pub fn handle_transmitted(&mut self, sequence: u64, at: Wall) {
        self.ledger.stamp_transmit(sequence, at);
    }

    /// The number of the next heartbeat.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.ledger.next()
    }

    /// The number of heartbeat `sequence` on the wire.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the wire carries the low 32 bits")]
    pub const fn number(&self, sequence: u64) -> u32 {
        self.first_number.wrapping_add(sequence as u32)
    }

    /// The heartbeat that this number on the wire means; the ledger knows whether it was sent.
    fn numbered(&self, number: u32) -> u64 {
        let low = number.wrapping_sub(self.first_number);
        self.ledger.widen(low, self.prober.sequence_bits())
    }

    /// What `reply` is to this target. For an ICMP error, it is the reply that would answer the quoted
    /// request.
    #[must_use]
    pub fn claim(&self, reply: &Reply) -> Claim {
        Claim::of(reply, self.numbered(reply.sequence), &*self.prober, &self.ledger)
    }

    /// Whether a heartbeat is in flight, or one newer than the newest answered one was missed.
    #[must_use]
    pub fn is_awaiting_any(&self) -> bool {
        self.ledger.in_flight() > 0 || self.liveness.consecutive_misses(&self.ledger) > 0
    }

    /// Whether no heartbeat has been answered in time yet, or one newer than the newest answered
    /// one was missed.
    #[must_use]
    pub fn is_missing_answers(&self) -> bool {
        self.record.last_reply.is_none() || self.liveness.consecutive_misses(&self.ledger) > 0
    }

    /// The heartbeat without an answer that `reply`, which came from another address, answers beyond
    /// doubt. If its number has fewer than 32 bits, the heartbeat must be in flight.
    #[must_use]
    pub fn proven(&self, reply: &Reply) -> Option<u64> {
        let sequence = self.numbered(reply.sequence);
        claim::is_proven(reply, sequence, &*self.prober, &self.ledger).then_some(sequence)
    }

    /// Counts an answer to a heartbeat that came from the address `from`, which is not the
    /// target's, at `at`. It settles nothing and does not change the verdict.
    pub fn handle_other_source(&mut self, from: SocketAddr, at: Wall) {
        self.record.other_source_replies += 1;
        let last = self.record.last_other_source.get_or_insert_with(|| Box::new((from, at)));
        **last = (from, at);
    }

    /// Handles a reply from the target and returns its classification.
    pub fn handle_reply(&mut self, reply: &Reply, arrival: &Arrival) -> Answered {
        self.accept(reply, arrival)
            .unwrap_or_else(|reason| self.handle_invalid(reason, arrival.read.wall))
    }

    /// Handles a reply from the target if it answers a heartbeat, and returns its classification.
    ///
    /// # Errors
    /// Why it answers none. Nothing has been counted; see [`handle_invalid`](Self::handle_invalid).
    pub fn accept(&mut self, reply: &Reply, arrival: &Arrival) -> Result<Answered, InvalidReason> {
        let sequence = self.numbered(reply.sequence);
        let sent = self.ledger.sent(sequence).map_err(|unknown| match unknown {
            // A number with few bits wraps too often to show how old it is.
            _ if self.prober.sequence_bits() < u32::BITS => InvalidReason::Mismatch,
            Unknown::NeverSent => InvalidReason::UnknownSequence,
            Unknown::Forgotten => InvalidReason::Expired,
        })?;
        if !self.prober.confirms(reply, sent.at.wall) {
            return Err(InvalidReason::Mismatch);
        }

        let answer = self.ledger.answer(sequence, arrival.at);
        self.attribution.remember(sequence, reply.number, answer, &mut self.ledger);
        if answer == Answer::Duplicate {
            self.record.duplicates += 1;
            return Ok(Answered::Duplicate { sequence });
        }
        self.count_reordered(sequence);
        self.record.time_difference = reply.time_difference.or(self.record.time_difference);
        self.record.reply_ttl = arrival.ttl.or(self.record.reply_ttl);
        if answer == Answer::InTime {
            let rtt = self.record_delays(sequence, &sent, reply, arrival);
            self.ledger.remember_answer(sequence, nanos(rtt), arrival.ttl);
            self.close_bursts();
            let verdict = self.liveness.answered(sequence, &self.ledger);
            self.apply_verdict(verdict, Moment { mono: arrival.at, wall: received_at(arrival) });
            self.attribute_rest();
            return Ok(Answered::InTime { sequence, rtt });
        }
        self.record.late += 1;
        let after = arrival.at.since(sent.at.mono);
        self.ledger.remember_answer(sequence, nanos(after), arrival.ttl);
        if answer == Answer::LateAndLost {
            self.record.lost += 1;
            self.miss(sequence, arrival.read);
        }
        self.attribute_rest();
        Ok(Answered::Late { sequence, after })
    }

    /// Counts a datagram from the target, received at `at`, that is not an answer.
    pub fn handle_invalid(&mut self, reason: InvalidReason, at: Wall) -> Answered {
        self.record.invalid[reason.index()] += 1;
        self.record.last_invalid = Some((reason, at));
        Answered::Invalid(reason)
    }

    /// Counts an ICMP error about a heartbeat. It settles nothing and does not change the verdict.
    pub fn handle_icmp(&mut self, kind: IcmpKind, at: Wall) {
        self.record.icmp_errors[kind.index()] += 1;
        self.record.last_icmp = Some((kind, at));
    }

    /// Settles as lost the heartbeats whose timeout is over at `now`, and passes the number of each
    /// to `lost`.
    pub fn handle_timeout(&mut self, now: Moment, mut lost: impl FnMut(u64)) {
        while let Some(sequence) = self.ledger.expire(now.mono) {
            self.record.lost += 1;
            self.miss(sequence, now);
            lost(sequence);
        }
        self.attribute_rest();
    }

    /// Ends the schedule after `heartbeats` heartbeats, counted from the first.
    pub fn limit(&mut self, heartbeats: u64) {
        self.schedule.limit(heartbeats);
        self.attribute_rest();
    }

    /// Ends the schedule. Heartbeats in flight may still be answered.
    pub fn stop(&mut self) {
        self.schedule.limit(0);
        self.attribute_rest();
    }

    /// The new verdict, if it has changed since the last call.
    pub fn poll_change(&mut self) -> Option<State> {
        self.news.take()
    }

    /// Whether at least one heartbeat has been settled, not counting those that were skipped or had
    /// no address.
    #[must_use]
    pub fn has_settled(&self) -> bool {
        let unsent =
            self.record.unsent_misses() - self.record.unsent[UnsentReason::Unresolved.index()];
        self.record.received + self.record.lost + unsent > 0
    }

    /// The verdict; `None` before the first.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.liveness.state()
    }

    /// How many verdicts there have been.
    #[must_use]
    pub fn verdicts(&self) -> u64 {
        self.record.state_changes.iter().sum()
    }

    /// When the target went down; `None` if it is not down.
    #[must_use]
    pub fn down_since(&self) -> Option<Mono> {
        let is_down = self.liveness.state() == Some(State::Down);
        self.changes.last().filter(|_| is_down).map(|at| at.mono)
    }

    /// The longest run of misses newer than the newest answered heartbeat.
    #[must_use]
    pub fn consecutive_misses(&self) -> u64 {
        self.liveness.consecutive_misses(&self.ledger)
    }

    /// Heartbeats skipped so far because the probe was late.
    #[must_use]
    pub fn skipped(&self) -> u64 {
        self.record.unsent[UnsentReason::Skipped.index()]
    }

    /// How many heartbeats have been lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.record.lost
    }

    /// The number of round-trip delays so far, by the source of their timestamps.
    #[must_use]
    pub fn stamps(&self) -> [u64; StampSource::COUNT] {
        self.record.stamps
    }

    /// The figures at `now`.
    #[must_use]
    pub fn snapshot(&self, now: Mono) -> Snapshot {
        let snapshot = Snapshot {
            record: self.record.clone(),
            in_flight: self.ledger.in_flight(),
            state: self.liveness.state(),
            state_changed: self.changes.last().map(|at| at.wall),
            consecutive_misses: self.consecutive_misses(),
            down: self.changes.down(self.liveness.state(), now),
            symptoms: self.symptoms(now),
        };
        debug_assert_eq!(
            snapshot.record.sent,
            snapshot.record.received + snapshot.record.lost + snapshot.in_flight
        );
        snapshot
    }

    /// The evidence for a diagnosis at `now`.
    #[must_use]
    pub fn symptoms(&self, now: Mono) -> Symptoms {
        let Self { liveness, ledger, record, history, .. } = self;
        let (interval, changed) = (self.schedule.interval(), self.changes.last());
        Parts { liveness, ledger, record, history, interval, changed }.symptoms(now)
    }

    /// The figures for a list of targets, at `now`.
    #[must_use]
    pub fn glance(&self, now: Mono) -> Glance {
        Glance {
            state: self.liveness.state(),
            changed: self.changes.last().map(|at| at.wall),
            misses: self.history.misses(now),
            last_rtt: self.record.last_rtt,
            p50: self.record.rtt.quantile(0.5),
            p99: self.record.rtt.quantile(0.99),
            changes: self.record.state_changes.iter().sum(),
        }
    }

    /// The history of the last minutes at `now`.
    #[must_use]
    pub fn recent(&self, now: Mono) -> Recent {
        self.history.recent(now)
    }

    /// The last changes of the verdict, at most four, newest first: the new verdict and the time.
    /// Times are exact for the newest and rounded down to the second for the others.
    pub fn changes(&self) -> impl Iterator<Item = (State, Wall)> + '_ {
        self.changes.newest(self.liveness.state())
    }

    /// The contents of the flight recorder.
    #[must_use]
    pub fn recording(&self) -> Recording {
        self.recorder.recording(&self.ledger)
    }

    /// Settles as lost the heartbeats in flight whose slots the next `entering` heartbeats need.
    fn make_room(&mut self, entering: u64, now: Moment) {
        while let Some(lost) = self.ledger.make_room(entering) {
            self.record.lost += 1;
            self.miss(lost, now);
        }
        self.attribute_losses(|ledger, sequence| ledger.is_final(sequence, entering, now.mono));
    }

    /// Attributes the remaining losses once the schedule has ended and every heartbeat is settled:
    /// outcomes are final then.
    fn attribute_rest(&mut self) {
        if self.schedule.due().is_none() && self.ledger.in_flight() == 0 {
            self.attribute_losses(|ledger, sequence| sequence < ledger.next());
        }
    }

    /// Attributes losses to a direction, for the heartbeats whose outcome is final.
    fn attribute_losses(&mut self, is_final: impl Fn(&Ledger, u64) -> bool) {
        let Self { attribution, ledger, record, .. } = self;
        attribution.attribute(ledger, record, |sequence| is_final(ledger, sequence));
    }

    fn miss(&mut self, sequence: u64, now: Moment) {
        self.history.missed(now.mono);
        self.close_bursts();
        let verdict = self.liveness.missed(sequence, &self.ledger);
        self.apply_verdict(verdict, now);
    }

    /// Records the delays of a heartbeat that was answered in time. Returns its round-trip delay.
    fn record_delays(
        &mut self,
        sequence: u64,
        sent: &Sent,
        reply: &Reply,
        arrival: &Arrival,
    ) -> Duration {
        let record = &mut self.record;
        let rtt = delay::round_trip(sent, arrival, reply.turnaround);
        self.history.received(arrival.at, rtt.nanos);
        record.received += 1;
        if let Some(result) = reply.result
            && let Some(count) = record.results.get_mut(usize::from(result))
        {
            *count += 1;
        }
        record.rtt.observe(rtt.nanos);
        record.stamps[rtt.source.index()] += 1;
        record.last_rtt = Some(rtt.nanos);
        record.last_reply = Some(received_at(arrival));
        match rtt.turnaround {
            Turnaround::Unreported => {}
            Turnaround::Credible(nanos) => record.turnaround.observe(nanos),
            Turnaround::Invalid => record.turnaround_invalid += 1,
        }
        if let Some((before, other)) = self.last
            && before + 1 == sequence
        {
            record.ipdv.observe(rtt.nanos.abs_diff(other));
        }
        if self.last.is_none_or(|(newest, _)| newest < sequence) {
            self.last = Some((sequence, rtt.nanos));
        }
        Duration::from_nanos(rtt.nanos)
    }

    /// Counts the first answer to heartbeat `sequence` as reordered if a newer heartbeat was
    /// answered before (RFC 4737 section 3.3).
    fn count_reordered(&mut self, sequence: u64) {
        if self.newest_answered.is_some_and(|newest| sequence < newest) {
            self.record.reordered += 1;
        } else {
            self.newest_answered = Some(sequence);
        }
    }

    /// Records the loss periods that have ended (RFC 3357). Heartbeats that never left are not part
    /// of the stream.
    fn close_bursts(&mut self) {
        let (burst, bursts) = (&mut self.loss_burst, &mut self.record.loss_bursts);
        self.ledger.pass_settled(|outcome| match outcome {
            OutcomeKind::Lost | OutcomeKind::Late => *burst += 1,
            OutcomeKind::Received if *burst > 0 => bursts.observe(std::mem::take(burst)),
            OutcomeKind::Received
            | OutcomeKind::Unsent
            | OutcomeKind::Skipped
            | OutcomeKind::InFlight => {}
        });
    }

    fn apply_verdict(&mut self, verdict: Option<State>, at: Moment) {
        let Some(state) = verdict else { return };
        self.record.state_changes[state.index()] += 1;
        if state == State::Down {
            self.recorder.freeze(&self.ledger, at.wall);
        }
        self.changes.add(state, at);
        self.news = verdict;
    }
}

/// When a reply arrived, in civil time.
fn received_at(arrival: &Arrival) -> Wall {
    arrival.kernel.unwrap_or(arrival.read.wall)
}
