//! The small world, searched whole: two pods, two addresses, one ENI, every interleaving to a depth.
//!
//! No chance here: in every state each possible move is taken. States that were seen with as many moves left are not
//! searched again; a state is everything but counts and logs (`canon`). Moves are what pods, calls, withdrawals, the cloud, time and
//! crashes do; looks and preparations end at once.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tideway_model::Families;

use crate::{
    canon::number_of,
    daemon::Stage,
    dice::Dice,
    mutants::Mutant,
    node::Progress,
    profile::{Profile, Troubles, facts},
    violation::Violation,
    world::{Cut, DelStage, World},
};

/// How much may go wrong on one path: every interleaving within these bounds is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// Moves.
    pub depth: u32,
    /// Crashes and lost answers.
    pub faults: u32,
    /// Long waits.
    pub waits: u32,
    /// Different states.
    pub states: u64,
}

/// What the search found.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Different states.
    pub states: u64,
    /// Moves taken.
    pub moves: u64,
    /// The first broken promise and the moves to it.
    pub violation: Option<(Violation, Vec<Move>)>,
    /// Whether the bound on states ended the search.
    pub cut_short: bool,
}

/// One move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// A pod comes (at most two at a time).
    Pod,
    /// The first or second pod ends.
    EndPod(usize),
    /// An ADD moves on.
    Add(usize),
    /// A DEL moves on.
    Del(usize),
    /// A cloud call moves on.
    Call(usize),
    /// Its answer is lost; it takes effect later, or never.
    Lose(usize, bool),
    /// A call without client ends.
    Ghost(usize),
    /// A change in the cloud ends.
    Change,
    /// A withdrawal is done.
    Withdraw(usize),
    /// Quiet work is done.
    Quiet(usize),
    /// The daemon dies between turns.
    Crash,
    /// A pod's ADD moves on and the daemon dies before the commit, or after it.
    CrashAdd(usize, bool),
    /// The same for a cloud call.
    CrashCall(usize, bool),
    /// The daemon starts.
    Start,
    /// Time passes to what is due next.
    Time,
    /// Time passes beyond every rest.
    LongTime,
}

fn profile() -> Profile {
    let mut p = Profile::of(1);
    p.facts = facts(2, 2, Families::V4, 1);
    p.subnet_sizes = vec![3];
    p.late = Duration::from_secs(20);
    p.stale = Duration::ZERO;
    p.settings.low = 0;
    p.settings.high = 2;
    p.settings.min_shared = 1;
    p.settings.max_shared = Some(1);
    p.settings.use_primary_address = true;
    p.settings.create_secondary_max = 49;
    p.settings.assign_batch = 49;
    p.max_pods = 2;
    p.identities = 0;
    p.rate = (100.0, 100.0);
    p.troubles = Troubles::CRASHES;
    p
}

/// The world from which the search begins: nothing there yet, or one ENI with two addresses ready.
pub fn begin(warm: bool, mutant: Option<Mutant>) -> World {
    let mut world = World::new(profile(), 1, mutant, false);
    world.calm = true;
    world.disk.honest = true;
    // One clock: states are compared by how far their moments are from now.
    world.booted = Duration::ZERO;
    world.take_turn();
    if warm {
        world.pass(Duration::from_secs(90));
    }
    world
}

/// Moves that are possible now.
fn moves(w: &World) -> Vec<Move> {
    let mut all = Vec::new();
    let pods = w.node.kubelet.pods.len();
    if pods < 2 && w.node.runtime.sandboxes.len() < 3 {
        all.push(Move::Pod);
    }
    all.extend((0..pods).map(Move::EndPod));
    for (at, add) in w.adds.iter().enumerate() {
        if add.due().is_some() {
            all.push(Move::Add(at));
            all.extend([Move::CrashAdd(at, false), Move::CrashAdd(at, true)]);
        }
    }
    for (at, del) in w.dels.iter().enumerate() {
        if del.stage == DelStage::Sent {
            all.push(Move::Del(at));
        }
    }
    all.extend((0..w.ghosts.len()).map(Move::Ghost));
    if !w.cloud.changing.is_empty() {
        all.push(Move::Change);
    }
    match &w.daemon {
        None => all.push(Move::Start),
        Some(d) => {
            for (at, call) in d.calls.iter().enumerate() {
                match call.stage {
                    Stage::Sent(_) => {
                        all.extend([Move::Call(at), Move::Lose(at, true), Move::Lose(at, false)]);
                    }
                    Stage::Applied(..) => {
                        all.extend([Move::Call(at), Move::Lose(at, true)]);
                        all.extend([Move::CrashCall(at, false), Move::CrashCall(at, true)]);
                    }
                    Stage::Queued(_) | Stage::Settling(_) => {}
                }
            }
            all.extend((0..d.withdrawals.len()).map(Move::Withdraw));
            all.extend((0..d.quieting.len()).map(Move::Quiet));
            all.push(Move::Crash);
        }
    }
    all.extend([Move::Time, Move::LongTime]);
    all
}

fn cut(after: bool) -> Cut {
    if after { Cut::AfterCommit(0) } else { Cut::BeforeCommit }
}

