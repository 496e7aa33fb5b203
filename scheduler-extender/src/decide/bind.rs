//! Bind, in strict mode: the last look at a unit before it is given, and what becomes of it when the outcome is not known.

use std::time::Duration;

use super::Decider;
use super::facts::Uid;
use super::flights::{Flight, Place, Why};
use super::kind::{Kind, PerKind, Wants};
use super::nodes::{End, NodeId};

/// After so long the API server cannot execute a bind of unknown outcome any more: its own limit for a request is 60 s.
const LATE: Duration = Duration::from_secs(75);

/// What a pod needs, as the API server said it; `None` in it: nothing of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told(pub Option<Wants>);

/// What a bind call may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindStart {
    /// Bind it; end with [`Decider::bind_ended`].
    Go,
    /// The pod is on that node already.
    Done,
    /// It must not be bound there, and why.
    Refused(String),
    /// Nothing is known of this pod: ask the API server what it needs, and try again.
    Stranger,
}

/// How a bind call ended, or what a look at the API server says of one whose outcome was not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BindEnd {
    /// The pod is on this node.
    On(String),
    /// It is not there and will not be.
    Refused,
    /// Not known.
    Unknown,
    /// A look found the pod not bound. That proves nothing as long as the call may still be executed.
    Waiting,
    /// A look found the pod gone.
    Gone,
}

impl Decider {
    /// The scheduler wants the pod bound to the node. `told` is what the pod needs, as the API server said it for a stranger.
    pub fn bind(
        &mut self,
        now: Duration,
        uid: &Uid,
        (namespace, name): (&str, &str),
        node: &str,
        told: Option<Told>,
    ) -> BindStart {
        self.expire(now);
        let record = self.pods.get(uid);
        let id = self.nodes.id(node);
        if let Some(there) = record.and_then(|r| r.node) {
            return if Some(there) == id {
                BindStart::Done
            } else {
                let other = self.nodes.get(there).map(|n| n.name.to_string()).unwrap_or_default();
                BindStart::Refused(format!("the pod is bound to node {other} already"))
            };
        }
        let flight = self.flights.get(uid);
        let known = flight.map(|f| Some(f.wants)).or_else(|| record.map(|r| r.wants));
        let Some(wants) = known.or_else(|| told.map(|t| t.0)) else {
            return BindStart::Stranger;
        };
        // Nothing of ours is needed, so there is nothing to hold.
        let Some(wants) = wants else { return BindStart::Go };
        // A node without books: fine for a pod that needs nothing special, as in filter.
        let Some(id) = id else {
            return if wants.kind == Kind::Shared {
                BindStart::Go
            } else {
                BindStart::Refused(format!(
                    "node {node} is not known and has no {}",
                    wants.kind.unit()
                ))
            };
        };
        if flight.and_then(|f| f.place(id)).is_none() {
            let node = self.nodes.get(id);
            let room = node.and_then(|n| self.nodes.free(n, wants.kind, 0, PerKind::default()));
            if room.is_some_and(|r| r.free < wants.units) {
                return BindStart::Refused(format!(
                    "the hold on node {node} has ended and it has no free {unit} any more; the pod will be scheduled again",
                    node = node.map(|n| &*n.name).unwrap_or_default(),
                    unit = wants.kind.unit(),
                ));
            }
        }
        let new = Flight {
            wants,
            namespace: namespace.into(),
            name: name.into(),
            places: Vec::new(),
            groups: Vec::new(),
        };
        self.fly(uid, Some(new), |flight| {
            let (calls, unsure) = match flight.place(id).map(|p| p.why) {
                Some(Why::Calling { calls, unsure }) => (calls + 1, unsure),
                Some(Why::Unsure(since)) => (1, Some(since)),
                _ => (1, None),
            };
            // The scheduler has chosen; other calls of which the outcome is not known keep their unit.
            flight.places.retain(|p| p.node != id && !p.why.is_offer());
            flight.places.push(Place { node: id, why: Why::Calling { calls, unsure } });
        });
        BindStart::Go
    }

    /// A bind call to this node ended.
    pub fn bind_ended(&mut self, now: Duration, uid: &Uid, node: &str, end: &BindEnd) {
        let Some(id) = self.nodes.id(node) else { return };
        match end {
            BindEnd::On(there) => self.bound(uid, there),
            BindEnd::Refused | BindEnd::Gone => self.ended(uid, id, None),
            BindEnd::Unknown | BindEnd::Waiting => self.ended(uid, id, Some(now)),
        }
    }

    /// A look at the API server about a pod of [`Decider::unsure`].
    pub fn looked(&mut self, now: Duration, uid: &Uid, end: &BindEnd) {
        self.waiting.found(now, uid);
        match end {
            BindEnd::On(node) => self.bound(uid, node),
            // The watch will tell of its deletion, with its version.
            BindEnd::Gone if self.pods.contains_key(uid) => {}
            // It came and went unseen; it may have been bound, and left an address behind.
            BindEnd::Gone => {
                self.waiting.forget(uid);
                self.late.left(now, uid);
                if let Some(flight) = self.land(uid) {
                    for place in flight.places.iter().filter(|p| matches!(p.why, Why::Unsure(_))) {
                        self.leaves(now, place.node, flight.wants, End::Unknown);
                    }
                }
            }
            BindEnd::Waiting => self.fly(uid, None, |flight| {
                flight.places.retain(
                    |p| !matches!(p.why, Why::Unsure(since) if now.saturating_sub(since) >= LATE),
                );
            }),
            BindEnd::Refused | BindEnd::Unknown => {}
        }
    }

    /// The pod is on this node: nothing is held elsewhere, and here until the watch shows it.
    fn bound(&mut self, uid: &Uid, node: &str) {
        let id = self.nodes.enter(node);
        // The watch was faster: the pod is counted there.
        if self.pods.get(uid).is_some_and(|r| r.node.is_some()) {
            self.land(uid);
            return;
        }
        self.waiting.forget(uid);
        self.fly(uid, None, |flight| {
            flight.places = vec![Place { node: id, why: Why::Bound }];
        });
    }

    /// A call ended without having bound the pod, or with an outcome that is not known since `unknown`.
    fn ended(&mut self, uid: &Uid, id: NodeId, unknown: Option<Duration>) {
        self.fly(uid, None, |flight| {
            let Some(place) = flight.places.iter_mut().find(|p| p.node == id) else { return };
            let Why::Calling { calls, unsure } = place.why else { return };
            match (calls, unknown.or(unsure)) {
                (2.., unsure) => place.why = Why::Calling { calls: calls - 1, unsure },
                (_, Some(since)) => place.why = Why::Unsure(since),
                (_, None) => flight.places.retain(|p| p.node != id),
            }
        });
    }
}
