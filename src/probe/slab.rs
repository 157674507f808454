//! A dense list in due order whose entries are found by identity, not by position.
//!
//! Each slot has a seat, which contains the present position of its user; that is the only
//! indirection. Visiting the entries in due order walks through memory from one end to the other.
//! Additions and removals disturb the order. It is then restored step by step: each entry that
//! falls due moves right behind the entry that fell due before it.

use crate::model::TargetId;

/// The order is restored once more than 1/`DISORDERED_SHARE` of the entries may be out of place.
const DISORDERED_SHARE: usize = 8;

/// A dense list of `T`.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// By slot. Grows to the largest slot that was ever used.
    seats: Vec<Seat>,
    /// All entries before this position are in the order in which they last fell due; from here on
    /// they may not be.
    cursor: usize,
    /// How many entries may be out of place since the cursor last started.
    disorder: usize,
}

#[derive(Debug)]
struct Entry<T> {
    id: TargetId,
    value: T,
}

/// The user of a slot, and the position of its entry.
#[derive(Debug, Clone, Copy, Default)]
struct Seat {
    user: Option<TargetId>,
    position: u32,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), seats: Vec::new(), cursor: 0, disorder: 0 }
    }
}

impl<T> Slab<T> {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All slots that were ever in use are less than this.
    pub(super) fn slots(&self) -> usize {
        self.seats.len()
    }

    /// Makes room for `additional` entries more.
    pub(super) fn reserve(&mut self, additional: usize) {
        self.entries.reserve(additional);
    }

    /// Adds an entry; returns `value` as an error if the slot has a user.
    pub(super) fn insert(&mut self, id: TargetId, value: T) -> Result<(), T> {
        let slot = id.slot() as usize;
        if self.seats.len() <= slot {
            self.seats.resize_with(slot + 1, Seat::default);
        }
        let Ok(position) = u32::try_from(self.entries.len()) else { return Err(value) };
        let seat = &mut self.seats[slot];
        if seat.user.is_some() {
            return Err(value);
        }
        *seat = Seat { user: Some(id), position };
        self.entries.push(Entry { id, value });
        self.disturb();
        Ok(())
    }

    /// Removes an entry; the last entry moves to its position.
    pub(super) fn remove(&mut self, id: TargetId) -> Option<T> {
        let position = self.position(id)?;
        self.seats[id.slot() as usize] = Seat::default();
        let removed = self.entries.swap_remove(position);
        self.seat(position);
        self.cursor = self.cursor.min(self.entries.len());
        self.disturb();
        Some(removed.value)
    }

    pub(super) fn get(&self, id: TargetId) -> Option<&T> {
        let position = self.position(id)?;
        Some(&self.entries[position].value)
    }

    pub(super) fn get_mut(&mut self, id: TargetId) -> Option<&mut T> {
        let position = self.position(id)?;
        Some(&mut self.entries[position].value)
    }

    /// The entry of a target that falls due. If it is out of order, it is moved, and so is at most
    /// one other entry.
    pub(super) fn get_due(&mut self, id: TargetId) -> Option<&mut T> {
        let mut position = self.position(id)?;
        if position >= self.cursor {
            let next = self.cursor;
            if position > next {
                self.entries.swap(position, next);
                self.seat(position);
                self.seat(next);
                position = next;
            }
            self.cursor += 1;
        }
        Some(&mut self.entries[position].value)
    }

    /// Records that one more entry may be out of place.
    pub(super) fn disturb(&mut self) {
        self.disorder += 1;
        if self.disorder * DISORDERED_SHARE > self.entries.len() {
            self.disorder = 0;
            self.cursor = 0;
        }
    }

    /// The user of a slot.
    pub(super) fn user(&self, slot: usize) -> Option<TargetId> {
        self.seats.get(slot)?.user
    }

    /// All entries, in the order of their positions.
    pub(super) fn iter(&self) -> impl Iterator<Item = (TargetId, &T)> {
        self.entries.iter().map(|entry| (entry.id, &entry.value))
    }

