//! Numbers the replies to each session of a stateful reflector (RFC 8762 section 4.3.1).
//!
//! A sender that starts again begins a new session: see [`Session::begins_again`].
//!
//! Memory is bounded: sessions that have been quiet for a long time are forgotten. If there are too
//! many sessions, those that have been quiet for longest are forgotten. A forgotten session starts
//! again from 0.
//!
//! A sender can forge its address, and each forged one is a new session. So sessions of which only
//! one request has arrived are kept apart from those of which more have: new sessions, however
//! many, displace only other sessions that are seen for the first time.
//!
//! Each of the two kinds has two generations. A session that is used moves to the newer one. When
//! the newer one is full or old, it becomes the older one, and the sessions left in the older one
//! are forgotten. So sessions need not be kept in the order of their use.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::model::Mono;
use crate::wire::ParsedRequest;

/// Minimum time for which a quiet session is remembered, unless there are too many: REFWAIT of RFC
/// 5357 section 3.1.
pub(super) const REMEMBERED: Duration = Duration::from_secs(900);

/// Maximum number of remembered sessions of each kind, in two generations. Each generation fills a
/// table of 131,072 places to its limit of 7/8; at about 100 octets a place, both take 26 MB, and
/// all four of both kinds 52 MB, even if sources are forged. The smaller tables that growth frees
/// may stay in the heap.
const MANY: usize = 229_376;

/// The maximum for a thread without [`Room`] for [`MANY`]: tables of 4,096 places.
const FEW: usize = 7_168;

/// How many threads of a responder may remember [`MANY`] sessions. If there are more threads, the
/// first ones that need more than [`FEW`] may.
const THREADS_WITH_MANY: usize = 16;

const _: () = assert!(size_of::<(Identity, Session)>() <= 96);

/// A number this far below the highest one is not a reordered or duplicated request: the sender has
/// started again. No network delays a request by a thousand others.
const BEHIND: i32 = 1000;

/// A number this far above the highest one is no gap either: at a thousand requests a second, it
/// takes twelve days, and the session would be forgotten.
const AHEAD: i32 = 1 << 30;

/// After a pause of this length, a number that is not above the highest one shows that the sender
/// has started again, even if its timestamps do not: what the network delays or duplicates arrives
/// sooner.
const PAUSE: Duration = Duration::from_secs(2);

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

/// What a request says about its place in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    /// Its Sequence Number.
    sequence: u32,
    /// The 32 bits in the middle of its Timestamp: in both formats, a value is taken for
    /// later than another one if it is at most nine hours newer. 0 if the sender writes no timestamps.
    stamp: u32,
}

impl Sent {
    /// What `request` says.
    pub(super) fn of(request: &ParsedRequest<'_>) -> Self {
        let sequence = u32::try_from(request.sequence).unwrap_or(u32::MAX);
        let [_, _, a, b, c, d, _, _] = request.timestamp.to_be_bytes();
        Self { sequence, stamp: u32::from_be_bytes([a, b, c, d]) }
    }

    const fn is_later_than(self, stamp: u32) -> bool {
        self.stamp.wrapping_sub(stamp).cast_signed() > 0
    }
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

/// What is remembered of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Session {
    /// The number of its next reply.
    next: u32,
    /// The highest Sequence Number of its requests; numbers wrap.
    highest: u32,
    /// The [`Sent::stamp`] of the request with this number.
    stamp: u32,
    /// When its last request arrived, in milliseconds; wraps after 49 days.
    last: u32,
}

impl Session {
    /// A session that begins with a request at `now`.
    const fn begin(Sent { sequence, stamp }: Sent, now: u32) -> Self {
        Self { next: 0, highest: sequence, stamp, last: now }
    }

