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
mod caution;
mod choose;
mod facts;
mod filter;
mod flights;
mod intake;
mod kind;
mod late;
mod nodes;
mod nominate;
mod preempt;
mod rooms;
mod sight;
mod standing;
mod wake;
mod words;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

pub use bind::{BindEnd, BindStart, Told};
pub use facts::{Failure, NodeFacts, PodFacts, Report, Uid};
pub use filter::{Choice, Refusal};
pub use intake::List;
pub use kind::{Kind, PerKind, Wants};
pub use preempt::Victims;
pub use wake::Wake;
pub use words::OUR_WORDS;

use caution::Caution;
use flights::{Flight, Flights, Place, Why};
use late::Late;
use nodes::{End, Gone, NodeId, Nodes};
use wake::Waiting;
use words::Words;

/// With a hasher that is fast, and still another one in each process: names and UIDs come from outside.
type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
type Set<T> = HashSet<T, foldhash::fast::RandomState>;

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

/// How often names of nodes that are gone are forgotten, and what was taken from subnets: as often as daemons ask for their room.
const FORGET: Duration = Duration::from_mins(10);

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
    failure: Option<Failure>,
    epoch: u32,
    /// Its sandbox has an address.
    addressed: bool,
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
    pods: Map<Uid, Record>,
    epoch: u32,
    flights: Flights,
    /// Volume claims with a volume, as `namespace/name`. Our watch may show a claim later than the scheduler asks about its
    /// pod, so one that is not known has none.
    claims: HashSet<Box<str>>,
    /// Those of the list that is being received.
    claims_listed: Option<HashSet<Box<str>>>,
    caution: Caution,
    waiting: Waiting,
    /// Where we sent pods that are not bound yet.
    nominations: Map<Uid, NodeId>,
    late: Late,
    /// When the list of pods began that is being received.
    listing: Option<Duration>,
    /// Up to where the last whole one accounts for deletions.
    listed: Option<End>,
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
            pods: Map::default(),
            epoch: 0,
            flights: Flights::default(),
            claims: HashSet::new(),
            claims_listed: None,
            caution: Caution::default(),
            waiting: Waiting::default(),
            nominations: Map::default(),
            late: Late::default(),
            listing: None,
            listed: None,
            words: Words::default(),
            tally: Tally::default(),
            swept: Duration::ZERO,
            forgot: Duration::ZERO,
        }
    }

    /// Every list is whole: questions may come. Pods that are not bound yet may have been sent off before we could hold
    /// anything for them.
    pub fn ready(&mut self, now: Duration) {
        if self.is_ready() {
            return;
        }
        self.caution.begin(now, self.policy.caution);
        let leaving: Vec<NodeId> = self.nodes.leaving.iter().copied().collect();
        for id in leaving {
            self.nodes.change(id, nodes::account);
        }
        self.find_unexplained(now);
    }

    /// Whether [`Decider::ready`] was called.
    pub fn is_ready(&self) -> bool {
        self.caution.has_begun()
    }

    /// Ends what has run out, and what is looked for among all now and then. Call it some times a second.
    pub fn tick(&mut self, now: Duration) {
        self.expire(now);
        if now.saturating_sub(self.swept) >= Duration::from_secs(1) {
            self.swept = now;
            self.give_up_leaving(now);
            self.late.sweep(now);
        }
        if now.saturating_sub(self.forgot) >= FORGET {
            self.forgot = now;
            self.nodes.rooms.age();
            let pods = self.pods.values().flat_map(|r| [r.node, r.nominated]).flatten();
            let flights = self.flights.iter().flat_map(|(_, f)| f.places.iter().map(|p| p.node));
            let nominations = self.nominations.values().copied();
            self.nodes.forget(&pods.chain(flights).chain(nominations).collect());
        }
    }

    /// Ends what has run out. Every question begins with it.
    fn expire(&mut self, now: Duration) {
        while let Some(uid) = self.flights.next_ended(now) {
            let mut ended: u64 = 0;
            self.fly(&uid, None, |flight| {
                flight.places.retain(|p| match p.why {
                    Why::Offered { until, failed, .. } if until <= now => {
                        ended += u64::from(!failed);
                        false
                    }
                    Why::Addressed(until) => until > now,
                    Why::Offered { .. } | Why::Calling { .. } | Why::Unsure(_) | Why::Bound => true,
                });
            });
            self.tally.holds_ended += ended;
        }
        self.caution.tick(now);
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

    /// The only way in which holds change: the nodes' loads and their subnets' follow the flight's places.
    fn fly(&mut self, uid: &Uid, new: Option<Flight>, change: impl FnOnce(&mut Flight)) {
        let Self { flights, nodes, .. } = self;
        let Some(wants) = flights.get(uid).or(new.as_ref()).map(|f| f.wants) else { return };
        let before = flights.get(uid).map(Flight::nodes).unwrap_or_default();
        let mut after: Vec<NodeId> = Vec::new();
        flights.change(uid, new, |flight| {
            change(flight);
            after = flight.nodes();
            nodes.rooms.need_no_more(&flight.groups, wants);
            flight.groups = nodes.groups(&after);
            nodes.rooms.need(&flight.groups, wants);
        });
        for id in before.iter().filter(|id| after.binary_search(id).is_err()) {
            nodes.change(*id, |n| n.load.held.take(wants));
        }
        for id in after.iter().filter(|id| before.binary_search(id).is_err()) {
            nodes.change(*id, |n| n.load.held.add(wants));
        }
    }

    /// Ends a flight and all its holds; says where they were.
    fn land(&mut self, uid: &str) -> Option<Flight> {
        let flight = self.flights.end(uid)?;
        self.nodes.rooms.need_no_more(&flight.groups, flight.wants);
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
