//! A simulated bad link: the responder's impairments, and the network of the simulation tests.
//!
//! [`Impairment::judge`] decides the [`Fate`] of one packet: dropped for a reason, or delivered as
//! one or two [`Passage`]s, each with its delay and damage. [`Impairment::queue`] applies the
//! bandwidth limit, which needs the packet's length. Nothing here stores, sends, changes or
//! allocates anything.
//!
//! Everything follows from the seed: the same [`LinkSettings`] and the same moments give the same
//! fates, in every version of this program. Every packet draws the same number of random values,
//! whatever is enabled, so that enabling one impairment does not change the decisions of the
//! others.
//!
//! If several impairments would drop a packet, the reason is the first of: outage, burst loss,
//! loss.

mod settings;
mod shape;

use std::time::Duration;

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::model::{DropReason, ImpairmentKind, Mono};

use shape::scale;

pub use settings::{Bandwidth, Burst, LinkSettings, LossyWay, Outage};
pub use shape::Shape;

/// A link with impairments, and the state of its random sequence.
#[derive(Debug)]
pub struct Impairment {
    settings: LinkSettings,
    /// The start of the first outage period.
    start: Mono,
    draws: ChaCha8Rng,
    /// Random numbers for losses on the way out, used if both directions lose packets.
    return_draws: ChaCha8Rng,
    /// Whether the lossy direction is in the bad state of the Gilbert–Elliott model. If both
    /// directions lose packets, this is the state of the way in.
    bad: bool,
    /// The same for the way out, used if both directions lose packets.
    return_bad: bool,
    /// When the last queued packet leaves the bandwidth limit.
    free: Mono,
}

/// The fate of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The packet is lost on the way in: [`DropReason::Loss`], [`DropReason::BurstLoss`] or
    /// [`DropReason::Outage`].
    Drop(DropReason),
    /// The packet is received, and its reply is lost on the way out, for the same reasons.
    DropReply(DropReason),
    /// The packet is delivered, once or twice.
    Deliver {
        /// How the packet passes.
        first: Passage,
        /// How its duplicate passes, if there is one. It is judged independently.
        duplicate: Option<Passage>,
    },
}

/// How one copy of a packet passes the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passage {
    /// The link's delay: [`LinkSettings::delay`] and its share of [`LinkSettings::jitter`].
    pub delay: Duration,
    /// The time in the queue of the bandwidth limit, including its own transmission.
    pub queued: Duration,
    /// How much longer the packet is held back so that later packets overtake it.
    pub hold: Duration,
    /// The number of later packets that overtake it: it leaves after the last of them, or at the
    /// end of `hold` if that is earlier. With 0, only `hold` counts.
    pub overtaken_by: u32,
    /// The bit that flips on the way.
    pub corrupt: Option<BitFlip>,
}

/// Which bit of a packet flips, drawn before the length of the packet is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitFlip(u64);

impl Impairment {
    /// A link with `settings`, starting at `start`.
    #[must_use]
    pub fn new(settings: LinkSettings, start: Mono) -> Self {
        // The whole key is set here, because libraries may change how they expand a short seed.
        let mut key = [0; 32];
        key[..8].copy_from_slice(&settings.seed.to_le_bytes());
        let draws = ChaCha8Rng::from_seed(key);
        let mut return_draws = ChaCha8Rng::from_seed(key);
        return_draws.set_stream(1);
        Self { settings, start, draws, return_draws, bad: false, return_bad: false, free: start }
    }

    /// The settings of the link.
    #[must_use]
    pub fn settings(&self) -> &LinkSettings {
        &self.settings
    }

    /// When the link started.
    #[must_use]
    pub fn start(&self) -> Mono {
        self.start
    }

    /// Decides the fate of a packet that reaches the link at `now`. Call it once per packet, in the
    /// order of arrival.
    pub fn judge(&mut self, now: Mono) -> Fate {
        if self.settings.is_off() {
            return Fate::UNTOUCHED;
        }
        // All random numbers are drawn before any is used, always in this order.
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

    /// Applies the bandwidth limit to one copy of a packet of `octets` octets, including the IP and
    /// UDP headers; `None` if the queue is full. Call it once per copy, in order.
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
    /// Why a packet is lost in one direction; `None` if it is not lost. Advances `bad`, the state
    /// of that direction's Gilbert–Elliott chain, by one step.
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
    /// Delivered once, at once and unchanged.
    pub const UNTOUCHED: Self = Self::Deliver { first: Passage::UNTOUCHED, duplicate: None };
}

impl Passage {
    /// At once and unchanged.
    pub const UNTOUCHED: Self = Self {
        delay: Duration::ZERO,
        queued: Duration::ZERO,
        hold: Duration::ZERO,
        overtaken_by: 0,
        corrupt: None,
    };

    /// The total time for which the packet is held back; the maximum if `overtaken_by` is not 0.
    #[must_use]
    pub fn held(&self) -> Duration {
        self.queued.saturating_add(self.delay).saturating_add(self.hold)
    }

    /// The impairments of this copy. Duplication is visible only in the [`Fate`].
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
    /// The flip that follows from a random number: bit ⌊draw × bits / 2⁶⁴⌋ of a packet of `bits`
    /// bits.
    #[must_use]
    pub const fn from_draw(draw: u64) -> Self {
        Self(draw)
    }

    /// Flips the bit, unless the packet is empty. Applying it twice restores the packet.
    pub fn apply(self, packet: &mut [u8]) {
        if let Some(bit) = self.position(packet.len()) {
            flip(packet, bit);
        }
    }

    /// The index of the flipped bit in a packet of `octets` octets, every bit equally likely. Bit 0
    /// is the lowest bit of the first octet. `None` for an empty packet.
    #[must_use]
    pub fn position(self, octets: usize) -> Option<usize> {
        let bits = octets.checked_mul(8).filter(|&bits| bits > 0)?;
        usize::try_from(scale(self.0, bits as u64)).ok()
    }
}

/// Flips one bit of `packet`, numbered as in [`BitFlip::position`]; nothing beyond its end.
pub fn flip(packet: &mut [u8], bit: usize) {
    if let Some(octet) = packet.get_mut(bit / 8) {
        *octet ^= 1 << (bit % 8);
    }
}

/// Whether an event of this probability happens: never at 0 or NaN, always at 1.
fn happens(draw: u64, probability: f64) -> bool {
    // The upper 53 bits give a double in [0, 1), all values equally likely.
    ((draw >> 11) as f64) * (0.5_f64).powi(53) < probability
}

/// The next random numbers.
fn draw<const N: usize>(draws: &mut ChaCha8Rng) -> [u64; N] {
    std::array::from_fn(|_| draws.next_u64())
}

#[cfg(test)]
mod tests;
