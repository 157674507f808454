//! What a link does to packets, and how to say it in words.

use std::fmt;
use std::time::Duration;

/// How a link misbehaves; by default not at all.
///
/// Probabilities are from 0 (never) to 1 (always), each for one packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Probability that a packet is lost, independent of all others.
    pub loss: f64,
    /// Loss in bursts.
    pub burst_loss: Option<Burst>,
    /// How long every packet takes.
    pub delay: Duration,
    /// How much longer a packet takes at most: each draws its share, all shares from none to all
    /// equally likely. A delay is thus never shorter than `delay`, as on a real path, where queues
    /// only ever add; the mean is `delay + jitter / 2`. Packets sent closer together than `jitter`
    /// may overtake each other.
    pub jitter: Duration,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that a packet is held back so that later ones overtake it.
    pub reorder: f64,
    /// How long such a packet is held back, on top of its delay. Of a periodic stream those
    /// packets overtake it that follow within `reorder_hold − jitter`.
    pub reorder_hold: Duration,
    /// Probability that one bit of a packet flips, every bit equally likely.
    pub corrupt: f64,
    /// Times at which nothing passes.
    pub outage: Option<Outage>,
    /// What all randomness follows from.
    pub seed: u64,
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

impl Settings {
    /// The hold of a reordered packet unless set otherwise: somewhat more than the interval that
    /// heartbeats have by default, so that at least one overtakes it.
    pub const REORDER_HOLD: Duration = Duration::from_millis(1100);

    /// Whether packets pass as if there were no such link.
    #[must_use]
    pub fn is_off(&self) -> bool {
        let Self { loss, burst_loss, delay, jitter, duplicate, reorder, corrupt, outage, .. } =
            self;
        [loss, duplicate, reorder, corrupt].into_iter().all(|&probability| probability <= 0.0)
            && delay.is_zero()
            && jitter.is_zero()
            && burst_loss.is_none_or(|burst| burst.p <= 0.0)
            && outage.is_none_or(|outage| outage.never_comes())
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
            words.push(format!("jitter up to {:?}", self.jitter));
        }
        if self.duplicate > 0.0 {
            words.push(format!("duplicates {}", Percent(self.duplicate)));
        }
        if self.reorder > 0.0 {
            let (share, hold) = (Percent(self.reorder), self.reorder_hold);
            words.push(format!("reordering {share} by holding back {hold:?}"));
        }
        if self.corrupt > 0.0 {
            words.push(format!("corruption {}", Percent(self.corrupt)));
        }
        if let Some(outage) = self.outage.filter(|outage| !outage.never_comes()) {
            words.push(outage.to_string());
        }
        words
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            loss: 0.0,
            burst_loss: None,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            duplicate: 0.0,
            reorder: 0.0,
            reorder_hold: Self::REORDER_HOLD,
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

/// All of [`Settings::in_words`], in one line.
impl fmt::Display for Settings {
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
