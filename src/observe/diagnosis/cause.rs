//! The causes of trouble, as a closed set of words.

use crate::model::{IcmpKind, UnsentReason, labels};

labels! {
    /// Why a target is down or loses heartbeats. The words are stable.
    pub enum Cause {
        /// The name cannot be resolved.
        Unresolved => "unresolved",
        /// Too many targets share the address: the protocol cannot distinguish them.
        AddressShared => "address_shared",
        /// The probe's machine has no route to the address.
        NoRoute => "no_route",
        /// The probe's machine does not have the target's source address.
        SourceUnavailable => "source_unavailable",
        /// The probe's machine does not have the target's interface.
        InterfaceUnavailable => "interface_unavailable",
        /// The address is a broadcast address of a network of the probe's machine.
        BroadcastAddress => "broadcast_address",
        /// The probe's machine refuses to send: a local firewall.
        Refused => "refused",
        /// The send buffer or the device's queue of the probe's machine is full.
        BufferFull => "buffer_full",
        /// The kernel does not send, for any other reason.
        SendFailed => "send_failed",
        /// The host is up, and nothing listens on the port.
        PortUnreachable => "port_unreachable",
        /// A router cannot reach the host.
        HostUnreachable => "host_unreachable",
        /// A router has no route to the network.
        NetUnreachable => "net_unreachable",
        /// A firewall on the path rejects heartbeats.
        AdminProhibited => "admin_prohibited",
        /// The hop limit runs out on the path.
        TtlExceeded => "ttl_exceeded",
        /// Heartbeats are larger than a link of the path, or the probe's own interface, carries.
        TooBig => "too_big",
        /// Any other ICMP error.
        IcmpError => "icmp_error",
        /// Answers come from an address other than the target's.
        OtherSource => "other_source",
        /// Answers arrive after the timeout.
        LateAnswers => "late_answers",
        /// Replies are not authenticated with the target's key.
        Unauthenticated => "unauthenticated",
        /// Something answers, but not with valid replies.
        InvalidReplies => "invalid_replies",
        /// The target answers again, but not yet often enough to be up.
        Recovering => "recovering",
        /// The name no longer resolves; heartbeats go to its last address.
        LookupFailed => "lookup_failed",
        /// The probe itself is late or drops datagrams.
        ProbeImpaired => "probe_impaired",
        /// The loss before the outage is so high that chance alone can explain it.
        RandomLoss => "random_loss",
        /// The target is up and misses more than 5 % of heartbeats.
        Lossy => "lossy",
        /// Nothing comes back: no answer, and no ICMP error.
        NoAnswer => "no_answer",
    }
}

impl Cause {
    /// The cause for unsent heartbeats of a target with an address. `None` if `reason` does not
    /// explain them.
    pub(super) fn of_unsent(reason: UnsentReason) -> Option<Self> {
        match reason {
            UnsentReason::NoRoute => Some(Self::NoRoute),
            UnsentReason::SourceUnavailable => Some(Self::SourceUnavailable),
            UnsentReason::InterfaceUnavailable => Some(Self::InterfaceUnavailable),
            UnsentReason::Broadcast => Some(Self::BroadcastAddress),
            UnsentReason::Refused => Some(Self::Refused),
            UnsentReason::TooBig => Some(Self::TooBig),
            UnsentReason::Buffer => Some(Self::BufferFull),
            UnsentReason::Other => Some(Self::SendFailed),
            UnsentReason::Unresolved | UnsentReason::Skipped => None,
        }
    }

    /// The cause that an ICMP error reports.
    pub(super) fn of_icmp(kind: IcmpKind) -> Self {
        match kind {
            IcmpKind::PortUnreachable => Self::PortUnreachable,
            IcmpKind::HostUnreachable => Self::HostUnreachable,
            IcmpKind::NetUnreachable => Self::NetUnreachable,
            IcmpKind::AdminProhibited => Self::AdminProhibited,
            IcmpKind::TtlExceeded => Self::TtlExceeded,
            IcmpKind::TooBig => Self::TooBig,
            IcmpKind::Other => Self::IcmpError,
        }
    }
}
