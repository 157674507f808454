//! The settings of a link, and their description as text.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use super::Shape;

/// The impairments of a link; all are off by default.
///
/// Probabilities are from 0 (never) to 1 (always), each for one packet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkSettings {
    /// Probability that a packet is lost, independent of all others.
    pub loss: f64,
    /// Loss in bursts.
    pub burst_loss: Option<Burst>,
    /// The direction in which packets are lost.
    pub direction: LossyWay,
    /// The delay of every packet.
    pub delay: Duration,
    /// Additional random delay, drawn for each packet. The total is never less than `delay`, as on
    /// a real path, where queues only add; its mean is `delay + jitter / 2`. Packets that are sent
    /// within `jitter` of each other may overtake each other.
    pub jitter: Duration,
    /// The distribution of the jitter.
    pub jitter_shape: Shape,
    /// The bandwidth limit; `None` means unlimited.
    pub bandwidth: Option<Bandwidth>,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Probability that a packet is held back so that later ones overtake it.
    pub reorder: f64,
    /// How long such a packet is held back, in addition to its delay. The packets of a periodic
    /// stream that follow within `reorder_hold − jitter` overtake it.
    pub reorder_hold: Duration,
    /// How many later packets to the same receiver overtake such a packet within `reorder_hold`; 0
    /// means unlimited. This is the reordering extent of RFC 4737 section 4.2 if nothing else is
    /// reordered.
    pub reorder_extent: u32,
    /// Probability that one bit of a packet flips, every bit equally likely.
    pub corrupt: f64,
    /// Periodic outages.
    pub outage: Option<Outage>,
    /// The seed of all random decisions.
    pub seed: u64,
}

/// The direction in which packets are lost, as seen from the responder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LossyWay {
    /// Requests are lost on the way in.
    #[default]
    In,
    /// Replies are lost on the way out: the request was received and answered.
    Out,
    /// Both directions lose packets independently: a loss ratio of p loses 1 − (1 − p)² of all
    /// heartbeats. Outages affect only the way in.
    Both,
}

/// A bandwidth limit: packets leave one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bits per second, including the IP and UDP headers.
    pub rate: NonZeroU64,
    /// The longest time that a packet may wait; a packet that would wait longer is dropped.
    pub queue: Duration,
}

/// The Gilbert–Elliott model of loss, in its simplest form: a link is good or bad. It loses nothing
/// while good and everything while bad, and starts good.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// Probability, for each packet, that a good link turns bad before it.
    pub p: f64,
    /// Probability, for each packet, that a bad link turns good before it; the mean burst length is
    /// `1 / r` packets.
    pub r: f64,
}

/// A periodic outage: down for the last `lasting` of each period of `every`, so that the link is up
/// at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// The period; zero means no outage.
    pub every: Duration,
    /// The length of the outage in each period; `every` or more means always down.
    pub lasting: Duration,
}

impl LinkSettings {
    /// The default of [`reorder_hold`](Self::reorder_hold): more than the default interval of
    /// heartbeats, so that at least one packet overtakes.
    pub const REORDER_HOLD: Duration = Duration::from_millis(1100);

    /// The default of [`Bandwidth::queue`].
    pub const QUEUE: Duration = Duration::from_millis(100);

    /// Whether all impairments are off.
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

    /// Each enabled impairment as text; empty if all are off.
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
                Shape::Normal => format!("jitter up to {jitter:?} (normal)"),
                Shape::Pareto => format!("jitter with a mean of {:?} (Pareto)", jitter / 2),
            });
        }
        if let Some(Bandwidth { rate, queue }) = self.bandwidth {
            words.push(format!("bandwidth {rate} bit/s with a queue of {queue:?}"));
        }
        if self.duplicate > 0.0 {
            words.push(format!("duplicates {}", Percent(self.duplicate)));
        }
        if self.reorder > 0.0 {
            let (share, hold) = (Percent(self.reorder), self.reorder_hold);
            words.push(match self.reorder_extent {
                0 => format!("reordering {share} (held back for {hold:?})"),
                extent => format!(
                    "reordering {share} (behind {extent} packets, held back for at most {hold:?})"
                ),
            });
        }
        if self.corrupt > 0.0 {
            words.push(format!("corruption {}", Percent(self.corrupt)));
        }
        if let Some(outage) = self.outage.filter(|outage| !outage.never_comes()) {
            words.push(outage.to_string());
        }
        match self.direction {
            LossyWay::Out if self.loses() => words.push("losses only on the way out".to_owned()),
            LossyWay::Both if self.loses() => words.push("losses in both directions".to_owned()),
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

    /// The name of the direction in settings.
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
    /// The transmission time of `octets` octets, rounded up to the nanosecond.
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

/// All of [`LinkSettings::in_words`], separated by commas.
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
            write!(f, "burst loss ({steady} in the long run, mean burst {length} packets)")
        } else {
            write!(f, "burst loss ({steady} in the long run, a burst never ends)")
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "down for the last {:?} of every {:?}", self.lasting, self.every)
    }
}

/// A probability as a percentage with at most four decimals and no trailing zeros.
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
