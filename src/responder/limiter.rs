//! How much each source may ask: sources and moments enter, a yes or a no leaves.
//!
//! Each source prefix (an IPv4 address, or the /64 of an IPv6 one) has a bucket of tokens, kept as
//! one number, the theoretical arrival time of the generic cell rate algorithm (ITU-T I.371): a
//! datagram is let through where that lies no further ahead than the bucket is deep, and moves it
//! on by the spacing of datagrams at the limit.
//!
//! There is no table of sources, which a flood of forged addresses would fill. The times stand in
//! a count-min sketch: [`ROWS`] rows of [`WIDTH`] cells, in each of which a source shares a cell
//! with whoever hashes there too. The earliest of its cells counts, and only what lies before the
//! new time is moved to it, so a prefix is never let through too often, and is refused too early
//! only where *each* of its cells is shared with somebody busy: with `n` other prefixes at their
//! limit that has a chance of about `(n / 16,384)⁴`, for a thousand of them one in 70,000. A flood
//! of ever new addresses raises all cells alike, and shuts others out from 16,384 times the limit
//! on: 16 million datagrams a second at the limit of 1,000. Nobody can aim at the cells of
//! another: the hash has a key that is drawn at the start.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{Mono, nanos};

/// How many cells a source has.
const ROWS: usize = 4;

/// How many cells a row has: 2 to the power of [`WIDTH_BITS`].
const WIDTH: usize = 1 << WIDTH_BITS;
const WIDTH_BITS: usize = 14;

/// The depth of a bucket in time: as many datagrams may come at once as the limit allows in a
/// second.
const DEPTH: Duration = Duration::from_secs(1);

/// Lets each source prefix through so many times a second. Shared by threads, without a lock.
#[derive(Debug)]
pub(super) struct Limiter<S = RandomState> {
    /// The rows one after another, 512 KiB in all.
    cells: Box<[AtomicU64]>,
    hasher: S,
    /// Nanoseconds from one datagram to the next at the limit.
    spacing: u64,
    /// How many nanoseconds the theoretical arrival time may lie ahead.
    depth: u64,
}

/// What shares a bucket. Whoever has an IPv6 address commonly has its whole /64 (RFC 6177).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    V6(u64),
}

impl Limiter {
    /// A limiter to `rate` datagrams a second, with a key of its own.
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
            // Two at least: else a stream just at the limit would be refused whatever comes a
            // moment early.
            depth: nanos(DEPTH).max(2 * spacing),
        }
    }

    /// Whether a datagram from `source` may pass at `now`; it is charged for where it may.
    pub(super) fn admit(&self, source: IpAddr, now: Mono) -> bool {
        let now = now.as_nanos();
        let cells = self.cells_of(Source::of(source));
        // Ends: where a turn fails, another thread's has succeeded.
        loop {
            let seen = cells.map(|cell| cell.load(Ordering::Acquire));
            let (lowest, earliest) =
                seen.into_iter().enumerate().min_by_key(|&(_, time)| time).unwrap_or_default();
            let next = earliest.max(now).saturating_add(self.spacing);
            if next - now > self.depth {
                return false;
            }
            // The earliest cell moves last, and from what was seen alone: of several threads that
            // decide about one source, one at a time comes to its end.
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

    /// The same key each time, so that a test either always passes or never.
    type Fixed = BuildHasherDefault<DefaultHasher>;

    const SECOND: u64 = 1_000_000_000;

    fn limiter(rate: u32) -> Limiter<Fixed> {
        Limiter::with_hasher(NonZeroU32::new(rate).unwrap(), Fixed::default())
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of `count` datagrams from one source, so many nanoseconds apart, pass.
    fn passed(limiter: &Limiter<Fixed>, source: IpAddr, start: u64, gap: u64, count: u64) -> u64 {
        let pass = |n: &u64| limiter.admit(source, Mono::from_nanos(start + n * gap));
        (0..count).filter(pass).count() as u64
    }

    #[test]
    fn a_bucket_holds_a_second_and_fills_again_at_the_rate() {
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
    fn a_stream_at_the_limit_may_be_a_little_unpunctual() {
        let limiter = limiter(1);
        let source = address("192.0.2.1");
        for n in 1..100 {
            let early = if n % 2 == 0 { 300_000_000 } else { 0 };
            assert!(limiter.admit(source, Mono::from_nanos(n * SECOND - early)), "{n}");
        }
        assert_eq!(passed(&limiter, source, 100 * SECOND, 1_000_000, 100), 2);
    }

    #[test]
    fn any_rate_is_kept_to_the_thousandth() {
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
    fn an_ipv4_address_and_a_64_of_ipv6_have_a_bucket_each() {
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
    fn a_flood_of_forged_sources_shuts_nobody_out() {
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
        // One in eight keys would refuse one of these; this key is always the same.
        for n in 0..10_000 {
            let other = IpAddr::V4(Ipv4Addr::from_bits(0xC0A8_0000 + n));
            assert_eq!(passed(&limiter, other, now, 0, 1), 1, "{other}");
        }
    }

    #[test]
    fn threads_together_let_no_more_through_than_one() {
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
