//! The outcomes of heartbeats, replies and datagrams, as labels of metrics and their values.

use super::labels::labels;

labels! {
    /// The labels that target metrics have in addition to `target` and the configured labels. The
    /// catalogue of metrics uses these names, and a configured label must not have one of them.
    pub enum TargetLabel {
        /// The address as configured.
        Address => "address",
        /// The direction in which a heartbeat was lost.
        Direction => "direction",
        /// The address that heartbeats go to.
        Endpoint => "endpoint",
        /// The IP version of that address.
        IpVersion => "ip_version",
        /// The kind of an ICMP error.
        Kind => "kind",
        /// The protocol of the target.
        Protocol => "protocol",
        /// The reason for a count.
        Reason => "reason",
        /// The result that an answer reports.
        Result => "result",
        /// The verdict on the target.
        State => "state",
    }
}

labels! {
    /// Why a due heartbeat could not leave (`heartbeat_unsent_total`).
    pub enum UnsentReason {
        /// The target's name has never been resolved to an address.
        Unresolved => "unresolved",
        /// The kernel has no route, or no socket of the address family.
        NoRoute => "no_route",
        /// The machine does not have the target's source address.
        SourceUnavailable => "source_unavailable",
        /// The machine does not have the target's interface.
        InterfaceUnavailable => "interface_unavailable",
        /// The address is a broadcast address of a network of this machine.
        Broadcast => "broadcast",
        /// The kernel refused to send, because of a local firewall, a route that prohibits it, or a
        /// pending ICMP error.
        Refused => "refused",
        /// The datagram is larger than the MTU of the interface, and must not be fragmented.
        TooBig => "too_big",
        /// The socket's send buffer, or the device's queue, was full.
        Buffer => "buffer",
        /// The probe itself was late by more than an interval. This is not a miss, as the target is
        /// not at fault.
        Skipped => "skipped",
        /// Any other error of the kernel.
        Other => "other",
    }
}

impl UnsentReason {
    /// Whether a heartbeat to another address might have left.
    #[must_use]
    pub fn is_of_address(self) -> bool {
        match self {
            Self::NoRoute | Self::Broadcast | Self::Refused | Self::Other => true,
            Self::Unresolved
            | Self::SourceUnavailable
            | Self::InterfaceUnavailable
            | Self::TooBig
            | Self::Buffer
            | Self::Skipped => false,
        }
    }
}

labels! {
    /// Why a datagram from a target's address is not a valid answer
    /// (`heartbeat_invalid_replies_total`).
    pub enum InvalidReason {
        /// Not a reply of the target's protocol.
        Malformed => "malformed",
        /// It is not authenticated with the target's key.
        Unauthenticated => "unauthenticated",
        /// No heartbeat with this sequence number was sent.
        UnknownSequence => "unknown_sequence",
        /// The heartbeat was settled so long ago that it is no longer remembered.
        Expired => "expired",
        /// The reply does not repeat the contents that were sent.
        Mismatch => "mismatch",
    }
}

labels! {
    /// Why a datagram belongs to no target (`heartbeat_probe_unmatched_total`).
    pub enum UnmatchedReason {
        /// It came from an address without targets, or is an ICMP error about such an address.
        UnknownAddress => "unknown_address",
        /// Several targets share the address, and the reply identifies none of them.
        UnknownSession => "unknown_session",
        /// An ICMP error quotes no unanswered heartbeat of a target.
        UnknownHeartbeat => "unknown_heartbeat",
    }
}

labels! {
    /// The verdict on a target (`heartbeat_state_changes_total`).
    pub enum State {
        /// The newest heartbeats were answered.
        Up => "up",
        /// At least `misses` consecutive heartbeats were misses.
        Down => "down",
    }
}

labels! {
    /// The direction in which a heartbeat was lost (RFC 7680; `heartbeat_one_way_lost_total`).
    pub enum Direction {
        /// From the probe to the responder.
        Forward => "forward",
        /// From the responder to the probe.
        Backward => "backward",
    }
}

labels! {
    /// The source of the two timestamps of a round-trip delay (`heartbeat_probe_timestamps_total`).
    pub enum StampSource {
        /// Both timestamps are from the kernel: the delay excludes the probe's machine.
        Kernel => "kernel",
        /// At least one is from the monotonic clock, because a kernel timestamp was missing or
        /// contradicted that clock.
        User => "user",
    }
}

labels! {
    /// Kinds of ICMP errors (`heartbeat_icmp_errors_total`), of IPv4 (RFC 792) and IPv6 (RFC 4443).
    pub enum IcmpKind {
        /// The host is up, and nothing listens on the port.
        PortUnreachable => "port_unreachable",
        /// A router could not reach the host.
        HostUnreachable => "host_unreachable",
        /// A router has no route to the network.
        NetUnreachable => "net_unreachable",
        /// A firewall rejects the datagram.
        AdminProhibited => "admin_prohibited",
        /// The hop limit was exceeded, by a routing loop or because it is too small.
        TtlExceeded => "ttl_exceeded",
        /// The datagram is larger than the MTU of a link on the path.
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
        /// Not a request of any protocol.
        Malformed => "malformed",
        /// Two words of text, of which the first is not a heartbeat's number or the second is not a
        /// number.
        BadNumber => "bad_number",
        /// A heartbeat's number and a timestamp that is more than ten years from now, or whose
        /// difference from now has no room in the reply.
        BadTimestamp => "bad_timestamp",
        /// Text that is too long for a request.
        TooLong => "too_long",
        /// A STAMP request of fewer than 44 octets, whose reply would be longer
        /// (`--stamp.short-requests`).
        ShortRequest => "short_request",
        /// A reply; replies are never answered.
        Reflection => "reflection",
        /// The source exceeded its rate limit.
        RateLimited => "rate_limited",
        /// The queue of the bandwidth limit (`--bandwidth`), or the queue of held-back replies, was
        /// full.
        Overflow => "overflow",
        /// No key authenticates the request, and the responder requires one (`--stamp.key-file`).
        Unauthenticated => "unauthenticated",
        /// The source is not allowed, or its address cannot be answered.
        Denied => "denied",
    }
}

labels! {
    /// What the responder did to a reply on purpose (`heartbeat_responder_impaired_total`).
    pub enum ImpairmentKind {
        /// Held back (`--delay`, `--jitter`).
        Delay => "delay",
        /// Held back by the bandwidth limit (`--bandwidth`).
        Bandwidth => "bandwidth",
        /// Sent twice (`--duplicate`).
        Duplicate => "duplicate",
        /// Held back so that later replies overtake it (`--reorder`).
        Reorder => "reorder",
        /// One bit flipped (`--corrupt`).
        Corrupt => "corrupt",
    }
}
