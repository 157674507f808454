//! The rate limit of each source.
//!
//! Each source prefix (an IPv4 address, or an IPv6 /64) has a token bucket, which is stored as one
//! number: the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371). Each
//! admitted datagram moves that time on by the spacing of datagrams at the limit. A datagram is
//! refused if it would move the time further ahead than the bucket is deep.
//!
//! There is no table of sources, because a flood of forged addresses would fill it. The times are
//! in a count-min sketch: [`ROWS`] rows of [`WIDTH`] cells. A source has a cell in each row, which
//! it may share with other sources. The earliest of its cells decides, and a datagram moves only
//! cells that lie before the new time. So a prefix is never admitted too often, and it is refused
//! too early only if *each* of its cells is shared with a busy source. With `n` other prefixes at
//! their limit, the probability of that is about `(n / 16,384)⁴`: one in 70,000 for a thousand of
//! them. A flood from ever new addresses raises all cells equally. It causes refusals of other
//! sources only above 16,384 times the limit: 16 million datagrams per second at the limit of
//! 1,000. An attacker cannot aim at the cells of another source, because the hash has a random key.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{Mono, nanos};

/// Cells of a source: one in each row.
const ROWS: usize = 4;

/// Cells of a row: 2 to the power of [`WIDTH_BITS`].
const WIDTH: usize = 1 << WIDTH_BITS;
const WIDTH_BITS: usize = 14;

/// The depth of a bucket in time: a burst may contain the requests of one second at the limit.
const DEPTH: Duration = Duration::from_secs(1);

/// Admits datagrams of each source prefix up to a rate. Threads share it without a lock.
#[derive(Debug)]
pub(super) struct Limiter<S = RandomState> {
    /// The rows one after another, 512 KiB in all.
    cells: Box<[AtomicU64]>,
    hasher: S,
    /// Nanoseconds from one datagram to the next at the limit.
    spacing: u64,
    /// How far the theoretical arrival time may lie ahead, in nanoseconds.
    depth: u64,
}

/// A source prefix, which has one bucket. The owner of an IPv6 address commonly has its whole /64
/// (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    V6(u64),
}

impl Limiter {
    /// A limiter to `rate` datagrams per second and source prefix, with a random key.
    pub(super) fn new(rate: NonZeroU32) -> Self {
        Self::with_hasher(rate, RandomState::new())
    }
}

impl<S: BuildHasher> Limiter<S> {
    fn with_hasher(rate: NonZeroU32, hasher: S) -> Self {
        let spacing = (nanos(Duration::from_secs(1)) / u64::from(rate.get())).max(1);
        Self {
            cells: std::iter::repeat_with(AtomicU64::default).take(ROWS * WIDTH).collect(),
            hasher,
            spacing,
            // At least two spacings: otherwise, a stream at the limit would lose each datagram that
            // comes slightly early.
            depth: nanos(DEPTH).max(2 * spacing),
        }
    }

    /// Whether a datagram from `source` is admitted at `now`. If so, it is charged.
    pub(super) fn admit(&self, source: IpAddr, now: Mono) -> bool {
        let now = now.as_nanos();
        let cells = self.cells_of(Source::of(source));
        // This terminates: an iteration fails only if an iteration of another thread has succeeded.
        loop {
            let seen = cells.map(|cell| cell.load(Ordering::Acquire));
            let (lowest, earliest) =
                seen.into_iter().enumerate().min_by_key(|&(_, time)| time).unwrap_or_default();
            let next = earliest.max(now).saturating_add(self.spacing);
            if next - now > self.depth {
                return false;
            }
            // The earliest cell moves last, and only if it still has the value that was read: of
            // several threads that decide about one source, only one at a time succeeds.
            for (row, cell) in cells.iter().enumerate() {
                if row != lowest && seen[row] < next {
                    cell.fetch_max(next, Ordering::AcqRel);
                }
            }
            let moved =
                cells[lowest].compare_exchange(earliest, next, Ordering::AcqRel, Ordering::Acquire);
            if moved.is_ok() {
                return true;
            }
        }
    }

