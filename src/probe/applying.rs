//! Applies changes to a worker's targets, a few in each round, so that they delay no heartbeat.

use std::net::SocketAddr;
use std::time::Duration;
use std::vec;

use tokio::sync::oneshot;

use crate::model::{Moment, Mono};

use super::command::{Addressed, Order};
use super::fleet::Fleet;
use super::options::Begin;

/// Upper estimate of the time that it takes to add a target to a worker.
const ADDING: Duration = Duration::from_micros(10);

/// The changes that a worker is carrying out.
#[derive(Debug)]
pub(super) struct Applying {
    begin: Begin,
    present: Option<Work>,
    /// Whether at least one batch of changes has been carried out.
    has_applied: bool,
}

/// A batch of changes.
#[derive(Debug)]
struct Work {
    left: vec::IntoIter<Order>,
    /// When the heartbeats of new targets begin.
    start: Mono,
    done: oneshot::Sender<()>,
}

impl Applying {
    /// No changes yet. `begin` says when the heartbeats of new targets begin.
    pub(super) fn new(begin: Begin) -> Self {
        Self { begin, present: None, has_applied: false }
    }

    /// Begins a batch of changes. The previous batch must be done.
    ///
    /// The heartbeats of new targets begin at the time by which all changes should be done.
    pub(super) fn begin(
        &mut self,
        orders: Vec<Order>,
        done: oneshot::Sender<()>,
        fleet: &mut Fleet,
        now: Mono,
    ) {
        debug_assert!(self.present.is_none());
        fleet.reserve(orders.iter().filter(|order| matches!(order, Order::Add(..))).count());
        let count = u32::try_from(orders.len()).unwrap_or(u32::MAX);
        let start = now + ADDING.saturating_mul(count);
        self.present = Some(Work { left: orders.into_iter(), start, done });
        self.finish();
    }

    /// Whether changes remain to be carried out.
    pub(super) fn is_under_way(&self) -> bool {
        self.present.is_some()
    }

    /// Whether a batch has been carried out and no changes remain.
    pub(super) fn is_done(&self) -> bool {
        self.has_applied && self.present.is_none()
    }

    /// Carries out at most `most` changes. After the last one, retries routes for at most `most`
    /// targets without one. `carries` says whether the machine has a socket for an address.
    pub(super) fn proceed(
        &mut self,
        most: usize,
        fleet: &mut Fleet,
        now: Moment,
        carries: impl Fn(SocketAddr) -> bool,
    ) {
        let Some(work) = &mut self.present else { return };
        for order in work.left.by_ref().take(most) {
            carry_out(order, fleet, (self.begin, work.start), now, &carries);
        }
        // Only now: all targets have left the addresses that they leave in this batch.
        if work.left.as_slice().is_empty() && !fleet.retry_routes(most) {
            self.finish();
        }
    }

    /// Reports the end of the batch if no changes remain.
    fn finish(&mut self) {
        let is_over = |work: &mut Work| work.left.as_slice().is_empty();
        if let Some(work) = self.present.take_if(is_over) {
            self.has_applied = true;
            // The receiver may be gone.
            let _ = work.done.send(());
        }
    }
}

