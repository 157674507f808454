//! The distribution of jitter.
//!
//! Logarithms and powers come from `libm`, which computes the same bits on every machine, so that a
//! seed gives the same delays everywhere.

use std::f64::consts::TAU;
use std::time::Duration;

use crate::model::nanos;

/// The distribution of the delay that jitter adds. The mean is half of the jitter for every shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// Uniform between zero and the jitter.
    #[default]
    Uniform,
    /// Normal, with a mean of half of the jitter and a standard deviation of a sixth of it. Values
    /// beyond three standard deviations (1 packet in 370) are clamped to zero or the whole jitter.
    Normal,
    /// Lomax, that is Pareto shifted to start at zero, with a tail index of 3: most packets are
    /// early and some are very late. One packet in 8 takes more than the jitter, one in 1,000 more
    /// than 9 times the jitter, none more than 100 times.
    Pareto,
}

impl Shape {
    /// Every shape.
    pub const ALL: [Self; 3] = [Self::Uniform, Self::Normal, Self::Pareto];

    /// The tail index of [`Shape::Pareto`].
    const TAIL: f64 = 3.0;

    /// The longest delay of [`Shape::Pareto`], in multiples of the jitter.
    const LONGEST: f64 = 100.0;

    /// The name of the shape in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Normal => "normal",
            Self::Pareto => "pareto",
        }
    }

    /// The delay that follows from the random number `draw`, to the nanosecond.
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

/// Maps a random number to an integer from 0 to `bound` − 1, or to 0 if `bound` is 0.
pub(super) fn scale(draw: u64, bound: u64) -> u64 {
    let product = u128::from(draw) * u128::from(bound);
    // The upper half of a product of two 64-bit numbers is a 64-bit number.
    (product >> 64) as u64
}

/// A standard normal variable (Box–Muller transform), from both halves of a random number.
fn normal(draw: u64) -> f64 {
    let unit = 0.5_f64.powi(32);
    let radius = ((draw >> 32) as f64 + 0.5) * unit;
    let angle = (draw & u64::from(u32::MAX)) as f64 * unit;
    libm::sqrt(-2.0 * libm::log(radius)) * libm::cos(TAU * angle)
}

/// `span` × `factor`; `factor` must not be negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
fn times(span: Duration, factor: f64) -> Duration {
    Duration::from_nanos((nanos(span) as f64 * factor) as u64)
}
