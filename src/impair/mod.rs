//! A network that misbehaves on purpose: the responder's faults, and the link in simulations.
//!
//! A packet enters as the moment it is judged; a [`Fate`] leaves: dropped and why, or delivered
//! as one or two [`Passage`]s, each held back and damaged by so much. What is limited in bandwidth
//! enters once more, with its length ([`Impairment::queue`]). Nothing is stored, sent or changed
//! here, and nothing is allocated.
//!
//! Everything follows from the seed: the same [`LinkSettings`] and the same moments give the same
//! fates, in every version of this program. Every packet draws the same number of random values,
//! whatever is switched on, so that switching one impairment on leaves the decisions of all
//! others as they were.
//!
//! Where several impairments would drop a packet, it counts as the work of the first of: outage,
//! burst loss, loss.

mod settings;
mod shape;

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::{DropReason, ImpairmentKind, Mono};

use shape::scale;

pub use settings::{Bandwidth, Burst, LinkSettings, LossyWay, Outage};
pub use shape::Shape;

/// A link with faults, and where it stands in its random sequence.
#[derive(Debug, Clone)]
pub struct Impairment {
    settings: LinkSettings,
    /// When the first period of the outages began.
    start: Mono,
    draws: ChaCha8Rng,
    /// Of the losses on the way out, where both ways have their own.
    return_draws: ChaCha8Rng,
    /// Whether each way is in the bad state of the Gilbert–Elliott model.
    bad: bool,
    return_bad: bool,
    /// When the last packet of a limited bandwidth has left.
    free: Mono,
}

/// What becomes of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It disappears: [`DropReason::Loss`], [`DropReason::BurstLoss`] or [`DropReason::Outage`].
    Drop(DropReason),
    /// The same, on the way out: it was received, and its answer disappears.
    DropReply(DropReason),
    /// It arrives, perhaps twice.
    Deliver {
        /// How it passes.
        first: Passage,
        /// How its duplicate passes, where there is one: judged as a packet of its own.
        duplicate: Option<Passage>,
    },
}

/// How one copy of a packet passes the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passage {
    /// The link's delay: [`LinkSettings::delay`] and its share of [`LinkSettings::jitter`].
    pub delay: Duration,
    /// How long it waits until the bandwidth has room for it, and takes to leave.
    pub queued: Duration,
    /// How much longer it is held back so that later packets overtake it.
    pub hold: Duration,
    /// How many later ones are to overtake it: it leaves behind the last of them, but at the end
    /// of `hold` whatever comes; 0 where the time alone decides.
    pub overtaken_by: u32,
    /// The bit that flips on the way.
    pub corrupt: Option<BitFlip>,
}

/// Which bit of a packet flips, drawn before the length of the packet is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitFlip(u64);

impl Impairment {
    /// A link that works as set from `start` on.
    #[must_use]
    pub fn new(settings: LinkSettings, start: Mono) -> Self {
        // The whole key is spelt out: how a library stretches a short seed is its own affair.
        let mut key = [0; 32];
        key[..8].copy_from_slice(&settings.seed.to_le_bytes());
        let draws = ChaCha8Rng::from_seed(key);
        let mut return_draws = draws.clone();
        return_draws.set_stream(1);
        Self { settings, start, draws, return_draws, bad: false, return_bad: false, free: start }
    }

    /// How it works.
    #[must_use]
    pub fn settings(&self) -> &LinkSettings {
        &self.settings
    }

    /// Since when it works so.
    #[must_use]
    pub fn start(&self) -> Mono {
        self.start
    }

    /// What becomes of a packet that meets the link at `now`; to be called once for each packet,
    /// in the order of their arrival.
    pub fn judge(&mut self, now: Mono) -> Fate {
        if self.settings.is_off() {
            return Fate::UNTOUCHED;
        }
        // Every draw is made before any is looked at, always in this order.
        let [loss, burst, duplicate] = draw(&mut self.draws);
        let first = self.passage();
        let second = self.passage();
        let [return_loss, return_burst] = draw(&mut self.return_draws);

        let LinkSettings { direction, outage, .. } = self.settings;
        let outage = outage.filter(|outage| outage.is_down(now.since(self.start)));
        let dropped = self.settings.lose(loss, burst, &mut self.bad);
        let dropped = outage.map(|_| DropReason::Outage).or(dropped);
        let unreturned = self.settings.lose(return_loss, return_burst, &mut self.return_bad);
        match (direction, dropped, unreturned) {
            (LossyWay::In | LossyWay::Both, Some(reason), _) => Fate::Drop(reason),
            (LossyWay::Out, Some(reason), _) | (LossyWay::Both, None, Some(reason)) => {
                Fate::DropReply(reason)
            }
            (LossyWay::In | LossyWay::Out, None, _) | (LossyWay::Both, None, None) => {
                let duplicate = happens(duplicate, self.settings.duplicate).then_some(second);
                Fate::Deliver { first, duplicate }
            }
        }
    }

