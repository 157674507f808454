//! The flight recorder: the newest heartbeats one by one, and a copy of them from the moment when
//! the target last went down.
//!
//! The heartbeats are read from the ledger's ring, so that recording costs nothing per heartbeat.
//! The copy is made when the verdict changes to down.

use crate::model::Wall;

use super::heartbeat::Heartbeat;
use super::ledger::{Entry, Ledger};

/// The contents of one target's flight recorder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The newest heartbeats, oldest first.
    pub newest: Vec<Heartbeat>,
    /// The newest heartbeats at the last change to down, if there was one.
    pub frozen: Option<Frozen>,
}

/// The heartbeats before a change to down, with their outcomes at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen {
    /// When the verdict changed to down.
    pub down: Wall,
    /// The heartbeats, oldest first.
    pub heartbeats: Vec<Heartbeat>,
}

/// The flight recorder of one target.
#[derive(Debug)]
pub(super) struct Recorder {
    /// How many heartbeats it keeps.
    depth: u32,
    frozen: Option<Box<Copied>>,
}

/// A copy of a part of the ledger's ring.
#[derive(Debug)]
struct Copied {
    down: Wall,
    /// The number of the first heartbeat.
    first: u64,
    slots: Box<[Entry]>,
}

impl Recorder {
    /// A recorder of the newest `depth` heartbeats.
    pub(super) fn new(depth: u32) -> Self {
        Self { depth, frozen: None }
    }

    /// Keeps the newest `depth` heartbeats from now on. The frozen copy stays as it is.
    pub(super) fn retune(&mut self, depth: u32) {
        self.depth = depth;
    }

    /// Copies the newest heartbeats because the target went down at `down`.
    pub(super) fn freeze(&mut self, ledger: &Ledger, down: Wall) {
        let (first, slots) = ledger.newest(self.depth.into());
        self.frozen = Some(Box::new(Copied { down, first, slots: slots.collect() }));
    }

    /// The contents of the recorder.
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
