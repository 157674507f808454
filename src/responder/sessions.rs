//! How many replies each session of a stateful reflector has had: a session enters, the number of
//! its next reply leaves (RFC 8762 section 4.3.1).
//!
//! Bounded: what has been quiet for long is forgotten, and where there are too many, those quiet
//! for longest. A session that was forgotten begins again from 0.
//!
//! Sessions stand in two generations. Whatever is used is in the newer one, or moves there; once
//! that is full or old, it becomes the older one, and what was left in the older one is gone. So
//! nothing has to be kept in the order of its use.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::model::Mono;

/// How long a session is remembered at least: REFWAIT of RFC 5357 section 3.1.
pub(super) const REMEMBERED: Duration = Duration::from_secs(900);

/// How many sessions are remembered at most, in two generations. Each fills a table of 131,072
/// places to its limit of 7/8; with some 90 octets a place, both are 24 MB, whoever invents sources.
/// What growing frees may stay in the heap: tables of half the size and smaller.
const MANY: usize = 229_376;

/// How many where there is no [`Room`] for so many: tables of 4,096 places.
const FEW: usize = 7_168;

/// How many of a responder's threads may remember [`MANY`]: on a larger machine, those that need it
/// first.
const THREADS_WITH_MANY: usize = 16;

const _: () = assert!(size_of::<(Identity, u32)>() <= 88);

/// What makes a session: who asks, who is asked, and what the requests themselves say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    /// Who asks.
    pub(super) peer: SocketAddr,
    /// The listener and, where the kernel told it, the address that are asked.
    pub(super) listener: usize,
    pub(super) local: Option<IpAddr>,
    /// [`counted_session`](crate::wire::ParsedRequest::counted_session).
    pub(super) session: u16,
    /// Which key vouches for it.
    pub(super) key: Option<usize>,
}

/// What the reflectors of one responder share: room for many sessions, for some of them.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(THREADS_WITH_MANY)))
    }
}

impl Room {
    /// Takes what one reflector needs, for good; false where nothing is left.
    fn take(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

/// The sessions of one reflector.
#[derive(Debug)]
pub(super) struct Sessions {
    room: Room,
    /// How many are remembered at most at present.
    most: usize,
    /// The number of the next reply to each session; a session is in one of the two.
    newer: HashMap<Identity, u32>,
    older: HashMap<Identity, u32>,
    /// When the newer generation began.
    began: Mono,
}

impl Sessions {
    /// None so far; more than few are a matter of `room`.
    pub(super) fn in_room(room: Room) -> Self {
        Self {
            room,
            most: FEW,
            newer: HashMap::new(),
            older: HashMap::new(),
            began: Mono::default(),
        }
    }

    /// The number of the next reply, at `now`, to this session; it counts from 0, and wraps.
    pub(super) fn count(&mut self, key: Identity, now: Mono) -> u32 {
        if now.since(self.began) >= REMEMBERED {
            self.turn(now);
        }
        if let Some(next) = self.newer.get_mut(&key) {
            let number = *next;
            *next = number.wrapping_add(1);
            return number;
        }
        let number = self.older.remove(&key).unwrap_or(0);
        if self.newer.len() >= self.most / 2 {
            if self.most == FEW && self.room.take() {
                self.most = MANY;
            } else {
                self.turn(now);
            }
        }
        self.newer.insert(key, number.wrapping_add(1));
        number
    }

    /// The newer generation becomes the older one. The room of the other is used again.
    fn turn(&mut self, now: Mono) {
        self.older.clear();
        std::mem::swap(&mut self.newer, &mut self.older);
        self.began = now;
    }

    /// How many sessions are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.newer.len() + self.older.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn identity(port: u16, session: u16) -> Identity {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Identity {
            peer: SocketAddr::new(ip, port),
            listener: 0,
            local: Some(ip),
            session,
            key: None,
        }
    }

    fn at(seconds: u64) -> Mono {
        Mono::default() + Duration::from_secs(100_000 + seconds)
    }

    #[test]
    fn every_session_counts_from_zero_on_its_own() {
        let mut sessions = Sessions::in_room(Room::default());
        let elsewhere =
            Identity { local: Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2))), ..identity(1, 1) };
        for number in 0..3 {
            let other_listener = Identity { listener: 1, ..identity(1, 1) };
            let with_key = Identity { key: Some(0), ..identity(1, 1) };
            for key in [
                identity(1, 1),
                identity(1, 2),
                identity(2, 1),
                elsewhere,
                other_listener,
                with_key,
            ] {
                assert_eq!(sessions.count(key, at(0)), number);
            }
        }
    }

    #[test]
    fn the_count_wraps() {
        let mut sessions = Sessions::in_room(Room::default());
        sessions.newer.insert(identity(1, 1), u32::MAX);
        sessions.began = at(0);
        assert_eq!(sessions.count(identity(1, 1), at(0)), u32::MAX);
        assert_eq!(sessions.count(identity(1, 1), at(0)), 0);
    }

    #[test]
    fn a_quiet_session_is_remembered_for_so_long_and_no_longer_than_twice_that() {
        let mut sessions = Sessions::in_room(Room::default());
        assert_eq!(sessions.count(identity(1, 1), at(0)), 0);
        assert_eq!(sessions.count(identity(1, 1), at(899)), 1);
        assert_eq!(sessions.count(identity(2, 1), at(900)), 0);
        assert_eq!(sessions.count(identity(1, 1), at(899 + 900)), 2);
        // One that is used at least so often is never forgotten.
        for turn in 1..=10 {
            let now = at(1799 + turn * 899);
            assert_eq!(u64::from(sessions.count(identity(1, 1), now)), turn + 2);
        }
        assert_eq!(sessions.count(identity(2, 1), at(20_000)), 0);
        assert_eq!(sessions.count(identity(1, 1), at(22_000)), 0);
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn there_are_never_more_than_so_many_and_the_busy_ones_stay() {
        let mut sessions = Sessions::in_room(Room::default());
        let mut busy = 0;
        for number in 0..3 * u32::try_from(MANY).unwrap() {
            let [a, b, session @ ..] = number.to_be_bytes();
            let port = 2 + u16::from_be_bytes([a, b]);
            sessions.count(identity(port, u16::from_be_bytes(session)), at(0));
            if number % 1000 == 0 {
                assert_eq!(sessions.count(identity(1, 1), at(0)), busy);
                busy += 1;
            }
            assert!(sessions.len() <= MANY);
        }
    }

    #[test]
    fn where_there_is_no_room_few_are_remembered_and_the_busy_ones_stay() {
        let room = Room::default();
        let mut all: Vec<_> =
            (0..=THREADS_WITH_MANY).map(|_| Sessions::in_room(room.clone())).collect();
        for sessions in &mut all {
            for port in 0..=u16::MAX {
                sessions.count(identity(port, 1), at(0));
                if port % 1000 == 0 {
                    assert_eq!(sessions.count(identity(1, 2), at(0)), u32::from(port / 1000));
                }
            }
        }
        let remembered: Vec<_> = all.iter().map(Sessions::len).collect();
        let (last, others) = remembered.split_last().unwrap();
        assert_eq!(others, [65_537; THREADS_WITH_MANY]);
        assert!(*last <= FEW);
    }
}
