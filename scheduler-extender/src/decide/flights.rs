//! Pods in flight: they passed filter, or are being bound, and their binding is not seen yet. The scheduler does not say which
//! node it assumed, so such a pod holds its units on every node that was returned for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::Map;
use super::facts::{Failure, Uid};
use super::kind::{Kind, PerKind, Wants};
use super::nodes::NodeId;
use super::rooms::GroupId;

/// Why a unit is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The node was returned by filter.
    Offered {
        /// The filter call.
        since: Duration,
        /// When the hold ends by itself.
        until: Duration,
        /// Newest version of the pod that was known in the filter call.
        asked: Option<u64>,
        /// What its condition said in that version.
        known: Option<Failure>,
        /// The condition says otherwise since.
        failed: bool,
        /// It was held from an earlier cycle already, of which the end is not known.
        older: bool,
    },
    /// We nominated the pod for the node, and it is ours to try until then.
    Addressed(Duration),
    /// Bind calls of ours are running.
    Calling {
        /// How many, at least 1.
        calls: u32,
        /// The outcome of an earlier one is not known, since then: that one of these is refused says nothing about it.
        unsure: Option<Duration>,
    },
    /// A bind's outcome is not known, since then.
    Unsure(Duration),
    /// Our bind succeeded; the watch has not shown it yet.
    Bound,
}

impl Why {
    /// No bind of ours is behind it.
    pub(super) fn is_offer(self) -> bool {
        matches!(self, Self::Offered { .. } | Self::Addressed(_))
    }
}

/// A unit's hold on one node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) node: NodeId,
    pub(super) why: Why,
}

/// One pod in flight.
#[derive(Debug, Clone)]
pub(super) struct Flight {
    pub(super) wants: Wants,
    pub(super) namespace: Box<str>,
    pub(super) name: Box<str>,
    pub(super) places: Vec<Place>,
    /// The subnets' groups of the places.
    pub(super) groups: Vec<GroupId>,
}

impl Flight {
    pub(super) fn place(&self, node: NodeId) -> Option<&Place> {
        self.places.iter().find(|p| p.node == node)
    }

    /// Where it holds units, in order.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = self.places.iter().map(|p| p.node).collect();
        nodes.sort_unstable();
        nodes
    }

    /// The scheduler may still choose among several nodes, or its choice is on its way.
    pub(super) fn is_open(&self) -> bool {
        self.places.iter().any(|p| matches!(p.why, Why::Offered { .. } | Why::Calling { .. }))
    }
}

/// All pods in flight.
#[derive(Debug, Default)]
pub(super) struct Flights {
    pods: Map<Uid, Flight>,
    ends: BinaryHeap<Reverse<(Duration, Uid)>>,
    /// Units of the flights whose node is not known.
    open: PerKind<u32>,
}

impl Flights {
    pub(super) fn get(&self, uid: &str) -> Option<&Flight> {
        self.pods.get(uid)
    }

    pub(super) fn len(&self) -> usize {
        self.pods.len()
    }

    /// Units that pods in flight may still take somewhere.
    pub(super) fn open(&self, kind: Kind) -> u32 {
        self.open.of(kind)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Uid, &Flight)> {
        self.pods.iter()
    }

    /// Changes a pod's flight, or begins it with `new`; one without places ends.
    pub(super) fn change(
        &mut self,
        uid: &Uid,
        new: Option<Flight>,
        change: impl FnOnce(&mut Flight),
    ) {
        let flight = match (self.pods.remove(uid), new) {
            (Some(flight), _) => {
                if flight.is_open() {
                    self.open.take(flight.wants);
                }
                Some(flight)
            }
            (None, new) => new,
        };
        let Some(mut flight) = flight else { return };
        change(&mut flight);
        if flight.is_open() {
            self.open.add(flight.wants);
        }
        if !flight.places.is_empty() {
            self.pods.insert(Uid::clone(uid), flight);
        }
    }

    /// Ends a flight; the caller gives back its units.
    pub(super) fn end(&mut self, uid: &str) -> Option<Flight> {
        let flight = self.pods.remove(uid)?;
        if flight.is_open() {
            self.open.take(flight.wants);
        }
        Some(flight)
    }

    pub(super) fn ends_at(&mut self, until: Duration, uid: &Uid) {
        self.ends.push(Reverse((until, Uid::clone(uid))));
    }

    /// The next pod of which a hold may have ended.
    pub(super) fn next_ended(&mut self, now: Duration) -> Option<Uid> {
        let Reverse((until, _)) = self.ends.peek()?;
        if *until > now {
            return None;
        }
        self.ends.pop().map(|Reverse((_, uid))| uid)
    }
}
