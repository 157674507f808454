//! The names, help texts, types and labels of all metrics of both programs.
//!
//! The encoders use these families, and tests compare `/metrics` with these lists. The `process_*`
//! families come from [`prometheus::process_collector::ProcessCollector`].

use crate::model::TargetLabel;

/// One metric family and its metadata on `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// The name. Its suffix is the unit, or `_total` for counters.
    pub name: &'static str,
    /// The help text: what it counts or measures.
    pub help: &'static str,
    /// The type.
    pub kind: Kind,
    /// Its own labels. Per-target series have `target` and the configured labels before these.
    pub labels: &'static [&'static str],
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only grows, from 0 at the start of the process.
    Counter,
    /// A current value.
    Gauge,
    /// Cumulative counts of values by bucket, with their sum and number.
    Histogram,
    /// The sum and number of values, without quantiles.
    Summary,
}

/// Every family of the probe, in the order of `/metrics`.
pub fn probe() -> impl Iterator<Item = &'static Family> {
    PER_TARGET.iter().chain(PROBE).chain([&BUILD_INFO])
}

/// Every family of the responder.
pub fn responder() -> impl Iterator<Item = &'static Family> {
    RESPONDER.iter().chain([&BUILD_INFO])
}

/// The name of a label: a [`TargetLabel`], or a literal for families that are not per target.
macro_rules! label {
    ($name:literal) => {
        $name
    };
    ($label:ident) => {
        TargetLabel::$label.as_str()
    };
}

