//! What a group derives from its places.

use super::*;

use proptest::collection::vec;
use proptest::prelude::*;

/// Checks what a group derives from its places.
fn assert_consistent(group: &Sharers) {
    let numbers = |is: fn(&Place) -> bool| -> BTreeSet<u32> {
        (0..).zip(&group.places).filter(|(_, place)| is(place)).map(|(number, _)| number).collect()
    };
    let owned = numbers(|place| place.target().is_some());
    assert_eq!(group.owned, owned.len());
    assert_eq!(group.owned_sum, owned.iter().map(|&number| u64::from(number)).sum::<u64>());
    let sole = owned.first().filter(|_| owned.len() == 1);
    assert_eq!(group.only(), sole.and_then(|&number| group.target(number)));
    let nothing = Spare::default();
    let spare = group.spare.as_deref().unwrap_or(&nothing);
    assert_eq!(spare.free, numbers(|place| matches!(place, Place::Free)));
    assert_eq!(spare.retired, numbers(|place| matches!(place, Place::Retired)));
    assert_eq!(spare.former, numbers(|place| matches!(place, Place::Former(_))));
}

proptest! {
    #[test]
    fn what_is_derived_from_the_places_follows_every_change(
        narrow in any::<bool>(),
        changes in vec((0..5_u8, 0..6_u32), 0..60),
    ) {
        let there = peer("192.0.2.1:12000");
        let prober: Arc<dyn Prober> = if narrow { Arc::new(Narrow) } else { prober("heartbeat") };
        let mut routes = Routes::default();
        let mut had: Vec<(TargetId, Route)> = Vec::new();
        for (change, slot) in changes {
            let known = had.iter().find(|(had, _)| *had == id(slot)).copied();
            match (change, known) {
                (0, _) => {
                    if let Some(route) = routes.add(id(slot), there, &prober) {
                        had.retain(|(had, _)| *had != id(slot));
                        had.push((id(slot), route));
                    } else {
                        routes.wait(id(slot), there, &prober);
                    }
                }
                (1, Some((id, route))) => routes.leave(id, route, &prober),
                (2, Some((id, route))) => {
                    routes.resume(id, route, &prober);
                }
                (3, Some((id, route))) => routes.retire(id, route, &prober, Duration::ZERO),
                _ => routes.advance(routes.now + RETIRED_FOR / 3),
            }
            routes.peers.values().flatten().for_each(assert_consistent);
        }
    }
}
