//! Statistical tests of the distributions, and the guarantees about seeds.
//!
//! Every count must be within five standard deviations of its theoretical mean. Seeds are fixed, so
//! that the results never vary.

use proptest::prelude::*;

use super::*;

const PACKETS: u32 = 100_000;
const START: Mono = Mono::from_nanos(7_000_000_000);

fn fates(settings: LinkSettings, packets: u32) -> Vec<Fate> {
    let mut link = Impairment::new(settings, START);
    (0..packets).map(|n| link.judge(START + Duration::from_millis(10) * n)).collect()
}

fn passages(fates: &[Fate]) -> impl Iterator<Item = Passage> + '_ {
    fates.iter().filter_map(|fate| match fate {
        Fate::Deliver { first, .. } => Some(*first),
        Fate::Drop(_) | Fate::DropReply(_) => None,
    })
}

/// Asserts that `count` of `trials` fits a binomial distribution: |k − np| ≤ 5 √(np(1 − p)).
#[track_caller]
fn assert_binomial(count: usize, trials: usize, probability: f64) {
    let mean = trials as f64 * probability;
    let bound = 5.0 * (mean * (1.0 - probability)).sqrt();
    assert!((count as f64 - mean).abs() <= bound, "{count} of {trials}, not {mean} ± {bound}");
}

#[test]
fn losses_are_binomial() {
    for (seed, loss) in [(1, 0.3), (2, 0.01), (3, 0.999)] {
        let fates = fates(LinkSettings { loss, seed, ..LinkSettings::default() }, PACKETS);
        let lost = fates.iter().filter(|&&fate| fate == Fate::Drop(DropReason::Loss)).count();
        assert_binomial(lost, fates.len(), loss);
    }
}

#[test]
fn losses_are_independent_of_the_previous_packet() {
    let fates = fates(LinkSettings { loss: 0.3, seed: 4, ..LinkSettings::default() }, PACKETS);
    let lost = |fate: &Fate| matches!(fate, Fate::Drop(_));
    let after_loss: Vec<_> = fates.windows(2).filter(|pair| lost(&pair[0])).collect();
    let twice = after_loss.iter().filter(|pair| lost(&pair[1])).count();
    assert_binomial(twice, after_loss.len(), 0.3);
}

#[test]
fn probabilities_of_1_always_happen() {
    let always =
        LinkSettings { duplicate: 1.0, reorder: 1.0, corrupt: 1.0, ..LinkSettings::default() };
    for fate in fates(always, 1000) {
        let Fate::Deliver { first, duplicate: Some(second) } = fate else {
            panic!("{fate:?} is not delivered twice");
        };
        for passage in [first, second] {
            assert_eq!(passage.hold, LinkSettings::REORDER_HOLD);
            assert!(passage.corrupt.is_some());
            assert!(passage.kinds().eq([ImpairmentKind::Reorder, ImpairmentKind::Corrupt]));
        }
    }
    let lost = fates(LinkSettings { loss: 1.0, ..LinkSettings::default() }, 1000);
    assert!(lost.iter().all(|&fate| fate == Fate::Drop(DropReason::Loss)));
}