fn carry_out(
    order: Order,
    fleet: &mut Fleet,
    (begin, start): (Begin, Mono),
    now: Moment,
    carries: impl Fn(SocketAddr) -> bool,
) {
    match order {
        Order::Add(id, Addressed { target, found }) => {
            match begin {
                Begin::Spread => fleet.add(id, target, start),
                Begin::AtOnce => fleet.add_from(id, target, start),
            }
            if let Some(found) = found {
                fleet.handle_addresses(id, &found.sorted(carries), now);
            }
        }
        Order::Remove(id) => fleet.remove(id, now.mono),
        Order::Retune(id, Addressed { target, found }) => {
            // Addresses for which there is no socket come last.
            let found = found.map(|found| found.sorted(carries));
            fleet.retune(id, target, found.as_ref(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Defaults, Target, parse_target};
    use crate::model::TargetId;
    use crate::probe::event::Detail;

    const NOW: Mono = Mono::from_nanos(1_000_000_000_000);

    fn now() -> Moment {
        Moment::default().after(Duration::from_nanos(NOW.as_nanos()))
    }

    fn addressed<const N: usize>(text: &str, found: Option<[&str; N]>) -> Addressed {
        let address = |ip: &str| SocketAddr::new(ip.parse().unwrap(), 0);
        let target = parse_target(text, &Defaults::default()).unwrap();
        Addressed {
            target: Arc::new(Target { name: "a".to_owned(), ..target }),
            found: found.map(|found| found.map(address).into()),
        }
    }

    fn additions(count: u32) -> Vec<Order> {
        let id = TargetId::first;
        (0..count)
            .map(|n| Order::Add(id(n), addressed::<0>(&format!("192.0.2.{n}"), None)))
            .collect()
    }

    #[test]
    fn changes_per_round_are_limited_and_no_heartbeat_is_due_before_the_last_change() {
        let mut fleet = Fleet::new(&[1.0], Detail::Changes, None);
        let mut applying = Applying::new(Begin::AtOnce);
        assert!(!applying.is_done(), "nothing has been asked for yet");
        let (done, mut outcome) = oneshot::channel();
        applying.begin(additions(5), done, &mut fleet, NOW);
        for len in [2, 4, 5] {
            assert!(applying.is_under_way() && !applying.is_done());
            assert!(outcome.try_recv().is_err());
            applying.proceed(2, &mut fleet, now(), |_| true);
            assert_eq!(fleet.len(), len);
        }
        assert!(applying.is_done() && outcome.try_recv().is_ok());
        assert_eq!(fleet.poll_timeout(), Some(NOW + ADDING * 5));
        let (done, mut outcome) = oneshot::channel();
        let removals = (0..5).map(|n| Order::Remove(TargetId::first(n))).collect();
        applying.begin(removals, done, &mut fleet, NOW);
        applying.proceed(64, &mut fleet, now(), |_| true);
        assert!(fleet.is_empty() && outcome.try_recv().is_ok());
    }

    #[test]
    fn changes_are_done_once_all_targets_have_the_addresses_that_others_left() {
        let mut fleet = Fleet::new(&[1.0], Detail::Changes, None);
        let mut applying = Applying::new(Begin::Spread);
        let asking = |n: u32| addressed::<0>(&format!("dns://192.0.2.{}", n % 3), None);
        let id = TargetId::first;
        let additions = (0..3).map(|n| Order::Add(id(n), asking(n))).collect();
        applying.begin(additions, oneshot::channel().0, &mut fleet, NOW);
        applying.proceed(64, &mut fleet, now(), |_| true);
        let (done, mut outcome) = oneshot::channel();
        let in_a_ring = (0..3).map(|n| Order::Retune(id(n), asking(n + 1))).collect();
        applying.begin(in_a_ring, done, &mut fleet, NOW);
        for _ in 0..3 {
            applying.proceed(1, &mut fleet, now(), |_| true);
            assert!(applying.is_under_way() && outcome.try_recv().is_err());
        }
        applying.proceed(1, &mut fleet, now(), |_| true);
        assert!(applying.is_done() && outcome.try_recv().is_ok());
        for n in 0..3 {
            let address = format!("192.0.2.{}:53", (n + 1) % 3).parse().unwrap();
            assert_eq!(fleet.address(id(n)), Some(address));
        }
    }

    #[test]
    fn an_empty_batch_of_changes_is_done_at_once() {
        let mut fleet = Fleet::new(&[1.0], Detail::Changes, None);
        let mut applying = Applying::new(Begin::Spread);
        applying.begin(Vec::new(), oneshot::channel().0, &mut fleet, NOW);
        assert!(applying.is_done());
    }

    #[test]
    fn a_new_target_has_the_known_address_that_can_be_reached() {
        let mut fleet = Fleet::new(&[1.0], Detail::Changes, None);
        let mut applying = Applying::new(Begin::Spread);
        let id = TargetId::first(0);
        let found = ["2001:db8::1", "192.0.2.1", "192.0.2.2"];
        let orders = vec![Order::Add(id, addressed("fra.example:862", Some(found)))];
        applying.begin(orders, oneshot::channel().0, &mut fleet, NOW);
        applying.proceed(64, &mut fleet, now(), |address| address.is_ipv4());
        assert_eq!(fleet.address(id), Some("192.0.2.1:862".parse().unwrap()));
        let orders = vec![Order::Retune(id, addressed("fra.example:863", Some(found)))];
        applying.begin(orders, oneshot::channel().0, &mut fleet, NOW);
        applying.proceed(64, &mut fleet, now(), |_| true);
        assert_eq!(fleet.address(id), Some("192.0.2.1:863".parse().unwrap()), "it is kept");
    }
}
