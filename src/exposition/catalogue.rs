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
    /// The labels of this family. Series of targets have `target` and the configured labels before
    /// these.
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
            "1 if the target is up, 0 if it is down. A target is down after heartbeat_target_misses consecutive misses. Absent until the first verdict.";
        RTT = Histogram "heartbeat_rtt_seconds" []
            "Round-trip delay of heartbeats answered within the timeout, in seconds. Excludes the responder's turnaround if the protocol reports it.";
        SENT = Counter "heartbeat_sent_total" []
            "Heartbeats sent. Always equal to received + lost + in flight.";
        RECEIVED = Counter "heartbeat_received_total" []
            "Heartbeats answered within the timeout.";
        RESULTS = Counter "heartbeat_results_total" [Result]
            "Heartbeats answered within the timeout, by the result in the answer. The results of a target add up to heartbeat_received_total. Only for protocols that have results.";
        LOST = Counter "heartbeat_lost_total" []
            "Heartbeats sent but not answered within the timeout. Divide by heartbeat_sent_total for the loss ratio.";
        IN_FLIGHT = Gauge "heartbeat_in_flight" []
            "Heartbeats sent that are neither answered nor timed out yet.";
        UNSENT = Counter "heartbeat_unsent_total" [Reason]
            "Heartbeats that were due but not sent, by reason. All reasons except skipped count as misses; skipped means that the probe itself was late.";
        LATE = Counter "heartbeat_late_total" []
            "First answers that arrived after the timeout. heartbeat_lost_total includes these heartbeats.";
        DUPLICATES = Counter "heartbeat_duplicates_total" []
            "Additional answers to a heartbeat that was already answered (RFC 5560).";
        REORDERED = Counter "heartbeat_reordered_total" []
            "Answers that arrived after the answer to a newer heartbeat (RFC 4737).";
        ONE_WAY_LOST = Counter "heartbeat_one_way_lost_total" [Direction]
            "Lost heartbeats by direction, from the sequence numbers of a stateful STAMP reflector. forward: the request did not reach the responder. backward: the reply did not reach the probe. Counted later than in heartbeat_lost_total: when two timeouts have passed since the heartbeat was sent and a later heartbeat has been answered.";
        INVALID_REPLIES = Counter "heartbeat_invalid_replies_total" [Reason]
            "Datagrams from the target's address that do not answer a heartbeat, by reason.";
        OTHER_SOURCE_REPLIES = Counter "heartbeat_other_source_replies_total" []
            "Answers to the target's heartbeats that came from another address, counted only while the target misses answers. The heartbeats that they answer are lost.";
        CONSECUTIVE_MISSES = Gauge "heartbeat_consecutive_misses" []
            "Consecutive misses since the newest answered heartbeat. The target is down when this reaches heartbeat_target_misses.";
        STATE_CHANGES = Counter "heartbeat_state_changes_total" [State]
            "Changes of the target's state, by new state, including the first verdict.";
        STATE_CHANGE_TIMESTAMP = Gauge "heartbeat_state_change_timestamp_seconds" []
            "Unix time of the last change of heartbeat_up, in seconds. Absent until the first verdict.";
        LAST_REPLY_TIMESTAMP = Gauge "heartbeat_last_reply_timestamp_seconds" []
            "Unix time of the last answer within the timeout, in seconds. Absent until the first answer.";
        DOWN_SECONDS = Counter "heartbeat_down_seconds_total" []
            "Time that the target was down, in seconds, including the current outage.";
        LOSS_BURST_LENGTH = Histogram "heartbeat_loss_burst_length" []
            "Lengths of completed loss periods (runs of consecutive lost heartbeats, RFC 3357), in heartbeats.";
        ICMP_ERRORS = Counter "heartbeat_icmp_errors_total" [Kind]
            "ICMP errors about the target's heartbeats, by kind. They explain losses but do not change the state of the target. port_unreachable means that the host is up and nothing listens on the port.";
        TIME_DIFFERENCE = Gauge "heartbeat_time_difference_seconds" []
            "Responder's receive time minus the probe's send time in the last answer, in seconds: forward delay plus the offset of the responder's clock. May be negative. Absent if the protocol does not report it.";
        TURNAROUND = Summary "heartbeat_turnaround_seconds" []
            "Time from the responder's receive timestamp to its transmit timestamp, in seconds.";
        TURNAROUND_INVALID = Counter "heartbeat_turnaround_invalid_total" []
            "Heartbeats answered within the timeout whose answer reports a turnaround that is negative or longer than the round trip. The turnaround is ignored: it is neither subtracted from the delay nor part of heartbeat_turnaround_seconds.";
        IPDV = Summary "heartbeat_ipdv_seconds" []
            "Absolute difference between the round-trip delays of two consecutive heartbeats that were both answered, in seconds. RFC 3393 defines a signed one-way value instead.";
        REPLY_TTL = Gauge "heartbeat_reply_ttl" []
            "Hop limit (TTL) of the last answer. A change means that the return path changed. Absent until the first answer.";
        RESOLVED = Gauge "heartbeat_resolved" []
            "1 if the last lookup of the target's name succeeded, otherwise 0. Always 1 if the configuration has an address instead of a name.";
        LOOKUP_FAILURES = Counter "heartbeat_lookup_failures_total" [Reason]
            "Lookups that gave the target no address, by reason. nxdomain means that the name does not exist, no_address that it has no address of the wanted IP version. Only for targets with a name.";
        ADDRESS_CHANGES = Counter "heartbeat_address_changes_total" []
            "Changes of the address that heartbeats go to: the previous address failed, the name no longer has it, or the configuration changed.";
        TARGET_INFO = Gauge "heartbeat_target_info" [Address, Protocol]
            "Always 1. The labels are the target's configured address and protocol.";
        TARGET_ENDPOINT_INFO = Gauge "heartbeat_target_endpoint_info" [Endpoint, IpVersion]
            "Always 1. The labels are the address that heartbeats go to now, and its IP version. Absent while the target has no address.";
        TARGET_INTERVAL = Gauge "heartbeat_target_interval_seconds" []
            "Configured interval between heartbeats, in seconds.";
        TARGET_TIMEOUT = Gauge "heartbeat_target_timeout_seconds" []
            "Configured timeout of a heartbeat, in seconds.";
        TARGET_MISSES = Gauge "heartbeat_target_misses" []
            "Configured number of consecutive misses after which the target is down.";
    }
}

