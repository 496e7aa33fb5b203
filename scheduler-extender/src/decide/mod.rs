//! The decisions: who may go where, from memory, without IO, clock, runtime or lock. Time comes in as an argument: what passed
//! since the program started, which never jumps.
//!
//! **Free** units of a node = what its instance can carry and its subnets can still give − pods that are bound there − pods
//! that left and are not yet accounted for − holds − cooling − unusable (strict leases of others among them). Reading it is
//! O(1) for each node and kind.
//!
//! **Holds.** Filter returns nodes with more unheld units than there are pods in flight; then, whichever the scheduler takes,
//! a unit is there. If there is no such node it returns exactly one, so filter itself is the reservation. A pod holds a unit on
//! each returned node until its binding is seen, it is deleted, `PodScheduled=False` is seen with a version later than the
//! filter call's, or the hold runs out. A new filter call proves that the scheduler's cycle ended, not how: older holds stay.
//!
//! **Leaving.** A pod that left the API still has its address until its node says otherwise. It counts until a report accounts
//! for its deletion.
//!
//! The owner of a [`Decider`] feeds it everything in the order in which it was learned.

mod bind;
mod choose;
mod facts;
mod filter;
mod flights;
mod intake;
mod kind;
mod late;
mod nodes;
mod preempt;
mod rooms;
mod standing;
mod wake;
mod words;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

pub use bind::{BindEnd, BindStart, Told};
pub use facts::{NodeFacts, PodFacts, Report, Uid};
pub use filter::{Choice, Refusal};
pub use intake::List;
pub use kind::{Kind, PerKind, Wants};
pub use preempt::Victims;
pub use wake::Wake;
pub use words::OUR_WORDS;

use flights::{Flight, Flights, Place, Why};
use late::Late;
use nodes::{End, Gone, NodeId, Nodes};
use wake::Waiting;
use words::Words;

/// Which of the nodes with room are better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Fill nodes up, so that others become empty.
    Pack,
    /// Keep room everywhere.
    Spread,
}

/// What can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// We bind, and check holds again there. A unit that is leaving is then waited for without a limit.
    pub strict: bool,
    /// Which nodes are better.
    pub profile: Profile,
    /// So many nodes are returned at most; 0: all with room.
    pub short_list: usize,
    /// How long a pod holds a unit at most.
    pub hold: Duration,
    /// The same for a pod that waits for a volume.
    pub volume_hold: Duration,
    /// For so long after start a node is offered only if it has more room than pods may be in flight.
    pub caution: Duration,
}

/// Beyond its cooldown, a unit of a pod that left is waited for so long in default mode.
const LEAVING_SLACK: Duration = Duration::from_mins(1);
/// In strict mode only a pod whose deletion nobody saw is given up, after the cooldown and this.
const UNSEEN_SLACK: Duration = Duration::from_mins(10);

/// How often names of nodes that are gone are forgotten.
const FORGET_NODES: Duration = Duration::from_mins(10);

/// What has happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pods that were bound to a node without a unit for them, as far as we know.
    pub overshoots: u64,
    /// Units of pods that left which no report ever accounted for.
    pub leaving_given_up: u64,
    /// Holds that ran out.
    pub holds_ended: u64,
}

/// What a pod is in the books. Pods of the whole cluster are kept, so this is small.
#[derive(Debug, Clone)]
struct Record {
    node: Option<NodeId>,
    wants: Option<Wants>,
    version: Option<u64>,
    nominated: Option<NodeId>,
    epoch: u32,
    /// Its units are in the node's load.
    counted: bool,
    /// Its deletion was asked for while it is counted.
    ending: bool,
}

/// The books and the decisions.
#[derive(Debug)]
pub struct Decider {
    policy: Policy,
    nodes: Nodes,
    pods: HashMap<Uid, Record>,
    epoch: u32,
    flights: Flights,
    /// Volume claims without a volume, as `namespace/name`.
    unbound: HashSet<Box<str>>,
    unbound_listed: HashSet<Box<str>>,
    /// Pods that may have been in flight when we started.
    maybe: HashSet<Uid>,
    /// When caution ends; none: not ready yet.
    caution_until: Option<Duration>,
    waiting: Waiting,
    late: Late,
    /// When the list of pods that came last began.
    listing: Duration,
    words: Words,
    tally: Tally,
    swept: Duration,
    forgot: Duration,
}

/// The figures of one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Nodes with a report.
    pub nodes: usize,
    /// Pods in the books.
    pub pods: usize,
    /// Pods that hold units.
    pub in_flight: usize,
    /// Pods that were refused and wait.
    pub refused: usize,
    /// Units that can be had on open nodes.
    pub free: PerKind<u64>,
    /// What has happened.
    pub tally: Tally,
}

