//! The identity of a target inside the probe.

use std::num::NonZeroU32;

/// The identity of a target inside a worker: a slot and a generation.
///
/// Slots are reused, identities are not: the next target in a slot has another generation. So the
/// identity of a removed target never matches the next target in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId {
    slot: u32,
    /// At least 1, so that `Option<TargetId>` takes no extra memory.
    generation: NonZeroU32,
}

impl TargetId {
    /// The first target in `slot`.
    #[must_use]
    pub const fn first(slot: u32) -> Self {
        Self { slot, generation: NonZeroU32::MIN }
    }

    /// The next target in the same slot. The generation wraps after 2³² − 1 targets.
    #[must_use]
    pub const fn successor(self) -> Self {
        let generation = match self.generation.checked_add(1) {
            Some(next) => next,
            None => NonZeroU32::MIN,
        };
        Self { slot: self.slot, generation }
    }

    /// The slot, which earlier and later targets share.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }
}

const _: () = assert!(size_of::<Option<TargetId>>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_in_one_slot_have_different_identities() {
        let first = TargetId::first(7);
        let second = first.successor();
        assert_ne!(first, second);
        assert_ne!(first, TargetId::first(8));
        assert_eq!((first.slot(), second.slot(), second.successor().slot()), (7, 7, 7));
        let last = TargetId { slot: 7, generation: NonZeroU32::MAX };
        assert_eq!(last.successor(), first);
    }
}
