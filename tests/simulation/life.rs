//! One target in the naive model: the list of its heartbeats, and what the definitions make of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use udp_heartbeat::config::{Host, Target};
use udp_heartbeat::model::{
    Direction, IcmpKind, InvalidReason, Label, Moment, Mono, StampSource, State, UnsentReason, Wall,
};
use udp_heartbeat::probe::Happening;
use udp_heartbeat::session::{Answered, Summary};

use crate::conditions::Conditions;
use crate::figures::{Figures, Tally};
use crate::grid;
use crate::ports::Ports;
use crate::scenario::Foreign;
use crate::truth::{Delivered, Says, Told};
use crate::whereabouts::{Lookup, Whereabouts};

/// The hop limit that every datagram arrives with.
pub(crate) const TTL: u8 = 57;

/// Bounds of the buckets of loss periods.
const LOSS_BURSTS: [u64; 9] = [1, 2, 3, 5, 10, 20, 50, 100, 1000];

/// One target and everything that happened to it.
#[derive(Debug)]
pub(crate) struct Life {
    target: Arc<Target>,
    /// Whether it has been removed; nothing changes it any more.
    pub(crate) has_gone: bool,
    /// When its first heartbeat is due.
    pub(crate) first: Mono,
    /// The number of a heartbeat and when it is due; later heartbeats follow at the interval.
    grid: (usize, Mono),
    /// When its settings last changed: nothing that they demand can be done earlier.
    retuned: Mono,
    pub(crate) whereabouts: Whereabouts,
    ports: Ports,
    beats: Vec<Beat>,
    /// All heartbeats before this one are settled.
    settled: usize,
    /// At changes of settings, heartbeats before `forgotten` were forgotten, and those from `kept`
    /// on were remembered. No scenario may depend on those between.
    forgotten: usize,
    kept: usize,
    /// The newest heartbeat that was answered in time, and the newest that was answered at all.
    newest_in_time: Option<u64>,
    newest_answered: Option<u64>,
    pub(crate) verdicts: Vec<Verdict>,
    answers_in_a_row: u32,
    duplicates: u64,
    reordered: u64,
    invalid: [u64; InvalidReason::COUNT],
    other_source: u64,
    icmp: [u64; IcmpKind::COUNT],
    stamps: [u64; StampSource::COUNT],
    /// In nanoseconds, in the order in which they were measured.
    pub(crate) rtts: Vec<u64>,
    turnaround: Summary,
    turnaround_invalid: u64,
    ipdvs: Vec<u64>,
    last_reply: Option<Wall>,
    time_difference: Option<i64>,
    is_heard: bool,
    /// Whether its address has failed in this round.
    pub(crate) wants_another: bool,
}

#[derive(Debug, Clone, Copy)]
struct Beat {
    outcome: BeatOutcome,
    /// When it left, if it did, and during which stay at an address.
    at: Moment,
    stay: u64,
    /// Whether it left from a fresh port.
    is_fresh: bool,
    /// Whether its transmit timestamp has come.
    is_stamped: bool,
    rtt: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BeatOutcome {
    Unsent(UnsentReason),
    InFlight,
    Received,
    Lost,
    Late,
}

/// A change of state.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) state: State,
    pub(crate) at: Mono,
    shown: Wall,
}

/// A datagram, when it is read, and when the round before that one began.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) arrival: &'a Delivered,
    pub(crate) read: Moment,
    pub(crate) last_round: Mono,
}

/// A heartbeat that fell due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) at: Mono,
    /// How many heartbeats before it are skipped.
    pub(crate) skipped: usize,
    /// Whether it was handed to the kernel, and whether it left.
    pub(crate) handed_over: bool,
    pub(crate) left: bool,
    /// Whether it leaves from a fresh port.
    pub(crate) is_fresh: bool,
}

/// The outcome of handing a heartbeat to the kernel.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) refused: Option<UnsentReason>,
    pub(crate) leaving: Moment,
}