    /// All entries, mutable, in the order of their positions.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (TargetId, &mut T)> {
        self.entries.iter_mut().map(|entry| (entry.id, &mut entry.value))
    }

    fn position(&self, id: TargetId) -> Option<usize> {
        let seat = self.seats.get(id.slot() as usize)?;
        (seat.user == Some(id)).then_some(seat.position as usize)
    }

    /// Updates the seat of the entry at `position`, if there is one.
    #[expect(clippy::cast_possible_truncation, reason = "no entry has a larger position")]
    fn seat(&mut self, position: usize) {
        if let Some(entry) = self.entries.get(position) {
            self.seats[entry.id.slot() as usize].position = position as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// An operation on a slab; its number selects an entry or a slot.
    #[derive(Debug, Clone)]
    enum Step {
        Add(usize),
        Remove(usize),
        FallDue(usize),
        Disturb,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => any::<usize>().prop_map(Step::Add),
            3 => any::<usize>().prop_map(Step::Remove),
            6 => any::<usize>().prop_map(Step::FallDue),
            1 => Just(Step::Disturb),
        ];
        vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn every_identity_finds_its_own_entry_and_a_stale_one_none(steps in steps()) {
            const SLOTS: u32 = 24;
            let mut slab = Slab::default();
            let mut next: Vec<TargetId> = (0..SLOTS).map(TargetId::first).collect();
            let mut model: BTreeMap<TargetId, u64> = BTreeMap::new();
            let mut gone: Vec<TargetId> = Vec::new();
            let mut slots = 0;
            for (value, step) in (0_u64..).zip(steps) {
                match step {
                    Step::Add(n) => {
                        let slot = n % next.len();
                        let id = next[slot];
                        let is_free = slab.user(slot).is_none();
                        prop_assert_eq!(slab.insert(id, value), if is_free { Ok(()) } else { Err(value) });
                        slots = slots.max(slot + 1);
                        if is_free {
                            model.insert(id, value);
                            next[slot] = id.successor();
                        }
                    }
                    Step::Remove(n) => {
                        let Some(&id) = model.keys().nth(n % model.len().max(1)) else { continue };
                        prop_assert_eq!(slab.remove(id), model.remove(&id));
                        gone.push(id);
                    }
                    Step::FallDue(n) => {
                        let Some(&id) = model.keys().nth(n % model.len().max(1)) else { continue };
                        prop_assert_eq!(slab.get_due(id).copied(), model.get(&id).copied());
                    }
                    Step::Disturb => slab.disturb(),
                }
                prop_assert_eq!((slab.len(), slab.slots()), (model.len(), slots));
                let found: BTreeMap<_, _> = slab.iter().map(|(id, &value)| (id, value)).collect();
                prop_assert_eq!(&found, &model);
                for (&id, value) in &model {
                    prop_assert_eq!(slab.get(id), Some(value));
                    prop_assert_eq!(slab.user(id.slot() as usize), Some(id));
                }
                for &id in &gone {
                    prop_assert!(slab.get(id).is_none() && slab.get_mut(id).is_none());
                    prop_assert!(slab.get_due(id).is_none() && slab.remove(id).is_none());
                }
                prop_assert!(slab.cursor <= slab.len());
            }
        }

        #[test]
        fn after_a_cycle_positions_are_in_due_order(
            phases in vec(0..1_000_u32, 1..100),
            removed in vec(any::<usize>(), 0..100),
            from in 0..1_000_u32,
        ) {
            let mut slab = Slab::default();
            for (slot, &phase) in (0..).zip(&phases) {
                slab.insert(TargetId::first(slot), phase).unwrap();
            }
            for n in removed {
                if slab.len() > 1 {
                    let id = slab.entries[n % slab.len()].id;
                    slab.remove(id).unwrap();
                }
            }
            // Enough disorder to start a cycle.
            while slab.cursor > 0 || slab.disorder > 0 {
                slab.disturb();
            }
            // Each falls due once, from some moment on.
            let mut agenda: Vec<_> = slab.iter().map(|(id, &phase)| (phase, id)).collect();
            agenda.sort_unstable();
            let start = agenda.partition_point(|&(phase, _)| phase < from);
            agenda.rotate_left(start);
            for &(_, id) in &agenda {
                slab.get_due(id).unwrap();
            }
            let order: Vec<_> = slab.iter().map(|(id, &phase)| (phase, id)).collect();
            prop_assert_eq!(&order, &agenda);
            prop_assert_eq!(slab.cursor, slab.len());
            // The order stays, whatever falls due next.
            for &(_, id) in agenda.iter().rev() {
                slab.get_due(id).unwrap();
            }
            let later: Vec<_> = slab.iter().map(|(id, &phase)| (phase, id)).collect();
            prop_assert_eq!(later, order);
        }
    }

    #[test]
    fn few_changes_do_not_disturb_many_entries() {
        let mut slab = Slab::default();
        for slot in 0..800 {
            slab.insert(TargetId::first(slot), slot).unwrap();
        }
        slab.cursor = slab.len();
        slab.disorder = 0;
        for slot in 0..80 {
            slab.remove(TargetId::first(slot)).unwrap();
        }
        assert_eq!(slab.cursor, 720, "less than an eighth was disturbed");
        (0..20).for_each(|_| slab.disturb());
        assert_eq!(slab.cursor, 0);
    }
}