#[test]
fn burst_loss_has_its_ratio_and_a_mean_burst_length_of_one_over_r() {
    for (seed, p, r) in [(5, 0.01, 0.25), (6, 0.2, 0.5), (7, 0.5, 0.9)] {
        let burst = Burst { p, r };
        let settings = LinkSettings { burst_loss: Some(burst), seed, ..LinkSettings::default() };
        let lost: Vec<bool> = fates(settings, PACKETS)
            .into_iter()
            .map(|fate| fate == Fate::Drop(DropReason::BurstLoss))
            .collect();

        // The chain's autocorrelation λ = 1 − p − r multiplies the binomial variance by (1 + λ) /
        // (1 − λ).
        let steady = burst.steady_state_loss();
        let lambda = 1.0 - p - r;
        let mean = f64::from(PACKETS) * steady;
        let bound = 5.0 * (mean * (1.0 - steady) * (1.0 + lambda) / (1.0 - lambda)).sqrt();
        let count = lost.iter().filter(|&&lost| lost).count() as f64;
        assert!((count - mean).abs() <= bound, "{count} lost, not {mean} ± {bound}");

        // Lengths are geometric: mean 1/r, variance (1 − r)/r².
        let runs: Vec<usize> =
            lost.chunk_by(|a, b| a == b).filter(|run| run[0]).map(<[bool]>::len).collect();
        let length = runs.iter().sum::<usize>() as f64 / runs.len() as f64;
        let bound = 5.0 * ((1.0 - r) / (r * r) / runs.len() as f64).sqrt();
        assert!(
            (length - 1.0 / r).abs() <= bound,
            "mean length {length}, not {} ± {bound}",
            1.0 / r
        );
    }
}

#[test]
#[expect(clippy::float_cmp, reason = "the results are exact")]
fn steady_state_loss_is_p_over_p_plus_r() {
    assert_eq!(Burst { p: 0.1, r: 0.3 }.steady_state_loss(), 0.25);
    assert_eq!(Burst { p: 0.1, r: 0.0 }.steady_state_loss(), 1.0);
    assert_eq!(Burst { p: 0.0, r: 0.0 }.steady_state_loss(), 0.0);
}

#[test]
fn uniform_jitter_is_added_to_the_delay() {
    let (delay, jitter) = (Duration::from_millis(20), Duration::from_millis(5));
    let fates = fates(LinkSettings { delay, jitter, seed: 8, ..LinkSettings::default() }, PACKETS);
    let shares: Vec<u128> =
        passages(&fates).map(|passage| passage.delay.saturating_sub(delay).as_nanos()).collect();
    assert_eq!(shares.len(), PACKETS as usize);
    assert!(shares.iter().all(|&share| share <= jitter.as_nanos()));
    for fifth in 0..5 {
        let count = shares.iter().filter(|&&share| share / 1_000_000 == fifth).count();
        assert_binomial(count, shares.len(), 0.2);
    }
}

#[test]
fn jitter_reaches_both_ends_of_its_range() {
    let share = |draw, span| Shape::Uniform.share(draw, span);
    assert_eq!(share(0, Duration::from_nanos(3)), Duration::ZERO);
    assert_eq!(share(u64::MAX, Duration::from_nanos(3)), Duration::from_nanos(3));
    assert_eq!(share(u64::MAX, Duration::ZERO), Duration::ZERO);
    assert_eq!(share(u64::MAX, Duration::MAX), Duration::from_nanos(u64::MAX - 1));
    let jitter = Duration::from_secs(1);
    for shape in Shape::ALL {
        for draw in [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            let most = if shape == Shape::Pareto { 100 * jitter } else { jitter };
            assert!(shape.share(draw, jitter) <= most, "{shape:?} {draw}");
        }
        assert_eq!(shape.share(42, Duration::ZERO), Duration::ZERO);
    }
    assert_eq!(Shape::Pareto.share(0, jitter), 100 * jitter);
    assert_eq!(Shape::Pareto.share(u64::MAX, jitter), Duration::ZERO);
}

/// The theoretical distribution function of a share of the jitter.
fn quantile(shape: Shape, at: f64) -> f64 {
    match shape {
        Shape::Uniform => at,
        Shape::Normal => 0.5 + libm::erf((at - 0.5) * 6.0 / 2.0_f64.sqrt()) / 2.0,
        Shape::Pareto => 1.0 - (1.0 + at).powi(-3),
    }
}

