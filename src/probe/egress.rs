//! From the packet options of a target to how one of its heartbeats leaves now.

use std::net::SocketAddr;

use crate::model::{Mono, PacketOptions, UnsentReason};
use crate::net::Egress;

use super::machine::Machine;

/// How a heartbeat to `peer` leaves from `machine` at `now`.
///
/// # Errors
/// The reason why it cannot leave: the source address is of the other family, or there is no such
/// interface.
pub(super) fn egress(
    packets: &PacketOptions,
    peer: SocketAddr,
    machine: &mut impl Machine,
    now: Mono,
) -> Result<Egress, UnsentReason> {
    let PacketOptions { source, interface, dscp, ttl, dont_fragment } = *packets;
    if !packets.admit(peer.ip()) {
        return Err(UnsentReason::SourceUnavailable);
    }
    let interface = match interface {
        None => None,
        Some(name) => {
            let number = machine.interface(name, now);
            Some(number.ok_or(UnsentReason::InterfaceUnavailable)?)
        }
    };
    let traffic_class = dscp.traffic_class();
    Ok(Egress { source, interface, traffic_class, hop_limit: ttl, dont_fragment })
}
