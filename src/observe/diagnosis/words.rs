//! The text of a diagnosis: summary, facts and advice.

use std::time::Duration;

use crate::config::format_duration;
use crate::model::{InvalidReason, Label, State, UnsentReason};
use crate::session::Symptoms;
use crate::wire::ROUTER_PORT;

use super::lookup::{lookup_advice, lookup_words};
use super::{Case, Cause, Misses};

impl Case<'_> {
    /// The cause in one short sentence.
    pub(super) fn summary(&self, cause: Cause) -> String {
        let port = self.port();
        match cause {
            Cause::Unresolved => {
                format!("the name cannot be resolved{}", self.lookup_reason())
            }
            Cause::AddressShared => {
                "too many targets share this address: the protocol cannot distinguish them"
                    .to_owned()
            }
            Cause::NoRoute => match self.target.packets.interface {
                None => "heartbeats do not leave: no route to the address".to_owned(),
                Some(interface) => format!(
                    "heartbeats do not leave: no route to the address through interface {interface}"
                ),
            },
            Cause::SourceUnavailable => self.source_unavailable(),
            Cause::InterfaceUnavailable => format!(
                "heartbeats do not leave: the probe's machine has no interface {}",
                self.interface()
            ),
            Cause::BroadcastAddress => {
                "heartbeats do not leave: the address is a broadcast address".to_owned()
            }
            Cause::Refused => {
                "heartbeats do not leave: refused by a firewall on the probe's machine".to_owned()
            }
            Cause::BufferFull => {
                "heartbeats do not leave: the send buffer of the probe's machine is full".to_owned()
            }
            Cause::SendFailed => "heartbeats do not leave: the kernel reports an error".to_owned(),
            Cause::PortUnreachable => {
                format!("port unreachable: the host is up, but nothing listens on UDP port {port}")
            }
            Cause::HostUnreachable => {
                "host unreachable: a router reports that it cannot reach the host".to_owned()
            }
            Cause::NetUnreachable => {
                "network unreachable: a router reports that it has no route".to_owned()
            }
            Cause::AdminProhibited => "prohibited by a firewall on the path".to_owned(),
            Cause::TtlExceeded => match self.target.packets.ttl {
                None => "hop limit exceeded: a routing loop on the path".to_owned(),
                Some(ttl) => format!(
                    "hop limit exceeded: the path has more than {ttl} hops (`ttl`), or a routing loop"
                ),
            },
            Cause::TooBig if self.is_unsent(UnsentReason::TooBig) => {
                "heartbeats do not leave: they exceed the MTU of the probe's own interface"
                    .to_owned()
            }
            Cause::TooBig => "heartbeats exceed the MTU of a link on the path".to_owned(),
            Cause::IcmpError => "an ICMP error comes back".to_owned(),
            Cause::OtherSource => match self.symptoms.last_other_source {
                Some(last) => {
                    format!("answers come from {} instead of {}", last.what, self.destination())
                }
                None => "answers come from another address".to_owned(),
            },
            Cause::LateAnswers => {
                let timeout = format_duration(self.target.timeout);
                format!("late answers: they take longer than the timeout of {timeout}")
            }
            Cause::Unauthenticated => {
                "replies fail authentication: probe and responder have different keys".to_owned()
            }
            Cause::InvalidReplies => self.invalid_replies(),
            Cause::Recovering => {
                let (answers, needed) = (self.symptoms.answers, self.target.recoveries);
                format!("recovering: {answers} of {needed} consecutive answers so far")
            }
            Cause::LookupFailed => {
                format!(
                    "the name no longer resolves{}; heartbeats go to its last known address",
                    self.lookup_reason()
                )
            }
            Cause::ProbeImpaired => {
                "the probe itself is late or drops datagrams: its figures are unreliable".to_owned()
            }
            Cause::RandomLoss => {
                format!(
                    "random loss alone can explain the misses: {} were missed before",
                    self.usual()
                )
            }
            Cause::Lossy => format!("{} are missed", self.usual()),
            Cause::NoAnswer if self.earlier_icmp() => {
                "no answer, and no recent ICMP error: the host is off, or a firewall or the server \
                 drops heartbeats"
                    .to_owned()
            }
            Cause::NoAnswer => {
                "no answer, and no ICMP error: the host is off, or a firewall or the server \
                 drops heartbeats"
                    .to_owned()
            }
        }
    }

    /// What to do, as a sentence.
    pub(super) fn advice(&self, cause: Cause) -> String {
        let port = self.port();
        let host = &self.target.address.host;
        let address =
            self.evidence.endpoint.map_or_else(|| host.to_string(), |at| at.ip().to_string());
        if let Some(advice) = self.router_advice(cause) {
            return advice;
        }
        match cause {
            Cause::Unresolved | Cause::LookupFailed => self.lookup_advice(),
            Cause::AddressShared => {
                "Give the targets different addresses or ports, or start more workers.".to_owned()
            }
            Cause::SendFailed => format!(
                "Check the address with `ip route get {address}` on the probe's machine: the kernel \
                 does not send to it."
            ),
            Cause::NoRoute => format!(
                "Run `ip route get {address}` on the probe's machine: it has no route, no IPv6, or \
                 its link is down."
            ),
            Cause::SourceUnavailable if self.mixes_versions() => {
                "Use a `source` and an address of the same IP version.".to_owned()
            }
            Cause::SourceUnavailable => format!(
                "Add the address to an interface of the probe's machine, or change `source`. If it is \
                 there already, `ip route get {address} from {}` shows what is wrong.",
                self.source()
            ),
            Cause::InterfaceUnavailable => format!(
                "Check the name with `ip link`, or change `interface`; the probe sends as soon as {} \
                 is there.",
                self.interface()
            ),
            Cause::BroadcastAddress => format!(
                "Use the address of one host instead of {address}; `ip route get {address}` on the \
                 probe's machine shows the network."
            ),
            Cause::Refused => "Check the output rules of the firewall on the probe's machine, and \
                               the machine's routes of type `prohibit`."
                .to_owned(),
            Cause::BufferFull => "Check the network interface of the probe's machine with \
                                  `ip -s link` and `tc -s qdisc`."
                .to_owned(),
            Cause::PortUnreachable => {
                format!(
                    "Start the responder on the host, or correct the port ({port}); a firewall that \
                     rejects UDP looks the same."
                )
            }
            Cause::HostUnreachable => {
                format!("Check that the host is on, then the route to {address}.")
            }
            Cause::NetUnreachable | Cause::TtlExceeded => {
                format!("Check the routing on the path with `traceroute {address}`.")
            }
            Cause::AdminProhibited => {
                format!("Ask the owner of the firewall to open UDP port {port} in both directions.")
            }
            Cause::TooBig if self.target.packets.dont_fragment => {
                "Check the MTU of links and tunnels on the path, or set a smaller `size`."
                    .to_owned()
            }
            Cause::TooBig => "Check the MTU of links and tunnels on the path.".to_owned(),
            Cause::IcmpError => {
                "Look at the error with `tcpdump icmp or icmp6` on the probe's machine.".to_owned()
            }
            Cause::OtherSource => format!(
                "Make the server answer from the address that requests go to ({}): bind it to that \
                 address, or use `heartbeat-responder`, which always answers from it. Or monitor the \
                 other address.",
                self.destination()
            ),
            Cause::LateAnswers => "Set a longer `timeout`; it may exceed the interval.".to_owned(),
            Cause::Unauthenticated => {
                "Give the same key file to the probe and to the responder.".to_owned()
            }
            Cause::InvalidReplies => format!(
                "Check that the target speaks `{}` on UDP port {port}.",
                self.target.protocol.name()
            ),
            Cause::Recovering => {
                format!("Wait: it is up after {} consecutive answers.", self.target.recoveries)
            }
            Cause::ProbeImpaired => "Give the probe's machine more CPU, and check \
                 `heartbeat_probe_receive_drops_total`."
                .to_owned(),
            Cause::RandomLoss => format!(
                "Raise `misses`: `heartbeat-probe odds --loss {} --misses 3,4,5` shows how often \
                 chance looks like an outage.",
                percent(self.symptoms.typical).replace(' ', "")
            ),
            Cause::Lossy => "Compare with other targets and other probes to find the lossy \
                             path; check the responder's `heartbeat_responder_dropped_total` and \
                             `heartbeat_responder_receive_drops_total`."
                .to_owned(),
            Cause::NoAnswer => format!(
                "Check that the host is on and that UDP port {port} is open in both directions; \
                 `tcpdump udp port {port}` on the far side shows whether heartbeats arrive."
            ),
        }
    }

    /// What to do if a target at our own port may be a router.
    fn router_advice(&self, cause: Cause) -> Option<String> {
        let may_be_router = matches!(cause, Cause::NoAnswer | Cause::PortUnreachable);
        let router = self.router().filter(|_| may_be_router)?;
        Some(format!(
            "If it is a router, write `stamp://{router}`: routers listen on UDP port {ROUTER_PORT}. \
             Otherwise start the responder, and open UDP port {} in both directions.",
            self.port()
        ))
    }

    /// The name that was looked up. Lookups concern only targets that have one.
    fn lookup_name(&self) -> &str {
        self.target.lookup_name().unwrap_or_default()
    }

    fn lookup_advice(&self) -> String {
        let host = self.lookup_name();
        let what_to_do = self.evidence.lookup_failure.map_or_else(
            || format!("check DNS with `getent hosts {host}`"),
            |why| lookup_advice(host, why),
        );
        capitalized(&what_to_do) + "; the probe retries at least once a minute."
    }

    /// The facts, with figures.
    pub(super) fn facts(&self) -> Vec<String> {
        let Symptoms { state, misses, last_reply, newest, last_icmp, one_way_lost, .. } =
            *self.symptoms;
        let mut facts = Vec::new();
        if state != Some(State::Up) {
            if misses > 0 {
                let (run, needed) = (consecutive(misses), self.target.misses);
                facts.push(format!("{run}; the target is down after {needed}"));
            }
            facts.push(match last_reply {
                Some(at) => format!("the last answer in time came {} ago", span(self.age(at))),
                None => "no heartbeat has been answered in time".to_owned(),
            });
        }
        let mut outcomes = Vec::new();
        for (count, what) in
            [(newest.received, "received"), (newest.lost, "lost"), (newest.late, "answered late")]
        {
            if count > 0 {
                outcomes.push(format!("{count} {what}"));
            }
        }
        for (reason, &count) in UnsentReason::ALL.iter().zip(&newest.unsent) {
            match (reason, count) {
                (_, 0) => {}
                (UnsentReason::Skipped, _) => {
                    outcomes.push(format!("{count} skipped by the probe"));
                }
                _ => outcomes.push(format!("{count} not sent ({})", words(reason.label()))),
            }
        }
        if !outcomes.is_empty() {
            facts.push(format!("the newest heartbeats: {}", outcomes.join(", ")));
        }
        if let Some(icmp) = last_icmp.filter(|icmp| self.is_present(icmp.at)) {
            facts.push(format!(
                "the last ICMP error came {} ago: {} ({} in all)",
                span(self.age(icmp.at)),
                words(icmp.what.label()),
                icmp.count
            ));
        }
        if let Some(other) = self.symptoms.last_other_source.filter(|last| self.is_present(last.at))
        {
            facts.push(format!(
                "the last answer from another address came {} ago, from {} ({} in all)",
                span(self.age(other.at)),
                other.what,
                other.count
            ));
        }
        if let Some(invalid) = self.symptoms.last_invalid.filter(|last| self.is_present(last.at)) {
            facts.push(format!(
                "the last invalid reply came {} ago: {} ({} in all)",
                span(self.age(invalid.at)),
                words(invalid.what.label()),
                invalid.count
            ));
        }
        if !self.evidence.resolved {
            facts.push(match self.evidence.lookup_failure {
                Some(why) => {
                    let why = lookup_words(self.lookup_name(), why);
                    format!("the last lookup of the name failed: {why}")
                }
                None => "the first lookup of the name has not finished".to_owned(),
            });
        }
        if self.evidence.impaired {
            facts.push("the probe was late or dropped datagrams in the last minute".to_owned());
        }
        if self.loss().is_some_and(|loss| loss > 0.0) {
            let Misses { missed, settled } = self.symptoms.usual;
            let when =
                if state == Some(State::Up) { "in the last minutes" } else { "before the outage" };
            facts.push(format!("{missed} of {settled} heartbeats were missed {when}"));
        }
        if state == Some(State::Down)
            && let Some(expected) = self.chance().filter(|expected| expected.is_finite())
        {
            facts.push(format!(
                "at this loss, chance alone causes {} once in {expected:.0} heartbeats",
                consecutive(misses)
            ));
        }
        if state == Some(State::Up) && one_way_lost != [0, 0] {
            let [forward, backward] = one_way_lost;
            facts.push(format!(
                "{forward} lost forward and {backward} lost backward since the probe started"
            ));
        }
        facts
    }

    /// Why the last lookup failed, as the end of a sentence.
    fn lookup_reason(&self) -> String {
        let (why, host) = (self.evidence.lookup_failure, self.lookup_name());
        why.map_or_else(String::new, |why| format!(": {}", lookup_words(host, why)))
    }

    fn invalid_replies(&self) -> String {
        let protocol = self.target.protocol.name();
        match self.invalid().map(|invalid| invalid.what) {
            Some(InvalidReason::UnknownSequence) => {
                "invalid replies: they answer heartbeats that were never sent".to_owned()
            }
            Some(InvalidReason::Mismatch) => {
                "invalid replies: they do not repeat the contents of the heartbeats".to_owned()
            }
            _ => format!("invalid replies: they are not `{protocol}` packets"),
        }
    }

    /// Why heartbeats do not leave from the target's source address.
    fn source_unavailable(&self) -> String {
        let source = self.source();
        if let Some(ip) = self.evidence.endpoint.map(|at| at.ip())
            && self.mixes_versions()
        {
            return format!(
                "heartbeats do not leave: the source {source} and the address {ip} have different \
                 IP versions"
            );
        }
        format!(
            "heartbeats do not leave: the probe's machine does not have the source address {source}"
        )
    }

    /// Whether the source address is of another IP version than the address in use.
    fn mixes_versions(&self) -> bool {
        self.evidence.endpoint.is_some_and(|at| !self.target.packets.admit(at.ip()))
    }

    /// The source address as configured.
    fn source(&self) -> String {
        self.target.packets.source.map_or_else(String::new, |source| source.to_string())
    }

    /// The interface as configured.
    fn interface(&self) -> String {
        self.target.packets.interface.map_or_else(String::new, |interface| interface.to_string())
    }

    /// Whether the newest settled heartbeat could not leave for this reason.
    fn is_unsent(&self, reason: UnsentReason) -> bool {
        self.symptoms.newest.newest_unsent == Some(reason)
    }

    fn port(&self) -> u16 {
        self.target.address.port
    }

    /// The address that heartbeats go to.
    fn destination(&self) -> String {
        let endpoint = self.evidence.endpoint;
        endpoint.map_or_else(|| self.target.address.to_string(), |at| at.to_string())
    }

    /// The usual loss as a percentage of heartbeats.
    fn usual(&self) -> String {
        format!("{} of heartbeats", percent(self.symptoms.usual))
    }

    /// Whether an ICMP error came during the current outage.
    fn earlier_icmp(&self) -> bool {
        self.symptoms.last_icmp.is_some_and(|icmp| self.is_present(icmp.at))
    }
}

fn percent(misses: Misses) -> String {
    format!("{:.1} %", misses.ratio().unwrap_or(0.0) * 100.0)
}

/// The sentence with a capital letter at its beginning.
fn capitalized(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn words(label: &str) -> String {
    label.replace('_', " ")
}

fn consecutive(misses: u64) -> String {
    if misses == 1 {
        "1 consecutive miss".to_owned()
    } else {
        format!("{misses} consecutive misses")
    }
}

/// A span of time in its two largest units; in tenths of a second below 10 s.
fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let two = |(great, unit): (u64, &str), (small, smaller): (u64, &str)| match small {
        0 => format!("{great} {unit}"),
        _ => format!("{great} {unit} {small} {smaller}"),
    };
    match seconds {
        0..10 => format!("{:.1} s", span.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => two((seconds / 60, "min"), (seconds % 60, "s")),
        3600..86_400 => two((seconds / 3600, "h"), (seconds % 3600 / 60, "min")),
        _ => two((seconds / 86_400, "d"), (seconds % 86_400 / 3600, "h")),
    }
}