#[test]
fn every_shape_passes_the_chi_square_test_and_has_the_same_mean() {
    const BINS: usize = 20;
    let jitter = Duration::from_millis(10);
    for (shape, seed) in Shape::ALL.into_iter().zip(20..) {
        let settings =
            LinkSettings { jitter, jitter_shape: shape, seed, ..LinkSettings::default() };
        let shares: Vec<f64> = passages(&fates(settings, PACKETS))
            .map(|passage| passage.delay.as_secs_f64() / jitter.as_secs_f64())
            .collect();
        let mut counts = [0.0; BINS];
        for &share in &shares {
            let bin = (0..BINS - 1)
                .find(|&bin| quantile(shape, share) < (bin + 1) as f64 / BINS as f64)
                .unwrap_or(BINS - 1);
            counts[bin] += 1.0;
        }
        let expected = f64::from(PACKETS) / BINS as f64;
        let chi_square: f64 =
            counts.iter().map(|count: &f64| (count - expected).powi(2) / expected).sum();
        // Mean 19, standard deviation √38.
        assert!(chi_square < 19.0 + 5.0 * 38.0_f64.sqrt(), "{shape:?}: {chi_square} {counts:?}");

        // The variance of Lomax is 3/4. Its fourth moment is infinite, so five standard deviations
        // are a wide bound.
        let deviation: f64 = match shape {
            Shape::Uniform => 1.0 / 12.0_f64.sqrt(),
            Shape::Normal => 1.0 / 6.0,
            Shape::Pareto => 0.75_f64.sqrt(),
        };
        let mean = shares.iter().sum::<f64>() / f64::from(PACKETS);
        let bound = 5.0 * deviation / f64::from(PACKETS).sqrt();
        assert!((mean - 0.5).abs() <= bound, "{shape:?}: {mean}");
    }
}

#[test]
fn directions_lose_their_ratio_and_both_lose_independently() {
    let base = LinkSettings { loss: 0.3, seed: 12, ..LinkSettings::default() };
    let [into, out, both] =
        LossyWay::ALL.map(|direction| fates(LinkSettings { direction, ..base }, PACKETS));
    let count = |fates: &[Fate], wanted| fates.iter().filter(|&&fate| fate == wanted).count();
    let (dropped, unanswered) = (Fate::Drop(DropReason::Loss), Fate::DropReply(DropReason::Loss));
    assert_binomial(count(&into, dropped), into.len(), 0.3);
    assert_eq!(count(&into, unanswered), 0);
    // The same packets are lost in either direction.
    for (into, out) in into.iter().zip(&out) {
        assert_eq!(*into == dropped, *out == unanswered);
    }
    assert_eq!(count(&both, dropped), count(&into, dropped));
    let arrived = both.len() - count(&both, dropped);
    assert_binomial(count(&both, unanswered), arrived, 0.3);
}

#[test]
fn the_direction_applies_to_bursts_and_outages() {
    let second = Duration::from_secs(1);
    let outage = Outage { every: second, lasting: second };
    let burst = Burst { p: 0.1, r: 0.3 };
    for (direction, outage_is_in) in
        [(LossyWay::In, true), (LossyWay::Out, false), (LossyWay::Both, true)]
    {
        let base = LinkSettings { direction, seed: 13, ..LinkSettings::default() };
        let down = fates(LinkSettings { outage: Some(outage), ..base }, 1)[0];
        let drop = if outage_is_in { Fate::Drop } else { Fate::DropReply };
        assert_eq!(down, drop(DropReason::Outage));

        let bursts = fates(LinkSettings { burst_loss: Some(burst), ..base }, PACKETS);
        let count = |wanted| bursts.iter().filter(|&&fate| fate == wanted).count() as f64;
        let lost_in = count(Fate::Drop(DropReason::BurstLoss)) / f64::from(PACKETS);
        let lost_out = count(Fate::DropReply(DropReason::BurstLoss)) / f64::from(PACKETS);
        let (wanted_in, wanted_out) = match direction {
            LossyWay::In => (0.25, 0.0),
            LossyWay::Out => (0.0, 0.25),
            LossyWay::Both => (0.25, 0.75 * 0.25),
        };
        // Five standard deviations of a chain with an autocorrelation of 0.6.
        let bound = 5.0 * (0.25 * 0.75 * 1.6 / 0.4 / f64::from(PACKETS)).sqrt();
        assert!((lost_in - wanted_in).abs() <= bound, "{direction:?}: {lost_in} in");
        assert!((lost_out - wanted_out).abs() <= bound, "{direction:?}: {lost_out} out");
    }
}