    /// Whether the sender has started again, given a request that arrived at `now`.
    ///
    /// If the numbers continued from the sender's previous run, the sender would report losses that did
    /// not happen. The sender has started again in each of these cases:
    ///
    /// - The number is not above the highest one, although the timestamp is later than that of the
    ///   highest one or the session has been quiet for two seconds.
    /// - The number is more than a thousand below the highest one.
    /// - The number is more than 2³⁰ above the highest one: the former run had passed 2³⁰.
    ///
    /// Requests that the network reordered or duplicated match none of these, and neither does
    /// a number that wraps from 2³² − 1 to 0.
    const fn begins_again(&self, sent: Sent, now: u32) -> bool {
        let step = sent.sequence.wrapping_sub(self.highest).cast_signed();
        let quiet = now.wrapping_sub(self.last);
        let is_newer = sent.is_later_than(self.stamp) || quiet as u128 >= PAUSE.as_millis();
        step < -BEHIND || step > AHEAD || (step <= 0 && is_newer)
    }

    /// Takes the number of the reply to a request.
    fn take(&mut self, sent: Sent, now: u32) -> u32 {
        let Sent { sequence, stamp } = sent;
        if self.begins_again(sent, now) {
            *self = Self::begin(sent, now);
        } else if sequence.wrapping_sub(self.highest).cast_signed() > 0 {
            *self = Self { highest: sequence, stamp, ..*self };
        }
        self.last = now;
        let number = self.next;
        self.next = number.wrapping_add(1);
        number
    }
}

/// The sessions of one reflector.
#[derive(Debug)]
pub(super) struct Sessions {
    room: Room,
    /// The maximum number of remembered sessions of each kind at present.
    most: usize,
    /// Sessions of which one request has arrived.
    new: Generations,
    /// Sessions of which more have.
    known: Generations,
}

/// Two generations of sessions; a session is in one of them.
#[derive(Debug, Default)]
struct Generations {
    newer: HashMap<Identity, Session>,
    older: HashMap<Identity, Session>,
    /// When the newer generation began.
    began: Mono,
}

impl Generations {
    /// Forgets the older generation if the newer one is old.
    fn age(&mut self, now: Mono) {
        if now.since(self.began) >= REMEMBERED {
            self.turn(now);
        }
    }

    /// Removes a session.
    fn take(&mut self, key: &Identity) -> Option<Session> {
        if self.newer.is_empty() && self.older.is_empty() {
            return None;
        }
        self.newer.remove(key).or_else(|| self.older.remove(key))
    }

    /// The newer generation becomes the older one. The memory of the former older one is reused.
    fn turn(&mut self, now: Mono) {
        self.older.clear();
        std::mem::swap(&mut self.newer, &mut self.older);
        self.began = now;
    }
}

impl Sessions {
    /// No sessions yet. `room` decides whether there may be more than [`FEW`].
    pub(super) fn in_room(room: Room) -> Self {
        Self { room, most: FEW, new: Generations::default(), known: Generations::default() }
    }

    /// The number of the reply to a request of this session at `now`: it counts from 0, and wraps.
    #[expect(clippy::cast_possible_truncation, reason = "only differences are used")]
    pub(super) fn count(&mut self, key: Identity, sent: Sent, now: Mono) -> u32 {
        let millis = (now.as_nanos() / 1_000_000) as u32;
        self.known.age(now);
        if let Some(session) = self.known.newer.get_mut(&key) {
            return session.take(sent, millis);
        }
        self.new.age(now);
        let remembered = self.known.older.remove(&key).or_else(|| self.new.take(&key));
        let is_new = remembered.is_none();
        let mut session = remembered.unwrap_or(Session::begin(sent, millis));
        let number = session.take(sent, millis);
        self.insert(is_new, key, session, now);
        number
    }

    fn insert(&mut self, is_new: bool, key: Identity, session: Session, now: Mono) {
        let kind = if is_new { &mut self.new } else { &mut self.known };
        if kind.newer.len() >= self.most / 2 {
            if self.most == FEW && self.room.take() {
                self.most = MANY;
            } else {
                kind.turn(now);
            }
        }
        kind.newer.insert(key, session);
    }

    /// How many sessions are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        [&self.new, &self.known].map(|kind| kind.newer.len() + kind.older.len()).iter().sum()
    }
}

#[cfg(test)]
mod tests;
