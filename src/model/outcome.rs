//! What can become of a heartbeat, a reply or a datagram: the labels of the metrics and their values.

use super::labels::labels;

labels! {
    /// The labels that metrics of targets have beside `target` and the configured ones. The
    /// catalogue of metrics takes them from here, and no target may have one of the same name.
    pub enum TargetLabel {
        /// The address as configured.
        Address => "address",
        /// The way on which a heartbeat was lost.
        Direction => "direction",
        /// The kind of an ICMP error.
        Kind => "kind",
        /// The protocol of the target.
        Protocol => "protocol",
        /// Why something happened.
        Reason => "reason",
        /// What an answer reports.
        Result => "result",
        /// A verdict on the target.
        State => "state",
    }
}

labels! {
    /// Why a heartbeat that was due never left (`heartbeat_unsent_total`).
    pub enum UnsentReason {
        /// The name of the target has never been resolved to an address.
        Unresolved => "unresolved",
        /// The kernel has no route, or no socket of the address family.
        NoRoute => "no_route",
        /// The kernel refused: a local firewall, or a standing ICMP error.
        Refused => "refused",
        /// The socket's send buffer, or the device's queue, was full.
        Buffer => "buffer",
        /// The probe itself was late by more than an interval. Not the target's fault: no miss.
        Skipped => "skipped",
        /// Any other error of the kernel.
        Other => "other",
    }
}

labels! {
    /// Why a datagram from a target's address is no answer (`heartbeat_invalid_replies_total`).
    pub enum InvalidReason {
        /// Not a reply of the target's protocol.
        Malformed => "malformed",
        /// The key does not vouch for it.
        Unauthenticated => "unauthenticated",
        /// A sequence number that has not been sent.
        UnknownSequence => "unknown_sequence",
        /// A heartbeat settled so long ago that it is no longer remembered.
        Expired => "expired",
        /// The reply repeats other contents than were sent.
        Mismatch => "mismatch",
    }
}

labels! {
    /// Why a datagram belongs to no target (`heartbeat_probe_unmatched_total`).
    pub enum UnmatchedReason {
        /// It came from an address that is not probed, or is an ICMP error about one.
        UnknownAddress => "unknown_address",
        /// The address is probed, but several targets share it and the reply, or what the ICMP error
        /// quotes, names none of them.
        UnknownSession => "unknown_session",
    }
}

labels! {
    /// The verdict on a target (`heartbeat_state_changes_total`).
    pub enum State {
        /// The newest answered heartbeats say it lives.
        Up => "up",
        /// As many consecutive heartbeats as `misses` went unanswered.
        Down => "down",
    }
}

labels! {
    /// The two ways of a heartbeat (RFC 7680), of which it was lost on one
    /// (`heartbeat_one_way_lost_total`).
    pub enum Direction {
        /// From the probe to the responder.
        Forward => "forward",
        /// From the responder to the probe.
        Backward => "backward",
    }
}

labels! {
    /// Where the two stamps of a round-trip delay came from (`heartbeat_probe_timestamps_total`).
    pub enum StampSource {
        /// Both from the kernel: the delay is the network's.
        Kernel => "kernel",
        /// The monotonic clock around the system calls: a kernel stamp was missing, or contradicted it.
        User => "user",
    }
}

labels! {
    /// Kinds of ICMP errors (`heartbeat_icmp_errors_total`), of IPv4 (RFC 792) and IPv6 (RFC 4443).
    pub enum IcmpKind {
        /// The host is alive, and nothing listens on the port.
        PortUnreachable => "port_unreachable",
        /// A router could not reach the host.
        HostUnreachable => "host_unreachable",
        /// A router has no route to the network.
        NetUnreachable => "net_unreachable",
        /// A firewall forbids it.
        AdminProhibited => "admin_prohibited",
        /// The hop limit ran out: a routing loop, or too small a limit.
        TtlExceeded => "ttl_exceeded",
        /// The datagram is larger than a link of the path carries.
        TooBig => "too_big",
        /// Any other error.
        Other => "other",
    }
}

labels! {
    /// Why the responder did not answer (`heartbeat_responder_dropped_total`).
    pub enum DropReason {
        /// Independent random loss (`--loss`).
        Loss => "loss",
        /// Loss in bursts (`--burst-loss`).
        BurstLoss => "burst_loss",
        /// A scheduled outage (`--outage`).
        Outage => "outage",
        /// A request of no protocol.
        Malformed => "malformed",
        /// A reply, which must never be answered.
        Reflection => "reflection",
        /// The source sent more than its share.
        RateLimited => "rate_limited",
        /// The queue of a limited bandwidth (`--bandwidth`), or of all replies that are held back,
        /// was full.
        Overflow => "overflow",
        /// No key vouches for it, and one should (`--stamp.key-file`).
        Unauthenticated => "unauthenticated",
        /// The source is not allowed, or is no address that can be answered.
        Denied => "denied",
    }
}

labels! {
    /// What the responder did to a reply on purpose (`heartbeat_responder_impaired_total`).
    pub enum ImpairmentKind {
        /// Held back (`--delay`, `--jitter`).
        Delay => "delay",
        /// Held back for want of bandwidth (`--bandwidth`).
        Bandwidth => "bandwidth",
        /// Sent twice (`--duplicate`).
        Duplicate => "duplicate",
        /// Held back so that later ones overtake it (`--reorder`).
        Reorder => "reorder",
        /// Changed in one bit (`--corrupt`).
        Corrupt => "corrupt",
    }
}