/// Declares families and a list of them.
macro_rules! families {
    ($(#[$meta:meta])* $list:ident {
        $($id:ident = $kind:ident $name:literal [$($label:tt),*] $help:literal;)+
    }) => {
        $(
            #[doc = concat!("The family `", $name, "`.")]
            pub const $id: Family =
                Family { name: $name, help: $help, kind: Kind::$kind, labels: &[$(label!($label)),*] };
        )+
        $(#[$meta])*
        pub const $list: &[Family] = &[$($id),+];
    };
}

families! {
    /// The families of each target. Their labels are [`TargetLabel`]s.
    PER_TARGET {
        UP = Gauge "heartbeat_up" []
            "1 if the target is up, 0 if it is down: as many consecutive heartbeats as configured went unanswered. Absent until the first verdict.";
        RTT = Histogram "heartbeat_rtt_seconds" []
            "Round-trip delay of heartbeats answered within the timeout, in seconds, without the responder's turnaround where the protocol tells it.";
        SENT = Counter "heartbeat_sent_total" []
            "Heartbeats that left. Always equal to received + lost + in flight.";
        RECEIVED = Counter "heartbeat_received_total" []
            "Heartbeats answered within the timeout.";
        RESULTS = Counter "heartbeat_results_total" [Result]
            "Heartbeats answered within the timeout, by the result that the answer reports: the results of a target add up to heartbeat_received_total. Only for targets whose protocol has results.";
        LOST = Counter "heartbeat_lost_total" []
            "Heartbeats that left and were not answered within the timeout. Loss is this over heartbeat_sent_total.";
        IN_FLIGHT = Gauge "heartbeat_in_flight" []
            "Heartbeats that left and are neither answered nor timed out yet.";
        UNSENT = Counter "heartbeat_unsent_total" [Reason]
            "Heartbeats that were due and never left, by reason. All but skipped count as misses; skipped means that the probe itself was late.";
        LATE = Counter "heartbeat_late_total" []
            "First answers that came after the timeout. Each of these heartbeats also stands in heartbeat_lost_total.";
        DUPLICATES = Counter "heartbeat_duplicates_total" []
            "Further answers to a heartbeat that was answered already (RFC 5560).";
        REORDERED = Counter "heartbeat_reordered_total" []
            "Answers to a heartbeat older than one that was answered already (RFC 4737).";
        ONE_WAY_LOST = Counter "heartbeat_one_way_lost_total" [Direction]
            "Lost heartbeats of which it is known on which way they were lost, told by the numbers of a STAMP reflector that keeps state: forward never came to the responder, of backward the reply never came back. Counted up to two timeouts after heartbeat_lost_total, once a later heartbeat is answered.";
        INVALID_REPLIES = Counter "heartbeat_invalid_replies_total" [Reason]
            "Datagrams from the target's address that answer nothing that was sent, by reason.";
        CONSECUTIVE_MISSES = Gauge "heartbeat_consecutive_misses" []
            "Misses in a row, newer than the newest answered heartbeat. The target is down when this reaches heartbeat_target_misses.";
        STATE_CHANGES = Counter "heartbeat_state_changes_total" [State]
            "How often the target came to be in the state, first verdict included.";
        STATE_CHANGE_TIMESTAMP = Gauge "heartbeat_state_change_timestamp_seconds" []
            "When the verdict last changed, as Unix time in seconds. Absent until the first verdict.";
        LAST_REPLY_TIMESTAMP = Gauge "heartbeat_last_reply_timestamp_seconds" []
            "When the last answer within the timeout arrived, as Unix time in seconds. Absent until the first.";
        DOWN_SECONDS = Counter "heartbeat_down_seconds_total" []
            "Time that the target has spent down, in seconds, a present outage included.";
        LOSS_BURST_LENGTH = Histogram "heartbeat_loss_burst_length" []
            "Lengths of completed runs of consecutive lost heartbeats, in heartbeats (RFC 3357 loss periods).";
        ICMP_ERRORS = Counter "heartbeat_icmp_errors_total" [Kind]
            "ICMP errors about the target's heartbeats, by kind. Of several targets at one address it is the one that the error quotes. They explain losses and settle nothing: port_unreachable means that the host is alive and nothing listens.";
        TIME_DIFFERENCE = Gauge "heartbeat_time_difference_seconds" []
            "Responder's receive time minus the probe's send time, as last answered, in seconds: forward delay plus the offset between the two clocks, so it may be negative. Absent where the protocol does not tell it.";
        TURNAROUND = Summary "heartbeat_turnaround_seconds" []
            "How long the responder held requests before it answered, in seconds.";
        IPDV = Summary "heartbeat_ipdv_seconds" []
            "Absolute difference between the round-trip delays of consecutive answered heartbeats, in seconds (delay variation, RFC 3393).";
        REPLY_TTL = Gauge "heartbeat_reply_ttl" []
            "Hop limit with which the last answer arrived, in hops. A change means that the path back has changed. Absent until the first answer.";
        RESOLVED = Gauge "heartbeat_resolved" []
            "1 if the last lookup of the target's name succeeded, else 0. Always 1 for a literal address.";
        ADDRESS_CHANGES = Counter "heartbeat_address_changes_total" []
            "How often the target's name came to mean another address.";
        TARGET_INFO = Gauge "heartbeat_target_info" [Address, Protocol]
            "Always 1: the address as configured and the protocol of the target, as labels.";
        TARGET_INTERVAL = Gauge "heartbeat_target_interval_seconds" []
            "Configured time from one heartbeat to the next, in seconds.";
        TARGET_TIMEOUT = Gauge "heartbeat_target_timeout_seconds" []
            "Configured time within which a heartbeat must be answered, in seconds.";
        TARGET_MISSES = Gauge "heartbeat_target_misses" []
            "Configured number of consecutive misses that mean down.";
    }
}

families! {
    /// The families of the probe itself.
    PROBE {
        SCHEDULE_LAG = Histogram "heartbeat_probe_schedule_lag_seconds" []
            "How late heartbeats left, against their schedule, in seconds.";
        RECEIVE_DROPS = Counter "heartbeat_probe_receive_drops_total" []
            "Datagrams that the kernel dropped because the probe's own sockets were full: answers that came and were booked as lost.";
        TIMESTAMPS = Counter "heartbeat_probe_timestamps_total" ["source"]
            "Round-trip delays by where their two stamps came from. Those from user include delays of the probe's own machine.";
        IMPAIRED = Gauge "heartbeat_probe_impaired" []
            "1 while the probe itself is late or drops datagrams, so that its figures cannot be believed, else 0.";
        UNMATCHED = Counter "heartbeat_probe_unmatched_total" ["reason"]
            "Datagrams that belong to no target, and ICMP errors that quote the heartbeat of none, by reason.";
        CONFIG_RELOAD_SUCCESSFUL = Gauge "heartbeat_config_last_reload_successful" []
            "1 if the last attempt to load the configuration succeeded, else 0: an older one is still in force.";
        CONFIG_RELOAD_TIMESTAMP = Gauge "heartbeat_config_last_reload_success_timestamp_seconds" []
            "When the configuration in force was loaded, as Unix time in seconds.";
    }
}

families! {
    /// The families of the responder: the ground truth for a probe's figures.
    RESPONDER {
        RESPONDER_RECEIVED = Counter "heartbeat_responder_received_total" ["protocol"]
            "Datagrams received that are requests of the protocol, whatever became of them.";
        RESPONDER_REPLIED = Counter "heartbeat_responder_replied_total" ["protocol"]
            "Requests answered: replies handed to the kernel, without the duplicates made on purpose.";
        RESPONDER_DROPPED = Counter "heartbeat_responder_dropped_total" ["reason"]
            "Datagrams left unanswered, by reason. loss, burst_loss, outage and overflow were asked for.";
        RESPONDER_IMPAIRED = Counter "heartbeat_responder_impaired_total" ["kind"]
            "Replies changed on purpose, by kind, as asked for.";
        RESPONDER_SEND_ERRORS = Counter "heartbeat_responder_send_errors_total" []
            "Replies that the kernel did not take.";
        RESPONDER_RECEIVE_DROPS = Counter "heartbeat_responder_receive_drops_total" []
            "Datagrams that the kernel dropped on the responder's own sockets, as far as later ones tell.";
    }
}

families! {
    /// The families of both programs.
    COMMON {
        BUILD_INFO = Gauge "heartbeat_build_info" ["version"]
            "Always 1: the version of the program, as a label.";
    }
}
