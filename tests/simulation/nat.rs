//! Address translation on the path to a target, which remembers where the datagrams of each source
//! port go.

use std::collections::BTreeMap;
use std::time::Duration;

use udp_heartbeat::model::Mono;

use crate::clock::START;
use crate::scenario;

/// The translation on the path to one target.
#[derive(Debug)]
pub(crate) struct Nat {
    /// How long an entry is kept without a datagram.
    idle: Duration,
    /// When the server moves: entries from before lead nowhere.
    moves: Vec<Mono>,
    /// By source port: when the entry was made, and when it was last used.
    entries: BTreeMap<u16, (Mono, Mono)>,
}

impl Nat {
    pub(crate) fn new(nat: &scenario::Nat) -> Self {
        Self {
            idle: nat.idle.0,
            moves: nat.moves.iter().map(|at| START + at.0).collect(),
            entries: BTreeMap::new(),
        }
    }

    /// Whether a datagram that leaves from `port` at `now` reaches the server.
    pub(crate) fn passes(&mut self, port: u16, now: Mono) -> bool {
        let (made, used) = self.entries.entry(port).or_insert((now, now));
        if now.since(*used) > self.idle {
            *made = now;
        }
        *used = now;
        let has_moved = |at: &Mono| (*made..now).contains(at);
        !self.moves.iter().any(has_moved)
    }
}