/// A link of 8 kbit/s, or one octet per millisecond, with this queue.
fn narrow(queue: Duration) -> Impairment {
    let bandwidth = Some(Bandwidth { rate: std::num::NonZeroU64::new(8000).unwrap(), queue });
    Impairment::new(LinkSettings { bandwidth, ..LinkSettings::default() }, START)
}

#[test]
fn the_bandwidth_limit_sends_packets_one_after_the_other() {
    let millis = Duration::from_millis;
    let mut link = narrow(millis(100));
    let mut queued = |octets, at| {
        let passage = link.queue(Passage::UNTOUCHED, octets, START + millis(at));
        passage.map(|passage| passage.queued)
    };
    assert_eq!(queued(50, 0), Some(millis(50)));
    assert_eq!(queued(100, 10), Some(millis(140)));
    // This packet waits for 100 ms, the limit; the next one would wait longer.
    assert_eq!(queued(1, 50), Some(millis(101)));
    assert_eq!(queued(1, 50), None);
    assert_eq!(queued(1, 51), Some(millis(101)));
    assert_eq!(queued(30, 1000), Some(millis(30)));
}

#[test]
fn a_saturated_link_carries_exactly_its_bandwidth() {
    let mut link = narrow(Duration::from_millis(200));
    // Three times the bandwidth for 100 s.
    let passed = (0..3000_u32)
        .filter_map(|n| {
            let now = START + Duration::from_micros(33_333) * n;
            let passage = link.queue(Passage::UNTOUCHED, 100, now)?;
            assert!(passage.queued <= Duration::from_millis(300));
            assert!(passage.kinds().eq([ImpairmentKind::Bandwidth]));
            Some(())
        })
        .count();
    // One packet per 100 ms, and those queued at the end.
    assert!((1000..=1003).contains(&passed), "{passed}");
}

#[test]
fn duplicates_reordering_and_corruption_are_binomial_for_each_copy() {
    let settings = LinkSettings {
        duplicate: 0.1,
        reorder: 0.02,
        corrupt: 0.05,
        reorder_hold: Duration::from_millis(50),
        seed: 9,
        ..LinkSettings::default()
    };
    let fates = fates(settings, PACKETS);
    let seconds: Vec<Passage> = fates
        .iter()
        .filter_map(|fate| match fate {
            Fate::Deliver { duplicate, .. } => *duplicate,
            Fate::Drop(_) | Fate::DropReply(_) => None,
        })
        .collect();
    assert_binomial(seconds.len(), fates.len(), 0.1);
    for copies in [passages(&fates).collect(), seconds] {
        let kind =
            |wanted| copies.iter().filter(move |copy| copy.kinds().any(|kind| kind == wanted));
        assert_binomial(kind(ImpairmentKind::Reorder).count(), copies.len(), 0.02);
        assert_binomial(kind(ImpairmentKind::Corrupt).count(), copies.len(), 0.05);
        assert_eq!(kind(ImpairmentKind::Delay).count(), 0);
        assert!(kind(ImpairmentKind::Reorder).all(|copy| copy.held() == settings.reorder_hold));
    }
}

#[test]
fn every_bit_flips_equally_often() {
    let settings = LinkSettings { corrupt: 1.0, seed: 10, ..LinkSettings::default() };
    let mut counts = [0; 16];
    for passage in passages(&fates(settings, PACKETS)) {
        let bit = passage.corrupt.and_then(|flip| flip.position(2)).unwrap();
        counts[bit] += 1;
    }
    for count in counts {
        assert_binomial(count, PACKETS as usize, 1.0 / 16.0);
    }
}