impl Decider {
    /// Empty books.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            nodes: Nodes::default(),
            pods: HashMap::new(),
            epoch: 0,
            flights: Flights::default(),
            unbound: HashSet::new(),
            unbound_listed: HashSet::new(),
            maybe: HashSet::new(),
            caution_until: None,
            waiting: Waiting::default(),
            late: Late::default(),
            listing: Duration::ZERO,
            words: Words::default(),
            tally: Tally::default(),
            swept: Duration::ZERO,
            forgot: Duration::ZERO,
        }
    }

    /// Every list is whole: questions may come. Pods that are not bound yet may have been sent off before we could hold
    /// anything for them.
    pub fn ready(&mut self, now: Duration) {
        if self.caution_until.is_some() {
            return;
        }
        self.caution_until = Some(now + self.policy.caution);
        let leaving: Vec<NodeId> = self.nodes.leaving.iter().copied().collect();
        for id in leaving {
            self.nodes.change(id, nodes::account);
        }
    }

    /// Whether [`Decider::ready`] was called.
    pub fn is_ready(&self) -> bool {
        self.caution_until.is_some()
    }

    /// Ends what has run out. Every question does this too; call it now and then when there are none.
    pub fn tick(&mut self, now: Duration) {
        while let Some(uid) = self.flights.next_ended(now) {
            let mut ended = 0;
            self.fly(&uid, None, |flight| {
                let before = flight.places.len();
                flight
                    .places
                    .retain(|p| !matches!(p.why, Why::Offered { until, .. } if until <= now));
                ended = before - flight.places.len();
            });
            self.tally.holds_ended += u64::try_from(ended).unwrap_or(0);
        }
        if self.caution_until.is_some_and(|until| until <= now) && !self.maybe.is_empty() {
            self.maybe = HashSet::new();
        }
        if now.saturating_sub(self.swept) >= Duration::from_secs(1) {
            self.swept = now;
            self.give_up_leaving(now);
            self.late.sweep(now);
        }
        if now.saturating_sub(self.forgot) >= FORGET_NODES {
            self.forgot = now;
            let pods = self.pods.values().flat_map(|r| [r.node, r.nominated]).flatten();
            let flights = self.flights.iter().flat_map(|(_, f)| f.places.iter().map(|p| p.node));
            self.nodes.forget(&pods.chain(flights).collect());
        }
    }

    /// The figures of this moment.
    pub fn figures(&self) -> Figures {
        let total = |kind| self.nodes.rooms.total(kind);
        Figures {
            nodes: self.nodes.known(),
            pods: self.pods.len(),
            in_flight: self.flights.len(),
            refused: self.waiting.len(),
            free: PerKind {
                shared: total(Kind::Shared),
                exclusive: total(Kind::Exclusive),
                member: total(Kind::Member),
            },
            tally: self.tally,
        }
    }

    /// Pods of which a bind's outcome is not known, and pods that wait and that no watch shows: a look at the API server
    /// decides.
    pub fn unsure(&self, now: Duration) -> Vec<(Uid, String, String)> {
        let unsure = |f: &Flight| f.places.iter().any(|p| matches!(p.why, Why::Unsure(_)));
        let of = |(uid, f): (&Uid, &Flight)| {
            (Uid::clone(uid), f.namespace.to_string(), f.name.to_string())
        };
        let unshown = self.waiting.unshown(now, |uid| self.pods.contains_key(uid));
        self.flights.iter().filter(|(_, f)| unsure(f)).map(of).chain(unshown).collect()
    }

    /// The only way in which holds change: the nodes' loads follow the flight's places.
    fn fly(&mut self, uid: &Uid, new: Option<Flight>, change: impl FnOnce(&mut Flight)) {
        let before: Vec<NodeId> = self
            .flights
            .get(uid)
            .map(|f| f.places.iter().map(|p| p.node).collect())
            .unwrap_or_default();
        let Some(wants) = self.flights.get(uid).or(new.as_ref()).map(|f| f.wants) else { return };
        let mut after: Vec<NodeId> = Vec::new();
        self.flights.change(uid, new, |flight| {
            change(flight);
            after = flight.places.iter().map(|p| p.node).collect();
        });
        for id in before.iter().filter(|id| !after.contains(id)) {
            self.nodes.change(*id, |n| n.load.held.take(wants));
        }
        for id in after.iter().filter(|id| !before.contains(id)) {
            self.nodes.change(*id, |n| n.load.held.add(wants));
        }
    }

    /// Ends a flight and all its holds; says where they were.
    fn land(&mut self, uid: &str) -> Option<Flight> {
        let flight = self.flights.end(uid)?;
        for Place { node, .. } in &flight.places {
            self.nodes.change(*node, |n| n.load.held.take(flight.wants));
        }
        Some(flight)
    }

    /// Pods that left and that no report accounts for are not waited for without end, except in strict mode.
    fn give_up_leaving(&mut self, now: Duration) {
        if self.nodes.leaving.is_empty() {
            return;
        }
        let strict = self.policy.strict;
        let ids: Vec<NodeId> = self.nodes.leaving.iter().copied().collect();
        for id in ids {
            let Some(node) = self.nodes.get(id) else { continue };
            let cooldown = node.report.as_ref().map(|r| r.cooldown).unwrap_or_default();
            let limit = |gone: &Gone| match (strict, gone.end) {
                (false, _) => Some(cooldown + LEAVING_SLACK),
                (true, End::Seen(_)) => None,
                (true, End::Unseen(_) | End::Unknown) => Some(cooldown + UNSEEN_SLACK),
            };
            let over =
                |gone: &Gone| limit(gone).is_some_and(|l| now.saturating_sub(gone.since) >= l);
            let count = node.gone.iter().filter(|g| over(g)).count();
            if count > 0 {
                self.tally.leaving_given_up += u64::try_from(count).unwrap_or(0);
                self.nodes.change(id, |node| {
                    node.gone.retain(|g| !over(g));
                    nodes::recount(node);
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