    fn cells_of(&self, source: Source) -> [&AtomicU64; ROWS] {
        let hash = self.hasher.hash_one(source);
        std::array::from_fn(|row| {
            // Each row takes its own bits of the hash.
            let column = (hash >> (row * WIDTH_BITS)) % WIDTH as u64;
            &self.cells[row * WIDTH + usize::try_from(column).unwrap_or(0)]
        })
    }
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher};
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    /// A fixed key, so that tests are deterministic.
    type Fixed = BuildHasherDefault<DefaultHasher>;

    const SECOND: u64 = 1_000_000_000;

    fn limiter(rate: u32) -> Limiter<Fixed> {
        Limiter::with_hasher(NonZeroU32::new(rate).unwrap(), Fixed::default())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of `count` datagrams from one source, `gap` nanoseconds apart, are admitted.
    fn passed(limiter: &Limiter<Fixed>, source: IpAddr, start: u64, gap: u64, count: u64) -> u64 {
        let pass = |n: &u64| limiter.admit(source, Mono::from_nanos(start + n * gap));
        (0..count).filter(pass).count() as u64
    }

    #[test]
    fn a_burst_has_the_size_of_a_second_and_the_bucket_refills_at_the_rate() {
        let limiter = limiter(1000);
        let source = address("192.0.2.1");
        assert_eq!(passed(&limiter, source, SECOND, 0, 5000), 1000);
        assert_eq!(passed(&limiter, source, SECOND + 999_999, 0, 10), 0);
        assert_eq!(passed(&limiter, source, SECOND + 10_000_000, 0, 100), 10);
        // Ten seconds at ten times the limit, and at the limit.
        assert_eq!(passed(&limiter, source, 100 * SECOND, 100_000, 100_000), 1000 + 9999);
        assert_eq!(passed(&limiter, source, 200 * SECOND, 1_000_000, 10_000), 10_000);
    }

    #[test]
    fn a_stream_at_the_limit_may_jitter() {
        let limiter = limiter(1);
        let source = address("192.0.2.1");
        for n in 1..100 {
            let early = if n % 2 == 0 { 300_000_000 } else { 0 };
            assert!(limiter.admit(source, Mono::from_nanos(n * SECOND - early)), "{n}");
        }
        assert_eq!(passed(&limiter, source, 100 * SECOND, 1_000_000, 100), 2);
    }

    #[test]
    fn every_rate_is_exact_to_a_thousandth() {
        for rate in [1, 3, 7, 999, 65_537, 1_000_000] {
            let limiter = limiter(rate);
            let source = address("192.0.2.1");
            let start = 10 * SECOND;
            passed(&limiter, source, start, 0, u64::from(rate) + 2);
            let gap = SECOND / u64::from(rate) / 2;
            let count = 20 * u64::from(rate.min(1000));
            let after = passed(&limiter, source, start, gap, count);
            assert!(after.abs_diff(count / 2) <= count / 1000 + 1, "{rate}: {after} of {count}");
        }
    }

    #[test]
    fn each_ipv4_address_and_each_ipv6_64_has_a_bucket() {
        let limiter = limiter(10);
        let now = 5 * SECOND;
        for (source, left) in [
            ("192.0.2.1", 10),
            ("192.0.2.2", 10),
            ("::ffff:192.0.2.2", 0),
            ("2001:db8:1:2::1", 10),
            ("2001:db8:1:2:3:4:5:6", 0),
            ("2001:db8:1:3::1", 10),
        ] {
            assert_eq!(passed(&limiter, address(source), now, 0, 20), left, "{source}");
        }
    }

    #[test]
    fn a_flood_of_forged_sources_causes_no_refusals() {
        let limiter = limiter(1000);
        let probe = address("192.0.2.1");
        let forged = |n: u64| IpAddr::V6(Ipv6Addr::from_bits(u128::from(n) << 64 | 1));
        let mut refused = 0;
        // A million a second, each from a prefix of its own, and a probe at half its limit.
        for n in 0..200_000 {
            let now = Mono::from_nanos(SECOND + n * 1000);
            assert!(limiter.admit(forged(n), now));
            refused += u32::from(n % 2000 == 0 && !limiter.admit(probe, now));
        }
        assert_eq!(refused, 0);
    }

    #[test]
    fn a_thousand_busy_sources_leave_the_others_alone() {
        let limiter = limiter(1000);
        let now = SECOND;
        let busy = (0..1000).map(|n| IpAddr::V4(Ipv4Addr::from_bits(0x0A00_0000 + n)));
        for source in busy {
            assert_eq!(passed(&limiter, source, now, 0, 1001), 1000, "{source}");
        }
        // With one key in eight, one of these would be refused; the key here is fixed.
        for n in 0..10_000 {
            let other = IpAddr::V4(Ipv4Addr::from_bits(0xC0A8_0000 + n));
            assert_eq!(passed(&limiter, other, now, 0, 1), 1, "{other}");
        }
    }

    #[test]
    fn several_threads_admit_no_more_than_one() {
        let limiter = limiter(100_000);
        let now = SECOND;
        let together: u64 = std::thread::scope(|scope| {
            let ask = || passed(&limiter, address("192.0.2.1"), now, 0, 100_000);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(together, 100_000);
    }
}