impl Life {
    /// A new target, whose first heartbeat is due at `first`. `found` are the known addresses of
    /// its host name, if it has one.
    pub(crate) fn new(
        target: Arc<Target>,
        found: Option<&[IpAddr]>,
        first: Mono,
        conditions: &Conditions,
    ) -> Self {
        Self {
            whereabouts: Whereabouts::new(&target, found, conditions),
            ports: Ports::default(),
            target,
            has_gone: false,
            first,
            grid: (0, first),
            retuned: first,
            beats: Vec::new(),
            settled: 0,
            forgotten: 0,
            kept: 0,
            newest_in_time: None,
            newest_answered: None,
            verdicts: Vec::new(),
            answers_in_a_row: 0,
            duplicates: 0,
            reordered: 0,
            invalid: [0; InvalidReason::COUNT],
            other_source: 0,
            icmp: [0; IcmpKind::COUNT],
            stamps: [0; StampSource::COUNT],
            rtts: Vec::new(),
            turnaround: Summary::default(),
            turnaround_invalid: 0,
            ipdvs: Vec::new(),
            last_reply: None,
            time_difference: None,
            is_heard: false,
            wants_another: false,
        }
    }

    /// Applies new settings from `now` on. Counters, heartbeats in flight and the numbering stay.
    /// With another interval, the next heartbeat is due at the next moment of the new grid.
    pub(crate) fn retune(
        &mut self,
        target: Arc<Target>,
        found: Option<&[IpAddr]>,
        now: Mono,
        conditions: &Conditions,
    ) {
        let next = self.beats.len();
        self.kept = self.kept.max(next.saturating_sub(self.remembered()));
        self.whereabouts.retune(&self.target, &target, found, conditions);
        if self.target.interval != target.interval {
            let due = grid::next(now, &target);
            self.grid = (next, due);
            if self.beats.is_empty() {
                self.first = due;
            }
        }
        self.target = target;
        self.retuned = now;
        self.kept = self.kept.max(next.saturating_sub(self.remembered()));
        // Heartbeats in flight are always remembered.
        let most = self.remembered().max(next - self.settled + self.remembered() / 2);
        self.forgotten = self.forgotten.max(next.saturating_sub(most.next_power_of_two()));
    }