#[test]
fn an_outage_is_the_last_part_of_each_period_to_the_nanosecond() {
    let second = Duration::from_secs(1);
    let outage = Outage { every: 60 * second, lasting: 20 * second };
    let mut link =
        Impairment::new(LinkSettings { outage: Some(outage), ..LinkSettings::default() }, START);
    let just_before = |span: Duration| span.saturating_sub(Duration::from_nanos(1));
    for (elapsed, down) in [
        (Duration::ZERO, false),
        (just_before(40 * second), false),
        (40 * second, true),
        (just_before(60 * second), true),
        (60 * second, false),
        (just_before(100 * second), false),
        (6_000_100 * second, true),
    ] {
        let fate = link.judge(START + elapsed);
        assert_eq!(fate == Fate::Drop(DropReason::Outage), down, "after {elapsed:?}: {fate:?}");
    }
}

#[test]
fn outages_of_zero_length_or_period_never_start_and_full_ones_never_end() {
    let outage = |every, lasting| Outage {
        every: Duration::from_secs(every),
        lasting: Duration::from_secs(lasting),
    };
    for elapsed in [0, 5, 10, 15].map(Duration::from_secs) {
        assert!(!outage(0, 5).is_down(elapsed));
        assert!(!outage(10, 0).is_down(elapsed));
        assert!(outage(10, 10).is_down(elapsed));
        assert!(outage(10, 11).is_down(elapsed));
    }
}

#[test]
fn outage_comes_before_burst_loss_and_loss_as_the_reason() {
    let everything = LinkSettings {
        loss: 1.0,
        burst_loss: Some(Burst { p: 1.0, r: 0.0 }),
        outage: Some(Outage { every: Duration::from_secs(1), lasting: Duration::from_secs(1) }),
        ..LinkSettings::default()
    };
    let reason = |settings| Impairment::new(settings, START).judge(START);
    assert_eq!(reason(everything), Fate::Drop(DropReason::Outage));
    let up = LinkSettings { outage: None, ..everything };
    assert_eq!(reason(up), Fate::Drop(DropReason::BurstLoss));
    assert_eq!(reason(LinkSettings { burst_loss: None, ..up }), Fate::Drop(DropReason::Loss));
}

#[test]
fn packets_pass_unchanged_while_all_impairments_are_off() {
    let off = LinkSettings { seed: 11, ..LinkSettings::default() };
    assert!(off.is_off());
    assert!(fates(off, 1000).iter().all(|&fate| fate == Fate::UNTOUCHED));
    assert_eq!(off.to_string(), "");
}

/// The sequence is part of the interface: a change would invalidate every recorded run.
#[test]
fn a_seed_always_gives_the_same_losses() {
    let lost: String = fates(LinkSettings { loss: 0.3, seed: 7, ..LinkSettings::default() }, 40)
        .iter()
        .map(|fate| if matches!(fate, Fate::Drop(_)) { 'x' } else { '.' })
        .collect();
    assert_eq!(lost, "..x....x.xx...x..xxx..x...x.xxx.x.x...x.");
}