    /// How one copy of a packet passes, so many octets long with the headers of IP and UDP, where
    /// the bandwidth is limited; `None` where the queue before it is full. To be called once for
    /// each copy, in their order.
    pub fn queue(&mut self, passage: Passage, octets: usize, now: Mono) -> Option<Passage> {
        let Some(bandwidth) = self.settings.bandwidth else {
            return Some(passage);
        };
        let begins = self.free.max(now);
        if begins.since(now) > bandwidth.queue {
            return None;
        }
        self.free = begins + bandwidth.takes(octets);
        Some(Passage { queued: self.free.since(now), ..passage })
    }

    fn passage(&mut self) -> Passage {
        let [jitter, reorder, corrupt, bit] = draw(&mut self.draws);
        let settings = &self.settings;
        let jitter = settings.jitter_shape.share(jitter, settings.jitter);
        let (hold, overtaken_by) = if happens(reorder, settings.reorder) {
            (settings.reorder_hold, settings.reorder_extent)
        } else {
            (Duration::ZERO, 0)
        };
        Passage {
            delay: settings.delay.saturating_add(jitter),
            queued: Duration::ZERO,
            hold,
            overtaken_by,
            corrupt: happens(corrupt, settings.corrupt).then_some(BitFlip(bit)),
        }
    }
}

impl LinkSettings {
    /// Why a packet is lost on one way, if it is; `bad` is the state of the Gilbert–Elliott chain
    /// there, which goes on by one step.
    fn lose(&self, loss: u64, burst: u64, bad: &mut bool) -> Option<DropReason> {
        if let Some(Burst { p, r }) = self.burst_loss {
            *bad = if *bad { !happens(burst, r) } else { happens(burst, p) };
            if *bad {
                return Some(DropReason::BurstLoss);
            }
        }
        happens(loss, self.loss).then_some(DropReason::Loss)
    }
}

impl Fate {
    /// Delivered at once, once, as it was.
    pub const UNTOUCHED: Self = Self::Deliver { first: Passage::UNTOUCHED, duplicate: None };
}

impl Passage {
    /// At once, as it was.
    pub const UNTOUCHED: Self = Self {
        delay: Duration::ZERO,
        queued: Duration::ZERO,
        hold: Duration::ZERO,
        overtaken_by: 0,
        corrupt: None,
    };

    /// How long the packet is held back in all, if nothing is to overtake it.
    #[must_use]
    pub fn held(&self) -> Duration {
        self.queued.saturating_add(self.delay).saturating_add(self.hold)
    }

    /// What is done to the packet; a duplicate is not known here but from its [`Fate`].
    pub fn kinds(&self) -> impl Iterator<Item = ImpairmentKind> {
        [
            (!self.delay.is_zero()).then_some(ImpairmentKind::Delay),
            (!self.queued.is_zero()).then_some(ImpairmentKind::Bandwidth),
            (!self.hold.is_zero()).then_some(ImpairmentKind::Reorder),
            self.corrupt.map(|_| ImpairmentKind::Corrupt),
        ]
        .into_iter()
        .flatten()
    }
}

impl BitFlip {
    /// The flip that a random number draws: bit ⌊draw × bits / 2⁶⁴⌋ of a packet of so many bits.
    #[must_use]
    pub const fn from_draw(draw: u64) -> Self {
        Self(draw)
    }

    /// Flips the bit; of an empty packet, none. Twice gives the packet back.
    pub fn apply(self, packet: &mut [u8]) {
        if let Some(bit) = self.position(packet.len()) {
            flip(packet, bit);
        }
    }

    /// Which bit of a packet of `octets` octets flips, the first octet's lowest being 0: each
    /// equally likely.
    #[must_use]
    pub fn position(self, octets: usize) -> Option<usize> {
        let bits = octets.checked_mul(8).filter(|&bits| bits > 0)?;
        usize::try_from(scale(self.0, bits as u64)).ok()
    }
}

/// Flips one bit of `packet`, counted as [`BitFlip::position`] counts; beyond its end, none.
pub fn flip(packet: &mut [u8], bit: usize) {
    if let Some(octet) = packet.get_mut(bit / 8) {
        *octet ^= 1 << (bit % 8);
    }
}

/// Whether something of this probability happens: never at 0 (or NaN), always at 1.
fn happens(draw: u64, probability: f64) -> bool {
    // The upper 53 bits are a double in [0, 1), all values equally likely.
    ((draw >> 11) as f64) * (0.5_f64).powi(53) < probability
}

/// The next random numbers.
fn draw<const N: usize>(draws: &mut ChaCha8Rng) -> [u64; N] {
    std::array::from_fn(|_| draws.next_u64())
}

#[cfg(test)]
mod tests;
