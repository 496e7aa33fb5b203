//! Whom we refused, and whom to wake.
//!
//! The scheduler does not learn that an address came free: nothing that it watches changed. So the extender tells it, by a
//! small change of the refused pod. As many pods are woken as there are units, the highest priority first; a pod that is woken
//! in vain again and again (its room is elsewhere) waits longer each time. A pod that was shown only a part of the nodes is
//! told where to go (see `nominate`).

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use super::Decider;
use super::facts::Uid;
use super::kind::{Kind, PerKind, Wants};
use super::nodes::{NodeId, Nodes};

/// A woken pod that the scheduler has not tried for so long counts as waiting again.
const LOST: Duration = Duration::from_secs(5);
/// Wakes a second that go on, and as many at once as a burst.
const RATE: u64 = 50;
const BURST: u64 = 200;
/// Between two wakes of one pod, as long as the scheduler may not have shown us every node.
const QUICK: Duration = Duration::from_millis(100);
/// The same when it has, and units came free since.
const FRESH: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_mins(1);
/// Below so many nodes in a call the scheduler has shown us all that are feasible (it samples no fewer than 100).
const WHOLE: usize = 100;
/// Of so many waiting pods at most it is kept what part of the nodes they were shown.
const SAMPLES: usize = 4096;
/// Entries that one look goes through from the front of a queue, and as many from where the last look ended.
const SCAN: usize = 256;
/// Between two looks in which nobody came free.
const IDLE: Duration = Duration::from_millis(250);
/// A waiting pod that the watch has not shown for so long may be gone: its question came after its deletion.
const UNSHOWN: Duration = Duration::from_mins(1);
/// So many of them are looked for at once.
const LOOKS: usize = 16;

/// A pod to wake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wake {
    /// UID.
    pub uid: Uid,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// For which node to nominate it: it holds its units there.
    pub node: Option<String>,
}

/// A pod as it was refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused<'a> {
    pub(super) wants: Wants,
    /// [`Nodes::freed`] now.
    pub(super) freed: u64,
    /// Among nodes with room it has no preference that we could see.
    pub(super) anywhere: bool,
    pub(super) priority: i32,
    pub(super) namespace: &'a str,
    pub(super) name: &'a str,
}

#[derive(Debug)]
struct Waiter {
    wants: Wants,
    namespace: Box<str>,
    name: Box<str>,
    priority: i32,
    /// Wakes in vain since it was first refused.
    tries: u32,
    /// In so many tries the scheduler has shown every node.
    cover: u32,
    /// When it was last refused.
    last: Duration,
    /// [`Nodes::freed`] when it was last refused.
    freed: u64,
    /// The nodes that were asked; those of a part of all only for pods that may be nominated.
    shown: Box<[NodeId]>,
    anywhere: bool,
    /// We have nominated it since it was first refused.
    nominated: bool,
    /// When it was woken; it is not in the queue then.
    woken: Option<Duration>,
    /// Its units are in [`Waiting::woken`]: they are not held yet.
    counted: bool,
    /// When a look at the API server last found it there; at first, when it was refused.
    found: Duration,
}

type Place = (Reverse<i32>, Duration, Uid);

/// Waiting pods of one kind, the first to be woken first.
#[derive(Debug, Default)]
struct Queue {
    places: BTreeSet<Place>,
    /// How far the last look came. Without it those in front that are not due would hide all others.
    seen: Option<Place>,
}

impl Queue {
    fn look(&mut self) -> Vec<Place> {
        let mut look: Vec<Place> = self.places.iter().take(SCAN).cloned().collect();
        let Some(front) = look.last().filter(|_| self.places.len() > SCAN) else { return look };
        let from = self.seen.take().filter(|seen| seen > front).unwrap_or_else(|| front.clone());
        look.extend(self.places.range((Excluded(from), Unbounded)).take(SCAN).cloned());
        // From the end it goes on in front.
        self.seen = look.last().filter(|_| look.len() == 2 * SCAN).cloned();
        look
    }
}

/// The pods that were refused.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pods: HashMap<Uid, Waiter>,
    shared: Queue,
    exclusive: Queue,
    member: Queue,
    /// Units that woken pods will ask for.
    woken: PerKind<u32>,
    tokens: u64,
    filled: Duration,
    looked: Duration,
    /// Something changed since the last look.
    stirred: bool,
}

