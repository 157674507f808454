//! Finds the target whose heartbeat a datagram from another address answers.
//!
//! A server with several addresses may answer from an address other than the one that the request was
//! sent to. Such an answer is
//! not the target's: a client whose socket is connected would never see it. It is counted for the
//! target nevertheless, because it explains the misses.
//!
//! The datagram may as well be forged, and there may be a flood of them, so the search is bounded:
//! only targets that miss answers are candidates, and only some of them are asked about a datagram.
//! The rest of the packet path does nothing for it.

use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;

use crate::model::TargetId;
use crate::wire::{Prober, Reply};

use super::routes::Route;
use super::slab::Slab;
use super::watched::Watched;

/// Maximum number of candidates. Beyond it, a new candidate takes the place of another one.
const MAX_CANDIDATES: usize = 1024;

/// How many candidates are asked about a datagram: some microseconds in all.
const MAX_ASKED: usize = 64;

/// How many times a datagram is decoded, by probers that do not accept each other's replies. To
/// verify the tag of a STAMP packet takes about a microsecond.
const MAX_DECODED: usize = 4;

/// How many targets are asked about a datagram if their replies carry only few bits of a number. With
/// 16 bits (`dns`) and one heartbeat in flight per target, one in 8,192 forged datagrams then answers
/// a heartbeat.
const MAX_GUESSES: u32 = 8;

/// The targets that miss answers.
#[derive(Debug)]
pub(super) struct Strays {
    /// Whether the numbers of targets begin at random. Otherwise, a number alone proves nothing.
    has_random_numbers: bool,
    /// Each is marked as [`Watched::is_candidate`], unless it has been removed.
    candidates: Vec<TargetId>,
    /// Counts searches and replacements.
    turn: u64,
}

impl Strays {
    /// No candidates. `has_random_numbers` says whether the numbers of targets begin at random.
    pub(super) fn new(has_random_numbers: bool) -> Self {
        Self { has_random_numbers, candidates: Vec::new(), turn: 0 }
    }

    /// Adds a target that misses answers, if it is not a candidate yet.
    pub(super) fn add(&mut self, id: TargetId, targets: &mut Slab<Watched>) {
        let Some(watched) = targets.get_mut(id).filter(|watched| !watched.is_candidate) else {
            return;
        };
        watched.is_candidate = true;
        if self.candidates.len() < MAX_CANDIDATES {
            self.candidates.push(id);
            return;
        }
        let place = self.place();
        let replaced = std::mem::replace(&mut self.candidates[place], id);
        if let Some(watched) = targets.get_mut(replaced) {
            watched.is_candidate = false;
        }
    }

    /// The target whose heartbeat `datagram` from `peer` answers beyond doubt, and the heartbeat.
    /// `None` if none of the candidates that are asked has sent it, or several have: heartbeats of one
    /// batch carry the same time.
    pub(super) fn find(
        &mut self,
        peer: SocketAddr,
        datagram: &[u8],
        targets: &mut Slab<Watched>,
    ) -> Option<(TargetId, u64)> {
        if self.candidates.is_empty() {
            return None;
        }
        let mut replies = Replies {
            datagram,
            has_random_numbers: self.has_random_numbers,
            guesses: 0,
            decoded: ArrayVec::new(),
        };
        let mut found = None;
        let mut place = self.place();
        for _ in 0..self.candidates.len().min(MAX_ASKED) {
            place = if place < self.candidates.len() { place } else { 0 };
            let &id = self.candidates.get(place)?;
            let asked = targets.get_mut(id);
            if let Some(watched) = asked.filter(|watched| watched.session.is_missing_answers()) {
                if let Some(sequence) = answers(peer, watched, &mut replies)
                    && found.replace((id, sequence)).is_some_and(|(other, _)| other != id)
                {
                    return None;
                }
                place += 1;
            } else {
                self.candidates.swap_remove(place);
                if let Some(watched) = targets.get_mut(id) {
                    watched.is_candidate = false;
                }
            }
        }
        found
    }

    /// A pseudo-random candidate (`SplitMix64`), so that every candidate has its turn, however
    /// regularly datagrams come.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is small")]
    fn place(&mut self) -> usize {
        self.turn += 1;
        let mut mixed = self.turn.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % self.candidates.len() as u64) as usize
    }
}

/// A datagram as the probers read it. Probers that share replies read the same.
struct Replies<'d> {
    datagram: &'d [u8],
    has_random_numbers: bool,
    guesses: u32,
    decoded: ArrayVec<(Arc<dyn Prober>, Option<Reply>), MAX_DECODED>,
}

impl Replies<'_> {
    /// The datagram as `prober` reads it; `None` also if the bounds are reached.
    fn read(&mut self, prober: &Arc<dyn Prober>) -> Option<Reply> {
        if prober.sequence_bits() < u32::BITS {
            // Each prober has its own numbers.
            let reply = prober.decode(self.datagram).ok()?;
            self.guesses += 1;
            return (self.guesses <= MAX_GUESSES).then_some(reply);
        }
        let known = self.decoded.iter().find(|(other, _)| other.shares_replies_with(&**prober));
        if let Some((_, reply)) = known {
            return *reply;
        }
        if self.decoded.is_full() {
            return None;
        }
        let reply = prober.decode(self.datagram).ok();
        self.decoded.push((prober.clone(), reply));
        reply
    }
}

/// The heartbeat of a target that the datagram from `peer` answers.
fn answers(peer: SocketAddr, watched: &Watched, replies: &mut Replies<'_>) -> Option<u64> {
    let Watched { session, route, routed_from, former, .. } = watched;
    let Route { peer: own, session: number } = (*route)?;
    if own == peer || former.as_ref().is_some_and(|former| former.peer == peer) {
        return None;
    }
    let prober = session.prober();
    let is_proof = prober.is_identified_by_echo() || replies.has_random_numbers;
    let reply = replies.read(prober).filter(|_| is_proof)?;
    let is_named = reply.session.is_none_or(|named| named == number);
    let sequence =
        (prober.is_identified_by_echo() || is_named).then(|| session.proven(&reply))??;
    (sequence >= *routed_from).then_some(sequence)
}
