//! The small world, searched whole: two pods, two addresses, one ENI, every interleaving to a depth.
//!
//! No chance here: in every state each possible move is taken ([`search`]). Moves are what pods, calls, withdrawals, the
//! cloud, time and crashes do; looks and preparations end at once. A pod that comes has one of two names, so that names come
//! back.

mod search;

use std::time::Duration;

use tideway_model::Families;

pub use self::search::{Bounds, Search, search};
use crate::{
    daemon::Stage,
    dice::Dice,
    ids,
    mutants::Mutant,
    node::Progress,
    profile::{Profile, Troubles, facts},
    world::{Cut, DelStage, World},
};

/// One move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Move {
    /// A pod of this name comes.
    Pod(u32),
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

impl Move {
    /// Whether something goes wrong.
    fn is_fault(self) -> bool {
        matches!(self, Self::Lose(..)) || self.is_crash()
    }

    fn is_crash(self) -> bool {
        matches!(self, Self::Crash | Self::CrashAdd(..) | Self::CrashCall(..))
    }

    /// Whether the move itself can break a promise, not only one that follows. A pod that comes or goes is nothing to the
    /// daemon before its ADD or DEL moves on. A crash gives no order, and of the turn that it cuts off it shows less than the
    /// whole turn, which is another move from the same state.
    fn shows(self) -> bool {
        !self.is_crash() && !matches!(self, Self::Pod(_) | Self::EndPod(_))
    }
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
    p.assign_tokens = true;
    p.rate = (100.0, 100.0);
    p.troubles = Troubles::CRASHES;
    p
}

/// The world from which the search begins: nothing there yet, or one ENI with two addresses, which a pod has left behind.
pub fn begin(warm: bool, mutant: Option<Mutant>) -> World {
    let mut world = World::new(profile(), 1, mutant, false);
    world.calm = true;
    world.disk.honest = true;
    // One clock: states are compared by how far their moments are from now.
    world.booted = Duration::ZERO;
    world.take_turn();
    if warm {
        take(&mut world, Move::Pod(0));
        world.pass(Duration::from_secs(30));
        take(&mut world, Move::EndPod(0));
        world.pass(Duration::from_secs(90));
        finish_looks(&mut world);
    }
    world
}

/// Moves that are possible now.
fn moves(w: &World) -> Vec<Move> {
    let mut all = Vec::new();
    let pods = w.node.kubelet.pods.len();
    if w.node.runtime.sandboxes.len() < 3 {
        let taken = |name: u32| {
            let key = ids::pod(name, 0).key;
            w.node.kubelet.pods.values().any(|pod| pod.pod.key == key)
        };
        all.extend((0..2).filter(|name| !taken(*name)).map(Move::Pod));
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
    // What is left of the bounds is most where nothing of it is spent: what such moves reach is not searched twice.
    all.sort_by_key(|step| step.is_fault() || *step == Move::LongTime);
    all
}

fn cut(after: bool) -> Cut {
    if after { Cut::AfterCommit(0) } else { Cut::BeforeCommit }
}

fn take(w: &mut World, step: Move) {
    w.dice = Dice::new(7);
    match step {
        Move::Pod(name) => drop(w.new_pod_named(name)),
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