families! {
    /// The families of the probe itself.
    PROBE {
        SCHEDULE_LAG = Histogram "heartbeat_probe_schedule_lag_seconds" []
            "Delay between the scheduled and the actual send time of heartbeats, in seconds.";
        RECEIVE_DROPS = Counter "heartbeat_probe_receive_drops_total" []
            "Datagrams that the kernel dropped because the probe's socket buffers were full. Dropped answers count as lost heartbeats.";
        FRESH_PORTS = Counter "heartbeat_probe_fresh_ports_total" []
            "Source ports opened because a target stayed down. If heartbeats from such a fresh port are answered, a NAT or load balancer on the path has an outdated entry for the usual one.";
        TIMESTAMPS = Counter "heartbeat_probe_timestamps_total" ["source"]
            "Round-trip delays by the source of their timestamps. Delays from user timestamps include time spent in the probe's machine.";
        IMPAIRED = Gauge "heartbeat_probe_impaired" []
            "1 if the probe sent a heartbeat more than 100 ms late, skipped one, or its sockets dropped datagrams within the last 60 s, otherwise 0. While this is 1, the probe's figures are unreliable.";
        UNMATCHED = Counter "heartbeat_probe_unmatched_total" ["reason"]
            "Datagrams that match no target, and ICMP errors that quote no target's heartbeat, by reason.";
        CLOCK_SYNCHRONIZED = Gauge "heartbeat_probe_clock_synchronized" []
            "1 if the kernel reports that a time daemon keeps the probe's wall clock synchronised to UTC; 0 if not, or if the kernel reports nothing. Delays do not depend on it; heartbeat_time_difference_seconds does.";
        CLOCK_ERROR = Gauge "heartbeat_probe_clock_error_seconds" []
            "Maximum difference of the probe's wall clock from UTC according to the kernel, in seconds; at least 16 if the clock is not synchronised.";
        CONFIG_RELOAD_SUCCESSFUL = Gauge "heartbeat_config_last_reload_successful" []
            "1 if the last attempt to load the configuration succeeded, 0 if it failed and an older configuration is in use.";
        CONFIG_RELOAD_TIMESTAMP = Gauge "heartbeat_config_last_reload_success_timestamp_seconds" []
            "Unix time at which the configuration in use was loaded, in seconds.";
    }
}

families! {
    /// The families of the responder: the ground truth for a probe's figures.
    RESPONDER {
        RESPONDER_RECEIVED = Counter "heartbeat_responder_received_total" ["protocol"]
            "Requests received, by protocol, whether answered or not.";
        RESPONDER_REPLIED = Counter "heartbeat_responder_replied_total" ["protocol"]
            "Replies handed to the kernel, by protocol, without the duplicates that an impairment adds.";
        RESPONDER_DROPPED = Counter "heartbeat_responder_dropped_total" ["reason"]
            "Datagrams not answered, by reason. The reasons loss, burst_loss, outage and overflow are impairments.";
        RESPONDER_IMPAIRED = Counter "heartbeat_responder_impaired_total" ["kind"]
            "Replies changed by an impairment, by kind.";
        RESPONDER_SEND_ERRORS = Counter "heartbeat_responder_send_errors_total" []
            "Replies that the kernel did not accept.";
        RESPONDER_RECEIVE_DROPS = Counter "heartbeat_responder_receive_drops_total" []
            "Datagrams that the kernel dropped because the responder's socket buffers were full. Counted when the next datagram arrives.";
    }
}

families! {
    /// The families of both programs.
    COMMON {
        BUILD_INFO = Gauge "heartbeat_build_info" ["version"]
            "Always 1. The label is the version of the program.";
    }
}
