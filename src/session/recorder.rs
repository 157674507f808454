//! The flight recorder: what became of the newest heartbeats, one by one, and the same as it stood
//! when the target last went down.
//!
//! The ledger's ring is the record; here is what is told of it, and the copy that is frozen. It
//! costs nothing on a heartbeat's way: the copy is made when the verdict changes to down.

use crate::model::Wall;

use super::heartbeat::Heartbeat;
use super::ledger::{Entry, Ledger};

/// What the flight recorder of one target holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The newest heartbeats, from the oldest on.
    pub newest: Vec<Heartbeat>,
    /// The newest at the moment of the last change to down, if there was one.
    pub frozen: Option<Frozen>,
}

/// The heartbeats before a change to down, as they stood then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// When the target was called down.
    pub down: Wall,
    /// From the oldest on.
    pub heartbeats: Vec<Heartbeat>,
}

/// The flight recorder of one target.
#[derive(Debug)]
pub(super) struct Recorder {
    /// How many heartbeats it holds.
    depth: u32,
    frozen: Option<Box<Copied>>,
}

/// Part of the ledger's ring.
#[derive(Debug)]
struct Copied {
    down: Wall,
    /// The number of the first.
    first: u64,
    slots: Box<[Entry]>,
}

impl Recorder {
    /// A recorder of the newest `depth` heartbeats.
    pub(super) fn new(depth: u32) -> Self {
        Self { depth, frozen: None }
    }

    /// From now on, it holds the newest `depth` heartbeats; what it has frozen stays as it is.
    pub(super) fn retune(&mut self, depth: u32) {
        self.depth = depth;
    }

    /// The target is called down at `down`: keeps what led to it.
    pub(super) fn freeze(&mut self, ledger: &Ledger, down: Wall) {
        let (first, slots) = ledger.newest(self.depth.into());
        self.frozen = Some(Box::new(Copied { down, first, slots: slots.collect() }));
    }

    /// Everything there is to tell.
    pub(super) fn recording(&self, ledger: &Ledger) -> Recording {
        let (first, slots) = ledger.newest(self.depth.into());
        Recording {
            newest: heartbeats(first, slots),
            frozen: self.frozen.as_ref().map(|copied| Frozen {
                down: copied.down,
                heartbeats: heartbeats(copied.first, copied.slots.iter().copied()),
            }),
        }
    }
}

fn heartbeats(first: u64, slots: impl Iterator<Item = Entry>) -> Vec<Heartbeat> {
    (first..).zip(slots).map(|(sequence, slot)| slot.heartbeat(sequence)).collect()
}