#[test]
fn settings_are_described_as_text() {
    let settings = LinkSettings {
        loss: 0.3,
        burst_loss: Some(Burst { p: 0.1, r: 0.3 }),
        delay: Duration::from_millis(20),
        jitter: Duration::from_millis(5),
        duplicate: 0.01,
        reorder: 0.02,
        corrupt: 0.001,
        outage: Some(Outage { every: Duration::from_secs(60), lasting: Duration::from_secs(20) }),
        ..LinkSettings::default()
    };
    let bandwidth = Bandwidth {
        rate: std::num::NonZeroU64::new(64_000).unwrap(),
        queue: Duration::from_millis(100),
    };
    let elaborate = LinkSettings {
        direction: LossyWay::Both,
        jitter_shape: Shape::Pareto,
        bandwidth: Some(bandwidth),
        reorder_extent: 3,
        burst_loss: None,
        ..settings
    };
    assert_eq!(
        elaborate.to_string(),
        "loss 30%, delay 20ms, jitter with a mean of 2.5ms (Pareto), \
         bandwidth 64000 bit/s with a queue of 100ms, duplicates 1%, \
         reordering 2% (behind 3 packets, held back for at most 1.1s), corruption 0.1%, \
         down for the last 20s of every 60s, losses in both directions"
    );
    assert_eq!(
        settings.to_string(),
        "loss 30%, burst loss (25% in the long run, mean burst 3.33 packets), delay 20ms, \
         jitter up to 5ms, duplicates 1%, reordering 2% (held back for 1.1s), corruption 0.1%, \
         down for the last 20s of every 60s"
    );
}

fn any_settings() -> impl Strategy<Value = LinkSettings> {
    let ratio = || prop_oneof![Just(0.0), Just(1.0), 0.0..1.0_f64];
    let span = || (0..100_u64).prop_map(Duration::from_millis);
    let base = (ratio(), ratio(), ratio(), ratio(), span(), span(), any::<u64>()).prop_map(
        |(loss, duplicate, reorder, corrupt, delay, jitter, seed)| LinkSettings {
            loss,
            delay,
            jitter,
            duplicate,
            reorder,
            corrupt,
            seed,
            ..LinkSettings::default()
        },
    );
    (
        base,
        proptest::option::of((ratio(), ratio()).prop_map(|(p, r)| Burst { p, r })),
        proptest::option::of(
            (span(), span()).prop_map(|(every, lasting)| Outage { every, lasting }),
        ),
        prop::sample::select(&LossyWay::ALL[..]),
        prop::sample::select(&Shape::ALL[..]),
        0..4_u32,
    )
        .prop_map(|(base, burst_loss, outage, direction, jitter_shape, reorder_extent)| {
            LinkSettings { burst_loss, direction, jitter_shape, reorder_extent, outage, ..base }
        })
}

proptest! {
    #[test]
    fn the_same_seed_and_moments_give_the_same_fates(settings in any_settings()) {
        prop_assert_eq!(fates(settings, 100), fates(settings, 100));
    }

    #[test]
    fn an_impairment_does_not_change_the_decisions_of_the_others(settings in any_settings()) {
        // Without loss, bursts and outages, every packet is delivered and can be compared.
        let base = LinkSettings { loss: 0.0, burst_loss: None, outage: None, ..settings };
        let all = fates(base, 100);
        for (lossy, whole) in fates(settings, 100).iter().zip(&all) {
            let is_lost = matches!(lossy, Fate::Drop(_) | Fate::DropReply(_));
            prop_assert!(is_lost || lossy == whole);
        }
        let undamaged = fates(LinkSettings { corrupt: 0.0, delay: Duration::from_secs(1), ..base }, 100);
        for (one, other) in passages(&all).zip(passages(&undamaged)) {
            prop_assert_eq!(one.hold, other.hold);
            prop_assert_eq!(one.delay + Duration::from_secs(1), other.delay + base.delay);
        }
    }

    #[test]
    fn a_flip_changes_exactly_one_bit_unless_the_packet_is_empty(
        draw in any::<u64>(),
        packet in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut damaged = packet.clone();
        BitFlip(draw).apply(&mut damaged);
        let bits: u32 = packet.iter().zip(&damaged).map(|(a, b)| (a ^ b).count_ones()).sum();
        prop_assert_eq!(bits, u32::from(!packet.is_empty()));
        BitFlip(draw).apply(&mut damaged);
        prop_assert_eq!(damaged, packet);
    }
}
