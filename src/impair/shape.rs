//! How jitter is spread: a random number enters, a share of the jitter leaves.
//!
//! Logarithms and the like come from `libm`, which computes the same bits on every machine: the
//! delays of a seed are the same everywhere.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::model::nanos;

/// How the delay of packets spreads beyond the shortest; its mean is the same half of the jitter
/// in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// All shares from none to all of the jitter are equally likely.
    #[default]
    Uniform,
    /// Normal: half of the jitter, with a standard deviation of a sixth; what lies beyond three of
    /// those (1 packet in 370) has none or all of the jitter.
    Normal,
    /// Most packets are early and some are very late: a Lomax distribution, the Pareto
    /// distribution that begins at zero, with a tail index of 3. One packet in 8 takes more than
    /// the jitter, one in 1,000 more than 9 times the jitter; none more than 100 times.
    Pareto,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Normal, Self::Pareto];

    /// The tail index of [`Shape::Pareto`].
    const TAIL: f64 = 3.0;

    /// The longest delay of [`Shape::Pareto`], in jitters.
    const LONGEST: f64 = 100.0;

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Pareto => "pareto",
        }
    }

    /// The part of the delay that the random number draws, to the nanosecond.
    pub(super) fn share(self, draw: u64, jitter: Duration) -> Duration {
        match self {
            Self::Uniform => Duration::from_nanos(scale(draw, nanos(jitter).saturating_add(1))),
            Self::Normal => times(jitter, (0.5 + normal(draw) / 6.0).clamp(0.0, 1.0)),
            Self::Pareto => {
                // The inverse of the distribution function, 1 − (1 + x)⁻³.
                let above = ((draw >> 11) as f64 + 1.0) * 0.5_f64.powi(53);
                times(jitter, (libm::pow(above, -1.0 / Self::TAIL) - 1.0).min(Self::LONGEST))
            }
        }
    }
}

/// A number below `bound`, or 0 where there is none.
pub(super) fn scale(draw: u64, bound: u64) -> u64 {
    let product = u128::from(draw) * u128::from(bound);
    // The upper half of a product of two 64-bit numbers is a 64-bit number.
    (product >> 64) as u64
}

/// A standard normal variable (Box and Muller), from both halves of a random number.
fn normal(draw: u64) -> f64 {
    let unit = 0.5_f64.powi(32);
    let radius = ((draw >> 32) as f64 + 0.5) * unit;
    let angle = (draw & u64::from(u32::MAX)) as f64 * unit;
    libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(TAU * angle)
}

/// So many times as long; `factor` is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float that is too large becomes the largest integer"
)]
fn times(span: Duration, factor: f64) -> Duration {
    Duration::from_nanos((nanos(span) as f64 * factor) as u64)
}