    /// Whether `name` is its host name.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        matches!(&self.target.address.host, Host::Name(own) if own == name)
    }

    /// Its host name.
    pub(crate) fn host(&self) -> String {
        self.target.address.host.to_string()
    }

    /// Applies the result of a lookup of its host name.
    pub(crate) fn look_up(&mut self, found: &[IpAddr], conditions: &Conditions) {
        self.whereabouts.look_up(&self.target, found, conditions);
    }

    /// Tries another address if the one in use has failed.
    pub(crate) fn try_another(&mut self, conditions: &Conditions) {
        self.whereabouts.try_another(&self.target, conditions);
    }

    fn missed(&mut self, n: usize, is_unsent: bool) {
        self.wants_another |= self.whereabouts.missed(&self.target, n as u64, is_unsent);
    }

    /// Whether an answer from the address to which this heartbeat was sent still counts for the
    /// target.
    pub(crate) fn expects(&self, sequence: u64) -> bool {
        let beat = self.beats.get(index(sequence));
        !self.has_gone && beat.is_some_and(|beat| self.whereabouts.knows(beat.stay))
    }

    /// The figures at `now`.
    pub(crate) fn figures(&self, now: Mono, rtt_buckets: &[f64]) -> Figures {
        let unsent = std::array::from_fn(|n| self.count(BeatOutcome::Unsent(UnsentReason::ALL[n])));
        let lost = self.count(BeatOutcome::Lost) + self.count(BeatOutcome::Late);
        let in_flight = self.count(BeatOutcome::InFlight);
        let unsent_in_all: u64 = unsent.iter().sum();
        let bounds: Vec<u64> = rtt_buckets.iter().map(|&bound| nanoseconds(bound)).collect();
        let received = self.count(BeatOutcome::Received);
        let changes_to =
            |state| self.verdicts.iter().filter(|verdict| verdict.state == state).count() as u64;
        Figures {
            sent: self.beats.len() as u64 - unsent_in_all,
            received,
            lost,
            in_flight,
            late: self.count(BeatOutcome::Late),
            duplicates: self.duplicates,
            reordered: self.reordered,
            unsent,
            invalid: self.invalid,
            other_source: self.other_source,
            icmp: self.icmp,
            stamps: self.stamps,
            rtt: Tally::of(&self.rtts, &bounds),
            loss_bursts: Tally::of(&self.loss_bursts(), &LOSS_BURSTS),
            turnaround: self.turnaround,
            turnaround_invalid: self.turnaround_invalid,
            ipdv: Summary { count: self.ipdvs.len() as u64, sum: self.ipdvs.iter().sum() },
            last_rtt: self.rtts.last().copied(),
            last_reply: self.last_reply,
            time_difference: self.time_difference,
            reply_ttl: self.is_heard.then_some(TTL),
            state: self.state(),
            state_changed: self.verdicts.last().map(|verdict| verdict.shown),
            state_changes: std::array::from_fn(|state| changes_to(State::ALL[state])),
            consecutive_misses: self.misses_in_a_row(),
            down: self.down(now),
            address: self.whereabouts.present.map(|place| place.address),
            is_resolved: self.whereabouts.lookup == Lookup::Succeeded,
            lookup_failures: self.whereabouts.failures,
            address_changes: self.whereabouts.moves,
            target: Some(self.target.clone()),
        }
    }

    /// Lengths of the completed loss periods before the first heartbeat in flight.
    pub(crate) fn loss_bursts(&self) -> Vec<u64> {
        let mut bursts = Vec::new();
        let mut lost = 0;
        for beat in &self.beats {
            match beat.outcome {
                BeatOutcome::InFlight => break,
                BeatOutcome::Unsent(_) => {}
                BeatOutcome::Lost | BeatOutcome::Late => lost += 1,
                BeatOutcome::Received => {
                    bursts.extend((lost > 0).then_some(lost));
                    lost = 0;
                }
            }
        }
        bursts
    }

    /// Heartbeats lost on the way there and on the way back, between the first and the last
    /// answered heartbeat; `came` reports which ones reached the reflector. Both are 0 if all
    /// before the last answered one did: the reflector's numbers then equal the sender's. Those from
    /// a fresh port are left out, because the reflector counts them in another session.
    pub(crate) fn one_way_lost(&self, came: impl Fn(u64) -> bool) -> [u64; Direction::COUNT] {
        let is_answered =
            |beat: &Beat| matches!(beat.outcome, BeatOutcome::Received | BeatOutcome::Late);
        let Some(first) = self.beats.iter().position(is_answered) else { return [0; 2] };
        let end = self.beats.iter().rposition(is_answered).unwrap_or(first);
        let is_counted = |n: &usize| !self.beats[*n].is_fresh;
        if (0..end).filter(is_counted).all(|n| came(n as u64)) {
            return [0; 2];
        }
        let between = (first..end).filter(is_counted);
        let between = between.filter(|&n| self.beats[n].outcome == BeatOutcome::Lost);
        let mut lost = [0; Direction::COUNT];
        for n in between {
            let way = if came(n as u64) { Direction::Backward } else { Direction::Forward };
            lost[way.index()] += 1;
        }
        lost
    }

    /// Time spent down, up to `now`.
    pub(crate) fn down(&self, now: Mono) -> Duration {
        let ends = self.verdicts.iter().skip(1).map(|verdict| verdict.at).chain([now]);
        let spans = self.verdicts.iter().zip(ends);
        let down = spans.filter(|(verdict, _)| verdict.state == State::Down);
        down.map(|(verdict, end)| end.since(verdict.at)).sum()
    }

    fn count(&self, outcome: BeatOutcome) -> u64 {
        self.beats.iter().filter(|beat| beat.outcome == outcome).count() as u64
    }

    /// When it went down, if it is down.
    fn down_since(&self) -> Option<Mono> {
        self.verdicts.last().filter(|verdict| verdict.state == State::Down).map(|it| it.at)
    }

    /// The ports of its heartbeats at its present address.
    fn ports(&mut self) -> &mut Ports {
        if let Some(place) = self.whereabouts.present {
            self.ports.at((place.stay, self.whereabouts.moves));
        }
        &mut self.ports
    }

    fn state(&self) -> Option<State> {
        self.verdicts.last().map(|verdict| verdict.state)
    }

    fn refuse(&mut self, reason: InvalidReason) -> Answered {
        self.invalid[reason.index()] += 1;
        Answered::Invalid(reason)
    }

    /// Whether it has been removed, its name cannot be resolved, or a heartbeat that had an address
    /// has been settled.
    pub(crate) fn has_shown_itself(&self) -> bool {
        let has_settled = |beat: &Beat| match beat.outcome {
            BeatOutcome::Unsent(UnsentReason::Skipped | UnsentReason::Unresolved)
            | BeatOutcome::InFlight => false,
            BeatOutcome::Unsent(_)
            | BeatOutcome::Received
            | BeatOutcome::Lost
            | BeatOutcome::Late => true,
        };
        self.has_gone
            || self.whereabouts.lookup == Lookup::Failed
            || self.beats.iter().any(has_settled)
    }

    /// Whether it has been removed or has no heartbeat in flight.
    pub(crate) fn is_settled(&self) -> bool {
        self.has_gone || self.count(BeatOutcome::InFlight) == 0
    }

    /// The transmit timestamp of a heartbeat has come. It matters only if the answer has not.
    pub(crate) fn transmitted(&mut self, sequence: u64) {
        if let Some(beat) = self.beats.get_mut(index(sequence)) {
            beat.is_stamped = true;
        }
    }

    /// Whether a heartbeat was sent and has no answer.
    pub(crate) fn is_unanswered(&self, sequence: u64) -> bool {
        let beat = self.beats.get(index(sequence));
        beat.is_some_and(|beat| matches!(beat.outcome, BeatOutcome::InFlight | BeatOutcome::Lost))
    }

    /// Whether a heartbeat is in flight, or the newest that was not skipped is a miss.
    pub(crate) fn is_newest_unanswered(&self) -> bool {
        let skipped = BeatOutcome::Unsent(UnsentReason::Skipped);
        let newest = self.beats.iter().rev().find(|beat| beat.outcome != skipped);
        self.count(BeatOutcome::InFlight) > 0
            || newest.is_some_and(|beat| beat.outcome != BeatOutcome::Received)
    }

    /// An ICMP error about one of its heartbeats.
    pub(crate) fn explain(&mut self, kind: IcmpKind, now: Moment, told: &mut Vec<Told>) {
        self.icmp[kind.index()] += 1;
        told.push((now.wall, Happening::Icmp(kind)));
    }

    /// An answer to one of its heartbeats came from another address. Returns whether it counts:
    /// while the target misses answers, if the heartbeat has none.
    pub(crate) fn explain_by_other_source(
        &mut self,
        sequence: u64,
        from: SocketAddr,
        read: Moment,
        told: &mut Vec<Told>,
    ) -> bool {
        let is_missing = self.newest_in_time.is_none() || self.misses_in_a_row() > 0;
        if self.has_gone || !is_missing || !self.is_unanswered(sequence) {
            return false;
        }
        self.other_source += 1;
        told.push((read.wall, Happening::OtherSource { sequence, from }));
        true
    }

    /// A datagram came from the present or the former address of the target.
    pub(crate) fn hear(&mut self, seen: &Seen<'_>, conditions: &Conditions, told: &mut Vec<Told>) {
        let verdicts = self.verdicts.len();
        let what = match seen.arrival.says {
            Says::Foreign { counts_as: Foreign::Invalid(reason), .. } => self.refuse(reason),
            Says::Foreign { .. } | Says::Unreadable { .. } | Says::Elsewhere { .. } => {
                self.refuse(InvalidReason::Malformed)
            }
            Says::Answer { sequence, travelled, received, .. } => {
                self.answer(sequence, None, (travelled, received), seen, conditions)
            }
            Says::Damaged { sequence, second, travelled, received, .. } => {
                self.answer(sequence, Some(second), (travelled, received), seen, conditions)
            }
        };
        told.push((seen.read.wall, Happening::Answered { what, ttl: Some(TTL) }));
        self.tell_change(verdicts, seen.read, told);
        let at = if conditions.has_receive_stamps { seen.arrival.at } else { seen.read.mono };
        let port_change = match what {
            Answered::InTime { sequence, .. } => self.ports().answered(sequence, at),
            Answered::Late { sequence, .. } => self.ports().missed(sequence),
            Answered::Duplicate { .. } | Answered::Invalid(_) => None,
        };
        told.extend(port_change.map(|why| (seen.read.wall, Happening::PortChanged(why))));
    }

    /// The heartbeat that is due at `now`, if there is one. If several are due, all but the newest
    /// are skipped.
    pub(crate) fn fall_due(
        &mut self,
        outcome: &Outcome,
        now: Moment,
        conditions: &Conditions,
        told: &mut Vec<Told>,
    ) -> Option<Due> {
        if self.beats.is_empty() && now.mono.since(self.grid.1) >= self.target.interval {
            // The first heartbeat is never skipped: if it is late, the schedule begins with it.
            self.first = now.mono;
            self.grid = (0, now.mono);
        }
        let (number, at) = self.grid;
        let due = |n: usize| at + self.target.interval * u32::try_from(n - number).unwrap_or(0);
        let mut newest = self.beats.len();
        if now.mono < due(newest) {
            return None;
        }
        while due(newest + 1) <= now.mono {
            newest += 1;
        }
        let (skipped, at) = (newest - self.beats.len(), due(newest));
        let stay = self.whereabouts.present.map_or(0, |place| place.stay);
        let has_place = self.whereabouts.present.is_some();
        let down_since = self.down_since();
        let may_search = has_place && self.target.timeout <= Duration::from_secs(20);
        let is_fresh = may_search && self.ports().is_fresh(newest as u64, down_since, now.mono);
        let beat = |outcome, at| Beat { outcome, at, stay, is_fresh, is_stamped: false, rtt: 0 };
        self.beats.resize(newest, beat(BeatOutcome::Unsent(UnsentReason::Skipped), now));
        let (handed_over, leaving, refused) = match self.whereabouts.present {
            None => (false, now, Some(UnsentReason::Unresolved)),
            Some(place) => {
                let (leaving, ip) = (outcome.leaving, place.address.ip());
                match conditions.obstacle(&self.target, ip, now.mono) {
                    Some(reason) => (false, leaving, Some(reason)),
                    None => (true, leaving, outcome.refused),
                }
            }
        };
        self.whereabouts.beats = newest as u64 + 1;
        self.beats.push(beat(refused.map_or(BeatOutcome::InFlight, BeatOutcome::Unsent), leaving));
        if let Some(reason) = refused {
            let (sequence, verdicts) = (self.newest(), self.verdicts.len());
            told.push((leaving.wall, Happening::Unsent { sequence, reason }));
            self.judge(newest, false, leaving.mono, leaving.wall);
            if matches!(reason, UnsentReason::NoRoute | UnsentReason::Refused | UnsentReason::Other)
            {
                self.missed(newest, true);
            }
            self.tell_change(verdicts, leaving, told);
        }
        Some(Due { at, skipped, handed_over, left: refused.is_none(), is_fresh })
    }

    /// The number of the newest heartbeat.
    pub(crate) fn newest(&self) -> u64 {
        self.beats.len() as u64 - 1
    }

    /// How many of the newest heartbeats are remembered at least: twice as many as can be in
    /// flight, with some to spare, or as many as the recorder keeps.
    fn remembered(&self) -> usize {
        let (timeout, interval) = (self.target.timeout.as_nanos(), self.target.interval.as_nanos());
        let recorder = usize::try_from(self.target.recorder).unwrap_or(usize::MAX);
        let in_flight = usize::try_from(2 * (timeout / interval + 3)).unwrap_or(usize::MAX);
        in_flight.max(recorder)
    }

    /// An answer to heartbeat `sequence`. A damaged answer repeats the Unix second `second`.
    fn answer(
        &mut self,
        sequence: u64,
        second: Option<u64>,
        (travelled, received): (Duration, Wall),
        seen: &Seen<'_>,
        conditions: &Conditions,
    ) -> Answered {
        let Some(&beat) = self.beats.get(index(sequence)) else {
            return self.refuse(InvalidReason::UnknownSequence);
        };
        let behind = self.beats.len() - index(sequence);
        if behind > self.remembered() || index(sequence) < self.kept {
            let most = self.remembered().next_power_of_two();
            let is_forgotten = behind > most || index(sequence) < self.forgotten;
            assert!(is_forgotten, "no scenario may ask what is remembered of {behind} back");
            return self.refuse(InvalidReason::Expired);
        }
        if matches!(beat.outcome, BeatOutcome::Unsent(_)) {
            return self.refuse(InvalidReason::UnknownSequence);
        }
        if second.is_some_and(|second| second != beat.at.wall.as_nanos() / 1_000_000_000) {
            return self.refuse(InvalidReason::Mismatch);
        }
        if matches!(beat.outcome, BeatOutcome::Received | BeatOutcome::Late) {
            self.duplicates += 1;
            return Answered::Duplicate { sequence };
        }
        let overtaken = self.newest_answered.is_some_and(|newest| sequence < newest);
        self.reordered += u64::from(overtaken);
        self.newest_answered = self.newest_answered.max(Some(sequence));
        self.is_heard = true;
        if self.target.protocol.name() != "ping" {
            self.time_difference = Some(received.nanos_since(beat.at.wall));
        }
        // Without a kernel timestamp, it counts from when it was read.
        let at = if conditions.has_receive_stamps { seen.arrival.at } else { seen.read.mono };
        let after = at.since(beat.at.mono);
        if beat.outcome == BeatOutcome::InFlight && after <= self.target.timeout {
            let rtt = self.receive(sequence, travelled, at, seen, conditions);
            return Answered::InTime { sequence, rtt: Duration::from_nanos(rtt) };
        }
        self.beats[index(sequence)].outcome = BeatOutcome::Late;
        if beat.outcome == BeatOutcome::InFlight {
            self.judge(index(sequence), false, seen.read.mono, seen.read.wall);
            self.missed(index(sequence), false);
        }
        Answered::Late { sequence, after }
    }

    /// Records an answer that came in time, and returns its round-trip delay in nanoseconds.
    fn receive(
        &mut self,
        sequence: u64,
        travelled: Duration,
        at: Mono,
        seen: &Seen<'_>,
        conditions: &Conditions,
    ) -> u64 {
        let Beat { at: sent, is_stamped, .. } = self.beats[index(sequence)];
        let tells_turnaround = self.target.protocol.name() == "stamp";
        let by_kernel = is_stamped
            && conditions.has_receive_stamps
            && !conditions.clock.stepped(seen.last_round.min(sent.mono), seen.read.mono);
        let waited = at.since(seen.arrival.at);
        let own = if by_kernel { Duration::ZERO } else { conditions.send_latency + waited };
        let away = nanos(travelled + conditions.turnaround + own);
        let reported = nanos(conditions.reported_turnaround);
        let rtt = if !tells_turnaround {
            away
        } else if reported <= away {
            self.turnaround.observe(reported);
            away - reported
        } else {
            self.turnaround_invalid += 1;
            away
        };
        let source = if by_kernel { StampSource::Kernel } else { StampSource::User };
        self.stamps[source.index()] += 1;
        self.rtts.push(rtt);
        if let Some(before) = self.newest_in_time
            && before + 1 == sequence
        {
            self.ipdvs.push(rtt.abs_diff(self.beats[index(before)].rtt));
        }
        self.beats[index(sequence)].outcome = BeatOutcome::Received;
        self.beats[index(sequence)].rtt = rtt;
        self.newest_in_time = self.newest_in_time.max(Some(sequence));
        self.whereabouts.answered(sequence, seen.arrival.from);
        // If the clock jumped since the last round, the kernel's stamp gives the arrival on the
        // monotonic clock only.
        let is_told = conditions.has_receive_stamps
            && !conditions.clock.stepped(seen.last_round, seen.read.mono);
        let shown = if is_told { conditions.clock.wall(seen.arrival.at) } else { seen.read.wall };
        self.last_reply = Some(shown);
        self.judge(index(sequence), true, at, shown);
        rtt
    }

    /// Settles heartbeats whose timeout has expired. Returns when the first of them was to be
    /// settled.
    pub(crate) fn expire(&mut self, now: Moment, told: &mut Vec<Told>) -> Option<Mono> {
        let verdicts = self.verdicts.len();
        let mut first = None;
        while self.beats.get(self.settled).is_some_and(|beat| beat.outcome != BeatOutcome::InFlight)
        {
            self.settled += 1;
        }
        for n in self.settled..self.beats.len() {
            let Beat { outcome, at, .. } = self.beats[n];
            let deadline = at.mono + self.target.timeout;
            if outcome == BeatOutcome::InFlight && now.mono >= deadline {
                first = first.or(Some(deadline.max(self.retuned)));
                self.beats[n].outcome = BeatOutcome::Lost;
                told.push((now.wall, Happening::Lost { sequence: n as u64 }));
                let port_change = self.ports().missed(n as u64);
                told.extend(port_change.map(|why| (now.wall, Happening::PortChanged(why))));
                self.judge(n, false, now.mono, now.wall);
                self.missed(n, false);
            }
        }
        self.tell_change(verdicts, now, told);
        first
    }

    /// The longest run of misses newer than the newest answered heartbeat; skipped heartbeats are
    /// not part of the stream.
    fn misses_in_a_row(&self) -> u64 {
        let newer = self.newest_in_time.map_or(0, |newest| index(newest) + 1);
        let (mut longest, mut run) = (0, 0);
        for beat in &self.beats[newer..] {
            match beat.outcome {
                BeatOutcome::Unsent(UnsentReason::Skipped) => {}
                BeatOutcome::InFlight | BeatOutcome::Received => run = 0,
                BeatOutcome::Unsent(_) | BeatOutcome::Lost | BeatOutcome::Late => run += 1,
            }
            longest = longest.max(run);
        }
        longest
    }

    /// The verdict after heartbeat `n` was settled.
    fn judge(&mut self, n: usize, is_answered: bool, at: Mono, shown: Wall) {
        if self.newest_in_time.is_some_and(|newest| newest > n as u64) {
            return;
        }
        self.answers_in_a_row = if is_answered { self.answers_in_a_row + 1 } else { 0 };
        let is_down = self.misses_in_a_row() >= self.target.misses.into();
        let is_recovered = self.answers_in_a_row >= self.target.recoveries && !is_down;
        let state = match (self.state(), is_answered) {
            (None, true) => State::Up,
            (Some(State::Down), true) if is_recovered => State::Up,
            (None | Some(State::Up), false) if is_down => State::Down,
            _ => return,
        };
        self.verdicts.push(Verdict { state, at, shown });
    }

    fn tell_change(&self, before: usize, now: Moment, told: &mut Vec<Told>) {
        if let Some(verdict) = self.verdicts[before..].last() {
            let misses = self.misses_in_a_row();
            let is_first = self.verdicts.len() == 1;
            told.push((now.wall, Happening::Changed { state: verdict.state, misses, is_first }));
        }
    }
}

fn index(sequence: u64) -> usize {
    usize::try_from(sequence).unwrap_or(usize::MAX)
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounds are small")]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
