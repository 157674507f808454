//! A network that misbehaves on purpose: the responder's faults, and the link in simulations.
//!
//! A packet enters as the moment it is judged; a [`Fate`] leaves: dropped and why, or delivered
//! as one or two [`Passage`]s, each held back and damaged by so much. Nothing is stored, sent or
//! changed here, and nothing is allocated.
//!
//! Everything follows from the seed: the same [`Settings`] and the same moments give the same
//! fates, in every version of this program. Every packet draws the same number of random values,
//! whatever is switched on, so that switching one impairment on leaves the decisions of all
//! others as they were.
//!
//! Where several impairments would drop a packet, it counts as the work of the first of: outage,
//! burst loss, loss.

mod settings;

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::{DropReason, ImpairmentKind, Mono, nanos};

pub use settings::{Burst, Outage, Settings};

/// A link with faults, and where it stands in its random sequence.
#[derive(Debug, Clone)]
pub struct Impairment {
    settings: Settings,
    /// When the first period of the outages began.
    start: Mono,
    draws: ChaCha8Rng,
    /// Whether the link is in the bad state of the Gilbert–Elliott model.
    bad: bool,
}

/// What becomes of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It disappears: [`DropReason::Loss`], [`DropReason::BurstLoss`] or [`DropReason::Outage`].
    Drop(DropReason),
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
    /// The link's delay: [`Settings::delay`] and its share of [`Settings::jitter`].
    pub delay: Duration,
    /// How much longer it is held back so that later packets overtake it.
    pub hold: Duration,
    /// The bit that flips on the way.
    pub corrupt: Option<BitFlip>,
}

/// Which bit of a packet flips, drawn before the length of the packet is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitFlip(u64);

impl Impairment {
    /// A link that works as set from `start` on.
    #[must_use]
    pub fn new(settings: Settings, start: Mono) -> Self {
        // The whole key is spelt out: how a library stretches a short seed is its own affair.
        let mut key = [0; 32];
        key[..8].copy_from_slice(&settings.seed.to_le_bytes());
        Self { settings, start, draws: ChaCha8Rng::from_seed(key), bad: false }
    }

    /// What becomes of a packet that meets the link at `now`; to be called once for each packet,
    /// in the order of their arrival.
    pub fn judge(&mut self, now: Mono) -> Fate {
        if self.settings.is_off() {
            return Fate::UNTOUCHED;
        }
        // Every draw is made before any is looked at, always in this order.
        let [loss, burst, duplicate] = self.draw();
        let first = self.passage();
        let second = self.passage();

        let burst_loss = self.step_burst(burst);
        if self.settings.outage.is_some_and(|outage| outage.is_down(now.since(self.start))) {
            return Fate::Drop(DropReason::Outage);
        }
        if burst_loss {
            return Fate::Drop(DropReason::BurstLoss);
        }
        if happens(loss, self.settings.loss) {
            return Fate::Drop(DropReason::Loss);
        }
        let duplicate = happens(duplicate, self.settings.duplicate).then_some(second);
        Fate::Deliver { first, duplicate }
    }

    /// One step of the Gilbert–Elliott chain; whether the packet meets the bad state.
    fn step_burst(&mut self, draw: u64) -> bool {
        let Some(Burst { p, r }) = self.settings.burst_loss else {
            return false;
        };
        self.bad = if self.bad { !happens(draw, r) } else { happens(draw, p) };
        self.bad
    }

    fn passage(&mut self) -> Passage {
        let [jitter, reorder, corrupt, bit] = self.draw();
        let settings = &self.settings;
        Passage {
            delay: settings.delay.saturating_add(share(jitter, settings.jitter)),
            hold: if happens(reorder, settings.reorder) {
                settings.reorder_hold
            } else {
                Duration::ZERO
            },
            corrupt: happens(corrupt, settings.corrupt).then_some(BitFlip(bit)),
        }
    }

    fn draw<const N: usize>(&mut self) -> [u64; N] {
        std::array::from_fn(|_| self.draws.next_u64())
    }
}

impl Fate {
    /// Delivered at once, once, as it was.
    pub const UNTOUCHED: Self = Self::Deliver {
        first: Passage { delay: Duration::ZERO, hold: Duration::ZERO, corrupt: None },
        duplicate: None,
    };
}

impl Passage {
    /// How long the packet is held back in all.
    #[must_use]
    pub fn held(&self) -> Duration {
        self.delay.saturating_add(self.hold)
    }

    /// What is done to the packet; a duplicate is not known here but from its [`Fate`].
    pub fn kinds(&self) -> impl Iterator<Item = ImpairmentKind> {
        [
            (!self.delay.is_zero()).then_some(ImpairmentKind::Delay),
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

/// A share of `span`, from none of it to all of it, to the nanosecond.
fn share(draw: u64, span: Duration) -> Duration {
    Duration::from_nanos(scale(draw, nanos(span).saturating_add(1)))
}

/// A number below `bound`, or 0 where there is none.
fn scale(draw: u64, bound: u64) -> u64 {
    let product = u128::from(draw) * u128::from(bound);
    // The upper half of a product of two 64-bit numbers is a 64-bit number.
    (product >> 64) as u64
}

#[cfg(test)]
mod tests;