fn take(w: &mut World, step: Move) {
    w.dice = Dice::new(7);
    match step {
        Move::Pod => drop(w.new_pod()),
        Move::EndPod(at) => {
            let uid = w.node.kubelet.pods.keys().nth(at).copied();
            if let Some(uid) = uid {
                w.remove_pod(uid);
            }
            let ending =
                w.node.runtime.sandboxes.values().find(|s| {
                    s.progress == Progress::Ending && !w.dels.iter().any(|d| d.key == s.key)
                });
            if let Some(key) = ending.map(|s| s.key.clone()) {
                w.send_del(key);
            }
        }
        Move::Add(at) => w.move_add(at),
        Move::Del(at) => w.move_del(at),
        Move::Call(at) => w.move_call(at),
        Move::Lose(at, lands) => {
            let before = w.ghosts.len();
            w.give_up(at);
            if let Some(ghost) = w.ghosts.get_mut(before) {
                ghost.lands = lands;
            }
        }
        Move::Ghost(at) => w.ghost_acts(at),
        Move::Change => {
            if let Some(eni) = w.cloud.changing.keys().next().cloned() {
                w.end_change(&eni);
            }
        }
        Move::Withdraw(at) => w.withdraw(at),
        Move::Quiet(at) => w.quiet(at),
        Move::Crash => w.crash_idle(),
        Move::CrashAdd(at, after) => {
            w.cut = Some(cut(after));
            w.move_add(at);
        }
        Move::CrashCall(at, after) => {
            w.cut = Some(cut(after));
            w.move_call(at);
        }
        Move::Start => w.start(),
        Move::Time => w.pass_to_next(),
        Move::LongTime => w.pass(Duration::from_secs(45)),
    }
    w.pump_limiter();
    w.take_turn();
    if w.cut.take().is_some() {
        w.crash_idle();
    }
    finish_looks(w);
    // Sandboxes that ended are removed at once: their slow removal is in the random runs.
    while w.remove_sandbox() {}
}

/// Looks and preparations end at once: the random runs delay them, here they would only multiply the states.
fn finish_looks(w: &mut World) {
    for _round in 0..40 {
        let read = |l: &crate::daemon::CloudLook| l.read.is_some();
        if let Some(at) = w.due(|d| d.cloud_looks.iter().position(read)) {
            w.cloud_look_moves(at);
        } else if w.due(|d| (!d.device_looks.is_empty()).then_some(0)).is_some() {
            w.devices_seen(0);
        } else if w.due(|d| (!d.listings.is_empty()).then_some(0)).is_some() {
            w.listed(0);
        } else if w.due(|d| (!d.preparing.is_empty()).then_some(0)).is_some() {
            w.prepared(0);
        } else {
            return;
        }
        w.pump_limiter();
        w.take_turn();
    }
}

/// States that were searched, with the moves that were left then, for several threads.
#[derive(Debug)]
struct Seen(Vec<Mutex<HashMap<u64, u8>>>);

impl Seen {
    fn new() -> Self {
        Self((0..256).map(|_| Mutex::default()).collect())
    }

    /// Whether the state must be searched with so many moves left, and whether it is new.
    fn enter(&self, state: u64, depth: u32) -> (bool, bool) {
        let depth = u8::try_from(depth).unwrap_or(u8::MAX);
        let part = usize::try_from(state >> 56).unwrap_or(0);
        let Some(part) = self.0.get(part) else { return (false, false) };
        let mut states = part.lock().unwrap_or_else(PoisonError::into_inner);
        match states.entry(state) {
            Entry::Vacant(new) => {
                new.insert(depth);
                (true, true)
            }
            Entry::Occupied(mut known) => {
                let deeper = *known.get() < depth;
                if deeper {
                    known.insert(depth);
                }
                (deeper, false)
            }
        }
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

/// Searches every interleaving within the bounds, with two threads.
pub fn search(start: &World, bounds: Bounds) -> Search {
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
    for _level in 0..bounds.depth.min(2) {
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

/// What is left of the bounds after a move; none: the move is beyond them.
fn spend(left: Bounds, step: Move) -> Option<Bounds> {
    let left = Bounds { depth: left.depth.checked_sub(1)?, ..left };
    match step {
        Move::Lose(..) | Move::Crash | Move::CrashAdd(..) | Move::CrashCall(..) => {
            Some(Bounds { faults: left.faults.checked_sub(1)?, ..left })
        }
        Move::LongTime => Some(Bounds { waits: left.waits.checked_sub(1)?, ..left }),
        _ => Some(left),
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
    let rest = spend(left, step)?;
    if shared.stop.load(Ordering::Relaxed) {
        return None;
    }
    let mut next = w.clone();
    take(&mut next, step);
    shared.moves.fetch_add(1, Ordering::Relaxed);
    let path = path.iter().copied().chain([step]).collect();
    if let Some(violation) = next.oracle.violation.take() {
        shared.stop.store(true, Ordering::Relaxed);
        let mut first = shared.violation.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert((violation, path));
        return None;
    }
    let state = number_of(&next, (rest.faults, rest.waits));
    let (search, new) = shared.seen.enter(state, rest.depth);
    if new && shared.states.fetch_add(1, Ordering::Relaxed) >= shared.most {
        shared.cut_short.store(true, Ordering::Relaxed);
        shared.stop.store(true, Ordering::Relaxed);
        return None;
    }
    search.then_some((next, rest, path))
}

fn descend(w: &World, left: Bounds, path: &[Move], shared: &Shared) {
    for step in moves(w) {
        if let Some((next, rest, path)) = try_move(w, left, step, path, shared) {
            descend(&next, rest, &path, shared);
        }
    }
}
