//! Nominations: of thousands of nodes the scheduler shows us a part in each try, and the room may stand elsewhere. A pod that
//! was refused so is woken with the name of a node (`status.nominatedNodeName`), which the scheduler tries before all others.
//!
//! Here that is an addressed hold and nothing of preemption: the pod holds its units there until the scheduler asks for it, has
//! passed the node over, or [`WAITS`] is over. Beyond that the nomination counts for nothing, however long the API shows it.
//!
//! What the in-tree filters say of a node that we were not shown, nobody tells us, and one that they refuse costs two tries
//! more. So a pod is nominated once, until it passes filter; after that it is woken the ordinary way.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use super::choose::{self, Candidate};
use super::facts::{PodFacts, Uid};
use super::flights::{Flight, Place, Why};
use super::kind::{Kind, Wants};
use super::nodes::NodeId;
use super::sight::Look;
use super::wake::Wake;
use super::{Decider, Profile};

/// How long the scheduler has time to come with the pod: its longest back-off, and what stands before it in the queue.
const WAITS: Duration = Duration::from_secs(10);

impl Decider {
    /// Of pods that are woken, sends those to a node with room that were shown only nodes without.
    pub(super) fn nominate_woken(&mut self, now: Duration, wakes: &mut [Wake]) {
        for kind in Kind::ALL {
            let mut nodes: Option<VecDeque<NodeId>> = None;
            for wake in wakes.iter_mut() {
                let wants =
                    self.waiting.lacks_sight(&wake.uid, &self.nodes).filter(|w| w.kind == kind);
                let Some(wants) = wants.filter(|_| self.flights.get(&wake.uid).is_none()) else {
                    continue;
                };
                let nodes = nodes.get_or_insert_with(|| self.with_room(wants, &wake.uid));
                let at = nodes.iter().position(|id| self.nodes.has(*id, wants));
                let Some(id) = at.and_then(|at| nodes.remove(at)) else { continue };
                match self.policy.profile {
                    Profile::Pack => nodes.push_front(id),
                    Profile::Spread => nodes.push_back(id),
                }
                self.nominate_for(now, wake, wants, id);
            }
        }
    }

    /// Nodes that are open for everybody and have room, the best first.
    fn with_room(&self, wants: Wants, uid: &str) -> VecDeque<NodeId> {
        let mut lefts = self.nodes.rooms.lefts();
        let mut candidates = Vec::new();
        for (index, id) in self.nodes.ids().enumerate() {
            let sight = self.nodes.sight(id);
            if sight.look == Look::Plain && self.nodes.has(id, wants) {
                let room = sight.room(wants.kind, lefts.of(sight.group));
                candidates.push(Candidate {
                    index,
                    id: Some(id),
                    zone: sight.zone,
                    room,
                    own: false,
                });
            }
        }
        let (profile, seed) = (self.policy.profile, choose::seed(uid));
        candidates.sort_by_cached_key(|c| Reverse(c.worth(profile, wants.units, seed)));
        candidates.into_iter().filter_map(|c| c.id).collect()
    }

    fn nominate_for(&mut self, now: Duration, wake: &mut Wake, wants: Wants, id: NodeId) {
        let new = Flight {
            wants,
            namespace: wake.namespace.as_str().into(),
            name: wake.name.as_str().into(),
            places: Vec::new(),
            groups: Vec::new(),
        };
        let until = now + WAITS;
        self.fly(&wake.uid, Some(new), |flight| {
            flight.places.push(Place { node: id, why: Why::Addressed(until) });
        });
        self.flights.ends_at(until, &wake.uid);
        self.waiting.nominated(&wake.uid);
        self.nominations.insert(Uid::clone(&wake.uid), id);
        wake.node = self.nodes.get(id).map(|n| n.name.to_string());
    }

    /// The scheduler has tried the node that we named, and asks about others: it does not fit, whatever we had to give there.
    pub(super) fn passed_over<N: AsRef<str>>(&mut self, pod: &PodFacts, names: &[N]) {
        let Some(node) = pod.nominated.as_deref() else { return };
        let asked = matches!(names, [only] if only.as_ref() == node);
        if !asked && self.nodes.id(node).is_some_and(|id| self.is_ours(&pod.uid, id)) {
            self.not_nominated(&pod.uid);
        }
    }

    /// The scheduler does not come with the pod for its nomination: it holds nothing for it any more.
    pub fn not_nominated(&mut self, uid: &Uid) {
        self.fly(uid, None, |flight| flight.places.retain(|p| !matches!(p.why, Why::Addressed(_))));
    }

    /// Whether it was us who nominated the pod for this node, and no preemption.
    pub(super) fn is_ours(&self, uid: &str, id: NodeId) -> bool {
        self.nominations.get(uid) == Some(&id)
    }
}
