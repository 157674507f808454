//! The Error Estimate of a packet (RFC 4656 section 4.1.2, RFC 8186 section 2.1).

use crate::model::ClockAccuracy;

/// The bit S in the first octet: the clock is synchronised to UTC by an external source.
const SYNCHRONIZED: u8 = 0x80;

/// The bit Z in the first octet: the timestamp is in PTP format instead of NTP format.
const PTP: u8 = 0x40;

/// The Error Estimate of a timestamp in NTP format, taken from a clock of this accuracy.
///
/// The first octet has S, Z and six bits of Scale; the second is the Multiplier, which is never
/// zero. The error is Multiplier × 2^Scale × 2⁻³² s, rounded up.
pub(super) fn of(accuracy: ClockAccuracy) -> [u8; 2] {
    // At most 71 minutes, so that it has 32 + 13 bits.
    let units = (accuracy.max_error().as_nanos() << 32).div_ceil(1_000_000_000);
    let mut scale = 0;
    while units.div_ceil(1 << scale) > u128::from(u8::MAX) {
        scale += 1;
    }
    let multiplier = u8::try_from(units.div_ceil(1 << scale)).unwrap_or(u8::MAX).max(1);
    let synchronized = if accuracy.is_synchronized() { SYNCHRONIZED } else { 0 };
    [synchronized | scale, multiplier]
}

/// Whether an Error Estimate says that its timestamp is in PTP format.
pub(super) fn says_ptp([first, _]: [u8; 2]) -> bool {
    first & PTP != 0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_estimate_says_what_the_kernel_says() {
        // 16 s = 128 × 2²⁹ × 2⁻³² s.
        assert_eq!(of(ClockAccuracy::default()), [29, 128]);
        // 1 ms = 4,294,967.3 units, rounded up to 132 × 2¹⁵.
        let millisecond = Duration::from_millis(1);
        assert_eq!(of(ClockAccuracy::new(true, millisecond)), [0x80 | 15, 132]);
        assert_eq!(of(ClockAccuracy::new(true, Duration::ZERO)), [0x80, 1], "never zero");
        assert!(!says_ptp(of(ClockAccuracy::new(true, Duration::MAX))));
        assert!(says_ptp([0xC0, 1]) && !says_ptp([0xBF, 1]));
    }

    proptest! {
        #[test]
        fn an_estimate_is_at_most_a_hundredth_above_the_error(micros: u32, synchronized: bool) {
            let error = Duration::from_micros(micros.into());
            let [first, multiplier] = of(ClockAccuracy::new(synchronized, error));
            prop_assert_eq!(first & SYNCHRONIZED != 0, synchronized);
            let scale = i32::from(first & 0x3F);
            let said = f64::from(multiplier) * 2_f64.powi(scale - 32);
            prop_assert!(multiplier > 0 && said >= error.as_secs_f64());
            prop_assert!(said <= error.as_secs_f64() * 1.01 + 1e-9, "{} {}", said, micros);
        }
    }
}
