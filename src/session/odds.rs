//! How often random loss alone looks like an outage: the expected time and the probability of a run
//! of losses.
//!
//! Heartbeats are lost independently with probability q, and the first run of k losses in a row
//! counts as an outage. Both figures are exact up to rounding: nothing is simulated, and small
//! probabilities are summed directly, not computed as 1 minus a large one.

/// The mean number of heartbeats until the first `misses` losses in a row; infinite if `loss` is 0.
/// `loss` is the probability of a loss, from 0 to 1.
///
/// E₁ = 1/q and Eₖ = (Eₖ₋₁ + 1)/q: after k − 1 losses in a row, the next heartbeat is either lost,
/// which completes the run, or answered, which starts again from 0.
#[must_use]
pub fn expected(loss: f64, misses: u32) -> f64 {
    if loss <= 0.0 {
        return f64::INFINITY;
    }
    let mut expected = 0.0;
    for _ in 0..misses {
        expected = (expected + 1.0) / loss;
        if expected == f64::INFINITY {
            break;
        }
    }
    expected
}

/// The probability that `misses` losses in a row occur within the first `heartbeats`. `loss` is the
/// probability of a loss, from 0 to 1.
///
/// Takes time in proportion to `misses`³ × log `heartbeats`. With `misses` = 0 the result is 1.
#[must_use]
pub fn within(loss: f64, misses: u32, heartbeats: u64) -> f64 {
    let end = misses as usize;
    // A Markov chain whose state is the length of the current run: a loss extends it, an answer
    // resets it, and `end` is absorbing. All terms are sums and products of probabilities, so that
    // the relative error is small even if the result is tiny.
    let mut power = vec![vec![0.0; end + 1]; end + 1];
    for (run, row) in power.iter_mut().enumerate().take(end) {
        row[0] = 1.0 - loss;
        row[run + 1] = loss;
    }
    power[end][end] = 1.0;

    let mut states = vec![0.0; end + 1];
    states[0] = 1.0;
    let mut left = heartbeats;
    while left > 0 {
        if left % 2 == 1 {
            states = advance(&states, &power);
        }
        left /= 2;
        if left > 0 {
            power = power.iter().map(|row| advance(row, &power)).collect();
        }
    }
    states[end].min(1.0)
}

/// The distribution over states after the transitions of `chain`.
fn advance(states: &[f64], chain: &[Vec<f64>]) -> Vec<f64> {
    let mut after = vec![0.0; states.len()];
    for (&probability, row) in states.iter().zip(chain) {
        if probability == 0.0 {
            continue;
        }
        for (sum, step) in after.iter_mut().zip(row) {
            *sum += probability * step;
        }
    }
    after
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "certain results are exact")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sums the probabilities of all sequences of losses and answers that contain the run.
    fn enumerated(loss: f64, misses: u32, heartbeats: u32) -> f64 {
        let run = (1_u32 << misses) - 1;
        (0..1_u32 << heartbeats)
            .filter(|lost| {
                misses <= heartbeats
                    && (0..=heartbeats - misses).any(|at| (lost >> at) & run == run)
            })
            .map(|lost| {
                let losses = lost.count_ones().cast_signed();
                loss.powi(losses) * (1.0 - loss).powi(heartbeats.cast_signed() - losses)
            })
            .sum()
    }

    /// The renewal recurrence: the first run ends at m if no run ended before m − k, heartbeat m −
    /// k was answered, and the next k were lost.
    fn renewed(loss: f64, misses: usize, heartbeats: usize) -> f64 {
        let run = loss.powi(i32::try_from(misses).unwrap());
        let mut within = vec![0.0; heartbeats.max(misses) + 1];
        within[misses] = run;
        for m in misses + 1..=heartbeats {
            within[m] = within[m - 1] + (1.0 - loss) * run * (1.0 - within[m - misses - 1]);
        }
        within[heartbeats]
    }

    #[test]
    fn the_figures_for_30_percent_loss_are_known() {
        let row = |misses| {
            let percent = |n| format!("{:.3}", 100.0 * within(0.3, misses, n));
            (format!("{:.2}", expected(0.3, misses)), [10, 100, 1000].map(percent))
        };
        let expected =
            |expected: &str, within: [&str; 3]| (expected.to_owned(), within.map(str::to_owned));
        assert_eq!(row(3), expected("51.48", ["15.512", "86.395", "100.000"]));
        assert_eq!(row(4), expected("174.94", ["4.200", "43.263", "99.699"]));
        assert_eq!(row(5), expected("586.46", ["1.093", "15.256", "81.931"]));
        assert_eq!(format!("{:.1}", 100.0 * within(0.3, 3, 3)), "2.7");
    }

    #[test]
    fn certainties_are_exact() {
        assert_eq!((expected(0.0, 3), within(0.0, 3, 1_000_000)), (f64::INFINITY, 0.0));
        assert_eq!((expected(1.0, 3), within(1.0, 3, 3), within(1.0, 3, 2)), (3.0, 1.0, 0.0));
        assert_eq!(within(0.5, 3, 0), 0.0);
        assert_eq!(expected(1e-300, 5), f64::INFINITY);
        assert_eq!(expected(0.5, 1), 2.0);
    }

    #[test]
    fn tiny_probabilities_keep_their_digits() {
        let relative = |value: f64, truth: f64| (value / truth - 1.0).abs();
        // P(3 losses in a row among n) = q³ × (1 + (n − 3)(1 − q)), up to terms of q⁶.
        assert!(relative(within(1e-4, 3, 3), 1e-12) < 1e-14);
        assert!(relative(within(1e-4, 3, 1003), 1e-12 * (1.0 + 1000.0 * (1.0 - 1e-4))) < 1e-8);
        assert!(relative(within(1e-4, 3, 1_000_000_000), renewed_limit(1e-4, 3, 1e9)) < 1e-6);
    }

    /// 1 − e^(−n/E), the limit of the chain for n much larger than k.
    fn renewed_limit(loss: f64, misses: u32, heartbeats: f64) -> f64 {
        -(-heartbeats / expected(loss, misses)).exp_m1()
    }

    #[test]
    fn the_mean_of_the_distribution_is_the_expectation() {
        // E = Σ P(not within n), summed until the terms vanish.
        let mean: f64 = (0..5000).map(|n| 1.0 - within(0.5, 4, n)).sum();
        assert!((mean / expected(0.5, 4) - 1.0).abs() < 1e-9, "{mean}");
    }

    proptest! {
        #[test]
        fn enumerating_all_sequences_gives_the_same(loss in 0.0..=1.0, misses in 1..5_u32, n in 0..12_u32) {
            let (counted, computed) = (enumerated(loss, misses, n), within(loss, misses, n.into()));
            prop_assert!((counted - computed).abs() <= 1e-12 * counted.max(1e-300) + 1e-300,
                "{counted} {computed}");
        }

        #[test]
        fn the_renewal_recurrence_gives_the_same(loss in 0.01..0.99, misses in 1..12_usize, n in 0..20_000_usize) {
            let renewed = renewed(loss, misses, n);
            let computed = within(loss, u32::try_from(misses).unwrap(), n as u64);
            prop_assert!((renewed - computed).abs() <= 1e-9 * renewed, "{renewed} {computed}");
        }
    }
}
