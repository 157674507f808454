//! What a link does to packets, and how to say it in words.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use super::Shape;

/// How a link misbehaves; by default not at all.
///
/// Probabilities are from 0 (never) to 1 (always), each for one packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkSettings {
    /// Probability that a packet is lost, independent of all others.
    pub loss: f64,
    /// Loss in bursts.
    pub burst_loss: Option<Burst>,
    /// On which way packets are lost.
    pub direction: LossyWay,
    /// How long every packet takes.
    pub delay: Duration,
    /// How much longer packets take, each for itself. A delay is never shorter than `delay`, as on
    /// a real path, where queues only ever add; the mean is `delay + jitter / 2`. Packets sent
    /// closer together than `jitter` may overtake each other.
    pub jitter: Duration,
    /// How the jitter is spread.
    pub jitter_shape: Shape,
    /// How much passes at a time; any amount where it is `None`.
    pub bandwidth: Option<Bandwidth>,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that a packet is held back so that later ones overtake it.
    pub reorder: f64,
    /// How long such a packet is held back, on top of its delay. Of a periodic stream those
    /// packets overtake it that follow within `reorder_hold − jitter`.
    pub reorder_hold: Duration,
    /// How many later packets to the same end overtake such a packet, if they come within
    /// `reorder_hold` (the reordering extent of RFC 4737 section 4.2, where nothing else is
    /// reordered); 0 is however many.
    pub reorder_extent: u32,
    /// Probability that one bit of a packet flips, every bit equally likely.
    pub corrupt: f64,
    /// Times at which nothing passes.
    pub outage: Option<Outage>,
    /// What all randomness follows from.
    pub seed: u64,
}

/// On which way packets are lost: a request that is never seen, or a reply that never arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LossyWay {
    /// On the way in.
    #[default]
    In,
    /// On the way out: the request was received and answered.
    Out,
    /// On both, each on its own: of a loss of p, 1 − (1 − p)² of all heartbeats. Outages are on
    /// the way in.
    Both,
}

/// A link on which one packet leaves after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bits a second, the headers of IP and UDP included.
    pub rate: NonZeroU64,
    /// How long a packet may wait for its turn; it is dropped where it would be longer.
    pub queue: Duration,
}

/// The Gilbert–Elliott model of loss, in its simplest form: a link that is good or bad, loses
/// nothing while good and everything while bad, and is good at first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Probability, for each packet, that a good link turns bad before it.
    pub p: f64,
    /// Probability, for each packet, that a bad link turns good before it; bursts are `1 / r`
    /// packets long in the mean.
    pub r: f64,
}

/// An outage that comes back: down for the last `lasting` of each period of `every`, so that a
/// fresh start begins up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// From the beginning of one period to the next; zero means no outage.
    pub every: Duration,
    /// How long each period is down; as long as `every`, or longer, means always.
    pub lasting: Duration,
}

impl LinkSettings {
    /// The hold of a reordered packet unless set otherwise: somewhat more than the interval that
    /// heartbeats have by default, so that at least one overtakes it.
    pub const REORDER_HOLD: Duration = Duration::from_millis(1100);

    /// The wait before the bandwidth limit unless set otherwise.
    pub const QUEUE: Duration = Duration::from_millis(100);