impl Waiting {
    fn queue(&mut self, kind: Kind) -> &mut Queue {
        match kind {
            Kind::Shared => &mut self.shared,
            Kind::Exclusive => &mut self.exclusive,
            Kind::Member => &mut self.member,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    /// Whether the pod was refused and waits.
    pub(super) fn has(&self, uid: &str) -> bool {
        self.pods.contains_key(uid)
    }

    /// The pod needs no waking any more.
    pub(super) fn forget(&mut self, uid: &str) -> bool {
        let Some((uid, waiter)) = self.pods.remove_entry(uid) else { return false };
        self.leave(&uid, &waiter);
        true
    }

    /// Forgets all but these pods, told by their UID and when they were last refused.
    pub(super) fn keep(&mut self, keep: impl Fn(&str, Duration) -> bool) {
        let lost = self.pods.iter().filter(|(uid, w)| !keep(uid, w.last));
        let lost: Vec<Uid> = lost.map(|(uid, _)| Uid::clone(uid)).collect();
        for uid in lost {
            self.forget(&uid);
        }
    }

    /// Some of those that are not `shown` for a while, with namespace and name.
    pub(super) fn unshown(
        &self,
        now: Duration,
        shown: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = (Uid, String, String)> {
        let unshown = self.pods.iter().filter(move |(uid, waiter)| {
            now.saturating_sub(waiter.found) >= UNSHOWN && !shown(uid)
        });
        let named = |(uid, waiter): (&Uid, &Waiter)| {
            (Uid::clone(uid), waiter.namespace.to_string(), waiter.name.to_string())
        };
        unshown.map(named).take(LOOKS)
    }

    /// A look at the API server did not find the pod gone.
    pub(super) fn found(&mut self, now: Duration, uid: &str) {
        if let Some(waiter) = self.pods.get_mut(uid) {
            waiter.found = now;
        }
    }

    /// What a pod needs that takes any node, was shown a part of them in which there is no room, and was not nominated yet.
    pub(super) fn lacks_sight(&self, uid: &str, nodes: &Nodes) -> Option<Wants> {
        let waiter = self.pods.get(uid).filter(|w| w.anywhere && !w.nominated)?;
        let part = (WHOLE..nodes.known()).contains(&waiter.shown.len());
        let blind = || !waiter.shown.iter().any(|id| nodes.has(*id, waiter.wants));
        (part && blind()).then_some(waiter.wants)
    }

    /// A woken pod was nominated: it holds its units now.
    pub(super) fn nominated(&mut self, uid: &str) {
        let Some(waiter) = self.pods.get_mut(uid) else { return };
        waiter.nominated = true;
        if std::mem::take(&mut waiter.counted) {
            self.woken.take(waiter.wants);
        }
    }

    fn leave(&mut self, uid: &Uid, waiter: &Waiter) {
        if waiter.counted {
            self.woken.take(waiter.wants);
        }
        if waiter.woken.is_none() {
            let place = (Reverse(waiter.priority), waiter.last, Uid::clone(uid));
            self.queue(waiter.wants.kind).places.remove(&place);
        }
    }

    fn enter(&mut self, uid: Uid, waiter: Waiter) {
        let place = (Reverse(waiter.priority), waiter.last, Uid::clone(&uid));
        self.queue(waiter.wants.kind).places.insert(place);
        self.pods.insert(uid, waiter);
    }

    /// A pod was refused.
    pub(super) fn refused(
        &mut self,
        now: Duration,
        uid: &Uid,
        pod: Refused<'_>,
        asked: usize,
        sample: Vec<NodeId>,
    ) {
        let before = self.pods.remove(uid);
        let mut tries = 0;
        if let Some(before) = &before {
            self.leave(uid, before);
            tries = before.tries.saturating_add(u32::from(before.woken.is_some()));
        }
        let kept = asked < WHOLE || (pod.anywhere && self.pods.len() < SAMPLES);
        let shown = if kept { sample.into_boxed_slice() } else { Box::default() };
        let waiter = Waiter {
            wants: pod.wants,
            namespace: pod.namespace.into(),
            name: pod.name.into(),
            priority: pod.priority,
            tries,
            cover: u32::try_from(asked).unwrap_or(u32::MAX).max(1),
            last: now,
            freed: pod.freed,
            shown,
            anywhere: pod.anywhere,
            nominated: before.is_some_and(|b| b.nominated),
            woken: None,
            counted: false,
            found: now,
        };
        self.enter(Uid::clone(uid), waiter);
        self.stirred = true;
    }

    /// Takes a pod out of the queue until the scheduler has tried it.
    fn wake(&mut self, now: Duration, uid: &Uid) -> Wake {
        let mut wake = Wake {
            uid: Uid::clone(uid),
            namespace: String::new(),
            name: String::new(),
            node: None,
        };
        if let Some(mut waiter) = self.pods.remove(uid) {
            self.leave(uid, &waiter);
            self.tokens = self.tokens.saturating_sub(1);
            (waiter.woken, waiter.counted) = (Some(now), true);
            self.woken.add(waiter.wants);
            wake.namespace = waiter.namespace.to_string();
            wake.name = waiter.name.to_string();
            self.pods.insert(Uid::clone(uid), waiter);
        }
        wake
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled).as_millis();
        let more = u64::try_from(passed).unwrap_or(u64::MAX).saturating_mul(RATE) / 1000;
        self.tokens = self.tokens.saturating_add(more).min(BURST);
        // What is not a whole token yet stays, or frequent looks would wake fewer.
        self.filled = if self.tokens == BURST {
            now
        } else {
            self.filled + Duration::from_millis(more.saturating_mul(1000) / RATE)
        };
    }

    /// Woken pods that the scheduler did not try go back into the queue.
    fn lose(&mut self, now: Duration) {
        let queues = [&self.shared, &self.exclusive, &self.member];
        if queues.iter().map(|q| q.places.len()).sum::<usize>() == self.pods.len() {
            return;
        }
        let lost = |w: &Waiter| w.woken.is_some_and(|at| now.saturating_sub(at) >= LOST);
        let lost: Vec<Uid> =
            self.pods.iter().filter(|(_, w)| lost(w)).map(|(u, _)| Uid::clone(u)).collect();
        for uid in lost {
            if let Some(mut waiter) = self.pods.remove(&uid) {
                self.leave(&uid, &waiter);
                (waiter.woken, waiter.counted) = (None, false);
                waiter.tries = waiter.tries.saturating_add(1);
                waiter.last = now;
                self.enter(uid, waiter);
            }
        }
    }
}

impl Waiter {
    /// Whether it may be woken now; `room`: where it can go is known.
    fn is_due(&self, now: Duration, nodes: &Nodes, room: bool) -> bool {
        // The scheduler showed all nodes that the pod can go to.
        let all = !self.shown.is_empty() && self.shown.len() < WHOLE;
        if !room && all && !self.shown.iter().any(|id| nodes.has(*id, self.wants)) {
            return false;
        }
        let known = u32::try_from(nodes.known()).unwrap_or(u32::MAX);
        let quick = quick_tries(known, self.cover);
        let pause = if self.tries < quick {
            QUICK
        } else {
            let slow = FRESH.saturating_mul(1 << (self.tries - quick).min(6)).min(LONGEST);
            if nodes.freed.of(self.wants.kind) == self.freed { slow } else { FRESH }
        };
        now.saturating_sub(self.last) >= pause
    }
}

/// In how many tries a pod has seen every node, if each shows it `cover` of them. The scheduler goes on around its nodes with
/// each try of any pod, so what one pod is shown is chance: in seven rounds one of a thousand pods misses a node.
fn quick_tries(known: u32, cover: u32) -> u32 {
    known.saturating_mul(7).div_ceil(cover)
}

impl Decider {
    /// Pods to wake now. Call it after events and questions, and some times a second while pods wait.
    pub fn wakes(&mut self, now: Duration) -> Vec<Wake> {
        let mut wakes = Vec::new();
        // While pods may be on their way from before the start, the figures promise too much.
        if self.waiting.pods.is_empty() || !self.is_ready() || self.is_careful(now) {
            return wakes;
        }
        let waiting = &mut self.waiting;
        waiting.refill(now);
        if !waiting.stirred && now.saturating_sub(waiting.looked) < IDLE {
            return wakes;
        }
        (waiting.stirred, waiting.looked) = (false, now);
        waiting.lose(now);
        // A pod that holds a unit from an earlier cycle has room where nobody else has.
        for (uid, flight) in self.flights.iter() {
            let Some(waiter) = waiting.pods.get(uid).filter(|w| w.woken.is_none()) else {
                continue;
            };
            let own = |id: NodeId| {
                let node = self.nodes.get(id);
                node.and_then(|n| {
                    self.nodes.free(n, flight.wants.kind, flight.wants.units, PerKind::default())
                })
            };
            let room = |id| own(id).is_some_and(|room| room.free >= flight.wants.units);
            if waiting.tokens > 0
                && flight.places.iter().any(|p| room(p.node))
                && waiter.is_due(now, &self.nodes, true)
            {
                wakes.push(waiting.wake(now, uid));
            }
        }
        for kind in Kind::ALL {
            let mut units = self.nodes.rooms.total(kind);
            units = units.saturating_sub(u64::from(waiting.woken.of(kind)));
            if units == 0 {
                continue;
            }
            for place in waiting.queue(kind).look() {
                if units == 0 || waiting.tokens == 0 {
                    break;
                }
                let Some(waiter) = waiting.pods.get(&place.2) else { continue };
                let need = u64::from(waiter.wants.units);
                if need > units || !waiter.is_due(now, &self.nodes, false) {
                    continue;
                }
                units -= need;
                wakes.push(waiting.wake(now, &place.2));
            }
        }
        self.nominate_woken(now, &mut wakes);
        wakes
    }

    /// A pod was to be woken and is not there any more. What it holds ends when the watch tells of its deletion.
    pub fn woken_in_vain(&mut self, now: Duration, uid: &str) {
        self.late.left(now, uid);
        self.nominations.remove(uid);
        if self.waiting.forget(uid) {
            self.stir();
        }
    }

    /// Something happened after which waiting pods may have a chance.
    pub fn stir(&mut self) {
        self.waiting.stirred = true;
    }
}

#[cfg(test)]
mod tests {
    use super::quick_tries;

    #[test]
    fn a_pod_among_many_is_shown_every_node_before_its_wakes_become_rare() {
        for (known, cover) in [(5000_u32, 500_u32), (1000, 420), (300, 300)] {
            let tries = i32::try_from(quick_tries(known, cover)).unwrap();
            let missed = (1.0 - f64::from(cover) / f64::from(known)).powi(tries);
            assert!(missed < 0.001, "{missed} of the pods have not seen all of {known}");
        }
    }
}
