//! Who a target is inside the probe, wherever it is kept.

use std::num::NonZeroU32;

/// The identity of a target inside a worker: a slot, and which user of the slot it is.
///
/// Slots are reused, identities are not: the next user of a slot has another generation. So an
/// identity that outlives its target is recognised, and never taken for the next user's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId {
    slot: u32,
    /// From 1 on, so that an `Option` of an identity takes no more room.
    generation: NonZeroU32,
}

impl TargetId {
    /// The first user of `slot`.
    #[must_use]
    pub const fn first(slot: u32) -> Self {
        Self { slot, generation: NonZeroU32::MIN }
    }

    /// The next user of the same slot. After 2³² − 1 users, generations begin anew.
    #[must_use]
    pub const fn successor(self) -> Self {
        let generation = match self.generation.checked_add(1) {
            Some(next) => next,
            None => NonZeroU32::MIN,
        };
        Self { slot: self.slot, generation }
    }

    /// The slot, which the users before and after it have as well.
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
    fn users_of_one_slot_differ_and_keep_it() {
        let first = TargetId::first(7);
        let second = first.successor();
        assert_ne!(first, second);
        assert_ne!(first, TargetId::first(8));
        assert_eq!((first.slot(), second.slot(), second.successor().slot()), (7, 7, 7));
        let last = TargetId { slot: 7, generation: NonZeroU32::MAX };
        assert_eq!(last.successor(), first);
    }
}