    /// Whether packets pass as if there were no such link.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let Self { loss, burst_loss, delay, jitter, bandwidth, duplicate, reorder, .. } = self;
        let Self { corrupt, outage, .. } = self;
        [loss, duplicate, reorder, corrupt].into_iter().all(|&probability| probability <= 0.0)
            && delay.is_zero()
            && jitter.is_zero()
            && bandwidth.is_none()
            && burst_loss.is_none_or(|burst| burst.p <= 0.0)
            && outage.is_none_or(|outage| outage.never_comes())
    }

    /// Whether packets may be lost.
    fn loses(&self) -> bool {
        self.loss > 0.0
            || self.burst_loss.is_some_and(|burst| burst.p > 0.0)
            || self.outage.is_some_and(|outage| !outage.never_comes())
    }

    /// Each impairment that is on, as a person would say it; empty where all are off.
    #[must_use]
    pub fn in_words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.loss > 0.0 {
            words.push(format!("loss {}", Percent(self.loss)));
        }
        if let Some(burst) = self.burst_loss.filter(|burst| burst.p > 0.0) {
            words.push(burst.to_string());
        }
        if !self.delay.is_zero() {
            words.push(format!("delay {:?}", self.delay));
        }
        if !self.jitter.is_zero() {
            let jitter = self.jitter;
            words.push(match self.jitter_shape {
                Shape::Uniform => format!("jitter up to {jitter:?}"),
                Shape::Normal => format!("jitter up to {jitter:?}, normal"),
                Shape::Pareto => format!("jitter of {:?} in the mean, Pareto", jitter / 2),
            });
        }
        if let Some(Bandwidth { rate, queue }) = self.bandwidth {
            words.push(format!("bandwidth {rate} bit/s, a queue of {queue:?}"));
        }
        if self.duplicate > 0.0 {
            words.push(format!("duplicates {}", Percent(self.duplicate)));
        }
        if self.reorder > 0.0 {
            let (share, hold) = (Percent(self.reorder), self.reorder_hold);
            words.push(match self.reorder_extent {
                0 => format!("reordering {share} by holding back {hold:?}"),
                extent => format!("reordering {share} behind {extent} others, within {hold:?}"),
            });
        }
        if self.corrupt > 0.0 {
            words.push(format!("corruption {}", Percent(self.corrupt)));
        }
        if let Some(outage) = self.outage.filter(|outage| !outage.never_comes()) {
            words.push(outage.to_string());
        }
        match self.direction {
            LossyWay::Out if self.loses() => words.push("losses on the way out".to_owned()),
            LossyWay::Both if self.loses() => words.push("losses on both ways".to_owned()),
            LossyWay::In | LossyWay::Out | LossyWay::Both => {}
        }
        words
    }
}

impl Default for LinkSettings {
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst_loss: None,
            direction: LossyWay::In,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_shape: Shape::Uniform,
            bandwidth: None,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_hold: Self::REORDER_HOLD,
            reorder_extent: 0,
            corrupt: 0.0,
            outage: None,
            seed: 0,
        }
    }
}

impl Burst {
    /// The share of packets lost in the long run: `p / (p + r)`.
    #[must_use]
    pub fn steady_state_loss(&self) -> f64 {
        if self.p <= 0.0 { 0.0 } else { self.p / (self.p + self.r) }
    }
}

impl LossyWay {
    /// Every direction.
    pub const ALL: [Self; 3] = [Self::In, Self::Out, Self::Both];

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "both",
        }
    }
}

impl Bandwidth {
    /// How long so many octets take to leave, in nanoseconds, rounded up.
    pub(super) fn takes(self, octets: usize) -> Duration {
        let bits = octets as u128 * 8;
        let nanos = (bits * 1_000_000_000).div_ceil(u128::from(self.rate.get()));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl Outage {
    /// Whether the link is down `elapsed` after its start: in `[every − lasting, every)` of each
    /// period.
    #[must_use]
    pub fn is_down(&self, elapsed: Duration) -> bool {
        let up = self.every.saturating_sub(self.lasting);
        let into_period = elapsed.as_nanos().checked_rem(self.every.as_nanos());
        into_period.is_some_and(|into_period| into_period >= up.as_nanos())
    }

    fn never_comes(&self) -> bool {
        self.every.is_zero() || self.lasting.is_zero()
    }
}

/// All of [`LinkSettings::in_words`], in one line.
impl fmt::Display for LinkSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.in_words().join(", "))
    }
}

impl fmt::Display for Burst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steady = Percent(self.steady_state_loss());
        if self.r > 0.0 {
            let length = rounded(1.0 / self.r, 2);
            write!(f, "burst loss (in the long run {steady}, {length} packets a burst)")
        } else {
            write!(f, "burst loss (in the long run {steady}, one burst that never ends)")
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "down for the last {:?} of every {:?}", self.lasting, self.every)
    }
}

/// A probability as people read it: at most four decimals, none of them needless.
struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", rounded(self.0 * 100.0, 4))
    }
}

fn rounded(value: f64, decimals: i32) -> f64 {
    let unit = 10_f64.powi(decimals);
    (value * unit).round() / unit
}
