//! Every interleaving within the bounds, depth first, with two threads.
//!
//! A state is everything but counts and logs ([`crate::canon`]). It is not searched again when it was searched with as many
//! moves, faults and waits left: every path that could follow now was among those that followed then. Where no move is left
//! nothing follows, so what the last move leads to is judged and not remembered; and a last move that gives the judge nothing
//! to see is not taken ([`Move::shows`]).

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use super::{Move, moves, take};
use crate::{canon::number_of, violation::Violation, world::World};

/// How much may go wrong on one path: every interleaving within these bounds is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Moves, at most [`Bounds::MOST_MOVES`].
    pub depth: u8,
    /// Crashes and lost answers, at most [`Bounds::MOST_FAULTS`].
    pub faults: u8,
    /// Long waits, as many.
    pub waits: u8,
    /// Different states.
    pub states: u64,
}

impl Bounds {
    /// What is remembered of a state has a nibble for each pair of faults and waits.
    pub const MOST_MOVES: u8 = 16;
    /// See above.
    pub const MOST_FAULTS: u8 = 3;

    /// What is left of the bounds after a move; none: the move is beyond them.
    fn spend(self, step: Move) -> Option<Self> {
        let depth = self.depth.checked_sub(1)?;
        let faults = self.faults.checked_sub(step.is_fault().into())?;
        let waits = self.waits.checked_sub((step == Move::LongTime).into())?;
        Some(Self { depth, faults, waits, ..self })
    }
}

/// What the search found.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Different states that were searched on from: those that are reached with a move left.
    pub states: u64,
    /// Moves taken, each judged.
    pub moves: u64,
    /// The first broken promise and the moves to it.
    pub violation: Option<(Violation, Vec<Move>)>,
    /// Whether the bound on states ended the search.
    pub cut_short: bool,
}

/// Most moves with which a state was searched, for each number of faults and waits that were left then.
#[derive(Debug, Default)]
struct Searched(u64);

impl Searched {
    const SIDE: u8 = Bounds::MOST_FAULTS + 1;

    fn at(&self, faults: u8, waits: u8) -> u64 {
        (self.0 >> (4 * (faults * Self::SIDE + waits))) & 0xf
    }

    /// Whether all that could follow with so much left was searched already; if not, it is from now on.
    fn covers(&mut self, left: Bounds) -> bool {
        let depth = u64::from(left.depth);
        let more = |least: u8| least..Self::SIDE;
        let known =
            more(left.faults).any(|f| more(left.waits).any(|waits| self.at(f, waits) >= depth));
        if !known {
            let place = 4 * (left.faults * Self::SIDE + left.waits);
            self.0 = self.0 & !(0xf << place) | depth << place;
        }
        known
    }
}

/// States that were searched, for several threads.
#[derive(Debug)]
struct Seen(Vec<Mutex<HashMap<u128, Searched>>>);

impl Seen {
    fn new() -> Self {
        Self((0..256).map(|_| Mutex::default()).collect())
    }

    /// Whether the state must be searched with so much left, and whether it is new.
    fn enter(&self, state: u128, left: Bounds) -> (bool, bool) {
        let part = usize::try_from(state >> 120).unwrap_or(0);
        let Some(part) = self.0.get(part) else { return (false, false) };
        let mut states = part.lock().unwrap_or_else(PoisonError::into_inner);
        let before = states.len();
        let search = !states.entry(state).or_default().covers(left);
        (search, states.len() > before)
    }
}

/// What the threads of a search share.
#[derive(Debug)]
struct Shared {
    seen: Seen,
    most: u64,
    states: AtomicU64,
    moves: AtomicU64,
    stop: AtomicBool,
    cut_short: AtomicBool,
    violation: Mutex<Option<(Violation, Vec<Move>)>>,
}

/// Searches every interleaving within the bounds.
pub fn search(start: &World, bounds: Bounds) -> Search {
    let most = |bound: u8, most: u8| bound.min(most);
    let bounds = Bounds {
        depth: most(bounds.depth, Bounds::MOST_MOVES),
        faults: most(bounds.faults, Bounds::MOST_FAULTS),
        waits: most(bounds.waits, Bounds::MOST_FAULTS),
        ..bounds
    };
    let shared = Shared {
        seen: Seen::new(),
        most: bounds.states,
        states: AtomicU64::new(0),
        moves: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        cut_short: AtomicBool::new(false),
        violation: Mutex::default(),
    };
    // The first moves are shared out; whoever is ready takes the next.
    let mut first: Vec<(World, Bounds, Vec<Move>)> = vec![(start.clone(), bounds, Vec::new())];
    for _level in 0..bounds.depth.min(3) {
        let mut next = Vec::new();
        for (w, left, path) in first {
            for step in moves(&w) {
                next.extend(try_move(&w, left, step, &path, &shared));
            }
        }
        first = next;
    }
    let at = AtomicUsize::new(0);
    let work = || {
        while let Some((w, left, path)) = first.get(at.fetch_add(1, Ordering::Relaxed)) {
            descend(w, *left, path, &shared);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let violation = shared.violation.into_inner().unwrap_or_else(PoisonError::into_inner);
    Search {
        states: shared.states.into_inner(),
        moves: shared.moves.into_inner(),
        violation,
        cut_short: shared.cut_short.into_inner(),
    }
}

/// Takes a move; none: it is beyond the bounds, or what comes after it is searched already.
fn try_move(
    w: &World,
    left: Bounds,
    step: Move,
    path: &[Move],
    shared: &Shared,
) -> Option<(World, Bounds, Vec<Move>)> {
    let rest = left.spend(step).filter(|rest| rest.depth > 0 || step.shows())?;
    if shared.stop.load(Ordering::Relaxed) {
        return None;
    }
    let mut next = w.clone();
    take(&mut next, step);
    shared.moves.fetch_add(1, Ordering::Relaxed);
    let path = || path.iter().copied().chain([step]).collect();
    if let Some(violation) = next.oracle.violation.take() {
        shared.stop.store(true, Ordering::Relaxed);
        let mut first = shared.violation.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert((violation, path()));
        return None;
    }
    if rest.depth == 0 {
        return None;
    }
    let (search, new) = shared.seen.enter(number_of(&next), rest);
    if new && shared.states.fetch_add(1, Ordering::Relaxed) >= shared.most {
        shared.cut_short.store(true, Ordering::Relaxed);
        shared.stop.store(true, Ordering::Relaxed);
        return None;
    }
    search.then(|| (next, rest, path()))
}

fn descend(w: &World, left: Bounds, path: &[Move], shared: &Shared) {
    for step in moves(w) {
        if let Some((next, rest, path)) = try_move(w, left, step, path, shared) {
            descend(&next, rest, &path, shared);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_searched_again_only_with_more_moves_faults_or_waits_left() {
        let left = |depth, faults, waits| Bounds { depth, faults, waits, states: 0 };
        let mut known = Searched::default();
        assert!(!known.covers(left(5, 1, 1)));
        assert!(known.covers(left(5, 1, 1)));
        assert!(known.covers(left(5, 0, 1)));
        assert!(known.covers(left(1, 0, 0)));
        assert!(!known.covers(left(6, 0, 1)));
        assert!(!known.covers(left(2, 2, 0)));
        assert!(!known.covers(left(15, 3, 3)));
        assert!(known.covers(left(15, 3, 3)));
        assert!(known.covers(left(6, 1, 1)));
    }
}
