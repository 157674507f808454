//! Numbers the replies to each session of a stateful reflector (RFC 8762 section 4.3.1).
//!
//! Memory is bounded: sessions that have been quiet for a long time are forgotten. If there are too
//! many sessions, those that have been quiet for longest are forgotten. A forgotten session starts
//! again from 0.
//!
//! There are two generations. A session that is used moves to the newer one. When the newer one is
//! full or old, it becomes the older one, and the sessions left in the older one are forgotten. So
//! sessions need not be kept in the order of their use.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::model::Mono;

/// Minimum time for which a quiet session is remembered, unless there are too many: REFWAIT of RFC
/// 5357 section 3.1.
pub(super) const REMEMBERED: Duration = Duration::from_secs(900);

/// Maximum number of remembered sessions, in two generations. Each generation fills a table of
/// 131,072 places to its limit of 7/8; at about 90 octets a place, both take 24 MB, even if sources
/// are forged. The smaller tables that growth frees may stay in the heap.
const MANY: usize = 229_376;

/// The maximum for a thread without [`Room`] for [`MANY`]: tables of 4,096 places.
const FEW: usize = 7_168;

/// How many threads of a responder may remember [`MANY`] sessions. If there are more threads, the
/// first ones that need more than [`FEW`] may.
const THREADS_WITH_MANY: usize = 16;

const _: () = assert!(size_of::<(Identity, u32)>() <= 88);

/// Identifies a session by its sender, the address that was asked, and fields of the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    /// The sender of the requests.
    pub(super) peer: SocketAddr,
    /// The listener and, if the kernel reports it, the address that was asked.
    pub(super) listener: usize,
    pub(super) local: Option<IpAddr>,
    /// [`counted_session`](crate::wire::ParsedRequest::counted_session).
    pub(super) session: u16,
    /// The index of the key that authenticates it.
    pub(super) key: Option<usize>,
}

/// Shared by the reflectors of one responder: how many more of them may remember [`MANY`] sessions.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(THREADS_WITH_MANY)))
    }
}

impl Room {
    /// Takes the room of one reflector for good; false if none is left.
    fn take(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

/// The sessions of one reflector.
#[derive(Debug)]
pub(super) struct Sessions {
    room: Room,
    /// The maximum number of remembered sessions at present.
    most: usize,
    /// The number of the next reply to each session; a session is in one of the two.
    newer: HashMap<Identity, u32>,
    older: HashMap<Identity, u32>,
    /// When the newer generation began.
    began: Mono,
}

impl Sessions {
    /// No sessions yet. `room` decides whether there may be more than [`FEW`].
    pub(super) fn in_room(room: Room) -> Self {
        Self {
            room,
            most: FEW,
            newer: HashMap::new(),
            older: HashMap::new(),
            began: Mono::default(),
        }
    }

    /// The number of the next reply to this session, at `now`: it counts from 0, and wraps.
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

    /// The newer generation becomes the older one. The memory of the former older one is reused.
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
    fn a_quiet_session_is_remembered_for_900_to_1800_seconds() {
        let mut sessions = Sessions::in_room(Room::default());
        assert_eq!(sessions.count(identity(1, 1), at(0)), 0);
        assert_eq!(sessions.count(identity(1, 1), at(899)), 1);
        assert_eq!(sessions.count(identity(2, 1), at(900)), 0);
        assert_eq!(sessions.count(identity(1, 1), at(899 + 900)), 2);
        // A session that is used every 899 s is never forgotten.
        for turn in 1..=10 {
            let now = at(1799 + turn * 899);
            assert_eq!(u64::from(sessions.count(identity(1, 1), now)), turn + 2);
        }
        assert_eq!(sessions.count(identity(2, 1), at(20_000)), 0);
        assert_eq!(sessions.count(identity(1, 1), at(22_000)), 0);
        assert_eq!(sessions.len(), 2);
    }

    #[test]
    fn the_number_of_sessions_is_bounded_and_a_busy_one_stays() {
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
    fn without_room_few_sessions_are_remembered_and_a_busy_one_stays() {
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
